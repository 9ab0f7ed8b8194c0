"""Primitives that work element by element."""

from minima.autograd.operations.normal import error_function
from minima.autograd.primitive import Array, Namespace, primitive


@primitive
def add(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.add(x, y)


@add.vjp("x", "y")
def _(xp: Namespace, g: Array) -> Array:
    return g


@primitive
def subtract(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.subtract(x, y)


@subtract.vjp("x")
def _(xp: Namespace, g: Array) -> Array:
    return g


@subtract.vjp("y")
def _(xp: Namespace, g: Array) -> Array:
    return -g


@primitive
def multiply(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.multiply(x, y)


@multiply.vjp("x")
def _(xp: Namespace, g: Array, y: Array) -> Array:
    return g * y


@multiply.vjp("y")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * x


@primitive
def divide(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.true_divide(x, y)


@divide.vjp("x")
def _(xp: Namespace, g: Array, y: Array) -> Array:
    return g / y


@divide.vjp("y")
def _(xp: Namespace, g: Array, out: Array, y: Array) -> Array:
    return -g * out / y


@primitive
def remainder(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.remainder(x, y)


@remainder.vjp("x")
def _(xp: Namespace, g: Array) -> Array:
    return g


@remainder.vjp("y")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return -g * xp.floor_divide(x, y)


@primitive
def power(xp: Namespace, x: Array, y: Array) -> Array:
    return x**y


@power.vjp("x")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    if isinstance(y, int | float):
        return g * (y * x ** (y - 1)) if y else xp.zeros_like(g)
    # x**0 is constant; without the mask its derivative at 0 would be 0 * inf.
    return g * xp.where(y == 0, 0, y * x ** xp.where(y == 0, 1, y - 1))


@power.vjp("y")
def _(xp: Namespace, g: Array, out: Array, x: Array, y: Array) -> Array:
    # 0**y is constant for y >= 0, where out * log(x) would be 0 * -inf.
    x = xp.asarray(x, dtype=g.dtype)
    return g * out * xp.log(xp.where((x == 0) & (y >= 0), 1, x))


@primitive
def negative(xp: Namespace, x: Array) -> Array:
    return xp.negative(x)


@negative.vjp("x")
def _(xp: Namespace, g: Array) -> Array:
    return -g


@primitive
def abs(xp: Namespace, x: Array) -> Array:
    return xp.abs(x)


@abs.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * xp.sign(x)


@primitive
def exp(xp: Namespace, x: Array) -> Array:
    return xp.exp(x)


@exp.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return g * out


@primitive
def log(xp: Namespace, x: Array) -> Array:
    return xp.log(x)


@log.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g / x


@primitive
def log2(xp: Namespace, x: Array) -> Array:
    return xp.log2(x)


@log2.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g / (x * _LN_2)


@primitive
def log10(xp: Namespace, x: Array) -> Array:
    return xp.log10(x)


@log10.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g / (x * _LN_10)


_LN_2, _LN_10 = 0.6931471805599453, 2.302585092994046


@primitive
def log1p(xp: Namespace, x: Array) -> Array:
    return xp.log1p(x)


@log1p.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g / (1 + x)


@primitive
def expm1(xp: Namespace, x: Array) -> Array:
    return xp.expm1(x)


@expm1.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return g * (out + 1)


@primitive
def sqrt(xp: Namespace, x: Array) -> Array:
    return xp.sqrt(x)


@sqrt.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return 0.5 * g / out


@primitive
def square(xp: Namespace, x: Array) -> Array:
    return xp.square(x)


@square.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return 2 * g * x


@primitive
def reciprocal(xp: Namespace, x: Array) -> Array:
    return xp.reciprocal(x)


@reciprocal.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return -g * out * out


@primitive
def sin(xp: Namespace, x: Array) -> Array:
    return xp.sin(x)


@sin.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * xp.cos(x)


@primitive
def cos(xp: Namespace, x: Array) -> Array:
    return xp.cos(x)


@cos.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return -g * xp.sin(x)


@primitive
def tanh(xp: Namespace, x: Array) -> Array:
    return xp.tanh(x)


@tanh.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return g * (1 - out * out)


@primitive
def erf(xp: Namespace, x: Array) -> Array:
    return error_function(xp, x)


@erf.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * (xp.exp(-x * x) * _ERF_SLOPE)


_ERF_SLOPE = 1.1283791670955126  # 2 / sqrt(pi), the derivative of erf at 0


@primitive
def round(xp: Namespace, x: Array, *, decimals: int) -> Array:
    return xp.round(x, decimals)


@primitive
def floor(xp: Namespace, x: Array) -> Array:
    return xp.floor(x) if x.dtype.kind == "f" else xp.array(x)


@primitive
def ceil(xp: Namespace, x: Array) -> Array:
    return xp.ceil(x) if x.dtype.kind == "f" else xp.array(x)


@primitive
def sign(xp: Namespace, x: Array) -> Array:
    return xp.sign(x) if x.dtype.kind != "b" else xp.array(x)


@round.vjp("x")
def _(xp: Namespace, g: Array, *, decimals: int) -> Array:
    return xp.zeros_like(g)


@floor.vjp("x")
@ceil.vjp("x")
@sign.vjp("x")
def _(xp: Namespace, g: Array) -> Array:
    return xp.zeros_like(g)


@primitive
def clip(xp: Namespace, x: Array, *, low: float | None, high: float | None) -> Array:
    return xp.clip(x, low, high)


@clip.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, low: float | None, high: float | None) -> Array:
    if low is not None:
        g = xp.where(x >= low, g, 0)
    if high is not None:
        g = xp.where(x <= high, g, 0)
    return g


@primitive
def maximum(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.maximum(x, y)


@maximum.vjp("x")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return xp.where(x == y, 0.5 * g, xp.where(x > y, g, 0))


@maximum.vjp("y")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return xp.where(x == y, 0.5 * g, xp.where(x < y, g, 0))


@primitive
def minimum(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.minimum(x, y)


@minimum.vjp("x")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return xp.where(x == y, 0.5 * g, xp.where(x < y, g, 0))


@minimum.vjp("y")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return xp.where(x == y, 0.5 * g, xp.where(x > y, g, 0))


@primitive
def where(xp: Namespace, condition: Array, x: Array, y: Array) -> Array:
    return xp.where(condition, x, y)


@where.vjp("x")
def _(xp: Namespace, g: Array, condition: Array) -> Array:
    return xp.where(condition, g, 0)


@where.vjp("y")
def _(xp: Namespace, g: Array, condition: Array) -> Array:
    return xp.where(condition, 0, g)


@primitive(computes=False)
def masked_fill(xp: Namespace, x: Array, mask: Array, *, value: float) -> Array:
    return xp.where(xp.broadcast_to(mask, x.shape), value, x)


@masked_fill.vjp("x")
def _(xp: Namespace, g: Array, mask: Array, *, value: float) -> Array:
    return xp.where(mask, 0, g)


@primitive(computes=False)
def astype(xp: Namespace, x: Array, *, dtype: object) -> Array:
    return x.astype(dtype)


@astype.vjp("x")
def _(xp: Namespace, g: Array, *, dtype: object) -> Array:
    return g  # the tape casts it back


@primitive(computes=False)
def copy(xp: Namespace, x: Array) -> Array:
    return xp.array(x)


@copy.vjp("x")
def _(xp: Namespace, g: Array) -> Array:
    return g
