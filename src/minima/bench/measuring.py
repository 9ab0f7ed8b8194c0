"""A step of every peer, timed side by side: who takes part, and what is measured."""

import gc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from minima.bench.algorithms import ALGORITHMS, Algorithm
from minima.bench.ceiling import ceilings
from minima.bench.further import FURTHER
from minima.bench.machine import available_memory, library
from minima.bench.peers import PEERS, Stepper, build, sample, wrong
from minima.bench.timing import Timing, race, repeated
from minima.bench.workloads import WORKLOADS, Workload, gradients

__all__ = ["CEILING", "KNOWN", "TITLES", "Results", "begin", "compare", "measure", "takes"]

CEILING = "ceiling"
KNOWN = ALGORITHMS | FURTHER
"""Every algorithm, by its name on the command line."""
TITLES = {name: peer.title for name, peer in PEERS.items()} | {CEILING: "ceiling: memory alone"}
RESERVE = 2 << 30
"""Bytes of memory that a peer must leave free, for the temporary arrays of the others."""
Progress = Callable[[float, str], object]
"""Is told how much is done, and what is being done."""


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


def begin(algorithms: Sequence[str], peers: Sequence[str]) -> tuple[list[str], Results]:
    """The peers that know one of the algorithms, of those asked for or of all; and the results, what lacks noted."""
    wanted = [name for name in TITLES if not peers or name == "minima" or name in peers]  # without it nothing compares
    rules = [KNOWN[algorithm] for algorithm in algorithms]
    names = [name for name in wanted if name == CEILING or any(map(PEERS[name].is_for, rules))]
    results = Results()
    for needed in dict.fromkeys(needed for name in names if name != CEILING for needed in PEERS[name].needs):
        if library(needed) is None:
            note = f"{needed} is not installed: what needs it is left out (pip install {needed})"
            results.notes[note] = None
    if any(rule.looks_at == "matrix" for rule in rules) and CEILING in names:
        results.notes["Where matrices are multiplied, the ceiling is the time of the products alone, by NumPy"] = None
    return names, results


def compare(
    workloads: Sequence[str],
    algorithms: Sequence[str],
    names: Sequence[str],
    results: Results,
    *,
    seconds: Callable[[Workload], float],
    asked: bool,
    progress: Progress,
    show: Callable[[str], object],
) -> bool:
    """Measure every algorithm on every workload that it takes; whether it got to the end without an interrupt.

    Args:
        workloads: Names of `WORKLOADS`.
        algorithms: Names of `KNOWN`.
        names: The peers, as `begin` gave them.
        results: Gets what is measured.
        seconds: How long to measure one algorithm on a workload; 0 leaves it out.
        asked: Whether the peers were asked for by name.
        progress: Told which share of all is done, and what is being done.
        show: Called with the name of every workload that is through, or that was interrupted.
    """
    count = sum(takes(workload, algorithm) for workload in workloads for algorithm in algorithms)
    done, current = 0, ""
    try:
        for current in workloads:
            for algorithm in algorithms:
                if takes(current, algorithm):
                    place, title = WORKLOADS[current], f"{WORKLOADS[current].title}, {KNOWN[algorithm].title}"
                    time = seconds(place)
                    if time <= 0:
                        results.notes[f"{title} is left out: the time is over"] = None
                        continue

                    def shown(share: float, doing: str, title: str = title, done: int = done) -> None:
                        progress((done + share) / count, title + doing)

                    measure(current, algorithm, names, results, seconds=time, asked=asked, progress=shown)
                    done += 1
            show(current)
            current = ""
    except KeyboardInterrupt:
        if current:
            show(current)
        return False
    return True


def takes(workload: str, algorithm: str) -> bool:
    """Whether a rule takes all parameters of a workload, and has not only the same to do for its matrices alone."""
    only_matrices = all(len(shape) == 2 for shape in WORKLOADS[workload].shapes)
    return only_matrices if KNOWN[algorithm].looks_at == "matrix" else workload not in ("matrices", "block")


def measure(
    workload: str,
    algorithm: str,
    names: Sequence[str],
    results: Results,
    *,
    seconds: float,
    asked: bool,
    progress: Progress,
) -> None:
    """Race all peers that have an algorithm over the parameters of a workload.

    Args:
        workload: One of `WORKLOADS`.
        algorithm: One of `KNOWN`.
        names: The peers, of `PEERS`, and perhaps the ceiling.
        results: Gets the times, and what was left out.
        seconds: Of measuring; building and checking the peers comes on top.
        asked: Whether the peers were asked for by name, so that slow ones take part in large workloads too.
        progress: Told which share is done, and what is being prepared.
    """
    place, rule = WORKLOADS[workload], KNOWN[algorithm]
    grads = gradients(place)
    steppers: dict[str, Any] = {}
    limits: dict[str, Any] = {}
    for name in names:
        progress(0.0, f"; preparing {name}")
        if name == CEILING:
            has_one = place.is_streamed or rule.looks_at == "matrix"
            if has_one and _fits(place, rule, 1.5, f"{place.title}, {rule.title}: the ceiling", results):
                limits = ceilings(rule, grads)
        elif stepper := _checked(name, place, rule, grads, asked, results):
            steppers[name] = stepper.step
    if steppers:
        runs = {name: repeated(step) for name, step in (steppers | limits).items()}
        timings = race(runs, seconds, progress=lambda share: progress(share, ""))
        if limits:
            timings[CEILING] = min((timings[name] for name in limits), key=lambda timing: timing.seconds)
        results.timings |= {(workload, algorithm, name): timing for name, timing in timings.items()}
    del steppers, limits, grads
    gc.collect()  # gigabytes, before the next ones are made


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
