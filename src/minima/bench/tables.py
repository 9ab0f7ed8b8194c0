"""What was measured, as tables to read and as numbers for a file."""

import time
from collections.abc import Sequence
from typing import Any

from minima.bench.measuring import CEILING, KNOWN, TITLES, Results, takes
from minima.bench.peers import PEERS
from minima.bench.timing import Timing
from minima.bench.traffic import moved
from minima.bench.workloads import WORKLOADS
from minima.explain.page import Section, Table

__all__ = ["duration", "record", "section"]


def section(workload: str, algorithms: Sequence[str], results: Results) -> Section | None:
    """The table of a workload: for each peer the time of a step, and how many times as long as minima's it is."""
    place = WORKLOADS[workload]
    algorithms = [algorithm for algorithm in algorithms if takes(workload, algorithm)]
    rows: list[tuple[str, ...]] = []
    for name, title in TITLES.items():
        cells = [cell for algorithm in algorithms for cell in _cells(workload, algorithm, name, results)]
        if any(cells):
            rows.append((title, *cells))
    if not rows:
        return None
    if place.is_streamed:
        speeds = [_speed(workload, algorithm, results) for algorithm in algorithms]
        if any(speeds):
            rows.append(("", *(cell for speed in speeds for cell in (speed, ""))))
    header = ("", *(cell for algorithm in algorithms for cell in (KNOWN[algorithm].title, "")))
    return Section(str(place), [Table(header, rows, range(1, len(header)))])


def _cells(workload: str, algorithm: str, name: str, results: Results) -> tuple[str, str]:
    timing = results.timings.get((workload, algorithm, name))
    if timing is None:
        return "", ""
    ratio = results.ratio(workload, algorithm, name)
    return duration(timing.seconds), f"{_digits(1 / ratio)}x" if ratio is not None and name != "minima" else ""


def _speed(workload: str, algorithm: str, results: Results) -> str:
    timing = results.timings.get((workload, algorithm, CEILING))
    rate = _rate(workload, algorithm, timing) if timing else None
    return f"{rate:.1f} GB/s" if rate else ""


def _rate(workload: str, algorithm: str, timing: Timing) -> float | None:
    """The gigabytes that the passes of a step moved in a second; None where matrices are multiplied between them."""
    place = WORKLOADS[workload]
    each = moved(KNOWN[algorithm], place.shapes) if KNOWN[algorithm].looks_at != "matrix" else None
    return place.size * each / timing.seconds / 1e9 if each else None


def record(machine: dict[str, Any], results: Results) -> dict[str, Any]:
    """All numbers, for a file."""
    measured = [
        {
            "workload": WORKLOADS[workload].title,
            "algorithm": KNOWN[algorithm].title,
            "peer": PEERS[name].title if name in PEERS else name,
            "minima / peer": results.ratio(workload, algorithm, name),
            "GB/s": _rate(workload, algorithm, timing),
            **timing.record(),
        }
        for (workload, algorithm, name), timing in results.timings.items()
    ]
    return {
        "benchmark": "step",
        "date": time.strftime("%Y-%m-%d %H:%M:%S%z"),
        "machine": machine,
        "notes": [*results.notes, *results.errors],
        "measured": measured,
    }


def duration(seconds: float) -> str:
    """A time with three digits and its unit."""
    unit, factor = ("s", 1.0) if seconds >= 1 else ("ms", 1e3) if seconds >= 1e-3 else ("µs", 1e6)
    return f"{_digits(seconds * factor)} {unit}"


def _digits(value: float) -> str:
    return f"{value:.{max(0, 3 - len(str(int(value))))}f}"
