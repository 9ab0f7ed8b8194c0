"""Who has the parameters of an optimizer: a thread that steps, or whoever looks at their averages in their place."""

import threading
from collections.abc import Callable, Generator, Iterable
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from minima.optim.core.interrupts import uninterrupted

__all__ = ["Tenure", "lent"]

T = TypeVar("T")
V = TypeVar("V")


class Tenure:
    """Who has the parameters of one optimizer at present; all its steppers share it.

    Blocks that ask for the averages may overlap, in several threads: the first one lends them, the last one gives the
    parameters their own values back.
    """

    def __init__(self) -> None:
        self.busy = threading.RLock()
        """Held by the thread that steps, lends or gives back."""
        self.blocks = 0
        """How many blocks want the parameters to hold their averages."""
        self._own = ExitStack()

    def lend(
        self, pairs: Iterable[tuple[Any, Any]], copied: Callable[[Any], Any], write: Callable[[Any, Any], None]
    ) -> None:
        """Let each tensor have its values, as `lent` does, until `give_back`."""
        if not self.blocks:
            self._own.enter_context(lent(pairs, copied, write))
        self.blocks += 1

    def give_back(self) -> None:
        """Let the tensors have their own values again, if no other block wants the lent ones."""
        self.blocks -= 1
        if not self.blocks:
            self._own.close()


@contextmanager
def lent(pairs: Iterable[tuple[T, V]], copied: Callable[[T], V], write: Callable[[T, V], None]) -> Generator[None]:
    """Within, each tensor has other values; behind it its own, bit for bit.

    Where giving back to one fails, all others still get theirs.

    Args:
        pairs: Every tensor with the values that it is to have; may be computed one after the other.
        copied: Gives a copy of the values of a tensor.
        write: Lets a tensor have some values.
    """
    own = ExitStack()
    try:
        for tensor, values in pairs:
            own.callback(write, tensor, copied(tensor))
            write(tensor, values)
        yield
    finally:
        with uninterrupted():
            own.close()
