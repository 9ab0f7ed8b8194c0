"""What the formulas of schedules are made of, for a number as for an array of NumPy or JAX."""

import math
from typing import Any

__all__ = ["clip", "cos", "fraction", "half_cosine", "mix", "ramp", "where"]

_NUMBER = (int, float)  # made once: the union would be made at each call


def cos(x: Any) -> Any:
    """Cosine of each element."""
    return math.cos(x) if isinstance(x, _NUMBER) else x.__array_namespace__().cos(x)


def clip(x: Any, low: float, high: float = math.inf) -> Any:
    """Each element, or the bound that it lies beyond."""
    return min(max(x, low), high) if isinstance(x, _NUMBER) else x.__array_namespace__().clip(x, low, high)


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``."""
    if isinstance(condition, bool):
        return x if condition else y
    return condition.__array_namespace__().where(condition, x, y)


def fraction(step: Any, first: int, last: int) -> Any:
    """How much of the way from step ``first`` to step ``last`` is done: 0 before it, 1 after it.

    >>> [fraction(step, 10, 14) for step in (0, 10, 11, 14, 99)]
    [0.0, 0.0, 0.25, 1.0, 1.0]
    """
    # The bounds are set last: a compiler may multiply by the inverse instead of dividing, and so come out above 1.
    return clip((step - first) / max(last - first, 1), 0.0, 1.0)


def ramp(step: Any, warmup: int) -> Any:
    """The share of the peak that a warmup of so many steps allows: ``1 / (warmup + 1)`` at step 0, 1 after it.

    >>> [ramp(step, 3) for step in range(5)]
    [0.25, 0.5, 0.75, 1.0, 1.0]
    """
    return clip((step + 1) / (warmup + 1), 0.0, 1.0)


def mix(first: Any, last: Any, weight: Any) -> Any:
    """From ``first`` at weight 0 to ``last`` at weight 1, both of them exactly, and never beyond.

    >>> mix(0.3, 0.1, 0), mix(0.3, 0.1, 0.5), mix(0.3, 0.1, 1)
    (0.3, 0.2, 0.1)
    """
    return (1 - weight) * first + weight * last


def half_cosine(x: Any) -> Any:
    """From 0 to 1 along half a cosine wave, level at both ends, for ``x`` from 0 to 1.

    >>> half_cosine(0), half_cosine(1)
    (0.0, 1.0)
    """
    return (1 - cos(math.pi * x)) / 2
