"""Hooks: functions of a user's own that are called as a gradient passes, or as a module is."""

from collections.abc import Iterator
from itertools import count
from typing import Any

__all__ = ["RemovableHandle", "each"]

_number = count().__next__


class RemovableHandle:
    """What registering a hook gives: ``remove()`` takes the hook away, and so does the end of a ``with`` block."""

    def __init__(self, hooks: dict[int, Any], hook: Any, prepend: bool = False) -> None:
        self._hooks = hooks
        self._key = _number()
        later = dict(hooks) if prepend else {}
        for key in later:
            del hooks[key]
        hooks[self._key] = hook
        hooks.update(later)

    def remove(self) -> None:
        """Take the hook away; once more does nothing."""
        self._hooks.pop(self._key, None)

    def __enter__(self) -> "RemovableHandle":
        return self

    def __exit__(self, *exception: object) -> None:
        self.remove()


def each(hooks: dict[int, Any]) -> Iterator[Any]:
    """The hooks in order; one of them may take hooks away."""
    return iter(tuple(hooks.values()))
