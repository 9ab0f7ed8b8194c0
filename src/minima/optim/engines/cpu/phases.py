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

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.layout import Layout
from minima.optim.engines.cpu.llvm import BIT, INT, VOID, integer, ir, item, loop, when
from minima.optim.engines.cpu.pieces import each_piece
from minima.optim.engines.cpu.pool import ARRAYS, FIRSTS, PHASE, TABLES
from minima.optim.engines.cpu.printer import DOUBLES, WIDE, Printer
from minima.optim.engines.cpu.reductions import combined, first_of, halved, print_fold
from minima.optim.engines.passes import array_of, cut, invariant
from minima.optim.engines.reductions import BAND, CHUNK, LANES
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import COLUMN, ELEMENT, MODEL, NUMBER, ROW, TENSOR

__all__ = ["PLACES", "TABLE_NAMES", "PhasePrinter"]

TABLE_NAMES = (
    *("buffers", "grads", "rows", "scalars", "ts", "wide"),
    *("model", "values", "sums", "scratch", "places", "large", "matrices"),
)
"""The tables that a kernel reads: the first five as every kernel; the numbers of the host in float64, those for the
whole model, those for each tensor; the sums of pieces, what there is of rows and columns; where a tensor has these; the
number of tensors of more than one piece, and which they are; what products of matrices begin with and end in."""
PLACES = ("rows", "columns", "blocks", "bands", "leaves", "sums", "scratch")
"""What is known of a tensor: how many rows and columns, pieces in a row, bands of rows, and sums that a reduction
leaves; and where its sums and its scratch begin."""


class _Tensor:
    """A tensor, in a function that works on it.

    What the tables say of it is read at the beginning of the function, as far as it is needed: whoever asks for it may
    stand in a loop.
    """

    def __init__(self, builder: Any, tables: Any, number: Any, precision: Any) -> None:
        self.builder = builder
        self.number = number
        """Which one it is."""
        entry = builder.block
        self._early = ir.IRBuilder(entry)
        self._body = entry.parent.append_basic_block("body")
        builder.position_at_end(self._body)
        self._tables = tables
        self._known: dict[str, Any] = {}
        self._kinds: dict[str, Any] = dict.fromkeys(("wide", "model", "values", "sums"), DOUBLES)
        self._kinds |= dict.fromkeys(("scalars", "scratch"), precision.as_pointer())

    def end(self) -> None:
        """Print the end of the function."""
        self._early.branch(self._body)
        self.builder.ret_void()

    def table(self, name: str) -> Any:
        if name not in self._known:
            address = item(self._early, self._tables, integer(TABLE_NAMES.index(name)))
            self._known[name] = self._early.inttoptr(address, self._kinds.get(name, INT.as_pointer()))
        return self._known[name]

    def place(self, name: str) -> Any:
        """One of ``PLACES``."""
        key = f"place {name}"
        if key not in self._known:
            table = self.table("places")
            line = self._early.mul(self.number, integer(len(PLACES)))
            self._known[key] = item(self._early, table, line, PLACES.index(name))
        return self._known[key]

    @property
    def row(self) -> Any:
        """Which row of scalars is its own."""
        if "row" not in self._known:
            self._known["row"] = item(self._early, self.table("rows"), self.number)
        return self._known["row"]

    def count(self, rank: int) -> Any:
        """How many there are of a value."""
        if rank != ELEMENT:
            return self.place("rows" if rank == ROW else "columns")
        if "count" not in self._known:
            self._known["count"] = self._early.mul(self.place("rows"), self.place("columns"))
        return self._known["count"]


