"""The race of the optimizers: their paths over five landscapes, run by the library's own classes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
from pictures import valley

import minima as mi
from minima import optim

STEPS = 120
RATES = [digit * 10.0**power for power in range(-3, 1) for digit in (1, 2, 5)] + [10.0]
"""The learning rates of the slider: 1, 2, 5 of each decade."""
ASPECT = 1.76
FAR = 1e6
"""A point that is farther out than this is lost, and takes no more steps."""


@dataclass(frozen=True, eq=False)
class Landscape:
    """A height over the plane, and the window through which it is seen, ASPECT times as wide as it is high."""

    title: str
    height: Callable[[Any, Any], Any]
    start: tuple[float, float]
    minima: list[tuple[float, float]]
    corner: tuple[float, float]
    """Left and bottom of the window."""
    span: float
    """Its height."""
    lesson: dict[str, float]
    """The runners that the text of the page is about, with their learning rates."""
    noise: float = 0.0
    """The standard deviation of what is added to each partial derivative; the same for every runner."""

    def at(self, points: np.ndarray) -> np.ndarray:
        """The heights of points, of shape (..., 2); infinity for those that are lost."""
        known = np.isfinite(points).all(axis=-1)
        x, y = (mi.Tensor(np.where(known, points[..., axis], 0.0), dtype="float64") for axis in (0, 1))
        return np.where(known, self.height(x, y).numpy(), np.inf)

    def seen(self, points: np.ndarray) -> np.ndarray:
        """Where points stand in the window: (0, 0) at its left bottom, (1, 1) at its right top."""
        return (points - self.corner) / (ASPECT * self.span, self.span)


def saddle(x: Any, y: Any) -> Any:
    """A pass between two hollows of height 0: down to it along x, and down from it along y."""
    return x**2 / 2 + (y**2 - 3) ** 2 / 8


def rosenbrock(x: Any, y: Any) -> Any:
    """Rosenbrock's function (1960), divided by 100, so that the rates of the other landscapes suit it."""
    return (1 - x) ** 2 / 100 + (y - x**2) ** 2


def rastrigin(x: Any, y: Any) -> Any:
    """Rastrigin's function (1974): a bowl, and in it a hollow at every pair of whole numbers."""
    turn = 2 * np.pi
    return 20 + x**2 + y**2 - 10 * (turn * x).cos() - 10 * (turn * y).cos()


def bowl(x: Any, y: Any) -> Any:
    """A quadratic, ten times as steep along y as along x."""
    return x**2 / 2 + 5 * y**2


@dataclass(frozen=True)
class Runner:
    """An optimizer with its settings, its colour, which is as clear on white as on black, and its marker."""

    title: str
    name: str
    color: str
    marker: str
    settings: dict[str, float] = field(default_factory=dict)
    shared: bool = True
    """Whether one optimizer can take a path for each rate as its groups: no rule that looks at all of them at once."""


RUNNERS = [
    Runner("SGD", "SGD", "#c96f14", "circle"),
    Runner("SGD, momentum 0.9", "SGD", "#1f93a8", "ring", {"momentum": 0.9}),
    Runner("AdaGrad", "AdaGrad", "#2f9257", "square"),
    Runner("RMSProp", "RMSProp", "#d1495b", "triangle"),
    Runner("Rprop", "Rprop", "#7a8a1a", "down"),
    Runner("Signum", "Signum", "#b05fd0", "diamond"),
    Runner("Lion", "Lion", "#d14a9a", "plus"),
    Runner("Adam", "Adam", "#3a7bd5", "cross"),
    Runner("Schedule-Free SGD", "ScheduleFreeSGD", "#9a7d10", "star"),
    Runner("Prodigy", "Prodigy", "#7d6be0", "left", shared=False),
    Runner("Muon", "Muon", "#9a6a4f", "right", {"wd": 0.0}),
    Runner("SOAP", "SOAP", "#6f7f95", "hexagon", {"wd": 0.0}),
]


