#!/usr/bin/env python
"""Measure how far exp, log, powers and cube roots are off, in units in the last place.

    python tools/accuracy.py                       # every number of float32, many of float64; in half an hour
    python tools/accuracy.py cbrt --sample 1000    # one function, 1,000 arguments of float64 from each range

In float32, results are compared with those of NumPy in float64; where these are so close to the middle between two
numbers that they cannot tell which is nearer, mpmath decides. Of powers, pairs are drawn. In float64 mpmath is the
judge. A result that must be infinity, NaN or 0 and is not is off by infinity.
"""

import argparse
import math
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing import Pool
from typing import Any

import mpmath
import numpy as np
from numpy.typing import NDArray

from minima.optim.language.operations import OPERATIONS

NAMES = ("exp", "log", "pow", "cbrt")
NUMPY: dict[str, Any] = {"exp": np.exp, "log": np.log, "pow": np.power, "cbrt": np.cbrt}
EXACT: dict[str, Any] = {"exp": mpmath.exp, "log": mpmath.log, "pow": mpmath.power}
EXACT["cbrt"] = lambda x: mpmath.sign(x) * mpmath.cbrt(abs(x))  # mpmath's own is complex below 0
BITS = 200
"""The precision of mpmath: beyond the 120 or so that decide every rounding of these functions to float64."""
BLOCK = 2**13
"""Arguments at a time, so that what is computed with them stays in a processor's memory."""
PART = 2**23
LAST = 0x7F800000
"""The bits of infinity in float32, behind which there is NaN only."""


@dataclass(frozen=True)
class Found:
    """How far the results of some arguments are off."""

    count: int = 0
    off: float = 0.0
    """The largest error, in units in the last place."""
    at: tuple[float, ...] = ()
    """Where that is."""
    wrong: int = 0
    """How many results are not the nearest number."""

    def __add__(self, other: "Found") -> "Found":
        worse = max(self, other, key=lambda each: each.off)
        return Found(self.count + other.count, worse.off, worse.at, self.wrong + other.wrong)


def singles(name: str, *args: NDArray[np.float32]) -> Found:
    """Results in float32."""
    with np.errstate(all="ignore"):
        exact = NUMPY[name](*(x.astype(np.float64) for x in args))
        nearest = exact.astype(np.float32)
        found = OPERATIONS[name].numpy(*args)
        unit = np.ldexp(1.0, np.maximum(np.frexp(exact)[1] - 24, -149))
        off = np.abs(found - exact) / unit
        is_special = ~np.isfinite(nearest) | ~np.isfinite(found)
        agrees = (found == nearest) | np.isnan(found) & np.isnan(nearest)
        off[is_special] = np.where(agrees, 0.0, math.inf)[is_special]
        size = np.abs(exact) / unit
        doubtful = ~is_special & (np.abs(size - np.floor(size) - 0.5) < 2.0**-26)
    for i in np.flatnonzero(doubtful):
        lower = np.floor(size[i])
        middle, value = mpmath.mpf((lower + 0.5) * unit[i]), abs(_exact(name, *(x[i] for x in args)))
        upwards = value > middle or value == middle and lower % 2
        nearest[i] = math.copysign((lower + bool(upwards)) * unit[i], exact[i])
    wrong = int((found != nearest)[~is_special].sum())
    return _found(args, off, wrong)


def doubles(name: str, *args: NDArray[np.float64]) -> Found:
    """Results in float64."""
    found = OPERATIONS[name].numpy(*args)
    off = np.array([_off(result, _exact(name, *values)) for result, *values in zip(found, *args, strict=True)])
    return _found(args, off, int((off > 0.5).sum()))


def _found(args: tuple[NDArray[Any], ...], off: NDArray[np.float64], wrong: int) -> Found:
    worst = int(np.argmax(off))
    return Found(off.size, float(off[worst]), tuple(float(x[worst]) for x in args), wrong)


def _exact(name: str, *values: Any) -> Any:
    with mpmath.workprec(BITS):
        return EXACT[name](*(mpmath.mpf(float(x)) for x in values))


def _off(result: Any, exact: Any) -> float:
    """The error of a result, in units in the last place."""
    with mpmath.workprec(BITS):
        unit = mpmath.ldexp(1, max(mpmath.frexp(exact)[1] - 53, -1074))
        if math.isinf(result):
            return 0.0 if abs(exact) >= mpmath.ldexp(2**54 - 1, 1024 - 54) else math.inf
        return float(abs(mpmath.mpf(float(result)) - exact) / unit)


