"""Which element types a tensor may have."""

from typing import Any

import numpy as np

from minima.errors import sentence

__all__ = ["FLOAT", "DTypeLike", "as_dtype", "float16", "float32", "float64", "int32", "int64", "uint8"]

float16, float32, float64 = map(np.dtype, ("float16", "float32", "float64"))
int32, int64, uint8 = map(np.dtype, ("int32", "int64", "uint8"))
FLOAT = float32
_FLOATS = frozenset((float16, float32, float64))

DTypeLike = str | type | np.dtype[Any]


def as_dtype(dtype: DTypeLike) -> np.dtype[Any]:
    """The NumPy dtype that ``dtype`` names; Python's ``float`` is float32, its ``int`` int64."""
    if dtype is float:
        return FLOAT
    try:
        found = np.dtype(dtype)
    except TypeError:
        found = None
    if found is None or not _allowed(found):
        raise TypeError(
            sentence("Tensor", "dtype must be float16, float32, float64, an integer type or bool", got=dtype)
        ) from None
    return found


def _allowed(dtype: np.dtype[Any]) -> bool:
    return dtype in _FLOATS or dtype.kind in "iub"
