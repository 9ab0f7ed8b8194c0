"""What Python's operators mean for a value of a rule under trace: words, which it looks up itself."""

from typing import Any

from minima.optim.language.vocabulary import Symbolic

__all__ = ["Operators"]


class Operators(Symbolic):
    """The operators, in terms of `call`."""

    __slots__ = ()

    def __add__(self, other: Any) -> Any:
        return self.call("add", (self, other))

    def __radd__(self, other: Any) -> Any:
        return self.call("add", (other, self))

    def __sub__(self, other: Any) -> Any:
        return self.call("sub", (self, other))

    def __rsub__(self, other: Any) -> Any:
        return self.call("sub", (other, self))

    def __mul__(self, other: Any) -> Any:
        return self.call("mul", (self, other))

    def __rmul__(self, other: Any) -> Any:
        return self.call("mul", (other, self))

    def __truediv__(self, other: Any) -> Any:
        return self.call("div", (self, other))

    def __rtruediv__(self, other: Any) -> Any:
        return self.call("div", (other, self))

    def __pow__(self, other: Any) -> Any:
        return self.call("pow", (self, other))

    def __rpow__(self, other: Any) -> Any:
        return self.call("pow", (other, self))

    def __neg__(self) -> Any:
        return self.call("neg", (self,))

    def __pos__(self) -> Any:
        return self

    def __abs__(self) -> Any:
        return self.call("abs", (self,))

    def __lt__(self, other: Any) -> Any:
        return self.call("lt", (self, other))

    def __le__(self, other: Any) -> Any:
        return self.call("le", (self, other))

    def __gt__(self, other: Any) -> Any:
        return self.call("gt", (self, other))

    def __ge__(self, other: Any) -> Any:
        return self.call("ge", (self, other))

    def __eq__(self, other: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - elementwise, as in NumPy
        return self.call("eq", (self, other))

    def __ne__(self, other: Any) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride] - elementwise, as in NumPy
        return self.call("ne", (self, other))

    __hash__ = object.__hash__

    def __and__(self, other: Any) -> Any:
        return self.call("and", (self, other))

    def __rand__(self, other: Any) -> Any:
        return self.call("and", (other, self))

    def __or__(self, other: Any) -> Any:
        return self.call("or", (self, other))

    def __ror__(self, other: Any) -> Any:
        return self.call("or", (other, self))

    def __invert__(self) -> Any:
        return self.call("not", (self,))
