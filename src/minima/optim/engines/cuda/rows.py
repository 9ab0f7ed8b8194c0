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
address of a float64 or a float32 on the GPU, of which the kernel takes the value that it has when it runs. A second
kernel gives the wide numbers of the step of the optimizer, behind those that count::

    def given(numbers, own, ticks, result):
        t = own[0] + (not ticks)
        result = the wide numbers of the host part of the program, in float64, for the first group
"""

from typing import Any

from minima.optim.engines.cpu.llvm import FLOATS, INT, integer, item, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cuda.grid import assembly, is_zero, kernel_name, register
from minima.optim.engines.cuda.lines import STEP, LinePrinter
from minima.optim.language.program import Program

__all__ = [
    "ARGUMENTS",
    "DOUBLE",
    "GIVEN_ARGUMENTS",
    "NUMBER",
    "SINGLE",
    "THREADS",
    "asked",
    "given_name",
    "given_ptx",
    "rows_name",
    "rows_ptx",
]

ARGUMENTS = (
    *("clocks", "groups", "shifts", "numbers", "ts", "wide", "scalars"),
    *("many", "seed", "ticks", "own", "found"),
)
"""What the kernel takes: the addresses of its tables; how many rows there are, what random numbers depend on besides
``t``, whether this is a step; where the optimizer's own two counts are, or 0; and where a float32 is, which is not 0
where the step is to be left out."""
GIVEN_ARGUMENTS = ("numbers", "own", "ticks", "result")
"""What the second kernel takes."""
THREADS = 128
"""The threads of a block."""
NUMBER, DOUBLE, SINGLE = range(3)
"""What the word of a number is: itself, or the address of a float64, or of a float32."""
_WIDE, _NARROW = FLOATS["float64"], FLOATS["float32"]
_FIRST = "first"


def asked(program: Program) -> tuple[str, ...]:
    """The numbers that the kernels are given for each group, in their order."""
    return tuple(name for name in program.hypers if name not in (STEP, _FIRST))


def rows_name(program: Program) -> str:
    """What a profiler calls the kernel."""
    return f"{kernel_name(program)}_rows"


def given_name(program: Program) -> str:
    """What a profiler calls the second kernel."""
    return f"{kernel_name(program)}_given"


@once
def rows_ptx(program: Program, compute: str) -> str:
    """The kernel in PTX, with scalars in the precision of a loop."""
    return assembly(program, lambda: _RowPrinter(program, compute).module)


@once
def given_ptx(program: Program) -> str:
    """The second kernel in PTX."""
    return assembly(program, lambda: _GivenPrinter(program).module)


class _HostPrinter(LinePrinter):
    """Writes the host part of a program."""

    program: Program

    def _host_part(self, group: Any, t: Any, first: Any) -> dict[str, Any]:
        """All that the host part knows in the end, of a group of hyperparameters."""
        names = asked(self.program)
        start = self.builder.mul(group, integer(len(names)))
        values: dict[str, Any] = {STEP: t, _FIRST: first}
        for place, name in enumerate(names):
            values[name] = self._number(self.given["numbers"], self.builder.add(start, integer(place)))
        self.compute(self.program.host, values)
        return values

    def _number(self, table: Any, place: Any) -> Any:
        """A number of a group. Nothing is read but what is there: of the two others, the entry itself."""
        builder = self.builder
        entry = builder.add(table, builder.mul(place, integer(16)))
        kind, here = builder.load(self.pointer(entry)), builder.add(entry, integer(8))
        word = builder.load(self.pointer(here))
        is_double, is_single = (builder.icmp_signed("==", kind, integer(each)) for each in (DOUBLE, SINGLE))
        wide = builder.load(self.pointer(builder.select(is_double, word, here), _WIDE))
        narrow = builder.load(self.pointer(builder.select(is_single, word, here), _NARROW))
        return builder.select(is_single, builder.fpext(narrow, _WIDE), wide)

    def _store(self, values: dict[str, Any], names: tuple[str, ...], table: Any, row: Any, kind: Any = _WIDE) -> None:
        """Write values to the row of a table."""
        builder, array = self.builder, self.pointer(table, kind)
        first = builder.mul(row, integer(len(names)))
        for place, name in enumerate(names):
            value = self.elements.as_number(values[name])
            value = value if kind == _WIDE else builder.fptrunc(value, kind)
            builder.store(value, builder.gep(array, [builder.add(first, integer(place))]))


class _RowPrinter(_HostPrinter):
    """Writes the kernel that counts."""

    def __init__(self, program: Program, compute: str) -> None:
        super().__init__(rows_name(program), ARGUMENTS)
        self.program = program
        builder, given = self.builder, self.given
        block, threads = register(builder, "ctaid.x"), register(builder, "ntid.x")
        i = builder.add(builder.mul(block, threads), register(builder, "tid.x"))
        is_taken = is_zero(builder, given["found"])
        with when(builder, builder.icmp_signed("<", i, given["many"]), "row"):
            self._print_row(i, is_taken, FLOATS[compute])
        is_first = builder.icmp_signed("==", i, integer(0))
        with when(builder, builder.and_(is_first, builder.icmp_signed("!=", given["own"], integer(0))), "own"):
            own = self.pointer(given["own"], _WIDE)
            for place, happened in enumerate((is_taken, builder.not_(is_taken))):
                counted = builder.fadd(item(builder, own, integer(place)), self.elements.as_number(happened))
                builder.store(counted, builder.gep(own, [integer(place)]))
        builder.ret_void()

    def _print_row(self, i: Any, is_taken: Any, number: Any) -> None:
        builder, program, given = self.builder, self.program, self.given
        clock = builder.mul(i, integer(2))
        count, fresh = (self.pointer(item(builder, self.pointer(given["clocks"]), clock, k), _WIDE) for k in range(2))
        before, first = builder.load(count), builder.load(fresh)
        t = builder.fadd(before, self.elements.constant(1.0))
        values = self._host_part(item(builder, self.pointer(given["groups"]), i), t, first)
        self._store(values, program.scalars, given["scalars"], i, number)
        self._store(values, program.wide, given["wide"], i)
        shift = builder.add(given["seed"], item(builder, self.pointer(given["shifts"]), i))
        builder.store(builder.add(builder.fptosi(t, INT), shift), builder.gep(self.pointer(given["ts"]), [i]))
        ticks = builder.icmp_signed("!=", given["ticks"], integer(0))
        with when(builder, builder.and_(is_taken, ticks), "tick"):
            builder.store(t, count)
            builder.store(self.elements.constant(0.0), fresh)


class _GivenPrinter(_HostPrinter):
    """Writes the kernel that gives the wide numbers, by one thread."""

    def __init__(self, program: Program) -> None:
        super().__init__(given_name(program), GIVEN_ARGUMENTS)
        self.program = program
        builder, one = self.builder, self.elements.constant(1.0)
        own = builder.load(self.pointer(self.given["own"], _WIDE))
        is_behind = builder.icmp_signed("==", self.given["ticks"], integer(0))
        t = builder.select(is_behind, builder.fadd(own, one), own)
        values = self._host_part(integer(0), t, builder.fcmp_ordered("==", t, one))
        self._store(values, program.wide, self.given["result"], integer(0))
        builder.ret_void()
