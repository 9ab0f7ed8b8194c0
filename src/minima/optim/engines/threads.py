"""The threads of the fused engine: a plain pool, made when it is first needed."""

import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
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


@cache
def _pool() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(thread_count() - 1, thread_name_prefix="minima")


if hasattr(os, "register_at_fork"):  # a forked child has the pool without its threads
    os.register_at_fork(after_in_child=_pool.cache_clear)


def share(task: Callable[[], None], helpers: int) -> None:
    """Run ``task`` here and in up to ``helpers`` threads of the pool, and return when all of them have ended.

    An interrupt (Ctrl-C) is passed on only then: nobody writes into the arrays of a step that is over.
    """
    futures: list[Future[None]] = []
    try:
        futures += [_pool().submit(task) for _ in range(helpers)]
    except RuntimeError:  # the interpreter is shutting down and starts no threads any more: this one does it all
        pass
    interrupt: KeyboardInterrupt | None = None
    try:
        task()
    except KeyboardInterrupt as caught:
        interrupt = caught
    while True:
        try:
            wait(futures)
            break
        except KeyboardInterrupt as caught:
            interrupt = caught
    if interrupt is not None:
        raise interrupt
    for future in futures:
        future.result()
