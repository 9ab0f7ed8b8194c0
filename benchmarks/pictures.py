"""Pictures of what was measured; drawn from the numbers in the file, so that an old file can be drawn anew:

python benchmarks/pictures.py benchmarks/results/step.json step.png
"""

import json
import sys
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from minima.bench.picture import MINIMA, save
from minima.bench.picture import draw as draw_steps
from minima.bench.tables import duration

__all__ = ["draw"]


def draw(content: dict[str, Any], path: Path) -> None:
    """Draw the content of a file into another, whose ending names the format."""
    if content["benchmark"] == "step":
        draw_steps(content, path)
    else:
        save(_training(content["measured"]), content, path)


def _training(measured: list[dict[str, Any]]) -> Any:
    """A panel for each network, in it a bar for each trainer, in two parts."""
    networks = list(dict.fromkeys(row["network"] for row in measured))
    figure: Any = Figure(figsize=(9, 2.3 * len(networks) + 1.3), dpi=150, layout="constrained")
    panels = figure.subplots(len(networks), 1, squeeze=False).ravel()
    for panel, network in zip(panels, networks, strict=True):
        rows = [row for row in measured if row["network"] == network]
        longest = max(row["seconds"] for row in rows)
        unit, factor = ("µs", 1e6) if longest < 1e-3 else ("ms", 1e3)
        for number, row in enumerate(rows):
            derive, update = (part * factor for part in row["parts"])
            light = "#E9A3C4" if row["trainer"].startswith("minima") else "#F5D48F"
            dark = MINIMA if "minima" in row["trainer"] else "#E69F00"
            panel.barh(-number, derive, color=light, height=0.62)
            panel.barh(-number, update, left=derive, color=dark, height=0.62)
            ratio = row["minima / this"]
            text = duration(row["seconds"]) + (f"   minima: {ratio:.2f} of it" if ratio and ratio != 1 else "")
            panel.text(derive + update, -number, f"  {text}", va="center", fontsize=8)
        panel.set_yticks([-number for number in range(len(rows))], [row["trainer"] for row in rows], fontsize=9)
        panel.set_xlim(0, 1.45 * longest * factor)
        panel.set_xlabel(unit, fontsize=8)
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", alpha=0.25, linewidth=0.6)
        panel.set_axisbelow(True)
        panel.spines[["top", "right", "left"]].set_visible(False)
        panel.set_title(network, loc="left", fontweight="bold", fontsize=11)
    title = "One training step: forward and backward (light), optimizer (dark)"
    figure.suptitle(title, x=0.01, ha="left", fontsize=13, fontweight="bold")
    return figure


if __name__ == "__main__":
    draw(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")), Path(sys.argv[2]))
