"""Primitives that reduce axes, and those that normalise along one."""

import builtins
import math
from math import inf, nan

import numpy as np

from minima.autograd.primitive import Array, Namespace, primitive

Axis = int | tuple[int, ...] | None


def restore(xp: Namespace, reduced: Array, axis: Axis, keepdims: bool) -> Array:
    """``reduced`` with the reduced axes back as axes of size 1, so that it broadcasts against the input."""
    return reduced if keepdims or axis is None else xp.expand_dims(reduced, axis)


def count(shape: tuple[int, ...], axis: Axis) -> int:
    """How many elements each result of a reduction is made of."""
    if axis is None:
        return math.prod(shape)
    return math.prod(shape[a] for a in (axis if isinstance(axis, tuple) else (axis,)))


def inverse(freedom: int) -> float:
    """``1 / freedom``, or nan where too few elements leave no variance, which is nan too."""
    return 1 / freedom if freedom > 0 else nan


@primitive
def sum(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.sum(x, axis=axis, keepdims=keepdims)


@sum.vjp("x")
def _(xp: Namespace, g: Array, shape: tuple[int, ...], *, axis: Axis, keepdims: bool) -> Array:
    return xp.broadcast_to(restore(xp, g, axis, keepdims), shape)


@primitive
def prod(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.prod(x, axis=axis, keepdims=keepdims)


@prod.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    # The product of the other elements: of those that are not 0, if no other is 0, or 0.
    zero = x == 0
    factors = xp.where(zero, 1, x)
    rest = xp.prod(factors, axis=axis, keepdims=True) / factors
    others = xp.sum(zero, axis=axis, keepdims=True) - zero.astype(int)
    return restore(xp, g, axis, keepdims) * xp.where(others == 0, rest, 0)


@primitive
def cumsum(xp: Namespace, x: Array, *, axis: int | None) -> Array:
    return xp.cumsum(x, axis=axis)


@cumsum.vjp("x")
def _(xp: Namespace, g: Array, shape: tuple[int, ...], *, axis: int | None) -> Array:
    along = 0 if axis is None else axis
    return xp.reshape(xp.flip(xp.cumsum(xp.flip(g, along), axis=along), along), shape)


@primitive
def norm(xp: Namespace, x: Array, *, p: float, axis: Axis, keepdims: bool) -> Array:
    if p == 2:
        return xp.sqrt(xp.sum(xp.square(x), axis=axis, keepdims=keepdims))
    return xp.sum(xp.abs(x) ** p, axis=axis, keepdims=keepdims) ** (1 / p)


@norm.vjp("x")
def _(xp: Namespace, g: Array, out: Array, x: Array, *, p: float, axis: Axis, keepdims: bool) -> Array:
    # At 0 the norm has a corner: its gradient is set to 0.
    slope = restore(xp, xp.where(out == 0, 0, g), axis, keepdims)
    share = x / restore(xp, xp.where(out == 0, 1, out), axis, keepdims)
    return slope * (share if p == 2 else xp.sign(x) * xp.where(x == 0, 1, xp.abs(share)) ** (p - 1))


@primitive
def mean(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.mean(x, axis=axis, keepdims=keepdims)


@mean.vjp("x")
def _(xp: Namespace, g: Array, shape: tuple[int, ...], *, axis: Axis, keepdims: bool) -> Array:
    return xp.broadcast_to(restore(xp, g / builtins.max(count(shape, axis), 1), axis, keepdims), shape)


@primitive
def max(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.max(x, axis=axis, keepdims=keepdims)


@primitive
def min(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return xp.min(x, axis=axis, keepdims=keepdims)


@max.vjp("x")
@min.vjp("x")
def _(xp: Namespace, g: Array, out: Array, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    attained = x == restore(xp, out, axis, keepdims)
    share = restore(xp, g, axis, keepdims) / xp.sum(attained, axis=axis, keepdims=True).astype(g.dtype)
    return xp.where(attained, share, 0)


@primitive
def var(xp: Namespace, x: Array, *, axis: Axis, ddof: int, keepdims: bool) -> Array:
    return xp.var(x, axis=axis, ddof=ddof, keepdims=keepdims)


@var.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, axis: Axis, ddof: int, keepdims: bool) -> Array:
    scale = 2 * inverse(count(x.shape, axis) - ddof)
    return restore(xp, g, axis, keepdims) * (x - xp.mean(x, axis=axis, keepdims=True)) * scale


@primitive
def std(xp: Namespace, x: Array, *, axis: Axis, ddof: int, keepdims: bool) -> Array:
    return xp.std(x, axis=axis, ddof=ddof, keepdims=keepdims)


@std.vjp("x")
def _(xp: Namespace, g: Array, out: Array, x: Array, *, axis: Axis, ddof: int, keepdims: bool) -> Array:
    # Where all elements are equal the root has a corner: its gradient is set to 0.
    slope = xp.where(out == 0, 0, g) / xp.where(out == 0, 1, out)
    scale = inverse(count(x.shape, axis) - ddof)
    return restore(xp, slope, axis, keepdims) * (x - xp.mean(x, axis=axis, keepdims=True)) * scale


@primitive
def logsumexp(xp: Namespace, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    top = xp.max(x, axis=axis, keepdims=True, initial=-inf)
    top = xp.where(xp.isfinite(top), top, 0)  # inf - inf would be nan
    total = xp.log(xp.sum(xp.exp(x - top), axis=axis, keepdims=True)) + top
    return total if keepdims else xp.squeeze(total, axis=axis)


@logsumexp.vjp("x")
def _(xp: Namespace, g: Array, out: Array, x: Array, *, axis: Axis, keepdims: bool) -> Array:
    return restore(xp, g, axis, keepdims) * xp.exp(x - restore(xp, out, axis, keepdims))


# exp(-60) is far from where numbers of float32 lose digits, at exp(-87).
_RANGE = 60


def _exponentials(xp: Namespace, x: Array, axis: int, allowed: Array | None = None) -> Array:
    """``exp(x - top)``, or 0 where it is not allowed, with the largest of what is allowed along the axis as ``top``.

    Any number near it will do, since the sum divides it away again. NumPy takes the maxima of short rows one element at
    a time; the largest of all elements it finds in a twentieth of the time, and most often that is near enough.
    """
    if xp is np and x.size and (top := x.max()) - _RANGE < x.min():  # so that infinities and nan go the other way
        out = np.exp(x - top)
        if allowed is not None:
            out *= allowed
        return out
    if allowed is not None:
        x = xp.where(allowed, x, -inf)
    top = xp.max(x, axis=axis, keepdims=True, initial=-inf)
    return xp.exp(x - (top if allowed is None else xp.where(top == -inf, 0, top)))


@primitive
def softmax(xp: Namespace, x: Array, *, axis: int) -> Array:
    out = _exponentials(xp, x, axis)
    out /= xp.sum(out, axis=axis, keepdims=True)
    return out


@primitive
def masked_softmax(xp: Namespace, x: Array, allowed: Array) -> Array:
    """The softmax along the last axis of the elements that are allowed: of the others, and where none is, zeros."""
    out = _exponentials(xp, x, -1, xp.broadcast_to(allowed, x.shape))
    total = xp.sum(out, axis=-1, keepdims=True)
    out /= xp.where(total == 0, 1, total)
    return out


def _through_softmax(xp: Namespace, g: Array, out: Array, axis: int) -> Array:
    grad = g - xp.expand_dims(xp.vecdot(g, out, axis=axis), axis)
    grad *= out
    return grad


@softmax.vjp("x")
def _(xp: Namespace, g: Array, out: Array, *, axis: int) -> Array:
    return _through_softmax(xp, g, out, axis)


@masked_softmax.vjp("x")
def _(xp: Namespace, g: Array, out: Array) -> Array:
    return _through_softmax(xp, g, out, -1)  # what is not allowed is 0 in out, and so in the gradient


@primitive
def log_softmax(xp: Namespace, x: Array, *, axis: int) -> Array:
    if 0 in x.shape:
        return xp.zeros_like(x)  # without the logarithm of a sum of nothing
    shifted = x - xp.max(x, axis=axis, keepdims=True)
    return shifted - xp.log(xp.sum(xp.exp(shifted), axis=axis, keepdims=True))


@log_softmax.vjp("x")
def _(xp: Namespace, g: Array, out: Array, *, axis: int) -> Array:
    return g - xp.exp(out) * xp.sum(g, axis=axis, keepdims=True)
