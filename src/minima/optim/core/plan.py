"""A plan: the work of one step, prepared once and repeated for as long as the same parameters move together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host, Member
from minima.optim.core.values import Values
from minima.optim.language.trace import Form

__all__ = ["Plan"]


class Plan:
    """Parameters that move together, sorted into batches, each of which one kernel steps."""

    def __init__(
        self,
        host: Host,
        clock: Clock,
        members: Sequence[Member],
        idle: Sequence[Member],
        forms: Mapping[Values, Form],
        *,
        measured: bool,
    ) -> None:
        """Plan for parameters that move while others are idle, with groups that ask for these forms."""
        self.members = members
        self.forms = forms
        self.measured = measured
        self.has_begun = False
        """Whether the last step has changed something."""
        self.replaces = False
        """Whether state took the place of what plans made before know."""
        self._host = host
        self._clock = clock
        self._tensors = [member.tensor for member in members]
        self._idle = [member.tensor for member in idle]
        found: dict[Any, list[int]] = {}
        for index, member in enumerate(members):
            program = host.program(member, forms[member.values])
            self.replaces |= bool(host.settle(member, program))
            found.setdefault((program, host.kind(member, program)), []).append(index)
        self._batches: list[Batch] = []
        for (program, _), indices in found.items():
            mine = [members[index] for index in indices]
            self._batches.append(Batch(program, mine, indices, host.kernel(program, mine, measured=measured)))

    def fits(self, t: int) -> bool:
        """Whether the groups still ask for the forms that it was made for, and idle parameters are still idle."""
        for values, form in self.forms.items():
            today = values.look(t).form
            if today is not form and today != form:
                return False
        return not self._idle or self._host.are_idle(self._idle)

    def load(self, grads: Sequence[Any] | None = None) -> Sequence[Any] | None:
        """Take these gradients, or those that are there; None if anything is not as the plan needs it."""
        if grads is None:
            grads = self._host.gradients(self._tensors)
            if grads is None:
                return None
        for batch in self._batches:
            mine = grads if len(self._batches) == 1 else [grads[index] for index in batch.indices]
            if not batch.kernel.load(mine):
                self.drop()
                return None
        return grads

    def drop(self) -> None:
        """Let go of the gradients that were loaded."""
        for batch in self._batches:
            batch.kernel.drop()

    def run(self, seed: int) -> None:
        """Step every parameter by the gradient that was loaded, and count: each batch, as soon as it is done."""
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            self._run(seed)

    def _run(self, seed: int) -> None:
        clock, self.has_begun = self._clock, False
        if clock.owner is not self:
            for batch in self._batches:
                batch.arrange(clock)
        clock.owner = None
        scalars = [batch.scalars() for batch in self._batches]  # all of them first: computing one may fail
        interrupt: KeyboardInterrupt | None = None
        for batch, rows in zip(self._batches, scalars, strict=True):
            try:
                batch.run(rows, seed)
            except KeyboardInterrupt as caught:  # from a kernel that has finished nevertheless
                interrupt = caught
            batch.tick(clock)
            self.has_begun = True
        if all(batch.is_arranged for batch in self._batches):
            clock.owner = self
        self._host.written(self._tensors)
        if interrupt is not None:
            raise interrupt

    @property
    def measures(self) -> Iterator[tuple[Member, tuple[float, ...]]]:
        """Every parameter with the sums of squares that the last step measured."""
        found = {
            index: tuple(sums)
            for batch in self._batches
            for index, sums in zip(batch.indices, batch.kernel.measures.tolist(), strict=True)
        }
        for index, member in enumerate(self.members):
            yield member, found[index]
