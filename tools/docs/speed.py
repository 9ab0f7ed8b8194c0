"""What the record of `make family` says of speed: three numbers, and a table and a picture for each model size."""

from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any

import matplotlib.pyplot as plt
from cards import FOLDER, LARGE, Results, duration, enlarged
from drawn import LINE, TEXT, save
from matplotlib.ticker import FuncFormatter, LogLocator

SHOWN = [
    "SGD", "AdaGrad", "RMSProp", "Adam", "AdamW", "Lion", "NAdam", "RAdam", "Adan", "ScheduleFreeAdamW", "LAMB",
    "Adafactor", "Prodigy",
]  # fmt: skip
"""The optimizers of the pictures: those that people ask for."""
PEERS = {
    "PyTorch": ("PyTorch", "o", "#e0872c"),
    "PyTorch, foreach=True": ("PyTorch, foreach", "s", "#b8860b"),
    "PyTorch, fused=True": ("PyTorch, fused", "D", "#d1495b"),
    "Optax": ("Optax, jitted", "^", "#3a9e62"),
    "pytorch_optimizer": ("packages for PyTorch", "v", "#8a63c9"),
    "schedulefree": ("packages for PyTorch", "v", "#8a63c9"),
    "prodigyopt": ("packages for PyTorch", "v", "#8a63c9"),
}
"""The peers by their titles in the record: their column, their mark, their colour."""
COLUMNS = list(dict.fromkeys(column for column, _, _ in PEERS.values()))
MINIMA = "#3f7fd9"
SIZES = {"small": "A small network", "many": "Many small tensors", LARGE: "GPT-2 small"}
SLOW = 1.15
"""Times the ceiling above which a rule is named as one that is slower than memory."""


def ratios(found: Mapping[str, Any]) -> dict[str, float]:
    """Each peer's time in times of minima's, by column; of the fastest peer, the one that a race of the two gave."""
    seen: dict[str, float] = {}
    for title, seconds in found.get("probed", {}).items():
        column = PEERS[title][0]
        seen[column] = min(seen.get(column, float("inf")), seconds / found["seconds"])
    if peer := found.get("peer"):
        seen[PEERS[peer["title"]][0]] = 1 / peer["ratio"]
    return seen


def workloads(results: Results, size: str) -> dict[str, Mapping[str, Any]]:
    """What was timed at a size, by optimizer."""
    found = {name: dict(results.timed(name)).get(size) for name in results.family.get("rules", {})}
    return {name: it for name, it in found.items() if it}


def numbers(results: Results) -> str:
    """The three numbers of the home page, with what each was measured on."""
    small, large = workloads(results, "small")["Adam"], workloads(results, LARGE)
    peer = small["peer"]
    beside = [1 / it["peer"]["ratio"] for it in large.values() if "peer" in it]
    share = large["Adam"]["ceiling"]["ratio"]
    cells = [
        (
            f"{1 / peer['ratio']:.1f}×",
            f"as fast as {peer['title'].replace('fused=True', 'fused')}: a step of Adam on a network of "
            f"{small['parameters']:,} parameters, {duration(small['seconds'])}",
        ),
        (
            f"{median(beside):.1f}×",
            f"as fast as the fastest other library: the median of {len(beside)} optimizers on {large['Adam']['title']}",
        ),
        (
            f"{100 / share:.0f} %",
            f"of the speed of memory: a step of Adam on the {large['Adam']['parameters'] / 1e6:.0f} million "
            f"parameters of {large['Adam']['title']}",
        ),
    ]
    items = "\n".join(f'<div class="number" markdown="1">\n**{head}**\n{text}\n</div>\n' for head, text in cells)
    return (
        f'<div class="numbers" markdown="1">\n{items}</div>\n\n{measured(results)} [All numbers](benchmarks.md).\n'
        "{ .small }\n"
    )


def measured(results: Results) -> str:
    """On what machine, when, and of which commits."""
    machine, rules = results.family["machine"], results.family["rules"].values()
    dates = sorted({entry["date"][:10] for entry in rules})
    commits = list(dict.fromkeys(entry["commit"] for entry in sorted(rules, key=lambda entry: entry["date"])))
    when = dates[0] if len(dates) == 1 else f"{dates[0]} to {dates[-1]}"
    return (
        f"Measured by `make family` on {machine['cpu']}, {machine['cores']} cores, float32, with "
        f"PyTorch {machine['torch']}, Optax {machine['optax']} and pytorch_optimizer {machine['pytorch_optimizer']}; "
        f"{when}, commit{'s' if len(commits) > 1 else ''} {', '.join(commits)}."
    )


