"""The nonlinearities of networks, element by element."""

from functools import lru_cache
from math import inf
from typing import Any

import numpy as np

from minima.autograd.operations.blocks import in_blocks
from minima.autograd.operations.normal import normal
from minima.autograd.primitive import Array, Namespace, primitive


def _logistic(xp: Namespace, x: Array) -> Array:
    return _share(xp, x, xp.exp(-xp.abs(x)))  # which never overflows


def _share(xp: Namespace, x: Array, small: Array) -> Array:
    return xp.maximum(small, x >= 0) / (1 + small)  # small or 1, without a where, which NumPy is slow at


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
def through_relu(xp: Namespace, g: Array, out: Array) -> Array:
    """The gradient before a ReLU of the result ``out``."""
    # The mask in the dtype of the gradient, which spares NumPy another conversion.
    return g * (out > zero(out.dtype)).astype(g.dtype)


@lru_cache(maxsize=64)
def zero(dtype: Any) -> Array:
    """Zero of a dtype, which NumPy takes in less time than Python's."""
    return np.zeros((), dtype)


# The next four give their derivative too, in the same pass: it takes the place of x in what the tape keeps.


@primitive(residual="slope")
@in_blocks
def gelu(xp: Namespace, x: Array) -> tuple[Array, Array]:
    share, slope = normal(xp, x)
    slope *= x
    slope += share
    return x * share, slope


_SLOPE = 0.7978845608028654  # sqrt(2 / pi)
_CUBIC = 0.044715  # Hendrycks and Gimpel, Gaussian Error Linear Units, 2016, section 2


@primitive(residual="slope")
@in_blocks
def gelu_tanh(xp: Namespace, x: Array) -> tuple[Array, Array]:
    # The share is 0.5 * (1 + tanh(u)), written so that nothing cancels where it is small.
    share = _logistic(xp, 2 * _SLOPE * (x + _CUBIC * x * x * x))
    out = x * share
    return out, share + out * (1 - share) * (2 * _SLOPE * (1 + 3 * _CUBIC * x * x))


@primitive(residual="slope")
@in_blocks
def silu(xp: Namespace, x: Array) -> tuple[Array, Array]:
    share = _logistic(xp, x)
    out = x * share
    return out, share + out * (1 - share)


@primitive(residual="slope")
@in_blocks
def softplus(xp: Namespace, x: Array, *, beta: float, threshold: float) -> tuple[Array, Array]:
    scaled = beta * x
    small = xp.exp(-xp.abs(scaled))
    soft, slope = (xp.maximum(scaled, 0) + xp.log1p(small)) / beta, _share(xp, scaled, small)
    if threshold == inf:
        return soft, slope
    above = scaled > threshold
    return xp.where(above, x, soft), xp.where(above, 1, slope)


@gelu.vjp("x")
@gelu_tanh.vjp("x")
@silu.vjp("x")
def _(xp: Namespace, g: Array, slope: Array) -> Array:
    return g * slope


@softplus.vjp("x")
def _(xp: Namespace, g: Array, slope: Array, *, beta: float, threshold: float) -> Array:
    return g * slope


@primitive
def leaky_relu(xp: Namespace, x: Array, *, slope: float) -> Array:
    return xp.where(x > 0, x, slope * x)


@leaky_relu.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, slope: float) -> Array:
    return xp.where(x > 0, g, slope * g)


@primitive
def elu(xp: Namespace, x: Array, *, alpha: float) -> Array:
    return xp.where(x > 0, x, alpha * xp.expm1(xp.minimum(x, 0)))


@elu.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, alpha: float) -> Array:
    return xp.where(x > 0, g, g * (alpha * xp.exp(xp.minimum(x, 0))))
