"""Bytes on their way to the disk: while some are hashed, those before them are written, and others forced to the disk.

They pass through a few megabytes of memory and are never held as a whole. What is written is what was hashed, though
another thread should change the arrays meanwhile: such a file is not damaged.
"""

import os
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

__all__ = ["pour", "put"]

_PIECE = 1 << 20
_PIECES = 8
_FORCED = 64 << 20
"""After how many bytes the disk is asked to begin: else it waits for the last one, and the caller then for the disk."""


def pour(descriptor: int, parts: Iterable[memoryview], hashed: Callable[[memoryview], object]) -> None:
    """Write bytes into an open file from its position on.

    Args:
        descriptor: The file.
        parts: The bytes.
        hashed: Called with the same bytes, piece by piece.
    """
    stream = _Stream(descriptor, hashed)
    try:
        for part in parts:
            stream.take(part)
        stream.end()
    finally:
        stream.close()


def put(descriptor: int, data: memoryview) -> None:
    """Write all of these bytes: the system may take less than it is given."""
    while len(data):
        data = data[os.write(descriptor, data) :]


class _Stream:
    def __init__(self, descriptor: int, hashed: Callable[[memoryview], object]) -> None:
        self._descriptor, self._hashed = descriptor, hashed
        self._piece = memoryview(bytearray(_PIECE))
        self._filled = 0
        self._unforced = 0
        self._written: deque[tuple[Any, memoryview]] = deque()
        self._forced: list[Any] = []
        self._threads: tuple[Any, Any] | None = None
        """One that writes, and one that forces to the disk."""
        self._alone = False

    def take(self, part: memoryview) -> None:
        while len(part):
            count = min(len(part), _PIECE - self._filled)
            self._piece[self._filled : self._filled + count] = part[:count]
            self._filled, part = self._filled + count, part[count:]
            if self._filled == _PIECE:
                self._pass_on()

    def end(self) -> None:
        """Write what is left, and wait for all; an error of any thread is raised."""
        rest = self._piece[: self._filled]
        self._hashed(rest)
        while self._written:
            self._wait()
        put(self._descriptor, rest)
        for each in self._forced:
            each.result()

    def _pass_on(self) -> None:
        self._hashed(self._piece)
        self._filled = 0
        if self._threads is None and not self._alone:
            self._threads = self._started()
            self._alone = self._threads is None
        if self._threads is None:
            put(self._descriptor, self._piece)
            return
        writer, forcer = self._threads
        self._written.append((writer.submit(put, self._descriptor, self._piece), self._piece))
        self._unforced += _PIECE
        if self._unforced >= _FORCED and hasattr(os, "fdatasync"):
            self._unforced = 0
            self._forced.append(forcer.submit(os.fdatasync, self._descriptor))
        if len(self._written) < _PIECES:
            self._piece = memoryview(bytearray(_PIECE))
            return
        self._piece = self._wait()

    def _wait(self) -> memoryview:
        """Wait until the oldest piece is written, and give its memory."""
        future, piece = self._written[0]
        future.result()
        self._written.popleft()
        return piece

    def _started(self) -> tuple[Any, Any] | None:
        """The threads; None where none can be started, as while the interpreter shuts down."""
        try:
            from concurrent.futures import ThreadPoolExecutor  # it loads much, and small files need none

            threads = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
            for each in threads:
                each.submit(int)
        except RuntimeError:
            return None
        return threads

    def close(self) -> None:
        """Wait for what is under way: until then the file must stay open, whatever interrupts the waiting."""
        interrupt: BaseException | None = None
        for future in [*(future for future, _ in self._written), *self._forced]:
            while not (future.cancel() or future.done()):
                try:
                    future.exception()
                except BaseException as error:
                    interrupt = error
        for each in self._threads or ():
            each.shutdown()
        if interrupt is not None:
            raise interrupt
