"""Interrupts (Ctrl-C) that wait until something is done."""

import signal
import sys
import threading
from types import FrameType
from typing import Any

__all__ = ["uninterrupted"]

_bare: Any = sys.modules.get("_signal", signal)
"""What ``signal`` wraps, where there is such: converting to enumerations takes longer than a small step."""


class uninterrupted:
    """Within, an interrupt is kept, and delivered at the end. (Python delivers them to the main thread alone.)"""

    __slots__ = ("_before", "_kept")

    def __enter__(self) -> None:
        self._before: Any = None
        self._kept: list[tuple[int, FrameType | None]] = []
        if threading.current_thread() is threading.main_thread() and callable(before := _bare.getsignal(signal.SIGINT)):
            self._before = before
            _bare.signal(signal.SIGINT, self._keep)

    def _keep(self, number: int, frame: FrameType | None) -> None:
        self._kept.append((number, frame))

    def __exit__(self, *_: object) -> None:
        if self._before is not None:
            _bare.signal(signal.SIGINT, self._before)
            if self._kept:
                self._before(*self._kept[0])
