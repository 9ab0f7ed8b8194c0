"""The printer of the fused engine for programs that look beyond one element: several loops, and what is between them.

What is printed for a program is, but for its language::

    def kernel(job, me):
        for piece, tensor, place in each_piece(job, me):
            if the tensor has more than one piece: piece_<job.phase>(tensor, place)
            elif the phase is the first of its stage: stage_<its number>(tensor)  # all at once, in the cache

    def between(job, phase):
        for tensor in those of more than one piece: small_<phase>(tensor)

    def stage_0(tensor): small_0(tensor); piece_0(tensor, 0); small_1(tensor); piece_1(tensor, 0); ...

    def small_1(tensor):
        add up the sums that the pieces of pass 0 have left
        run the small lines in front of pass 1: for the tensor, in float64; for each row; for each column

    def piece_1(tensor, place):
        for row in rows of the piece: the loop of pass 1, which leaves its sums in places of their own

A piece is a chunk of the tensor. Where the program tells rows and columns apart, it is a band of rows, and of these so
many columns as a chunk has elements; sums down the columns are then added up band by band.
"""

from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.layout import TABLE_NAMES
from minima.optim.engines.cpu.llvm import BIT, INT, VOID, integer, ir, item, least, loop, when
from minima.optim.engines.cpu.pieces import each_piece
from minima.optim.engines.cpu.pool import ARRAYS, FIRSTS, PHASE, TABLES
from minima.optim.engines.cpu.printer import DOUBLES, WIDE
from minima.optim.engines.cpu.reductions import first_of, halved
from minima.optim.engines.cpu.small import SmallPrinter, first_term, is_largest
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.reductions import BAND, CHUNK, LANES
from minima.optim.language.ranks import COLUMN, ELEMENT, ROW

__all__ = ["PhasePrinter"]


