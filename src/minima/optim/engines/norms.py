"""Norms of gradients, in float64, right also where the powers of their entries over- or underflow."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array
from minima.optim.engines.measure import pieces, square, squares

__all__ = ["norm", "unit_norms"]


def norm(arrays: Sequence[Array], power: float = 2.0) -> float:
    """The ``power``-norm of all entries together: ``sum(abs(x) ** power) ** (1 / power)``, or the largest magnitude.

    Args:
        arrays: Of any floating dtypes and shapes. The 2-norm reads them once, as a rule, and makes no copies.
        power: Above 0; infinity for the largest magnitude.
    """
    if power == 2:
        total = sum(squares(arrays).tolist())
        # Squares below the least normal float64 have lost bits; of a sum above this, they are too small a part to see.
        if 1e-280 < total < math.inf or math.isnan(total) or all(array.dtype.itemsize <= 4 for array in arrays):
            return math.sqrt(total)
    peak = _peak(arrays)
    if power == math.inf or peak == 0 or not math.isfinite(peak):
        return peak
    exponent = math.frexp(peak)[1]
    total = 0.0
    with np.errstate(all="ignore"):
        for piece in (piece for array in arrays for piece in pieces(array)):
            scaled = np.ldexp(piece.astype(np.float64), -exponent)
            total += square(scaled) if power == 2 else float(np.sum(np.abs(scaled) ** power))
        return float(np.ldexp(total ** (1 / power), exponent))


def unit_norms(array: Array, axis: int | None) -> NDArray[np.float64]:
    """The 2-norm of each slice of an array along ``axis``, or of all of it; the other axes stay, with length 1."""
    others = tuple(place for place in range(array.ndim) if axis is None or place != axis % array.ndim)
    with np.errstate(all="ignore"):
        if array.dtype.itemsize <= 4 or array.size == 0:
            return np.sqrt(_sums(array, others))
        exponents = np.frexp(np.abs(array).max(axis=others, keepdims=True))[1]  # 0 of what is not finite
        return np.ldexp(np.sqrt(_sums(np.ldexp(array.astype(np.float64), -exponents), others)), exponents)


def _sums(array: Array, axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Sums of squares over some axes, which stay, with length 1; without a copy in float64 of the whole array."""
    every = list(range(array.ndim))
    kept = [place for place in every if place not in axes]
    # einsum's last argument says which axes its result has
    sums = np.einsum(array, every, array, every, kept, dtype=np.float64)
    return np.asarray(sums, np.float64).reshape([1 if place in axes else array.shape[place] for place in every])


def _peak(arrays: Sequence[Array]) -> float:
    """The largest magnitude; NaN if there is one."""
    with np.errstate(all="ignore"):
        peaks = [float(np.abs(piece).max()) for array in arrays for piece in pieces(array)]
    return float(np.max(peaks)) if peaks else 0.0
