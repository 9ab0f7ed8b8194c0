"""What a tensor tells the outside: its shape and dtype, and its values as numbers, lists, text and NumPy arrays."""

from operator import index
from typing import Any

import numpy as np

from minima.autograd.dtypes import FLOAT
from minima.autograd.tape import Value
from minima.errors import sentence

__all__ = ["Attributes"]


class Size(int):
    """A number of elements that also answers as PyTorch's method of its name."""

    shape: tuple[int, ...]

    def __call__(self, dim: int | None = None) -> Any:
        if dim is None:
            return self.shape
        ndim = len(self.shape)
        if not -ndim <= dim < ndim:
            raise IndexError(sentence("Tensor.size", f"dim must lie in [{-ndim}, {ndim})", got=dim))
        return self.shape[dim]

    def __reduce__(self) -> tuple[type[int], tuple[int]]:
        return int, (int(self),)


class Attributes(Value):
    """The questions that the array alone answers."""

    __slots__ = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The sizes of the axes."""
        return self.buffer.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements, as NumPy's dtype."""
        return self.buffer.dtype

    @property
    def ndim(self) -> int:
        """The number of axes."""
        return self.buffer.ndim

    @property
    def size(self) -> Size:
        """The number of elements; as in PyTorch, ``x.size()`` is the shape, and ``x.size(0)`` the size of an axis."""
        size = Size(self.buffer.size)
        size.shape = self.buffer.shape
        return size

    def numel(self) -> int:
        """The number of elements."""
        return self.buffer.size

    def __len__(self) -> int:
        if not self.shape:
            raise TypeError(sentence("Tensor", "a tensor without axes has no length"))
        return self.shape[0]

    def __repr__(self) -> str:
        name = type(self).__name__
        values = np.array2string(self.buffer, separator=", ", prefix=f"{name}(")
        dtype = "" if self.dtype in (FLOAT, np.dtype(np.int64), np.dtype(bool)) else f", dtype={self.dtype}"
        return f"{name}({values}{dtype}{', requires_grad=True' if self.tracked else ''})"

    def item(self) -> Any:
        """The only element as a Python number."""
        if self.buffer.size != 1:
            raise ValueError(sentence("Tensor", f"only one element can become a number; the shape is {self.shape}"))
        return self.buffer.item()

    def tolist(self) -> Any:
        """The elements as nested lists of Python numbers."""
        return self.buffer.tolist()

    def numpy(self) -> np.ndarray[Any, Any]:
        """The values as an array that shares the memory; not allowed for a tensor that requires a gradient."""
        return self.__array__()

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray[Any, Any]:
        if self.tracked:
            raise RuntimeError(
                sentence("Tensor.numpy", "NumPy would lose track of a gradient", hint="call detach() first")
            )
        return np.array(self.buffer, dtype=dtype, copy=copy)

    def __float__(self) -> float:
        return float(self.item())

    def __int__(self) -> int:
        return int(self.item())

    def __index__(self) -> int:
        return index(self.item())

    def __bool__(self) -> bool:
        return bool(self.item())

    def __format__(self, spec: str) -> str:
        return format(self.item(), spec) if spec else str(self)
