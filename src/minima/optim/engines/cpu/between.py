"""What a rule does with the elements of matrices between two products of them: one compiled loop, on several threads.

What is printed is, but for its language::

    def between(job, me):
        arrays, numbers, rows, columns = job.tables
        for _, _, start, count in each_chunk(job, me):
            for i in range(start, start + count):
                ... the lines, on arrays[...][i] and numbers[...]

Where some matrices lie row after row and others column after column, small squares are gone through instead, and the
squares of those that lie across are turned in memory that stays in the cache::

        for _, _, square in each_piece(job, me):
            aside = the squares of what is read and lies across, row after row
            for row in square:
                for i in range(columns of the square):
                    ... the lines, on rows of arrays[...] and aside[...]
            what is kept and lies across = its square in aside
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu import coding
from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import FLOATS, INT, VOID, Code, compiled, integer, ir, item, loop, prefetch
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.pieces import Pieces, each_chunk, each_piece
from minima.optim.engines.cpu.pool import TABLES
from minima.optim.engines.storage import base
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction

__all__ = ["Between"]

Array = NDArray[Any]
_ROW = 512
"""Bytes in a row of a square: it fits into the second cache, and whole lines of memory are read at once."""


@dataclass(frozen=True)
class _Lines:
    """Lines and what they work on, in names that are the same wherever the same is computed."""

    lines: tuple[Instruction, ...]
    given: tuple[tuple[str, int], ...]
    """What is read of arrays, and of which."""
    kept: tuple[tuple[str, int], ...]
    """What is written to arrays, and to which."""
    across: tuple[bool, ...]
    """For every array whether it lies column after column where the first one lies row after row."""
    numbers: tuple[str, ...]
    """What is read of numbers."""
    precision: str
    kind: str
    """How parameters are kept."""


class Between:
    """Lines for elements, on matrices of one shape."""

    def __init__(
        self, lines: Sequence[Instruction], given: Mapping[str, Array], kept: Mapping[str, Array], kind: str
    ) -> None:
        """Compile lines.

        Args:
            lines: Lines for elements, each of which reads what stands before it. None are a copy.
            given: The matrices that are read; what else is read are numbers.
            kept: Where results are written that are read elsewhere; all others stay in registers. Two matrices, given
                or kept, are the same or do not overlap.
            kind: How parameters are kept.
        """
        made = {line.target for line in lines}
        read = dict.fromkeys(name for line in lines for name in line.reads if name not in made)
        self._names = [name for name in read if name not in given]
        names = {name: f"value{place}" for place, name in enumerate([*given, *self._names, *made])}
        first = next(iter(kept.values()))
        arrays: list[tuple[int, bool]] = []  # the same memory stands here twice where it is read both ways

        def placed(chosen: Mapping[str, Array]) -> tuple[tuple[str, int], ...]:
            found: list[tuple[str, int]] = []
            for name, array in chosen.items():
                key = array.ctypes.data, array.flags.c_contiguous != first.flags.c_contiguous
                if key not in arrays:
                    arrays.append(key)
                found.append((names[name], arrays.index(key)))
            return tuple(found)

        what = _Lines(
            lines=tuple(
                replace(line, target=names[line.target], operands=tuple(names.get(str(x), x) for x in line.operands))
                for line in lines
            ),
            given=placed(given),
            kept=placed(kept),
            across=tuple(is_across for _, is_across in arrays),
            numbers=tuple(names[name] for name in self._names),
            precision=first.dtype.name,
            kind=base(kind),
        )
        rows, columns = first.shape if first.flags.c_contiguous else first.shape[::-1]
        side = _side(what.precision)
        squares = np.array([-(-rows // side) * -(-columns // side)]) if any(what.across) else None
        self._pieces = Pieces([first.size], many=squares)
        self._arrays = np.array([address for address, _ in arrays], np.int64)
        self._numbers = np.zeros(len(self._names), first.dtype)
        self._tables = np.array([self._arrays.ctypes.data, self._numbers.ctypes.data, rows, columns], np.int64)
        self._pieces.give(_compiled(what).address, self._tables.ctypes.data)

    def __call__(self, numbers: Mapping[str, Any]) -> None:
        """Run the lines, given what they read of numbers."""
        for place, name in enumerate(self._names):
            self._numbers[place] = numbers[name]
        self._pieces.run()


def _side(precision: str) -> int:
    """The rows and columns of a square."""
    return _ROW // np.dtype(precision).itemsize


@once
def _compiled(lines: _Lines) -> Code:
    return compiled(_Printer(lines).source(), "between", None, 2)


class _Printer:
    def __init__(self, what: _Lines) -> None:
        self.what, self.number, self.side = what, FLOATS[what.precision], _side(what.precision)
        self.module = ir.Module("between")
        self.elements = self._print_elements()

    def source(self) -> str:
        table = INT.as_pointer()
        function = ir.Function(self.module, ir.FunctionType(VOID, [table, INT]), "between")
        job, me = function.args
        builder = self.builder = ir.IRBuilder(function.append_basic_block("entry"))
        tables = builder.inttoptr(item(builder, job, integer(TABLES)), table)
        addresses, numbers, rows, columns = (item(builder, tables, integer(place)) for place in range(4))
        addresses = builder.inttoptr(addresses, table)
        self.arrays = [
            self._pointer(item(builder, addresses, integer(place))) for place in range(len(self.what.across))
        ]
        self.numbers = [
            item(builder, self._pointer(numbers), integer(place)) for place in range(len(self.what.numbers))
        ]
        if any(self.what.across):
            self._print_squares(job, me, rows, columns)
        else:
            with each_chunk(builder, job, me) as (_, _, start, count):
                builder.call(self.elements, [count, *(builder.gep(x, [start]) for x in self.arrays), *self.numbers])
        builder.ret_void()
        return str(self.module)

    def _pointer(self, address: Any) -> Any:
        return self.builder.inttoptr(address, self.number.as_pointer())

    def _print_squares(self, job: Any, me: Any, rows: Any, columns: Any) -> None:
        builder, across = self.builder, self.what.across
        stride = self.side + 1  # so that the elements of a column do not meet in one set of the cache
        aside = {
            place: builder.alloca(self.number, self.side * stride) for place, turned in enumerate(across) if turned
        }
        read, written = ({place for _, place in some} for some in (self.what.given, self.what.kept))
        below = builder.sdiv(builder.add(rows, integer(self.side - 1)), integer(self.side))
        with each_piece(builder, job, me) as (_, _, square):
            top, height = self._part(builder.srem(square, below), rows)
            left, width = self._part(builder.sdiv(square, below), columns)

            def turn(place: int, is_back: bool) -> None:
                with loop(builder, width, "column") as column:
                    start = builder.add(builder.mul(builder.add(left, column), rows), top)
                    of_the_next = builder.add(start, integer(self.side))
                    prefetch(builder, self.arrays[place], of_the_next, self.side, 0)
                    with loop(builder, height, "row") as row:
                        there = builder.gep(self.arrays[place], [builder.add(start, row)])
                        here = builder.gep(aside[place], [builder.add(builder.mul(row, integer(stride)), column)])
                        source, target = (here, there) if is_back else (there, here)
                        builder.store(builder.load(source), target)

            for place in aside:
                if place in read:
                    turn(place, is_back=False)
            with loop(builder, height, "row") as row:
                start = builder.add(builder.mul(builder.add(top, row), columns), left)
                turned = builder.mul(row, integer(stride))
                pieces = [
                    builder.gep(aside[place], [turned]) if place in aside else builder.gep(array, [start])
                    for place, array in enumerate(self.arrays)
                ]
                builder.call(self.elements, [width, *pieces, *self.numbers])
            for place in aside:
                if place in written:
                    turn(place, is_back=True)

    def _part(self, number: Any, size: Any) -> tuple[Any, Any]:
        """Where a square begins along one axis, and how many rows or columns it has."""
        builder = self.builder
        start = builder.mul(number, integer(self.side))
        rest = builder.sub(size, start)
        return start, builder.select(builder.icmp_signed("<", rest, integer(self.side)), rest, integer(self.side))

    def _print_elements(self) -> Any:
        """The lines for some elements: their number, then arrays and numbers."""
        what, many = self.what, len(self.what.across)
        kinds = [self.number.as_pointer()] * many + [self.number] * len(what.numbers)
        function = ir.Function(self.module, ir.FunctionType(VOID, [INT, *kinds]), "elements")
        function.linkage = "internal"
        count, *rest = function.args
        arrays = rest[:many]
        for array in arrays:
            array.add_attribute("noalias")
        elements = Elements(ir.IRBuilder(function.append_basic_block("entry")), self.number)
        builder = elements.builder
        with loop(builder, count, "i") as i:
            values: dict[Any, Any] = dict(zip(what.numbers, rest[many:], strict=True))
            for name, place in what.given:
                values[name] = item(builder, arrays[place], i)
            for line in what.lines:
                operands = [values[x] if isinstance(x, str) else elements.constant(x) for x in line.operands]
                truths = OPERATIONS[line.operation].truths if line.operation in OPERATIONS else 0
                for place, value in enumerate(operands[:truths]):
                    if value.type == self.number:  # a truth of the host, or for the whole matrix, comes as a number
                        operands[place] = builder.fcmp_unordered("!=", value, elements.constant(0.0))
                if line.operation == "nearest":
                    values[line.target] = coding.nearest(elements, what.kind, *operands)
                else:
                    values[line.target] = elements.operation(line.operation, operands)
            for name, place in what.kept:
                builder.store(elements.as_number(values[name]), builder.gep(arrays[place], [i]))
        builder.ret_void()
        return function
