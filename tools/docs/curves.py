"""The pictures of the schedules: each drawn by itself, and all of them on one sheet."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from drawn import LINE, TEXT, save

from minima.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    inverse_sqrt,
    join,
    linear,
    one_cycle,
    piecewise,
    polynomial,
    reduce_on_plateau,
    scale,
    step,
    warmup,
    wsd,
)

COLORS = ["#3f7fd9", "#e0872c", "#3a9e62"]
STEPS = 100

CURVES: dict[str, list[Schedule]] = {
    "constant": [constant(0.1, warmup=20)],
    "linear": [linear(0.1, steps=100, warmup=20), linear(0.1, steps=100, end=0.04)],
    "cosine": [cosine(0.1, steps=100, warmup=10), cosine(0.1, steps=70, cycles=3, stretch=2)],
    "polynomial": [polynomial(0.1, steps=100, power=2), polynomial(0.1, steps=100, power=0.5)],
    "exponential": [exponential(0.1, factor=0.5, every=15), exponential(0.1, factor=0.1, every=100, end=0.03)],
    "step": [step(0.1, every=25, factor=0.5), step(0.1, every=25)],
    "piecewise": [piecewise([0.1, 0.05, 0.02], at=[30, 80])],
    "inverse_sqrt": [inverse_sqrt(0.1, warmup=10), inverse_sqrt(0.1)],
    "one_cycle": [one_cycle(0.1, steps=100)],
    "wsd": [wsd(0.1, steps=100, decay=25, warmup=10), wsd(0.1, steps=100, decay=40, shape="sqrt")],
    "warmup": [warmup(piecewise([0.1, 0.05], at=[40]), steps=20)],
    "join": [join([linear(0.02, end=0.1, steps=40), cosine(0.06, steps=60)], at=[40])],
    "scale": [cosine(0.1, steps=100), scale(cosine(0.1, steps=100), by=0.5)],
}


def draw(folder: Path) -> None:
    """Write schedule-NAME-light.svg and -dark.svg for each schedule, and schedules-*.svg for the sheet of all."""
    for name, curves in CURVES.items():
        save(_alone(curves), folder, f"schedule-{name}", in_notebooks=True)
    save(_plateau(), folder, "schedule-reduce_on_plateau", in_notebooks=True)
    save(_sheet(), folder, "schedules", in_notebooks=True)


def _dress(axes: Any) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(LINE)
    axes.tick_params(color=LINE, labelcolor=TEXT, labelsize=8)
    axes.xaxis.label.set_color(TEXT)
    axes.yaxis.label.set_color(TEXT)
    axes.margins(x=0.01)


def _alone(curves: list[Schedule]) -> Any:
    figure, axes = plt.subplots(figsize=(7, 2.5), layout="constrained")
    for curve, color in zip(curves, COLORS, strict=False):
        curve.plot(STEPS, ax=axes).lines[-1].set(color=color, linewidth=1.8)
    axes.set_ylim(0, 0.104)
    _dress(axes)
    legend = axes.legend(loc="lower left", bbox_to_anchor=(0, 1), frameon=False, borderaxespad=0.3)
    plt.setp(legend.get_texts(), color=TEXT, fontsize=8, family="monospace")
    return figure


def _sheet() -> Any:
    figure, grid = plt.subplots(3, 4, figsize=(8.6, 4.4), sharex=True, sharey=True, layout="constrained")
    shown = [name for name in CURVES if name != "scale"]
    for axes, name in zip(grid.flat, shown, strict=True):
        CURVES[name][0].plot(STEPS, ax=axes).lines[-1].set(color=COLORS[0], linewidth=1.8)
        axes.set_title(name, color=TEXT, fontsize=9, family="monospace", loc="left")
        axes.set(ylim=(0, 0.104), xticks=[], yticks=[], xlabel="")
        _dress(axes)
    return figure


def _plateau() -> Any:
    """A loss that falls to a floor set by the learning rate, with some noise, and the plateau that watches it."""
    rate, rng = reduce_on_plateau(0.1, factor=0.3, patience=6, threshold=0.02), np.random.default_rng(3)
    loss, losses, rates = 2.0, [], []
    for epoch in range(STEPS):
        rates.append(rate(epoch))
        loss += 0.2 * (0.2 + 8 * rates[-1] - loss)
        losses.append(loss * (1 + 0.03 * rng.normal()))
        rate.observe(losses[-1])
    figure, (above, below) = plt.subplots(
        2, 1, figsize=(7, 3.2), sharex=True, layout="constrained", height_ratios=(3, 2)
    )
    above.plot(losses, color=COLORS[1], linewidth=1.4)
    above.set(ylabel="loss", ylim=(0, None))
    below.step(range(STEPS), rates, where="post", color=COLORS[0], linewidth=1.8)
    below.set(ylabel="learning rate", xlabel="epoch", ylim=(0, None))
    for axes in (above, below):
        _dress(axes)
    return figure
