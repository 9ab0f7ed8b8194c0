"""How long a step takes on this machine: measured, in well under a second."""

import inspect
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minima.autograd import Tensor
from minima.optim.optimizer import Optimizer

__all__ = ["adder", "fastest", "stepper"]

_PATIENCE = 0.1
"""Seconds after which nothing is repeated any more."""
_TIMES = 50


def fastest(*steps: Callable[[], None]) -> list[float]:
    """The shortest time of each step in seconds; they take turns, so that a busy moment of the machine hits all."""
    rounds: list[list[float]] = []
    begin = time.perf_counter()
    while len(rounds) < 3 or len(rounds) < _TIMES and time.perf_counter() - begin < _PATIENCE:
        times: list[float] = []
        for step in steps:
            start = time.perf_counter()
            step()
            times.append(time.perf_counter() - start)
        rounds.append(times)
    return [min(times) for times in zip(*rounds, strict=True)]


def stepper(
    kind: type[Optimizer], options: Mapping[str, Any], dtype: str, shape: tuple[int, ...]
) -> Callable[[], None]:
    """The step of an optimizer for one parameter of this shape: compiled, and all its memory touched.

    It is made by that of Optimizer: the class may have a constructor of its own, with arguments that nobody knows here.
    """
    param = Tensor(np.ones(shape, dtype), dtype=dtype, requires_grad=True)
    param.grad = Tensor(np.full(shape, 1e-3, dtype), dtype=dtype)
    optimizer = object.__new__(kind)
    Optimizer.__init__(optimizer, [param], **options)
    Optimizer.step(optimizer, loss=1.0)
    return lambda: Optimizer.step(optimizer, loss=1.0)


def adder(states: int) -> type[Optimizer]:
    """An optimizer whose rule only adds, with this number of states."""

    def update(param: Any, grad: Any, *state: Any) -> Any:
        return param + grad, *(each + grad for each in state)

    place = inspect.Parameter.POSITIONAL_OR_KEYWORD
    names = ["param", "grad", *(f"state{number}" for number in range(states))]
    vars(update)["__signature__"] = inspect.Signature([inspect.Parameter(name, place) for name in names])
    return type("Adder", (Optimizer,), {"update": staticmethod(update)})
