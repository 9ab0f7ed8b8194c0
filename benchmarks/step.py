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
import gc
import sys
from dataclasses import dataclass, field
from typing import Any

import report
from algorithms import ALGORITHMS, Algorithm
from ceiling import ceilings
from further import FURTHER
from machine import available_memory, describe, library
from peers import PEERS, Stepper, build, sample, wrong
from rich.console import Console
from timing import Timing, race, repeated
from traffic import moved
from workloads import WORKLOADS, Workload, gradients

CEILING = "ceiling"
RULES = ALGORITHMS | FURTHER
RESERVE = 2 << 30
"""Bytes of memory that a peer must leave free, for the temporary arrays of the others."""


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


@dataclass
class Results:
    """What was measured so far."""

    timings: dict[tuple[str, str, str], Timing] = field(default_factory=dict[tuple[str, str, str], Timing])
    """By workload, algorithm and peer."""
    notes: dict[str, None] = field(default_factory=dict[str, None])
    """What was left out, each once."""
    errors: list[str] = field(default_factory=list[str])
    """Peers that compute something else."""

    def ratio(self, workload: str, algorithm: str, peer: str, contender: str = "minima") -> float | None:
        """The contender's time in the peer's."""
        mine = self.timings.get((workload, algorithm, contender))
        other = self.timings.get((workload, algorithm, peer))
        return mine.seconds / other.seconds if mine and other else None


def main() -> int:
    """Measure, print, write; the exit status."""
    options = _options()
    console = report.terminal()
    rules = [RULES[algorithm] for algorithm in options.algorithm]
    names = [
        name for name in options.peer or [*PEERS, CEILING] if name == CEILING or any(map(PEERS[name].is_for, rules))
    ]
    results = Results()
    for missing in _missing(names):
        results.notes[f"{missing} is not installed: what needs it is left out (pip install {missing})"] = None
    if any(RULES[algorithm].looks_at == "matrix" for algorithm in options.algorithm) and CEILING in names:
        results.notes["Where matrices are multiplied, the ceiling is the time of the products alone, by NumPy"] = None
    machine = describe()  # before the first measurement: its load is not ours yet
    report.head(console, machine)
    status = 0
    with report.bars(console) as progress:
        pairs = [(workload, algorithm) for workload in options.workload for algorithm in options.algorithm]
        pairs = [(workload, algorithm) for workload, algorithm in pairs if _is_for(workload, algorithm)]
        task = progress.add_task("", total=len(pairs))
        try:
            for number, (workload, algorithm) in enumerate(pairs):
                title = f"{WORKLOADS[workload].title}, {RULES[algorithm].title}"

                def shown(share: float, doing: str = "", title: str = title, number: int = number) -> None:
                    progress.update(task, completed=number + share, description=title + doing)

                measure(workload, algorithm, names, options, results, shown)
                if (workload, algorithm) == [pair for pair in pairs if pair[0] == workload][-1]:
                    show(console, workload, options.algorithm, results)
        except KeyboardInterrupt:
            status = 130
            console.print("Stopped; what was measured is shown.")
            show(console, workload, options.algorithm, results)
    show_targets(console, results)
    report.write(console, record(machine, results), options.json, options.plot)
    return status or int(bool(results.errors))


def measure(
    workload: str, algorithm: str, names: list[str], options: argparse.Namespace, results: Results, progress: Any
) -> None:
    """Race all peers that have this algorithm over the parameters of a workload."""
    place, rule = WORKLOADS[workload], RULES[algorithm]
    grads = gradients(place)
    steppers: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name in names:
        progress(0.0, f"; preparing {name}")
        if name == CEILING:
            has_one = place.is_streamed or rule.looks_at == "matrix"
            if has_one and _fits(place, rule, 1.5, f"{place.title}, {rule.title}: the ceiling", results):
                limits = ceilings(rule, grads)
        elif stepper := _checked(name, place, rule, grads, bool(options.peer), results):
            steppers[name] = stepper.step
    if steppers:
        seconds = (options.seconds or place.seconds) / (5 if options.quick else 1)
        runs = {name: repeated(step) for name, step in (steppers | limits).items()}
        timings = race(runs, seconds, progress=progress)
        if limits:
            timings[CEILING] = min((timings[name] for name in limits), key=lambda timing: timing.seconds)
        results.timings |= {(workload, algorithm, name): timing for name, timing in timings.items()}
    del steppers, limits, grads
    gc.collect()  # gigabytes, before the next ones are made


def _is_for(workload: str, algorithm: str) -> bool:
    """Whether a rule takes all parameters of a workload, and has not only the same to do for its matrices alone."""
    only_matrices = all(len(shape) == 2 for shape in WORKLOADS[workload].shapes)
    return only_matrices if RULES[algorithm].looks_at == "matrix" else workload not in ("matrices", "block")


def _checked(
    name: str, place: Workload, rule: Algorithm, grads: list[Any], asked: bool, results: Results
) -> Stepper | None:
    """A peer, if it is there, has the algorithm, fits into memory, and computes the right thing."""
    peer = PEERS[name]
    large = peer.largest is not None and place.size > peer.largest
    if any(library(needed) is None for needed in peer.needs) or (large and not asked):
        return None
    if not _fits(place, rule, peer.copies, f"{place.title}, {rule.title}: {peer.title}", results):
        return None
    if rule.looks_at != "element":
        samples = sample(rule)
        tried = build(peer, rule, samples)
        if tried is None or not _is_right(tried, name, place, rule, samples, results):
            return None
        return build(peer, rule, grads)
    stepper = build(peer, rule, grads)
    return stepper if stepper and _is_right(stepper, name, place, rule, grads, results) else None


