"""The line search: how far to go along a direction, by the strong Wolfe conditions."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["Point", "strong_wolfe"]

DECREASE = 1e-4
"""The share of the decrease that the slope at the start promises which a step must bring: c1 of the conditions."""
FLATTER = 0.9
"""The share of the slope at the start that may be left: c2 of the conditions, as is usual for quasi-Newton methods."""
NEAREST, FARTHEST = 0.01, 10
"""Where to look for a bracket: this share of the last stretch beyond its end at least, and at most this many steps."""
MARGIN = 0.1
"""The share of a bracket by which a trial keeps away from its ends if they have not come closer by themselves."""


class Point(NamedTuple):
    """What is known where a step of some length leads to."""

    step: float
    loss: float
    slope: float
    """The derivative of the loss along the direction."""
    grad: Any


def strong_wolfe(
    at: Callable[[float], Point], start: Point, step: float, *, most: int, size: float, tolerance: float
) -> Point:
    """A step that brings enough decrease and leaves little slope; else the lowest end of what is left of the bracket.

    The conditions are ``phi(a) <= phi(0) + c1 * a * phi'(0)`` and ``abs(phi'(a)) <= -c2 * phi'(0)``, of the loss
    ``phi(a)`` behind a step of length ``a``. J. Nocedal and S. J. Wright, *Numerical Optimization*, 2006, Algorithms
    3.5 and 3.6, with the choices of M. Schmidt's minFunc, which PyTorch has taken over.

    Args:
        at: Evaluates a step.
        start: The step of length 0, where the slope is negative.
        step: The length to try first.
        most: How many evaluations may follow the first.
        size: The largest entry of the direction.
        tolerance: Where all entries of the parameters differ by less between the ends of a bracket, the search ends.
    """

    def is_too_high(point: Point) -> bool:
        return point.loss > start.loss + DECREASE * point.step * start.slope

    def is_flat(point: Point) -> bool:
        return abs(point.slope) <= -FLATTER * start.slope

    before, point, tries = start, at(step), 0
    while tries < most:
        if is_too_high(point) or tries > 1 and point.loss >= before.loss:
            break
        if is_flat(point):
            return point
        if point.slope >= 0:
            break
        low = point.step + NEAREST * (point.step - before.step)
        step = cubic_minimum(before, point, low, FARTHEST * point.step)
        before, point, tries = point, at(step), tries + 1
    else:  # evaluations have run out
        before = start

    ends = [before, point]
    lower = _lower(ends)
    stuck = False
    while tries < most:
        left, right = sorted(end.step for end in ends)
        width = right - left
        if width * size < tolerance:
            break
        step = cubic_minimum(ends[0], ends[1], left, right)
        near = min(right - step, step - left) < MARGIN * width
        moves = near and (stuck or not left < step < right)
        if moves:
            step = right - MARGIN * width if right - step < step - left else left + MARGIN * width
        stuck = near and not moves
        point, tries = at(step), tries + 1
        if is_too_high(point) or point.loss >= ends[lower].loss:
            ends[1 - lower] = point
            lower = _lower(ends)
            continue
        if is_flat(point):
            return point
        if point.slope * (ends[1 - lower].step - ends[lower].step) >= 0:
            ends[1 - lower] = ends[lower]
        ends[lower] = point
    return ends[lower]


def _lower(ends: list[Point]) -> int:
    """Which of two ends has the smaller loss."""
    return 0 if ends[0].loss <= ends[1].loss else 1


def cubic_minimum(one: Point, other: Point, low: float, high: float) -> float:
    """The step at which a cubic with the losses and slopes of two points is least, between bounds; their middle if
    there is none.

    >>> def at(x):
    ...     return Point(x, x**3 - 3 * x, 3 * x**2 - 3, None)
    >>> cubic_minimum(at(0.5), at(3.0), 0.5, 3.0)
    1.0
    """
    left, right = (one, other) if one.step <= other.step else (other, one)
    middle = (low + high) / 2
    if left.step == right.step:
        return middle
    bend = left.slope + right.slope - 3 * (left.loss - right.loss) / (left.step - right.step)
    square = bend * bend - left.slope * right.slope
    if not 0 <= square < math.inf:  # nor if it is NaN
        return middle
    root = math.sqrt(square)
    across = right.slope - left.slope + 2 * root
    if across == 0:
        return middle
    step = right.step - (right.step - left.step) * ((right.slope + root - bend) / across)
    return middle if math.isnan(step) else min(max(step, low), high)
