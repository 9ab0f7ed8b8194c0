"""The nonlinearities of networks, element by element."""

from functools import lru_cache
from typing import Any

import numpy as np

from minima.autograd.operations.normal import normal_cdf, normal_density
from minima.autograd.primitive import Array, Namespace, primitive


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
    return g * (out > _zero(out.dtype))  # in its dtype, which spares NumPy a quarter of the time of a small batch


@lru_cache(maxsize=64)
def _zero(dtype: Any) -> Array:
    return np.zeros((), dtype)


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
def silu(xp: Namespace, x: Array) -> Array:
    return x * _logistic(xp, x)


@silu.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    share = _logistic(xp, x)
    return g * (share + x * share * (1 - share))


@primitive
def softplus(xp: Namespace, x: Array, *, beta: float, threshold: float) -> Array:
    scaled = beta * x
    soft = (xp.maximum(scaled, 0) + xp.log1p(xp.exp(-xp.abs(scaled)))) / beta
    return xp.where(scaled > threshold, x, soft)


@softplus.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, beta: float, threshold: float) -> Array:
    scaled = beta * x
    return g * xp.where(scaled > threshold, 1, _logistic(xp, scaled))


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
