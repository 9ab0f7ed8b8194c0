"""How long an optimizer's step takes: minima beside PyTorch, optax, NumPy, a loop in C, and what memory allows.

    python benchmarks/step.py                                    # everything, some minutes
    python benchmarks/step.py --further                          # rules that look further than one element
    python benchmarks/step.py --further --quick                  # a look at them; 4 blocks of GPT-2 in place of all
    python benchmarks/step.py --quick --workload small           # a look; without GPT-2 unless named
    python benchmarks/step.py --algorithm adam --peer torch-fused --peer ceiling --plot adam.png
    python benchmarks/step.py --workload many --peer minima-jax --peer optax    # how long they compile: compiling.py

All peers of one workload and one algorithm live in one process and take turns (see timing.py); what is compared is
the median of a whole step, with gradients that are already there: ``optimizer.step()``, or what stands for it.
Before its first turn every peer takes three steps, which must be the textbook's (see peers.py); where a rule looks
further than one element, on a few small tensors.
"""

import argparse
import sys
from dataclasses import dataclass
from typing import Any

import report
from rich.console import Console

from minima.bench.algorithms import ALGORITHMS
from minima.bench.further import FURTHER
from minima.bench.machine import describe
from minima.bench.measuring import CEILING, KNOWN, TITLES, Results, begin, compare
from minima.bench.tables import record, section
from minima.bench.workloads import WORKLOADS, Workload
from minima.explain.terminal import render


@dataclass(frozen=True)
class Target:
    """How fast minima has to be: a ratio of its time to a peer's."""

    workload: str
    algorithm: str
    peer: str
    limit: float
    contender: str = "minima"


TARGETS = [
    Target("small", "adam", "c", 3.0),
    Target("many", "adam", "c", 2.0),
    Target("single", "adam", "c", 1.3),
    Target("medium", "adam", "c", 1.15),
    Target("gpt2", "adam", "c", 1.05),
    Target("vector", "adam", "c", 1.05),
    Target("huge", "sgd", "c", 1.15),
    Target("small", "adam", "torch-fused", 0.2),
    Target("small", "adam", "torch", 0.06),
    Target("many", "adam", "torch-fused", 0.15),
    Target("many", "rmsprop", "torch", 0.05),
    Target("medium", "adam", "torch-fused", 0.95),
    Target("gpt2", "adam", "torch-fused", 1.05),
    Target("gpt2", "adam", CEILING, 1.15),
    Target("gpt2", "rmsprop", "torch", 0.3),
    Target("gpt2", "lion", CEILING, 1.15),
    Target("vector", "adam", "torch-fused", 1.05),
    Target("vector", "adam", CEILING, 1.15),
    Target("vector", "rmsprop", "torch", 0.15),
    Target("vector", "lion", CEILING, 1.15),
    Target("vector", "adam", "torch-fused", 0.85, contender="bfloat16"),
    Target("vector", "adam", "torch-fused", 1.5, contender="int8"),
    Target("small", "adam", "torch-fused", 0.35, contender="minima-torch"),
    Target("many", "adam", "torch-fused", 0.35, contender="minima-torch"),
    Target("gpt2", "adam", "torch-fused", 1.05, contender="minima-torch"),
    Target("small", "rmsprop", "torch", 0.15, contender="minima-torch"),
    Target("many", "rmsprop", "torch", 0.15, contender="minima-torch"),
    Target("vector", "rmsprop", "torch", 0.15, contender="minima-torch"),
    Target("small", "lamb", "pytorch-optimizer", 0.07),
    Target("small", "lamb", "adam", 1.9),
    Target("many", "lamb", "pytorch-optimizer", 0.07),
    Target("many", "lamb", "adam", 1.9),
    Target("vector", "lamb", CEILING, 1.15),
    Target("gpt2", "lamb", CEILING, 1.15),
    Target("gpt2", "lamb", "pytorch-optimizer", 0.45),
    Target("gpt2", "novograd", CEILING, 1.15),
    Target("gpt2", "stableadamw", CEILING, 1.15),
    Target("gpt2", "cautious", CEILING, 1.15),
    Target("gpt2", "adafactor", CEILING, 1.3),
    Target("gpt2", "adafactor", "torch", 0.2),
    Target("gpt2", "prodigy", CEILING, 1.2),
    Target("gpt2", "prodigy", "prodigyopt", 0.3),
    Target("gpt2", "averaged", CEILING, 1.1),
    Target("gpt2", "averaged", "torch-one-by-one", 0.7),
    Target("matrices", "muon", CEILING, 1.1),
    Target("matrices", "muon", "torch", 1.0, contender="minima-torch"),
    *(
        Target(workload, algorithm, "optax", limit, contender="minima-jax")
        for workload, limit in (("small", 1.1), ("many", 1.05), ("gpt2", 1.05))
        for algorithm in ("adam", "momentum", "rmsprop")
    ),
    Target("small", "lion", "torch-hand", 0.2, contender="minima-torch"),
    Target("many", "lion", "torch-hand", 0.2, contender="minima-torch"),
    Target("vector", "lion", "torch-hand", 0.2, contender="minima-torch"),
]


