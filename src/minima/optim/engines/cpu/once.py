"""Machine code that is made once, by one thread at a time, and kept for as long as the process lives."""

import os
import threading
from collections.abc import Callable
from functools import update_wrapper
from typing import Any, Generic, ParamSpec, TypeVar

__all__ = ["LOCK", "once"]

P = ParamSpec("P")
T = TypeVar("T")

LOCK = threading.RLock()
"""Held by whoever uses LLVM, which several threads must not do at once."""

if hasattr(os, "register_at_fork"):  # a child forked in the middle of a compilation would wait for ever
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class once(Generic[P, T]):  # a decorator: spelled as functions are
    """Makes a function keep what it made for each set of arguments.

    ``functools.cache`` would let two threads make the same at once and drop one of the two, whose code may be running.
    """

    def __init__(self, make: Callable[P, T]) -> None:
        update_wrapper(self, make)
        self._make = make
        self.kept: dict[Any, T] = {}

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> T:
        """What the function makes of these arguments, which must be hashable."""
        key = (args, *kwargs.items()) if kwargs else args
        try:
            return self.kept[key]
        except KeyError:
            pass
        with LOCK:
            if key not in self.kept:
                self.kept[key] = self._make(*args, **kwargs)
            return self.kept[key]
