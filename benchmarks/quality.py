"""How far every optimizer comes on small problems, with a learning rate that was searched for it.

    python benchmarks/quality.py                              # all of them; stopped, it goes on where it was
    python benchmarks/quality.py --rules Adam,Lion --again    # some, anew
    python benchmarks/quality.py --quick                      # a look, into a file of its own

For each optimizer and each problem (see problems.py) the learning rate is searched on one grid of factors around the
default: from 1/100 to 100 in steps of 10, on to where the best one is not the last, up to 1/10,000 and 10,000; then the
two beside the best, the root of 10 away. The one whose loss is lowest in the end, with seed 0, is then trained with
from other seeds, unless it goes astray from one of them: then the next best is. Rates are constant, all other settings
the defaults. What is counted is gradients: an optimizer that asks for several in a step pays for each.

What that can tell, and what not: these problems take a fraction of a second. They show an optimizer that fails, one
that needs noise to be absent, and how far the default learning rate is from a good one. They do not show which is best
for a network of a size that matters: there batches, schedules, weight decay and thousands of steps decide, and good
optimizers differ by less than the places that these problems give them.

Each core has a process that trains, with one thread; times are those of training beside others.
"""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from math import inf, isfinite
from multiprocessing import get_context
from pathlib import Path
from statistics import mean, median
from typing import Any

import extras
import numpy as np
import problems
import records
import report
from problems import PROBLEMS, Problem, Task
from rich.console import Console

from minima.bench.machine import describe
from minima.optim import Optimizer
from minima.optim.rules import RULES

__all__ = ["Grid", "Outcome", "rates", "searched", "train"]


@dataclass(frozen=True)
class Grid:
    """The factors on the default learning rate: powers of the root of 10, with these exponents."""

    reach: int = 4
    """Every second one from minus this to this is tried; even."""
    limit: int = 8
    """How far it goes on where the best is the last."""
    beside: bool = True
    """Whether those between are tried too, beside the best."""


SEEDS = (1, 2, 3)
"""Of what is reported; the search has seed 0."""
KNOWN = (*RULES, *extras.LOOPS)
LAST = 3
"""The measurements whose mean is the loss in the end: the last one alone is that of one noisy step."""


@dataclass(frozen=True)
class Outcome:
    """What became of one training."""

    final: float
    """The loss in the end; infinite if it went astray."""
    gradients: int | None
    """How many it took to the target; None if it was not reached."""
    seconds: float | None
    """Of training, until then; measuring is left out."""


def train(problem: Problem, make: Callable[[Task], Optimizer], seed: int) -> Outcome:
    """Train once."""
    task = problem.make(seed)
    optimizer = make(task)
    needs = extras.extra(type(optimizer).__name__)
    estimates: Any = optimizer if extras.takes_estimates(type(optimizer)) else None
    asked, spent, due = 0, 0.0, 0
    seen: list[float] = []
    reached: tuple[int, float] | None = None
    while True:
        if asked >= due:
            optimizer.eval()
            seen.append(task.measure())
            optimizer.train()
            if not isfinite(seen[-1]) or seen[-1] > 1e4 * max(1.0, seen[0]):
                return Outcome(inf, *(reached or (None, None)))
            if reached is None and seen[-1] <= problem.target:
                reached = asked, spent
            if asked >= problem.steps:
                return Outcome(mean(seen[-LAST:]), *(reached or (None, None)))
            due = min(asked + problem.every, problem.steps)
        loss_of, before = task.draw(), asked

        def closure(loss_of: Callable[[], Any] = loss_of) -> Any:
            nonlocal asked
            asked += 1
            optimizer.zero_grad()
            loss = loss_of()
            loss.backward()
            return loss

        start = time.perf_counter()
        if estimates and before % needs.every == 0:
            optimizer.zero_grad()
            task.sampled().backward()
            estimates.update_estimate()
        if needs.closure:
            optimizer.step(closure)
        else:
            optimizer.step(loss=closure())
        spent += time.perf_counter() - start
        if asked == before:  # it is where it wants to be, and asks no more
            asked = due


