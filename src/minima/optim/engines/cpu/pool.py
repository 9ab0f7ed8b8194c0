"""The threads of the fused engine: machine code that waits for work without Python, and so wakes up in no time.

What a helper does, and what whoever has work does, is, but for its language::

    def serve(helper):
        while True:
            for _ in range(spins):  # some microseconds, in which the next work often comes
                if helper.state == POSTED: break
            else:
                helper.asleep = True
                if helper.state != POSTED or not swap(helper.asleep, False): helper.begin.acquire()
            if swap_if(helper.state, POSTED, AT_WORK):
                wake the two helpers that follow it in a tree
                work(job, helper.number)
                if swap(helper.state, IDLE) == AWAITED: helper.end.release()

    def conduct(job):
        has_helpers = job.helpers > 0 and swap_if(board.busy, 0, 1)  # else another thread has them: work alone
        for job.phase in range(job.begin, job.end):
            if job.between: between(job, job.phase)
            rewind the counters of the job
            if not has_helpers:
                work(job, 0)
                continue
            for helper in helpers: helper.job, helper.state = job, POSTED
            wake the first two
            work(job, 0)
            for helper in helpers:
                if swap_if(helper.state, POSTED, IDLE): continue  # it has not begun, and there is nothing left to do
                for _ in range(spins):
                    if helper.state == IDLE: break
                else:
                    if swap_if(helper.state, AT_WORK, AWAITED): helper.end.acquire()
        if has_helpers: board.busy = 0
        if job.between: between(job, job.end)
        job.ran = 1

A job has one phase, as a rule. Work that must see all of an array before it can go on has several: what one phase has
left is made use of by one thread, ``between``, before the next begins.

The locks are Python's own, which can be used without the interpreter. No interrupt can part what ``conduct`` does.
"""

import ctypes
import os
import threading
from collections.abc import Callable
from typing import Any

from minima.optim.engines.cpu.llvm import BIT, INT, VOID, Code, compiled, integer, ir, loop, pause, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.threads import core_count

__all__ = ["ARRAYS", "BEGIN", "BETWEEN", "END", "FIRSTS", "GRAIN", "HEAD", "HELPERS", "LINE", "PARTS", "PHASE", "RAN"]
__all__ += ["SIZES", "TABLES", "WORK", "conductor", "hire"]

LINE = 8
"""Words of 8 bytes in a line of the cache; what different threads write to stands in different lines."""

WORK, TABLES, HELPERS, PARTS, GRAIN, RAN, ARRAYS, FIRSTS, SIZES, BETWEEN, BEGIN, END, PHASE = range(13)
"""The words of a job: the code that works on it, what the code reads, how many helpers it may have, into how many parts
the pieces are divided, how many pieces are taken at a time, whether it has been done, the arrays behind it, the code
between two phases, the first phase, the one behind the last, and the present one."""
HEAD = 2 * LINE
"""Words before the parts of a job, each a line: the next piece, the first one, and the one behind the last."""

_MOST = 255
"""Helpers that there can be."""
_BUSY, _WANTED, _COUNT, _SPINS, _FIRST = 0, 1, 2, 3, LINE
"""The words of the board: whether the helpers have a conductor, how many of them he wants, how many there are, how long
to spin; from the second line on the helpers."""
_STATE, _ASLEEP, _JOB, _BEGIN, _END, _NUMBER = range(6)
"""The words of a helper."""
_IDLE, _POSTED, _AT_WORK, _AWAITED = range(4)

SPINS = 1000
"""How often a helper looks for work before it sleeps: some 50 microseconds."""


def _function(name: str, result: Any, *arguments: Any) -> Any:
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_allocate = _function("PyMem_RawCalloc", ctypes.c_void_p, ctypes.c_size_t, ctypes.c_size_t)
_new_lock = _function("PyThread_allocate_lock", ctypes.c_void_p)
_acquire = _function("PyThread_acquire_lock", ctypes.c_int, ctypes.c_void_p, ctypes.c_int)
_start = _function("PyThread_start_new_thread", ctypes.c_ulong, ctypes.c_void_p, ctypes.c_void_p)

