"""The arguments of schedules: each means the same in every one of them, and is checked alike."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any, cast

from minima.checks import integer, number
from minima.errors import sentence

__all__ = ["ARGUMENTS", "falls", "fits"]


def _function(who: str, name: str, value: Any) -> Any:
    if not callable(value):
        hint = "for a number, give constant(number)"
        raise TypeError(sentence(who, f"{name} must be a schedule or a function of the step", got=value, hint=hint))
    return value


def _several(check: Callable[[str, str, Any], Any], who: str, name: str, values: Any) -> tuple[Any, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise TypeError(sentence(who, f"{name} must be a list", got=values))
    several = tuple(cast(Iterable[Any], values))
    return tuple(check(who, f"{name}[{place}]", value) for place, value in enumerate(several))


def _boundaries(who: str, name: str, values: Any) -> tuple[int, ...]:
    steps = _several(partial(integer, low=1), who, name, values)
    if sorted(set(steps)) != list(steps):
        raise ValueError(sentence(who, f"{name} must be steps in rising order", got=values))
    return steps


_count = partial(integer, low=1)

ARGUMENTS: dict[str, Callable[[str, str, Any], Any]] = {
    "peak": number,
    "start": number,
    "end": number,
    "by": number,
    "values": partial(_several, number),
    "steps": _count,
    "warmup": integer,
    "decay": _count,
    "every": _count,
    "cycles": _count,
    "at": _boundaries,
    "factor": partial(number, high=1.0),
    "power": number,
    "stretch": partial(number, low=1.0),
    "inner": _function,
    "schedules": partial(_several, _function),
}
"""How an argument of each name is checked, and made what the formulas expect."""


def falls(schedule: Any) -> None:
    """Complain if the value would have to rise to its end."""
    if schedule.end > schedule.peak:
        rule = f"end must not exceed peak, which is {schedule.peak:g}"
        raise ValueError(sentence(type(schedule).__name__, rule, got=schedule.end))


def fits(who: str, name: str, parts: Sequence[Any], at: Sequence[int]) -> None:
    """Complain unless there is one boundary between each part and the next."""
    if len(parts) != len(at) + 1:
        rule = f"at must have one entry less than {name}, which has {len(parts)}"
        raise ValueError(sentence(who, rule, got=list(at)))
