"""The frames of a rule under trace: what its variables hold, and where in it something is called."""

import inspect
from collections.abc import Iterator
from hashlib import sha256
from types import FrameType
from typing import Any

__all__ = ["Frames"]

_OWN = __name__.rpartition(".")[0]
"""Where the frames of operations are, between those of a rule."""


class Frames:
    """The frames of ``update`` and of the functions that it calls; none while it does not run."""

    def __init__(self) -> None:
        self.code: Any = None
        """That of ``update``, while it runs."""
        self._called: dict[Any, int] = {}
        """How often something was called at each place of the rule."""

    def variables(self) -> Iterator[tuple[str, Any]]:
        """What variables hold, with their names; those of ``update`` come first."""
        for frame in reversed(self._running()):
            yield from frame.f_locals.items()

    def place(self) -> float:
        """Where in ``update`` something is called, as a number: by that it is the same one in all programs."""
        place = tuple((frame.f_code.co_name, frame.f_lasti) for frame in self._running())
        self._called[place] = count = self._called.get(place, 0) + 1  # it may stand in a loop
        return float(int.from_bytes(sha256(repr((place, count)).encode()).digest()[:6]))

    def _running(self) -> list[FrameType]:
        """The frames, the innermost first."""
        frame, frames = inspect.currentframe(), list[FrameType]()
        while frame is not None and self.code is not None:
            if not str(frame.f_globals.get("__name__")).startswith(_OWN):
                frames.append(frame)
            if frame.f_code is self.code:
                return frames
            frame = frame.f_back
        return []  # nobody knows whose variables these are
