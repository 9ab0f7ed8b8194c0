"""Primitives that normalise over axes, each fused with the scale and the shift behind it.

What is kept for the rules is the input and one or two numbers for each group of elements, not the result.
"""

from math import prod

from minima.autograd.operations.linalg import ones
from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["normalize", "scale_to_one"]

Axes = tuple[int, ...]
Shape = tuple[int, ...]


@primitive(residual="moments")
def normalize(
    xp: Namespace, x: Array, weight: Array | None, bias: Array | None, *, axes: Axes, eps: float
) -> tuple[Array, tuple[Array, Array]]:
    """Mean 0 and variance 1 over ``axes``, times ``weight`` plus ``bias``; the means and the scales are kept."""
    mean = xp.mean(x, axis=axes, keepdims=True)
    out = x - mean
    scale = 1 / xp.sqrt(xp.mean(out * out, axis=axes, keepdims=True) + eps)
    out *= scale
    if weight is not None:
        out = out * weight if bias is None else out * weight + bias
    elif bias is not None:
        out = out + bias
    return out, (mean, scale)


@normalize.vjp("x")
def _(
    xp: Namespace, g: Array, x: Array, weight: Array | None, moments: tuple[Array, Array], *, axes: Axes, eps: float
) -> Array:
    # With y = (x - mean) * scale and scale = (var + eps)^(-1/2): the two means are what x does through mean and var.
    mean, scale = moments
    g = g if weight is None else g * weight
    through = x - mean
    through *= scale
    through = through * xp.mean(g * through, axis=axes, keepdims=True)
    through += xp.mean(g, axis=axes, keepdims=True)
    grad = g - through
    grad *= scale
    return grad


@normalize.vjp("weight")
def _(
    xp: Namespace, g: Array, shape: Shape, x: Array, moments: tuple[Array, Array], *, axes: Axes, eps: float
) -> Array:
    mean, scale = moments
    grad = x - mean
    grad *= scale
    grad *= g
    return _summed(xp, grad, shape)


@normalize.vjp("bias")
def _(xp: Namespace, g: Array, shape: Shape, *, axes: Axes, eps: float) -> Array:
    return _summed(xp, g, shape)


@primitive(residual="scale")
def scale_to_one(xp: Namespace, x: Array, weight: Array | None, *, axes: Axes, eps: float) -> tuple[Array, Array]:
    """Root mean square 1 over ``axes``, times ``weight``."""
    scale = 1 / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + eps)
    out = x * scale
    return out if weight is None else out * weight, scale


@scale_to_one.vjp("x")
def _(xp: Namespace, g: Array, x: Array, weight: Array | None, scale: Array, *, axes: Axes, eps: float) -> Array:
    g = g if weight is None else g * weight
    through = x * scale
    through = through * xp.mean(g * through, axis=axes, keepdims=True)
    grad = g - through
    grad *= scale
    return grad


@scale_to_one.vjp("weight")
def _(xp: Namespace, g: Array, shape: Shape, x: Array, scale: Array, *, axes: Axes, eps: float) -> Array:
    grad = x * scale
    grad *= g
    return _summed(xp, grad, shape)


def _summed(xp: Namespace, g: Array, shape: Shape) -> Array:
    """The sum of ``g`` to the shape of a parameter that was broadcast; over the first axes as a product with ones.

    BLAS is faster than a sum.
    """
    lead = g.ndim - len(shape)
    if g.shape[lead:] != shape:
        return g  # the tape sums
    samples = prod(g.shape[:lead])
    rows = xp.reshape(g, (samples, prod(shape)))
    return xp.reshape(xp.matmul(ones(samples, rows.dtype), rows), shape)
