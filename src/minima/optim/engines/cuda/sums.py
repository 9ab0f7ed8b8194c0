"""The printer of what is computed between two passes for NVIDIA GPUs: a block of threads shares in it.

Sums are added in the order of `minima.optim.engines.reductions`, and without atomic operations: what is one running sum
of a chunk there is one thread of a warp here.
"""

from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

from minima.optim.engines.cpu.layout import TABLE_NAMES
from minima.optim.engines.cpu.llvm import INT, VOID, integer, item, least, loop, shares, when
from minima.optim.engines.cpu.printer import WIDE
from minima.optim.engines.cpu.reductions import combined
from minima.optim.engines.cpu.small import SmallPrinter, Stored, first_term, is_largest
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.cuda.grid import EVERYONE, WARP, GridPrinter, intrinsic, kernel_name, register
from minima.optim.engines.cuda.groups import WORD
from minima.optim.engines.cuda.shares import opaque, owner
from minima.optim.engines.reductions import BAND, CHUNK, LANES
from minima.optim.language.program import Instruction

__all__ = ["ADD", "ADD_ARGUMENTS", "ARGUMENTS", "SMALL_THREADS", "TABLES", "GridSmallPrinter"]

TABLES = tuple(name for name in TABLE_NAMES if name != "large")
"""The tables that kernels read. Of ``matrices`` every tensor has a row."""
ARGUMENTS = (*TABLES, "shares", "many")
"""What a kernel takes: the addresses of its tables, of which the last one has each tensor beside its first share: of
what a pass works on, of groups of bands, or of one for each tensor; and how many rows it has."""
SMALL_THREADS = 512
"""The threads of a block that computes what there is of a tensor."""
AHEAD = 8
"""Numbers for which a thread reads before it computes with what it read for the first."""
EACH = 4
"""The same for rows, or columns, for each of which something is computed and stored."""
ADD = "total"
"""The kernel that adds up a number of each tensor."""
ADD_ARGUMENTS = ("places", "room", "count", "total")
"""What it takes: a table of where each number is, memory for the sums of chunks of them, their number, and where the
total goes."""
assert LANES == WARP