def ranges(name: str, draw: np.random.Generator, count: int) -> Iterator[tuple[NDArray[np.float64], ...]]:
    """Arguments of float64: of all magnitudes, and from where functions are hard."""
    positive = draw.integers(1, 0x7FF0 << 48, count).view(np.float64)
    near = draw.uniform(0.5, 2.0, count)
    tiny = draw.uniform(0.0, 2.0**-1021, count)
    very_near = 1 + draw.uniform(-1, 1, count) * 2.0 ** draw.integers(-50, -1, count)
    if name == "exp":
        yield from ((draw.uniform(*ends, count),) for ends in ((-746, 710), (-1, 1), (-745.2, -707)))
        yield (draw.choice([-1, 1], count) * 2.0 ** draw.uniform(-60, 0, count),)
    elif name == "pow":
        for x in (positive, near, tiny, very_near):
            with np.errstate(all="ignore"):  # to results of all magnitudes
                most = np.abs(745 / np.log(x))
                yield x, np.clip(draw.uniform(-1, 1, count) * most, -1e300, 1e300)
                yield x, np.clip(draw.choice([-0.99, 0.95], count) * most, -1e300, 1e300)
        yield draw.uniform(0, 10, count), draw.uniform(-10, 10, count)
        yield draw.integers(1, 100, count).astype(float), draw.integers(-30, 30, count).astype(float)
    else:
        sign = draw.choice([-1, 1], count) if name == "cbrt" else 1
        yield from ((sign * x,) for x in (positive, near, tiny, very_near))


def every_single(name: str, start: int) -> Found:
    """Results of a part of all numbers of float32; of powers, of so many pairs of positive numbers."""
    found = Found()
    draw = np.random.default_rng(start)
    for first in range(start, min(start + PART, LAST + 1), BLOCK):
        words = np.arange(first, min(first + BLOCK, LAST + 1), dtype=np.uint32)
        if name == "pow":
            x = draw.integers(1, LAST, words.size, dtype=np.uint32).view(np.float32)
            with np.errstate(all="ignore"):
                found += singles(name, x, (draw.uniform(-105, 90, x.size) / np.log(x)).astype(np.float32))
        else:
            for sign in (0, 1 << 31):
                found += singles(name, (words | np.uint32(sign)).view(np.float32))
    return found


def some_doubles(name: str, sample: int, seed: int) -> Found:
    """Results of so many arguments of each range."""
    return sum((doubles(name, *args) for args in ranges(name, np.random.default_rng(seed), sample)), Found())


def main() -> None:
    # The tests, which import the rest, do without rich.
    from rich import box
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.table import Table

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="function", help=f"of {', '.join(NAMES)}; default: all")
    parser.add_argument("--sample", type=int, default=100_000, help="arguments of float64, from each range")
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes; default: one a core")
    options = parser.parse_args()
    unknown = set(options.names) - {*NAMES}
    if unknown:
        parser.error(f"no such function: {', '.join(unknown)}")

    console = Console(highlight=False)
    console = console if console.is_terminal else Console(width=120, highlight=False)
    table = Table("function", "precision", box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("arguments", "not the nearest", "largest error (ulp)"):
        table.add_column(title, justify="right")
    table.add_column("where")
    bar = [TextColumn("{task.description:<16}"), BarColumn(), TimeElapsedColumn(), TimeRemainingColumn()]
    shown = Console(stderr=True)
    with Pool(options.jobs) as pool, Progress(*bar, console=shown, transient=True) as progress:
        for name in options.names or NAMES:
            parts = max(1, options.sample // 1000)
            work = {
                "float32": (partial(every_single, name), range(0, LAST + 1, PART)),
                "float64": (partial(some_doubles, name, options.sample // parts), range(parts)),
            }
            for precision, (measure, places) in work.items():
                results = pool.imap_unordered(measure, places)
                found = sum(progress.track(results, len(places), description=f"{name} {precision}"), Found())
                where = ", ".join(map(repr, found.at))
                table.add_row(name, precision, f"{found.count:,}", f"{found.wrong:,}", f"{found.off:.5f}", where)
    console.print(table)


if __name__ == "__main__":
    main()
