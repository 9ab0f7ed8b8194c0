"""Questions: what a rule decides by ``if``, of the step and of the shape, and a host answers before each step.

A condition that nothing goes into but ``t``, ``first``, the numbers of rows and columns, and hyperparameters, is known
before the step. The rule is traced for both answers, and has a program for each: what is done in every tenth step costs
the nine others nothing.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minima.optim.language.operations import row_of
from minima.optim.language.rule import GIVEN
from minima.optim.language.symbols import Symbol, reachable

__all__ = ["MOST_PATHS", "Answers", "Facts", "Question", "paths"]

MOST_PATHS = 64
"""No rule may have more programs than that for the answers to its questions."""

Answers = tuple[bool, ...]
"""The answers to the questions of one run of a rule, in the order in which it asks."""
Facts = Mapping[str, Any]
"""What is known before a step: hyperparameters, ``rows`` and ``columns``; and ``t`` and ``first``, but where only the
state is asked for."""


@dataclass(frozen=True)
class Question:
    """A condition that a host can answer before a step."""

    text: str
    """The condition as the rule writes it."""
    condition: Symbol
    is_of_time: bool
    """Whether the answer differs from step to step; else it is one for each parameter."""

    @classmethod
    def of(cls, condition: Symbol) -> "Question":
        numbers = {leaf.value for leaf in reachable([condition]) if leaf.operation == "number"}
        return cls(condition.text(), condition, not numbers.isdisjoint(GIVEN))

    def answer(self, facts: Facts) -> bool:
        """Whether the condition holds."""
        values: dict[Symbol, Any] = {}
        with np.errstate(all="ignore"):  # as the host part of a program computes
            for node in reachable([self.condition]):
                if node.args:
                    row = row_of(node.operation)
                    values[node] = row.numpy(*(values[arg] for arg in node.args))
                else:
                    values[node] = np.float64(node.value if node.operation == "literal" else facts[str(node.value)])
        return bool(values[self.condition])


def paths(questions: Callable[[Answers], Sequence[Question]], most: int) -> list[Answers]:
    """All ways through a rule, given what it asks for some first answers, behind which all are no; at most so many.

    >>> paths(lambda answers: (), 4)
    [()]
    """
    found: list[Answers] = []
    beginnings: list[Answers] = [()]
    while beginnings and len(found) <= most:
        answers = beginnings.pop()
        path = answers + (False,) * (len(questions(answers)) - len(answers))
        beginnings += [(*path[:place], True) for place in range(len(answers), len(path))]
        found.append(path)
    return found
