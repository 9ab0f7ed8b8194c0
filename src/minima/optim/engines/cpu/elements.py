"""One operation of a program on one element, in LLVM's language."""

from collections.abc import Sequence
from typing import Any

from minima.optim.engines.cpu.doubles import Doubles
from minima.optim.engines.cpu.llvm import BIT, FLOATS, ir
from minima.optim.language.operations import OPERATIONS

__all__ = ["WORD", "Elements"]

WORD = ir.IntType(32)


class Elements:
    """Writes operations on numbers of one precision with a builder.

    None of them may be reordered or contracted, so that the four operations and the square root, which IEEE 754 rounds
    exactly, give the bits that NumPy gives; and so does what is made of them.
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
        row = OPERATIONS[name]
        operands = [*operands[: row.truths], *map(self.as_number, operands[row.truths :])]
        if row.definition is not None:
            doubles = Doubles(self.builder, self.number == FLOATS["float32"])
            found = row.definition(doubles, *map(doubles.value, operands)).code
            return self.builder.fptrunc(found, self.number) if doubles.is_single else found
        if not row.llvm:
            return getattr(self, f"_{name}")(*operands)
        if row.llvm.startswith("llvm."):
            return self.function(row.llvm, *operands)
        instruction, *predicate = row.llvm.split()
        return getattr(self.builder, instruction)(*predicate, *operands)

    def _where(self, condition: Any, x: Any, y: Any) -> Any:
        return self.builder.select(condition, x, y)

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
        """The first where it wins or is NaN, else the second."""
        builder = self.builder
        return builder.select(builder.or_(builder.fcmp_ordered(wins, x, y), builder.fcmp_unordered("!=", x, x)), x, y)

    def bfloat16_bits(self, value: Any, noise: Any = None) -> Any:
        """A number in float32, with the lower half of its bits rounded up as noise says and still to be cut off.

        Without noise it is rounded to the nearest, and of two that are as near to the even one.
        """
        builder, single = self.builder, FLOATS["float32"]
        value = value if self.number == single else builder.fptrunc(value, single)
        nan = ir.Constant(single, float("nan"))  # one whose bits do not overflow
        value = builder.select(builder.fcmp_unordered("!=", value, value), nan, value)
        word = builder.bitcast(value, WORD)
        if noise is None:
            even = builder.and_(builder.lshr(word, ir.Constant(WORD, 16)), ir.Constant(WORD, 1))
            noise = builder.add(even, ir.Constant(WORD, 0x7FFF))
        return builder.add(word, noise)

    def _bfloat16(self, x: Any) -> Any:
        builder, single = self.builder, FLOATS["float32"]
        word = builder.and_(self.bfloat16_bits(x), ir.Constant(WORD, 0xFFFF0000))
        rounded = builder.bitcast(word, single)
        return rounded if self.number == single else builder.fpext(rounded, self.number)
