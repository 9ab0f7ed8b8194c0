"""The binary cross-entropy of probabilities."""

from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["binary_cross_entropy"]

_SMALLEST = 9.999999960041972e-13  # what PyTorch divides by at 0 and 1, in every dtype: the float32 next to 1e-12


@primitive
def binary_cross_entropy(xp: Namespace, x: Array, y: Array) -> Array:
    """``-(y log x + (1 - y) log(1 - x))`` with logarithms from -100 up."""
    return -(y * _log(xp, x) + (1 - y) * _log(xp, 1 - x))


@binary_cross_entropy.vjp("x")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return g * (x - y) / xp.maximum((1 - x) * x, _SMALLEST)


@binary_cross_entropy.vjp("y")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * (_log(xp, 1 - x) - _log(xp, x))


def _log(xp: Namespace, x: Array) -> Array:
    return xp.maximum(xp.log(xp.where(x > 0, x, 1e-300 if x.dtype.itemsize > 4 else 1e-45)), -100)
