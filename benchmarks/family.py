"""What a step of every optimizer keeps, moves and takes, beside what memory allows and the fastest library that has it.

    python benchmarks/family.py                              # all of them, each some 40 seconds
    python benchmarks/family.py --rules Adam,Lion            # some, into the same file
    python benchmarks/family.py --quick                      # a look, into a file of its own; 4 blocks of GPT-2

The optimizers are those of RULES, with their defaults. Their peers are those of the libraries whose calls make the same
in tests/optim/elsewhere.py, which the tests hold equal: of each library the call that is nearest to our defaults, and
of PyTorch's own also with ``fused=True`` and ``foreach=True``. Each peer first takes a few steps alone; the one that is
fastest then takes turns with ours, in the settings that make both the same (see timing.py). A ratio is the median of
those of single rounds. The gradients change their sign from round to round: rules that step by a share of the parameter
would run away from them.

Rules that multiply matrices take those of one of GPT-2's blocks in place of all of its parameters.
"""

import argparse
import gc
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from math import isfinite
from pathlib import Path
from typing import Any

import extras
import numpy as np
import records
import report
from rich.console import Console

from minima.bench.algorithms import Algorithm
from minima.bench.ceiling import ceilings
from minima.bench.machine import available_memory, describe, library
from minima.bench.peers import Stepper, minima_parameters, optax_stepper, scale_all, torch_parameters, torch_stepper
from minima.bench.tables import duration
from minima.bench.timing import Timing, race, ratios, repeated
from minima.bench.workloads import WORKLOADS, Workload, gradients
from minima.explain import Explanation
from minima.optim import Optimizer
from minima.optim.rules import RULES

sys.path.append(str(Path(__file__).resolve().parents[1] / "tests" / "optim"))  # the calls that make the same
from elsewhere import ROWS, Row  # noqa: E402

__all__ = ["Candidate", "candidates", "workload"]

LARGE = "large"
"""The workload that depends on the rule, as its results are called."""
PLACES = {"small": WORKLOADS["small"], "many": WORKLOADS["many"], LARGE: WORKLOADS["gpt2"]}
RESERVE = 1 << 30
"""Bytes of memory that are left free."""
PROBED = 3
"""The fewest steps by which a peer is compared with other peers, unless they take very long."""
SHORTEST, LONGEST = 0.1, 5.0
"""Seconds that these steps take together; the first one, which may compile, does not count."""


@dataclass(frozen=True)
class Candidate:
    """A way to take the same steps elsewhere."""

    row: Row
    theirs: str
    """The call, with what makes PyTorch take another of its ways."""

    @property
    def title(self) -> str:
        """The library, and which of its ways."""
        option = self.theirs.removeprefix(self.row.theirs[:-1]).strip(", )")
        return f"{self.row.library.title}, {option}" if option else self.row.library.title


def workload(name: str, explanation: Explanation, quick: bool) -> Workload:
    """The parameters that a rule steps."""
    if name != LARGE:
        return PLACES[name]
    if explanation.products or explanation.cut is None:
        return WORKLOADS["block"]
    return WORKLOADS["blocks" if quick else "gpt2"]


def candidates(name: str) -> list[Candidate]:
    """What the libraries have that are here, each with the call that is nearest to the defaults of ours."""
    nearest: dict[str, Row] = {}
    for row in ROWS:
        steps_tensors = "keras" not in row.library.needs and "sklearn" not in row.library.needs
        if row.rule == name and steps_tensors and row.ours.startswith(f"{name}(params"):
            before = nearest.get(row.library.title)
            if before is None or _distance(row) < _distance(before):
                nearest[row.library.title] = row
    found: list[Candidate] = []
    for row in nearest.values():
        if all(library(needed) for needed in row.library.needs):
            found.append(Candidate(row, row.theirs))
            if row.theirs.startswith("torch.optim."):
                found += [Candidate(row, f"{row.theirs[:-1]}, {option}=True)") for option in ("fused", "foreach")]
    return found


def _distance(row: Row) -> int:
    """How many settings are not the defaults; the learning rate changes nothing in what a step costs."""
    return row.ours.count("=") - row.ours.count("lr=")


# Those who step ------------------------------------------------------------------------------------------------------


def ours(optimizer: type[Optimizer], grads: list[Any], call: str, settings: dict[str, Any]) -> Stepper:
    """minima, as in a row of the table, or with these settings."""
    params = minima_parameters(grads)
    made = eval(call, {optimizer.__name__: optimizer, "params": params}) if call else optimizer(params, **settings)
    step = made.step
    if extras.needs_loss(optimizer):
        step = partial(step, loss=1.0)
    return Stepper(step, lambda: [param.detach().numpy() for param in params], partial(scale_all, grads))


