"""The threads of the fused engine: a plain pool, which grows when it is first needed."""

import os
import threading
from collections.abc import Callable
from functools import cache

from minima.errors import sentence

__all__ = ["share", "thread_count"]

_VARIABLE = "MINIMA_NUM_THREADS"


@cache
def thread_count() -> int:
    """How many threads may work on a step: ``MINIMA_NUM_THREADS``, else the cores that this process may use."""
    text = os.environ.get(_VARIABLE, "").strip()
    if not text:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not text.isdigit() or int(text) < 1:
        raise ValueError(sentence(_VARIABLE, "must be a whole number, at least 1", got=text))
    return int(text)


class _Helper:
    """A thread that waits for a task, does it, and says so."""

    def __init__(self) -> None:
        self.task: Callable[[], None] | None = None
        self.error: BaseException | None = None
        # Two bare locks, each released by the other side, wake a thread many times faster than a queue does.
        self._begin, self._end = threading.Lock(), threading.Lock()
        self._begin.acquire()
        self._end.acquire()
        threading.Thread(target=self._work, name="minima", daemon=True).start()

    def begin(self, task: Callable[[], None]) -> None:
        self.task = task
        self._begin.release()

    def end(self) -> None:
        """Wait for the end of the task, or take it back if it has not begun; an interrupt may cut the waiting short."""
        if not self._begin.acquire(blocking=False):
            self._end.acquire()

    def _work(self) -> None:
        while True:
            self._begin.acquire()
            try:
                assert self.task is not None
                self.task()
            except BaseException as error:  # handed to whoever shared the task
                self.error = error
            self.task = None
            self._end.release()


class _Pool:
    """The helpers, and the lock that whoever uses them holds."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.helpers: list[_Helper] = []

    def hire(self, number: int) -> list[_Helper]:
        """Up to this many helpers: fewer where the interpreter is shutting down and starts no threads any more."""
        try:
            while len(self.helpers) < number:
                self.helpers.append(_Helper())
        except RuntimeError:
            pass
        return self.helpers[:number]


_pool = _Pool()

if hasattr(os, "register_at_fork"):  # a forked child has the pool, but not its threads
    os.register_at_fork(after_in_child=lambda: _pool.__init__())


def share(task: Callable[[], None], helpers: int) -> None:
    """Run ``task`` here and in up to ``helpers`` other threads, and return when all of them have ended.

    While the helpers are busy with another thread's task, this thread does its own alone. An interrupt (Ctrl-C) is
    passed on when everyone has ended: nobody writes into the arrays of a step that is over.
    """
    if not _pool.lock.acquire(blocking=False):
        task()
        return
    interrupt: BaseException | None = None
    working = _pool.hire(helpers)
    try:
        for helper in working:
            helper.begin(task)
        try:
            task()
        except BaseException as caught:
            interrupt = caught
        errors: list[BaseException] = []
        for helper in working:
            while True:
                try:
                    helper.end()
                    break
                except KeyboardInterrupt as caught:
                    interrupt = caught
            if helper.error is not None:
                errors.append(helper.error)
                helper.error = None
    finally:
        _pool.lock.release()
    if interrupt is not None:
        raise interrupt
    if errors:
        raise errors[0]