class GridSmallPrinter(GridPrinter, SmallPrinter):
    """Writes kernels of what is computed between two passes; `GridPhasePrinter` adds the passes."""

    slot: Callable[[], Any]
    """Gives a place for a double, of the function that is being printed."""

    def _kernel(self, name: str, arguments: int, threads: int, *, reads_ahead: bool = True) -> tuple[Any, list[Any]]:
        """Begin a kernel that takes so many words, for blocks of so many threads.

        One that reads ahead takes as many registers as that needs, where others take so few that many threads run.
        """
        called = f"{kernel_name(self.program)}_{name}"
        function, builder, given = self.begun(called, arguments, writes=name != ADD)
        for what, many in (("maxntidx", threads), *[("minctasm", 1)] * reads_ahead):
            told = self.module.add_metadata([function, what, integer(many, WORD)])
            self.module.add_named_metadata("nvvm.annotations", told)
        self._begin_threads(builder)
        return builder, given

    def _begin_threads(self, builder: Any) -> None:
        """Ask which thread this is, of how many; which warp, of how many, and which thread of that."""
        self.me, self.threads = register(builder, "tid.x"), register(builder, "ntid.x")
        self.warp, self.lane = builder.udiv(self.me, integer(WARP)), builder.and_(self.me, integer(WARP - 1))
        self.warps = builder.udiv(self.threads, integer(WARP))

    def _table(self, builder: Any, address: Any) -> Any:
        return builder.inttoptr(address, INT.as_pointer(self.space))

    def _owner(self, builder: Any, arguments: list[Any], share: Any) -> tuple[Any, Any]:
        """The tensor that a share is of, and which of its shares it is."""
        *_, address, many = arguments
        table = self._table(builder, address)
        line = builder.mul(owner(builder, table, many, share), integer(2))
        return item(builder, table, line, 1), opaque(builder, builder.sub(share, item(builder, table, line)))

    def _tensor(self, builder: Any, arguments: list[Any], number: Any) -> Tensor:
        tables = dict(zip(TABLES, arguments, strict=False))
        tensor = Tensor(builder, lambda _, name: tables[name], number, self.number, self.space)
        self.slot = partial(tensor.slot, WIDE)
        return tensor

    def _print_small_kernel(self, k: int) -> None:
        builder, arguments = self._kernel(f"small_{k}", len(ARGUMENTS), SMALL_THREADS)
        number = register(builder, "ctaid.x")
        if self.cut.products:  # around which tensors are taken group by group
            *_, address, _ = arguments
            number = item(builder, self._table(builder, address), builder.mul(number, integer(2)), 1)
        tensor = self._tensor(builder, arguments, number)
        self._print_small(tensor, k)
        tensor.end()

    def _matrix(self, tensor: Tensor, number: int) -> Any:
        builder = tensor.builder
        return builder.add(builder.mul(tensor.number, integer(len(self._matrices))), integer(number))

    # Threads ---------------------------------------------------------------------------------------------------------

    def _each(self, builder: Any, count: Any, name: str, made: Callable[[Any], Stored]) -> None:
        def store(stored: Stored, is_one: Any, _: Any) -> None:
            with when(builder, is_one, "inside"):
                for value, place in stored:
                    builder.store(value, place)

        self._ahead(builder, (self.me, count, self.threads), name, made, store, many=EACH)

    def _ahead(
        self,
        builder: Any,
        numbers: tuple[Any, Any, Any],
        name: str,
        read: Callable[[Any], Any],
        use: Callable[[Any, Any, Any], Any],
        begin: Any = None,
        many: int = AHEAD,
    ) -> Any:
        """A loop over numbers (first, end, step) that reads for some of them before it uses what it read for the first.

        Memory answers late, and a thread that has asked for one thing alone waits for each anew.

        Args:
            builder: What builds it.
            numbers: The first one, where they end, and how far they are apart.
            name: What the loop is called.
            read: Reads for a number, whichever it is from the first one to the last.
            use: Is given what was read, whether the number is one of those that were asked for, and what the uses
                before it have made of ``begin``; gives what it makes of that.
            begin: What the first use is given, if anything.
            many: For how many numbers it reads.

        Returns:
            What the last use has made of ``begin``.
        """
        first, end, step = numbers
        before, last, so_far, phi = builder.block, builder.sub(end, integer(1)), None, None
        with loop(builder, end, name, first, builder.mul(step, integer(many))) as i:
            if begin is not None:
                so_far = phi = builder.phi(begin.type)
                phi.add_incoming(begin, before)
            places = [builder.add(i, builder.mul(step, integer(k))) for k in range(many)]
            found = [read(least(builder, place, last)) for place in places]
            for place, value in zip(places, found, strict=True):
                so_far = use(value, builder.icmp_signed("<", place, end), so_far)
            behind = builder.block
            if phi is not None:
                phi.add_incoming(so_far, behind)
        if phi is None:
            return None
        result = builder.phi(phi.type)
        result.add_incoming(begin, before)
        result.add_incoming(so_far, behind)
        return result

    @contextmanager
    def _alone(self, builder: Any) -> Generator[None]:
        with when(builder, builder.icmp_signed("==", self.me, integer(0)), "alone"):
            yield

    def _meet(self, builder: Any) -> None:
        intrinsic(builder, "llvm.nvvm.barrier0", result=VOID)

    # Sums ------------------------------------------------------------------------------------------------------------

    def _added_ahead(
        self, builder: Any, numbers: tuple[Any, Any, Any], name: str, read: Callable[[Any], Any], line: Instruction
    ) -> Any:
        """The sum of terms that are doubles, or the largest one, by one thread, in their order."""

        def use(term: Any, is_one: Any, so_far: Any) -> Any:
            more = combined(builder, so_far, term, largest=is_largest(line))
            return builder.select(is_one, more, so_far)

        return self._ahead(builder, numbers, name, read, use, first_term(line))

    def _added(self, builder: Any, read: Callable[[Any], Any], count: Any, line: Instruction) -> Any:
        """The sum of at most a chunk of doubles, or the largest one, by a warp, all of whose threads get it."""
        mine = self._added_ahead(builder, (self.lane, count, integer(WARP)), "term", read, line)
        return self._joined(builder, mine, largest=is_largest(line))

    def _joined(self, builder: Any, value: Any, *, largest: bool) -> Any:
        """What the threads of a warp have, added by halves."""
        distance = WARP // 2
        while distance:
            word = self._exchanged(builder, builder.bitcast(value, INT), distance)
            value = combined(builder, value, builder.bitcast(word, WIDE), largest=largest)
            distance //= 2
        return value

    def _store_by_warp(self, builder: Any, value: Any, place: Any) -> None:
        with when(builder, builder.icmp_signed("==", self.lane, integer(0)), "first_lane"):
            builder.store(value, place)

    def _fold(self, tensor: Tensor, values: Any, count: Any, line: Instruction) -> Any:
        return self._fold_terms(tensor, partial(item, tensor.builder, values), count, line)

    def _fold_terms(self, tensor: Tensor, read: Callable[[Any], Any], count: Any, line: Instruction) -> Any:
        """Of a block of threads, all of which get it: chunks are dealt out to warps, until one is left."""
        builder = tensor.builder
        room = tensor.place("room")
        if self.program.by_rows:  # behind the sums of rows (`_sums_of_rows`)
            rows, columns = tensor.place("rows"), tensor.place("columns")
            along = builder.select(builder.icmp_signed(">", rows, columns), rows, columns)
            room = builder.add(room, along)
        return self._folded(builder, read, count, builder.gep(tensor.table("sums"), [room]), line)

    def _folded(self, builder: Any, read: Callable[[Any], Any], count: Any, room: Any, line: Instruction) -> Any:
        with builder.if_else(builder.icmp_signed(">", count, integer(CHUNK))) as (many, few):
            with many:
                self._meet(builder)  # others may still read there what was added up before
                left = self._add_chunks(builder, read, count, room, line)
                from_many = self._folded_sums(builder, room, left, line)
                behind_many = builder.block
            with few:
                from_few = self._added(builder, read, count, line)
                behind_few = builder.block
        sum_ = builder.phi(WIDE)
        sum_.add_incoming(from_many, behind_many)
        sum_.add_incoming(from_few, behind_few)
        return sum_

    def _folded_sums(self, builder: Any, sums: Any, count: Any, line: Instruction) -> Any:
        """The sum of the sums of chunks, with room behind them."""
        before = builder.block
        test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        now, many = builder.phi(sums.type), builder.phi(INT)
        for phi, first in ((now, sums), (many, count)):
            phi.add_incoming(first, before)
        builder.cbranch(builder.icmp_signed(">", many, integer(CHUNK)), again, done)
        builder.position_at_end(again)
        into = builder.gep(now, [many])
        left = self._add_chunks(builder, partial(item, builder, now), many, into, line)
        for phi, following in ((now, into), (many, left)):
            phi.add_incoming(following, builder.block)
        builder.branch(test)
        builder.position_at_end(done)
        return self._added(builder, partial(item, builder, now), many, line)

    def _add_chunks(self, builder: Any, read: Callable[[Any], Any], count: Any, into: Any, line: Instruction) -> Any:
        """Deal chunks out to warps; how many sums they leave, which all threads may then read."""
        chunks = shares(builder, count, CHUNK)
        with loop(builder, chunks, "chunk", self.warp, self.warps) as chunk:
            start = builder.mul(chunk, integer(CHUNK))
            size = least(builder, builder.sub(count, start), integer(CHUNK))
            sum_ = self._added(builder, lambda i: read(builder.add(start, i)), size, line)
            self._store_by_warp(builder, sum_, builder.gep(into, [chunk]))
        self._meet(builder)
        return chunks

    def _print_small_reduction(self, tensor: Tensor, line: Instruction) -> Any:
        """A reduction of numbers for rows or columns, which are read where they stand."""
        (operand, *_), builder = line.operands, tensor.builder
        assert isinstance(operand, str)
        count, array = tensor.count(self.program.rank(operand)), self._along(tensor, operand)
        self._meet(builder)
        sum_ = self._fold_terms(tensor, lambda i: self._term(builder, line, item(builder, array, i)), count, line)
        return self._finished(tensor, line, sum_, count)

    def _begin_rows(self, tensor: Tensor, array: Any, line: Instruction) -> None:
        """Let a warp add up what the pieces of a row have left, in the place of the first."""
        builder, blocks, rows = tensor.builder, tensor.place("blocks"), tensor.place("rows")
        with when(builder, builder.icmp_signed(">", blocks, integer(1)), "in_pieces"):
            with loop(builder, rows, "row", self.warp, self.warps) as row:
                mine = builder.gep(array, [builder.mul(row, blocks)])
                before = builder.block
                again, done = (builder.append_basic_block(name) for name in ("again", "done"))
                builder.branch(again)
                builder.position_at_end(again)
                many = builder.phi(INT)
                many.add_incoming(blocks, before)
                chunks = shares(builder, many, CHUNK)
                with loop(builder, chunks, "chunk") as chunk:
                    start = builder.mul(chunk, integer(CHUNK))
                    size = least(builder, builder.sub(many, start), integer(CHUNK))
                    sum_ = self._added(builder, partial(item, builder, builder.gep(mine, [start])), size, line)
                    intrinsic(builder, "llvm.nvvm.bar.warp.sync", EVERYONE, result=VOID)
                    self._store_by_warp(builder, sum_, builder.gep(mine, [chunk]))
                    intrinsic(builder, "llvm.nvvm.bar.warp.sync", EVERYONE, result=VOID)
                many.add_incoming(chunks, builder.block)
                builder.cbranch(builder.icmp_signed(">", chunks, integer(1)), again, done)
                builder.position_at_end(done)
            self._meet(builder)

    def _sum_of_row(self, tensor: Tensor, array: Any, row: Any, line: Instruction) -> Any:
        builder = tensor.builder
        return item(builder, array, builder.mul(row, tensor.place("blocks")))

    def _sums_of_rows(self, tensor: Tensor, array: Any, line: Instruction) -> Any:
        self._begin_rows(tensor, array, line)
        builder = tensor.builder
        in_pieces = builder.icmp_signed(">", tensor.place("blocks"), integer(1))
        room = builder.gep(tensor.table("sums"), [tensor.place("room")])
        with when(builder, in_pieces, "together"):
            self._meet(builder)
            self._each(
                builder,
                tensor.place("rows"),
                "row",
                lambda row: [(self._sum_of_row(tensor, array, row, line), builder.gep(room, [row]))],
            )
            self._meet(builder)
        return builder.select(in_pieces, room, array)

    def _add_bands(self, tensor: Tensor, array: Any, line: Instruction) -> None:
        """By a thread for each column, which alone reads and writes its sums.

        Those of a group of bands end in the place of its first band. If there are several groups, those of each have
        been added up (`_print_bands_kernel`).
        """
        builder, columns, bands = tensor.builder, tensor.place("columns"), tensor.place("bands")
        are_many = builder.icmp_signed(">", bands, integer(BAND))
        first_count = builder.select(are_many, shares(builder, bands, BAND), bands)
        first_apart = builder.select(are_many, integer(BAND), integer(1))
        with loop(builder, columns, "column", self.me, self.threads) as i:
            before = builder.block
            test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            many, apart = builder.phi(INT), builder.phi(INT)
            for phi, first in ((many, first_count), (apart, first_apart)):
                phi.add_incoming(first, before)
            builder.cbranch(builder.icmp_signed(">", many, integer(1)), again, done)
            builder.position_at_end(again)
            groups = shares(builder, many, BAND)
            with loop(builder, groups, "group") as group:
                self._add_group(tensor, array, i, (group, many, apart), line)
            for phi, following in ((many, groups), (apart, builder.mul(apart, integer(BAND)))):
                phi.add_incoming(following, builder.block)
            builder.branch(test)
            builder.position_at_end(done)

    def _add_group(
        self, tensor: Tensor, array: Any, column: Any, which: tuple[Any, Any, Any], line: Instruction
    ) -> None:
        """Add up the sums of a column in a group of bands: which group it is, of how many bands, so far apart."""
        (group, many, apart), builder = which, tensor.builder
        columns = tensor.place("columns")
        first = builder.mul(group, integer(BAND))
        end = least(builder, builder.add(first, integer(BAND)), many)

        def place(band: Any) -> Any:
            return builder.add(builder.mul(builder.mul(band, apart), columns), column)

        sum_ = self._added_ahead(
            builder, (first, end, integer(1)), "band", lambda band: item(builder, array, place(band)), line
        )
        builder.store(sum_, builder.gep(array, [place(first)]))

    def _print_bands_kernel(self, k: int, lines: Sequence[Instruction]) -> None:
        """Adds up the sums of a group of bands, of a tensor that has several, in front of those of pass ``k``."""
        builder, arguments = self._kernel(f"bands_{k}", len(ARGUMENTS), SMALL_THREADS)
        number, group = self._owner(builder, arguments, register(builder, "ctaid.x"))
        tensor = self._tensor(builder, arguments, number)
        which = group, tensor.place("bands"), integer(1)
        for line in lines:
            array = self._leaves_of(tensor, line.target, k - 1)
            with loop(builder, tensor.place("columns"), "column", self.me, self.threads) as i:
                self._add_group(tensor, array, i, which, line)
        tensor.end()

    def _print_adding_kernel(self) -> None:
        """Of one block."""
        builder, (places, room, count, total) = self._kernel(ADD, len(ADD_ARGUMENTS), SMALL_THREADS)
        pointer = WIDE.as_pointer(self.space)
        places, room = builder.inttoptr(places, INT.as_pointer(self.space)), builder.inttoptr(room, pointer)

        def read(i: Any) -> Any:
            return builder.load(builder.inttoptr(item(builder, places, i), pointer))

        sum_ = self._folded(builder, read, count, room, Instruction("sum", "sum", ("numbers",)))
        with self._alone(builder):
            builder.store(sum_, builder.inttoptr(total, pointer))
        builder.ret_void()