class PhasePrinter(Printer):
    """Writes the functions that a kernel of several passes consists of."""

    def __init__(self, program: Program, param: str, state: tuple[str, ...], compute: str) -> None:
        self.cut = cut(program, (param, *state), compute)
        self.layout = Layout(program, self.cut)
        self._compute = compute
        self._matrices = [array_of(value) for value in (*self.cut.operands, *self.cut.results)]
        self._folds: dict[bool, Any] = {}
        self._adders: dict[bool, Any] = {}
        self._invariant = list(invariant(program))
        self._truths = {
            line.target for line in program.body if line.operation in OPERATIONS and OPERATIONS[line.operation].is_truth
        }
        super().__init__(program, param, state, compute)

    def _print(self) -> None:
        for name in self._matrices:
            self.kinds[name], self.numbers[name] = self._compute, -1
            self.columns.append((name, self.number, 1))
        table = INT.as_pointer()
        many = len(self.cut.small)
        pieces = {k: self._print_piece(k) for k in range(many) if self.cut.passes[k] is not None}
        small = {k: self._print_small(k) for k in range(many) if self._has_small(k)}
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

    def _function(self, name: str, *kinds: Any, is_hot: bool = False) -> tuple[Any, Any, list[Any]]:
        function = ir.Function(self.module, ir.FunctionType(VOID, kinds), name)
        function.linkage = "internal"
        function.attributes.add("noinline")
        if not is_hot:
            function.attributes.add("optsize")  # of what passes spend no time in, compilation should not either
        return function, ir.IRBuilder(function.append_basic_block("entry")), list(function.args)

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

    # What there is of a tensor ---------------------------------------------------------------------------------------

    def _address(self, tensor: _Tensor, name: str) -> Any:
        """Where an array of the tensor begins; ``name`` is that of a column."""
        names = [column for column, _, _ in self.columns if column != "grad" and column not in self._matrices]
        builder, kind = tensor.builder, next(kind for column, kind, _ in self.columns if column == name)
        if name == "grad":
            address = item(builder, tensor.table("grads"), tensor.number)
        elif name in self._matrices:
            address = item(builder, tensor.table("matrices"), integer(self._matrices.index(name)))
        else:
            line = builder.mul(tensor.number, integer(len(names)))
            address = item(builder, tensor.table("buffers"), line, names.index(name))
        return builder.inttoptr(address, kind.as_pointer())

    def _along(self, tensor: _Tensor, name: str) -> Any:
        """Where the values for rows, or for columns, begin."""
        if name in self.kinds:
            return self._address(tensor, name)
        builder, rank = tensor.builder, self.program.rank(name)
        start = builder.mul(integer(self.layout.places(rank)[name]), tensor.count(rank))
        if rank == COLUMN:  # behind all that there is of rows
            of_rows = builder.mul(integer(len(self.layout.places(ROW))), tensor.place("rows"))
            start = builder.add(start, of_rows)
        return builder.gep(tensor.table("scratch"), [builder.add(tensor.place("scratch"), start)])

    def _leaves_of(self, tensor: _Tensor, target: str, k: int) -> Any:
        """Where the sums of a reduction begin, which pass ``k`` leaves."""
        builder, leaves = tensor.builder, tensor.place("leaves")
        if target in self.layout.terms[k]:
            start = builder.mul(integer(self.layout.terms[k][target]), leaves)
        else:
            size = builder.mul(tensor.place("bands"), tensor.place("columns"))
            start = builder.mul(integer(self.layout.bands[k][target]), size)
            start = builder.add(start, builder.mul(integer(self.layout.term_count), leaves))
        return builder.gep(tensor.table("sums"), [builder.add(tensor.place("sums"), start)])

    def _loaded(self, builder: Any, name: str, array: Any, place: Any) -> Any:
        """An entry of an array of numbers, where a truth is kept as one."""
        value = item(builder, array, place)
        if name not in self._truths:
            return value
        return builder.fcmp_unordered("!=", value, ir.Constant(value.type, 0.0))

    def _wide_value(self, tensor: _Tensor, operand: Operand, known: dict[str, Any]) -> Any:
        """A value as lines for the tensor read it, in float64."""
        builder = tensor.builder
        if not isinstance(operand, str):
            return ir.Constant(WIDE, operand)
        if operand in known:
            return known[operand]
        rank = self.program.rank(operand)
        if rank == NUMBER:
            place = builder.mul(tensor.row, integer(len(self.program.wide)))
            return item(builder, tensor.table("wide"), place, self.program.wide.index(operand))
        if operand in self.program.shape:
            side = ("rows", "columns")[self.program.shape.index(operand)]
            return builder.sitofp(tensor.place(side), WIDE)
        if rank == MODEL:
            return item(builder, tensor.table("model"), integer(self.program.model.index(operand)))
        if operand in self.kinds:
            return builder.load(self._address(tensor, operand))
        place = builder.mul(tensor.number, integer(len(self.layout.values)))
        place = builder.add(place, integer(self.layout.values[operand]))
        return self._loaded(builder, operand, tensor.table("values"), place)

    def _value(self, tensor: _Tensor, name: str, known: dict[str, Any]) -> Any:
        """A number of the host, or for the tensor, as lines for rows, columns and elements read it."""
        builder = tensor.builder
        if self.program.rank(name) == NUMBER:
            place = builder.mul(tensor.row, integer(len(self.program.scalars)))
            return item(builder, tensor.table("scalars"), place, self.program.scalars.index(name))
        value = self._wide_value(tensor, name, known)
        return value if value.type == BIT or self.number == WIDE else builder.fptrunc(value, self.number)

    # Small lines -----------------------------------------------------------------------------------------------------

    def _has_small(self, k: int) -> bool:
        is_last = k == len(self.cut.small) - 1
        changes = is_last and any(self.layout.written(rank) for rank in (TENSOR, ROW, COLUMN))
        return bool(self.cut.small[k] or self.layout.folded(k) or changes or k == 0 and self._given())

    def _given(self) -> list[str]:
        """State and sizes that others ask for as they are."""
        made = {line.target for line in self.program.body}
        return [name for name in self.layout.values if name not in made]

    def _print_small(self, k: int) -> Any:
        function, builder, (tables, number) = self._function(f"small_{k}", INT.as_pointer(), INT)
        tensor = _Tensor(builder, tables, number, self.number)
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
        for name, place in self.layout.values.items():
            if name in known:
                line = builder.mul(number, integer(len(self.layout.values)))
                where = builder.gep(tensor.table("values"), [builder.add(line, integer(place))])
                builder.store(elements.as_number(known[name]), where)
        if k == len(self.cut.small) - 1:
            self._print_state(tensor, known)
        tensor.end()
        return function

    def _print_wide_lines(self, tensor: _Tensor, lines: Iterable[Instruction], known: dict[str, Any]) -> None:
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

    def _print_loop_along(self, tensor: _Tensor, rank: int, lines: list[Instruction], known: dict[str, Any]) -> None:
        """Lines for rows, or for columns."""
        places, own = self.layout.places(rank), {line.target for line in lines}
        names = list(dict.fromkeys(name for line in lines for name in line.reads if name not in own))
        written = {line.target: self._along(tensor, line.target) for line in lines if line.target in places}

        def compute(values: dict[str, Any], _: Any) -> dict[str, Any]:
            self._print_lines(Elements(tensor.builder, self.number), lines, values)
            return values

        self._print_each_along(tensor, rank, names, known, written, compute)

    def _print_each_along(
        self,
        tensor: _Tensor,
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
        with loop(builder, tensor.count(rank), "along") as i:
            read = {name: self._loaded(builder, name, array, i) for name, array in arrays.items()}
            found = compute({**fixed, **read}, i)
            for name, array in written.items():
                builder.store(elements.as_number(found[name]), builder.gep(array, [i]))

    def _print_state(self, tensor: _Tensor, known: dict[str, Any]) -> None:
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
        for name, value in wide.items():
            tensor.builder.store(value, self._address(tensor, name))

    # Sums ------------------------------------------------------------------------------------------------------------

    def _fold(self, builder: Any, values: Any, count: Any, line: Instruction) -> Any:
        largest = _is_largest(line)
        if largest not in self._folds:
            self._folds[largest] = print_fold(self.module, largest=largest)
        return builder.call(self._folds[largest], [values, count])

    def _finished(self, tensor: _Tensor, line: Instruction, sum_: Any, count: Any) -> Any:
        """What a reduction makes of the sum of its terms."""
        builder = tensor.builder
        if line.operation.startswith("mean"):
            return builder.fdiv(sum_, builder.sitofp(count, WIDE))
        if line.operation.startswith("norm"):
            return Elements(builder, WIDE).function("llvm.sqrt", sum_)
        return builder.fadd(sum_, ir.Constant(WIDE, 0.0)) if _is_largest(line) else sum_

    def _print_whole(self, tensor: _Tensor, line: Instruction, k: int) -> Any:
        """The reduction of all elements, whose sums pass ``k`` has left."""
        builder, leaves, blocks = tensor.builder, tensor.place("leaves"), tensor.place("blocks")
        array = self._leaves_of(tensor, line.target, k)
        if self.program.by_rows:
            with when(builder, builder.icmp_signed(">", blocks, integer(1)), "in_pieces"):
                with loop(builder, tensor.place("rows"), "row") as row:
                    mine = builder.gep(array, [builder.mul(row, blocks)])
                    builder.store(self._fold(builder, mine, blocks, line), builder.gep(array, [row]))
            leaves = tensor.place("rows")
        return self._finished(tensor, line, self._fold(builder, array, leaves, line), tensor.count(ELEMENT))

    def _print_along(self, tensor: _Tensor, line: Instruction, k: int) -> None:
        """The reduction of each row or column, whose sums pass ``k`` has left."""
        builder, array = tensor.builder, self._leaves_of(tensor, line.target, k)
        result, blocks = self._along(tensor, line.target), tensor.place("blocks")
        if line.rank == COLUMN:
            largest = _is_largest(line)
            if largest not in self._adders:
                self._adders[largest] = self._print_add_bands(largest=largest)
            builder.call(self._adders[largest], [array, tensor.place("bands"), tensor.place("columns")])
        with loop(builder, tensor.count(line.rank), "along") as i:
            if line.rank == COLUMN:
                sum_, count = item(builder, array, i), tensor.place("rows")
            else:
                sum_ = self._fold(builder, builder.gep(array, [builder.mul(i, blocks)]), blocks, line)
                count = tensor.place("columns")
            value = self._finished(tensor, line, sum_, count)
            value = value if self.number == WIDE else builder.fptrunc(value, self.number)
            builder.store(value, builder.gep(result, [i]))

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
        groups = _shares(builder, many, BAND)
        with loop(builder, groups, "group") as group:
            first = builder.mul(group, integer(BAND))
            end = _least(builder, builder.add(first, integer(BAND)), many)
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

    def _print_small_reduction(self, tensor: _Tensor, line: Instruction) -> Any:
        """A reduction of numbers for rows or columns; the sums of passes, which have been added up, make room."""
        builder, (operand, *_) = tensor.builder, line.operands
        assert isinstance(operand, str)
        count, array = tensor.count(self.program.rank(operand)), self._along(tensor, operand)
        room = builder.gep(tensor.table("sums"), [tensor.place("sums")])
        with loop(builder, count, "entry") as i:
            value = item(builder, array, i)
            term = combined(builder, _first(line), self._term(builder, line, value), largest=_is_largest(line))
            builder.store(term, builder.gep(room, [i]))
        return self._finished(tensor, line, self._fold(builder, room, count, line), count)

    # Passes ----------------------------------------------------------------------------------------------------------

    def _print_piece(self, k: int) -> Any:
        function, builder, (tables, number, place) = self._function(
            f"piece_{k}", INT.as_pointer(), INT, INT, is_hot=True
        )
        tensor, program = _Tensor(builder, tables, number, self.number), self.program
        made = self.cut.passes[k]
        assert made is not None
        touched = {name for _, name in made.reads} | {name for name, _ in made.writes}
        self.blocks = [name for name in self.kinds if name in touched and self.kinds[name] in BLOCKS]
        touched |= {f"{name}.scale" for name in self.blocks}
        arrays = [column for column in self.columns if column[0] in touched]
        leaves = self.layout.leaves(k)
        along = {rank: [x for x in leaves if program.rank(x) == rank] for rank in (ROW, COLUMN)}
        fixed = [x for x in leaves if program.rank(x) <= TENSOR]
        self.mine = replace(made, reads=(*made.reads, *((name, name) for name in along[COLUMN])))
        run = self._print_pass(k, arrays, along[COLUMN], [*fixed, *along[ROW]])
        t = item(builder, tensor.table("ts"), tensor.row)
        addresses = [(self._address(tensor, name), shared) for name, _, shared in arrays]
        values = [self._value(tensor, name, {}) for name in fixed]
        sums = {line.target: self._leaves_of(tensor, line.target, k) for line in made.ends}
        if not program.by_rows:
            start = builder.mul(place, integer(CHUNK))
            count = _least(builder, builder.sub(tensor.count(ELEMENT), start), integer(CHUNK))
            pointers = [builder.gep(array, [builder.udiv(start, integer(shared))]) for array, shared in addresses]
            builder.call(run, [start, count, t, *pointers, *values, *(builder.gep(x, [place]) for x in sums.values())])
            tensor.end()
            return function
        rows, columns, blocks = map(tensor.place, ("rows", "columns", "blocks"))
        band, block = builder.udiv(place, blocks), builder.urem(place, blocks)
        column = builder.mul(block, integer(CHUNK))
        count = _least(builder, builder.sub(columns, column), integer(CHUNK))
        first = builder.mul(band, integer(BAND))
        end = _least(builder, builder.add(first, integer(BAND)), rows)
        for line in made.ends:
            if line.target in self.layout.bands[k]:
                offset = builder.add(builder.mul(band, columns), column)
                sums[line.target] = builder.gep(sums[line.target], [offset])
                with loop(builder, count, "column") as i:
                    builder.store(_first(line), builder.gep(sums[line.target], [i]))
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
                first = ir.Constant(vector, [first_of(largest=_is_largest(line))] * LANES)
                builder.store(first, builder.bitcast(lanes, vector.as_pointer()), align=8)
        values = {name: given[name] for name in numbers}
        self._print_loop(Elements(builder, self.number), given, values, start, count, t)
        for line in ends:
            if line.target in self.lanes:
                lanes = builder.load(builder.bitcast(self.lanes[line.target], vector.as_pointer()), align=8)
                builder.store(halved(builder, lanes, largest=_is_largest(line)), sinks[line.target])
        builder.ret_void()
        return function

    def _widen(self, elements: Elements, name: str, raw: Any, values: dict[str, Any]) -> Any:
        if self.program.rank(name) == COLUMN:
            return elements.builder.fcmp_unordered("!=", raw, elements.constant(0.0)) if name in self._truths else raw
        return super()._widen(elements, name, raw, values)


def _is_largest(line: Instruction) -> bool:
    return line.operation.startswith("max")


def _first(line: Instruction) -> Any:
    return ir.Constant(WIDE, first_of(largest=_is_largest(line)))


def _shares(builder: Any, many: Any, size: int) -> Any:
    """How many shares of a size there are, the last of which may be smaller."""
    return builder.udiv(builder.add(many, integer(size - 1)), integer(size))


def _least(builder: Any, x: Any, y: Any) -> Any:
    return builder.select(builder.icmp_signed("<", x, y), x, y)
