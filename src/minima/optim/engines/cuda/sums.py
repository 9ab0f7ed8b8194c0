"""The printer of what is computed between two passes for NVIDIA GPUs: a block of threads shares in it.

Sums are added in the order of `minima.optim.engines.reductions`, and without atomic operations: what is one running sum
of a chunk there is one thread of a warp here.
"""

from collections.abc import Callable, Generator
from contextlib import contextmanager
from functools import partial
from typing import Any

from minima.optim.engines.cpu.layout import TABLE_NAMES
from minima.optim.engines.cpu.llvm import INT, VOID, integer, item, least, loop, shares, when
from minima.optim.engines.cpu.printer import WIDE
from minima.optim.engines.cpu.reductions import combined
from minima.optim.engines.cpu.small import SmallPrinter, first_term, is_largest
from minima.optim.engines.cpu.tensors import Tensor
from minima.optim.engines.cuda.grid import EVERYONE, WARP, GridPrinter, intrinsic, kernel_name, register
from minima.optim.engines.cuda.groups import WORD
from minima.optim.engines.reductions import BAND, CHUNK, LANES
from minima.optim.language.program import Instruction

__all__ = ["ADD", "ADD_ARGUMENTS", "ARGUMENTS", "SMALL_THREADS", "TABLES", "GridSmallPrinter"]

TABLES = tuple(name for name in TABLE_NAMES if name != "large")
"""The tables that kernels read. Of ``matrices`` every tensor has a row."""
ARGUMENTS = (*TABLES, "chunks", "count")
"""What a kernel takes: the addresses of its tables; for every piece its tensor, and which of its pieces it is; and how
many pieces there are. Around products of matrices, which are taken group by group, a kernel between two passes finds
in place of pieces which tensors it is for."""
SMALL_THREADS = 512
"""The threads of a block that computes what there is of a tensor."""
ADD = "total"
"""The kernel that adds up a number of each tensor."""
ADD_ARGUMENTS = ("places", "terms", "count", "total")
"""What it takes: a table of where each number is, memory for all and for their sums, their number, and where the total
goes."""
assert LANES == WARP


