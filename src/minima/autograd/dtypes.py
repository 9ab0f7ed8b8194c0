"""Which element types a tensor may have."""

from typing import Any

import numpy as np

from minima.errors import sentence

__all__ = ["FLOAT", "DTypeLike", "as_dtype", "float16", "float32", "float64", "int32", "int64", "uint8"]

float16: np.dtype[Any] = np.dtype("float16")
"""Half precision: 2 bytes, 3 digits, up to 65504. NumPy's, under PyTorch's name, as are the others."""
float32: np.dtype[Any] = np.dtype("float32")
"""Single precision: 4 bytes, 7 digits; what numbers become where nothing else is asked for."""
float64: np.dtype[Any] = np.dtype("float64")
"""Double precision: 8 bytes, 15 digits."""
int32: np.dtype[Any] = np.dtype("int32")
"""Integers of 4 bytes, with a sign."""
int64: np.dtype[Any] = np.dtype("int64")
"""Integers of 8 bytes, with a sign; what Python's ``int`` becomes."""
uint8: np.dtype[Any] = np.dtype("uint8")
"""Integers from 0 to 255, of 1 byte, such as the pixels of pictures."""
FLOAT = float32
_FLOATS = frozenset((float16, float32, float64))

DTypeLike = str | type | np.dtype[Any]
"""What names a data type: its name, one of NumPy's types or dtypes, or Python's ``float``, ``int`` or ``bool``."""


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