MOMENTUM, FREE = "SGD, momentum 0.9", "Schedule-Free SGD"
LANDSCAPES = {
    "valley": Landscape(
        "Valley",
        valley,
        start=(-4.6, 2.6),
        minima=[(0, -0.8)],
        corner=(-6.6, -2.0),
        span=5.0,
        lesson={"SGD": 0.5, MOMENTUM: 1.0, "Signum": 0.1, "Adam": 0.5},
    ),
    "saddle": Landscape(
        "Saddle",
        saddle,
        start=(-2.6, 0.01),
        minima=[(0, 3**0.5), (0, -(3**0.5))],
        corner=(-4.4, -2.5),
        span=5.0,
        lesson={"SGD": 0.2, MOMENTUM: 0.2, "RMSProp": 0.05, "Adam": 0.1},
    ),
    "rosenbrock": Landscape(
        "Rosenbrock",
        rosenbrock,
        start=(-1.2, 1.0),
        minima=[(1, 1)],
        corner=(-2.2, -0.6),
        span=2.5,
        lesson={"SGD": 0.2, MOMENTUM: 1.0, "Adam": 0.5, "SOAP": 0.2},
    ),
    "rastrigin": Landscape(
        "Rastrigin",
        rastrigin,
        start=(-3.6, 2.4),
        minima=[(0, 0)],
        corner=(-5.4, -2.7),
        span=6.0,
        lesson={"SGD": 0.001, MOMENTUM: 0.05, "Adam": 0.1, FREE: 0.05},
    ),
    "noise": Landscape(
        "Noisy bowl",
        bowl,
        start=(-4.0, 1.5),
        minima=[(0, 0)],
        corner=(-5.2, -2.3),
        span=4.6,
        lesson={"SGD": 0.1, "AdaGrad": 0.5, "Adam": 0.1, FREE: 0.1},
        noise=3.0,
    ),
}


def best(place: Landscape) -> np.ndarray:
    """For each runner the position of the rate that keeps it lowest in the second half of its steps."""
    return place.at(paths(place))[:, :, STEPS // 2 :].mean(axis=-1).argmin(axis=-1)


@cache
def paths(place: Landscape) -> np.ndarray:
    """Where each runner stood with each rate, at the start and after each step: (runners, rates, steps + 1, 2).

    What is lost stands at infinity from then on.
    """
    shape = len(RUNNERS), len(RATES)
    points = [[mi.Tensor([place.start], dtype="float64", requires_grad=True) for _ in RATES] for _ in RUNNERS]
    optimizers = [_optimizers(runner, row) for runner, row in zip(RUNNERS, points, strict=True)]
    noise = np.random.default_rng(0).normal(scale=place.noise, size=(STEPS, 2))
    seen = np.full((*shape, STEPS + 1, 2), np.inf)
    seen[:, :, 0] = place.start
    for step in range(STEPS):
        there = mi.Tensor([[_at(point) for point in row] for row in points], dtype="float64", requires_grad=True)
        height = place.height(there[..., 0], there[..., 1]) + (there * mi.Tensor(noise[step], dtype="float64")).sum(-1)
        height.sum().backward()
        slopes = there.grad.numpy()
        for i, row in enumerate(points):
            for j, point in enumerate(row):
                known = np.isfinite(seen[i, j, step, 0])
                point.grad = mi.Tensor(slopes[i, j][None], dtype="float64") if known else None
            for optimizer in optimizers[i]:
                optimizer.step()
                optimizer.eval()  # a rule that averages is judged by its averages
            for j, point in enumerate(row):
                if point.grad is not None and np.abs(_at(point)).max() < FAR:
                    seen[i, j, step + 1] = _at(point)
            for optimizer in optimizers[i]:
                optimizer.train()
    return seen


def _at(point: mi.Tensor) -> np.ndarray:
    return point.detach().numpy()[0]


def _optimizers(runner: Runner, points: list[mi.Tensor]) -> list[optim.Optimizer]:
    groups = [{"params": [point], "lr": rate} for point, rate in zip(points, RATES, strict=True)]
    cls = getattr(optim, runner.name)
    return [cls(part, **runner.settings) for part in ([groups] if runner.shared else [[group] for group in groups])]
