"""A plan: the work of one step, prepared once and repeated for as long as the same parameters move together."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cache, partial
from operator import attrgetter, is_
from typing import Any

import numpy as np

from minima.autograd.tensor import mark_written
from minima.errors import sentence
from minima.optim.engines import Array, Engine
from minima.optim.groups import Clock, Slot
from minima.optim.language.program import Program

__all__ = ["Interrupted", "NotFinite", "Plan"]

# A step of a small network spends its time on asking tensors for arrays: this asks in one call.
_buffer = attrgetter("buffer")
_gradient = attrgetter("node.grad.buffer")


class NotFinite(FloatingPointError):
    """A gradient with an infinity or NaN, where such are not to reach the parameters."""


class Interrupted(KeyboardInterrupt):
    """An interrupt (Ctrl-C) that came during a step, which was taken nevertheless."""


class Plan:
    """Parameters, sorted into batches: one program and one dtype, so that one call of an engine serves each.

    Within a batch, parameters of one group that have taken the same number of steps share a row of scalars, and from
    here on a clock.
    """

    def __init__(
        self,
        engine: Engine,
        slots: Sequence[Slot],
        idle: Sequence[Slot],
        form: tuple[Any, ...],
        programs: Mapping[int, Program],
    ) -> None:
        """Plan for parameters that move while others are idle; ``programs`` holds each group's, by the group's ``id``.

        ``form`` is what the programs were chosen by.
        """
        self.slots = list(slots)
        self._engine = engine.name
        self._form = form
        self._tensors = [slot.tensor for slot in slots]
        self._measured = False
        self._idle = [slot.tensor for slot in idle]
        self._buffers = list(map(_buffer, self._tensors))
        clocks: dict[tuple[int, int], Clock] = {}
        for slot in slots:
            slot.clock = clocks.setdefault((id(slot.group), slot.t), Clock(slot.t))
        self._clocks = list(clocks.values())
        batches: dict[tuple[Program, Any], list[int]] = {}
        for index, slot in enumerate(slots):
            batches.setdefault((programs[id(slot.group)], slot.dtype), []).append(index)
        self._batches = [_Batch(engine, program, slots, members) for (program, _), members in batches.items()]

    def serves(self, engine: str | None, form: tuple[Any, ...]) -> bool:
        """Whether engine, form and buffers are still those that the plan was made for."""
        same = engine == self._engine and form == self._form
        return same and all(map(is_, map(_buffer, self._tensors), self._buffers))

    def repeat(self, engine: str | None, form: tuple[Any, ...], guard: str, *, measured: bool) -> bool:
        """Step if everything is as it was in the last step, every gradient as it must be; else change nothing."""
        if any(tensor.grad is not None for tensor in self._idle) or not self.serves(engine, form):
            return False
        try:
            grads: list[Array] = list(map(_gradient, self._tensors))
        except AttributeError:  # of None: a gradient is missing
            return False
        return self.run(grads, guard, measured=measured)

    def run(self, grads: Sequence[Array], guard: str, *, measured: bool) -> bool:
        """Step every parameter by its gradient, or none of them if a gradient is not as it must be.

        ``guard`` is the name of whoever is to complain of a gradient that is not finite, or empty where none is.
        """
        if measured is not self._measured:
            self._measured = measured
            for batch in self._batches:
                batch.measure(measured)
        for batch in self._batches:
            mine = grads if len(self._batches) == 1 else [grads[index] for index in batch.members]
            if not batch.kernel.load(mine):
                return False
        if guard and (wild := [batch.members[i] for batch in self._batches if (i := batch.wild()) is not None]):
            rule = f"gradient of {self.slots[min(wild)]} is not finite"
            raise NotFinite(sentence(guard, rule, hint="nothing was changed"))
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            scalars = [batch.scalars() for batch in self._batches]  # all of them first: functions of the step may fail
            interrupt: KeyboardInterrupt | None = None
            for batch, rows in zip(self._batches, scalars, strict=True):
                try:
                    batch.run(rows)
                except KeyboardInterrupt as caught:
                    interrupt = caught
        for clock in self._clocks:
            clock.t += 1
        mark_written(self._tensors)
        if interrupt is not None:
            raise Interrupted from interrupt
        return True

    @property
    def measures(self) -> Iterator[tuple[Slot, tuple[float, ...]]]:
        """Every parameter with the sums of squares that the last step measured."""
        for batch in self._batches:
            for index, sums in zip(batch.members, batch.kernel.measures.tolist(), strict=True):
                yield self.slots[index], tuple(sums)


class _Batch:
    """What one call of an engine does."""

    def __init__(self, engine: Engine, program: Program, slots: Sequence[Slot], members: list[int]) -> None:
        self.members = members
        self._hypers = program.hypers
        self._host = program.host_function()
        mine = [slots[index] for index in members]
        clocks = {id(slot.clock): slot for slot in mine}
        self._rows = list(clocks.values())
        """One parameter for each row of scalars, to know the row's group and clock."""
        numbers = {key: number for number, key in enumerate(clocks)}
        params = [slot.tensor.buffer for slot in mine]
        states = [slot.state for slot in mine]
        rows = [numbers[id(slot.clock)] for slot in mine]
        self._prepare = cache(partial(engine.prepare, program, params, states, rows))
        self.measure(False)

    def measure(self, measured: bool) -> None:
        """Let the next step measure, or not."""
        self.kernel = self._prepare(measured=measured)

    def wild(self) -> int | None:
        """Which of the gradients is not finite, if there is one."""
        return self.kernel.first_not_finite()

    def scalars(self) -> list[tuple[Any, ...]]:
        """What the host part of the program computes, for each row."""
        return [self._host(*self._numbers(slot)) for slot in self._rows]

    def run(self, scalars: Sequence[tuple[Any, ...]]) -> None:
        self.kernel.run(scalars, [slot.t + 1 for slot in self._rows])

    def _numbers(self, slot: Slot) -> list[np.float64]:
        value = slot.group.value
        return [np.float64(slot.t + 1 if name == "t" else value(name)) for name in self._hypers]
