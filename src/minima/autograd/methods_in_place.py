"""What writes into a tensor's own memory, as methods."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np

from minima.autograd.methods_pytorch import scaled
from minima.autograd.modes import no_grad, recording
from minima.autograd.operations import elementwise
from minima.autograd.primitive import Primitive
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["MethodsInPlace"]


class MethodsInPlace:
    """The methods, in terms of what the tensor supplies. All give the tensor back.

    Those that compute are recorded, as ``x += y`` is; those that overwrite refuse a tensor that requires a gradient
    while operations are recorded.
    """

    __slots__ = ()

    @property
    @abstractmethod
    def requires_grad(self) -> bool:
        """Whether gradients flow to or through this tensor."""

    @property
    @abstractmethod
    def dtype(self) -> np.dtype[Any]:
        """The type of the elements."""

    @abstractmethod
    def _write(self, index: Any, value: Any, who: str) -> None:
        """Write elements; ``who`` complains."""

    @abstractmethod
    def _update(self, primitive: Primitive, other: object, *, floating: bool = False) -> Tensor:
        """``primitive(self, other)``, written into this tensor's own memory."""

    @abstractmethod
    def _clipped(self, who: str, low: Any, high: Any, *names: str) -> Tensor:
        """The values, held between two bounds, which ``who`` calls by these names."""

    def add_(self, other: TensorLike, *, alpha: float = 1) -> Self:
        """``x += alpha * other``."""
        return self._updated("add_", elementwise.add, scaled("add_", other, alpha))

    def sub_(self, other: TensorLike, *, alpha: float = 1) -> Self:
        """``x -= alpha * other``."""
        return self._updated("sub_", elementwise.subtract, scaled("sub_", other, alpha))

    def mul_(self, other: TensorLike) -> Self:
        """``x *= other``."""
        return self._updated("mul_", elementwise.multiply, other)

    def div_(self, other: TensorLike) -> Self:
        """``x /= other``."""
        return self._updated("div_", elementwise.divide, other, floating=True)

    def _updated(self, who: str, primitive: Primitive, other: object, *, floating: bool = False) -> Self:
        result: Any = self._update(primitive, other, floating=floating)
        if result is NotImplemented:
            raise TypeError(sentence(who, "the operand must be a tensor, an array or a number", got=other))
        return self

    def clamp_(self, min: float | None = None, max: float | None = None) -> Self:
        """Hold the values between the numbers ``min`` and ``max``."""
        with no_grad():
            held = self._clipped("clamp_", min, max, "min", "max")
        if not np.can_cast(held.dtype, self.dtype, "same_kind"):
            rule = f"{self.dtype} elements cannot hold the result"
            raise TypeError(sentence("clamp_", rule, got=str(held.dtype)))
        return self._overwritten("clamp_", held)

    def copy_(self, source: TensorLike) -> Self:
        """Write the values of ``source``, broadcast."""
        return self._overwritten("copy_", source)

    def fill_(self, value: TensorLike) -> Self:
        """Write one number everywhere."""
        if shape := np.shape(cast(Any, value)):
            raise ValueError(sentence("fill_", "value must be one number, without axes", got=shape))
        return self._overwritten("fill_", value)

    def zero_(self) -> Self:
        """Write 0 everywhere."""
        return self._overwritten("zero_", 0)

    def _overwritten(self, who: str, source: TensorLike) -> Self:
        if recording.get() and self.requires_grad:
            rule = "what requires a gradient cannot be overwritten while operations are recorded"
            raise RuntimeError(sentence(who, rule, hint="use no_grad(), or assign to .data"))
        self._write(Ellipsis, source, who)
        return self
