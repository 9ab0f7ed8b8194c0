"""What a rule does with the elements of matrices between two products of them: one compiled loop, on several threads.

What is printed is, but for its language::

    def between(job, me):
        arrays, numbers = job.tables
        for _, _, start, count in each_chunk(job, me):
            for i in range(start, start + count):
                ... the lines, on arrays[...][i] and numbers[...]
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu import coding
from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import FLOATS, INT, VOID, Code, compiled, integer, ir, item, loop
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.pieces import Pieces, each_chunk
from minima.optim.engines.cpu.pool import TABLES
from minima.optim.engines.storage import base
from minima.optim.language.program import Instruction

__all__ = ["Between"]

Array = NDArray[Any]


@dataclass(frozen=True)
class _Lines:
    """Lines and what they work on, in names that are the same wherever the same is computed."""

    lines: tuple[Instruction, ...]
    given: tuple[tuple[str, int], ...]
    """What is read of arrays, and of which."""
    kept: tuple[tuple[str, int], ...]
    """What is written to arrays, and to which."""
    numbers: tuple[str, ...]
    """What is read of numbers."""
    precision: str
    kind: str
    """How parameters are kept."""


class Between:
    """Lines for elements, on arrays of one shape that lie alike."""

    def __init__(
        self, lines: Sequence[Instruction], views: Mapping[str, Array], kept: Collection[str], kind: str
    ) -> None:
        """Compile lines.

        Args:
            lines: Lines for elements, each of which reads what stands before it.
            views: The arrays of what they read, and of what is kept; two of them are the same or do not overlap.
            kept: Those of their results that are read elsewhere. All others stay in registers.
            kind: How parameters are kept.
        """
        made = {line.target: f"value{place}" for place, line in enumerate(lines)}
        given = [name for name in dict.fromkeys(name for line in lines for name in line.reads) if name not in made]
        names = made | {name: f"given{place}" for place, name in enumerate(given)}
        addresses = {name: views[name].ctypes.data for name in (*given, *kept) if name in views}
        arrays = list(dict.fromkeys(addresses.values()))
        self._names = [name for name in given if name not in addresses]
        array = views[lines[-1].target]

        def placed(chosen: Collection[str]) -> tuple[tuple[str, int], ...]:
            return tuple((names[name], arrays.index(addresses[name])) for name in chosen if name in addresses)

        renamed = tuple(
            replace(line, target=names[line.target], operands=tuple(names.get(str(x), x) for x in line.operands))
            for line in lines
        )
        numbers = tuple(names[name] for name in self._names)
        code = _compiled(_Lines(renamed, placed(given), placed(kept), numbers, array.dtype.name, base(kind)))
        self._arrays, self._numbers = np.array(arrays, np.int64), np.zeros(len(numbers), array.dtype)
        self._tables = np.array([table.ctypes.data for table in (self._arrays, self._numbers)], np.int64)
        self._pieces = Pieces([array.size])
        self._pieces.give(code.address, self._tables.ctypes.data)

    def __call__(self, numbers: Mapping[str, Any]) -> None:
        """Run the lines, given what they read of numbers."""
        for place, name in enumerate(self._names):
            self._numbers[place] = numbers[name]
        self._pieces.run()


@once
def _compiled(lines: _Lines) -> Code:
    return compiled(_source(lines), "between", None, 2)


def _source(what: _Lines) -> str:
    module, number, table = ir.Module("between"), FLOATS[what.precision], INT.as_pointer()
    work = _print_loop(module, what)
    function = ir.Function(module, ir.FunctionType(VOID, [table, INT]), "between")
    job, me = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    tables = builder.inttoptr(item(builder, job, integer(TABLES)), table)
    addresses = builder.inttoptr(item(builder, tables, integer(0)), table)
    numbers = builder.inttoptr(item(builder, tables, integer(1)), number.as_pointer())
    values = [item(builder, numbers, integer(place)) for place in range(len(what.numbers))]
    with each_chunk(builder, job, me) as (_, _, start, count):
        arrays = [
            builder.gep(builder.inttoptr(item(builder, addresses, integer(place)), number.as_pointer()), [start])
            for place in range(len({place for _, place in (*what.given, *what.kept)}))
        ]
        builder.call(work, [count, *arrays, *values])
    builder.ret_void()
    return str(module)


def _print_loop(module: Any, what: _Lines) -> Any:
    number, many = FLOATS[what.precision], len({place for _, place in (*what.given, *what.kept)})
    kinds = [number.as_pointer()] * many + [number] * len(what.numbers)
    function = ir.Function(module, ir.FunctionType(VOID, [INT, *kinds]), "elements")
    function.linkage = "internal"
    count, *rest = function.args
    arrays = rest[:many]
    for array in arrays:
        array.add_attribute("noalias")
    elements = Elements(ir.IRBuilder(function.append_basic_block("entry")), number)
    builder = elements.builder
    with loop(builder, count, "i") as i:
        values: dict[Any, Any] = dict(zip(what.numbers, rest[many:], strict=True))
        for name, place in what.given:
            values[name] = item(builder, arrays[place], i)
        for line in what.lines:
            operands = [values[x] if isinstance(x, str) else elements.constant(x) for x in line.operands]
            if line.operation == "nearest":
                values[line.target] = coding.nearest(elements, what.kind, *operands)
            else:
                values[line.target] = elements.operation(line.operation, operands)
        for name, place in what.kept:
            builder.store(elements.as_number(values[name]), builder.gep(arrays[place], [i]))
    builder.ret_void()
    return function