# Never freed: helpers look at it while the interpreter ends.
_ADDRESS: int = -(-_allocate(_FIRST + LINE * (_MOST + 1), 8) // 64) * 64
_board = (ctypes.c_int64 * (_FIRST + LINE * _MOST)).from_address(_ADDRESS)
_hiring = threading.RLock()


def hire(number: int) -> None:
    """See to it that there are as many helpers, or fewer where the system gives no more threads."""
    if _board[_COUNT] >= number:
        return
    serve = _serve().address
    with _hiring:
        while (count := _board[_COUNT]) < min(number, _MOST):
            place = _FIRST + LINE * count
            for word in (_BEGIN, _END):
                lock = _new_lock()
                _acquire(lock, 1)  # released by the other side
                _board[place + word] = lock
            _board[place + _STATE] = _board[place + _ASLEEP] = 0
            _board[place + _NUMBER] = count + 1
            # Where threads share cores, one that spins is in the way of one that works.
            _board[_SPINS] = SPINS if count + 2 <= core_count() else 0
            if _start(serve, _ADDRESS + 8 * place) == ctypes.c_ulong(-1).value:
                break
            _board[_COUNT] = count + 1


def _forget() -> None:
    """A forked child has the board, but not the helpers."""
    global _hiring
    _hiring = threading.RLock()
    _board[_BUSY] = _board[_COUNT] = 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


@once
def conductor(*, lets_go: bool) -> Callable[[ctypes.c_void_p], None]:
    """A function that takes the address of a job, and returns when it is done; it releases the GIL, or not."""
    prototype = ctypes.CFUNCTYPE if lets_go else ctypes.PYFUNCTYPE
    return prototype(None, ctypes.c_void_p)(_conduct().address)


@once
def _conduct() -> Code:
    return compiled(str(_Printer().conduct()), "conduct", effort=0)


@once
def _serve() -> Code:
    return compiled(str(_Printer().serve()), "serve", effort=0)


class _Printer:
    """Writes the two functions."""

    def __init__(self) -> None:
        self.module: Any = ir.Module("pool")
        self.table = INT.as_pointer()

    def _begin(self, name: str) -> Any:
        function = ir.Function(self.module, ir.FunctionType(VOID, [self.table]), name)
        self.builder: Any = ir.IRBuilder(function.append_basic_block("entry"))
        self.board = self.builder.inttoptr(integer(_ADDRESS), self.table)
        return function.args[0]

    def _place(self, array: Any, word: int) -> Any:
        return self.builder.gep(array, [integer(word)])

    def _swap(self, array: Any, word: int, value: int) -> Any:
        return self.builder.atomic_rmw("xchg", self._place(array, word), integer(value), "seq_cst")

    def _swap_if(self, array: Any, word: int, old: int, new: int) -> Any:
        place = self._place(array, word)
        pair = self.builder.cmpxchg(place, integer(old), integer(new), "seq_cst", "seq_cst")
        return self.builder.extract_value(pair, 1)

    def _is(self, array: Any, word: int, value: int) -> Any:
        now = self.builder.load_atomic(self._place(array, word), "seq_cst", 8)
        return self.builder.icmp_signed("==", now, integer(value))

    def _call(self, name: str, *arguments: Any) -> Any:
        """Call a function of Python's that needs no interpreter."""
        address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value or 0
        kind = ir.FunctionType(ir.IntType(32), [value.type for value in arguments])
        return self.builder.call(self.builder.inttoptr(integer(address), kind.as_pointer()), list(arguments))

    def _acquire(self, helper: Any, word: int) -> None:
        lock = self.builder.load(self._place(helper, word))
        self._call("PyThread_acquire_lock", lock, integer(1, ir.IntType(32)))

    def _release(self, helper: Any, word: int) -> None:
        self._call("PyThread_release_lock", self.builder.load(self._place(helper, word)))

    def _work(self, job: Any, number: Any, word: int = WORK) -> None:
        kind = ir.FunctionType(VOID, [self.table, INT])
        code = self.builder.inttoptr(self.builder.load(self._place(job, word)), kind.as_pointer())
        self.builder.call(code, [job, number])

    def _between(self, job: Any, phase: Any) -> None:
        builder = self.builder
        there = builder.icmp_signed("!=", builder.load(self._place(job, BETWEEN)), integer(0))
        with when(builder, there, "between"):
            self._work(job, phase, BETWEEN)

    def _helper(self, number: Any) -> Any:
        """The helper of this number, from 0 up."""
        builder = self.builder
        return builder.gep(self.board, [builder.add(builder.mul(number, integer(LINE)), integer(_FIRST))])

    def _wake(self, number: Any, wanted: Any) -> None:
        builder = self.builder
        with when(builder, builder.icmp_signed("<", number, wanted), "is_wanted"):
            helper = self._helper(number)
            asleep = builder.icmp_signed("==", self._swap(helper, _ASLEEP, 0), integer(1))
            with when(builder, asleep, "sleeps"):
                self._release(helper, _BEGIN)

    def _spin(self, reached: Any, state: int, helper: Any, name: str) -> None:
        """Branch to ``reached`` when a helper is in a state; or go on after a while."""
        builder = self.builder
        with loop(builder, builder.load(self._place(self.board, _SPINS)), name):
            not_yet = builder.append_basic_block("not_yet")
            builder.cbranch(self._is(helper, _STATE, state), reached, not_yet)
            builder.position_at_end(not_yet)
            pause(builder)

    def serve(self) -> Any:
        helper = self._begin("serve")
        builder = self.builder
        number = builder.load(self._place(helper, _NUMBER))
        again = builder.append_basic_block("again")
        builder.branch(again)
        builder.position_at_end(again)
        claim, drowsy, sleep = (builder.append_basic_block(name) for name in ("claim", "drowsy", "sleep"))
        self._spin(claim, _POSTED, helper, "look")
        self._swap(helper, _ASLEEP, 1)
        builder.cbranch(self._is(helper, _STATE, _POSTED), drowsy, sleep)
        builder.position_at_end(drowsy)  # whoever takes the mark away wakes, and only then there is a lock to take
        builder.cbranch(builder.icmp_signed("==", self._swap(helper, _ASLEEP, 0), integer(1)), claim, sleep)
        builder.position_at_end(sleep)
        self._acquire(helper, _BEGIN)
        builder.branch(claim)
        builder.position_at_end(claim)
        with when(builder, self._swap_if(helper, _STATE, _POSTED, _AT_WORK), "at_work"):
            wanted = builder.load(self._place(self.board, _WANTED))
            # The tree: helper i, counted from 0, wakes 2i + 2 and 2i + 3; its number is i + 1.
            for child in (0, 1):
                self._wake(builder.add(builder.mul(number, integer(2)), integer(child)), wanted)
            self._work(builder.inttoptr(builder.load(self._place(helper, _JOB)), self.table), number)
            old = self._swap(helper, _STATE, _IDLE)
            with when(builder, builder.icmp_signed("==", old, integer(_AWAITED)), "awaited"):
                self._release(helper, _END)
        builder.branch(again)
        return self.module

    def conduct(self) -> Any:
        job = self._begin("conduct")
        builder = self.builder
        helpers = builder.load(self._place(job, HELPERS))
        together = builder.alloca(BIT)
        builder.store(integer(0, BIT), together)
        with when(builder, builder.icmp_signed(">", helpers, integer(0)), "shared"):
            builder.store(self._swap_if(self.board, _BUSY, 0, 1), together)
        begin, end = builder.load(self._place(job, BEGIN)), builder.load(self._place(job, END))
        with loop(builder, end, "phase", begin) as phase:
            builder.store(phase, self._place(job, PHASE))
            self._between(job, phase)
            with loop(builder, builder.load(self._place(job, PARTS)), "part") as part:
                line = builder.gep(job, [builder.add(builder.mul(part, integer(LINE)), integer(HEAD))])
                builder.store(builder.load(self._place(line, 1)), line)
            with builder.if_else(builder.load(together)) as (shared, alone):
                with shared:
                    self._conduct(job, helpers)
                with alone:
                    self._work(job, integer(0))
        with when(builder, builder.load(together), "over"):
            builder.store_atomic(integer(0), self._place(self.board, _BUSY), "release", 8)
        self._between(job, end)
        builder.store(integer(1), self._place(job, RAN))
        builder.ret_void()
        return self.module

    def _conduct(self, job: Any, helpers: Any) -> None:
        builder = self.builder
        count = builder.load(self._place(self.board, _COUNT))
        wanted = builder.select(builder.icmp_signed("<", helpers, count), helpers, count)
        builder.store(wanted, self._place(self.board, _WANTED))
        with loop(builder, wanted, "post") as number:
            helper = self._helper(number)
            builder.store(builder.ptrtoint(job, INT), self._place(helper, _JOB))
            self._swap(helper, _STATE, _POSTED)
        for number in (0, 1):
            self._wake(integer(number), wanted)
        self._work(job, integer(0))
        with loop(builder, wanted, "collect") as number:
            helper = self._helper(number)
            collected = builder.append_basic_block("collected")
            begun = builder.append_basic_block("begun")
            builder.cbranch(self._swap_if(helper, _STATE, _POSTED, _IDLE), collected, begun)
            builder.position_at_end(begun)
            self._spin(collected, _IDLE, helper, "wait")
            with when(builder, self._swap_if(helper, _STATE, _AT_WORK, _AWAITED), "await"):
                self._acquire(helper, _END)
            builder.branch(collected)
            builder.position_at_end(collected)
