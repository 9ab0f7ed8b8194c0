"""The pictures of the optimizers: each one walks down the same curved valley, with the library's own code."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from drawn import LINE, TEXT, save

import minima as mi
from minima import optim

START = (-4.6, 2.6)
MINIMUM = (0.0, -0.8)
STEPS = 60


def valley(x: Any, y: Any) -> Any:
    """A valley with steep walls and a flat floor that bends, so that neither axis leads along it."""
    return x**2 / 24 + (y - x**2 / 16 + 0.8) ** 2


@dataclass(frozen=True)
class Run:
    """One optimizer with the settings that it walks with."""

    name: str
    color: str
    settings: dict[str, float] = field(default_factory=dict)
    dashed: bool = False

    @property
    def label(self) -> str:
        return f"{self.name}({', '.join(f'{key}={value:g}' for key, value in self.settings.items())})"

    @cached_property
    def path(self) -> np.ndarray:
        """Where the parameter stood: at the start, and after each step."""
        point = mi.Tensor(np.array([START]), requires_grad=True)  # a matrix, for the rules that look for one
        optimizer = getattr(optim, self.name)([point], **self.settings)
        seen = [np.array(START)]
        for _ in range(STEPS):
            height = valley(point[0, 0], point[0, 1])
            height.backward()
            optimizer.step(loss=height)
            optimizer.zero_grad()
            seen.append(point.detach().numpy()[0].copy())
        return np.stack(seen)


RUNS = [
    Run("SGD", "#e0872c", {"lr": 0.6}),
    Run("SGD", "#e0872c", {"lr": 1.5, "momentum": 0.85}, dashed=True),
    Run("AdaGrad", "#3a9e62", {"lr": 0.6}),
    Run("RMSProp", "#d1495b", {"lr": 0.14}),
    Run("Adam", "#3f7fd9", {"lr": 0.35}),
]


def run_of(name: str) -> Run:
    """An optimizer that has no run above walks with the learning rate that keeps it lowest in its second half."""
    rates = [float(f"{rate:.1g}") for rate in np.geomspace(0.01, 10, 19)]
    runs = [Run(name, "#8a63c9", {"lr": rate}) for rate in rates]
    with np.errstate(all="ignore"):  # some rates are too large
        return min(runs, key=lambda run: float(np.nan_to_num(valley(*run.path.T)[STEPS // 2 :].mean(), nan=np.inf)))


def draw(folder: Path, names: Sequence[str]) -> None:
    """Write NAME-light.svg and NAME-dark.svg for each optimizer, and `all-` for those above together."""
    sheets = {name.lower(): [run for run in RUNS if run.name == name] or [run_of(name)] for name in names}
    sheets["all"] = [run for run in RUNS if not run.dashed]
    for stem, runs in sheets.items():
        save(_figure(runs), folder, stem)


def _figure(runs: list[Run]) -> Any:
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    x, y = np.meshgrid(np.linspace(-6.6, 2.2, 160), np.linspace(-2.0, 3.0, 100))
    # Levels at equal steps of log(1 + 8 f): lines at equal steps of f would leave the floor of the valley blank.
    axes.contour(x, y, np.log1p(8 * valley(x, y)), 16, colors=LINE, linewidths=0.5, alpha=0.8)
    for run in runs:
        axes.plot(*run.path.T, color=run.color, lw=1.4, ls="--" if run.dashed else "-", label=run.label, zorder=2)
        axes.plot(*run.path.T, ".", color=run.color, ms=3.5 if run.dashed else 5, zorder=2)
    for run in RUNS:
        if not run.dashed and run.name not in {run.name for run in runs}:
            axes.plot(*run.path.T, color=run.color, lw=1, alpha=0.5, zorder=1)
    axes.plot(*START, "o", color=TEXT, ms=6)
    axes.annotate("start", START, (8, 2), textcoords="offset points", color=TEXT)
    axes.plot(*MINIMUM, "*", color=TEXT, ms=11, zorder=3)
    axes.annotate("minimum", MINIMUM, (9, 5), textcoords="offset points", color=TEXT)
    axes.legend(loc="upper right", frameon=False, labelcolor=TEXT)
    axes.set(xlim=(x.min(), x.max()), ylim=(y.min(), y.max()))
    axes.set_axis_off()
    return figure
