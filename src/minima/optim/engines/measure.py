"""How large gradients are: the sum of the squares of each of many arrays, in float64, in one pass over memory.

The squares of float16 and float32 are exact in float64 and cannot overflow there: of these, the sum is finite if and
only if every entry is. A piece of an array is summed in ``LANES`` running sums, entry ``i`` going to sum ``i % LANES``,
which are then added by halves; the sums of pieces are added in their order. So the result depends neither on the number
of threads nor on the width of a machine's registers, and where llvmlite is missing, NumPy gives the same bits.
"""

import math
import threading
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.pieces import CHUNK, Pieces
from minima.optim.engines.engine import Array

__all__ = ["Squares", "finite", "pieces", "square", "squares"]

LANES = 32
"""Running sums: as many as keep the adders of a core busy, each of which takes four cycles for an addition."""
MEASURED = {np.dtype(name): name for name in ("float16", "float32", "float64")}
"""The dtypes that are read as they are."""


class Squares:
    """Sums of squares of arrays of one dtype, prepared for their sizes, to be taken again and again."""

    def __init__(self, sizes: Sequence[int], dtype: str) -> None:
        self._count = len(sizes)
        self._pieces = Pieces(sizes)
        self._addresses = np.zeros(len(sizes), np.int64)
        self._sums = np.zeros(len(self._pieces.table))
        self._code: Any = _code(dtype)
        tables = (self._addresses, self._pieces.table, self._pieces.done, self._sums)
        self._tables = np.array([table.ctypes.data for table in tables], np.int64)
        self._arguments = (self._tables.ctypes.data, len(self._sums), self._pieces.grain)

    def __call__(self, addresses: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of the squares of each array, given where their elements lie, row after row and aligned."""
        self._addresses[:] = addresses
        self._pieces.share(self._work)
        return self._total(self._sums)

    def in_numpy(self, arrays: Sequence[Array]) -> NDArray[np.float64]:
        """The same without compiled code."""
        flat = [array.reshape(-1) for array in arrays]
        for piece, (array, start, count) in enumerate(self._pieces.table.tolist()):
            self._sums[piece] = square(flat[array][start : start + count])
        return self._total(self._sums)

    def _work(self) -> None:
        self._code.call(*self._arguments)

    def _total(self, sums: NDArray[np.float64]) -> NDArray[np.float64]:
        # One addition after another; no pieces, of an array without elements, sum up to 0.
        return np.bincount(self._pieces.table[:, 0], sums, self._count).astype(np.float64, copy=False)


class _Prepared(threading.local):
    """What a thread has prepared, kept because people measure the gradients of the same parameters again and again."""

    def __init__(self) -> None:
        self.squares = lru_cache(maxsize=16)(Squares)


_prepared = _Prepared()


def squares(arrays: Sequence[Array]) -> NDArray[np.float64]:
    """The sum of the squares of each array, in float64.

    Arrays of other dtypes than float16, float32 and float64, and those that do not lie in memory row after row, are
    copied first. The sum of a float64 array may overflow though its entries are finite; a norm need not (`norms`).
    """
    plain = [_plain(array) for array in arrays]
    places: dict[Any, list[int]] = {}
    for place, array in enumerate(plain):
        places.setdefault(array.dtype, []).append(place)
    result = np.zeros(len(arrays))
    for dtype, where in places.items():
        mine = [plain[place] for place in where]
        measure = _prepared.squares(tuple(array.size for array in mine), MEASURED[dtype])
        compiled = _code(MEASURED[dtype]) is not None
        result[where] = measure([array.ctypes.data for array in mine]) if compiled else measure.in_numpy(mine)
    return result


def finite(arrays: Sequence[Array]) -> list[bool]:
    """Whether all entries are finite, for each array."""
    return [
        # What is not finite in float64 may be the sum alone.
        math.isfinite(total) or (array.dtype.itemsize > 4 and all(np.isfinite(piece).all() for piece in pieces(array)))
        for array, total in zip(arrays, squares(arrays).tolist(), strict=True)
    ]


def _plain(array: Array) -> Array:
    """An array of a dtype that is measured, laid out row after row."""
    if array.dtype in MEASURED and array.flags.carray:
        return array
    return np.require(array, None if array.dtype in MEASURED else np.float64, ["C", "A"])


def pieces(array: Array) -> Iterator[Array]:
    """The elements in rows that are small enough to work on without much memory."""
    flat = array.reshape(-1)
    return (flat[start : start + CHUNK] for start in range(0, flat.size, CHUNK))


def square(values: Array) -> float:
    """The sum of the squares of one piece, in NumPy: what the compiled code does, addition for addition."""
    wide = np.zeros(-(-values.size // LANES) * LANES)
    wide[: values.size] = values
    with np.errstate(all="ignore"):
        wide *= wide
        lanes = np.add.reduce(wide.reshape(-1, LANES), axis=0)
        while lanes.size > 1:
            lanes = lanes[: lanes.size // 2] + lanes[lanes.size // 2 :]
    return float(lanes[0])


@cache
def _code(dtype: str) -> Any:
    """The compiled code for arrays of a dtype; None where llvmlite is missing."""
    try:
        from minima.optim.engines.cpu.squaring import compile_squares
    except ModuleNotFoundError:
        return None
    return compile_squares(dtype, LANES)
