"""What there is one of for all parameters: totals, the lines that compute with them, and the state that they share.

Both are computed in float64, between the stages of a step and at its end.
"""

import math
from collections.abc import Mapping, Sequence
from functools import cache, cached_property
from typing import Any

import numpy as np

from minima.errors import sentence
from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host
from minima.optim.core.scalars import host_part, numbers_function
from minima.optim.core.values import Settings, Values
from minima.optim.engines.reductions import LANES, total
from minima.optim.language.program import Program
from minima.optim.language.ranks import MODEL
from minima.optim.language.rule import GIVEN, LOSS
from minima.optim.language.trace import MAX_NORM

__all__ = ["Stages", "agreed", "obstacle"]


class Stages:
    """The batches of a plan, where some of them compute something for the whole model, or with it."""

    def __init__(self, host: Host, clock: Clock, batches: Sequence[Batch], groups: Sequence[Values]) -> None:
        self._host = host
        self._clock = clock
        self._batches = batches
        self._groups = groups
        self._count = max(batch.program.stage_count for batch in batches)
        self._parts = [_part(batch.program) for batch in batches]
        self.is_needed = any(part.counts for part in self._parts)
        """Whether there is anything to compute."""
        self._agreed: list[Settings] = []
        """What groups asked for when they were last seen to agree."""
        self._on_device = all(x.kernel.on_device for x in batches) and not any(part.shared for part in self._parts)
        """Whether totals stay where they are found, so that nothing waits for the device."""
        self._sources: list[dict[float, list[tuple[Batch, int]]]] = [{} for _ in range(self._count + 1)]
        """For every stage the totals that are known behind it, and which columns of which batches they are of."""
        for batch, part in zip(batches, self._parts, strict=True):
            for which, column, stage in part.totals.values():
                self._sources[stage].setdefault(which, []).append((batch, column))
        known = [which for sources in self._sources for which in sources]
        if len(set(known)) < len(known):
            rule = "a total must depend on as many other totals for all parameters"
            raise ValueError(sentence(f"{host.who}.step", rule, hint="nothing was changed"))

    def given(self, loss: float) -> list[tuple[float, ...]]:
        """What is known before a step with this loss, for each batch; a ValueError where groups do not agree on it."""
        self._require_agreement()
        shared, t = self._host.shared(), self._clock.t + 1
        pairs = zip(self._batches, self._parts, strict=True)
        return [part.given(batch.leader, t, loss, shared) if part.counts else () for batch, part in pairs]

    def run(self, given: Sequence[tuple[float, ...]], scalars: Sequence[Any], seed: int) -> None:
        """Step all batches, for which this is known, and these are the scalars."""
        pairs = list(zip(self._batches, self._parts, strict=True))
        totals: dict[float, Any] = {}
        for stage in range(self._count):
            for (batch, part), numbers, rows in zip(pairs, given, scalars, strict=True):
                if stage == 0:
                    batch.kernel.run(rows, batch.ts(seed), part.told(0, numbers, totals))
                elif stage < batch.program.stage_count:
                    batch.kernel.proceed(part.told(stage, numbers, totals))
            add = _added_there if self._on_device else _added
            totals |= {which: add(sources) for which, sources in self._sources[stage + 1].items()}
        for (batch, part), numbers in zip(pairs, given, strict=True):
            batch.kernel.drop()
            if part.changes:
                self._host.share(part.results(numbers, totals))

    def _require_agreement(self) -> None:
        """A ValueError unless groups agree on what goes into numbers for the whole model."""
        settings = [values.settings for values in self._groups]
        if settings == self._agreed:
            return
        for name in dict.fromkeys(name for part in self._parts for name in part.hypers):
            numbers = [{**dict(each.variant), **each.numbers}.get(name) for each in settings]
            if other := [number for number in numbers if number != numbers[0]]:
                rule = f"{name} goes into what all parameters share, and must be the same in all groups"
                got = f"{numbers[0]!r} and {other[0]!r}"
                raise ValueError(sentence(f"{self._host.who}.step", rule, hint=f"got {got}; nothing was changed"))
        self._agreed = settings


