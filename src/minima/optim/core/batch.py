"""A batch: the parameters that one call of a kernel steps, and the numbers that they are stepped with."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.core.clock import Clock
from minima.optim.core.host import Member
from minima.optim.core.scalars import host_part
from minima.optim.core.values import Settings, Values
from minima.optim.engines.engine import Kernel
from minima.optim.language.program import Program
from minima.optim.language.rule import GIVEN, LOSS

__all__ = ["Batch", "CountingBatch"]


class Batch:
    """Parameters of one program and one kind.

    Those of one group that have taken the same number of steps share a row of scalars.
    """

    def __init__(
        self, program: Program, members: Sequence[Member], indices: list[int], kernel: Kernel, *, counts: bool = True
    ) -> None:
        """Prepare to run a kernel; ``counts`` is whether that is a step of each parameter."""
        self.members = members
        self._counts = counts
        self.indices = indices
        """Where its parameters stand in the plan."""
        self.kernel = kernel
        self.program = program
        self._host = host_part(program, kernel.functions)
        self._is_steady = not {*GIVEN} & {*program.hypers}
        places = [member.place for member in members]
        self._places: NDArray[np.int64] | slice = np.array(places, np.int64)
        if places == list(range(places[0], places[0] + len(places))):  # many times faster to count
            self._places = slice(places[0], places[0] + len(places))
        groups = {values: number for number, values in enumerate(dict.fromkeys(m.values for m in members))}
        self._values = list(groups)
        self._groups = np.array([groups[member.values] for member in members], np.int64)
        self._rows: list[tuple[Values, bool]] = []
        """For every row the hyperparameters of its group, and whether its state is new."""
        self._count: Callable[[], object] = list
        self._has_new = False
        self.t = 0
        """Which step the first of the parameters takes."""
        self._ts: list[int] = []
        self._given: list[Settings] = []
        self._scalars: list[Any] = []

    def arrange(self, clock: Clock) -> None:
        """Sort the parameters into rows."""
        counts = clock.counts[self._places]
        fresh = np.array([member.is_new for member in self.members])
        if (counts == counts[0]).all() and not self._groups.any() and (fresh == fresh[0]).all():
            leaders, rows = [0], np.zeros(len(counts), np.int64)
        else:
            keys = np.stack([self._groups, counts, fresh], axis=1)
            _, first, rows = np.unique(keys, axis=0, return_index=True, return_inverse=True)
            leaders, rows = first.tolist(), rows.reshape(-1)
        self._rows = [(self.members[leader].values, bool(fresh[leader])) for leader in leaders]
        self._has_new = bool(fresh.any())
        self._ts = [int(counts[leader]) + 1 for leader in leaders]
        self.t = int(counts[0]) + 1
        self._given = []
        self._count = clock.counter(self._places) if self._counts else list
        self.kernel.arrange(rows)

    def scalars(self, loss: Any) -> list[Any]:
        """What the host part of the program computes in a step with this loss, for each row.

        It is the same list for as long as it stays the same.
        """
        if len(self._rows) == 1 and not self._is_steady:  # as a rule, and in less time
            values, first = self._rows[0]
            today = values.settings
            if not today.has_tensors:
                numbers = today.numbers_of(self.members[0].tensor) if today.derived else today.numbers
                self._scalars = [self._host(numbers, self._ts[0], first, loss)]
                return self._scalars
        settings = [values.settings for values, _ in self._rows]
        if self._is_steady and settings == self._given:
            return self._scalars
        known = [today.numbers_of(self.members[0].tensor) for today in settings]
        rows = zip(settings, known, self._ts, self._rows, strict=True)
        self._scalars = [
            self._with_tensors(each, t, first, loss) if today.has_tensors else self._host(each, t, first, loss)
            for today, each, t, (_, first) in rows
        ]
        if self._is_steady and not any(today.has_tensors for today in settings):  # others may write to tensors
            self._given = settings
        return self._scalars

    def _with_tensors(self, numbers: Mapping[str, Any], t: int, first: bool, loss: float) -> Any:
        if self.kernel.host_part is not None:
            return self.kernel.host_part(numbers, t, first, loss)
        return self._host({name: float(value) for name, value in numbers.items()}, t, first, loss)

    @property
    def leader(self) -> Values:
        """The hyperparameters of its first parameter."""
        return self.members[0].values

    def ts(self, seed: int) -> Sequence[int]:
        """What random numbers depend on, for each row."""
        if not seed:
            return self._ts
        shift = _shift(seed)
        return [t + shift for t in self._ts]

    def finish(self, clock: Clock, t: int, scalars: Sequence[Any], seed: int) -> None:
        """Do what is left to do of step ``t`` of the first parameter, after an interrupt."""
        if clock.counts[self.members[0].place] < t:
            if not self.kernel.has_run:
                self.kernel.begin(scalars, self.ts(seed))
                self.kernel.run()
            self._count()
        for member in self.members if self._counts else ():
            member.is_new = False

    def tick(self) -> bool:
        """Count a step of every parameter; whether the rows are those of the next step, if nobody else counts."""
        if not self._counts:
            return True
        self._count()
        self.t += 1
        self._ts = [self.t] if len(self._ts) == 1 else [t + 1 for t in self._ts]
        if not self._has_new:
            return True
        for member in self.members:
            member.is_new = False
        return False  # rows that differed in being new may be one


class CountingBatch(Batch):
    """Parameters whose kernel counts their steps, and computes the host part of the program: only it knows their ``t``.

    What it is given for each row, of which there is one a group, is the hyperparameters.
    """

    def __init__(
        self, program: Program, members: Sequence[Member], indices: list[int], kernel: Kernel, *, counts: bool = True
    ) -> None:
        super().__init__(program, members, indices, kernel, counts=counts)
        self._asked = [name for name in program.hypers if name not in ("t", "first")]

    def arrange(self, clock: Clock) -> None:
        self.kernel.arrange(self._groups)

    def scalars(self, loss: Any) -> list[Any]:
        tensor = self.members[0].tensor
        known = [{**values.settings.numbers_of(tensor), LOSS: loss} for values in self._values]
        return [[numbers[name] for name in self._asked] for numbers in known]

    def ts(self, seed: int) -> Sequence[int]:
        return [_shift(seed)]

    def tick(self) -> bool:
        if self._counts:
            self.t += 1  # the host's own, by which it knows what a step has reached
            for member in self.members:
                member.is_new = False
        return True


def _shift(seed: int) -> int:
    """How far from ``t`` the steps of a seed are, so that they are not those of the next; of a large seed all digits
    count."""
    return seed % 0x7FFFFFFF * 0x9E3779B1 & 0x7FFFFFFF