def theirs(candidate: Candidate, grads: list[Any]) -> Stepper:
    """A library, with gradients of its own."""
    needs = candidate.row.library.needs
    known = {name.partition(".")[0]: library(name.partition(".")[0]) for name in needs}
    if "jax" in needs:
        return optax_stepper(eval(candidate.theirs, known), grads)
    params = torch_parameters(grads, shared=False)
    made = eval(candidate.theirs, known | {"params": params})
    if "ScheduleFree" in candidate.theirs:  # which begins in the mode for evaluation
        made.train()
    return torch_stepper(made.step, params)


# Measuring -----------------------------------------------------------------------------------------------------------


@dataclass
class Measuring:
    """The measurement of one optimizer on the parameters of one workload."""

    name: str
    explanation: Explanation
    place: Workload
    seconds: float
    notes: dict[str, None]
    shown: Callable[[float, str], None]

    def result(self) -> dict[str, Any]:
        """The time of a step, beside the ceiling, and beside the fastest peer."""
        found: dict[str, Any] = {"title": self.place.title, "parameters": self.place.size}
        found |= self._alone()
        peer, probed = self._fastest()
        if peer is not None:
            found |= {"peer": self._beside(peer), "probed": probed}
        return found

    def _fits(self, arrays: float, what: str) -> bool:
        gc.collect()  # gigabytes that nobody holds any more
        there = available_memory() > 4 * self.place.size * arrays + RESERVE
        if not there:
            self.notes[f"{self.name}, {self.place.title}: {what} is left out: there is too little memory"] = None
        return there

    @property
    def _arrays(self) -> float:
        """What ours holds: parameters, gradients, state."""
        return 2 + sum(self.explanation.state.values()) / 4

    def _alone(self) -> dict[str, Any]:
        self.shown(0.0, "beside the ceiling")
        grads = gradients(self.place)
        if not self._fits(self._arrays, "minima"):
            return {}
        stepper = ours(self.explanation.optimizer, grads, "", dict(extras.extra(self.name).settings))
        runs = {"minima": repeated(stepper.step)}
        can_stream = self.explanation.cut is not None and not self.explanation.products
        if self.place.is_streamed and can_stream and self._fits(1.6 * self._arrays, "the ceiling"):
            settings = dict(extras.extra(self.name).settings)
            states = round(self._arrays) - 2
            algorithm = Algorithm(self.name, lambda: (), states, (self.explanation.optimizer, settings))
            runs |= {name: repeated(step) for name, step in ceilings(algorithm, grads).items()}
        timings = self._race(runs, lambda: stepper.scale(-1), 0.0)
        self._check(stepper)
        found: dict[str, Any] = {"seconds": timings["minima"].seconds, "samples": len(timings["minima"].samples)}
        if limits := {name: timing for name, timing in timings.items() if name != "minima"}:
            limit = min(limits.values(), key=lambda timing: timing.seconds)
            found["ceiling"] = {"seconds": limit.seconds, **_ratio(timings["minima"], limit)}
        return found

    def _fastest(self) -> tuple[Candidate | None, dict[str, float]]:
        """The peer whose steps are shortest, and how long those of each are."""
        probed: dict[str, float] = {}
        best: tuple[float, Candidate] | None = None
        for candidate in candidates(self.name):
            self.shown(0.4, f"probing {candidate.title}")
            # Most make an array of the step, and some one more for each state.
            if not self._fits(2.0 * self._arrays, candidate.title):
                continue
            took = _probe(candidate, self.place)
            if isinstance(took, str):
                self.notes[f"{self.name}: {candidate.title} is left out: {took}"] = None
                continue
            probed[candidate.title] = took
            if best is None or took < best[0]:
                best = took, candidate
        return best[1] if best else None, probed

    def _beside(self, peer: Candidate) -> dict[str, Any]:
        grads = gradients(self.place)
        mine = ours(self.explanation.optimizer, grads, peer.row.ours, {})
        other = theirs(peer, grads)

        def turn() -> None:
            mine.scale(-1)
            other.scale(-1)

        timings = self._race({"minima": repeated(mine.step), "peer": repeated(other.step)}, turn, 0.6)
        self._check(mine)
        return {
            "title": peer.title,
            "theirs": peer.theirs,
            "ours": peer.row.ours,
            "seconds": timings["peer"].seconds,
            "minima": timings["minima"].seconds,
            **_ratio(timings["minima"], timings["peer"]),
        }

    def _race(self, runs: dict[str, Any], before: Callable[[], None], done: float) -> dict[str, Timing]:
        def progress(share: float) -> None:
            self.shown(done + 0.4 * share, "in turns")

        return race(runs, self.seconds, paired=True, before=before, progress=progress)

    def _check(self, stepper: Stepper) -> None:
        if not all(isfinite(float(np.sum(value, dtype=np.float64))) for value in stepper.values()):
            self.notes[f"{self.name}, {self.place.title}: parameters did not stay finite"] = None


