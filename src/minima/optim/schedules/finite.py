"""Schedules over a run whose length is known: linear, polynomial, cosine, one-cycle, warmup/stable/decay."""

from dataclasses import KW_ONLY, dataclass
from functools import cached_property
from itertools import accumulate, pairwise
from typing import Any

from minima.checks import integer, one_of
from minima.errors import sentence
from minima.optim.schedules.arithmetic import fraction, half_cosine, mix, ramp, where
from minima.optim.schedules.schedule import Schedule

__all__ = ["cosine", "linear", "one_cycle", "polynomial", "wsd"]


class Run(Schedule):
    """A schedule over a run of so many steps."""

    steps: int

    @property
    def span(self) -> int:
        return self.steps


@dataclass(frozen=True, repr=False)
class linear(Run):
    """A straight line to the end, after an optional warmup.

    With ``p``, the completed share of the steps after the warmup::

        (1 - p) * peak + p * end

    Args:
        peak: The first value of the line, at least 0.
        steps: The length of the run, including the warmup, at least 1.
        warmup: Number of steps before the peak, at least 0.
        end: The value at step ``steps`` and after it, at least 0. It may be above ``peak``.

    Without a warmup it is PyTorch's ``LinearLR`` with ``total_iters=steps``.

    >>> lr = linear(0.1, steps=4)
    >>> [lr(step) for step in range(6)]
    [0.1, 0.07500000000000001, 0.05, 0.025, 0.0, 0.0]
    """

    peak: float
    _: KW_ONLY
    steps: int
    warmup: int = 0
    end: float = 0.0

    def formula(self, step: Any) -> Any:
        p = fraction(step, self.warmup, self.steps)
        return ramp(step, self.warmup) * mix(self.peak, self.end, p)


@dataclass(frozen=True, repr=False)
class polynomial(Run):
    """A power of the remaining share of the run: with a power above 1, it falls fast at first, and has a flat end.

    With ``p``, the completed share of the steps after the warmup::

        end + (peak - end) * (1 - p) ** power

    Args:
        peak: The first value, at least 0.
        steps: The length of the run, including the warmup, at least 1.
        power: The exponent, at least 0. With 1 it is `linear`; with 0 it stays at the peak until the end.
        warmup: Number of steps before the peak, at least 0.
        end: The value at step ``steps`` and after it, at least 0.

    Without a warmup and with ``end=0`` it is PyTorch's ``PolynomialLR`` with ``total_iters=steps``.

    >>> lr = polynomial(0.16, steps=4, power=2)
    >>> [round(lr(step), 6) for step in range(5)]
    [0.16, 0.09, 0.04, 0.01, 0.0]
    """

    peak: float
    _: KW_ONLY
    steps: int
    power: float
    warmup: int = 0
    end: float = 0.0

    def formula(self, step: Any) -> Any:
        p = fraction(step, self.warmup, self.steps)
        left = where(p < 1, (1 - p) ** self.power, 0.0)  # 0 ** 0 is 1, which would never come to the end
        return ramp(step, self.warmup) * mix(self.end, self.peak, left)


@dataclass(frozen=True, repr=False)
class cosine(Run):
    """Half a cosine wave from the peak to the end; or several, with warm restarts.

    With ``p``, the completed share of the cycle::

        end + (peak - end) * (1 + cos(pi * p)) / 2

    Args:
        peak: The first value of each cycle, at least 0.
        steps: The length of the run, including the warmup, at least 1.
        warmup: Number of steps before the first peak, at least 0.
        end: The value at step ``steps`` and after it, at least 0.
        cycles: Number of cycles, at least 1.
        stretch: Ratio of the lengths of successive cycles, at least 1. Cycles begin at integer steps.

    Source: I. Loshchilov and F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, equation 5,
    where ``stretch`` is T_mult. One cycle without a warmup is PyTorch's ``CosineAnnealingLR`` with ``T_max=steps``,
    except after the end: here it stays constant, there it rises again.

    >>> lr = cosine(0.1, steps=30, cycles=2, stretch=2)  # 10 steps, then 20
    >>> [round(lr(step), 3) for step in (0, 5, 9, 10, 20, 29, 30)]
    [0.1, 0.05, 0.002, 0.1, 0.05, 0.001, 0.0]
    """

    peak: float
    _: KW_ONLY
    steps: int
    warmup: int = 0
    end: float = 0.0
    cycles: int = 1
    stretch: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if any(first >= last for first, last in pairwise(self._bounds)):
            rule = f"every cycle must have a step, and {self.cycles} do not fit"
            raise ValueError(sentence("cosine", rule, hint="take more steps, fewer cycles or less stretch"))

    @cached_property
    def _bounds(self) -> list[int]:
        """The first step of each cycle, and where the last one ends."""
        # In units of the last cycle, the longest: powers of a large stretch would overflow.
        ends = [0.0, *accumulate(self.stretch ** (cycle - self.cycles) for cycle in range(1, self.cycles + 1))]
        return [self.warmup + round((self.steps - self.warmup) * end / ends[-1]) for end in ends]

    def formula(self, step: Any) -> Any:
        p = 0.0
        for first, last in pairwise(self._bounds):
            p = where(step >= first, fraction(step, first, last), p)
        return ramp(step, self.warmup) * mix(self.peak, self.end, half_cosine(p))


