"""A plan: the work of one step, prepared once and used again for as long as the same parameters move together."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from minima.optim.engines import Array, Engine
from minima.optim.groups import Slot
from minima.optim.program import Program

__all__ = ["Plan"]


class Plan:
    """Parameters, sorted into batches: one program and one dtype, so that one call of an engine serves each.

    ``programs`` holds the program of every group, by the group's ``id``. Within a batch, parameters of one group that
    have taken the same number of steps share a row of scalars.
    """

    def __init__(self, engine: Engine, slots: Sequence[Slot], programs: Mapping[int, Program]) -> None:
        self.slots = list(slots)
        self.buffers = [slot.tensor.buffer for slot in slots]
        self.programs = programs
        batches: dict[tuple[Program, Any], list[int]] = {}
        for index, slot in enumerate(self.slots):
            batches.setdefault((programs[id(slot.group)], slot.tensor.dtype), []).append(index)
        self._batches = [_Batch(engine, program, self.slots, members) for (program, _), members in batches.items()]

    def run(self, grads: Sequence[Array]) -> None:
        """Step every parameter by its gradient."""
        for batch in self._batches:
            batch.run(grads)


class _Batch:
    def __init__(self, engine: Engine, program: Program, slots: Sequence[Slot], members: list[int]) -> None:
        self.members = members
        self.hypers = program.hypers
        self.host = program.host_function()
        mine = [slots[index] for index in members]
        first: dict[tuple[int, int], Slot] = {}
        for slot in mine:
            first.setdefault((id(slot.group), slot.t), slot)
        self.rows = list(first.values())
        """One parameter for each row of scalars, to know the row's group and ``t``."""
        numbers = {key: number for number, key in enumerate(first)}
        arrays = [(slot.tensor.buffer, *(state.buffer for state in slot.state)) for slot in mine]
        self.kernel = engine.prepare(program, arrays, [numbers[id(slot.group), slot.t] for slot in mine])

    def run(self, grads: Sequence[Array]) -> None:
        with np.errstate(all="ignore"):
            scalars = [self.host(*self._numbers(slot)) for slot in self.rows]
        self.kernel([grads[index] for index in self.members], scalars)

    def _numbers(self, slot: Slot) -> list[np.float64]:
        return [np.float64(slot.t + 1 if name == "t" else slot.group[name]) for name in self.hypers]
