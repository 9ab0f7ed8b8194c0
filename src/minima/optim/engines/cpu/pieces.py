"""Work on the elements of many arrays, cut into chunks that threads take in turns.

The chunks of all arrays are numbered one after another, and divided into as many parts as there are threads. Each
thread begins with its own part: in the next step it meets the same elements, which may still be in its cache. Who has
done with his part goes on with those of the others. What is printed for this is, but for its language::

    for part in (me, ..., parts - 1, 0, ..., me - 1):
        while (first := fetch_and_add(part.next, grain)) < part.end:
            for chunk in range(first, min(first + grain, part.end)):
                array = the last one with firsts[array] <= chunk
                start = CHUNK * (chunk - firsts[array])
                ... count = min(CHUNK, sizes[array] - start) elements of the array, from start on
"""

import ctypes
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.llvm import INT, integer, item, loop
from minima.optim.engines.cpu.pool import (
    ARRAYS,
    BEGIN,
    BETWEEN,
    END,
    FIRSTS,
    GRAIN,
    HEAD,
    HELPERS,
    LINE,
    PARTS,
    RAN,
    SIZES,
    TABLES,
    WORK,
    conductor,
    hire,
)
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.engines.reductions import CHUNK

__all__ = ["Pieces", "each_chunk", "each_piece"]

ALONE = 1 << 15
"""Elements for each thread at least: for fewer, waking another one costs more than it saves."""
GRAIN_MOST = 16
"""Chunks that a thread takes at a time: so few that one which is held up does not hold up the others for long."""
BRIEF = 1 << 13
"""Elements up to which a call keeps the GIL: it takes no longer than to release and to get it back."""


