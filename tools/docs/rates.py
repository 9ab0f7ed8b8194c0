"""The picture of the learning-rate range test: four optimizers on one network."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from drawn import TEXT, save
from pictures import RUNS
from sklearn.datasets import load_digits

import minima as mi
from minima import nn, optim
from minima.data import DataLoader, TensorDataset

COLOURS = {run.name: run.color for run in RUNS}


def measured(name: str) -> optim.RangeTest:
    """What the test sees of an optimizer, on small pictures of digits."""
    mi.manual_seed(0)
    pictures, digits = load_digits(return_X_y=True)
    network = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))
    loader = DataLoader(TensorDataset(pictures / 16, digits), batch_size=64, shuffle=True)
    loss = nn.CrossEntropyLoss()
    optimizer = getattr(optim, name)(network.parameters())
    with np.errstate(all="ignore"):  # the last rates are too large
        return optim.lr_range_test(lambda x, y: loss(network(x), y), optimizer, loader, low=1e-5, high=100.0, steps=140)


def draw(folder: Path) -> None:
    """Write rates-light.svg and rates-dark.svg."""
    tests = {name: measured(name) for name in COLOURS}
    figure, axes = plt.subplots(figsize=(8, 3.8), layout="constrained")
    for name, test in tests.items():
        colour, place = COLOURS[name], test.suggestion
        axes.plot(test.lrs, test.losses, ".", color=colour, ms=3, alpha=0.4)
        axes.plot(test.lrs, test.smoothed, color=colour, lw=1.7, label=name)
        if place is not None:
            height = np.interp(np.log(place), np.log(test.lrs), test.smoothed)
            axes.plot(place, height, "o", color=colour, ms=7, mec=TEXT, mew=0.8, zorder=3)
    axes.set(xscale="log", ylim=(0.2, 3.6))
    axes.set_xlabel("learning rate", color=TEXT)
    axes.set_ylabel("loss", color=TEXT)
    axes.tick_params(which="both", colors=TEXT)
    axes.spines[["top", "right"]].set_visible(False)
    axes.spines[["left", "bottom"]].set_color(TEXT)
    axes.legend(frameon=False, labelcolor=TEXT, loc="upper left")
    save(figure, folder, "rates", in_notebooks=True)
