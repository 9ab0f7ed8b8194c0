"""What a program does for the whole model, on an NVIDIA GPU: its lines, by one thread, and how a step begins.

What is printed is, but for its language::

    def begin(given, *numbers, *shared):
        given[:] = the numbers, which are a part of the launch, then those that are shared

    def model(given, *totals, *results, found):
        if not *found:
            the lines, in float64, with what is given and the totals
            *results = what is wanted of them

Each number that is shared, every total and every result has an address of its own: they may be state that all
parameters share.
"""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import Any

from minima.optim.engines.cpu.llvm import FLOATS, integer, item, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cuda.grid import FOUND, assembly, emitted, is_zero, kernel_name
from minima.optim.engines.cuda.lines import LinePrinter
from minima.optim.language.program import Instruction, Operand, Program

__all__ = ["begin_ptx", "model_name", "model_ptx"]

_WIDE = FLOATS["float64"]


def model_name(program: Program, what: str) -> str:
    """What a profiler calls the kernel of a stage, or of the beginning or the end of a step."""
    return f"{kernel_name(program)}_model_{what}"


@once
def begin_ptx(name: str, numbers: int, shared: int) -> str:
    """The first kernel in PTX, for so many numbers, and so many that are shared."""

    def printed() -> Any:
        told, addresses = range(numbers), range(numbers, numbers + shared)
        printer = LinePrinter(name, ["given", *map(str, (*told, *addresses))])
        builder, (given, *words) = printer.builder, printer.given.values()
        for place, word in enumerate(words):
            number = word if place in told else builder.load(printer.pointer(word))
            builder.store(number, builder.gep(printer.pointer(given), [integer(place)]))
        builder.ret_void()
        return printer.module

    return emitted(printed)


@once
def model_ptx(
    name: str,
    program: Program,
    given: tuple[str, ...],
    totals: tuple[str, ...],
    lines: tuple[Instruction, ...],
    results: tuple[Operand, ...],
    is_guarded: bool = False,
) -> str:
    """A kernel in PTX: it computes lines of a program with what is given and with totals, and gives results."""
    return assembly(program, lambda: _Printer(name, given, totals, lines, results, is_guarded).module)


class _Printer(LinePrinter):
    """Writes the kernel of a stage."""

    def __init__(
        self,
        name: str,
        given: Sequence[str],
        totals: Sequence[str],
        lines: Sequence[Instruction],
        results: Sequence[Operand],
        is_guarded: bool,
    ) -> None:
        places = [f"result {place}" for place in range(len(results))]
        super().__init__(name, ["given", *totals, *places, *([FOUND] * is_guarded)])
        builder, addresses = self.builder, self.given
        with when(builder, is_zero(builder, addresses[FOUND]), "taken") if is_guarded else nullcontext():
            table = self.pointer(addresses["given"], _WIDE)
            values = {known: item(builder, table, integer(place)) for place, known in enumerate(given)}
            values |= {total: builder.load(self.pointer(addresses[total], _WIDE)) for total in totals}
            self.compute(lines, values)
            numbers = [self.elements.as_number(self.value(result, values)) for result in results]
            for number, place in zip(numbers, places, strict=True):
                builder.store(number, self.pointer(addresses[place], _WIDE))
        builder.ret_void()
