"""PyTorch's names for what NumPy calls otherwise, as methods."""

from __future__ import annotations

import builtins
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minima.autograd.arrays import as_number, made
from minima.autograd.device import Device, as_device
from minima.autograd.dtypes import DTypeLike, as_dtype
from minima.autograd.operations import elementwise, linalg
from minima.autograd.primitive import Array, Primitive
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor

__all__ = ["MethodsPyTorch", "place_and_dtype", "scaled"]


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
    def _clipped(self, who: str, low: Any, high: Any, *names: str) -> Tensor:
        """The values, clipped to the range between two bounds, which ``who`` calls by these names."""

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: builtins.bool = False) -> Tensor:
        """``primitive(self)``; with ``floating``, integers become float32 first."""

    @abstractmethod
    def _binary(self, primitive: Primitive, other: object, *, floating: builtins.bool = False) -> Tensor:
        """``primitive(self, other)``, or ``NotImplemented``."""

    @abstractmethod
    def _around(self, buffer: Array) -> Tensor:
        """A tensor around an array, without a copy or a check."""

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

    def type_as(self, other: Tensor) -> Tensor:
        """With the dtype of ``other``; itself if it has it."""
        return self.to(other.dtype)

    def is_floating_point(self) -> builtins.bool:
        """Whether the elements are floating."""
        return self.dtype.kind == "f"

    def new_zeros(self, *shape: builtins.int | Sequence[builtins.int], dtype: DTypeLike | None = None) -> Tensor:
        """Zeros of this shape, in the dtype of the tensor."""
        return self._filled("new_zeros", _sizes(shape), 0, dtype)

    def new_ones(self, *shape: builtins.int | Sequence[builtins.int], dtype: DTypeLike | None = None) -> Tensor:
        """Ones of this shape, in the dtype of the tensor."""
        return self._filled("new_ones", _sizes(shape), 1, dtype)

    def new_full(
        self, shape: Sequence[builtins.int], fill_value: builtins.float, *, dtype: DTypeLike | None = None
    ) -> Tensor:
        """A tensor of this shape with ``fill_value`` everywhere, in the dtype of the tensor."""
        return self._filled("new_full", shape, fill_value, dtype)

    def _filled(self, who: str, shape: Any, value: builtins.float, dtype: DTypeLike | None) -> Tensor:
        kind = self.dtype if dtype is None else as_dtype(dtype)
        return self._around(made(who, (shape, value), np.full, shape, value, kind))

    # Operations --------------------------------------------------------------------------------------------------

    def clamp(self, min: builtins.float | None = None, max: builtins.float | None = None) -> Tensor:
        """The values, clipped to the range from ``min`` to ``max``: ``clip``."""
        return self._clipped("clamp", min, max, "min", "max")

    def add(self, other: object, *, alpha: builtins.float = 1) -> Tensor:
        """``x + alpha * other``."""
        return self._operate("add", elementwise.add, scaled("add", other, alpha))

    def sub(self, other: object, *, alpha: builtins.float = 1) -> Tensor:
        """``x - alpha * other``."""
        return self._operate("sub", elementwise.subtract, scaled("sub", other, alpha))

    def mul(self, other: object) -> Tensor:
        """``x * other``."""
        return self._operate("mul", elementwise.multiply, other)

    def div(self, other: object) -> Tensor:
        """``x / other``."""
        return self._operate("div", elementwise.divide, other, floating=True)

    def pow(self, exponent: object) -> Tensor:
        """``x ** exponent``."""
        return self._operate("pow", elementwise.power, exponent)

    def neg(self) -> Tensor:
        """``-x``."""
        return self._unary(elementwise.negative)

    def rsqrt(self) -> Tensor:
        """``1 / sqrt(x)``."""
        return self._unary(elementwise.sqrt, floating=True).reciprocal()

    def matmul(self, other: object) -> Tensor:
        """``x @ other``."""
        return self._operate("matmul", linalg.matmul, other)

    def mm(self, other: Any) -> Tensor:
        """``x @ other`` of two matrices."""
        return self._product("mm", other, 2, 2)

    def bmm(self, other: Any) -> Tensor:
        """``x @ other`` of two batches of matrices, (N, n, m) and (N, m, k)."""
        if self.shape[:1] != np.shape(other)[:1]:
            got = (self.shape, np.shape(other))
            raise ValueError(sentence("bmm", "the operands must be batches of as many matrices", got=got))
        return self._product("bmm", other, 3, 3)

    def mv(self, other: Any) -> Tensor:
        """``x @ other`` of a matrix and a vector."""
        return self._product("mv", other, 2, 1)

    def dot(self, other: Any) -> Tensor:
        """``x @ other`` of two vectors. (NumPy's takes matrices too.)"""
        return self._product("dot", other, 1, 1)

    def _product(self, who: str, other: Any, mine: builtins.int, its: builtins.int) -> Tensor:
        ranks = len(self.shape), np.ndim(other)
        if ranks != (mine, its):
            got = (self.shape, np.shape(other))
            raise ValueError(sentence(who, f"the operands must have {mine} and {its} axes", got=got, hint="write @"))
        return self._operate(who, linalg.matmul, other)

    def _operate(self, who: str, primitive: Primitive, other: object, *, floating: builtins.bool = False) -> Tensor:
        result: Any = self._binary(primitive, other, floating=floating)
        if result is NotImplemented:
            raise TypeError(sentence(who, "the operand must be a tensor, an array or a number", got=other))
        return result


def _sizes(shape: tuple[Any, ...]) -> Sequence[int]:
    return cast("Sequence[int]", shape[0]) if len(shape) == 1 and isinstance(shape[0], Sequence) else shape


def scaled(who: str, other: Any, alpha: float) -> Any:
    """``alpha * other``, of which 1 is left out."""
    return other if alpha == 1 else as_number(who, "alpha", alpha) * other


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
