"""The host part of a program on an NVIDIA GPU: a small kernel that counts steps, and computes the scalars of the next.

What is printed for a program is, but for its language::

    def rows(clocks, groups, shifts, numbers, ts, wide, scalars, many, seed, ticks, own, found):
        i = thread
        if i < many:
            count, fresh = clocks[i]
            t, hypers = *count + 1, numbers[groups[i]]
            wide[i], scalars[i] = the host part of the program, in float64
            ts[i] = t + seed + shifts[i]
            if ticks and not *found:
                *count, *fresh = t, 0
        if i == 0 and own:
            own[0] += not *found
            own[1] += bool(*found)

Every parameter has a row of its own: only the GPU knows how many steps it has taken. A number is a float64, or the
address of a float64 or a float32 on the GPU, of which the kernel takes the value that it has when it runs.
"""

from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import BIT, FLOATS, INT, VOID, integer, ir, item, loop, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cuda.grid import assembly, is_zero, kernel_name, register
from minima.optim.engines.cuda.groups import GLOBAL
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program

__all__ = ["ARGUMENTS", "DOUBLE", "NUMBER", "SINGLE", "THREADS", "asked", "rows_name", "rows_ptx"]

ARGUMENTS = (
    *("clocks", "groups", "shifts", "numbers", "ts", "wide", "scalars"),
    *("many", "seed", "ticks", "own", "found"),
)
"""What the kernel takes: the addresses of its tables; how many rows there are, what random numbers depend on besides
``t``, whether this is a step; where the optimizer's own two counts are, or 0; and where a float32 is, which is not 0
where the step is to be left out."""
THREADS = 128
"""The threads of a block."""
NUMBER, DOUBLE, SINGLE = range(3)
"""What the word of a number is: itself, or the address of a float64, or of a float32."""
_WIDE, _NARROW = FLOATS["float64"], FLOATS["float32"]
_T, _FIRST = "t", "first"
_MOST = 2.0**31
"""Up to here a power with a whole exponent is found by repeated squaring, as `elementary` defines it."""


def asked(program: Program) -> tuple[str, ...]:
    """The numbers that the kernel is given for each group, in their order."""
    return tuple(name for name in program.hypers if name not in (_T, _FIRST))


def rows_name(program: Program) -> str:
    """What a profiler calls the kernel."""
    return f"{kernel_name(program)}_rows"


@once
def rows_ptx(program: Program, compute: str) -> str:
    """The kernel in PTX, with scalars in the precision of a loop."""
    return assembly(program, lambda: _Printer(program, compute).module)


