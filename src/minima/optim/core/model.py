"""What there is one of for all parameters: totals, the lines that compute with them, and the state that they share.

Both are computed in float64, between the stages of a step and at its end.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache, cached_property
from typing import Any, NamedTuple

import numpy as np

from minima.errors import sentence
from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Host, Numbers, Sources
from minima.optim.core.scalars import host_part, numbers_function
from minima.optim.core.values import Settings, Values
from minima.optim.engines.reductions import LANES, total
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import MODEL
from minima.optim.language.rule import GIVEN, LOSS
from minima.optim.language.trace import MAX_NORM

__all__ = ["ModelLines", "Part", "Stages", "agreed", "part_of"]


class Stages:
    """The batches of a plan, where some of them compute something for the whole model, or with it."""

    def __init__(self, host: Host, clock: Clock, batches: Sequence[Batch], groups: Sequence[Values]) -> None:
        self._host = host
        self._batches = batches
        self._groups = groups
        self._parts = parts = [part_of(batch.program) for batch in batches]
        self.is_needed = any(part.counts for part in parts)
        """Whether there is anything to compute."""
        self._agreed: list[Settings] = []
        """What groups asked for when they were last seen to agree."""
        count = max(batch.program.stage_count for batch in batches)
        self._turns: list[list[tuple[int, int]]] = [[] for _ in range(count)]
        """For each stage the batches that take one then, and which of their own it is."""
        sources: Sources = [{} for _ in range(count)]
        for number, part in enumerate(parts):
            for which, column, stage in part.totals.values():
                sources[stage - 1].setdefault(which, []).append((number, column))
            own = batches[number].program.stage_count
            for stage in range(own):
                # What writes comes behind what still takes memory, unless others wait for its totals.
                waits = stage == own - 1 and not any(known == own for *_, known in part.totals.values())
                self._turns[count - 1 if waits else stage].append((number, stage))
        known = [which for each in sources for which in each]
        if len(set(known)) < len(known):
            rule = "a total must depend on as many other totals for all parameters"
            raise ValueError(sentence(f"{host.who}.step", rule, hint="nothing was changed"))
        self._numbers: Numbers | None = None
        if self.is_needed:
            self._numbers = host.numbers(clock, batches, sources) or HostNumbers(host, clock, batches, sources)

    def begin(self, loss: Any) -> None:
        """Begin a step with this loss; a ValueError where groups do not agree on what goes into it."""
        assert self._numbers is not None
        self._require_agreement()
        self._numbers.begin(loss)

    def run(self, scalars: Sequence[Any], seed: int) -> None:
        """Step all batches, for which these are the scalars."""
        assert self._numbers is not None
        for number, turns in enumerate(self._turns):
            for place, stage in turns:
                batch, told = self._batches[place], self._numbers.told(place, stage)
                if stage == 0:
                    batch.kernel.begin(scalars[place], batch.ts(seed), told)
                else:
                    batch.kernel.proceed(told)
            for place, _ in turns:
                self._batches[place].kernel.run()
            self._numbers.add(number)
        for batch in self._batches:
            batch.kernel.drop()
        self._numbers.finish()

    def _require_agreement(self) -> None:
        """A ValueError unless groups agree on what goes into numbers for the whole model."""
        settings = [values.settings for values in self._groups]
        if settings == self._agreed:
            return
        for name in dict.fromkeys(name for part in self._parts for name in part.hypers):
            first, *others = ({**dict(each.variant), **each.numbers}.get(name) for each in settings)
            if other := [number for number in others if number is not first and number != first]:
                rule = f"{name} goes into what all parameters share, and must be the same in all groups"
                got = f"{first!r} and {other[0]!r}"
                raise ValueError(sentence(f"{self._host.who}.step", rule, hint=f"got {got}; nothing was changed"))
        self._agreed = settings


class HostNumbers:
    """The numbers for the whole model, computed by the host; totals of a device stay there, if nothing else does."""

    def __init__(self, host: Host, clock: Clock, batches: Sequence[Batch], sources: Sources) -> None:
        self._host = host
        self._clock = clock
        self._batches = batches
        self._sources = sources
        self._parts = parts = [part_of(batch.program) for batch in batches]
        on_device = all(batch.kernel.on_device for batch in batches) and not any(part.shared for part in parts)
        self._total: Callable[[Sequence[tuple[Batch, int]]], Any] = _added_there if on_device else _added
        self._given: list[tuple[float, ...]] = []
        self._totals: dict[float, Any] = {}

    def begin(self, loss: float) -> None:
        shared, t = self._host.shared(), self._clock.t + 1
        pairs = zip(self._batches, self._parts, strict=True)
        self._given = [
            (*part.given(batch.leader, t, loss), *(shared[name] for name in part.shared)) if part.counts else ()
            for batch, part in pairs
        ]
        self._totals = {}

    def told(self, place: int, stage: int) -> Sequence[Any]:
        return self._parts[place].told(stage, self._given[place], self._totals)

    def add(self, stage: int) -> None:
        for which, sources in self._sources[stage].items():
            self._totals[which] = self._total([(self._batches[place], column) for place, column in sources])

    def finish(self) -> None:
        for part, given in zip(self._parts, self._given, strict=True):
            if part.changes:
                self._host.share(part.results(given, self._totals))


class Part:
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
        self._function = cache(self._told_by)

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

    def given(self, values: Values, t: int, loss: float) -> tuple[float, ...]:
        """What the host part knows in step ``t`` of the optimizer that these lines may read: the wide numbers."""
        settings = values.settings
        numbers = settings.numbers
        if settings.has_tensors:  # only those are looked at that count here, as others may be on a GPU
            numbers = {name: float(x) if name in self.asked else math.nan for name, x in numbers.items()}
        return host_part(self.program)(numbers, t, t == 1, loss)[self._wide :]

    def told(self, stage: int, given: Sequence[float], totals: Mapping[float, Any]) -> Sequence[Any]:
        """The numbers for the whole model in a stage; NaN where one is not known yet."""
        if not self.program.model:
            return ()
        compute, which = self._function(stage)
        return compute(*given, *(totals[each] for each in which))

    def results(self, given: Sequence[float], totals: Mapping[float, Any]) -> dict[str, float]:
        """The new values of shared state."""
        compute, which = self._function(None)
        new = zip(self.shared, compute(*given, *(totals[each] for each in which)), strict=True)
        return {name: value for name, value in new if name in self.changes}

    def lines(self, stage: int | None) -> "ModelLines":
        """What computes the numbers of a stage; or with None the shared state, at the end."""
        known = {name: which for name, (which, _, at) in self.totals.items() if stage is None or at <= stage}
        given = tuple(dict.fromkeys((*self.program.wide, *self.shared)))
        lines = [x for x in self._lines if x.operation != "total" and (stage is None or self._stage(x.target) <= stage)]
        there = {*given, *known, *(line.target for line in lines)}
        results = self.shared.values() if stage is None else self.program.model
        results = [x if not isinstance(x, str) or x in there else math.nan for x in results]
        return ModelLines(given, known, tuple(lines), tuple(results))

    def _told_by(self, stage: int | None) -> tuple[Callable[..., Any], list[float]]:
        """A function of what is given and of totals, and which totals these are."""
        given, totals, lines, results = self.lines(stage)
        return numbers_function([*given, *totals], lines, results), list(totals.values())

    def _stage(self, name: str) -> int:
        return self.program.stages[name]


class ModelLines(NamedTuple):
    """Lines for the whole model, what they need, and what is wanted of them."""

    given: tuple[str, ...]
    """The wide numbers of the host part, and the state that all parameters share."""
    totals: dict[str, float]
    """The totals, by the name of their line: which of the rule each one is."""
    lines: tuple[Instruction, ...]
    results: tuple[Operand, ...]


@cache
def part_of(program: Program) -> Part:
    """The lines of a program for the whole model."""
    return Part(program)


def agreed(program: Program) -> frozenset[str]:
    """The hyperparameters of a program on which all groups must agree: they go into what all parameters share."""
    return part_of(program).hypers


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
