"""The job behind ``minima bench``: the step benchmark within a minute, as tables, numbers and a picture."""

import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from minima.bench.machine import busy, describe, sentences
from minima.bench.measuring import begin, compare, takes
from minima.bench.tables import record, section
from minima.bench.workloads import Workload
from minima.errors import sentence
from minima.explain.terminal import show

__all__ = ["USUAL", "Choice", "run"]


@dataclass(frozen=True)
class Choice:
    """Who takes part."""

    workloads: tuple[str, ...]
    algorithms: tuple[str, ...]
    peers: tuple[str, ...]


USUAL = Choice(
    ("small", "many", "medium", "vector"),
    ("adam", "rmsprop", "lion"),
    ("minima-torch", "minima-jax", "c", "torch-fused", "torch", "torch-hand", "optax", "numpy", "ceiling"),
)
"""By default: what a minute is enough for. ``minima`` itself always takes part."""
MEASURED = 0.5
"""The share of the time that is left for a race in which it measures; the rest is to build and to check the peers."""
SHORTEST = 0.2
"""Seconds that a race takes however little time is left: fewer samples tell nothing."""


def run(
    *,
    workloads: Sequence[str],
    algorithms: Sequence[str],
    peers: Sequence[str],
    seconds: float,
    asked: bool,
    numbers: str | None,
    plot: Path | None,
) -> int:
    """Measure, print, write and draw.

    Args:
        workloads: Names of `WORKLOADS`.
        algorithms: Names of `KNOWN`.
        peers: Names of `PEERS`, or ``"ceiling"``; ``minima`` comes by itself.
        seconds: How long all of it takes, roughly.
        asked: Whether the peers were asked for by name.
        numbers: The file for the numbers.
        plot: The file for the picture.

    Returns:
        The exit status: 1 where a peer computed something else, 2 where nothing can be measured, 130 after an
        interrupt.
    """
    who = "minima bench"
    workloads, algorithms = list(dict.fromkeys(workloads)), list(dict.fromkeys(algorithms))
    left = sum(takes(workload, algorithm) for workload in workloads for algorithm in algorithms)
    if not left:
        rule = f"{', '.join(algorithms)} takes no parameters of {', '.join(workloads)}"
        print(sentence(who, rule, hint="muon takes matrices and block, the others all else"), file=sys.stderr)
        return 2
    if numbers and (complaint := _unwritable(numbers)):
        print(sentence(who, f"cannot write --json {numbers}: {complaint}"), file=sys.stderr)
        return 2
    names, results = begin(algorithms, peers)
    machine = describe()
    begun = time.monotonic()  # the libraries are loaded
    print(*sentences(machine), *busy(machine), sep="\n")
    print("Time of a step; behind it, how many times as long as minima's.", flush=True)

    def share(place: Workload) -> float:
        nonlocal left
        rest = begun + seconds - time.monotonic()
        left -= 1
        return min(place.seconds, max(SHORTEST, MEASURED * rest / (left + 1))) if rest > 0 else 0.0

    def table(workload: str) -> None:
        _status("")
        if found := section(workload, algorithms, results):
            print()
            show(found)
            sys.stdout.flush()

    def progress(done: float, doing: str) -> None:
        _status(f"{done:4.0%}  {doing}")

    is_whole = compare(workloads, algorithms, names, results, seconds=share, asked=asked, progress=progress, show=table)
    _status("")
    content = record(machine, results)
    if content["notes"]:
        print("", *content["notes"], sep="\n")
    if numbers:
        Path(numbers).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
        print(f"Numbers written to {numbers}")
    if plot and content["measured"]:
        from minima.bench.picture import draw  # loads Matplotlib

        draw(content, plot)
        print(f"Picture drawn in {plot}")
    if not is_whole:
        print(f"{who}: stopped; what was measured is shown", file=sys.stderr)
        return 130
    return int(bool(results.errors))


def _status(text: str) -> None:
    """A line of a terminal that the next one takes the place of."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text[:78]}", end="", file=sys.stderr, flush=True)


def _unwritable(path: str) -> str:
    try:
        with open(path, "ab"):
            return ""
    except OSError as error:
        return error.strerror or str(error)
