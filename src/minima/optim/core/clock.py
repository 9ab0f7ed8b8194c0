"""The clock: how many steps an optimizer, and each of its parameters, have taken."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.core.interrupts import uninterrupted

__all__ = ["MOST", "Clock"]

MOST = 2**62
"""No parameter may be said to have taken as many steps, so that there is room to go on."""


class Clock:
    """Counts steps: one number for the optimizer, and an integer of its own for each parameter.

    Attributes:
        t: The steps that the optimizer has taken.
        owner: Who alone has moved the counts since it last looked at them, if anyone: the mark of a plan, which need
            not look again.
    """

    def __init__(self) -> None:
        self.t = 0
        self.owner: object = None
        self._counts: NDArray[np.int64] = np.zeros(0, np.int64)
        self._counters: list[_Counter] = []
        """Those with steps that are not in the counts yet: adding to an array takes longer than a small update."""

    @property
    def counts(self) -> NDArray[np.int64]:
        """The steps that each parameter has taken, by its place; int64."""
        if self._counters:
            with uninterrupted():
                for counter in self._counters:
                    self._counts[counter.places] += counter.steps
                    counter.steps = 0
                self._counters.clear()
        return self._counts

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"owner": None, "_counts": self.counts, "_counters": []}

    def add(self, many: int) -> None:
        """Make room for so many more parameters, which have taken no step."""
        self._counts = np.concatenate([self.counts, np.zeros(many, np.int64)])
        self.owner = None

    def counter(self, places: slice | NDArray[np.int64]) -> Callable[[], object]:
        """A function that counts a step of some parameters, each of which is given once; until more are added."""
        return _Counter(places, self._counters)

    def set(self, places: Sequence[int], t: int | Sequence[int]) -> None:
        """Let some parameters have taken ``t`` steps, or each of them its own number."""
        self.counts[list(places)] = t
        self.owner = None


class _Counter:
    """Counts steps of some parameters."""

    __slots__ = ("_others", "places", "steps")

    def __init__(self, places: slice | NDArray[np.int64], others: "list[_Counter]") -> None:
        self.places = places
        self.steps = 0
        self._others = others

    def __call__(self) -> None:
        if not self.steps:
            self._others.append(self)
        self.steps += 1
