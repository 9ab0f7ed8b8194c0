"""What there is one of for all parameters: totals, the lines that compute with them, and the state that they share.

Both are computed in float64, between the stages of a step.
"""

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import numpy as np

from minima.optim.core.scalars import host_part
from minima.optim.core.values import Values
from minima.optim.engines.reductions import total
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program
from minima.optim.language.ranks import MODEL
from minima.optim.language.trace import MAX_NORM

__all__ = ["ModelPart", "added"]


class ModelPart:
    """The lines of a program for the whole model."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self.lines = [line for line in program.body if line.rank == MODEL]
        self.totals = {line.target: (float(line.operands[1]), str(line.operands[0])) for line in self._totals}
        """For every total which of the rule it is, and the number for each parameter that is added up."""
        self.counts = bool(self.lines or program.model or len(program.kept) < len(program.state))
        """Whether there is anything of the kind."""
        outputs = zip(program.state, program.outputs[1:], strict=True)
        self.shared = {name: value for name, value in outputs if name not in program.kept}
        """The state that all parameters share, with what its new values are called."""

    @property
    def _totals(self) -> list[Instruction]:
        return [line for line in self.lines if line.operation == "total"]

    @cached_property
    def hypers(self) -> frozenset[str]:
        """The hyperparameters that groups must agree on: those behind shared state, and the limit of clipping."""
        made, wanted = {line.target: line for line in self.lines}, {*self.shared.values()}
        found: set[Any] = set()
        while wanted:
            name = wanted.pop()
            found.add(name)
            if name in made and made[name].operation != "total":
                wanted |= {*made[name].reads} - found
        found = {name for name in found if name in self.program.wide}
        limit = frozenset({MAX_NORM} & {*self.program.hypers} if self.lines else ())
        return self._behind(found) | limit

    @cached_property
    def varies(self) -> bool:
        """Whether other hyperparameters go into these lines, so that each group has numbers of its own."""
        read = {name for line in self.lines for name in line.reads if name in self.program.wide}
        return not self._behind(read) <= self.hypers

    def _behind(self, wanted: set[str]) -> frozenset[str]:
        """The hyperparameters of which numbers of the host part are made."""
        made = {line.target: {*line.reads} for line in self.program.host}
        found: set[str] = set()
        while wanted:
            found |= wanted
            wanted = {name for x in wanted for name in made.get(x, ())} - found
        return frozenset(found & {*self.program.hypers}) - {"t", "first"}

    def known(self, values: Values, t: int, shared: Mapping[str, float]) -> dict[str, Any]:
        """What these lines know at first: numbers of the host part in step ``t`` of the optimizer, and shared state."""
        numbers = {name: float(number) for name, number in values.settings.numbers.items()}
        found = host_part(self.program)(numbers, t, t == 1)[len(self.program.scalars) :]
        known = {name: np.float64(value) for name, value in zip(self.program.wide, found, strict=True)}
        return known | {name: np.float64(shared[name]) for name in self.shared}

    def go_on(self, known: dict[str, Any], totals: Mapping[float, float]) -> list[float]:
        """Compute what can be computed by these totals; what the other lines of the program are told."""
        known |= {name: np.float64(totals[i]) for name, (i, _) in self.totals.items() if i in totals}
        with np.errstate(all="ignore"):
            for line in self.lines:
                if line.target not in known and all(name in known for name in line.reads) and line.operation != "total":
                    operands = [known[x] if isinstance(x, str) else np.float64(x) for x in line.operands]
                    known[line.target] = OPERATIONS[line.operation].numpy(*operands)
        return [float(known.get(name, np.nan)) for name in self.program.model]

    def results(self, known: Mapping[str, Any]) -> dict[str, float]:
        """The new values of shared state."""
        return {name: float(known[x] if isinstance(x, str) else x) for name, x in self.shared.items()}


def added(numbers: Mapping[int, float]) -> float:
    """A total of numbers, each by the place of its parameter: in the order of the parameters, as all sums are added."""
    return total(np.array([numbers[place] for place in sorted(numbers)], np.float64))
