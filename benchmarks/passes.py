"""What the passes of rules that look further move, and what it costs to find and to compile them.

For each rule the passes over memory and the bytes that they move for an element of a large matrix, beside the fewest
that any implementation has to move; how long the search for the passes takes; and the first step of one matrix of
64 x 64 in a fresh process, in which LLVM is loaded and the kernel is compiled. Processes of all rules take turns.
Run: python benchmarks/passes.py
"""

import argparse
import sys
from collections.abc import Callable
from dataclasses import replace
from statistics import median
from subprocess import run
from time import perf_counter

import report

from minima.bench.algorithms import ALGORITHMS
from minima.bench.further import FURTHER
from minima.bench.tables import duration
from minima.bench.traffic import moved, passes, search

SHAPE = (1024, 1024)
SEARCHES = 21
LIMIT = 0.15
"""Seconds of LAMB's first step."""
RULES = {"adam": replace(ALGORITHMS["adam"], fewest=28)} | FURTHER

FIRST = """
import sys, time
import numpy as np
from minima import Tensor
from minima.bench.measuring import KNOWN
kind, settings = KNOWN[{name!r}].minima
param = Tensor(np.ones((64, 64), np.float32), requires_grad=True)
param.grad = Tensor(np.full((64, 64), 0.1, np.float32))
optimizer = kind([param], **settings)
start = time.perf_counter()
optimizer.step()
print(time.perf_counter() - start)
"""


def first_step(name: str) -> float:
    """Seconds of the first step, in a process of its own."""
    code = FIRST.format(name=name)
    return float(run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def seconds(call: Callable[[], object]) -> float:
    start = perf_counter()
    call()
    return perf_counter() - start


def main() -> int:
    """Measure and print; the exit status is 1 if bytes are moved that need not be."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--samples", type=int, default=5, help="how many processes each rule is timed in (default: 5)")
    options = parser.parse_args()
    console = report.terminal()
    first: dict[str, list[float]] = {name: [] for name in RULES}
    for _ in range(options.samples):
        for name, taken in first.items():
            taken.append(first_step(name))
    lines = report.table()
    for title in ("rule", "passes", "bytes", "fewest", "search", "first step"):
        lines.add_column(title, justify="left" if title == "rule" else "right", no_wrap=True)
    more = False
    for name, algorithm in RULES.items():
        cut, each = passes(algorithm, [SHAPE]), moved(algorithm, [SHAPE])
        more |= each is not None and each > algorithm.fewest
        again = search(algorithm, [SHAPE])
        taken = duration(median(seconds(again) for _ in range(SEARCHES))) if cut else ""
        there = (str(len(cut.traffic)), f"{each:g}", f"{algorithm.fewest:g}") if cut else ("", "", "")
        lines.add_row(algorithm.title, *there, taken, duration(median(first[name])))
    console.print(f"[bold]Passes[/]  (medians of {options.samples} processes and of {SEARCHES} searches)")
    console.print(lines)
    lamb = median(first["lamb"])
    console.print(f"First step of LAMB: {lamb:.3f} s, at most {LIMIT:g}: {report.verdict(lamb, LIMIT)}")
    return int(more)


if __name__ == "__main__":
    sys.exit(main())
