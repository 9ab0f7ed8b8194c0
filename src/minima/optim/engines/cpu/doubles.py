"""Compiled code's numbers in double precision with Python's operators, for what `elementary` defines."""

from typing import Any

from minima.optim.engines.cpu.llvm import FLOATS, INT, ir

__all__ = ["Doubles"]

_DOUBLE = FLOATS["float64"]


class Doubles:
    """The numbers that a builder computes with, and the functions of `Numbers`."""

    def __init__(self, builder: Any, is_single: bool) -> None:
        self.builder = builder
        self.is_single = is_single

    def where(self, condition: "Value", x: Any, y: Any) -> "Value":
        return Value(self.builder, self.builder.select(condition.code, _code(x, _DOUBLE), _code(y, _DOUBLE)))

    def bits(self, x: "Value") -> "Value":
        return Value(self.builder, self.builder.bitcast(x.code, INT))

    def number(self, bits: "Value") -> "Value":
        return Value(self.builder, self.builder.bitcast(bits.code, _DOUBLE))

    def value(self, number: Any) -> "Value":
        """A number of float32 or float64."""
        return Value(self.builder, number if number.type == _DOUBLE else self.builder.fpext(number, _DOUBLE))


def _code(x: Any, kind: Any) -> Any:
    """A value as the builder has it; a plain number as a literal of this type."""
    return x.code if isinstance(x, Value) else ir.Constant(kind, x)


class Value:
    """A number, its bits, or a truth."""

    def __init__(self, builder: Any, code: Any) -> None:
        self.builder = builder
        self.code = code

    def _with(self, instruction: str, other: Any, *, is_turned: bool = False) -> "Value":
        """An instruction on two values of one type; of numbers it has an f in front."""
        x, y = self.code, _code(other, self.code.type)
        write = getattr(self.builder, f"f{instruction}" if x.type == _DOUBLE else instruction)
        return Value(self.builder, write(y, x) if is_turned else write(x, y))

    def _compared(self, sign: str, other: Any) -> "Value":
        x, builder = self.code, self.builder
        compare = builder.icmp_unsigned
        if x.type == _DOUBLE:
            compare = builder.fcmp_unordered if sign == "!=" else builder.fcmp_ordered
        return Value(builder, compare(sign, x, _code(other, x.type)))

    def __add__(self, other: Any) -> "Value":
        return self._with("add", other)

    __radd__ = __add__

    def __sub__(self, other: Any) -> "Value":
        return self._with("sub", other)

    def __rsub__(self, other: Any) -> "Value":
        return self._with("sub", other, is_turned=True)

    def __mul__(self, other: Any) -> "Value":
        return self._with("mul", other)

    __rmul__ = __mul__

    def __truediv__(self, other: Any) -> "Value":
        return self._with("div", other)

    def __rtruediv__(self, other: Any) -> "Value":
        return self._with("div", other, is_turned=True)

    def __neg__(self) -> "Value":
        return Value(self.builder, self.builder.fneg(self.code))

    def __abs__(self) -> "Value":
        size = self.builder.module.declare_intrinsic("llvm.fabs", [_DOUBLE])
        return Value(self.builder, self.builder.call(size, [self.code]))

    def __and__(self, other: Any) -> "Value":
        return self._with("and_", other)

    def __or__(self, other: Any) -> "Value":
        return self._with("or_", other)

    def __lshift__(self, other: Any) -> "Value":
        return self._with("shl", other)

    def __rshift__(self, other: Any) -> "Value":
        return self._with("lshr", other)

    def __lt__(self, other: Any) -> "Value":
        return self._compared("<", other)

    def __le__(self, other: Any) -> "Value":
        return self._compared("<=", other)

    def __gt__(self, other: Any) -> "Value":
        return self._compared(">", other)

    def __ge__(self, other: Any) -> "Value":
        return self._compared(">=", other)

    def __eq__(self, other: Any) -> "Value":  # pyright: ignore[reportIncompatibleMethodOverride] - as in NumPy
        return self._compared("==", other)

    def __ne__(self, other: Any) -> "Value":  # pyright: ignore[reportIncompatibleMethodOverride] - as in NumPy
        return self._compared("!=", other)

    __hash__ = object.__hash__