def _is_right(
    stepper: Stepper, name: str, place: Workload, rule: Algorithm, grads: list[Any], results: Results
) -> bool:
    complaint = wrong(stepper, rule, grads)
    if complaint:
        results.errors.append(f"wrong: {place.title}, {rule.title}: {PEERS[name].title} is left out, {complaint}")
    return not complaint


def _fits(place: Workload, rule: Algorithm, copies: float, what: str, results: Results) -> bool:
    needed = int(4 * place.size * (1 + rule.states) * copies)
    fits = available_memory() > needed + (RESERVE if place.is_streamed else 0)
    if not fits:
        results.notes[f"{what} is left out: there is too little memory beside the others"] = None
    return fits


def show(console: Console, workload: str, algorithms: list[str], results: Results) -> None:
    """The table of one workload."""
    place = WORKLOADS[workload]
    algorithms = [algorithm for algorithm in algorithms if _is_for(workload, algorithm)]
    lines = report.table()
    lines.add_column("", no_wrap=True)
    for algorithm in algorithms:
        lines.add_column(RULES[algorithm].title, justify="right", no_wrap=True)
    titles = {name: peer.title for name, peer in PEERS.items()} | {CEILING: "ceiling: memory alone"}
    for name, title in titles.items():
        cells = [_cell(workload, algorithm, name, results) for algorithm in algorithms]
        if any(cells):
            lines.add_row(title, *cells, style="bold" if name == "minima" else None)
    if lines.row_count == 0:
        return
    if place.is_streamed:
        speeds = [_speed(workload, algorithm, results) for algorithm in algorithms]
        if any(speeds):
            lines.add_row("", *speeds, style="dim")
    console.print(f"[bold]{place}[/]  (time of a step; in brackets minima's as a share of it)", soft_wrap=True)
    console.print(lines)


def _cell(workload: str, algorithm: str, name: str, results: Results) -> str:
    timing = results.timings.get((workload, algorithm, name))
    if timing is None:
        return ""
    ratio = results.ratio(workload, algorithm, name)
    return report.duration(timing.seconds) + (f" ({ratio:.2f})" if ratio is not None and name != "minima" else " " * 7)


def _speed(workload: str, algorithm: str, results: Results) -> str:
    timing = results.timings.get((workload, algorithm, CEILING))
    rate = _rate(workload, algorithm, timing) if timing else None
    return f"{rate:.1f} GB/s" + " " * 7 if rate else ""


def _rate(workload: str, algorithm: str, timing: Timing) -> float | None:
    """The gigabytes that the passes of a step moved in a second; None where matrices are multiplied between them."""
    place = WORKLOADS[workload]
    each = moved(RULES[algorithm], place.shapes) if RULES[algorithm].looks_at != "matrix" else None
    return place.size * each / timing.seconds / 1e9 if each else None


def show_targets(console: Console, results: Results) -> None:
    """The table of targets, as far as they were measured."""
    lines = report.table()
    for title in ("workload", "algorithm", "contender", "against"):
        lines.add_column(title, no_wrap=True)
    for title in ("ratio", "at most", ""):
        lines.add_column(title, justify="right", no_wrap=True)
    titles = {name: peer.title for name, peer in PEERS.items()} | {CEILING: "ceiling"}
    for target in TARGETS:
        ratio = results.ratio(target.workload, target.algorithm, target.peer, target.contender)
        if ratio is not None:
            lines.add_row(
                WORKLOADS[target.workload].title,
                RULES[target.algorithm].title,
                titles[target.contender],
                titles[target.peer],
                f"{ratio:.3f}",
                f"{target.limit:g}",
                report.verdict(ratio, target.limit),
            )
    if lines.row_count:
        console.print("[bold]Targets[/]")
        console.print(lines)


def record(machine: dict[str, Any], results: Results) -> dict[str, Any]:
    """All numbers, for the file."""
    measured = [
        {
            "workload": WORKLOADS[workload].title,
            "algorithm": RULES[algorithm].title,
            "peer": PEERS[name].title if name in PEERS else name,
            "minima / peer": results.ratio(workload, algorithm, name),
            "GB/s": _rate(workload, algorithm, timing),
            **timing.record(),
        }
        for (workload, algorithm, name), timing in results.timings.items()
    ]
    targets = [
        {**vars(target), "ratio": ratio, "met": ratio <= target.limit}
        for target in TARGETS
        if (ratio := results.ratio(target.workload, target.algorithm, target.peer, target.contender)) is not None
    ]
    return {
        "benchmark": "step",
        "machine": machine,
        "notes": [*results.notes, *results.errors],
        "targets": targets,
        "measured": measured,
    }


def _missing(names: list[str]) -> list[str]:
    needed = dict.fromkeys(library for name in names if name in PEERS for library in PEERS[name].needs)
    return [name for name in needed if library(name) is None]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    usual = {"workload": "all but what is huge", "algorithm": f"{', '.join(ALGORITHMS)}", "peer": "all"}
    for name, choices in (("workload", WORKLOADS), ("algorithm", RULES), ("peer", (*PEERS, CEILING))):
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
    if options.peer:  # without minima there is nothing to compare with
        options.peer = [name for name in [*PEERS, CEILING] if name in {*options.peer, "minima"}]
    return options


if __name__ == "__main__":
    sys.exit(main())
