"""How long a whole training step takes: forward, loss, backward, optimizer, zero_grad; minima beside PyTorch and NumPy.

    python benchmarks/train.py                                # half a minute
    python benchmarks/train.py --network small --seconds 5 --plot train.png

All trainers of a network live in one process and take turns (see timing.py); medians are compared. Before it is
measured, every trainer takes five steps at a learning rate that moves the loss: from the same weights and on the same
data it must find the same losses. The memory is what forward and backward take at their peak, beyond what the network
and its optimizer hold.
"""

import argparse
import sys
from typing import Any

import numpy as np
import report
from memory import peak, peak_in_torch
from networks import NETWORKS, TRAINERS, Step
from rich.console import Console

from minima.bench.machine import describe, library
from minima.bench.tables import duration
from minima.bench.timing import Timing, race

CHECKED = 5
"""Steps of training whose losses have to agree."""
LR = 1e-4
"""Of these."""
RESTING = 1e-7
"""The learning rate while time is measured. The network shall not learn its one batch by heart in ten thousand steps:
where gradients become zero, averages of them become denormal numbers, with which processors are many times slower."""

Timings = dict[tuple[str, str], Timing]
Peaks = dict[tuple[str, str], int]


def main() -> int:
    """Measure, print, write; the exit status."""
    options = _options()
    console = report.terminal()
    names = [name for name in options.trainer if all(map(library, TRAINERS[name].needs))]
    absent = {needed: None for name in options.trainer for needed in TRAINERS[name].needs if library(needed) is None}
    notes = [f"{name} is not installed: what needs it is left out (pip install {name})" for name in absent]
    machine = describe()  # before the first measurement: its load is not ours yet
    report.head(console, machine)
    timings: Timings = {}
    peaks: Peaks = {}
    errors: list[str] = []
    status = 0
    with report.bars(console) as progress:
        task = progress.add_task("", total=len(options.network))
        try:
            for number, network in enumerate(options.network):

                def shown(share: float, number: int = number, title: str = NETWORKS[network].title) -> None:
                    progress.update(task, completed=number + share, description=title)

                shown(0.0)
                right, complaints = check(network, names)
                errors += complaints
                steps = {name: TRAINERS[name].build(NETWORKS[network], RESTING) for name in right}
                runs = {name: step.run for name, step in steps.items() if step}
                seconds = (options.seconds or 12) / (5 if options.quick else 1)
                found = race(runs, seconds, shortest=0.03, progress=shown) if runs else {}
                timings |= {(network, name): timing for name, timing in found.items()}
                peaks |= {(network, name): held(name, step) for name, step in steps.items() if step}
                show(console, network, timings, peaks)
        except KeyboardInterrupt:
            status = 130
            console.print("Stopped; what was measured is shown.")
    report.write(console, record(machine, timings, peaks, notes + errors), options.json, options.plot)
    return status or int(bool(errors))


def check(network: str, names: list[str]) -> tuple[list[str], list[str]]:
    """Those whose losses are right, and complaints about the others. PyTorch sets the standard, where it is there."""
    steps = {name: TRAINERS[name].build(NETWORKS[network], LR) for name in names}
    losses = {name: step.losses(CHECKED) for name, step in steps.items() if step}
    standard = next((name for name in ("torch", "torch-fused", "reference", "minima") if name in losses), "")
    right = [name for name in losses if np.allclose(losses[name], losses[standard], rtol=1e-5, atol=0)]
    return right, [
        f"wrong: {NETWORKS[network].title}: {TRAINERS[name].title} is left out, its losses are {losses[name]}, "
        f"those of {TRAINERS[standard].title} {losses[standard]}"
        for name in losses
        if name not in right
    ]


def held(name: str, step: Step) -> int:
    """The bytes that forward and backward together take at their peak, of a network that has taken steps."""
    found = (peak_in_torch if "torch" in TRAINERS[name].needs else peak)(step.derive)
    step.update()
    return found


def show(console: Console, network: str, timings: Timings, peaks: Peaks) -> None:
    """The table of one network."""
    lines = report.table()
    lines.add_column("", no_wrap=True)
    for title in ("training step", "forward + backward", "optimizer", "minima / this", "peak memory"):
        lines.add_column(title, justify="right", no_wrap=True)
    for name, trainer in TRAINERS.items():
        timing = timings.get((network, name))
        if timing is None:
            continue
        derive, update = timing.parts
        ratio = _ratio(network, "minima", name, timings)
        lines.add_row(
            trainer.title,
            duration(timing.seconds),
            duration(derive),
            duration(update),
            "" if ratio is None or name == "minima" else f"{ratio:.3f}",
            f"{peaks[network, name] / 1e6:.2f} MB",
            style="bold" if name == "minima" else None,
        )
    console.print(f"[bold]{NETWORKS[network].title}[/]", soft_wrap=True)
    console.print(lines)
    for target in NETWORKS[network].targets:
        ratio = _ratio(network, target.contender, target.rival, timings)
        if ratio is not None:
            who, whom = TRAINERS[target.contender].title, TRAINERS[target.rival].title
            verdict = report.verdict(ratio, target.limit)
            line = f"{who} takes {ratio:.3f} of {whom}; at most {target.limit:.3g}: {verdict}"
            console.print(line, soft_wrap=True)
    console.print()


def record(machine: dict[str, Any], timings: Timings, peaks: Peaks, notes: list[str]) -> dict[str, Any]:
    """All numbers, for the file."""
    measured = [
        {
            "network": NETWORKS[network].title,
            "trainer": TRAINERS[name].title,
            "minima / this": _ratio(network, "minima", name, timings),
            "peak memory in bytes": peaks.get((network, name)),
            **timing.record(),
        }
        for (network, name), timing in timings.items()
    ]
    targets: list[dict[str, Any]] = []
    for network in dict.fromkeys(network for network, _ in timings):
        for target in NETWORKS[network].targets:
            ratio = _ratio(network, target.contender, target.rival, timings)
            if ratio is not None:
                targets.append({"network": network, **vars(target), "ratio": ratio, "met": ratio <= target.limit})
    return {"benchmark": "train", "machine": machine, "notes": notes, "targets": targets, "measured": measured}


def _ratio(network: str, contender: str, rival: str, timings: Timings) -> float | None:
    mine, other = timings.get((network, contender)), timings.get((network, rival))
    return mine.seconds / other.seconds if mine and other else None


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, choices in (("network", list(NETWORKS)), ("trainer", list(TRAINERS))):
        text = f"one of {', '.join(choices)}; may be given several times (default: all)"
        parser.add_argument(f"--{name}", action="append", choices=choices, metavar=name.upper(), help=text)
    report.add_options(parser, "train")
    options = parser.parse_args()
    options.network = list(dict.fromkeys(options.network or NETWORKS))
    options.trainer = [name for name in TRAINERS if name in (options.trainer or TRAINERS)]
    return options


if __name__ == "__main__":
    sys.exit(main())
