"""Which values a program can produce: enough interval arithmetic to know a state that is never negative."""

import math
from collections.abc import Mapping

from minima.optim.language.hyper import Hyper
from minima.optim.language.program import Operand, Program

__all__ = ["never_negative"]

Interval = tuple[float, float]

_ANY = (-math.inf, math.inf)
_POSITIVE = (0.0, math.inf)
_TRUTHS = {"lt", "le", "gt", "ge", "eq", "ne", "and", "or", "not"}


def never_negative(program: Program, hypers: Mapping[str, Hyper], first: Mapping[str, float]) -> set[str]:
    """The states of a program that start at zero or above, as ``first`` says, and that no step can take below.

    It is proved by induction: if all of them are at least zero before a step, they are after it. Where intervals cannot
    tell, the answer is no.
    """
    claimed = {name for name in program.state if first[name] >= 0}
    while True:
        ranges: dict[str, Interval] = {name: (_POSITIVE if name in claimed else _ANY) for name in program.inputs}
        ranges |= {name: (hypers[name].low, hypers[name].high) for name in program.hypers if name in hypers}
        ranges |= {"t": (1.0, math.inf), "first": (0.0, 1.0)}

        def of(operand: Operand, ranges: Mapping[str, Interval] = ranges) -> Interval:
            return ranges[operand] if isinstance(operand, str) else (operand, operand)

        for line in (*program.host, *program.body):
            ranges[line.target] = _result(line.operation, line.operands, [of(operand) for operand in line.operands])
        outputs = dict(zip(program.state, program.outputs[1:], strict=True))
        proved = {name for name in claimed if of(outputs[name])[0] >= 0}
        if proved == claimed:
            return proved
        claimed = proved


def _result(operation: str, operands: tuple[Operand, ...], ranges: list[Interval]) -> Interval:
    (low, high), (other_low, other_high) = ranges[0], ranges[-1]
    match operation:
        case "add":
            return low + other_low, high + other_high
        case "sub":
            return low - other_high, high - other_low
        case "neg":
            return -high, -low
        case "mul" if operands[0] == operands[1]:
            return 0.0 if low <= 0 <= high else min(low * low, high * high), max(low * low, high * high)
        case "mul":
            return _corners(ranges)
        case "div" if other_low > 0 or other_high < 0:
            return _corners([ranges[0], (1 / other_high, 1 / other_low)])
        case "div" if low >= 0 and other_low >= 0:
            return _POSITIVE
        case "pow" if low >= 0 and high <= 1 and other_low >= 0:
            return 0.0, 1.0
        case "pow" if low >= 0:
            return _POSITIVE
        case "nearest" if low >= 0:
            return _POSITIVE
        case "sqrt" | "abs" | "exp":
            return _POSITIVE
        case "sign":
            return -1.0 if low < 0 else 0.0, 1.0 if high > 0 else 0.0
        case "maximum":
            return max(low, other_low), max(high, other_high)
        case "minimum":
            return min(low, other_low), min(high, other_high)
        case "where":
            return min(ranges[1][0], other_low), max(ranges[1][1], other_high)
        case _:
            return (0.0, 1.0) if operation in _TRUTHS else _ANY


def _corners(ranges: list[Interval]) -> Interval:
    """The range of a product."""
    products = [0.0 if x == 0 or y == 0 else x * y for x in ranges[0] for y in ranges[1]]
    return min(products), max(products)