class _Printer:
    """Writes the kernel."""

    def __init__(self, program: Program, compute: str) -> None:
        self.program = program
        self.module: Any = ir.Module(f"{program.name}_rows")
        kind = ir.FunctionType(VOID, [INT] * len(ARGUMENTS))
        function = ir.Function(self.module, kind, rows_name(program))
        function.calling_convention = "ptx_kernel"
        self.builder = builder = ir.IRBuilder(function.append_basic_block("entry"))
        self.elements = Elements(builder, _WIDE)
        given = dict(zip(ARGUMENTS, function.args, strict=True))
        block, threads = register(builder, "ctaid.x"), register(builder, "ntid.x")
        i = builder.add(builder.mul(block, threads), register(builder, "tid.x"))
        is_taken = is_zero(builder, given["found"])
        with when(builder, builder.icmp_signed("<", i, given["many"]), "row"):
            self._print_row(given, i, is_taken, FLOATS[compute])
        is_first = builder.icmp_signed("==", i, integer(0))
        with when(builder, builder.and_(is_first, builder.icmp_signed("!=", given["own"], integer(0))), "own"):
            own = self._pointer(given["own"], _WIDE)
            for place, happened in enumerate((is_taken, builder.not_(is_taken))):
                counted = builder.fadd(item(builder, own, integer(place)), self.elements.as_number(happened))
                builder.store(counted, builder.gep(own, [integer(place)]))
        builder.ret_void()

    def _pointer(self, address: Any, kind: Any = INT) -> Any:
        return self.builder.inttoptr(address, kind.as_pointer(GLOBAL))

    def _print_row(self, given: dict[str, Any], i: Any, is_taken: Any, number: Any) -> None:
        builder, program = self.builder, self.program
        clock = builder.mul(i, integer(2))
        count, fresh = (self._pointer(item(builder, self._pointer(given["clocks"]), clock, k), _WIDE) for k in range(2))
        before, first = builder.load(count), builder.load(fresh)
        t = builder.fadd(before, self.elements.constant(1.0))
        self.whole = builder.fptosi(t, INT)
        names = asked(program)
        group = builder.mul(item(builder, self._pointer(given["groups"]), i), integer(len(names)))
        values: dict[Any, Any] = {_T: t, _FIRST: first}
        for place, name in enumerate(names):
            values[name] = self._number(given["numbers"], builder.add(group, integer(place)))
        for line in program.host:
            operands = [values[x] if isinstance(x, str) else self.elements.constant(x) for x in line.operands]
            values[line.target] = self._line(line, operands)
        for table, kind, kept in (("scalars", number, program.scalars), ("wide", _WIDE, program.wide)):
            array, row = self._pointer(given[table], kind), builder.mul(i, integer(len(kept)))
            for place, name in enumerate(kept):
                value = self.elements.as_number(values[name])
                value = value if kind == _WIDE else builder.fptrunc(value, kind)
                builder.store(value, builder.gep(array, [builder.add(row, integer(place))]))
        shift = builder.add(given["seed"], item(builder, self._pointer(given["shifts"]), i))
        builder.store(builder.add(self.whole, shift), builder.gep(self._pointer(given["ts"]), [i]))
        ticks = builder.icmp_signed("!=", given["ticks"], integer(0))
        with when(builder, builder.and_(is_taken, ticks), "tick"):
            builder.store(t, count)
            builder.store(self.elements.constant(0.0), fresh)

    def _number(self, table: Any, place: Any) -> Any:
        """A number of a group. Nothing is read but what is there: of the two others, the entry itself."""
        builder = self.builder
        entry = builder.add(table, builder.mul(place, integer(16)))
        kind, here = builder.load(self._pointer(entry)), builder.add(entry, integer(8))
        word = builder.load(self._pointer(here))
        is_double, is_single = (builder.icmp_signed("==", kind, integer(each)) for each in (DOUBLE, SINGLE))
        wide = builder.load(self._pointer(builder.select(is_double, word, here), _WIDE))
        narrow = builder.load(self._pointer(builder.select(is_single, word, here), _NARROW))
        return builder.select(is_single, builder.fpext(narrow, _WIDE), wide)

    def _line(self, line: Instruction, operands: list[Any]) -> Any:
        builder, truths = self.builder, OPERATIONS[line.operation].truths
        zero = self.elements.constant(0.0)
        for place in range(truths):
            if operands[place].type != BIT:
                operands[place] = builder.fcmp_unordered("!=", operands[place], zero)
        if line.operation != "pow":
            return self.elements.operation(line.operation, operands)
        x, y = map(self.elements.as_number, operands)
        if line.operands[1] == _T:
            return self._squared(x, self.whole)
        most = self.elements.constant(_MOST)
        is_inside = builder.and_(builder.fcmp_ordered(">", y, zero), builder.fcmp_ordered("<=", y, most))
        whole = builder.fptosi(builder.select(is_inside, y, zero), INT)
        is_whole = builder.and_(is_inside, builder.fcmp_ordered("==", builder.sitofp(whole, _WIDE), y))
        whole = builder.select(is_whole, whole, integer(0))
        return builder.select(is_whole, self._squared(x, whole), self.elements.operation("pow", [x, y]))

    def _squared(self, x: Any, whole: Any) -> Any:
        """A power with a whole exponent, from the first of its digits on."""
        builder, module = self.builder, self.module
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
