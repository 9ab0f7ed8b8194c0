"""The printer of the fused engine for NVIDIA GPUs, for programs that look beyond one element: a kernel for each pass.

What is printed for a program is, but for its language::

    def small_1(tables, shares, many):
        tensor = block of threads
        add up the sums that the pieces of pass 0 have left; run the small lines in front of pass 1

    def pass_1(tables, shares, many):
        tensor, place = the piece of this block of threads, or warp, by shares
        the loop of pass 1 over the elements of the piece, which leaves its sums in places of their own

What is one running sum of a chunk in the order of additions is one thread of a warp here (`sums`), so that a piece of a
pass that ends in sums is the work of one warp.
Between the passes of two stages others multiply matrices, which these leave and find in arrays of their own.
Where the program tells rows and columns apart, a warp has a row of the piece; sums down the columns are taken first, by
a thread for each column.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from minima.optim.engines.cpu import coding
from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import BIT, INT, VOID, integer, ir, item, least, loop, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.printer import WIDE
from minima.optim.engines.cpu.reductions import combined
from minima.optim.engines.cpu.small import first_term, is_largest
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.cuda.grid import THREADS, WARP, assembly, register
from minima.optim.engines.cuda.sums import ARGUMENTS, GridSmallPrinter
from minima.optim.engines.reductions import BAND, CHUNK
from minima.optim.language.program import Instruction, Program
from minima.optim.language.ranks import COLUMN, ELEMENT, ROW

__all__ = ["pass_block", "phases_ptx"]

_ROWS = 8
"""Elements of a thread that are read before the first of them is computed with."""


def pass_block(program: Program, *, has_sums: bool) -> tuple[int, int]:
    """On how many pieces of a pass a block of threads works, and how many threads it has."""
    if has_sums and not program.by_rows:
        return THREADS // WARP, THREADS  # a piece for each warp
    return 1, 2 * THREADS


@once
def phases_ptx(program: Program, param: str, state: tuple[str, ...], compute: str, is_guarded: bool = False) -> str:
    """The kernels of a program in PTX, for parameters of kind ``param``, state of these kinds, and a precision."""
    return assembly(program, lambda: GridPhasePrinter(program, param, state, compute, is_guarded).module)


@dataclass(frozen=True)
class _Given:
    """What a kernel knows of the tensor whose piece it works on."""

    tensor: Tensor
    t: Any
    arrays: dict[str, Any]
    """Where the arrays begin that the pass reads or writes."""
    values: dict[str, Any]
    """The numbers of the host and for the tensor that it reads."""
    of_rows: dict[str, Any]
    """Where the numbers begin that there are for each row,"""
    of_columns: dict[str, Any]
    """and for each column."""
    sums: dict[str, Any]
    """Where its sums begin."""


class GridPhasePrinter(GridSmallPrinter):
    """Writes the kernels that a program of several passes consists of.

    They are called as the rule is, with ``pass_``, ``small_`` and the number of the phase behind it.
    """

    def _print(self) -> None:
        self._add_matrices()
        self.slots: dict[str, Any] = {}
        """What the thread has so far of each sum of the pass that is being printed."""
        for k, made in enumerate(self.cut.passes):
            if downwards := [line for line in self.layout.folded(k) if line.rank == COLUMN]:
                self._print_bands_kernel(k, downwards)
            if self._has_small(k):
                self._print_small_kernel(k)
            if made is not None:
                self._print_pass_kernel(k)
        if self.program.totalled:
            self._print_adding_kernel()

    # Passes ----------------------------------------------------------------------------------------------------------

    def _print_pass_kernel(self, k: int) -> None:
        arrays, along, fixed = self._begin_pass(k)
        made, program = self.mine, self.program
        downwards = [line for line in made.ends if line.rank == COLUMN]
        self.mine = replace(made, ends=tuple(line for line in made.ends if line not in downwards))
        self.is_by_warp = program.by_rows or bool(made.ends)
        has_rest = bool(self.mine.ends or self.mine.writes)
        run = self._print_piece(k, arrays, along, fixed) if has_rest else None
        pieces, threads = pass_block(program, has_sums=bool(made.ends))
        builder, arguments = self._kernel(f"pass_{k}", len(ARGUMENTS), threads, reads_ahead=self.is_by_warp)
        piece, is_there = register(builder, "ctaid.x"), None
        if pieces > 1:
            piece = builder.add(builder.mul(piece, integer(pieces)), self.warp)
            *_, address, many = arguments
            count = item(builder, self._table(builder, address), builder.mul(many, integer(2)))
            is_there = builder.icmp_signed("<", piece, count)
            piece = builder.select(is_there, piece, integer(0))
        number, place = self._owner(builder, arguments, piece)
        tensor = self._tensor(builder, arguments, number)
        given = _Given(
            tensor=tensor,
            t=item(builder, tensor.table("ts"), tensor.row),
            arrays={name: self._address(tensor, name) for name, _, _ in arrays},
            values={name: self._value(tensor, name, {}) for name in fixed},
            of_rows={name: self._along(tensor, name) for name in along[ROW]},
            of_columns={name: self._along(tensor, name) for name in along[COLUMN]},
            sums={line.target: self._leaves_of(tensor, line.target, k) for line in made.ends},
        )
        if program.by_rows:
            self._print_band(given, run, downwards, place)
        elif is_there is None:
            self._print_chunk(given, run, place)
        else:
            with when(builder, is_there, "there"):
                self._print_chunk(given, run, place)
        tensor.end()

    def _print_chunk(self, given: "_Given", run: Any, place: Any) -> None:
        tensor, builder = given.tensor, given.tensor.builder
        start = builder.mul(place, integer(CHUNK))
        size = least(builder, builder.sub(tensor.count(ELEMENT), start), integer(CHUNK))
        shared = {name: many for name, _, many in self.columns}
        pointers = [builder.gep(x, [builder.udiv(start, integer(shared[name]))]) for name, x in given.arrays.items()]
        sinks = [builder.gep(x, [place]) for x in given.sums.values()]
        builder.call(run, [start, size, given.t, *pointers, *given.values.values(), *sinks])

    def _print_band(self, given: "_Given", run: Any, downwards: Sequence[Instruction], place: Any) -> None:
        """A band of rows, or so many of their columns as a chunk has elements."""
        tensor, builder = given.tensor, given.tensor.builder
        rows, columns, blocks = map(tensor.place, ("rows", "columns", "blocks"))
        band, block = builder.udiv(place, blocks), builder.urem(place, blocks)
        column = builder.mul(block, integer(CHUNK))
        size = least(builder, builder.sub(columns, column), integer(CHUNK))
        first = builder.mul(band, integer(BAND))
        end = least(builder, builder.add(first, integer(BAND)), rows)
        if downwards:
            with loop(builder, size, "column", self.me, self.threads) as i:
                self._print_column(given, downwards, first, end, builder.add(column, i))
                below = builder.add(builder.add(builder.mul(band, columns), column), i)
                for line in downwards:
                    sum_ = builder.load(self.slots[line.target])
                    builder.store(sum_, builder.gep(given.sums[line.target], [below]))
            if self.mine.writes:
                self._meet(builder)
        if run is None:
            return
        of_columns = [builder.gep(x, [column]) for x in given.of_columns.values()]
        with loop(builder, end, "row", builder.add(first, self.warp), self.warps) as row:
            start = builder.add(builder.mul(row, columns), column)
            pointers = [builder.gep(array, [start]) for array in given.arrays.values()]
            leaf = builder.add(builder.mul(row, blocks), block)
            sinks = [builder.gep(given.sums[line.target], [leaf]) for line in self.mine.ends]
            numbers = [*given.values.values(), *self._of_row(given, row).values()]
            builder.call(run, [start, size, given.t, *pointers, *of_columns, *numbers, *sinks])

    def _of_row(self, given: "_Given", row: Any) -> dict[str, Any]:
        """The values for a row."""
        builder = given.tensor.builder
        return {name: self._loaded(builder, name, array, row) for name, array in given.of_rows.items()}

    def _print_column(self, given: "_Given", ends: Sequence[Instruction], first: Any, end: Any, column: Any) -> None:
        """Sums down a column of a band, which end in slots. Nothing is written to arrays."""
        builder, mine = given.tensor.builder, self.mine
        elements = Elements(builder, self.number)
        self.mine = replace(mine, ends=tuple(ends), writes=())
        self._begin_sums(builder, ends)
        fixed = {name: item(builder, array, column) for name, array in given.of_columns.items()}
        names = [name for _, name in self.mine.reads if name not in fixed]

        def read(row: Any) -> tuple[dict[str, Any], dict[str, Any]]:
            place = builder.add(builder.mul(row, given.tensor.place("columns")), column)
            return self._of_row(given, row), {name: item(builder, given.arrays[name], place) for name in names}

        def use(found: tuple[dict[str, Any], dict[str, Any]], is_one: Any, _: Any) -> None:
            of_row, entries = found
            self.counts, entry = is_one, {**fixed, **entries}
            values = given.values | of_row
            self._print_body(elements, values, None, entry.__getitem__, lambda name, value: None, self._add)
            self.counts = None

        self._ahead(builder, (first, end, integer(1)), "row", read, use)
        self.mine = mine

    def _print_piece(
        self, k: int, arrays: list[tuple[str, Any, int]], along: dict[int, list[str]], fixed: list[str]
    ) -> Any:
        """The loop of a pass, for the elements of one chunk, or of one row."""
        pointers = [kind.as_pointer(self.space) for _, kind, _ in arrays]
        pointers += [self.number.as_pointer(self.space)] * len(along[COLUMN])
        numbers = [*fixed, *along[ROW]]
        kinds = [BIT if name in self._truths else self.number for name in numbers]
        ends = self.mine.ends
        sinks = [WIDE.as_pointer(self.space)] * len(ends)
        function = ir.Function(
            self.module, ir.FunctionType(VOID, [INT, INT, INT, *pointers, *kinds, *sinks]), f"run_{k}"
        )
        function.linkage = "internal"
        function.attributes.add("alwaysinline")
        start, count, t, *rest = function.args
        for argument in (*rest[: len(pointers)], *rest[len(rest) - len(ends) :]):
            argument.add_attribute("noalias")
        names = [*(name for name, _, _ in arrays), *along[COLUMN], *numbers]
        given = dict(zip(names, rest, strict=False))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._begin_threads(builder)
        self.slot = partial(builder.alloca, WIDE)
        self._begin_sums(builder, ends)
        values = {name: given[name] for name in numbers}
        self._print_loop(Elements(builder, self.number), given, values, start, count, t)
        for line, sink in zip(ends, rest[len(names) :], strict=True):
            largest = is_largest(line)
            self._store_by_warp(
                builder, self._joined(builder, builder.load(self.slots[line.target]), largest=largest), sink
            )
        builder.ret_void()
        return function

    def _begin_sums(self, builder: Any, ends: Iterable[Instruction]) -> None:
        """Give a thread a place for what it has of each sum."""
        self.builder = builder
        self.slots = {}
        for line in ends:
            self.slots[line.target] = self.slot()
            builder.store(first_term(line), self.slots[line.target])

    def _add(self, line: Instruction, value: Any) -> None:
        builder, slot = self.builder, self.slots[line.target]
        so_far = builder.load(slot)
        more = combined(builder, so_far, self._term(builder, line, value), largest=is_largest(line))
        builder.store(more if self.counts is None else builder.select(self.counts, more, so_far), slot)

    def _print_elements(
        self, elements: Elements, arrays: dict[str, Any], scalars: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        if not self.is_by_warp:
            super()._print_elements(elements, arrays, scalars, start, count, t)
            return
        builder = elements.builder
        whole = builder.and_(count, integer(-_ROWS * WARP))

        def compute(first: Any, many: int) -> None:
            places = [builder.add(first, integer(WARP * i)) for i in range(many)]
            names = [name for _, name in self.mine.reads]
            read = {name: [item(builder, arrays[name], place) for place in places] for name in names}
            for i, place in enumerate(places):
                chance, _ = coding.noise_counter(builder, builder.add(start, place), t)
                new = self._print_one(elements, read, i, scalars, chance)
                for name, _ in self.mine.writes:
                    builder.store(new[name], builder.gep(arrays[name], [place]))

        with loop(builder, whole, "rows", self.lane, integer(_ROWS * WARP)) as first:
            compute(first, _ROWS)
        with loop(builder, count, "rest", builder.add(whole, self.lane), integer(WARP)) as first:
            compute(first, 1)