@dataclass(frozen=True, repr=False)
class one_cycle(Run):
    """Rises from a low value to the peak and falls to almost zero, along two halves of a cosine wave.

    Args:
        peak: The highest value, at least 0.
        steps: The length of the run, including the warmup, at least 2.
        warmup: The step at which the peak is reached; by default 30 % of the steps.
        start: The value at step 0, at least 0; by default ``peak / 25``.
        end: The value at step ``steps`` and after it, at least 0; by default ``start / 10_000``.

    Source: L. N. Smith and N. Topin, *Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates*, 2018, with the shape and the defaults of PyTorch's ``OneCycleLR``, which reaches its end one step earlier.
    The authors change the momentum in the opposite direction: with ``start`` and ``end`` above ``peak``, ``peak`` is
    the lowest value.

    >>> lr = one_cycle(0.1, steps=10)
    >>> lr
    one_cycle(0.1, steps=10, warmup=3, start=0.004, end=4e-07)
    >>> [round(lr(step), 3) for step in range(11)]
    [0.004, 0.028, 0.076, 0.1, 0.095, 0.081, 0.061, 0.039, 0.019, 0.005, 0.0]
    """

    peak: float
    _: KW_ONLY
    steps: int
    warmup: int = None  # pyright: ignore[reportAssignmentType]  # these three depend on the others
    start: float = None  # pyright: ignore[reportAssignmentType]
    end: float = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.warmup is None:  # pyright: ignore[reportUnnecessaryComparison]
            integer("one_cycle", "steps", self.steps, low=2)
        given = {name: value for name, value in vars(self).items() if value is not None}
        start = given.get("start", self.peak / 25)
        self._set(**{"warmup": max(1, 3 * self.steps // 10), "start": start, "end": start / 1e4, **given})
        super().__post_init__()

    def formula(self, step: Any) -> Any:
        up = mix(self.start, self.peak, half_cosine(fraction(step, 0, self.warmup)))
        down = mix(self.peak, self.end, half_cosine(fraction(step, self.warmup, self.steps)))
        return where(step < self.warmup, up, down)


@dataclass(frozen=True, repr=False)
class wsd(Run):
    """Warmup, stable, decay: a long phase at the peak, then a decay; the length of the run may be decided late.

    Args:
        peak: The value of the stable phase, at least 0.
        steps: The length of the run, including warmup and decay, at least 1.
        decay: Number of steps of the decay, at least 1; usually a tenth to a fifth of all steps.
        warmup: Number of steps before the peak, at least 0.
        end: The value at step ``steps`` and after it, at least 0.
        shape: Form of the decay: ``"linear"``; ``"cosine"``, half a cosine wave; or ``"sqrt"``, with the root of the
            steps, faster at first.

    Source: S. Hu and others, *MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training
    Strategies*, 2024, whose decay is exponential; A. Hägele and others, *Scaling Laws and Compute-Optimal Training
    Beyond Fixed Training Durations*, NeurIPS 2024, for the shapes. PyTorch does not have this schedule.

    >>> lr = wsd(0.1, steps=10, warmup=1, decay=4)
    >>> [round(lr(step), 3) for step in range(11)]
    [0.05, 0.1, 0.1, 0.1, 0.1, 0.1, 0.1, 0.075, 0.05, 0.025, 0.0]
    """

    peak: float
    _: KW_ONLY
    steps: int
    decay: int
    warmup: int = 0
    end: float = 0.0
    shape: str = "linear"

    def __post_init__(self) -> None:
        super().__post_init__()
        one_of("wsd", "shape", self.shape, ("linear", "cosine", "sqrt"))
        if self.warmup + self.decay > self.steps:
            rule = f"decay must fit between the warmup and the end, into {self.steps - self.warmup} steps"
            raise ValueError(sentence("wsd", rule, got=self.decay))

    def formula(self, step: Any) -> Any:
        p = fraction(step, self.steps - self.decay, self.steps)
        p = {"linear": p, "cosine": half_cosine(p), "sqrt": p**0.5}[self.shape]
        return ramp(step, self.warmup) * mix(self.peak, self.end, p)