class PhasePrinter(SmallPrinter):
    """Writes the functions that a kernel of several passes consists of."""

    def _print(self) -> None:
        self._add_matrices()
        table = INT.as_pointer()
        many = len(self.cut.small)
        pieces = {k: self._print_piece(k) for k in range(many) if self.cut.passes[k] is not None}
        small = {k: self._print_small_function(k) for k in range(many) if self._has_small(k)}
        stages: dict[int, Any] = {}
        for first, end in zip(self.cut.stages, self.cut.stages[1:], strict=False):
            if first not in pieces:
                continue
            stages[first], builder, (tables, tensor) = self._function(f"stage_{first}", table, INT)
            for k in range(first, end):
                if k in small:
                    builder.call(small[k], [tables, tensor])
                if k in pieces:
                    builder.call(pieces[k], [tables, tensor, integer(0)])
            builder.ret_void()
        self._print_phases(pieces, stages)
        self._print_between(small, pieces)

    def _tensor(self, builder: Any, tables: Any, number: Any) -> Tensor:
        def address(builder: Any, name: str) -> Any:
            return item(builder, tables, integer(TABLE_NAMES.index(name)))

        return Tensor(builder, address, number, self.number)

    def _print_small_function(self, k: int) -> Any:
        function, builder, (tables, number) = self._function(f"small_{k}", INT.as_pointer(), INT)
        tensor = self._tensor(builder, tables, number)
        self._print_small(tensor, k)
        tensor.end()
        return function

    def _print_phases(self, pieces: dict[int, Any], stages: dict[int, Any]) -> None:
        table = INT.as_pointer()
        function, builder, (job, me) = self._function("kernel", table, INT)
        function.linkage = ""
        tables = builder.inttoptr(item(builder, job, integer(TABLES)), table)
        firsts = builder.inttoptr(item(builder, job, integer(FIRSTS)), table)
        phase = item(builder, job, integer(PHASE))
        backwards = builder.trunc(phase, BIT)
        with each_piece(builder, job, me, backwards) as (_, tensor, place):
            many = builder.sub(item(builder, firsts, tensor, 1), item(builder, firsts, tensor))
            is_large = builder.icmp_signed(">", many, integer(1))
            for k, piece in pieces.items():
                with when(builder, builder.icmp_signed("==", phase, integer(k)), f"phase_{k}"):
                    with builder.if_else(is_large) as (large, single):
                        with large:
                            builder.call(piece, [tables, tensor, place])
                        with single:
                            if k in stages:
                                builder.call(stages[k], [tables, tensor])
        builder.ret_void()

    def _print_between(self, small: dict[int, Any], pieces: dict[int, Any]) -> None:
        table = INT.as_pointer()
        function, builder, (job, phase) = self._function("between", table, INT)
        function.linkage = ""
        tables = builder.inttoptr(item(builder, job, integer(TABLES)), table)
        large = builder.inttoptr(item(builder, tables, integer(TABLE_NAMES.index("large"))), table)
        for k, code in small.items():
            with when(builder, builder.icmp_signed("==", phase, integer(k)), f"phase_{k}"):
                if k in pieces or k - 1 in pieces:
                    with loop(builder, item(builder, large, integer(0)), "tensor") as number:
                        builder.call(code, [tables, item(builder, large, number, 1)])
                else:  # a stage without a pass
                    with loop(builder, item(builder, job, integer(ARRAYS)), "tensor") as number:
                        builder.call(code, [tables, number])
        builder.ret_void()

    # Passes ----------------------------------------------------------------------------------------------------------

    def _print_piece(self, k: int) -> Any:
        function, builder, (tables, number, place) = self._function(
            f"piece_{k}", INT.as_pointer(), INT, INT, is_hot=True
        )
        tensor, program = self._tensor(builder, tables, number), self.program
        arrays, along, fixed = self._begin_pass(k)
        made = self.mine
        run = self._print_pass(k, arrays, along[COLUMN], [*fixed, *along[ROW]])
        t = item(builder, tensor.table("ts"), tensor.row)
        addresses = [(self._address(tensor, name), shared) for name, _, shared in arrays]
        values = [self._value(tensor, name, {}) for name in fixed]
        sums = {line.target: self._leaves_of(tensor, line.target, k) for line in made.ends}
        if not program.by_rows:
            start = builder.mul(place, integer(CHUNK))
            count = least(builder, builder.sub(tensor.count(ELEMENT), start), integer(CHUNK))
            pointers = [builder.gep(array, [builder.udiv(start, integer(shared))]) for array, shared in addresses]
            builder.call(run, [start, count, t, *pointers, *values, *(builder.gep(x, [place]) for x in sums.values())])
            tensor.end()
            return function
        rows, columns, blocks = map(tensor.place, ("rows", "columns", "blocks"))
        band, block = builder.udiv(place, blocks), builder.urem(place, blocks)
        column = builder.mul(block, integer(CHUNK))
        count = least(builder, builder.sub(columns, column), integer(CHUNK))
        first = builder.mul(band, integer(BAND))
        end = least(builder, builder.add(first, integer(BAND)), rows)
        for line in made.ends:
            if line.target in self.layout.bands[k]:
                offset = builder.add(builder.mul(band, columns), column)
                sums[line.target] = builder.gep(sums[line.target], [offset])
                with loop(builder, count, "column") as i:
                    builder.store(first_term(line), builder.gep(sums[line.target], [i]))
        downwards = [builder.gep(self._along(tensor, name), [column]) for name in along[COLUMN]]
        sideways = [self._along(tensor, name) for name in along[ROW]]
        with loop(builder, end, "row", first) as row:
            start = builder.add(builder.mul(row, columns), column)
            pointers = [builder.gep(array, [start]) for array, _ in addresses]
            of_row = [self._loaded(builder, x, array, row) for x, array in zip(along[ROW], sideways, strict=True)]
            leaf = builder.add(builder.mul(row, blocks), block)
            sinks = [x if name in self.layout.bands[k] else builder.gep(x, [leaf]) for name, x in sums.items()]
            builder.call(run, [start, count, t, *pointers, *downwards, *values, *of_row, *sinks])
        tensor.end()
        return function

    def _print_pass(self, k: int, arrays: list[tuple[str, Any, int]], columns: list[str], numbers: list[str]) -> Any:
        """The loop of a pass, for elements of one chunk, or of one row."""
        pointers = [*(kind.as_pointer() for _, kind, _ in arrays), *[self.number.as_pointer()] * len(columns)]
        kinds = [BIT if name in self._truths else self.number for name in numbers]
        ends = self.mine.ends
        arguments = [INT, INT, INT, *pointers, *kinds, *[DOUBLES] * len(ends)]
        function = ir.Function(self.module, ir.FunctionType(VOID, arguments), f"pass_{k}")
        function.linkage = "internal"
        start, count, t, *rest = function.args
        for argument in (*rest[: len(pointers)], *rest[len(rest) - len(ends) :]):
            argument.add_attribute("noalias")
        names = [*(name for name, _, _ in arrays), *columns, *numbers]
        given = dict(zip(names, rest, strict=False))
        sinks = dict(zip((line.target for line in ends), rest[len(names) :], strict=True))
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        vector = ir.VectorType(WIDE, LANES)
        self.bands = {name: sink for name, sink in sinks.items() if name in self.layout.bands[k]}
        self.lanes = {}
        for line in ends:
            if line.target not in self.bands:
                lanes = self.lanes[line.target] = builder.alloca(WIDE, LANES, name=f"lanes_{line.target}")
                first = ir.Constant(vector, [first_of(largest=is_largest(line))] * LANES)
                builder.store(first, builder.bitcast(lanes, vector.as_pointer()), align=8)
        values = {name: given[name] for name in numbers}
        self._print_loop(Elements(builder, self.number), given, values, start, count, t)
        for line in ends:
            if line.target in self.lanes:
                lanes = builder.load(builder.bitcast(self.lanes[line.target], vector.as_pointer()), align=8)
                builder.store(halved(builder, lanes, largest=is_largest(line)), sinks[line.target])
        builder.ret_void()
        return function
