"""The printer of lines that compute with single numbers for NVIDIA GPUs, in float64, by one thread."""

from collections.abc import Iterable
from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import BIT, FLOATS, INT, VOID, integer, ir, loop
from minima.optim.engines.cuda.groups import GLOBAL
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Operand

__all__ = ["STEP", "LinePrinter"]

STEP = "t"
"""The number of the step, which as an exponent is whole."""
_WIDE = FLOATS["float64"]
_MOST = 2.0**31
"""Up to here a power with a whole exponent is found by repeated squaring, as `elementary` defines it."""


class LinePrinter:
    """Writes a kernel that computes with single numbers."""

    def __init__(self, name: str, arguments: Iterable[str]) -> None:
        """Begin a kernel of this name, which takes words of 64 bits."""
        self.module: Any = ir.Module(name)
        names = tuple(arguments)
        function = ir.Function(self.module, ir.FunctionType(VOID, [INT] * len(names)), name)
        function.calling_convention = "ptx_kernel"
        self.builder: Any = ir.IRBuilder(function.append_basic_block("entry"))
        self.elements = Elements(self.builder, _WIDE)
        self.given: dict[str, Any] = dict(zip(names, function.args, strict=True))

    def pointer(self, address: Any, kind: Any = INT) -> Any:
        """What is at an address."""
        return self.builder.inttoptr(address, kind.as_pointer(GLOBAL))

    def compute(self, lines: Iterable[Instruction], values: dict[str, Any]) -> None:
        """Add the results of lines to what is known by name."""
        for line in lines:
            values[line.target] = self._line(line, [self.value(x, values) for x in line.operands], values)

    def value(self, operand: Operand, values: dict[str, Any]) -> Any:
        """What an operand is: a value that is known by name, or a number."""
        return values[operand] if isinstance(operand, str) else self.elements.constant(operand)

    def _line(self, line: Instruction, operands: list[Any], values: dict[str, Any]) -> Any:
        builder, truths = self.builder, OPERATIONS[line.operation].truths
        zero = self.elements.constant(0.0)
        for place in range(truths):
            if operands[place].type != BIT:
                operands[place] = builder.fcmp_unordered("!=", operands[place], zero)
        if line.operation != "pow":
            return self.elements.operation(line.operation, operands)
        x, y = map(self.elements.as_number, operands)
        if line.operands[1] == STEP:
            return self._squared(x, builder.fptosi(values[STEP], INT))
        most = self.elements.constant(_MOST)
        is_inside = builder.and_(builder.fcmp_ordered(">", y, zero), builder.fcmp_ordered("<=", y, most))
        whole = builder.fptosi(builder.select(is_inside, y, zero), INT)
        is_whole = builder.and_(is_inside, builder.fcmp_ordered("==", builder.sitofp(whole, _WIDE), y))
        whole = builder.select(is_whole, whole, integer(0))
        return builder.select(is_whole, self._squared(x, whole), self.elements.operation("pow", [x, y]))

    def _squared(self, x: Any, whole: Any) -> Any:
        """A power with a whole exponent, from the first of its digits on."""
        builder, module = self.builder, self.module
        with builder.goto_entry_block():  # elsewhere it would be memory, and not a register
            slot = builder.alloca(_WIDE)
        builder.store(self.elements.constant(1.0), slot)
        leading = module.declare_intrinsic("llvm.ctlz", [INT], ir.FunctionType(INT, [INT, BIT]))
        digits = builder.sub(integer(64), builder.call(leading, [whole, integer(0, BIT)]))
        with loop(builder, digits, "digit") as place:
            at = builder.sub(builder.sub(digits, integer(1)), place)
            is_one = builder.trunc(builder.lshr(whole, at), BIT)
            found = builder.load(slot)
            square = builder.fmul(found, found)
            builder.store(builder.select(is_one, builder.fmul(square, x), square), slot)
        return builder.load(slot)
