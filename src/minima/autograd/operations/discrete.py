"""Primitives whose results are booleans or integers, or piecewise constant: they have no derivative."""

from minima.autograd.primitive import Array, Namespace, primitive


@primitive
def equal(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.equal(x, y)


@primitive
def not_equal(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.not_equal(x, y)


@primitive
def less(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.less(x, y)


@primitive
def less_equal(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.less_equal(x, y)


@primitive
def greater(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.greater(x, y)


@primitive
def greater_equal(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.greater_equal(x, y)


@primitive
def logical_and(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.logical_and(x, y)


@primitive
def logical_or(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.logical_or(x, y)


@primitive
def logical_xor(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.logical_xor(x, y)


@primitive
def logical_not(xp: Namespace, x: Array) -> Array:
    return xp.logical_not(x)


@primitive
def isnan(xp: Namespace, x: Array) -> Array:
    return xp.isnan(x)


@primitive
def isinf(xp: Namespace, x: Array) -> Array:
    return xp.isinf(x)


@primitive
def isfinite(xp: Namespace, x: Array) -> Array:
    return xp.isfinite(x)


@primitive
def isclose(xp: Namespace, x: Array, y: Array, *, rtol: float, atol: float, equal_nan: bool) -> Array:
    return xp.isclose(x, y, rtol=rtol, atol=atol, equal_nan=equal_nan)


@primitive
def count_nonzero(xp: Namespace, x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    return xp.count_nonzero(x, axis=axis, keepdims=keepdims)


@primitive
def bitwise_and(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.bitwise_and(x, y)


@primitive
def bitwise_or(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.bitwise_or(x, y)


@primitive
def bitwise_xor(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.bitwise_xor(x, y)


@primitive
def invert(xp: Namespace, x: Array) -> Array:
    return xp.invert(x)


@primitive
def floor_divide(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.floor_divide(x, y)


@primitive(computes=False)
def cast(xp: Namespace, x: Array, *, dtype: object) -> Array:
    return x.astype(dtype)


@primitive
def argmax(xp: Namespace, x: Array, *, axis: int | None, keepdims: bool) -> Array:
    return xp.argmax(x, axis=axis, keepdims=keepdims)


@primitive
def argmin(xp: Namespace, x: Array, *, axis: int | None, keepdims: bool) -> Array:
    return xp.argmin(x, axis=axis, keepdims=keepdims)


@primitive(computes=False)
def argsort(xp: Namespace, x: Array, *, axis: int, descending: bool) -> Array:
    """The order is stable, and so is the descending one: it is the reverse of the order from the end."""
    if not descending:
        return xp.argsort(x, axis=axis, stable=True)
    return x.shape[axis] - 1 - xp.flip(xp.argsort(xp.flip(x, axis), axis=axis, stable=True), axis)


@primitive
def one_hot(xp: Namespace, x: Array, *, classes: int) -> Array:
    return (x[..., None] == xp.arange(classes)).astype(int)


@primitive
def any(xp: Namespace, x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    return xp.any(x, axis=axis, keepdims=keepdims)


@primitive
def all(xp: Namespace, x: Array, *, axis: int | tuple[int, ...] | None, keepdims: bool) -> Array:
    return xp.all(x, axis=axis, keepdims=keepdims)
