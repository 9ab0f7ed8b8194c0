"""A plan: the work of one step, prepared once and repeated for as long as the same parameters move together."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from minima.optim.core.batch import Batch, CountingBatch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host, Member
from minima.optim.core.interrupts import uninterrupted
from minima.optim.core.model import Stages
from minima.optim.core.values import Values
from minima.optim.language.program import Program
from minima.optim.language.rule import LOSS
from minima.optim.language.trace import Variant

__all__ = ["Plan", "turn"]


def turn(
    host: Host, clock: Clock, members: Sequence[Member], variants: Mapping[Values, Variant]
) -> tuple[Program, ...]:
    """The programs of the next step of those parameters whose program depends on the step."""
    known: dict[Any, Program] = {}  # parameters that are alike have the same
    found: list[Program] = []
    for member in members:
        variant, tensor = variants[member.values], member.tensor
        if host.takes_turns(member, variant):
            t = int(clock.counts[member.place]) + 1
            alike = member.values, member.is_new, t, tensor.shape, tensor.dtype
            if alike not in known:
                known[alike] = host.program(member, variant, t)
            found.append(known[alike])
    return tuple(found)


class Plan:
    """Parameters that move together, sorted into batches, each of which one kernel steps."""

    def __init__(
        self,
        host: Host,
        clock: Clock,
        members: Sequence[Member],
        idle: Sequence[Member],
        variants: Mapping[Values, Variant],
        *,
        measured: bool,
        estimates: bool = False,
    ) -> None:
        """Plan for parameters that move while others are idle, with groups that ask for these variants.

        With ``estimates``, what stands for gradients is taken into the state, and no step is taken.
        """
        self.members = members
        self.variants = variants
        self.measured = measured
        self.has_begun = False
        """Whether the last step has changed something."""
        self.replaces = False
        """Whether state took the place of what plans made before know."""
        self._looks = [(values.look, variant, values.settings.has_tensors) for values, variant in variants.items()]
        self._host = host
        self._clock = clock
        self._mark = object()
        """By what the clock knows it: if each referred to the other, parameters would not go with their last user."""
        self._tensors = [] if estimates else [member.tensor for member in members]
        """What it writes to, besides state."""
        self._idle = [member.tensor for member in idle]
        found: dict[Any, list[int]] = {}
        programs = [host.program(member, variants[member.values]) for member in members]
        for member, program in zip(members, programs, strict=True):
            self.replaces |= bool(host.settle(member, program))
        self._turning = [member for member in members if host.takes_turns(member, variants[member.values])]
        """The parameters whose program depends on the step."""
        self.turn = turn(host, clock, self._turning, variants)
        """The programs of these."""
        turning = dict(zip(self._turning, self.turn, strict=True))
        for index, (member, program) in enumerate(zip(members, programs, strict=True)):
            program = turning.get(member, program)
            if estimates:
                known, program = program, host.variants.estimate(variants[member.values])
                if not {*program.state} <= {*known.state}:  # this variant of the rule has no use for it
                    continue
            program = program.measured() if measured else program
            found.setdefault((program, host.kind(member, program)), []).append(index)
        self._batches: list[Batch] = []
        for (program, _), indices in found.items():
            mine = [members[index] for index in indices]
            kernel = host.kernel(program, mine)
            made = CountingBatch if kernel.counts else Batch
            self._batches.append(made(program, mine, indices, kernel, counts=not estimates))
        self._stages = Stages(host, clock, self._batches, list(variants))
        self.needs_loss = any(LOSS in batch.program.hypers for batch in self._batches)
        """Whether a step needs the loss."""
        self.is_atomic = not self._stages.is_needed and all(batch.kernel.is_atomic for batch in self._batches)

    def fits(self, t: int) -> bool:
        """Whether groups still ask for the variants, and have tensors, as it was made for; and the idle are idle."""
        for look, variant, has_tensors in self._looks:
            today = look(t)
            if today.variant is not variant and today.variant != variant or today.has_tensors is not has_tensors:
                return False
        if self._idle and not self._host.are_idle(self._idle):
            return False
        return not self._turning or turn(self._host, self._clock, self._turning, self.variants) == self.turn

    def find(self) -> bool:
        """Take the gradients that the parameters have now; False if anything is not as the plan needs it."""
        for batch in self._batches:
            if not batch.kernel.find():
                self.drop()
                return False
        return True

    def load(self, grads: Sequence[Any]) -> bool:
        """Take these gradients, one for each parameter; False if anything is not as the plan needs it."""
        for batch in self._batches:
            if not batch.kernel.load([grads[index] for index in batch.indices]):
                self.drop()
                return False
        return True

    def not_finite(self) -> Member | None:
        """A parameter whose gradient, as it was loaded, is not finite, if there is one."""
        for batch in self._batches:
            fine = batch.kernel.finite()
            if not all(fine):
                return batch.members[fine.index(False)]
        return None

    def drop(self) -> None:
        """Let go of the gradients that were loaded."""
        for batch in self._batches:
            batch.kernel.drop()

    def run(self, seed: int, loss: Any) -> None:
        """Step every parameter by the gradient that was loaded, and count: each batch, as soon as it is done.

        All batches are ready before the first is stepped, so that what fails for want of memory changes nothing. Those
        that compute with totals over all parameters are done together, stage by stage. An interrupt (Ctrl-C) is passed
        on when all of them are done.
        """
        if self.is_atomic:
            self._run(seed, loss)
        else:
            with uninterrupted():
                self._run(seed, loss)

    def _run(self, seed: int, loss: Any) -> None:
        clock, batches = self._clock, self._batches
        if clock.owner is not self._mark:
            for batch in batches:
                batch.arrange(clock)
        clock.owner = None
        # All scalars first: computing one may fail. (Comprehensions, which are functions, would cost a microsecond.)
        scalars: list[list[Any]] = []
        ts: list[int] = []
        for batch in batches:
            scalars.append(batch.scalars(loss))
            ts.append(batch.t)
        is_arranged = True
        try:
            together = self._stages.is_needed
            if together:
                self._stages.begin(loss)
                self._stages.run(scalars, seed)
            else:
                for batch, rows in zip(batches, scalars, strict=True):
                    batch.kernel.begin(rows, batch.ts(seed))
            for batch in batches:
                if not together:
                    batch.kernel.run()
                is_arranged &= batch.tick()
                self.has_begun = True
            if is_arranged:
                clock.owner = self._mark
            self._host.written(self._tensors)
        except BaseException as error:
            with uninterrupted():
                clock.owner = None
                # Ctrl-C comes in the middle of atomic steps alone. From elsewhere, it is an error like others.
                if self.is_atomic and isinstance(error, KeyboardInterrupt):
                    for batch, rows, t in zip(batches, scalars, ts, strict=True):
                        batch.finish(clock, t, rows, seed)
                    self.has_begun = True
                    self._host.written(self._tensors)
                else:
                    self._count_written(ts)
            raise

    def _count_written(self, ts: Sequence[int]) -> None:
        """After an error, count the step of those batches that it has written to; ``ts`` are the steps they were in."""
        written: list[Any] = []
        for batch, t in zip(self._batches, ts, strict=True):
            if batch.t == t and batch.kernel.has_written:
                batch.tick()
            if batch.t > t:
                written += [member.tensor for member in batch.members]
        self.has_begun = bool(written)
        self._host.written(written)

    @property
    def measures(self) -> Iterator[tuple[Member, tuple[float, ...]]]:
        """Every parameter with the norms that the last step measured."""
        found = {
            index: tuple(norms)
            for batch in self._batches
            for index, norms in zip(batch.indices, batch.kernel.reports.tolist(), strict=True)
        }
        for index, member in enumerate(self.members):
            yield member, found[index]