class GridSmallPrinter(GridPrinter, SmallPrinter):
    """Writes kernels of what is computed between two passes; `GridPhasePrinter` adds the passes."""

    slot: Callable[[], Any]
    """Gives a place for a double, of the function that is being printed."""

    def _kernel(self, name: str, arguments: int, threads: int) -> tuple[Any, list[Any]]:
        """Begin a kernel that takes so many words, for blocks of so many threads."""
        called = f"{kernel_name(self.program)}_{name}"
        function, builder, given = self.begun(called, arguments, writes=name != ADD)
        most = self.module.add_metadata([function, "maxntidx", integer(threads, WORD)])
        self.module.add_named_metadata("nvvm.annotations", most)
        self._begin_threads(builder)
        return builder, given

    def _begin_threads(self, builder: Any) -> None:
        """Ask which thread this is, of how many; which warp, of how many, and which thread of that."""
        self.me, self.threads = register(builder, "tid.x"), register(builder, "ntid.x")
        self.warp, self.lane = builder.udiv(self.me, integer(WARP)), builder.and_(self.me, integer(WARP - 1))
        self.warps = builder.udiv(self.threads, integer(WARP))

    def _tensor(self, builder: Any, arguments: list[Any], number: Any) -> Tensor:
        tables = dict(zip(TABLES, arguments, strict=False))
        tensor = Tensor(builder, lambda _, name: tables[name], number, self.number, self.space)
        self.slot = partial(tensor.slot, WIDE)
        return tensor

    def _print_small_kernel(self, k: int) -> None:
        builder, arguments = self._kernel(f"small_{k}", len(ARGUMENTS), SMALL_THREADS)
        number = register(builder, "ctaid.x")
        if self.cut.products:
            chunks = builder.inttoptr(arguments[ARGUMENTS.index("chunks")], INT.as_pointer(self.space))
            number = item(builder, chunks, number)
        tensor = self._tensor(builder, arguments, number)
        self._print_small(tensor, k)
        tensor.end()

    def _matrix(self, tensor: Tensor, number: int) -> Any:
        builder = tensor.builder
        return builder.add(builder.mul(tensor.number, integer(len(self._matrices))), integer(number))

    # Threads ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def _each(self, builder: Any, count: Any, name: str) -> Generator[Any]:
        with loop(builder, count, name, self.me, self.threads) as i:
            yield i

    @contextmanager
    def _alone(self, builder: Any) -> Generator[None]:
        with when(builder, builder.icmp_signed("==", self.me, integer(0)), "alone"):
            yield

    def _meet(self, builder: Any) -> None:
        intrinsic(builder, "llvm.nvvm.barrier0", result=VOID)

    # Sums ------------------------------------------------------------------------------------------------------------

    def _added(self, builder: Any, values: Any, count: Any, line: Instruction) -> Any:
        """The sum of at most a chunk of doubles, or the largest one, by a warp, all of whose threads get it."""
        largest = is_largest(line)
        slot = self.slot()
        builder.store(first_term(line), slot)
        with loop(builder, count, "term", self.lane, integer(WARP)) as i:
            builder.store(combined(builder, builder.load(slot), item(builder, values, i), largest=largest), slot)
        return self._joined(builder, builder.load(slot), largest=largest)

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
        """Of a block of threads, all of which get it: chunks are dealt out to warps, until one is left."""
        builder = tensor.builder
        room = tensor.place("room")
        if self.program.by_rows:  # behind what numbers of rows or columns take
            rows, columns = tensor.place("rows"), tensor.place("columns")
            along = builder.select(builder.icmp_signed(">", rows, columns), rows, columns)
            room = builder.add(room, along)
        return self._folded(builder, values, count, builder.gep(tensor.table("sums"), [room]), line)

    def _folded(self, builder: Any, values: Any, count: Any, room: Any, line: Instruction) -> Any:
        before = builder.block
        test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
        builder.branch(test)
        builder.position_at_end(test)
        now, many, into = builder.phi(values.type), builder.phi(INT), builder.phi(room.type)
        for phi, first in ((now, values), (many, count), (into, room)):
            phi.add_incoming(first, before)
        builder.cbranch(builder.icmp_signed(">", many, integer(CHUNK)), again, done)
        builder.position_at_end(again)
        chunks = shares(builder, many, CHUNK)
        with loop(builder, chunks, "chunk", self.warp, self.warps) as chunk:
            start = builder.mul(chunk, integer(CHUNK))
            size = least(builder, builder.sub(many, start), integer(CHUNK))
            sum_ = self._added(builder, builder.gep(now, [start]), size, line)
            self._store_by_warp(builder, sum_, builder.gep(into, [chunk]))
        self._meet(builder)
        for phi, following in ((now, into), (many, chunks), (into, builder.gep(into, [chunks]))):
            phi.add_incoming(following, builder.block)
        builder.branch(test)
        builder.position_at_end(done)
        return self._added(builder, now, many, line)

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
                    sum_ = self._added(builder, builder.gep(mine, [start]), size, line)
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
            with self._each(builder, tensor.place("rows"), "row") as row:
                builder.store(self._sum_of_row(tensor, array, row, line), builder.gep(room, [row]))
            self._meet(builder)
        return builder.select(in_pieces, room, array)

    def _add_bands(self, tensor: Tensor, array: Any, line: Instruction) -> None:
        """By a thread for each column, which alone reads and writes its sums."""
        builder, columns = tensor.builder, tensor.place("columns")
        largest = is_largest(line)
        slot = tensor.slot(WIDE)
        with self._each(builder, columns, "column") as i:
            before = builder.block
            test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
            builder.branch(test)
            builder.position_at_end(test)
            many = builder.phi(INT)
            many.add_incoming(tensor.place("bands"), before)
            builder.cbranch(builder.icmp_signed(">", many, integer(1)), again, done)
            builder.position_at_end(again)
            groups = shares(builder, many, BAND)
            with loop(builder, groups, "group") as group:
                first = builder.mul(group, integer(BAND))
                end = least(builder, builder.add(first, integer(BAND)), many)
                builder.store(item(builder, array, builder.add(builder.mul(first, columns), i)), slot)
                with loop(builder, end, "band", builder.add(first, integer(1))) as band:
                    more = item(builder, array, builder.add(builder.mul(band, columns), i))
                    builder.store(combined(builder, builder.load(slot), more, largest=largest), slot)
                into = builder.gep(array, [builder.add(builder.mul(group, columns), i)])
                builder.store(builder.load(slot), into)
            many.add_incoming(groups, builder.block)
            builder.branch(test)
            builder.position_at_end(done)

    def _print_adding_kernel(self) -> None:
        """Of one block: brings numbers together, and adds them up."""
        builder, (places, terms, count, total) = self._kernel(ADD, len(ADD_ARGUMENTS), SMALL_THREADS)
        pointer = WIDE.as_pointer(self.space)
        places, terms = builder.inttoptr(places, INT.as_pointer(self.space)), builder.inttoptr(terms, pointer)
        with self._each(builder, count, "term") as i:
            number = builder.load(builder.inttoptr(item(builder, places, i), pointer))
            builder.store(number, builder.gep(terms, [i]))
        self._meet(builder)
        line = Instruction("sum", "sum", ("terms",))
        slots = [builder.alloca(WIDE) for _ in range(2)]
        self.slot = slots.pop
        sum_ = self._folded(builder, terms, count, builder.gep(terms, [count]), line)
        with self._alone(builder):
            builder.store(sum_, builder.inttoptr(total, pointer))
        builder.ret_void()