class Pieces:
    """The chunks of some arrays, and who works on them."""

    def __init__(self, sizes: Sequence[int], threads: int | None = None, many: NDArray[np.int64] | None = None) -> None:
        """Cut arrays into pieces, for threads to work on.

        Args:
            sizes: The numbers of elements of the arrays.
            threads: How many threads there may be; by default as many as `thread_count` says.
            many: Into how many pieces each array is cut; by default into chunks.
        """
        elements, arrays = sum(sizes), len(sizes)
        most = elements // ALONE  # asking how many there are takes as long as many a job
        parts = 1 if most <= 1 else min(most, thread_count() if threads is None else threads)
        head = HEAD + LINE * parts
        room = np.zeros(head + 2 * arrays + 1 + LINE, np.int64)
        skipped = -(room.ctypes.data // 8) % LINE  # up to the beginning of a line of the cache
        self.job = room[skipped:]
        """What the conductor reads; behind it stand the two tables of arrays."""
        self.sizes, self.firsts = self.job[head : head + arrays], self.job[head + arrays : head + 2 * arrays + 1]
        """For every array its elements, and its first chunk; then the number of all chunks."""
        self.sizes[:] = sizes
        np.cumsum(-(-self.sizes // CHUNK) if many is None else many, out=self.firsts[1:])
        self.many = int(self.firsts[-1])
        self._helpers = parts - 1
        address = room.ctypes.data + 8 * skipped
        grain = max(1, min(GRAIN_MOST, self.many // (8 * parts))) if self._helpers else max(1, self.many)
        tables = address + 8 * (head + arrays), address + 8 * head
        self.job[HELPERS : END + 1] = self._helpers, parts, grain, 0, arrays, *tables, 0, 0, 1
        self._parts = parts
        self._divide(0, self.many)
        self._address = ctypes.c_void_p(address)
        self.ran = ctypes.c_int64.from_address(address + 8 * RAN)
        self._conduct = conductor(lets_go=elements > BRIEF)

    def give(self, code: int, tables: int, between: int = 0) -> None:
        """Say which code works on the pieces, where the tables are that it reads, and what runs between two phases."""
        self.job[WORK], self.job[TABLES], self.job[BETWEEN] = code, tables, between

    def only(self, array: int) -> None:
        """Work on the pieces of one array alone from now on."""
        first, end = int(self.firsts[array]), int(self.firsts[array + 1])
        self._divide(first, end)
        self.job[HELPERS] = self._helpers if end - first > 1 else 0

    def _divide(self, first: int, end: int) -> None:
        for part in range(self._parts):
            line, many = HEAD + LINE * part, end - first
            self.job[line + 1] = first + part * many // self._parts
            self.job[line + 2] = first + (part + 1) * many // self._parts

    def take(self, begin: int, end: int) -> None:
        """Say which phases are run."""
        self.job[BEGIN], self.job[END] = begin, end

    def run(self) -> None:
        """Let the code work on all pieces, here and in the threads that help.

        An interrupt (Ctrl-C) is passed on when all pieces are done: nothing is left half changed.
        """
        ran = self.ran
        ran.value = 0
        interrupt: KeyboardInterrupt | None = None
        while not ran.value:
            try:
                if self._helpers:
                    hire(self._helpers)
                self._conduct(self._address)
            except KeyboardInterrupt as caught:
                interrupt = caught
        if interrupt is not None:
            raise interrupt


@contextmanager
def each_chunk(builder: Any, job: Any, me: Any) -> Generator[tuple[Any, Any, Any, Any]]:
    """Code for every chunk that thread ``me`` gets: the number of the chunk and of its array, start and count."""
    sizes = builder.inttoptr(item(builder, job, integer(SIZES)), INT.as_pointer())
    with each_piece(builder, job, me) as (chunk, array, place):
        start = builder.mul(place, integer(CHUNK))
        left = builder.sub(item(builder, sizes, array), start)
        count = builder.select(builder.icmp_signed("<", left, integer(CHUNK)), left, integer(CHUNK))
        yield chunk, array, start, count


@contextmanager
def each_piece(builder: Any, job: Any, me: Any, backwards: Any = None) -> Generator[tuple[Any, Any, Any]]:
    """Code for every piece that thread ``me`` gets: its number, that of its array, and which of its pieces it is.

    Where ``backwards`` holds, parts are taken from their ends, where the last phase has stopped: what it has read or
    written last may still be in a cache.
    """

    def word(place: int, kind: Any = INT) -> Any:
        value = item(builder, job, integer(place))
        return value if kind is INT else builder.inttoptr(value, kind)

    table = INT.as_pointer()
    parts, grain, arrays = word(PARTS), word(GRAIN), word(ARRAYS)
    firsts = word(FIRSTS, table)
    place = builder.alloca(INT)
    with loop(builder, parts, "part") as turn:
        part = builder.add(me, turn)
        part = builder.select(builder.icmp_signed("<", part, parts), part, builder.sub(part, parts))
        line = builder.gep(job, [builder.add(builder.mul(part, integer(LINE)), integer(HEAD))])
        end = item(builder, line, integer(2))
        claim, work, done = (builder.append_basic_block(name) for name in ("claim", "work", "taken"))
        builder.branch(claim)
        builder.position_at_end(claim)
        first = builder.atomic_rmw("add", line, grain, "monotonic")
        builder.cbranch(builder.icmp_signed("<", first, end), work, done)
        builder.position_at_end(work)
        last = builder.add(first, grain)
        last = builder.select(builder.icmp_signed("<", last, end), last, end)
        if backwards is not None:
            both = builder.add(item(builder, line, integer(1)), end)
            mirrored = builder.sub(both, last), builder.sub(both, first)
            first, last = (builder.select(backwards, x, y) for x, y in zip(mirrored, (first, last), strict=True))
        builder.store(_print_find(builder, firsts, arrays, first), place)
        with loop(builder, last, "piece", first) as piece:
            seek, found = builder.append_basic_block("seek"), builder.append_basic_block("found")
            builder.branch(seek)
            builder.position_at_end(seek)
            array = builder.load(place)
            following = builder.add(array, integer(1))
            builder.store(following, place)
            passed = builder.icmp_signed("<=", item(builder, firsts, following), piece)
            builder.cbranch(passed, seek, found)
            builder.position_at_end(found)
            builder.store(array, place)
            yield piece, array, builder.sub(piece, item(builder, firsts, array))
        builder.branch(claim)
        builder.position_at_end(done)


def _print_find(builder: Any, firsts: Any, arrays: Any, chunk: Any) -> Any:
    """The array that a chunk belongs to, by bisection."""
    before = builder.block
    test, halve, found = (builder.append_basic_block(name) for name in ("bisect", "halve", "found"))
    builder.branch(test)
    builder.position_at_end(test)
    low, high = builder.phi(INT), builder.phi(INT)
    low.add_incoming(integer(0), before)
    high.add_incoming(arrays, before)
    middle = builder.lshr(builder.add(low, high), integer(1))
    builder.cbranch(builder.icmp_signed("<", low, middle), halve, found)
    builder.position_at_end(halve)
    above = builder.icmp_signed("<=", item(builder, firsts, middle), chunk)
    low.add_incoming(builder.select(above, middle, low), halve)
    high.add_incoming(builder.select(above, high, middle), halve)
    builder.branch(test)
    builder.position_at_end(found)
    return low
