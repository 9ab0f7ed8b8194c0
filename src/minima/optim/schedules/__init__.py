"""Schedules: hyperparameters that change during training, as pure functions of the step.

A schedule is called with the number of steps so far, 0 for the first step, and returns the value for the next step. It
has no state: the same step always gives the same value, so a resumed run continues correctly. (Only `reduce_on_plateau`
depends on results, and has state in its attributes.)

All schedules have the same arguments: first the highest value, then as keywords

- ``steps``: the length of the whole run, including the warmup. The value ``end`` is reached at step ``steps``, one
  after the last step, and stays.
- ``warmup``: the number of steps before the peak. Step ``s`` uses ``(s + 1) / (warmup + 1)`` of the peak, and step
  ``warmup`` is the first at the peak.

So neither the first nor the last step of a run has a value of zero.

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
