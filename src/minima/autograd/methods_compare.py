"""Comparisons and questions about values by their names, as methods."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import numpy as np

from minima.autograd.arrays import as_number, as_plain
from minima.autograd.operations import discrete
from minima.autograd.primitive import Array, Primitive
from minima.errors import sentence

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor, TensorLike

__all__ = ["MethodsCompare"]


class MethodsCompare:
    """The methods, in terms of what the tensor supplies. What they give has no gradient."""

    __slots__ = ()
    buffer: Array

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        """``primitive(self, **statics)``; with ``floating``, integers become float32 first."""

    @abstractmethod
    def _compare(self, primitive: Primitive, other: object, **statics: Any) -> Tensor:
        """``primitive(self, other, **statics)`` without a common dtype, or ``NotImplemented``."""

    @abstractmethod
    def _around(self, buffer: Array) -> Tensor:
        """A tensor around an array, without a copy or a check."""

    def eq(self, other: TensorLike) -> Tensor:
        """``x == other``."""
        return self._compared("eq", discrete.equal, other)

    def ne(self, other: TensorLike) -> Tensor:
        """``x != other``."""
        return self._compared("ne", discrete.not_equal, other)

    def lt(self, other: TensorLike) -> Tensor:
        """``x < other``."""
        return self._compared("lt", discrete.less, other)

    def le(self, other: TensorLike) -> Tensor:
        """``x <= other``."""
        return self._compared("le", discrete.less_equal, other)

    def gt(self, other: TensorLike) -> Tensor:
        """``x > other``."""
        return self._compared("gt", discrete.greater, other)

    def ge(self, other: TensorLike) -> Tensor:
        """``x >= other``."""
        return self._compared("ge", discrete.greater_equal, other)

    def logical_and(self, other: TensorLike) -> Tensor:
        """Whether neither is zero."""
        return self._compared("logical_and", discrete.logical_and, other)

    def logical_or(self, other: TensorLike) -> Tensor:
        """Whether one of the two is not zero."""
        return self._compared("logical_or", discrete.logical_or, other)

    def logical_xor(self, other: TensorLike) -> Tensor:
        """Whether just one of the two is zero."""
        return self._compared("logical_xor", discrete.logical_xor, other)

    def logical_not(self) -> Tensor:
        """Whether it is zero."""
        return self._unary(discrete.logical_not)

    def isnan(self) -> Tensor:
        """Whether it is NaN."""
        return self._unary(discrete.isnan)

    def isinf(self) -> Tensor:
        """Whether it is infinite, of either sign."""
        return self._unary(discrete.isinf)

    def isfinite(self) -> Tensor:
        """Whether it is neither infinite nor NaN."""
        return self._unary(discrete.isfinite)

    def isclose(self, other: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> Tensor:
        """``abs(x - other) <= atol + rtol * abs(other)``; with ``equal_nan``, NaN is close to NaN."""
        rtol, atol = as_number("isclose", "rtol", rtol), as_number("isclose", "atol", atol)
        statics = {"rtol": rtol, "atol": atol, "equal_nan": equal_nan}
        return self._compared("isclose", discrete.isclose, other, **statics)

    def allclose(self, other: TensorLike, rtol: float = 1e-5, atol: float = 1e-8, equal_nan: bool = False) -> bool:
        """Whether ``isclose`` holds everywhere."""
        return bool(self.isclose(other, rtol, atol, equal_nan).buffer.all())

    def equal(self, other: TensorLike) -> bool:
        """Whether both have one shape and equal elements."""
        return np.array_equal(self.buffer, as_plain(other))

    def argwhere(self) -> Tensor:
        """The indices of all elements that are not zero, one row for each: (elements, axes)."""
        return self._around(np.argwhere(self.buffer))

    def _compared(self, who: str, primitive: Primitive, other: object, **statics: Any) -> Tensor:
        result: Any = self._compare(primitive, other, **statics)
        if result is NotImplemented:
            raise TypeError(sentence(who, "the operand must be a tensor, an array or a number", got=other))
        return result
