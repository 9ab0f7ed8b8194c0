"""The one schedule that looks at results: it falls when they no longer get better."""

import math
from collections.abc import Mapping
from dataclasses import KW_ONLY, dataclass, fields
from typing import Any

from minima.checks import integer, number, one_of
from minima.errors import sentence
from minima.optim.schedules.arguments import falls
from minima.optim.schedules.arithmetic import ramp
from minima.optim.schedules.schedule import Schedule, from_dict

__all__ = ["reduce_on_plateau"]


@dataclass(repr=False)
class reduce_on_plateau(Schedule):
    """A value that is multiplied by a factor whenever a metric has not improved for a while.

    Tell it the metric, usually once an epoch, by `observe`; between two calls its value is the same at every step. What
    it remembers are its last four arguments, which are saved with the others. Inside a function that ``jax.jit``
    compiles it would keep the value of that moment: pass its value as an argument there.

    Args:
        peak: The value to begin with, from 0 up.
        mode: Whether the metric gets better by falling, ``"min"``, or by rising, ``"max"``.
        factor: What remains of the value after a reduction, in [0, 1].
        patience: How many observations without an improvement are forgiven, from 0 up; the next one reduces.
        threshold: How much better is an improvement, from 0 up.
        threshold_mode: Whether the threshold is a part of the magnitude of the best metric, ``"rel"``, or a difference,
            ``"abs"``.
        cooldown: How many observations after a reduction are not held against it, from 0 up.
        warmup: How many steps lead up to the value, from 0 up; they are steps, not observations.
        end: The value below which it does not fall, from 0 up to ``peak``.
        value: The value in use; ``peak`` at first.
        best: The best metric so far; None before the first.
        bad: The observations since the last improvement.
        cooling: The observations of the cooldown that are left.

    It does what PyTorch's ``ReduceLROnPlateau`` does, with its defaults; ``end`` is ``min_lr`` there, and the option by
    which very small reductions are left undone, ``eps``, is not taken over. It differs where the best metric is below
    0: there a relative threshold takes a metric that has not changed, or that is a little worse, for an improvement.

    >>> from minima.optim.schedules import reduce_on_plateau
    >>> lr = reduce_on_plateau(0.1, factor=0.5, patience=1)
    >>> for loss in (3.0, 2.0, 2.0, 2.0):
    ...     lr.observe(loss)
    >>> lr(step=4)
    0.05
    """

    peak: float
    _: KW_ONLY
    mode: str = "min"
    factor: float = 0.1
    patience: int = 10
    threshold: float = 1e-4
    threshold_mode: str = "rel"
    cooldown: int = 0
    warmup: int = 0
    end: float = 0.0
    value: float = None  # pyright: ignore[reportAssignmentType]  # it depends on the peak
    best: float | None = None
    bad: int = 0
    cooling: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        falls(self)
        who = "reduce_on_plateau"
        one_of(who, "mode", self.mode, ("min", "max"))
        one_of(who, "threshold_mode", self.threshold_mode, ("rel", "abs"))
        self.threshold = number(who, "threshold", self.threshold)
        self.value = number(who, "value", self.peak if self.value is None else self.value)  # pyright: ignore[reportUnnecessaryComparison]
        self.best = None if self.best is None else number(who, "best", self.best, low=-math.inf)
        for name in ("patience", "cooldown", "bad", "cooling"):
            setattr(self, name, integer(who, name, getattr(self, name)))

    @property
    def span(self) -> int:
        return 2 * self.warmup + 1

    def formula(self, step: Any) -> Any:
        return ramp(step, self.warmup) * self.value

    def observe(self, metric: float) -> None:
        """Look at a new result, and reduce the value if it is one too many that is no better.

        Args:
            metric: The result: a number, or an array of one element. NaN and infinity are never an improvement.

        Raises:
            TypeError: ``metric`` is not a number.
        """
        given: Any = metric
        one = given.item() if getattr(given, "size", 0) == 1 else given
        try:
            if isinstance(one, bool | str | bytes):  # float() would read them
                raise TypeError
            metric = float(one)
        except (TypeError, ValueError, OverflowError):
            raise TypeError(sentence("reduce_on_plateau.observe", "metric must be a number", got=given)) from None
        if self._is_better(metric):
            self.best, self.bad = metric, 0
        else:
            self.bad += 1
        if self.cooling > 0:
            self.cooling, self.bad = self.cooling - 1, 0
        if self.bad > self.patience:
            self.value = max(self.factor * self.value, self.end)
            self.cooling, self.bad = self.cooldown, 0

    def _is_better(self, metric: float) -> bool:
        if self.best is None or not math.isfinite(metric):
            return math.isfinite(metric)
        sign = 1 if self.mode == "min" else -1
        if self.threshold_mode == "abs":
            bar = self.best - sign * self.threshold
        else:  # best - sign * threshold * abs(best), rounded as PyTorch rounds
            bar = self.best * (1 - math.copysign(self.threshold, sign * self.best))
        return sign * metric < sign * bar

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Become what a ``state_dict`` describes, arguments and memory; all of it, or nothing if it is no such dict.

        Raises:
            TypeError: ``state`` is no such dict, or an argument is missing, unknown, or of the wrong type.
            ValueError: It describes another schedule, or an argument is out of range.
        """
        other = from_dict(state)
        if not isinstance(other, reduce_on_plateau):
            rule = "state must be that of a reduce_on_plateau"
            raise ValueError(sentence("reduce_on_plateau.load_state_dict", rule, got=other))
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))