def tables(results: Results) -> str:
    """For each size a table of ratios, the picture, and who is faster than minima there."""
    parts = [measured(results)]
    for size, title in SIZES.items():
        found = workloads(results, size)
        place = found["Adam"]
        parts += [
            f"### {title} {{ #{size} }}",
            f"{place['title']}, {place['parameters']:,} parameters. The first column is minima's time. The other "
            "columns give the time of each library, as a multiple of minima's.",
            _table({name: found[name] for name in SHOWN}),
            enlarged(f"Time of a step on {place['title']}, as a multiple of minima's", f"speed-{size}", ""),
        ]
    return "\n\n".join(parts) + "\n"


def _table(found: Mapping[str, Mapping[str, Any]]) -> str:
    rows = [f"| Optimizer | minima | {' | '.join(COLUMNS)} |", "| --- |" + " ---: |" * (1 + len(COLUMNS))]
    for name, it in found.items():
        seen = ratios(it)
        cells = [f"{seen[column]:.3g}×" if column in seen else "" for column in COLUMNS]
        rows.append(
            f"| [{name}](optimizers/{name.lower()}.md#report-card) | {duration(it['seconds'])} | {' | '.join(cells)} |"
        )
    return "\n".join(rows)


def losses(results: Results) -> str:
    """Every optimizer that another library steps faster, and every one that is slower than memory."""
    rows = ["| Workload | Optimizer | minima | Compared with |", "| --- | --- | ---: | --- |"]
    for size, title in SIZES.items():
        for name, it in workloads(results, size).items():
            took, link = duration(it["seconds"]), f"[{name}](optimizers/{name.lower()}.md#report-card)"
            if (peer := it.get("peer")) and peer["ratio"] > 1:
                low, high = peer["quartiles"]
                rows.append(
                    f"| {title} | {link} | {took} | {peer['ratio']:.2f} times {peer['title']} "
                    f"(quartiles: {low:.2f} to {high:.2f}) |"
                )
            if (ceiling := it.get("ceiling")) and ceiling["ratio"] > SLOW:
                rows.append(f"| {title} | {link} | {took} | {ceiling['ratio']:.2f} times the memory ceiling |")
    return "\n".join(rows) + "\n"


def gpus(path: Path = FOLDER / "gpus.md") -> str:
    """The table that benchmarks/gpu.py has written."""
    return "\n".join(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("|")) + "\n"


def draw(folder: Path, results: Results) -> None:
    """Write speed-SIZE-light.svg and -dark.svg for each size."""
    for size in SIZES:
        save(_figure(workloads(results, size)), folder, f"speed-{size}")


def _figure(found: Mapping[str, Mapping[str, Any]]) -> Any:
    """A line for each optimizer, on it a mark for each peer; narrow, so that a phone shows it at its full size."""
    figure, axes = plt.subplots(figsize=(5, 0.33 * len(SHOWN) + 1.2), layout="constrained")
    for row, name in enumerate(SHOWN):
        axes.axhline(-row, color=LINE, lw=0.5, alpha=0.4, zorder=0)
        for column, times in ratios(found[name]).items():
            mark, colour = next((mark, colour) for title, mark, colour in PEERS.values() if title == column)
            axes.plot(times, -row, mark, color=colour, ms=6, label=column)
    axes.axvline(1, color=MINIMA, lw=2, zorder=1, label="minima")
    handles = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    order = [column for column in ("minima", *COLUMNS) if column in handles]
    figure.legend(
        [handles[column] for column in order], order, loc="outside upper left", ncols=2, frameon=False, fontsize=9,
        labelcolor=TEXT,
    )  # fmt: skip
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 30 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.minorticks_off()
    axes.set_yticks([-row for row in range(len(SHOWN))], SHOWN, fontsize=9)
    axes.set_ylim(-len(SHOWN) + 0.4, 0.6)
    axes.set_xlabel("time of a step, as a multiple of minima's", color=TEXT, fontsize=9)
    axes.tick_params(which="both", colors=TEXT, labelsize=9, length=0)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(LINE)
    return figure
