"""The ways to run a program on lists of tensors, and which of them a row of scalars takes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch

from minima.optim.core.scalars import numbers_function
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT, MODEL, TENSOR
from minima.torch.fusing import Fused, fused
from minima.torch.lists import is_truth
from minima.torch.placing import Facts, Schedule, placed
from minima.torch.products import merged
from minima.torch.scales import Given
from minima.torch.sums import gathers, passes

__all__ = ["Schedules", "Way", "schedules"]


@dataclass(frozen=True)
class Way:
    """A way to run a program."""

    schedule: Schedule
    results: Mapping[str, Operand]
    """What the new values of the parameter and of each state are called in it."""
    fused: Fused | None = None
    rounded: Mapping[str, Sequence[str]] = field(default_factory=dict[str, Sequence[str]])
    """By the value that they become, the parameter and states that are rounded as soon as it is there."""
    unread: Collection[str] = ()
    """Those of these values that nothing else reads."""


@cache
def schedules(
    program: Program, *, in_half: bool, owned: frozenset[str], random: frozenset[str], in_place: bool
) -> "Schedules":
    """The ways to run a program.

    Args:
        program: The program.
        in_half: Whether products of matrices are computed in bfloat16.
        owned: The inputs that are copied to be computed with.
        random: Those of them whose new values are rounded stochastically.
        in_place: Whether the other inputs are views of the memory of the parameters and of their state.
    """
    return Schedules(program, in_half, owned, random, in_place)


class Schedules:
    """The ways to run a program."""

    def __init__(
        self, program: Program, in_half: bool, owned: frozenset[str], random: frozenset[str], in_place: bool
    ) -> None:
        self._program = program
        self._owned = owned
        self.random = random
        self._in_place = in_place
        stages = [passes(program, stage) or [[]] for stage in range(program.stage_count)]
        names = {
            *program.outputs,
            *program.scalars,
            *program.wide,
            *program.inputs,
            *program.reports,
            *program.totalled,
        }
        needed = [name for name in (*names, *program.model, *program.shape) if isinstance(name, str)]
        joined = merged([line for stage in stages for part in stage for line in part], needed, in_half=in_half)
        lines_of = {line.target: line for line in joined.lines}
        self.halves = joined.halves
        """The values that are kept in bfloat16."""
        self.parts = [
            [lines_of[line.target] for line in part if line.target in lines_of] for stage in stages for part in stage
        ]
        """The lines, cut where what they gather of tensors is put together."""
        ends = [sum(len(stage) for stage in stages[: number + 1]) for number in range(len(stages))]
        self.parts_of = [range(end - len(stage), end) for end, stage in zip(ends, stages, strict=True)]
        """For each stage the numbers of its parts."""
        self.gathers = [[line for line in part if gathers(line)] for part in self.parts]
        """For each part the lines that gather."""
        self._results = dict(zip(("param", *program.state), program.outputs, strict=True))
        self._single = _single(program)
        scalars = {*program.scalars}
        self._truths = [line for line in self._flat if self._is_known(line, scalars)]
        names = [line.target for line in self._truths]
        self._known = numbers_function(program.scalars, self._truths, names)
        # Half precision promises the bits of the other engines.
        self._can_fuse = not (owned or self.halves or any(line.rank > ELEMENT for line in self._flat))
        self._plain = self._way(self.parts, self._results)
        self._ways: dict[Any, Way] = {}

    @property
    def _flat(self) -> list[Instruction]:
        return [line for part in self.parts for line in part]

    @staticmethod
    def _is_known(line: Instruction, scalars: set[str]) -> bool:
        """Whether a line is a truth that is known before the step."""
        if line.rank != ELEMENT or not is_truth(line) or not scalars.issuperset(line.reads):
            return False
        scalars.add(line.target)
        return True

    def way(self, values: Mapping[str, Any], dtype: torch.dtype, *, is_afar: bool) -> tuple[Way, Mapping[str, float]]:
        """How a row with these scalars is run, and the numbers that are computed of them before.

        Args:
            values: The scalars by name.
            dtype: The precision of the parameters.
            is_afar: Whether numbers for a tensor and for the model are on a device that nobody waits for.
        """
        scalars = [values[name] for name in self._program.scalars]
        if not self._can_fuse or any(isinstance(x, torch.Tensor) for x in scalars):
            return self._plain, {}
        truths = tuple(map(bool, self._known(*scalars)))
        is_afar |= self._program.by_rows  # numbers may be one for each of many matrices
        if (truths, is_afar) not in self._ways:
            self._ways[truths, is_afar] = self._fused(truths, is_afar)
        way = self._ways[truths, is_afar]
        assert way.fused is not None
        numbers = way.fused.numbers.of(values, dtype)
        return (self._plain, {}) if numbers is None else (way, numbers)

    def _fused(self, truths: Sequence[bool], is_afar: bool) -> Way:
        program = self._program
        choices = dict(zip((line.target for line in self._truths), truths, strict=True))
        narrow = {line.target: str(line.operands[0]) for line in self._flat if line.operation == "narrow"}
        of_tensors = {name: x for name, x in narrow.items() if x not in self._single and program.rank(x) == TENSOR}
        scalars = {*program.scalars}
        given = Given(
            program.scalars,
            single=scalars if is_afar else self._single,
            afar={*self._single} - scalars if is_afar else (),
            of_tensors={} if is_afar else of_tensors,
            ranks={name: program.rank(name) for name in ("param", "grad", *program.kept)},
        )
        states = {value: name for name, value in self._results.items() if isinstance(value, str)}
        few = fused(self.parts, given, self._needed(self._results), states, choices)
        results = {name: few.aliases.get(str(value), value) for name, value in self._results.items()}
        return self._way(few.parts, results, few)

    def _needed(self, results: Mapping[str, Operand]) -> set[str]:
        found = {*results.values(), *self._program.reports, *self._program.totalled}
        return {name for name in found if isinstance(name, str)}

    def _way(
        self, parts: Sequence[Sequence[Instruction]], results: Mapping[str, Operand], few: Fused | None = None
    ) -> Way:
        program = self._program
        others = {*program.scalars, *program.wide, *program.model, *program.shape}
        single = self._single.union(line.target for line in few.numbers.lines) if few else self._single
        small = _small(parts, single, {name for name in program.inputs if program.rank(name) != ELEMENT})
        made = {line.target for part in parts for line in part}
        rounded = {name: str(value) for name, value in results.items() if name in self.random and value in made}
        facts = Facts(
            small=small | self.halves,  # what is rounded to bfloat16 has no room for results
            kept=self._needed({name: x for name, x in results.items() if name not in rounded}) | others,
            inputs={*program.inputs},
            owned=self._owned,
            results=results,
            # What is gathered of results is had before the writing.
            by_rows=program.by_rows,
            in_place=self._in_place and few is not None and not self.gathers[-1],
        )
        names = {value: [name for name, x in rounded.items() if x == value] for value in rounded.values()}
        unread = {*names}.difference(facts.kept, *(line.reads for part in parts for line in part))
        return Way(placed(parts, facts), results, few, names, unread)


def _single(program: Program) -> set[str]:
    """The values of which there is one for all tensors."""
    found = {*program.scalars, *program.wide}
    found |= {name for name in (*program.inputs, *program.model) if program.rank(name) == MODEL}
    for line in program.body:
        if line.rank == MODEL or not gathers(line) and all(not isinstance(x, str) or x in found for x in line.operands):
            found.add(line.target)
    return found


def _small(parts: Sequence[Sequence[Instruction]], single: Collection[str], inputs: Collection[str]) -> set[str]:
    """The values of which no tensor is as large as a parameter."""
    found = {*single, *inputs}
    alone = {*single}
    """Those that are numbers, or lists of single numbers; of rows and columns a value for elements may be made."""
    for line in (line for part in parts for line in part):
        if line.rank <= TENSOR or all(not isinstance(x, str) or x in alone for x in line.operands):
            alone.add(line.target)
        if line.target in alone or line.rank != ELEMENT:
            found.add(line.target)
    return found
