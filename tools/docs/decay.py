"""The picture of the three ways of weight decay: what each does to a parameter whose gradients are only noise."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from drawn import TEXT, save

import minima as mi
from minima.optim import Adam, schedules

WAYS = {"decoupled": "#3f7fd9", "independent": "#3a9e62", "l2": "#e0872c"}
STEPS, ELEMENTS = 400, 400
NOISES = {0.01: ":", 1.0: "-", 100.0: "--"}
"""The standard deviation of the gradients, and how its line is drawn."""


def shrinking(way: str, noise: float, lr: Any, wd: float) -> list[float]:
    """The mean of many parameters that start at 1, from step to step."""
    rng = np.random.default_rng(0)
    w = mi.Tensor(np.ones(ELEMENTS), requires_grad=True)
    optimizer = Adam([w], lr=lr, weight_decay=wd, beta2=0.99, decay=way)
    means = [1.0]
    for _ in range(STEPS):
        w.grad = mi.Tensor(rng.normal(size=ELEMENTS) * noise)
        optimizer.step()
        means.append(float(w.detach().numpy().mean()))
    return means


def draw(folder: Path) -> None:
    """Write decay-light.svg and decay-dark.svg."""
    lr = 0.005
    falling = schedules.cosine(lr, steps=STEPS)
    left = [(way, noise, shrinking(way, noise, lr, 1.0)) for way in ("decoupled", "l2") for noise in NOISES]
    right = [(way, 1.0, shrinking(way, 1.0, falling, wd)) for way, wd in (("decoupled", 1.0), ("independent", lr))]
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained", sharey=True)
    for panel, curves in zip(axes, (left, right), strict=True):
        for way, noise, means in curves:
            label = f"{way}, gradients of size {noise:g}" if way == "l2" else way
            label = None if (way, noise) == ("decoupled", 0.01) or noise == 100 and way != "l2" else label
            panel.plot(means, NOISES[noise], color=WAYS[way], lw=1.6, label=label)
        panel.set_xlabel("step", color=TEXT)
        panel.tick_params(colors=TEXT)
        panel.spines[["top", "right"]].set_visible(False)
        panel.spines[["left", "bottom"]].set_color(TEXT)
        panel.legend(frameon=False, labelcolor=TEXT, fontsize=9)
    axes[0].set_title("a constant learning rate", color=TEXT, fontsize=11)
    axes[1].set_title("a learning rate that falls to 0", color=TEXT, fontsize=11)
    axes[0].set_ylabel("parameter", color=TEXT)
    axes[0].set(ylim=(0, 1.45), yticks=[0, 0.5, 1])
    save(figure, folder, "decay")