def made(name: str, task: Task, given: dict[str, float]) -> Optimizer:
    """An optimizer for a task."""
    kind, needs, more = extras.kind(name), extras.extra(name), dict[str, Any]()
    if needs.tables and task.tables:
        more["groups"] = {table: needs.tables for table in task.tables}
    if extras.takes_estimates(kind) and "batch_size" in kind.hyperparameters:
        more["batch_size"] = task.batch
    return kind(task.params, **needs.settings, **given, **more)


def rates(name: str) -> dict[str, float]:
    """The learning rates of an optimizer in the middle of the grid: of ``lr``, and of what else is one."""
    declared = {key: hyper.default for key, hyper in extras.kind(name).hyperparameters.items()}
    found = {key: value for key, value in declared.items() if key == "lr" or key.endswith("_lr")}
    if (middle := extras.extra(name).lr) is not None:
        found["lr"] = middle
    return {key: float(value) for key, value in found.items() if value is not None}


def searched(score: Callable[[int], float], grid: Grid) -> dict[int, float]:
    """The losses by exponents, of which the best has both neighbours tried, unless it is as far as the grid goes.

    A loss that is infinite is no reason to look beside it.
    """
    found = {exponent: score(exponent) for exponent in range(-grid.reach, grid.reach + 1, 2)}

    def best() -> int:
        return min(found, key=found.__getitem__)

    while isfinite(found[best()]) and best() in (min(found), max(found)) and abs(best()) < grid.limit:
        further = best() + (2 if best() == max(found) else -2)
        found[further] = score(further)
    if grid.beside and isfinite(found[best()]):
        middle = best()
        found |= {near: score(near) for near in (middle - 1, middle + 1) if abs(near) <= grid.limit}
    return dict(sorted(found.items()))


def settled(losses: dict[int, float], run: Callable[[int], list[Outcome]]) -> tuple[int, list[Outcome]]:
    """The exponent of the lowest loss with which training goes astray from no other seed either, and what it does.

    A learning rate on the brink is the best now and then. Where each of the best three fails somewhere, the best stays.
    """
    best = sorted(losses, key=losses.__getitem__)
    tries: list[tuple[int, list[Outcome]]] = []
    for exponent in [exponent for exponent in best if isfinite(losses[exponent])][:3] or best[:1]:
        tries.append((exponent, run(exponent)))
        if all(isfinite(it.final) for it in tries[-1][1]):
            return tries[-1]
    return tries[0]


def measured(name: str, problem: Problem, seeds: Sequence[int], grid: Grid) -> dict[str, Any]:
    """The search, and what the best learning rate does from other seeds."""
    middle = rates(name)

    def maker(exponent: int) -> Callable[[Task], Optimizer]:
        given = {key: value * 10 ** (exponent / 2) for key, value in middle.items()}
        return lambda task: made(name, task, given)

    def score(exponent: int) -> float:
        return train(problem, maker(exponent), 0).final

    losses = searched(score, grid) if middle else {0: score(0)}
    best, outcomes = settled(losses, lambda exponent: [train(problem, maker(exponent), seed) for seed in seeds])
    return {
        "exponent": best,
        "lr": middle.get("lr", 0.0) * 10 ** (best / 2) if middle else None,
        "at_the_edge": len(losses) > 1 and abs(best) >= grid.limit,
        "tried": {str(exponent): _number(loss) for exponent, loss in losses.items()},
        "final": [_number(it.final) for it in outcomes],
        "gradients": [it.gradients for it in outcomes],
        "seconds": [it.seconds for it in outcomes],
    }


def _number(loss: float) -> float | None:
    """A number that every reader of JSON understands; None where it is infinite."""
    return loss if isfinite(loss) else None


def settings(name: str, problem: Problem, seeds: Sequence[int], grid: Grid) -> dict[str, Any]:
    """What a result depends on, besides the rule: as long as it is the same, there is nothing to measure anew."""
    source = Path(problems.__file__).read_bytes()
    needs = extras.extra(name)
    return {
        "problems": hashlib.sha256(source).hexdigest()[:12],
        "steps": problem.steps,
        "seeds": list(seeds),
        "grid": vars(grid),
        "rates": rates(name),
        "settings": dict(needs.settings),
        "every": needs.every,
    }


# The command ---------------------------------------------------------------------------------------------------------


