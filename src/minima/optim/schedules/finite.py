"""Schedules over a run whose length is known: linear, polynomial, cosine, one-cycle, warm-up/stable/decay."""

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
    """A straight line to the end, after a warm-up if one is wanted.

    With ``p`` the part of the way from the warm-up to ``steps`` that is done::

        (1 - p) * peak + p * end

    Args:
        peak: The value where the line begins, from 0 up.
        steps: The length of the run, warm-up included, from 1 up.
        warmup: How many steps lead up to the peak, from 0 up.
        end: The value at step ``steps`` and after it, from 0 up. It may lie above ``peak``.

    Without a warm-up it is PyTorch's ``LinearLR`` with ``total_iters=steps``.

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
    """A power of the way that is left: for a power above 1 it falls fast at first and comes in flat.

    With ``p`` the part of the way from the warm-up to ``steps`` that is done::

        end + (peak - end) * (1 - p) ** power

    Args:
        peak: The value where it begins, from 0 up.
        steps: The length of the run, warm-up included, from 1 up.
        power: The exponent, from 0 up. A power of 1 gives `linear`; one of 0 stays at the peak until the end.
        warmup: How many steps lead up to the peak, from 0 up.
        end: The value at step ``steps`` and after it, from 0 up.

    Without a warm-up and with ``end=0`` it is PyTorch's ``PolynomialLR`` with ``total_iters=steps``.

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
    """Half a cosine wave from the peak down to the end; several of them, with warm restarts.

    With ``p`` the part of the cycle that is done::

        end + (peak - end) * (1 + cos(pi * p)) / 2

    Args:
        peak: The value where each cycle begins, from 0 up.
        steps: The length of the run, warm-up included, from 1 up.
        warmup: How many steps lead up to the first peak, from 0 up.
        end: The value at step ``steps`` and after it, from 0 up.
        cycles: How many times it falls from peak to end, from 1 up.
        stretch: How much longer each cycle is than the one before, from 1 up. Cycles begin at whole steps.

    Source: I. Loshchilov and F. Hutter, *SGDR: Stochastic Gradient Descent with Warm Restarts*, ICLR 2017, equation 5,
    where ``stretch`` is T_mult. One cycle without a warm-up is PyTorch's ``CosineAnnealingLR`` with ``T_max=steps``,
    but for what comes after: here it stays at the end, there it rises again.

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
    """From a low value up to the peak and down to almost nothing, along two halves of a cosine wave.

    Args:
        peak: The highest value, from 0 up.
        steps: The length of the run, warm-up included, from 2 up.
        warmup: The step at which the peak is reached; 30 % of the steps, where left out.
        start: The value at step 0, from 0 up; ``peak / 25``, where left out.
        end: The value at step ``steps`` and after it, from 0 up; ``start / 10_000``, where left out.

    Source: L. N. Smith and N. Topin, *Super-Convergence: Very Fast Training of Neural Networks Using Large Learning
    Rates*, 2018, in the shape and with the defaults of PyTorch's ``OneCycleLR``, which comes to its end one step
    earlier. The authors let the momentum go the other way: with ``start`` and ``end`` above it, ``peak`` is the lowest.

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
    """Warm-up, a long stable stretch at the peak, and a decay at the end: the length may be settled late.

    Args:
        peak: The value of the stretch, from 0 up.
        steps: The length of the run, warm-up and decay included, from 1 up.
        decay: How many of the last steps fall, from 1 up; a tenth to a fifth of all is usual.
        warmup: How many steps lead up to the peak, from 0 up.
        end: The value at step ``steps`` and after it, from 0 up.
        shape: How it falls: along a line, ``"linear"``; along half a ``"cosine"`` wave; or with the root of the steps,
            ``"sqrt"``, faster at first.

    Source: S. Hu and others, *MiniCPM: Unveiling the Potential of Small Language Models with Scalable Training
    Strategies*, 2024, whose decay is exponential; A. Hägele and others, *Scaling Laws and Compute-Optimal Training
    Beyond Fixed Training Durations*, NeurIPS 2024, for the shapes. PyTorch has none.

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
            rule = f"decay must fit between the warm-up and the end, into {self.steps - self.warmup} steps"
            raise ValueError(sentence("wsd", rule, got=self.decay))

    def formula(self, step: Any) -> Any:
        p = fraction(step, self.steps - self.decay, self.steps)
        p = {"linear": p, "cosine": half_cosine(p), "sqrt": p**0.5}[self.shape]
        return ramp(step, self.warmup) * mix(self.peak, self.end, p)
