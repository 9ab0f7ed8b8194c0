"""The picture of the step benchmark, drawn from the numbers that it kept."""

from math import ceil
from pathlib import Path
from typing import Any

from minima.bench.machine import sentences
from minima.bench.tables import duration

__all__ = ["MINIMA", "draw", "save"]

# Hues that stay apart for colour-blind readers (Okabe and Ito, 2008); minima is always the strong one.
MINIMA, GREY = "#CC3377", "0.45"
STYLES: dict[str, dict[str, Any]] = {
    "minima.torch": {"color": MINIMA, "marker": "s", "markerfacecolor": "white"},
    "minima.jax under jax.jit": {"color": MINIMA, "marker": "o", "markerfacecolor": "white"},
    "minima, bfloat16 state": {"color": MINIMA, "marker": "^"},
    "minima, int8 state": {"color": MINIMA, "marker": "v"},
    "PyTorch, fused=True": {"color": "#D55E00", "marker": "D"},
    "PyTorch, default": {"color": "#E69F00", "marker": "o"},
    "PyTorch, by hand": {"color": "#E69F00", "marker": "P"},
    "PyTorch, foreach=True": {"color": "#E69F00", "marker": "s", "markerfacecolor": "white"},
    "PyTorch, one by one": {"color": "#E69F00", "marker": "X"},
    "pytorch_optimizer": {"color": "#56B4E9", "marker": "o"},
    "prodigyopt": {"color": "#56B4E9", "marker": "D"},
    "optax under jax.jit": {"color": "#0072B2", "marker": "o"},
    "NumPy, as in textbooks": {"color": "#009E73", "marker": "o"},
    "ceiling": {"color": "black", "marker": "|", "markersize": 15, "markeredgewidth": 2},
}
"""Of the peers that are drawn."""


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw what `record` gave into a file, whose ending names the format."""
    save(_steps(content["measured"]), content, path)


def save(figure: Any, content: dict[str, Any], path: Path) -> None:
    """Write a figure with the machine at its foot."""
    foot = "\n".join((*sentences(content["machine"]), content["date"]))
    figure.supxlabel(foot, fontsize=8, color=GREY, x=0.01, ha="left")
    figure.savefig(path)


def _steps(measured: list[dict[str, Any]]) -> Any:
    """A panel for each workload, in it a line for each algorithm: how much longer than minima the others take."""
    from matplotlib.figure import Figure

    workloads = list(dict.fromkeys(row["workload"] for row in measured))
    columns = min(3, len(workloads))
    rows = ceil(len(workloads) / columns)
    figure: Any = Figure(figsize=(4.9 * columns + 0.6, 3.1 * rows + 1.9), dpi=150, layout="constrained")
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels[len(workloads) :]:
        panel.remove()
    legend: dict[str, Any] = {}
    for panel, workload in zip(panels, workloads, strict=False):
        mine = [row for row in measured if row["workload"] == workload]
        own = {row["algorithm"]: row["seconds"] for row in mine if row["peer"] == "minima"}
        places = {algorithm: -number for number, algorithm in enumerate(own)}
        for place in places.values():
            panel.axhline(place, color="0.9", linewidth=7, zorder=0, solid_capstyle="round")
            (legend["minima"],) = panel.plot(1, place, "o", color=MINIMA, markersize=9, zorder=3, linestyle="")
        for name, style in STYLES.items():
            found = [
                (row["seconds"] / own[row["algorithm"]], places[row["algorithm"]])
                for row in mine
                if row["peer"] == name and row["algorithm"] in own
            ]
            if found:
                look = {"markersize": 7, "zorder": 4, "linestyle": "", "alpha": 0.95} | style
                (legend[name],) = panel.plot(*zip(*found, strict=True), **look)
        panel.axvline(1, color=MINIMA, linewidth=1, alpha=0.5, zorder=1)
        panel.set_xscale("log")
        panel.set_yticks(
            list(places.values()), [f"{algorithm}\n{duration(own[algorithm])}" for algorithm in places], fontsize=8
        )
        panel.set_ylim(-len(places) + 0.4, 0.6)
        _times(panel)
        panel.set_title(workload, loc="left", fontweight="bold", fontsize=11)
    order = [name for name in ("minima", *STYLES) if name in legend]
    figure.legend(
        [legend[name] for name in order],
        [{"ceiling": "the ceiling: memory alone"}.get(name, name) for name in order],
        title="One optimizer step: the time of others in times of minima's",
        title_fontproperties={"size": 13, "weight": "bold"},
        alignment="left",
        loc="outside upper left",
        ncols=2 * columns - 1,
        frameon=False,
        fontsize=9,
    )
    return figure


def _times(panel: Any) -> None:
    """A logarithmic axis of multiples: 0.5x, 1x, 2x."""
    from matplotlib.ticker import LogLocator, NullFormatter

    low, high = panel.get_xlim()
    panel.set_xlim(min(low, 0.7), max(high, 2.5))
    wide = panel.get_xlim()[1] > 30
    panel.xaxis.set_major_locator(LogLocator(subs=(1,) if wide else (1, 2, 5)))
    panel.xaxis.set_major_formatter("{x:g}x")
    panel.xaxis.set_minor_formatter(NullFormatter())
    panel.tick_params(axis="x", labelsize=8)
    panel.tick_params(axis="y", length=0)
    panel.grid(axis="x", alpha=0.3, linewidth=0.6)
    panel.spines[["top", "right", "left"]].set_visible(False)
