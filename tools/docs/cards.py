"""The report cards of the optimizers: what each keeps and moves, how long its steps take, and how far it comes.

What is measured is read from the files that benchmarks/family.py and benchmarks/quality.py write. What is not on record
there is left out; state and bytes are known of every rule.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf, isfinite
from pathlib import Path
from statistics import mean, median
from typing import Any

import matplotlib.pyplot as plt
from drawn import LINE, SCHEMES, TEXT, save
from matplotlib.ticker import FuncFormatter, LogLocator

from minima import optim

FOLDER = Path(__file__).parents[2] / "benchmarks" / "results"
COLOUR, OTHERS = "#3f7fd9", 0.55
"""Of the optimizer whose card it is; how faint the others are."""
FLOOR = 1e-6
"""The lowest loss that a picture tells from 0."""
LARGE = "large"
"""The workload of a size at which memory decides."""
HONEST = (
    "These problems take about a second each. They show failures, the effect of noise, and how far the default "
    "learning rate is from a good one. They do not show which optimizer is best for a large network."
)


@dataclass(frozen=True)
class Results:
    """What is on record."""

    family: Mapping[str, Any] = field(default_factory=dict[str, Any])
    quality: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def problems(self) -> Mapping[str, Any]:
        """What was trained, by name."""
        return self.quality.get("problems", {})

    def trained(self, name: str, problem: str) -> Mapping[str, Any]:
        """What one optimizer did; empty where it was not trained, or could not be."""
        found = self.quality.get("rules", {}).get(name, {}).get(problem, {})
        return found if "final" in found else {}

    def timed(self, name: str) -> list[tuple[str, Mapping[str, Any]]]:
        """The workloads on which one optimizer was timed, with what came out."""
        found = self.family.get("rules", {}).get(name, {}).get("workloads", {})
        return [(place, it) for place, it in found.items() if "seconds" in it]

    def losses(self, problem: str) -> dict[str, float]:
        """The final loss of each optimizer that was trained: the median over seeds; infinite if it diverged."""
        return self._medians(problem, "final")

    def gradients(self, problem: str) -> dict[str, float]:
        """The gradients to the target, likewise; infinite if it was not reached."""
        return self._medians(problem, "gradients")

    def _medians(self, problem: str, key: str) -> dict[str, float]:
        names = [name for name in self.quality.get("rules", {}) if self.trained(name, problem)]
        return {name: _median(self.trained(name, problem)[key]) for name in names}

    def place(self, name: str, problem: str) -> int:
        """The place of an optimizer by its loss, from 1; those with the same loss share it."""
        losses = self.losses(problem)
        return 1 + sum(loss < losses[name] for loss in losses.values())

    def mean_place(self, name: str) -> float | None:
        """The mean over all problems; None where one of them is missing."""
        if not self.problems or not all(self.trained(name, problem) for problem in self.problems):
            return None
        return mean(self.place(name, problem) for problem in self.problems)


def read(folder: Path = FOLDER) -> Results:
    """What is on record in a folder; nothing where a file is missing."""
    return Results(_content(folder / "family.json"), _content(folder / "quality.json"))


def _content(path: Path) -> dict[str, Any]:
    if not path.exists():
        return {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise SystemExit(f"docs: {path.name} cannot be read: {error}") from None
    if not isinstance(content, dict) or content.get("benchmark") != path.stem:
        raise SystemExit(f"docs: {path.name} does not hold the results of benchmarks/{path.stem}.py")
    return content


def _median(values: list[float | None]) -> float:
    return median(inf if value is None else value for value in values)


# Words ---------------------------------------------------------------------------------------------------------------


def card(cls: type[optim.Optimizer], results: Results) -> str:
    """The card of an optimizer, as far as something is known; of one without a rule, how it trains."""
    name, parts = cls.__name__, []
    if cls.rule is not None:
        explained = cls.explain()
        parts.append(
            f"In float32, the state takes {sum(explained.state.values()):.3g} bytes per parameter, and a step reads "
            f"and writes {explained.bytes_moved:.3g}."
        )
    if timed := results.timed(name):
        rows = [
            "| Parameters | Step | Relative to memory | Fastest other library | Relative to it |",
            "| --- | ---: | ---: | --- | ---: |",
        ]
        rows += [f"| {found['title']} | {' | '.join(_times(found))} |" for _, found in timed]
        parts += [
            "The time of a step; the same relative to the time that memory needs to move these bytes, and relative to "
            "the fastest call of another library that takes the same steps:",
            "\n".join(rows),
            _where(results.family, results.family["rules"][name]),
        ]
    if any(results.trained(name, problem) for problem in results.problems):
        parts += [
            "Results on small problems, each with the best learning rate of a search "
            f"([details](../benchmarks.md#the-whole-family)). {HONEST}",
            _trained(name, results),
            picture(f"Final losses of {name} and of all others", f"{name.lower()}-card", ".dense "),
        ]
    return "\n\n".join(parts)


def _times(found: Mapping[str, Any]) -> list[str]:
    ceiling, peer = found.get("ceiling"), found.get("peer")
    return [
        duration(found["seconds"]),
        f"{ceiling['ratio']:.2f}" if ceiling else "",
        f"{peer['title']}: `{peer['theirs']}`" if peer else "",
        f"{peer['ratio']:.2f}" if peer else "",
    ]


def _where(content: Mapping[str, Any], entry: Mapping[str, Any]) -> str:
    machine = content["machine"]
    commit = f", commit {entry['commit']}" if entry.get("commit") else ""
    return f"Measured on {machine['cpu']}, {machine['cores']} cores, on {entry['date'][:10]}{commit}."


def _trained(name: str, results: Results) -> str:
    rows = [
        "| Problem | Final loss | Rank | Learning rate | Gradients to the target |",
        "| --- | ---: | ---: | ---: | ---: |",
    ]
    for key, problem in results.problems.items():
        if found := results.trained(name, key):
            finals = sorted(inf if it is None else it for it in found["final"])
            spread = f" ({_loss(finals[0])} to {_loss(finals[-1])})" if len(finals) > 1 and isfinite(finals[-1]) else ""
            reached = results.gradients(key)[name]
            lr = (
                ""
                if found["lr"] is None
                else f"{found['lr']:.2g}" + (", edge of the grid" if found["at_the_edge"] else "")
            )
            rows.append(
                f"| {problem['title']} | {_loss(median(finals))}{spread} "
                f"| {results.place(name, key)} of {len(results.losses(key))} | {lr} "
                f"| {f'{reached:g}' if isfinite(reached) else 'not reached'} (target {problem['target']:g}) |"
            )
    return "\n".join(rows)


def _loss(value: float) -> str:
    return f"{value:.3g}" if isfinite(value) else "diverged"


def duration(seconds: float) -> str:
    """A time with three digits and its unit."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{float(f'{seconds * factor:.3g}'):g} {unit}"


