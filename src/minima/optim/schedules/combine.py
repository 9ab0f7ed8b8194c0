"""Schedules made of others: one after another, and one after a warmup."""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from minima.optim.schedules.arguments import fits
from minima.optim.schedules.arithmetic import clip, ramp, where
from minima.optim.schedules.schedule import Schedule, span

__all__ = ["join", "warmup"]


@dataclass(frozen=True, repr=False)
class join(Schedule):
    """Schedules one after another, each of which counts steps from its own start.

    Args:
        schedules: The schedules, or other functions of the step.
        at: The steps at which the second schedule begins, the third, and so on: increasing, at least 1.

    Unlike PyTorch's ``SequentialLR``, it does not change the state of its parts.

    >>> from minima.optim.schedules import constant, linear
    >>> lr = join([constant(0.1), linear(0.1, steps=4)], at=[100])
    >>> lr(99), lr(100), lr(102), lr(104)
    (0.1, 0.1, 0.05, 0.0)
    """

    schedules: Sequence[Callable[[Any], Any]]
    _: KW_ONLY
    at: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        fits("join", "schedules", self.schedules, self.at)

    @property
    def span(self) -> int:
        return (self.at[-1] if self.at else 0) + span(self.schedules[-1])

    def formula(self, step: Any) -> Any:
        value = self.schedules[0](step)
        for first, schedule in zip(self.at, self.schedules[1:], strict=True):
            value = where(step >= first, schedule(clip(step - first, 0)), value)
        return value


@dataclass(frozen=True, repr=False)
class warmup(Schedule):
    """Another schedule, after a linear warmup to its first value.

    Step ``s`` of the warmup has ``(s + 1) / (steps + 1)`` of the first value. One difference to the argument ``warmup``
    of a schedule: there ``steps`` includes the warmup; here the warmup is added.

    Args:
        inner: A schedule, or any function of the step; its step 0 follows the warmup.
        steps: The length of the warmup, at least 1.

    Source: P. Goyal and others, *Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour*, 2017, section 2.2.

    >>> from minima.optim.schedules import piecewise
    >>> lr = warmup(piecewise([0.1, 0.01], at=[30]), steps=4)
    >>> [round(lr(step), 3) for step in (0, 1, 2, 3, 4, 33, 34)]
    [0.02, 0.04, 0.06, 0.08, 0.1, 0.1, 0.01]
    """

    inner: Callable[[Any], Any]
    _: KW_ONLY
    steps: int

    @property
    def span(self) -> int:
        return self.steps + span(self.inner)

    def formula(self, step: Any) -> Any:
        return ramp(step, self.steps) * self.inner(clip(step - self.steps, 0))
