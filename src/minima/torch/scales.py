"""The numbers that lists of tensors are scaled by, where those of several lines of a program are made one."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from minima.optim.core.scalars import numbers_function
from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import NUMBER, TENSOR

__all__ = ["Given", "Numbers", "Scales"]


@dataclass(frozen=True)
class Given:
    """What in a program is a number, and no list of tensors."""

    scalars: Sequence[str]
    """What the host hands over for elements."""
    single: Collection[str]
    """What there is one of for all tensors, the scalars among it, and is at hand when the lines are run."""
    afar: Collection[str]
    """The same, where it is on a device that nobody waits for."""
    of_tensors: Mapping[str, str]
    """What there is one of for each tensor and is at hand: what it is narrowed to, and what from."""
    ranks: Mapping[str, int]
    """How many there are of the inputs that are lists of tensors."""


@dataclass(frozen=True)
class Numbers:
    """What is computed of the scalars of a program, once a step, in float64."""

    scalars: Sequence[str]
    lines: list[Instruction] = field(default_factory=list[Instruction])
    divisors: set[str] = field(default_factory=set[str])
    """The scalars and results that must not be 0."""

    @cached_property
    def _compute(self) -> Callable[..., tuple[float, ...]]:
        return numbers_function(self.scalars, self.lines, [line.target for line in self.lines])

    def of(self, values: Mapping[str, Any], dtype: torch.dtype) -> dict[str, float] | None:
        """The results by name; None where lines that are scaled by them would not do what the program does.

        That is so where one is no normal number in the precision of the parameters, or 0 where it must not be.
        """
        limits, found = torch.finfo(dtype), self._compute(*(values[name] for name in self.scalars))
        numbers = {line.target: number for line, number in zip(self.lines, found, strict=True)}
        if any(not (number == 0 or limits.tiny <= abs(number) <= limits.max) for number in found):
            return None
        return None if any(numbers.get(name, values.get(name)) == 0 for name in self.divisors) else numbers


class Scales:
    """Makes numbers of numbers."""

    def __init__(
        self,
        given: Given,
        needed: Collection[str],
        unused: Callable[[str], str],
        append: Callable[[Instruction], None],
    ) -> None:
        """Know the numbers of a program.

        Args:
            given: The numbers.
            needed: What is read when the lines have been run.
            unused: Gives a name that nothing has yet.
            append: Takes a line that computes a number among the others, where that cannot be done before.
        """
        self.host = Numbers(given.scalars)
        self.single = {*given.single}
        self.afar = {*given.afar}
        self.stands_for: dict[str, Operand] = {name: x for name, x in given.of_tensors.items() if name not in needed}
        """The numbers that are another one: in fewer digits, or chosen."""
        self.spread = {*self.stands_for.values()}
        """The numbers that there are one of for each tensor."""
        self._of_scalars = {*given.scalars}
        self._made: dict[tuple[str, tuple[Operand, ...]], str] = {}
        self._negated: dict[Operand, Operand] = {}
        self._unused = unused
        self._append = append

    def is_list(self, operand: Operand) -> bool:
        """Whether a value is a list of tensors."""
        return isinstance(operand, str) and not any(
            operand in known for known in (self.single, self.stands_for, self.spread)
        )

    def is_known(self, number: Operand) -> bool:
        """Whether a number is known before the lines are run."""
        return not isinstance(number, str) or number in self._of_scalars

    def divides(self, number: Operand) -> bool:
        """Whether a number is known before, and may be one to divide by."""
        return number in self._of_scalars if isinstance(number, str) else 0 < abs(number) < math.inf

    def of(self, operand: Operand) -> Operand:
        """A number as it is computed with."""
        return self.stands_for.get(operand, operand) if isinstance(operand, str) else operand

    def divide(self, number: Operand) -> None:
        """Rely on a number that it is not 0."""
        if isinstance(number, str):
            self.host.divisors.add(number)

    def times(self, x: Operand, y: Operand) -> Operand:
        """A product."""
        if x == 1.0 or y == 1.0:
            return y if x == 1.0 else x
        if x == -1.0 or y == -1.0:
            other = y if x == -1.0 else x
            if not isinstance(other, str):
                return -other
            negated = self._negated.get(other) or self.derived("neg", other)
            self._negated[negated] = other
            return negated
        return self.derived("mul", x, y)

    def ratio(self, x: Operand, y: Operand) -> Operand:
        """A quotient, by a number that is known before."""
        if y == 1.0 or y == -1.0:
            return self.times(x, y)
        self.divide(y)
        return self.derived("div", x, y)

    def derived(self, operation: str, *operands: Operand) -> Operand:
        """A number that an operation makes of others: before the lines, if it can be."""
        if not any(isinstance(x, str) for x in operands):
            (found,) = numbers_function((), [Instruction("x", operation, operands)], ["x"])()
            return found
        if (operation, operands) in self._made:
            return self._made[operation, operands]
        target = self._made[operation, operands] = self._unused(operation)
        if all(map(self.is_known, operands)):
            self.host.lines.append(Instruction(target, operation, operands, NUMBER))
            self._of_scalars.add(target)
            self.single.add(target)
            return target
        self._append(Instruction(target, operation, operands, TENSOR))
        (self.spread if any(x in self.spread for x in operands) else self.single).add(target)
        return target