def overview(names: list[str], results: Results) -> str:
    """The table of all optimizers, and the picture if there is something to draw."""
    timed = {name: dict(results.timed(name)).get(LARGE, {}) for name in names}
    places = {name: place for name in names if (place := results.mean_place(name)) is not None}
    heads, lines = ["Optimizer", "State", "Moved"], ["---", "---:", "---:"]
    if any(timed.values()):
        heads += ["Step", "Relative to memory", "Relative to the fastest other library"]
        lines += ["---:", "---:", "---:"]
    if places:
        heads, lines = [*heads, "Mean rank"], [*lines, "---:"]
    rows = [heads, lines]
    for name in names:
        explained = getattr(optim, name).explain()
        row = [f"[{name}]({name.lower()}.md#report-card)"]
        row += [f"{sum(explained.state.values()):.3g}", f"{explained.bytes_moved:.3g}"]
        if any(timed.values()):
            row += _brief(timed[name]) if timed[name] else ["", "", ""]
        if places:
            row.append(f"{places[name]:.1f}" if name in places else "")
        rows.append(row)
    parts = [
        "*State*: bytes of state per parameter in float32. *Moved*: bytes that a step reads and writes per parameter."
        + _more(timed, places)
    ]
    parts.append("\n".join(f"| {' | '.join(row)} |" for row in rows))
    if places:
        said = "; ".join(f"**{problem['title']}**: {problem['said']}" for problem in results.problems.values())
        parts += [
            picture("Final losses of all optimizers on small problems", "cards", ".dense "),
            f"Final losses, with the best mean rank on top; × means diverged. {said}. {HONEST}",
        ]
    return "\n\n".join(parts) + "\n"


def _more(timed: Mapping[str, Any], places: Mapping[str, float]) -> str:
    words = ""
    if titles := dict.fromkeys(found["title"] for found in timed.values() if found):
        words += f" *Step*: the time of a step of {next(iter(titles))}"
        words += f" (or of {', '.join(list(titles)[1:])}, where noted)" if len(titles) > 1 else ""
        words += ", also relative to memory and to the fastest other library."
    if places:
        words += " *Mean rank*: the mean rank by final loss on small problems, with searched learning rates."
    return words


