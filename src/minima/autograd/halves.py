"""float16 keeps numbers and does not compute: operations and gradients take float32, and results are rounded once."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from minima.autograd.dtypes import FLOAT

__all__ = ["HALF", "are_halves", "narrow", "wide_dtype", "widen"]

HALF = np.dtype(np.float16)


def wide_dtype(dtype: Any) -> np.dtype[Any]:
    """The dtype that arrays of ``dtype`` are computed in."""
    return FLOAT if dtype == HALF else dtype


def widen(array: Any) -> Any:
    """An array in the dtype that it is computed in; anything else as it is."""
    return array.astype(FLOAT) if getattr(array, "dtype", None) == HALF else array


def are_halves(operands: Iterable[Any]) -> bool:
    """Whether float16 is the one floating dtype among them, so that their result has it too."""
    return {x.dtype for x in operands if hasattr(x, "dtype") and x.dtype.kind == "f"} == {HALF}


def narrow(array: Any) -> Any:
    """A result of halves in float16, unless it consists of integers or booleans."""
    return array.astype(HALF) if array.dtype.kind == "f" else array
