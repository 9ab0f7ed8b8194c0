"""The clock: how many steps an optimizer, and each of its parameters, have taken."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["MOST", "Clock"]

MOST = 2**62
"""No parameter may be said to have taken as many steps, so that there is room to go on."""


class Clock:
    """Counts steps: one number for the optimizer, and an integer of its own for each parameter.

    Attributes:
        t: The steps that the optimizer has taken.
        counts: Those that each parameter has taken, by its place; int64.
        owner: Who alone has moved the counts since it last looked at them, if anyone: the mark of a plan, which need
            not look again.
    """

    def __init__(self) -> None:
        self.t = 0
        self.counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self.owner: object = None

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owner": None}

    def add(self, many: int) -> None:
        """Make room for so many more parameters, which have taken no step."""
        self.counts = np.concatenate([self.counts, np.zeros(many, np.int64)])
        self.owner = None

    def counter(self, places: slice | NDArray[np.int64]) -> Callable[[], object]:
        """A function that counts a step of some parameters, each of which is given once; until more are added."""
        if isinstance(places, slice):
            return partial(self.counts[places].__iadd__, 1)
        return partial(np.add.at, self.counts, places, 1)

    def idle(self) -> None:
        """Be told that the optimizer's own count has moved, in a step in which no parameter did."""

    def set(self, places: Sequence[int], t: int | Sequence[int]) -> None:
        """Let some parameters have taken ``t`` steps, or each of them its own number."""
        self.counts[list(places)] = t
        self.owner = None
