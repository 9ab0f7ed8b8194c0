"""PyTorch's names for what NumPy calls otherwise, as methods."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from minima.autograd.device import Device, as_device
from minima.autograd.dtypes import DTypeLike, as_dtype
from minima.autograd.operations import elementwise, linalg
from minima.autograd.primitive import Primitive
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor

__all__ = ["MethodsPyTorch", "place_and_dtype"]


class MethodsPyTorch:
    """The names, in terms of what the tensor supplies."""

    __slots__ = ()

    @property
    @abstractmethod
    def shape(self) -> tuple[builtins.int, ...]:
        """The sizes of the axes."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""

    @abstractmethod
    def astype(self, dtype: DTypeLike) -> Tensor:
        """A copy with elements of another type."""

    @abstractmethod
    def reshape(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """The same elements in another shape."""

    @abstractmethod
    def swapaxes(self, axis1: builtins.int, axis2: builtins.int) -> Tensor:
        """The tensor with two axes swapped."""

    @abstractmethod
    def clip(self, low: builtins.float | None = None, high: builtins.float | None = None) -> Tensor:
        """The values, clipped to a range."""

    @abstractmethod
    def _binary(self, primitive: Primitive, other: object) -> Tensor:
        """``primitive(self, other)``, or ``NotImplemented``."""

    # Shapes ------------------------------------------------------------------------------------------------------

    def view(self, *shape: builtins.int | Sequence[builtins.int]) -> Tensor:
        """``reshape``: shares the memory if possible, and otherwise copies, where PyTorch raises an error."""
        return self.reshape(*shape)

    def t(self) -> Tensor:
        """The transpose of a matrix; a vector is returned unchanged."""
        if len(self.shape) > 2:
            raise ValueError(sentence("t", "a tensor has at most two axes", got=self.shape, hint="write mT, or T"))
        return self.swapaxes(0, 1) if len(self.shape) == 2 else self.reshape(self.shape)

    @property
    def mT(self) -> Tensor:
        """The last two axes swapped: each matrix is transposed."""
        if len(self.shape) < 2:
            raise ValueError(sentence("mT", "the tensor must have at least two axes", got=self.shape))
        return self.swapaxes(-1, -2)

    def dim(self) -> builtins.int:
        """The number of axes, ``ndim``."""
        return len(self.shape)

    def contiguous(self) -> Tensor:
        """The tensor itself: no operation depends on its memory layout."""
        return self  # pyright: ignore[reportReturnType]  # every one is a Tensor

    # Types and places --------------------------------------------------------------------------------------------

    def to(self, *targets: Any, dtype: DTypeLike | None = None, device: Device | str | None = None) -> Tensor:
        """The tensor with another dtype or device, or with those of another tensor; itself if nothing changes.

        >>> from minima.autograd import Tensor
        >>> Tensor([1, 2]).to("float32").to("cpu").dtype
        dtype('float32')
        """
        device, dtype = place_and_dtype(targets, device, dtype)
        as_device(device)
        if dtype is None or as_dtype(dtype) == self.dtype:
            return self  # pyright: ignore[reportReturnType]  # every one is a Tensor
        return self.astype(dtype)

    def cpu(self) -> Tensor:
        """The tensor itself, which is on the CPU."""
        return self.to(device="cpu")

    def cuda(self) -> Tensor:
        """Not supported: minima's tensors are on the CPU."""
        return self.to(device="cuda")

    def float(self) -> Tensor:
        """As float32; the tensor itself if it already is."""
        return self.to(np.float32)

    def double(self) -> Tensor:
        """As float64; the tensor itself if it already is."""
        return self.to(np.float64)

    def half(self) -> Tensor:
        """As float16; the tensor itself if it already is."""
        return self.to(np.float16)

    def long(self) -> Tensor:
        """As int64; the tensor itself if it already is."""
        return self.to(np.int64)

    def int(self) -> Tensor:
        """As int32; the tensor itself if it already is."""
        return self.to(np.int32)

    def bool(self) -> Tensor:
        """As booleans; the tensor itself if it already is."""
        return self.to(np.bool_)

    # Operations --------------------------------------------------------------------------------------------------

    def clamp(self, min: builtins.float | None = None, max: builtins.float | None = None) -> Tensor:
        """The values, clipped to the range from ``min`` to ``max``: ``clip``."""
        return self.clip(min, max)

    def pow(self, exponent: object) -> Tensor:
        """``x ** exponent``."""
        return self._operate("pow", elementwise.power, exponent)

    def matmul(self, other: object) -> Tensor:
        """``x @ other``."""
        return self._operate("matmul", linalg.matmul, other)

    def mm(self, other: object) -> Tensor:
        """``x @ other``."""
        return self._operate("mm", linalg.matmul, other)

    def _operate(self, who: str, primitive: Primitive, other: object) -> Tensor:
        result: Any = self._binary(primitive, other)
        if result is NotImplemented:
            raise TypeError(sentence(who, "the operand must be a tensor, an array or a number", got=other))
        return result


def place_and_dtype(
    targets: Sequence[Any], device: Device | str | None, dtype: DTypeLike | None
) -> tuple[Device | str | None, DTypeLike | None]:
    """What ``to`` is asked for: a device and a dtype, among its arguments or by their names."""
    for target in targets:
        if isinstance(target, MethodsPyTorch):
            dtype = target.dtype
        elif isinstance(target, Device) or str(target).partition(":")[0] in ("cpu", "cuda", "mps", "xpu"):
            device = target
        else:
            dtype = target
    return device, dtype
