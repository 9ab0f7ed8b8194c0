"""Schedules that need not know how long the run is: constant, step, piecewise, exponential, inverse square root."""

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any

from minima.optim.schedules.arguments import falls, fits
from minima.optim.schedules.arithmetic import clip, ramp, where
from minima.optim.schedules.schedule import Schedule

__all__ = ["constant", "exponential", "inverse_sqrt", "piecewise", "step"]


@dataclass(frozen=True, repr=False)
class constant(Schedule):
    """A constant value, after an optional warmup.

    Args:
        peak: The value, at least 0.
        warmup: Number of steps before the peak, at least 0.

    >>> lr = constant(0.1, warmup=3)
    >>> [round(lr(step), 3) for step in range(5)]
    [0.025, 0.05, 0.075, 0.1, 0.1]
    """

    peak: float
    _: KW_ONLY
    warmup: int = 0

    @property
    def span(self) -> int:
        return 2 * self.warmup + 1

    def formula(self, step: Any) -> Any:
        return ramp(step, self.warmup) * self.peak


@dataclass(frozen=True, repr=False)
class step(Schedule):
    """A decay in steps: after every ``every`` steps, the value is multiplied by a factor.

    With ``n``, the number of steps since the warmup::

        max(end, peak * factor ** floor(n / every))

    Args:
        peak: The first value, at least 0.
        every: The number of steps with the same value, at least 1.
        factor: Ratio of successive values, in [0, 1].
        warmup: Number of steps before the first value is reached, at least 0.
        end: Lower bound of the value, from 0 to ``peak``.

    Without a warmup it is PyTorch's ``StepLR``, with its default factor. For intervals of different lengths, use
    `piecewise`.

    >>> lr = step(0.1, every=2, factor=0.5)
    >>> [lr(s) for s in range(6)]
    [0.1, 0.1, 0.05, 0.05, 0.025, 0.025]
    """

    peak: float
    _: KW_ONLY
    every: int
    factor: float = 0.1
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        falls(self)

    @property
    def span(self) -> int:
        return self.warmup + 4 * self.every

    def formula(self, step: Any) -> Any:
        stair = clip(step - self.warmup, 0) // self.every
        return ramp(step, self.warmup) * clip(self.peak * self.factor**stair, self.end)


@dataclass(frozen=True, repr=False)
class exponential(Schedule):
    """A decay by the same factor in intervals of the same length: a straight line on a logarithmic axis.

    With ``n``, the number of steps since the warmup::

        max(end, peak * factor ** (n / every))

    Args:
        peak: The first value, at least 0.
        factor: Factor of the decay after ``every`` steps, in [0, 1].
        every: Number of steps for this factor, at least 1.
        warmup: Number of steps before the peak, at least 0.
        end: Lower bound of the value, from 0 to ``peak``.

    To fall from 1e-3 to 1e-5 in 10,000 steps and stay there, use
    ``exponential(1e-3, factor=0.01, every=10_000, end=1e-5)``. With ``every=1`` it is PyTorch's ``ExponentialLR``,
    whose ``gamma`` is the factor.

    >>> lr = exponential(0.1, factor=0.25, every=2)
    >>> [lr(step) for step in range(5)]
    [0.1, 0.05, 0.025, 0.0125, 0.00625]
    """

    peak: float
    _: KW_ONLY
    factor: float
    every: int = 1
    warmup: int = 0
    end: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        falls(self)

    @property
    def span(self) -> int:
        lives = math.log(0.01) / math.log(self.factor) if 0 < self.factor < 1 else 1.0
        return self.warmup + math.ceil(self.every * lives)

    def formula(self, step: Any) -> Any:
        n = clip(step - self.warmup, 0)
        return ramp(step, self.warmup) * clip(self.peak * self.factor ** (n / self.every), self.end)


@dataclass(frozen=True, repr=False)
class piecewise(Schedule):
    """Given values, each from a given step on.

    Args:
        values: The values, each at least 0.
        at: The steps at which the second value begins, the third, and so on: increasing, at least 1.

    PyTorch's ``MultiStepLR`` is this with a constant ratio of successive values.

    >>> lr = piecewise([0.1, 0.01, 0.001], at=[30, 80])
    >>> lr(0), lr(29), lr(30), lr(79), lr(80)
    (0.1, 0.1, 0.01, 0.01, 0.001)
    """

    values: Sequence[float]
    _: KW_ONLY
    at: Sequence[int]

    def __post_init__(self) -> None:
        super().__post_init__()
        fits("piecewise", "values", self.values, self.at)

    @property
    def span(self) -> int:
        return self.at[-1] + self.at[0] if self.at else 1

    def formula(self, step: Any) -> Any:
        value = self.values[0] + 0 * step
        for first, later in zip(self.at, self.values[1:], strict=True):
            value = where(step >= first, later, value)
        return value


@dataclass(frozen=True, repr=False)
class inverse_sqrt(Schedule):
    """A decay with the square root of the number of steps, after a warmup.

    With ``k = step + 1``, the number of the step counted from 1, and ``w = warmup + 1``::

        peak * min(k / w, sqrt(w / k))

    Args:
        peak: The highest value, at least 0.
        warmup: Number of steps before the peak, at least 0. A longer warmup also makes the decay slower.

    Source: A. Vaswani and others, *Attention Is All You Need*, NeurIPS 2017, equation 3, whose ``warmup_steps`` is
    ``w`` and whose peak is ``(d_model * w) ** -0.5``. Without a warmup it is the ``1 / sqrt(k)`` of the theory of
    stochastic gradient descent. PyTorch does not have this schedule.

    >>> lr = inverse_sqrt(0.1, warmup=3)
    >>> lr(0), lr(3), lr(15), lr(63)
    (0.025, 0.1, 0.05, 0.025)
    """

    peak: float
    _: KW_ONLY
    warmup: int = 0

    @property
    def span(self) -> int:
        return 10 * (self.warmup + 1)

    def formula(self, step: Any) -> Any:
        k, w = clip(step, self.warmup) + 1, self.warmup + 1
        return ramp(step, self.warmup) * self.peak * (w / k) ** 0.5