def _brief(found: Mapping[str, Any]) -> list[str]:
    usual = found["title"] == "GPT-2 small"
    took, ceiling, _, ratio = _times(found)
    peer = found.get("peer")
    return [took if usual else f"{took}, {found['title']}", ceiling, f"{ratio} {peer['title']}" if peer else ""]


def picture(alt: str, stem: str, more: str = "") -> str:
    """A picture in two schemes, on a page of an optimizer; ``more`` is its class."""
    return enlarged(alt, stem, "../", more)


def enlarged(alt: str, stem: str, up: str, more: str = "") -> str:
    """A picture in two schemes, each a link to itself at the size of the window; ``up`` leads to the root."""
    places = {scheme: f"{up}generated/{stem}-{scheme}.svg" for scheme in SCHEMES}
    images = [
        f"  [![{alt}]({place}#only-{scheme}){{ width=720 {more}}}]({place}){{ .only-{scheme} }}"
        for scheme, place in places.items()
    ]
    return "\n".join(['<figure markdown="span">', *images, "</figure>"])


# Pictures ------------------------------------------------------------------------------------------------------------


def draw(folder: Path, names: list[str], results: Results) -> None:
    """Write NAME-card-light.svg and NAME-card-dark.svg for each optimizer that was trained, and `cards-` of all."""
    for name in names:
        if any(results.trained(name, problem) for problem in results.problems):
            save(_card(name, results), folder, f"{name.lower()}-card")
    ranked = [name for name in names if results.mean_place(name) is not None]
    if ranked:
        save(_ranking(ranked, results), folder, "cards")


def _card(name: str, results: Results) -> Any:
    """A row for each problem: the losses of all, and the gradients that they took; a stroke is an optimizer."""
    figure, panels = plt.subplots(
        len(results.problems), 2, figsize=(8, 0.95 * len(results.problems) + 0.5), squeeze=False, layout="constrained"
    )
    for row, (key, problem) in zip(panels, results.problems.items(), strict=True):
        for axes, values, title in (
            (row[0], results.losses(key), f"{problem['title']}: final loss"),
            (row[1], results.gradients(key), f"gradients to a loss of {problem['target']:g}"),
        ):
            seen = {each: max(value, FLOOR) for each, value in values.items() if isfinite(value)}
            others = [value for each, value in seen.items() if each != name]
            axes.plot(others, [0] * len(others), "|", color=LINE, ms=15, mew=1.6, alpha=OTHERS)
            if name in seen:
                axes.plot(seen[name], 0, "o", color=COLOUR, ms=9, zorder=3)
            if seen:
                first = min(seen, key=seen.__getitem__)
                axes.annotate(
                    first, (seen[first], 0), (0, 11), textcoords="offset points", ha="left", fontsize=8,
                    color=COLOUR if first == name else TEXT,
                )  # fmt: skip
            _dress(axes, title)
            if name in values and name not in seen:
                axes.set_title("diverged" if axes is row[0] else "not reached", color=COLOUR, fontsize=9, loc="right")
    return figure


def _ranking(names: list[str], results: Results) -> Any:
    """A line for each optimizer, the best mean place on top; a panel for each problem, with the losses in the end."""
    order = sorted(names, key=lambda name: results.mean_place(name) or inf)
    figure, panels = plt.subplots(
        1, len(results.problems), figsize=(9, 0.24 * len(order) + 1), squeeze=False, sharey=True, layout="constrained"
    )
    for axes, (key, problem) in zip(panels[0], results.problems.items(), strict=True):
        losses = results.losses(key)
        axes.hlines([-height for height in range(len(order))], 0, 1, LINE, lw=0.5, alpha=0.4, zorder=0,
                    transform=axes.get_yaxis_transform())  # fmt: skip
        for height, name in enumerate(order):
            if isfinite(losses[name]):
                axes.plot(max(losses[name], FLOOR), -height, "o", color=COLOUR, ms=5)
            else:
                axes.annotate(
                    "×", (1, -height), xycoords=("axes fraction", "data"), ha="right", va="center", color=TEXT
                )  # fmt: skip
        _dress(axes, problem["title"])
        axes.set_yticks([-height for height in range(len(order))], order, fontsize=8)
        axes.set_ylim(-len(order) + 0.4, 0.6)
    return figure


def _dress(axes: Any, title: str) -> None:
    axes.set_title(title, color=TEXT, fontsize=9, loc="left")
    axes.set_xscale("log")
    low, high = axes.get_xlim()
    axes.xaxis.set_major_locator(LogLocator(subs=(1,) if high / low > 30 else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.minorticks_off()  # there are hundreds of them over many decades
    axes.set_yticks([])
    axes.tick_params(which="both", colors=TEXT, labelsize=7, left=False)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.spines["bottom"].set_color(TEXT)