class _Part:
    """The lines of a program for the whole model."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._lines = [line for line in program.body if line.rank == MODEL]
        self.totals = {
            line.target: (
                float(line.operands[1]),
                program.totalled.index(str(line.operands[0])),
                program.stages[line.target],
            )
            for line in self._lines
            if line.operation == "total"
        }
        """For every total which of the rule it is, the column of what is added up, and behind how many stages."""
        outputs = zip(program.state, program.outputs[1:], strict=True)
        self.shared = {name: value for name, value in outputs if name not in program.kept}
        """The state that all parameters share, with what its new values are called."""
        self.changes = {name for name, value in self.shared.items() if value != name}
        """Those of it that these lines change; others may change the rest."""
        self.counts = bool(self._lines or program.model or self.shared)
        """Whether there is anything for the whole model."""
        self._wide = len(program.scalars)
        self.told_at = cache(self._told_at)

    @cached_property
    def asked(self) -> frozenset[str]:
        """What goes into these lines of hyperparameters, of ``t``, ``first`` and the loss."""
        made = {line.target: set(line.reads) for line in self.program.host}
        found: set[str] = set()
        wanted = [name for line in self._lines for name in line.reads if name in self.program.wide]
        wanted += [value for value in self.shared.values() if isinstance(value, str) and value in self.program.wide]
        while wanted:
            name = wanted.pop()
            if name not in found:
                found.add(name)
                wanted += made.get(name, ())
        return frozenset(found & {*self.program.hypers})

    @cached_property
    def hypers(self) -> frozenset[str]:
        """The hyperparameters that go into these lines, which all groups must agree on."""
        # The sign with which the loss counts is part of the program, and no number of it.
        signs = {"maximize"} if LOSS in self.asked else set[str]()
        limit = {MAX_NORM} & {*self.program.hypers} if self._lines else set[str]()  # what is clipped together has one
        return (self.asked | signs | limit).difference(GIVEN)

    def given(self, values: Values, t: int, loss: float, shared: Mapping[str, float]) -> tuple[float, ...]:
        """What the lines know at first: numbers of the host part in step ``t`` of the optimizer, and shared state."""
        settings = values.settings
        numbers = settings.numbers
        if settings.has_tensors:  # only those are looked at that count here, as others may be on a GPU
            numbers = {name: float(x) if name in self.asked else math.nan for name, x in numbers.items()}
        known = host_part(self.program)(numbers, t, t == 1, loss)[self._wide :]
        return (*known, *(shared[name] for name in self.shared))

    def told(self, stage: int, given: Sequence[float], totals: Mapping[float, Any]) -> Sequence[Any]:
        """The numbers for the whole model in a stage; NaN where one is not known yet."""
        if not self.program.model:
            return ()
        compute, which = self.told_at(stage)
        return compute(*given, *(totals[each] for each in which))

    def results(self, given: Sequence[float], totals: Mapping[float, Any]) -> dict[str, float]:
        """The new values of shared state."""
        compute, which = self.told_at(None)
        new = zip(self.shared, compute(*given, *(totals[each] for each in which)), strict=True)
        return {name: value for name, value in new if name in self.changes}

    def _told_at(self, stage: int | None) -> tuple[Any, list[float]]:
        """What computes the numbers of a stage, or shared state at the end, and the totals that it takes."""
        known = {name: which for name, (which, _, at) in self.totals.items() if stage is None or at <= stage}
        arguments = dict.fromkeys((*self.program.wide, *self.shared, *known))
        lines = [x for x in self._lines if x.operation != "total" and (stage is None or self._stage(x.target) <= stage)]
        there = {*arguments, *(line.target for line in lines)}
        results = self.shared.values() if stage is None else self.program.model
        results = [x if not isinstance(x, str) or x in there else math.nan for x in results]
        return numbers_function(list(arguments), lines, results), list(known.values())

    def _stage(self, name: str) -> int:
        return self.program.stages[name]


@cache
def _part(program: Program) -> _Part:
    return _Part(program)


def agreed(program: Program) -> frozenset[str]:
    """The hyperparameters of a program on which all groups must agree: they go into what all parameters share."""
    return _part(program).hypers


def obstacle(program: Program) -> str:
    """Why numbers for the whole model take the host in each step, if they do."""
    return "has state that all parameters share, which is computed on the host" if _part(program).shared else ""


def _added_there(sources: Sequence[tuple[Batch, int]]) -> Any:
    """A total, on the device that has its terms."""
    first, *others = (batch.kernel.total(column) for batch, column in sources)
    for other in others:
        first = first + other.to(first.device)
    return first


def _added(sources: Sequence[tuple[Batch, int]]) -> float:
    """A total over parameters, in their order: as all sums are added."""
    if len(sources) == 1:  # a batch has its parameters in their order
        ((batch, column),) = sources
        numbers: list[float] = batch.kernel.totalled[:, column].tolist()
    else:
        found: dict[int, float] = {}
        for batch, column in sources:
            found.update(zip(batch.indices, batch.kernel.totalled[:, column].tolist(), strict=True))
        numbers = [found[place] for place in sorted(found)]
    if len(numbers) > LANES:
        return total(np.array(numbers))
    lanes = [0.0 + number for number in numbers] + [0.0] * (LANES - len(numbers))  # in less time than NumPy takes
    while len(lanes) > 1:
        half = len(lanes) // 2
        lanes = [low + high for low, high in zip(lanes[:half], lanes[half:], strict=True)]
    return lanes[0]
