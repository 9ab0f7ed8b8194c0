"""One operation of a program on one element, in LLVM's language."""

from collections.abc import Sequence
from typing import Any

from minima.optim.engines.cpu.llvm import BIT, ir

__all__ = ["Elements"]

_ARITHMETIC = {"add": "fadd", "sub": "fsub", "mul": "fmul", "div": "fdiv"}
_COMPARISONS = {"lt": "<", "le": "<=", "gt": ">", "ge": ">=", "eq": "=="}
_LOGIC = {"and": "and_", "or": "or_", "not": "not_"}
_FUNCTIONS = {"sqrt": "llvm.sqrt", "exp": "llvm.exp", "log": "llvm.log", "abs": "llvm.fabs", "pow": "llvm.pow"}


class Elements:
    """Writes operations on numbers of one precision with a builder.

    None of them may be reordered or contracted, so that the four operations and the square root, which IEEE 754 rounds
    exactly, give the bits that NumPy gives.
    """

    def __init__(self, builder: Any, number: Any) -> None:
        self.builder = builder
        self.number = number

    def constant(self, value: float) -> Any:
        """A literal in the precision of the loop."""
        return ir.Constant(self.number, value)

    def as_number(self, value: Any) -> Any:
        """A truth as 0 or 1, a number as it is."""
        return self.builder.uitofp(value, self.number) if value.type == BIT else value

    def function(self, name: str, *args: Any) -> Any:
        """A function that LLVM knows by itself."""
        return self.builder.call(self.builder.module.declare_intrinsic(name, [self.number]), list(args))

    def operation(self, name: str, operands: Sequence[Any]) -> Any:
        """The result of an operation of a program."""
        builder = self.builder
        if name in _LOGIC:
            return getattr(builder, _LOGIC[name])(*operands)
        if name == "where":
            return builder.select(operands[0], *map(self.as_number, operands[1:]))
        x, *others = map(self.as_number, operands)
        if name in _ARITHMETIC:
            return getattr(builder, _ARITHMETIC[name])(x, *others)
        if name in _COMPARISONS:
            return builder.fcmp_ordered(_COMPARISONS[name], x, *others)
        if name in _FUNCTIONS:
            return self.function(_FUNCTIONS[name], x, *others)
        return getattr(self, f"_{name}")(x, *others)

    def _neg(self, x: Any) -> Any:
        return self.builder.fneg(x)

    def _ne(self, x: Any, y: Any) -> Any:
        return self.builder.fcmp_unordered("!=", x, y)

    def _sign(self, x: Any) -> Any:
        """-1, 0 or 1; of NaN, NaN."""
        builder, zero = self.builder, self.constant(0.0)
        still = builder.select(builder.fcmp_ordered("==", x, zero), zero, x)
        falling = builder.select(builder.fcmp_ordered("<", x, zero), self.constant(-1.0), still)
        return builder.select(builder.fcmp_ordered(">", x, zero), self.constant(1.0), falling)

    def _maximum(self, x: Any, y: Any) -> Any:
        return self._extreme(">=", x, y)

    def _minimum(self, x: Any, y: Any) -> Any:
        return self._extreme("<=", x, y)

    def _extreme(self, wins: str, x: Any, y: Any) -> Any:
        """One of two; NaN if either is NaN."""
        builder = self.builder
        return builder.select(builder.or_(builder.fcmp_ordered(wins, x, y), self._ne(x, x)), x, y)
