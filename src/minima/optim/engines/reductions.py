"""Sums over the entries of arrays, and what is made of them: norms, and whether all entries are finite.

*The order of additions* is part of the definition. A sum over ``n`` numbers is taken in chunks of 4,096. Each chunk has
32 running sums in float64, to which entry ``i`` goes as number ``i % 32``, and which are then added by halves: the
upper 16 to the lower 16, and so on. The sums of the chunks are themselves summed so. What comes out depends on nothing
but the numbers and their order: neither on the number of threads, nor on the width of registers, nor on whether NumPy
or compiled code does the sum. 32 numbers are four registers of a CPU, which keeps its adders busy, and one warp of a
GPU.

Where a program tells rows and columns apart, the sum over a matrix is the sum of the sums of its rows. A sum down a
column is taken in bands of 64 rows, from top to bottom in each; the sums of the bands are themselves summed so. A
largest value that is zero is positive, and NaN is larger than all.

The squares of float16, bfloat16 and float32 are exact in float64 and cannot overflow there: of these, the sum of the
squares is finite if and only if every entry is.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array

__all__ = ["BAND", "CHUNK", "LANES", "finite", "norm", "reducer", "square_sum", "square_sums", "total", "unit_norms"]

CHUNK = 4096
"""Numbers in a chunk."""
LANES = 32
"""Running sums."""
BAND = 64
"""Rows that are added up one after the other, column by column."""
_BATCH = 32 * CHUNK
"""Elements that are widened at a time."""
_KINDS = {np.dtype(name): name for name in ("float16", "float32", "float64")}
"""The dtypes that compiled code reads as they are."""


def total(values: NDArray[np.float64]) -> float:
    """The sum of numbers, in the order of the definition."""
    while values.size > 1:
        values = _chunk_sums(values)
    return float(values[0]) if values.size else 0.0


def reducer(operation: str, dtype: np.dtype[Any], *, by_rows: bool) -> Callable[[Array], Any]:
    """What a reduction makes of an array; in a program that tells rows and columns apart, of a matrix.

    One number for the whole is in float64; numbers for rows are ``(rows, 1)`` and those for columns ``(1, columns)``,
    in ``dtype``.
    """
    word, axis = (operation[:-1], operation[-1]) if operation[-1] in "01" else (operation, "")
    add = np.maximum if word == "max" else np.add
    first = -np.inf if word == "max" else 0.0

    def reduced(values: Array) -> Any:
        terms = np.asarray(values, np.float64)
        terms = terms if by_rows else terms.reshape(1, -1)
        if word == "norm":
            terms = np.square(terms)
        count = {"": terms.size, "0": terms.shape[0], "1": terms.shape[1]}[axis]
        if axis == "0":
            found = _columns(terms, add, first)
        else:
            found = _rows(terms, add, first)
            found = found[:, np.newaxis] if axis else _rows(found[np.newaxis], add, first)[0]
        if word == "mean":
            found = found / np.float64(count)
        elif word == "norm":
            found = np.sqrt(found)
        elif word == "max":
            found = found + 0.0
        return found.astype(dtype) if axis else found

    return reduced


def _rows(terms: NDArray[np.float64], add: Any, first: float) -> NDArray[np.float64]:
    """What each row makes together."""
    rows = terms.shape[0]
    while True:
        size = terms.shape[1]
        chunks = max(1, -(-size // CHUNK))
        lines = -(-max(1, size) // LANES) if chunks == 1 else CHUNK // LANES
        padded = np.full((rows, chunks * lines * LANES), first)
        padded[:, :size] = terms
        parts = padded.reshape(rows, chunks, lines, LANES)
        lanes = np.full((rows, chunks, LANES), first)
        for line in range(lines):  # NumPy's own order is not known of every shape
            lanes = add(lanes, parts[:, :, line])
        while lanes.shape[2] > 1:
            half = lanes.shape[2] // 2
            lanes = add(lanes[:, :, :half], lanes[:, :, half:])
        terms = lanes[:, :, 0]
        if chunks == 1:
            return terms[:, 0]


def _columns(terms: NDArray[np.float64], add: Any, first: float) -> NDArray[np.float64]:
    """What each column makes together, as a matrix of one row."""
    while True:
        rows, columns = terms.shape
        bands = max(1, -(-rows // BAND))
        padded = np.full((bands * BAND, columns), first)
        padded[:rows] = terms
        parts = padded.reshape(bands, BAND, columns)
        terms = np.full((bands, columns), first)
        for line in range(BAND):
            terms = add(terms, parts[:, line])
        if bands == 1:
            return terms


def square_sum(values: Array, kind: str | None = None) -> float:
    """The sum of the squares of all entries, in NumPy; ``kind`` is ``"bfloat16"`` where they are the bits of such."""
    with np.errstate(all="ignore"):
        sums = [_chunk_sums(np.square(_widened(piece, kind))) for piece in _pieces(values)]
    return total(np.concatenate(sums)) if sums else 0.0


def square_sums(arrays: Sequence[Array]) -> NDArray[np.float64]:
    """The sum of the squares of each array, in float64: compiled, where LLVM is installed.

    Arrays of other dtypes than float16, float32 and float64, and those that are not contiguous, are copied first. The
    sum of a float64 array may overflow though its entries are finite; a norm need not (`norm`).
    """
    plain = [_plain(array) for array in arrays]
    try:
        from minima.optim.engines.cpu.reductions import SquareSums
    except ModuleNotFoundError:
        return np.array([square_sum(array) for array in plain], np.float64)
    places: dict[Any, list[int]] = {}
    for place, array in enumerate(plain):
        places.setdefault(array.dtype, []).append(place)
    result = np.zeros(len(arrays))
    for dtype, where in places.items():
        mine = [plain[place] for place in where]
        sums = SquareSums([array.size for array in mine], _KINDS[dtype])
        result[where] = sums([array.ctypes.data for array in mine])
    return result


def finite(arrays: Sequence[Array], sums: Sequence[float] | None = None) -> list[bool]:
    """Whether all entries are finite, for each array; ``sums`` are those of the squares, where they are known."""
    return [
        # What is not finite in float64 may be the sum alone.
        math.isfinite(found) or (array.dtype.itemsize > 4 and all(np.isfinite(piece).all() for piece in _pieces(array)))
        for array, found in zip(arrays, square_sums(arrays).tolist() if sums is None else sums, strict=True)
    ]


def norm(arrays: Sequence[Array], power: float = 2.0) -> float:
    """The ``power``-norm of all entries together, right also where the powers of entries over- or underflow.

    It is ``sum(abs(x) ** power) ** (1 / power)``, or the largest magnitude.

    Args:
        arrays: Of any floating dtypes and shapes. The 2-norm reads them once, as a rule, and makes no copies.
        power: Above 0; infinity for the largest magnitude.
    """
    if power == 2:
        squares = sum(square_sums(arrays).tolist())
        # Squares below the least normal float64 have lost bits; of a sum above this, they are too small a part to see.
        if 1e-280 < squares < math.inf or math.isnan(squares) or all(array.dtype.itemsize <= 4 for array in arrays):
            return math.sqrt(squares)
    peak = _peak(arrays)
    if power == math.inf or peak == 0 or not math.isfinite(peak):
        return peak
    exponent = math.frexp(peak)[1]
    powers = 0.0
    with np.errstate(all="ignore"):
        for piece in (piece for array in arrays for piece in _pieces(array)):
            scaled = np.ldexp(piece.astype(np.float64), -exponent)
            powers += square_sum(scaled) if power == 2 else total(np.abs(scaled) ** power)
        return float(np.ldexp(np.float64(powers) ** (1 / power), exponent))


def unit_norms(array: Array, axis: int | None) -> NDArray[np.float64]:
    """The 2-norm of each slice of an array along ``axis``, or of all of it; the other axes stay, with length 1.

    These are sums in NumPy's own order.
    """
    others = tuple(place for place in range(array.ndim) if axis is None or place != axis % array.ndim)
    with np.errstate(all="ignore"):
        if array.dtype.itemsize <= 4 or array.size == 0:
            return np.sqrt(_sums_over(array, others))
        exponents = np.frexp(np.abs(array).max(axis=others, keepdims=True))[1]  # 0 of what is not finite
        scaled = np.ldexp(array.astype(np.float64), -exponents)
        return np.ldexp(np.sqrt(_sums_over(scaled, others)), exponents)


def _chunk_sums(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """The sum of each chunk."""
    chunks = max(1, -(-values.size // CHUNK))
    rows = -(-max(1, values.size) // LANES) if chunks == 1 else CHUNK // LANES
    padded = values
    if values.size != chunks * rows * LANES:
        padded = np.zeros(chunks * rows * LANES)
        padded[: values.size] = values
    with np.errstate(all="ignore"):
        lanes = np.add.reduce(padded.reshape(chunks, rows, LANES), axis=1, initial=0.0)
        while lanes.shape[1] > 1:
            half = lanes.shape[1] // 2
            lanes = lanes[:, :half] + lanes[:, half:]
    return lanes[:, 0]


def _widened(values: Array, kind: str | None) -> NDArray[np.float64]:
    if kind == "bfloat16":
        values = (values.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return values.astype(np.float64)


def _pieces(array: Array) -> Iterator[Array]:
    """The elements in whole chunks, few enough at a time to work on without much memory."""
    flat = array.reshape(-1)
    return (flat[start : start + _BATCH] for start in range(0, flat.size, _BATCH))


def _plain(array: Array) -> Array:
    """An array of a dtype that compiled code reads, contiguous and aligned."""
    if array.dtype in _KINDS and array.flags.carray:
        return array
    return np.require(array, None if array.dtype in _KINDS else np.float64, ["C", "A"])


def _sums_over(array: Array, axes: tuple[int, ...]) -> NDArray[np.float64]:
    """Sums of squares over some axes, which stay, with length 1; without a copy in float64 of the whole array."""
    every = list(range(array.ndim))
    kept = [place for place in every if place not in axes]
    # einsum's last argument says which axes its result has
    sums = np.einsum(array, every, array, every, kept, dtype=np.float64)
    return np.asarray(sums, np.float64).reshape([1 if place in axes else array.shape[place] for place in every])


def _peak(arrays: Sequence[Array]) -> float:
    """The largest magnitude; NaN if there is one."""
    with np.errstate(all="ignore"):
        peaks = [float(np.abs(piece).max()) for array in arrays for piece in _pieces(array)]
    return float(np.max(peaks)) if peaks else 0.0