def _ratio(mine: Timing, other: Timing) -> dict[str, Any]:
    low, middle, high = ratios(mine, other)
    return {"ratio": middle, "quartiles": [low, high]}


def _probe(candidate: Candidate, place: Workload) -> float | str:
    """The shortest of a few steps, in seconds; or why there is none."""
    grads = gradients(place)
    try:
        stepper = theirs(candidate, grads)
        stepper.step()
        took: list[float] = []
        while sum(took) < SHORTEST or len(took) < PROBED and sum(took) < LONGEST:
            start = time.perf_counter()
            stepper.step()
            took.append(time.perf_counter() - start)
    except Exception as error:  # whatever other libraries raise: no such way, or not for this rule
        return f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
    return min(took)


def measured(name: str, quick: bool, seconds: float | None, notes: dict[str, None], shown: Any) -> dict[str, Any]:
    """All that is on record for an optimizer."""
    optimizer, needs = extras.kind(name), extras.extra(name)
    explanation = optimizer.explain(ndim=2, **needs.settings)
    found: dict[str, Any] = records.stamp() | {"settings": dict(needs.settings), "workloads": {}}
    for number, place_name in enumerate(PLACES):
        place = workload(place_name, explanation, quick)

        def within(share: float, doing: str, number: int = number, place: Workload = place) -> None:
            shown((number + share) / len(PLACES), f"{name}, {place.title}: {doing}")

        spent = (seconds or min(place.seconds, 4)) / (5 if quick else 1)
        one = Measuring(name, explanation, place, spent, notes, within)
        found["workloads"][place_name] = one.result()
        gc.collect()
    return found


# The command ---------------------------------------------------------------------------------------------------------


def main() -> int:
    """Measure, write after each optimizer, print; the exit status."""
    options = _options()
    console = report.terminal()
    _load(options.rules)
    machine = describe()  # before the first measurement: its load is not ours yet
    report.head(console, machine)
    try:
        content = records.opened(options.json, "family", machine)
    except ValueError as error:
        console.print(str(error), style="red", soft_wrap=True)
        return 2
    notes: dict[str, None] = {}
    status = 0
    with report.bars(console) as progress:
        task = progress.add_task("", total=len(options.rules))
        try:
            for number, name in enumerate(options.rules):

                def shown(share: float, doing: str, number: int = number) -> None:
                    progress.update(task, completed=number + share, description=doing)

                content["rules"][name] = measured(name, options.quick, options.seconds, notes, shown)
                records.save(content | records.stamp(), options.json)
                console.print(f"{number + 1} of {len(options.rules)}: {_line(name, content)}", soft_wrap=True)
        except KeyboardInterrupt:
            status = 130
            console.print("Stopped; what was measured is in the file.")
    for note in notes:
        console.print(note, style="yellow", soft_wrap=True)
    show(console, [name for name in RULES if name in content["rules"]], content)
    console.print(f"Numbers written to {options.json}", style="dim", soft_wrap=True)
    return status


def show(console: Console, names: list[str], content: dict[str, Any]) -> None:
    """The table of all that is in the file."""
    lines = report.table()
    lines.add_column("", no_wrap=True)
    for place in PLACES.values():
        for column in (place.title, "of the ceiling", "of the fastest peer"):
            lines.add_column(column, justify="right")
    for name in names:
        cells: list[str] = []
        for key, place in PLACES.items():
            found = content["rules"][name]["workloads"].get(key, {})
            peer = found.get("peer")
            other = "" if found.get("title") == place.title else f", {found.get('title')}"
            cells += [
                duration(found["seconds"]) + other if "seconds" in found else "",
                f"{found['ceiling']['ratio']:.2f}" if "ceiling" in found else "",
                f"{peer['ratio']:.2f} {peer['title']}" if peer else "",
            ]
        lines.add_row(name, *cells)
    console.print(lines)


def _line(name: str, content: dict[str, Any]) -> str:
    found = content["rules"][name]["workloads"]
    times = [f"{it['title']} {duration(it['seconds'])}" for it in found.values() if "seconds" in it]
    return f"{name}: {', '.join(times)}"


def _load(names: list[str]) -> None:
    """Load the libraries that take part, so that the description of the machine names them."""
    for name in names:
        candidates(name)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rules",
        type=extras.chosen,
        default=list(RULES),
        metavar="NAME,NAME",
        help="some optimizers (default: all)",
    )
    report.add_options(parser, "family", plot=False)
    return report.apart(parser.parse_args(), "family")


if __name__ == "__main__":
    sys.exit(main())
