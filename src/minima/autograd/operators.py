"""What Python's operators mean for a tensor."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from minima.autograd.operations import discrete, elementwise, linalg
from minima.autograd.primitive import Primitive

if TYPE_CHECKING:
    from minima.autograd.tensor import Tensor

__all__ = ["Operators"]


class Operators:
    """The operators, in terms of what the tensor supplies: applying a primitive, and doing so in place."""

    __slots__ = ()

    @abstractmethod
    def _binary(
        self, primitive: Primitive, other: object, *, reflected: bool = False, floating: bool = False
    ) -> Tensor:
        """``primitive(self, other)``, or ``primitive(other, self)``, or ``NotImplemented``.

        With ``floating``, integers become float32 first.
        """

    @abstractmethod
    def _compare(self, primitive: Primitive, other: object) -> Tensor:
        """``primitive(self, other)`` without a common dtype: a comparison is exact between dtypes too."""

    @abstractmethod
    def _update(self, primitive: Primitive, other: object, *, floating: bool = False) -> Tensor:
        """``primitive(self, other)``, written into this tensor's own memory."""

    @abstractmethod
    def _unary(self, primitive: Primitive, *, floating: bool = False, **statics: Any) -> Tensor:
        """``primitive(self, **statics)``."""

    def __add__(self, other: object) -> Tensor:
        return self._binary(elementwise.add, other)

    def __radd__(self, other: object) -> Tensor:
        return self._binary(elementwise.add, other, reflected=True)

    def __iadd__(self, other: object) -> Tensor:
        return self._update(elementwise.add, other)

    def __sub__(self, other: object) -> Tensor:
        return self._binary(elementwise.subtract, other)

    def __rsub__(self, other: object) -> Tensor:
        return self._binary(elementwise.subtract, other, reflected=True)

    def __isub__(self, other: object) -> Tensor:
        return self._update(elementwise.subtract, other)

    def __mul__(self, other: object) -> Tensor:
        return self._binary(elementwise.multiply, other)

    def __rmul__(self, other: object) -> Tensor:
        return self._binary(elementwise.multiply, other, reflected=True)

    def __imul__(self, other: object) -> Tensor:
        return self._update(elementwise.multiply, other)

    def __truediv__(self, other: object) -> Tensor:
        return self._binary(elementwise.divide, other, floating=True)

    def __rtruediv__(self, other: object) -> Tensor:
        return self._binary(elementwise.divide, other, reflected=True, floating=True)

    def __itruediv__(self, other: object) -> Tensor:
        return self._update(elementwise.divide, other, floating=True)

    def __floordiv__(self, other: object) -> Tensor:
        return self._binary(discrete.floor_divide, other)

    def __rfloordiv__(self, other: object) -> Tensor:
        return self._binary(discrete.floor_divide, other, reflected=True)

    def __ifloordiv__(self, other: object) -> Tensor:
        return self._update(discrete.floor_divide, other)

    def __mod__(self, other: object) -> Tensor:
        return self._binary(elementwise.remainder, other)

    def __rmod__(self, other: object) -> Tensor:
        return self._binary(elementwise.remainder, other, reflected=True)

    def __imod__(self, other: object) -> Tensor:
        return self._update(elementwise.remainder, other)

    def __pow__(self, other: object) -> Tensor:
        return self._binary(elementwise.power, other)

    def __rpow__(self, other: object) -> Tensor:
        return self._binary(elementwise.power, other, reflected=True)

    def __ipow__(self, other: object) -> Tensor:
        return self._update(elementwise.power, other)

    def __matmul__(self, other: object) -> Tensor:
        return self._binary(linalg.matmul, other)

    def __rmatmul__(self, other: object) -> Tensor:
        return self._binary(linalg.matmul, other, reflected=True)

    def __imatmul__(self, other: object) -> Tensor:
        return self._update(linalg.matmul, other)

    def __neg__(self) -> Tensor:
        return self._unary(elementwise.negative)

    def __pos__(self) -> Tensor:
        return self._unary(elementwise.copy)

    def __abs__(self) -> Tensor:
        return self._unary(elementwise.abs)

    def __eq__(self, other: object) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # elementwise, as in NumPy
        return self._compare(discrete.equal, other)

    def __ne__(self, other: object) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]  # elementwise, as in NumPy
        return self._compare(discrete.not_equal, other)

    __hash__ = object.__hash__  # by identity: == compares elements

    def __lt__(self, other: object) -> Tensor:
        return self._compare(discrete.less, other)

    def __le__(self, other: object) -> Tensor:
        return self._compare(discrete.less_equal, other)

    def __gt__(self, other: object) -> Tensor:
        return self._compare(discrete.greater, other)

    def __ge__(self, other: object) -> Tensor:
        return self._compare(discrete.greater_equal, other)

    def __and__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_and, other)

    def __rand__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_and, other, reflected=True)

    def __iand__(self, other: object) -> Tensor:
        return self._update(discrete.bitwise_and, other)

    def __or__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_or, other)

    def __ror__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_or, other, reflected=True)

    def __ior__(self, other: object) -> Tensor:
        return self._update(discrete.bitwise_or, other)

    def __xor__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_xor, other)

    def __rxor__(self, other: object) -> Tensor:
        return self._binary(discrete.bitwise_xor, other, reflected=True)

    def __ixor__(self, other: object) -> Tensor:
        return self._update(discrete.bitwise_xor, other)

    def __invert__(self) -> Tensor:
        return self._unary(discrete.invert)