def main() -> int:
    """Train, write after each problem, print; the exit status."""
    options = _options()
    console = report.terminal()
    # For the processes that train: on many small products threads would wait for each other more than multiply.
    os.environ |= dict.fromkeys(("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS"), "1")
    machine = describe()
    report.head(console, machine)
    try:
        content = records.opened(options.json, "quality", machine)
    except ValueError as error:
        console.print(str(error), style="red", soft_wrap=True)
        return 2
    seeds, grid = (SEEDS[:1], Grid(2, 2, False)) if options.quick else (SEEDS, Grid())
    chosen = {name: _shorter(problem) if options.quick else problem for name, problem in PROBLEMS.items()}
    content["problems"] = {
        name: {"title": it.title, "said": it.said, "steps": it.steps, "target": it.target}
        for name, it in chosen.items()
    }
    wanted = [
        (name, key)
        for name in options.rules
        for key, problem in chosen.items()
        if options.again
        or content["rules"].get(name, {}).get(key, {}).get("given") != settings(name, problem, seeds, grid)
    ]
    status = 0
    pool = ProcessPoolExecutor(options.jobs, mp_context=get_context("spawn"))
    with report.bars(console) as progress:
        task = progress.add_task("", total=len(wanted))
        try:
            jobs = {pool.submit(tried, name, chosen[key], seeds, grid): (name, key) for name, key in wanted}
            for job in as_completed(jobs):
                name, key = jobs[job]
                content["rules"].setdefault(name, {})[key] = job.result() | records.stamp()
                records.save(content | records.stamp(), options.json)
                progress.update(task, advance=1, description=f"{name}, {chosen[key].title}")
        except KeyboardInterrupt:
            status = 130
            console.print("Stopped; what was measured is in the file. The same command goes on.")
        finally:
            pool.shutdown(cancel_futures=True)
    show(console, content)
    console.print(f"Numbers written to {options.json}", style="dim", soft_wrap=True)
    return status


def tried(name: str, problem: Problem, seeds: Sequence[int], grid: Grid) -> dict[str, Any]:
    """The result, or why there is none: one optimizer that cannot be trained so must not stop the others."""
    given = settings(name, problem, seeds, grid)
    try:
        with np.errstate(all="ignore"):  # a learning rate that is too high is part of the search
            return measured(name, problem, seeds, grid) | {"given": given}
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}", "given": given}


def _shorter(problem: Problem) -> Problem:
    return replace(problem, steps=problem.steps // 4)


def show(console: Console, content: dict[str, Any]) -> None:
    """The table of all that is in the file."""
    lines = report.table()
    lines.add_column("", no_wrap=True)
    for problem in content["problems"].values():
        for column in (f"{problem['title']}: loss", "lr", f"gradients to {problem['target']:g}"):
            lines.add_column(column, justify="right")
    for name in KNOWN:
        if found := content["rules"].get(name):
            lines.add_row(name, *(cell for key in content["problems"] for cell in _cells(found.get(key, {}))))
    console.print(lines)


def _cells(found: dict[str, Any]) -> tuple[str, str, str]:
    if "failed" in found:
        return "failed", "", found["failed"][:40]
    if not found:
        return "", "", ""
    finals = [inf if it is None else it for it in found["final"]]
    lr = "" if found["lr"] is None else f"{found['lr']:.2g}" + ("!" if found["at_the_edge"] else "")
    reached = [inf if it is None else it for it in found["gradients"]]
    return f"{median(finals):.3g}", lr, f"{median(reached):.0f}" if isfinite(median(reached)) else ""


def chosen(text: str) -> list[str]:
    """The optimizers of a list with commas."""
    return extras.chosen(text, KNOWN)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--rules", type=chosen, default=list(KNOWN), metavar="NAME,NAME", help="some optimizers (default: all)"
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=os.cpu_count(),
        metavar="N",
        help="processes that train (default: one for each core)",
    )
    parser.add_argument("--again", action="store_true", help="measure anew what is in the file already")
    parser.add_argument(
        "--quick", action="store_true", help="a quarter of the steps, half of the grid, one seed: a look"
    )
    parser.add_argument(
        "--json",
        type=Path,
        default=report.RESULTS / "quality.json",
        metavar="FILE",
        help="default: results/quality.json",
    )
    return report.apart(parser.parse_args(), "quality")


if __name__ == "__main__":
    sys.exit(main())
