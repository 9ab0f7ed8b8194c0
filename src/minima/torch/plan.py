"""A plan: the work of one step, prepared once and repeated for as long as the same parameters move together."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter, is_, itemgetter
from typing import Any

import numpy as np
import torch
from torch.autograd.graph import increment_version

from minima.optim.language.program import Program
from minima.torch.batch import Batch, Kernel
from minima.torch.eager import Eager, host_scalars
from minima.torch.fused import Fused
from minima.torch.memory import is_spread, spread_alike
from minima.torch.reference import Reference
from minima.torch.state import STEP, Keeping, steps_of
from minima.torch.values import Values

__all__ = ["Member", "Plan"]

KERNELS: dict[str, Callable[[Batch], Kernel]] = {"fused": Fused, "reference": Reference, "torch": Eager}
"""What steps a batch, by the name of the engine."""

_gradient = attrgetter("grad")
_count = itemgetter(STEP)


@dataclass
class Member:
    """A parameter that is stepped."""

    param: torch.Tensor
    values: Values
    kept: dict[str, Any]
    """Its state."""
    program: Program
    keeping: Keeping
    rounding: str
    engine: str


class _Clock:
    """The number of steps that some parameters of one group have taken together: one tensor in the state of all."""

    def __init__(self, t: int) -> None:
        self.t = t
        self.tensor = torch.tensor(float(t), dtype=torch.float64, device="cpu")
        self._number: Any = self.tensor.numpy()
        self.shown: Callable[[], float] = self._number.item
        """What the tensor says, which others may have set."""

    def tick(self) -> None:
        self.t += 1
        self._number[...] = self.t


class Plan:
    """Parameters, sorted into batches, each of which one call of a kernel steps."""

    def __init__(
        self,
        members: Sequence[Member],
        idle: Sequence[torch.Tensor],
        groups: Sequence[Values],
        state: Mapping[Any, Any],
        seed: int,
    ) -> None:
        """Plan for parameters that move while others are idle.

        Args:
            members: The parameters that move.
            idle: Those that have no gradient.
            groups: The hyperparameters of each group of the optimizer.
            state: The state of the optimizer.
            seed: What the random numbers of stochastic rounding depend on, besides the step.
        """
        self.params = [member.param for member in members]
        self._are_spread = any(map(is_spread, self.params))
        self._idle = list(idle)
        self._groups = [(values, values.form) for values in groups]
        self._listed = [list(values.group["params"]) for values in groups]
        self._state = state
        self._entries = list(state.values())
        clocks: dict[tuple[int, int], _Clock] = {}
        batches: dict[Any, list[int]] = {}
        mine: list[_Clock] = []
        for index, member in enumerate(members):
            t = steps_of(member.kept)
            mine.append(clocks.setdefault((id(member.values), t), _Clock(t)))
            member.kept[STEP] = mine[-1].tensor
            key = (member.program, member.engine, member.rounding, member.param.dtype, member.param.device)
            batches.setdefault(key, []).append(index)
        self._clocks = list(clocks.values())
        self._kept = [member.kept for member in members]
        self._counts = [clock.tensor for clock in mine]
        self._crews = [
            _Crew(indices, [members[i] for i in indices], [mine[i] for i in indices], seed)
            for indices in batches.values()
        ]

    def repeat(self, groups: Sequence[Mapping[str, Any]], state: Mapping[Any, Any]) -> bool:
        """Step if everything is as it was in the last step, every gradient as it must be; else change nothing."""
        if self._idle and any(param.grad is not None for param in self._idle):
            return False
        if not self.serves(groups, state):
            return False
        return self.run(list(map(_gradient, self.params)) if self._are_spread else None)

    def moves(self, params: Sequence[torch.Tensor]) -> bool:
        """Whether it is for these parameters."""
        return len(params) == len(self.params) and all(map(is_, params, self.params))

    def serves(self, groups: Sequence[Mapping[str, Any]], state: Mapping[Any, Any]) -> bool:
        """Whether parameters, forms and state are still those that the plan was made for."""
        if len(groups) != len(self._groups) or state is not self._state or len(state) != len(self._entries):
            return False
        for group, (values, form), listed in zip(groups, self._groups, self._listed, strict=True):
            if group is not values.group or values.look() != form:
                return False
            params = group["params"]
            if len(params) != len(listed) or not all(map(is_, params, listed)):
                return False
        for clock in self._clocks:
            if clock.shown() != clock.t:
                return False
        try:
            return all(map(is_, state.values(), self._entries)) and all(map(is_, map(_count, self._kept), self._counts))
        except KeyError:  # someone took the count out of a parameter's state
            return False

    def run(self, grads: Sequence[Any] | None) -> bool:
        """Step every parameter by its gradient, or none of them if anything is not as it must be.

        Kernels find the gradients by themselves where ``grads`` is None.
        """
        if self._are_spread and grads is not None and not all(map(spread_alike, grads, self.params)):
            return False
        for crew in self._crews:
            if grads is None:
                taken = crew.kernel.find()
            else:
                taken = crew.kernel.load(grads if len(self._crews) == 1 else [grads[i] for i in crew.indices])
            if not taken:
                return False
        scalars = [crew.scalars() for crew in self._crews]
        for crew, rows in zip(self._crews, scalars, strict=True):
            crew.kernel.run(rows, crew.ts())
        for clock in self._clocks:
            clock.tick()
        increment_version(self.params)
        return True


class _Crew:
    """The parameters that one kernel steps, and their hyperparameters."""

    def __init__(self, indices: Sequence[int], members: Sequence[Member], clocks: Sequence[_Clock], seed: int) -> None:
        self.indices = indices
        self._seed = seed * 0x9E3779B1 & 0x7FFFFFFF
        first = members[0]
        self._program = first.program
        self._host = first.program.host_function()
        self._hypers = first.program.hypers
        self._is_eager = first.engine == "torch"
        self._is_steady = not {"t", "first"} & set(self._hypers)
        self._seen: Sequence[Mapping[str, Any]] = ()
        """The hyperparameters for which the scalars were computed, if nothing else moves them."""
        self._scalars: list[Any] = []
        rows = {id(clock): (clock, member.values) for clock, member in zip(clocks, members, strict=True)}
        self._rows = list(rows.values())
        places = {key: row for row, key in enumerate(rows)}
        params, kept = [member.param for member in members], [member.kept for member in members]
        numbers = [places[id(clock)] for clock in clocks]
        batch = Batch(first.program, first.rounding, first.keeping, params, kept, numbers)
        self.kernel = KERNELS[first.engine](batch)

    def ts(self) -> list[int]:
        """What random numbers depend on, for each row."""
        return [clock.t + 1 + self._seed for clock, _ in self._rows]

    def scalars(self) -> list[Any]:
        """What the host part of the program computes, for each row; the same list for as long as it stays the same."""
        if self._seen and all(values.numbers is seen for (_, values), seen in zip(self._rows, self._seen, strict=True)):
            return self._scalars
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            self._scalars = [self._row(values, clock.t + 1) for clock, values in self._rows]
        if self._is_steady and not any(values.has_tensors for _, values in self._rows):
            self._seen = [values.numbers for _, values in self._rows]
        else:
            self._seen = ()
        return self._scalars

    def _row(self, values: Values, t: int) -> Any:
        known = {"t": np.float64(t), "first": np.float64(t == 1)}
        given = [known[name] if name in known else values.numbers[name] for name in self._hypers]
        if values.has_tensors:
            if self._is_eager:
                return host_scalars(self._program, dict(zip(self._hypers, given, strict=True)))
            given = [np.float64(x.item()) if isinstance(x, torch.Tensor) else x for x in given]
        return self._host(*given)
