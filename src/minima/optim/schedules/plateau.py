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

    Pass the metric with `observe`, usually once per epoch; between two calls the value is constant. Its state is in the
    last four arguments, which are saved with the others. A function compiled by ``jax.jit`` would treat the value as a
    constant: pass it as an argument there.

    Args:
        peak: The initial value, at least 0.
        mode: Whether a lower metric is better, ``"min"``, or a higher one, ``"max"``.
        factor: Factor of a reduction, in [0, 1].
        patience: Number of allowed observations without an improvement, at least 0; the next one reduces the value.
        threshold: Smallest change that counts as an improvement, at least 0.
        threshold_mode: Whether the threshold is relative to the magnitude of the best metric, ``"rel"``, or absolute,
            ``"abs"``.
        cooldown: Number of observations after a reduction that are not counted, at least 0.
        warmup: Number of steps before the value is reached, at least 0; these are steps, not observations.
        end: Lower bound of the value, from 0 to ``peak``.
        value: The current value; initially ``peak``.
        best: The best metric so far; initially None.
        bad: The number of observations since the last improvement.
        cooling: The remaining observations of the cooldown.

    It is PyTorch's ``ReduceLROnPlateau`` with its defaults. ``end`` is called ``min_lr`` there; the option ``eps``,
    which omits very small reductions, does not exist here. It differs if the best metric is negative: PyTorch's
    relative threshold then counts an unchanged or slightly worse metric as an improvement.

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
        """Record a new result, and reduce the value after too many results without an improvement.

        Args:
            metric: The result: a number, or an array with one element. NaN and infinity never count as an improvement.

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
        """Load the arguments and the state of a ``state_dict``; if any part is invalid, nothing is loaded.

        Raises:
            TypeError: ``state`` is not such a dict, or an argument is missing, unknown, or of the wrong type.
            ValueError: It belongs to another schedule, or an argument is out of range.
        """
        other = from_dict(state)
        if not isinstance(other, reduce_on_plateau):
            rule = "state must be that of a reduce_on_plateau"
            raise ValueError(sentence("reduce_on_plateau.load_state_dict", rule, got=other))
        for field in fields(self):
            setattr(self, field.name, getattr(other, field.name))
