"""What the page of the race is made of: the paths as a script with data, and still pictures of each landscape."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from contourpy import FillType, contour_generator
from drawn import LINE, TEXT, save
from race import ASPECT, LANDSCAPES, RATES, RUNNERS, STEPS, Landscape, best, paths

DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
TOP = 4094
"""The largest number of two digits, but for the one that stands for what is lost."""
MARGIN = 0.5
"""How far beyond the window, in widths and heights of it, a point is told from the border."""
DECADES = (-12.0, 8.0)
"""The powers of ten between which heights are kept."""
TALL = 1000
"""The height of the map in the units of its outlines."""
BANDS = 14
GRID = 90
"""The height of the grid on which heights are known."""
MARKERS = {
    "circle": "o",
    "ring": "o",
    "square": "s",
    "triangle": "^",
    "down": "v",
    "diamond": "D",
    "plus": "P",
    "cross": "X",
    "star": "*",
    "left": "<",
    "right": ">",
    "hexagon": "h",
}


def draw(folder: Path) -> None:
    """Write race-data.js, and race-LANDSCAPE-light.svg and -dark.svg for each landscape."""
    (folder / "race-data.js").write_text(f"window.minimaRace = {json.dumps(data(), separators=(',', ':'))};\n")
    for key, place in LANDSCAPES.items():
        save(_still(place), folder, f"race-{key}")


def data() -> dict[str, Any]:
    """All that the script needs. Numbers that it has to share with this file are in here too."""
    return {
        "steps": STEPS,
        "rates": RATES,
        "digits": DIGITS,
        "top": TOP,
        "margin": MARGIN,
        "decades": DECADES,
        "size": [round(ASPECT * TALL), TALL],
        "runners": [
            {"title": it.title, "color": it.color, "marker": it.marker, "page": f"optimizers/{it.name.lower()}.html"}
            for it in RUNNERS
        ],
        "landscapes": {key: _landscape(place) for key, place in LANDSCAPES.items()},
    }


def _landscape(place: Landscape) -> dict[str, Any]:
    titles = [runner.title for runner in RUNNERS]
    points, heights = place.seen(paths(place)), place.at(paths(place))
    with np.errstate(divide="ignore"):
        heights = (np.log10(heights) - DECADES[0]) / (DECADES[1] - DECADES[0])
    return {
        "title": place.title,
        "bands": list(outlines(place)),
        "minima": _pixels(place, np.array(place.minima)).tolist(),
        "lesson": {titles.index(title): RATES.index(rate) for title, rate in place.lesson.items()},
        "best": best(place).tolist(),
        "points": encoded((points + MARGIN) / (1 + 2 * MARGIN)),
        "heights": encoded(heights[..., None]),
    }


def encoded(fractions: np.ndarray) -> list[list[str]]:
    """Numbers from 0 to 1 as two digits each, a string for each runner and rate; the largest says: lost."""
    levels = np.where(np.isfinite(fractions) | (fractions < 0), np.clip(fractions, 0, 1), np.nan) * TOP
    whole = np.nan_to_num(np.rint(levels), nan=TOP + 1).astype(int)
    flat = whole.reshape(*whole.shape[:2], -1)
    return [["".join(DIGITS[it >> 6] + DIGITS[it & 63] for it in row) for row in rows] for rows in flat.tolist()]


def _pixels(place: Landscape, points: np.ndarray) -> np.ndarray:
    """Points in the units of the map, whose origin is at its left top."""
    x, y = np.moveaxis(place.seen(points), -1, 0)
    return np.rint(np.stack([x * ASPECT * TALL, (1 - y) * TALL], axis=-1)).astype(int)


def _grid(place: Landscape) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A grid of points that reaches a little beyond the window, so that no outline shows at its border."""
    u, v = np.meshgrid(np.linspace(-0.02, 1.02, round(ASPECT * GRID)), np.linspace(-0.02, 1.02, GRID))
    x, y = place.corner[0] + u * ASPECT * place.span, place.corner[1] + v * place.span
    return x, y, place.at(np.stack([x, y], axis=-1))


def levels(heights: np.ndarray) -> np.ndarray:
    """Heights between which equal parts of the window lie, and some more of them for its lowest part."""
    return np.quantile(heights, np.linspace(0, 1, BANDS + 1)[1:-1] ** 1.5)


def outlines(place: Landscape) -> Iterator[str]:
    """For each level, from the highest, the part of the map that lies below it, as the path of an SVG."""
    x, y, heights = _grid(place)
    lines = contour_generator(x, y, heights, fill_type=FillType.OuterOffset)
    for level in levels(heights)[::-1]:
        rings: list[str] = []
        for points, offsets in zip(*lines.filled(-np.inf, level), strict=True):
            for begin, end in zip(offsets[:-1], offsets[1:], strict=True):
                ring = _pixels(place, points[begin:end])
                steps = np.diff(ring, axis=0)
                moves = " ".join(f"{dx} {dy}" for dx, dy in steps[steps.any(axis=1)].tolist())
                rings.append(f"M{ring[0, 0]} {ring[0, 1]}l{moves}z" if moves else "")
        yield "".join(rings)


def _still(place: Landscape) -> Any:
    figure, axes = plt.subplots(figsize=(5.6, 5.6 / ASPECT + 0.45), layout="constrained")
    x, y, heights = _grid(place)
    axes.contour(x, y, heights, levels(heights)[::2], colors=LINE, linewidths=0.5, alpha=0.8)
    for order, (title, rate) in enumerate(place.lesson.items()):
        index = [runner.title for runner in RUNNERS].index(title)
        runner, path = RUNNERS[index], paths(place)[index, RATES.index(rate)]
        axes.plot(
            *path.T,
            color=runner.color,
            # The first is the widest, so that where paths coincide each of them shows.
            lw=1.1 + 1.2 * (len(place.lesson) - 1 - order),
            alpha=0.85,
            marker=MARKERS[runner.marker],
            mfc="none" if runner.marker == "ring" else runner.color,
            ms=5,
            mew=1,
            markevery=[*range(2 * order, STEPS, 12), STEPS],
            label=f"{title}, lr {rate:g}",
        )
    axes.plot(*place.start, "o", color=TEXT, ms=4, zorder=3)
    axes.annotate("start", place.start, (-5, 6), textcoords="offset points", color=TEXT, ha="right", size=9)
    axes.plot(*np.array(place.minima, float).T, "*", color=TEXT, ms=8, zorder=3)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 0), ncols=2, fontsize=9, frameon=False, labelcolor=TEXT)
    left, bottom = place.corner
    axes.set(xlim=(left, left + ASPECT * place.span), ylim=(bottom, bottom + place.span), aspect="equal")
    axes.set_axis_off()
    return figure
