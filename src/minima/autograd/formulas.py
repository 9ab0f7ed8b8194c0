"""Formulas of several operations that round halves as one operation does: once, at the end."""

import numpy as np

from minima.autograd.dtypes import FLOAT
from minima.autograd.halves import HALF, are_halves
from minima.autograd.tensor import Tensor, TensorLike, as_tensor

__all__ = ["as_given", "floating", "rounded", "widened"]


def floating(x: TensorLike) -> Tensor:
    """An operand as a tensor that floats: integers and booleans become float32."""
    x = as_tensor(x)
    return x if x.dtype.kind == "f" else x.astype(FLOAT)


def as_given(x: TensorLike) -> Tensor:
    """An operand as a tensor of the dtype that it came in, to complain of, or a copy of it that nobody else changes."""
    return x if isinstance(x, Tensor) else Tensor.from_numpy(np.array(x))


def widened(x: Tensor) -> Tensor:
    """An operand of the formula: in float32, if it is in float16."""
    return x if x.buffer.itemsize != 2 or x.dtype != HALF else x.astype(FLOAT)


def rounded(result: Tensor, *operands: Tensor | None) -> Tensor:
    """The result of the formula: in float16, if that is the one floating dtype among the operands as they came."""
    for x in operands:
        if x is not None and x.buffer.itemsize == 2:
            return result.astype(HALF) if are_halves(operands) else result
    return result
