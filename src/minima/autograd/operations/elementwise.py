"""Primitives that work element by element."""

from minima.autograd.operations.normal import normal_cdf, normal_density
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
def sqrt(xp: Namespace, x: Array) -> Array:
    return xp.sqrt(x)


@sqrt.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return 0.5 * g / out


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


def _logistic(xp: Namespace, x: Array) -> Array:
    small = xp.exp(-xp.abs(x))  # never overflows
    return xp.where(x >= 0, 1, small) / (1 + small)


@primitive
def sigmoid(xp: Namespace, x: Array) -> Array:
    return _logistic(xp, x)


@sigmoid.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return g * (out * (1 - out))


@primitive
def relu(xp: Namespace, x: Array) -> Array:
    return xp.maximum(x, 0)


@relu.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return g * (out > 0)


@primitive
def gelu(xp: Namespace, x: Array) -> Array:
    return x * normal_cdf(xp, x)


@gelu.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * (normal_cdf(xp, x) + x * normal_density(xp, x))


_SLOPE = 0.7978845608028654  # sqrt(2 / pi)
_CUBIC = 0.044715  # Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2


def _share(xp: Namespace, x: Array) -> Array:
    """``0.5 * (1 + tanh(u))``, written so that nothing cancels where it is small."""
    return _logistic(xp, 2 * _SLOPE * (x + _CUBIC * x * x * x))


@primitive
def gelu_tanh(xp: Namespace, x: Array) -> Array:
    return x * _share(xp, x)


@gelu_tanh.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    share = _share(xp, x)
    return g * (share + x * share * (1 - share) * (2 * _SLOPE * (1 + 3 * _CUBIC * x * x)))


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
