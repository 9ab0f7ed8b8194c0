"""The picture of the demo: how loss and accuracy went, optimizer by optimizer."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

from minima.demo.training import History

__all__ = ["draw"]

# Four hues that stay apart for colour-blind readers (Okabe and Ito, 2008) and on white.
_COLOURS = {"SGD": "#0072B2", "AdaGrad": "#E69F00", "RMSProp": "#009E73", "Adam": "#CC3377"}


def draw(histories: Sequence[History], path: Path) -> None:
    """Draw the curves into a file; its ending names the format."""
    figure: Any = Figure(figsize=(11, 4.6), dpi=160, layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    for history in histories:
        epochs = range(1, len(history.train_loss) + 1)
        style: dict[str, Any] = {"color": _COLOURS[history.name], "linewidth": 1.8}
        loss.plot(epochs, history.train_loss, label=history.name, **style)
        loss.plot(epochs, history.valid_loss, alpha=0.55, linestyle=(0, (3, 2)), **{**style, "linewidth": 1.3})
        final = f"{history.name}  {history.valid_accuracy[-1]:.1%}"
        accuracy.plot(epochs, history.valid_accuracy, label=final, **style)
    loss.plot([], [], color="0.35", linewidth=1.8, label="training")
    loss.plot([], [], color="0.35", linewidth=1.3, alpha=0.7, linestyle=(0, (3, 2)), label="validation")
    loss.set_yscale("log")
    loss.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    loss.yaxis.set_major_formatter("{x:g}")
    loss.yaxis.set_minor_formatter(NullFormatter())
    loss.set_title("Cross-entropy", loc="left", fontweight="bold")
    accuracy.set_ylim(0.85, 1.003)
    accuracy.set_title("Validation accuracy", loc="left", fontweight="bold")
    accuracy.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    for axes in (loss, accuracy):
        axes.set_xlabel("epoch")
        axes.grid(alpha=0.25, linewidth=0.6)
        axes.spines[["top", "right"]].set_visible(False)
        axes.margins(x=0.02)
    loss.legend(frameon=False, ncols=2, fontsize=9)
    accuracy.legend(frameon=False, loc="lower right", fontsize=9, title="after the last epoch")
    figure.suptitle("One network on the breast-cancer data, every optimizer from the same initial weights", fontsize=11)
    figure.savefig(path)