def main() -> int:
    """Measure, print, write; the exit status."""
    options = _options()
    console = report.terminal()
    names, results = begin(options.algorithm, options.peer or ())
    machine = describe()  # before the first measurement: its load is not ours yet
    report.head(console, machine)

    def seconds(place: Workload) -> float:
        return (options.seconds or place.seconds) / (5 if options.quick else 1)

    def show(workload: str) -> None:
        if found := section(workload, options.algorithm, results):
            console.print(render(found))

    with report.bars(console) as progress:
        task = progress.add_task("", total=1.0)

        def shown(share: float, doing: str) -> None:
            progress.update(task, completed=share, description=doing)

        is_whole = compare(
            options.workload,
            options.algorithm,
            names,
            results,
            seconds=seconds,
            asked=bool(options.peer),
            progress=shown,
            show=show,
        )
    if not is_whole:
        console.print("Stopped; what was measured is shown.")
    show_targets(console, results)
    report.write(console, record(machine, results) | {"targets": met(results)}, options.json, options.plot)
    return int(bool(results.errors)) if is_whole else 130


def show_targets(console: Console, results: Results) -> None:
    """The table of targets, as far as they were measured."""
    lines = report.table()
    for title in ("workload", "algorithm", "contender", "against"):
        lines.add_column(title, no_wrap=True)
    for title in ("ratio", "at most", ""):
        lines.add_column(title, justify="right", no_wrap=True)
    for target in TARGETS:
        ratio = results.ratio(target.workload, target.algorithm, target.peer, target.contender)
        if ratio is not None:
            lines.add_row(
                WORKLOADS[target.workload].title,
                KNOWN[target.algorithm].title,
                TITLES[target.contender],
                TITLES[target.peer],
                f"{ratio:.3f}",
                f"{target.limit:g}",
                report.verdict(ratio, target.limit),
            )
    if lines.row_count:
        console.print("[bold]Targets[/]")
        console.print(lines)


def met(results: Results) -> list[dict[str, Any]]:
    """The targets that were measured, for the file."""
    return [
        {**vars(target), "ratio": ratio, "met": ratio <= target.limit}
        for target in TARGETS
        if (ratio := results.ratio(target.workload, target.algorithm, target.peer, target.contender)) is not None
    ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = {"workload": "all but what is huge", "algorithm": f"{', '.join(ALGORITHMS)}", "peer": "all"}
    for name, choices in (("workload", WORKLOADS), ("algorithm", KNOWN), ("peer", TITLES)):
        text = f"one of {', '.join(choices)}; may be given several times (default: {usual[name]})"
        parser.add_argument(f"--{name}", action="append", choices=list(choices), metavar=name.upper(), help=text)
    parser.add_argument(
        "--further", action="store_true", help=f"by default, the rules that look further: {', '.join(FURTHER)}"
    )
    report.add_options(parser, "step")
    options = parser.parse_args()
    if options.further:
        workloads = ["small", "many", *(("blocks", "block") if options.quick else ("vector", "gpt2", "matrices"))]
    else:
        left_out = {"huge", "blocks", "matrices", "block"} | ({"gpt2"} if options.quick else set())
        workloads = [name for name in WORKLOADS if name not in left_out]
    options.workload = list(dict.fromkeys(options.workload or workloads))
    options.algorithm = list(dict.fromkeys(options.algorithm or (FURTHER if options.further else ALGORITHMS)))
    return options


if __name__ == "__main__":
    sys.exit(main())
