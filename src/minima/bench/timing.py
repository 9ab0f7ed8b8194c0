"""A fair race: contenders take turns in one process, and medians are compared."""

import gc
import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import ceil
from statistics import median, quantiles

__all__ = ["Run", "Timing", "race", "ratios", "repeated"]

Run = Callable[[int], tuple[float, ...]]
"""Does a thing so many times, and gives the seconds that it took: in one number, or part by part."""

PAUSE = 0.01
"""Seconds between two turns. The worker threads of OpenMP and of BLAS keep a core busy for some milliseconds after
their work is done, waiting for more of it: whoever has the next turn must not pay for that."""


@dataclass
class Timing:
    """What a race found out about one contender: seconds for one time, in every sample."""

    repeats: int
    """How many times make one sample: as many as fill its time, by the sample before."""
    samples: list[tuple[float, ...]] = field(default_factory=list[tuple[float, ...]])
    spent: float = 0.0

    @property
    def seconds(self) -> float:
        """The median."""
        return median(map(sum, self.samples))

    @property
    def parts(self) -> tuple[float, ...]:
        """The median of every part."""
        return tuple(map(median, zip(*self.samples, strict=True)))

    def record(self) -> dict[str, object]:
        """All of it, for a file."""
        totals = list(map(sum, self.samples))
        low, middle, high = quantiles(totals, n=4, method="inclusive") if len(totals) > 1 else totals * 3
        return {
            "seconds": middle,
            "quartiles": [low, high],
            "fastest": min(totals),
            "parts": list(self.parts),
            "samples": len(totals),
            "repeats": self.repeats,
        }


def repeated(call: Callable[[], object]) -> Run:
    """A run of one part: the call, again and again."""

    def run(times: int) -> tuple[float, ...]:
        start = time.perf_counter()
        for _ in range(times):
            call()
        return (time.perf_counter() - start,)

    return run


def race(
    runs: Mapping[str, Run],
    seconds: float,
    *,
    fewest: int = 3,
    shortest: float = 0.01,
    paired: bool = False,
    before: Callable[[], object] = lambda: None,
    progress: Callable[[float], object] = lambda share: None,
) -> dict[str, Timing]:
    """Let contenders take turns for so many seconds, in an order that is drawn anew for every round.

    Everyone gets the same time, not the same number of turns: who takes ten times as long sits out nine rounds of ten,
    evenly spread over the race, and those who are close to each other get the more samples. With ``paired`` everyone
    takes a turn in every round, and `ratios` compares round by round.

    Args:
        runs: The contenders.
        seconds: How long the race takes.
        fewest: The samples that everyone has in the end, whatever it takes.
        shortest: A sample repeats the call until it lasts so many seconds.
        paired: Whether nobody sits out a round.
        before: Called before every round.
        progress: Told after every round which share of the race is over.

    While it goes on, Python collects no garbage cycles.
    """
    order = random.Random(0)
    timings = {name: Timing(_repeats(run, shortest)) for name, run in runs.items()}  # which warms everyone up
    collects = gc.isenabled()
    gc.collect()
    gc.disable()
    begun = time.perf_counter()
    try:
        while True:
            elapsed = time.perf_counter() - begun
            if paired:
                due = list(runs) if elapsed < seconds or len(next(iter(timings.values())).samples) < fewest else []
            elif elapsed < seconds:
                fair = elapsed / len(runs)
                due = [name for name, t in timings.items() if not t.samples or t.spent <= fair]
            else:
                due = [name for name, t in timings.items() if len(t.samples) < fewest]
            if not due:
                break
            before()
            order.shuffle(due)
            for name in due:
                _take_turn(runs[name], timings[name], shortest)
            progress(min(1.0, elapsed / seconds))
    finally:
        if collects:
            gc.enable()
    progress(1.0)
    return timings


def ratios(timing: Timing, other: Timing) -> list[float]:
    """A contender's time in another's, in each round of a paired race: the lower quartile, the median, the upper one.

    What slows down a whole round, such as a clock that falls, is in both times, and not in their ratio.
    """
    pairs = zip(timing.samples, other.samples, strict=True)
    each = [sum(mine) / sum(theirs) for mine, theirs in pairs]
    return quantiles(each, n=4, method="inclusive") if len(each) > 1 else each * 3


def _take_turn(run: Run, timing: Timing, shortest: float) -> None:
    time.sleep(PAUSE)
    start = time.perf_counter()
    if timing.repeats > 1:
        run(max(1, timing.repeats // 10))  # brings code and data back into the caches, as in a loop of its own
    sample = tuple(part / timing.repeats for part in run(timing.repeats))
    timing.samples.append(sample)
    timing.repeats = ceil(shortest / sum(sample))
    timing.spent += time.perf_counter() - start


def _repeats(run: Run, shortest: float) -> int:
    times = 1
    while (took := sum(run(times))) < shortest / 2:
        times = max(times + 1, min(10 * times, ceil(times * shortest / max(took, 1e-9))))
    return times
