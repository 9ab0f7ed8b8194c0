"""Which values a program can produce: enough interval arithmetic to know a state that is never negative."""

import math
from collections.abc import Mapping, Sequence

from minima.optim.language.hyper import Hyper
from minima.optim.language.operations import ANY, POSITIVE, Interval, row_of
from minima.optim.language.program import Operand, Program
from minima.optim.language.rule import LOSS, PARAM

__all__ = ["never_negative"]

_GIVEN: Mapping[str, Interval] = {"t": (1.0, math.inf), "first": (0.0, 1.0), LOSS: ANY}
"""What a rule is told besides its hyperparameters. (A state may be called like the second.)"""


def never_negative(
    program: Program, hypers: Mapping[str, Hyper], first: Mapping[str, float | str], turns: Sequence[Program] = ()
) -> set[str]:
    """The states of a program that start at zero or above, as ``first`` says, and that no step can take below: by it,
    or by one of those that it takes ``turns`` with.

    It is proved by induction: if all of them are at least zero before a step, they are after it. Where intervals cannot
    tell, the answer is no.
    """
    lowest = {name: _lowest(value, hypers) for name, value in first.items()}
    claimed = {name for name in program.state if lowest[name] >= 0}
    while True:
        proved = claimed.intersection(*(_proved(each, claimed, hypers) for each in (program, *turns)))
        if proved == claimed:
            return proved
        claimed = proved


def _proved(program: Program, claimed: set[str], hypers: Mapping[str, Hyper]) -> set[str]:
    """The claimed states of a program that are never negative after a step, if all are so before it."""
    ranges: dict[str, Interval] = {name: (POSITIVE if name in claimed else ANY) for name in program.inputs}
    ranges |= dict.fromkeys(program.shape, (0.0, math.inf))
    ranges |= {name: (hypers[name].low, hypers[name].high) for name in program.hypers if name in hypers}
    ranges |= {name: interval for name, interval in _GIVEN.items() if name in program.hypers}

    def of(operand: Operand) -> Interval:
        return ranges[operand] if isinstance(operand, str) else (operand, operand)

    for line in (*program.host, *program.body):
        ranges[line.target] = _result(line.operation, line.operands, [of(operand) for operand in line.operands])
    outputs = dict(zip(program.state, program.outputs[1:], strict=True))
    return {name for name in claimed if of(outputs[name])[0] >= 0}


def _lowest(first: float | str, hypers: Mapping[str, Hyper]) -> float:
    """The smallest value with which state may begin."""
    if not isinstance(first, str):
        return first
    return -math.inf if first == PARAM else hypers[first].low


def _result(operation: str, operands: tuple[Operand, ...], ranges: list[Interval]) -> Interval:
    low, high = ranges[0]
    if operation == "mul" and operands[0] == operands[1]:
        return 0.0 if low <= 0 <= high else min(low * low, high * high), max(low * low, high * high)
    return row_of(operation).range(*ranges)
