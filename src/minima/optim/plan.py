"""A plan: the work of one step, prepared once and used again for as long as the same parameters move together."""

from collections.abc import Mapping, Sequence
from operator import is_
from typing import Any

import numpy as np

from minima.optim.engines import Array, Engine
from minima.optim.groups import Slot
from minima.optim.program import Program

__all__ = ["Plan"]


class Plan:
    """Parameters, sorted into batches: one program and one dtype, so that one call of an engine serves each.

    Within a batch, parameters of one group that have taken the same number of steps share a row of scalars.
    """

    def __init__(
        self,
        engine: Engine,
        slots: list[Slot],
        buffers: list[Array],
        flags: list[Any],
        programs: Mapping[int, Program],
    ) -> None:
        """Plan for these parameters and their buffers; ``programs`` holds each group's, by the group's ``id``."""
        self._engine = engine.name
        self._slots = slots
        self._buffers = buffers
        self._flags = flags
        batches: dict[tuple[Program, Any], list[int]] = {}
        for index, slot in enumerate(slots):
            batches.setdefault((programs[id(slot.group)], slot.dtype), []).append(index)
        self._batches = [_Batch(engine, program, slots, members) for (program, _), members in batches.items()]

    def serves(self, engine: str | None, slots: list[Slot], buffers: list[Array], flags: list[Any]) -> bool:
        """Whether these are the engine, the parameters, their buffers and the flags that the plan was made for."""
        same = engine == self._engine and slots == self._slots and flags == self._flags
        return same and all(map(is_, buffers, self._buffers))

    def run(self, grads: Sequence[Array]) -> None:
        """Step every parameter by its gradient."""
        for batch in self._batches:
            batch.run(grads if len(self._batches) == 1 else [grads[index] for index in batch.members])


class _Batch:
    def __init__(self, engine: Engine, program: Program, slots: Sequence[Slot], members: list[int]) -> None:
        self.members = members
        self._hypers = program.hypers
        self._host = program.host_function()
        first: dict[tuple[int, int], Slot] = {}
        """One parameter for each row of scalars, to know the row's group and ``t``."""
        mine = [slots[index] for index in members]
        for slot in mine:
            first.setdefault((id(slot.group), slot.t), slot)
        self._rows = list(first.values())
        numbers = {key: number for number, key in enumerate(first)}
        params = [slot.tensor.buffer for slot in mine]
        rows = [numbers[id(slot.group), slot.t] for slot in mine]
        self._kernel = engine.prepare(program, params, [slot.state for slot in mine], rows)

    def run(self, grads: Sequence[Array]) -> None:
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            scalars = [self._host(*self._numbers(slot)) for slot in self._rows]
            self._kernel(grads, scalars, [slot.t + 1 for slot in self._rows])

    def _numbers(self, slot: Slot) -> list[np.float64]:
        value = slot.group.value
        return [np.float64(slot.t + 1 if name == "t" else value(name)) for name in self._hypers]
