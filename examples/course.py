"""What lenet.py, characters.py, adding.py and autoencoder.py share: options, a progress bar, and a picture."""

import argparse
import sys
from pathlib import Path

from rich.progress import track


def options(text, epochs, quick):
    """The command line of an example: its first sentence, and how many epochs it takes, in full and with --quick."""
    parser = argparse.ArgumentParser(description=text.splitlines()[0])
    parser.add_argument("--epochs", type=int, help=f"{epochs}, or {quick} with --quick, unless given")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true", help="less of everything: a first look, in seconds")
    given = parser.parse_args()
    if given.epochs is None:
        given.epochs = quick if given.quick else epochs
    if given.epochs < 1:
        parser.error(f"--epochs must be at least 1; got {given.epochs}")
    return given


def progress(epochs):
    """The numbers of the epochs from 1 up, with a bar in a terminal."""
    return track(range(1, epochs + 1), "training", disable=not sys.stdout.isatty())


def draw(curves, images=None):
    """Draw curves side by side, and images in rows below them, into a PNG that is named after the program.

    Args:
        curves: Title to label to one number for each epoch.
        images: Title to an array of shape (count, height, width), the same in each row; from 0 (white) to 1.
    """
    path = Path(sys.argv[0]).with_suffix(".png").name
    try:
        from matplotlib.figure import Figure
    except ModuleNotFoundError:
        print("curves: needs matplotlib; pip install matplotlib")
        return
    images = images or {}
    count = max((len(row) for row in images.values()), default=1)
    figure = Figure(figsize=(10, 3.4 + len(images)), dpi=120, layout="constrained")
    above, *below = figure.subfigures(1 + len(images), 1, height_ratios=[3.4] + [1] * len(images), squeeze=False)[:, 0]
    for axes, (title, lines) in zip(above.subplots(1, len(curves), squeeze=False)[0], curves.items(), strict=True):
        for label, values in lines.items():
            axes.plot(range(1, len(values) + 1), values, label=label, linewidth=1.8)
        axes.set_title(title, loc="left")
        axes.set_xlabel("epoch")
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
        axes.legend(frameon=False)
    for row, (title, pictures) in zip(below, images.items(), strict=True):
        row.suptitle(title, x=0.01, ha="left", fontsize=10)
        for axes, picture in zip(row.subplots(1, count), pictures, strict=True):
            axes.imshow(picture, cmap="gray_r", vmin=0, vmax=1)
            axes.set_axis_off()
    figure.savefig(path)
    print(f"curves: {path}")
