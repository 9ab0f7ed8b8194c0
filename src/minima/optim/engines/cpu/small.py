"""The printer of what is computed between two passes: for a tensor as a whole, its rows and its columns.

What is printed for a program is, but for its language::

    def small_1(tensor):
        add up the sums that the pieces of pass 0 have left
        run the small lines in front of pass 1: for the tensor, in float64; for each row; for each column
        behind the last pass, write the state that there is of them
"""

from collections.abc import Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import INT, VOID, integer, ir, item, least, loop, shares, when
from minima.optim.engines.cpu.printer import DOUBLES, WIDE
from minima.optim.engines.cpu.reductions import combined, first_of, print_fold
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.cpu.values import ValuePrinter
from minima.optim.engines.reductions import BAND
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import COLUMN, ELEMENT, ROW, TENSOR

__all__ = ["SmallPrinter", "Stored", "first_term", "is_largest"]

Stored = list[tuple[Any, Any]]
"""Values, each with where it is to be stored."""


class SmallPrinter(ValuePrinter):
    """Writes what is computed between two passes, for one tensor.

    Here one thread does it. How several share in it is apart: `_each`, `_alone`, `_meet`, and what adds up sums, are
    other ones where a block of threads takes the place of a thread.
    """

    def __init__(self, program: Program, param: str, state: tuple[str, ...], compute: str) -> None:
        self._folds: dict[bool, Any] = {}
        self._adders: dict[bool, Any] = {}
        super().__init__(program, param, state, compute)

    # Threads ---------------------------------------------------------------------------------------------------------

    def _each(self, builder: Any, count: Any, name: str, made: Callable[[Any], Stored]) -> None:
        """Code for every number from 0 up to a count, which stores what is made of the number."""
        with loop(builder, count, name) as i:
            for value, place in made(i):
                builder.store(value, place)

    @contextmanager
    def _alone(self, builder: Any) -> Generator[None]:
        """Code that one thread runs."""
        yield

    def _meet(self, builder: Any) -> None:
        """Let threads wait for each other, so that what they have written can be read."""

    # Small lines -----------------------------------------------------------------------------------------------------

    def _has_small(self, k: int) -> bool:
        is_last = k == len(self.cut.small) - 1
        changes = is_last and any(self.layout.written(rank) for rank in (TENSOR, ROW, COLUMN))
        return bool(self.cut.small[k] or self.layout.folded(k) or changes or k == 0 and self._given())

    def _given(self) -> list[str]:
        """State, sizes and numbers of the host that others ask for as they are."""
        made = {line.target for line in self.program.body}
        return [name for name in self.layout.values if name not in made]

    def _print_small(self, tensor: Tensor, k: int) -> None:
        """All that is computed of a tensor in front of pass ``k``."""
        builder = tensor.builder
        known: dict[str, Any] = {}
        for line in self.layout.folded(k):
            if line.rank == TENSOR:
                known[line.target] = self._print_whole(tensor, line, k - 1)
            elif line.target in self.layout.places(line.rank):
                self._print_along(tensor, line, k - 1)
        for rank, lines in self.layout.groups[k]:
            if rank == TENSOR:
                self._print_wide_lines(tensor, lines, known)
            else:
                self._print_loop_along(tensor, rank, lines, known)
        if k == 0:
            known |= {name: self._wide_value(tensor, name, {}) for name in self._given()}
        elements = Elements(builder, WIDE)
        kept = {name: place for name, place in self.layout.values.items() if name in known}
        if kept:
            line = builder.mul(tensor.number, integer(len(self.layout.values)))
            with self._alone(builder):
                for name, place in kept.items():
                    where = builder.gep(tensor.table("values"), [builder.add(line, integer(place))])
                    builder.store(elements.as_number(known[name]), where)
        if k == len(self.cut.small) - 1:
            self._print_state(tensor, known)

    def _print_wide_lines(self, tensor: Tensor, lines: Iterable[Instruction], known: dict[str, Any]) -> None:
        elements = Elements(tensor.builder, WIDE)
        for line in lines:
            if line.operation in REDUCTIONS:
                known[line.target] = self._print_small_reduction(tensor, line)
                continue
            values = {x: self._wide_value(tensor, x, known) for x in line.reads}
            if line.operation != "narrow":
                self._print_lines(elements, [line], values)
                known[line.target] = values[line.target]
                continue
            value = elements.as_number(self._wide_value(tensor, line.operands[0], known))
            if self.number != WIDE:
                value = tensor.builder.fpext(tensor.builder.fptrunc(value, self.number), WIDE)
            known[line.target] = value

    def _print_loop_along(self, tensor: Tensor, rank: int, lines: list[Instruction], known: dict[str, Any]) -> None:
        """Lines for rows, or for columns."""
        places, own = self.layout.places(rank), {line.target for line in lines}
        names = list(dict.fromkeys(name for line in lines for name in line.reads if name not in own))
        written = {line.target: self._along(tensor, line.target) for line in lines if line.target in places}

        def compute(values: dict[str, Any], _: Any) -> dict[str, Any]:
            self._print_lines(Elements(tensor.builder, self.number), lines, values)
            return values

        self._print_each_along(tensor, rank, names, known, written, compute)
        self._meet(tensor.builder)

    def _print_each_along(
        self,
        tensor: Tensor,
        rank: int,
        names: Iterable[str],
        known: dict[str, Any],
        written: dict[str, Any],
        compute: Callable[[dict[str, Any], Any], dict[str, Any]],
    ) -> None:
        """A loop over rows or columns: what ``compute`` makes of the values of these names is written to arrays."""
        builder, elements = tensor.builder, Elements(tensor.builder, self.number)
        fixed: dict[str, Any] = {}
        needed = [*names]
        if any(line.target in needed for line in self._invariant):
            needed += [x for line in self._invariant for x in line.reads]
        arrays = {name: self._along(tensor, name) for name in needed if self.program.rank(name) == rank}
        for name in needed:
            if self.program.rank(name) <= TENSOR:
                fixed[name] = self._value(tensor, name, known)
        if any(line.target in needed for line in self._invariant):
            self._print_lines(elements, self._invariant, fixed)

        def made(i: Any) -> Stored:
            read = {name: self._loaded(builder, name, array, i) for name, array in arrays.items()}
            found = compute({**fixed, **read}, i)
            return [(elements.as_number(found[name]), builder.gep(array, [i])) for name, array in written.items()]

        self._each(builder, tensor.count(rank), "along", made)

    def _print_state(self, tensor: Tensor, known: dict[str, Any]) -> None:
        """Write what is kept of the tensor, its rows and its columns as a whole. All is read before any is written."""
        elements, numbers = Elements(tensor.builder, WIDE), Elements(tensor.builder, self.number)
        wide = {
            name: elements.as_number(self._wide_value(tensor, value, known))
            for name, value in self.layout.written(TENSOR)
        }
        for rank in (ROW, COLUMN):
            new = dict(self.layout.written(rank))
            names = [value for value in new.values() if isinstance(value, str)]

            def compute(values: dict[str, Any], _: Any, new: dict[str, Operand] = new) -> dict[str, Any]:
                return {name: self._operand(numbers, value, values) for name, value in new.items()}

            if new:
                written = {name: self._address(tensor, name) for name in new}
                self._print_each_along(tensor, rank, names, known, written, compute)
        if wide:
            self._meet(tensor.builder)
            with self._alone(tensor.builder):
                for name, value in wide.items():
                    tensor.builder.store(value, self._address(tensor, name))

    def _function(self, name: str, *kinds: Any, is_hot: bool = False) -> tuple[Any, Any, list[Any]]:
        function = ir.Function(self.module, ir.FunctionType(VOID, kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        if not is_hot:
            function.attributes.add("optsize")  # of what passes spend no time in, compilation should not either
        return function, ir.IRBuilder(function.append_basic_block("entry")), list(function.args)

    # Sums ------------------------------------------------------------------------------------------------------------

    def _fold(self, tensor: Tensor, values: Any, count: Any, line: Instruction) -> Any:
        """The sum of so many doubles, or the largest one. They may be overwritten."""
        builder = tensor.builder
        largest = is_largest(line)
        if largest not in self._folds:
            self._folds[largest] = print_fold(self.module, largest=largest)
        return builder.call(self._folds[largest], [values, count])

    def _finished(self, tensor: Tensor, line: Instruction, sum_: Any, count: Any) -> Any:
        """What a reduction makes of the sum of its terms."""
        builder = tensor.builder
        if line.operation.startswith("mean"):
            return builder.fdiv(sum_, builder.sitofp(count, WIDE))
        if line.operation.startswith("norm"):
            return Elements(builder, WIDE).function("llvm.sqrt", sum_)
        return builder.fadd(sum_, ir.Constant(WIDE, 0.0)) if is_largest(line) else sum_

    def _print_whole(self, tensor: Tensor, line: Instruction, k: int) -> Any:
        """The reduction of all elements, whose sums pass ``k`` has left."""
        array, many = self._leaves_of(tensor, line.target, k), tensor.place("leaves")
        if self.program.by_rows:
            array, many = self._sums_of_rows(tensor, array, line), tensor.place("rows")
        return self._finished(tensor, line, self._fold(tensor, array, many, line), tensor.count(ELEMENT))

    def _sums_of_rows(self, tensor: Tensor, array: Any, line: Instruction) -> Any:
        """Where the sum of each row stands, one behind the other, given those of the pieces of all rows."""
        builder, blocks = tensor.builder, tensor.place("blocks")
        with when(builder, builder.icmp_signed(">", blocks, integer(1)), "in_pieces"):
            with loop(builder, tensor.place("rows"), "row") as row:
                mine = builder.gep(array, [builder.mul(row, blocks)])
                builder.store(self._fold(tensor, mine, blocks, line), builder.gep(array, [row]))
        return array

    def _print_along(self, tensor: Tensor, line: Instruction, k: int) -> None:
        """The reduction of each row or column, whose sums pass ``k`` has left."""
        builder, array = tensor.builder, self._leaves_of(tensor, line.target, k)
        result, is_row = self._along(tensor, line.target), line.rank == ROW
        if is_row:
            self._begin_rows(tensor, array, line)
        else:
            self._add_bands(tensor, array, line)
        count = tensor.place("columns" if is_row else "rows")

        def made(i: Any) -> Stored:
            sum_ = self._sum_of_row(tensor, array, i, line) if is_row else item(builder, array, i)
            value = self._finished(tensor, line, sum_, count)
            value = value if self.number == WIDE else builder.fptrunc(value, self.number)
            return [(value, builder.gep(result, [i]))]

        self._each(builder, tensor.count(line.rank), "along", made)
        self._meet(builder)

    def _begin_rows(self, tensor: Tensor, array: Any, line: Instruction) -> None:
        """Get ready for `_sum_of_row`."""

    def _sum_of_row(self, tensor: Tensor, array: Any, row: Any, line: Instruction) -> Any:
        """The sum of what the pieces of a row have left."""
        builder, blocks = tensor.builder, tensor.place("blocks")
        return self._fold(tensor, builder.gep(array, [builder.mul(row, blocks)]), blocks, line)

    def _add_bands(self, tensor: Tensor, array: Any, line: Instruction) -> None:
        """Add up the sums of bands, as many at a time as a band has rows, until one is left for each column."""
        largest = is_largest(line)
        if largest not in self._adders:
            self._adders[largest] = self._print_add_bands(largest=largest)
        tensor.builder.call(self._adders[largest], [array, tensor.place("bands"), tensor.place("columns")])

    def _print_add_bands(self, *, largest: bool) -> Any:
        """A function that adds up the sums of bands, as many at a time as a band has rows, until one is left."""
        function, builder, (array, bands, columns) = self._function(f"add_bands_{largest:d}", DOUBLES, INT, INT)
        add, more_builder, (into, more, count) = self._function(
            f"add_band_{largest:d}", DOUBLES, DOUBLES, INT, is_hot=True
        )
        for argument in (into, more):
            argument.add_attribute("noalias")
        with loop(more_builder, count, "column") as i:
            both = (item(more_builder, x, i) for x in (into, more))
            more_builder.store(combined(more_builder, *both, largest=largest), more_builder.gep(into, [i]))
        more_builder.ret_void()
        entry = builder.block
        test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        many = builder.phi(INT)
        many.add_incoming(bands, entry)
        builder.cbranch(builder.icmp_signed(">", many, integer(1)), again, done)
        builder.position_at_end(again)
        groups = shares(builder, many, BAND)
        with loop(builder, groups, "group") as group:
            first = builder.mul(group, integer(BAND))
            end = least(builder, builder.add(first, integer(BAND)), many)
            into = builder.gep(array, [builder.mul(group, columns)])
            with loop(builder, columns, "column") as i:
                sum_ = item(builder, array, builder.add(builder.mul(first, columns), i))
                builder.store(sum_, builder.gep(into, [i]))
            with loop(builder, end, "band", builder.add(first, integer(1))) as band:
                builder.call(add, [into, builder.gep(array, [builder.mul(band, columns)]), columns])
        many.add_incoming(groups, builder.block)
        builder.branch(test)
        builder.position_at_end(done)
        builder.ret_void()
        return function

    def _print_small_reduction(self, tensor: Tensor, line: Instruction) -> Any:
        """A reduction of numbers for rows or columns; the sums of passes, which have been added up, make room."""
        builder, (operand, *_) = tensor.builder, line.operands
        assert isinstance(operand, str)
        count, array = tensor.count(self.program.rank(operand)), self._along(tensor, operand)
        room = builder.gep(tensor.table("sums"), [tensor.place("room")])
        self._meet(builder)

        def made(i: Any) -> Stored:
            value = self._term(builder, line, item(builder, array, i))
            return [(combined(builder, first_term(line), value, largest=is_largest(line)), builder.gep(room, [i]))]

        self._each(builder, count, "entry", made)
        self._meet(builder)
        return self._finished(tensor, line, self._fold(tensor, room, count, line), count)


def is_largest(line: Instruction) -> bool:
    return line.operation.startswith("max")


def first_term(line: Instruction) -> Any:
    return ir.Constant(WIDE, first_of(largest=is_largest(line)))
