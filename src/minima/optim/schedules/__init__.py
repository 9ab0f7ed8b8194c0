"""Schedules: hyperparameters that change while training, as pure functions of the step.

A schedule is called with the number of steps taken so far, 0 for the first, and gives the value for the step that comes
next. It has no memory: the same step gives the same value, in whatever order one asks, so that a run that is resumed
goes on where it stopped. (`reduce_on_plateau` alone looks at results, and carries what it remembers openly.)

All of them take their arguments alike: the highest value first, then by keyword

- ``steps``: the length of the whole run, warm-up included. The value ``end`` is reached at step ``steps``, one past the
  last one, and stays.
- ``warmup``: how many steps lead up to the peak. Step ``s`` of them uses ``(s + 1) / (warmup + 1)`` of it, and step
  ``warmup`` is the first at the peak.

So neither the first step of a run nor its last is wasted on a value of zero.

>>> from minima.optim.schedules import cosine
>>> lr = cosine(1e-3, steps=10, warmup=3)
>>> [round(lr(step), 6) for step in range(12)]
[0.00025, 0.0005, 0.00075, 0.001, 0.00095, 0.000812, 0.000611, 0.000389, 0.000188, 5e-05, 0.0, 0.0]
"""

from minima.optim.schedules.combine import join, warmup
from minima.optim.schedules.endless import constant, exponential, inverse_sqrt, piecewise, step
from minima.optim.schedules.finite import cosine, linear, one_cycle, polynomial, wsd
from minima.optim.schedules.plateau import reduce_on_plateau
from minima.optim.schedules.schedule import Schedule, from_dict, scale

__all__ = [
    "Schedule",
    "constant",
    "cosine",
    "exponential",
    "from_dict",
    "inverse_sqrt",
    "join",
    "linear",
    "one_cycle",
    "piecewise",
    "polynomial",
    "reduce_on_plateau",
    "scale",
    "step",
    "warmup",
    "wsd",
]
