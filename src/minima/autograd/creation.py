"""Tensors from nothing but numbers, by the names that NumPy and PyTorch share."""

from typing import Any

import numpy as np

from minima.autograd.arrays import made
from minima.autograd.device import Device
from minima.autograd.dtypes import DTypeLike
from minima.autograd.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "arange",
    "empty",
    "empty_like",
    "eye",
    "from_numpy",
    "full",
    "full_like",
    "linspace",
    "ones_like",
    "tensor",
    "zeros_like",
]


def tensor(
    data: object,
    dtype: DTypeLike | None = None,
    device: Device | str | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """PyTorch's name for ``Tensor(data, ...)``.

    >>> tensor([1, 2])
    Tensor([1, 2])
    """
    return Tensor(data, dtype, device, requires_grad)


def arange(
    start: float,
    stop: float | None = None,
    step: float = 1,
    *,
    dtype: DTypeLike | None = None,
    requires_grad: bool = False,
) -> Tensor:
    """The numbers from ``start`` (by default 0) up to ``stop``, exclusive; int64 for integers, else float32.

    >>> arange(3).tolist(), arange(1, 2, 0.5).tolist()
    ([0, 1, 2], [1.0, 1.5])
    """
    low, high = (0, start) if stop is None else (start, stop)
    return Tensor(made("arange", (low, high, step), np.arange, low, high, step), dtype, None, requires_grad)


def linspace(
    start: float, stop: float, num: int, *, dtype: DTypeLike = "float32", requires_grad: bool = False
) -> Tensor:
    """``num`` evenly spaced numbers from ``start`` to ``stop``, both included.

    >>> linspace(0, 1, 3).tolist()
    [0.0, 0.5, 1.0]
    """
    return Tensor(made("linspace", (start, stop, num), np.linspace, start, stop, num), dtype, None, requires_grad)


def eye(n: int, m: int | None = None, *, dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """The matrix with ``n`` rows and ``m`` columns (by default ``n``) and ones on its diagonal.

    >>> eye(2).tolist()
    [[1.0, 0.0], [0.0, 1.0]]
    """
    return Tensor(made("eye", (n, m), np.eye, n, m), dtype, None, requires_grad)


def full(
    shape: int | tuple[int, ...], fill_value: float, *, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with ``fill_value``.

    >>> full((2,), 0.5)
    Tensor([0.5, 0.5])
    """
    return Tensor(made("full", (shape, fill_value), np.full, shape, fill_value), dtype, None, requires_grad)


def zeros_like(x: TensorLike, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Zeros with the shape and dtype of ``x``."""
    return full_like(x, 0, dtype=dtype, requires_grad=requires_grad)


def ones_like(x: TensorLike, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Ones with the shape and dtype of ``x``."""
    return full_like(x, 1, dtype=dtype, requires_grad=requires_grad)


def full_like(
    x: TensorLike, fill_value: float, *, dtype: DTypeLike | None = None, requires_grad: bool = False
) -> Tensor:
    """A tensor filled with ``fill_value``, in the shape and dtype of ``x``."""
    x = as_tensor(x)
    return full(x.shape, fill_value, dtype=dtype or x.dtype, requires_grad=requires_grad)


def empty(*shape: int | tuple[int, ...], dtype: DTypeLike = "float32", requires_grad: bool = False) -> Tensor:
    """A tensor of this shape with zeros, so that nobody reads what memory held before."""
    sizes: Any = shape[0] if len(shape) == 1 else shape
    return Tensor(made("empty", sizes, np.zeros, sizes), dtype, None, requires_grad)


def empty_like(x: TensorLike, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """`empty` in the shape and dtype of ``x``."""
    return full_like(x, 0, dtype=dtype, requires_grad=requires_grad)


def from_numpy(array: np.ndarray[Any, Any]) -> Tensor:
    """A tensor that shares the memory and keeps the dtype of ``array``.

    >>> import numpy as np
    >>> array = np.zeros(2)
    >>> x = from_numpy(array)
    >>> array[0] = 5
    >>> x.tolist()
    [5.0, 0.0]
    """
    return Tensor.from_numpy(array)
