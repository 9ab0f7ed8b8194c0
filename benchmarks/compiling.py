"""How long JAX takes until it can take a step: minima.jax beside optax, traced, lowered and compiled by XLA.

    python benchmarks/compiling.py                                  # 8 tensors, 300 of them, GPT-2 small
    python benchmarks/compiling.py --workload many --algorithm adam

Both make the same call, such as ``adam(learning_rate=1e-3)``, and their steps are jitted alike (see peers.py). They
take turns in one process, JAX's caches emptied before each; only shapes are needed. What is compared is the ratio of
each round. How long a step takes then is for step.py to say: ``--peer minima-jax --peer optax``.
"""

import argparse
import time
from functools import partial
from importlib import import_module
from typing import Any

import report
from rich.console import Console

from minima.bench.algorithms import ALGORITHMS
from minima.bench.machine import describe, library
from minima.bench.peers import optax_update
from minima.bench.tables import duration
from minima.bench.timing import Timing, race, ratios
from minima.bench.workloads import WORKLOADS

LIMIT = 1.5
"""How much longer than optax's minima's step may take."""
STAGES = ("trace", "lower", "compile")
MODULES = {"minima.jax": "minima.jax", "optax": "optax"}


def stages(transformation: Any, shapes: tuple[tuple[int, ...], ...], times: int) -> tuple[float, ...]:
    """The seconds that each stage takes."""
    jax: Any = library("jax")
    params = [jax.ShapeDtypeStruct(shape, "float32") for shape in shapes]
    state = jax.eval_shape(transformation.init, params)
    seconds = [0.0] * len(STAGES)
    for _ in range(times):
        jax.clear_caches()
        result: Any = optax_update(transformation)
        for place, name in enumerate(STAGES):
            start = time.perf_counter()
            result = getattr(result, name)(*((params, state, params) if place == 0 else ()))
            seconds[place] += time.perf_counter() - start
    return tuple(seconds)


def contenders(workload: str, algorithm: str) -> dict[str, Any]:
    """For each library what makes its step ready."""
    name, settings = ALGORITHMS[algorithm].optax or ("", {})
    made = {title: getattr(import_module(module), name)(**settings) for title, module in MODULES.items()}
    return {title: partial(stages, tx, WORKLOADS[workload].shapes) for title, tx in made.items()}


def main() -> None:
    """Measure, print, write."""
    options = _options()
    console = report.terminal()
    machine = describe()
    report.head(console, machine)
    measured: list[dict[str, Any]] = []
    for workload in options.workload:
        for algorithm in options.algorithm:
            seconds = (options.seconds or 10.0) / (5 if options.quick else 1)
            timings = race(contenders(workload, algorithm), seconds, paired=True)
            measured.append(record(workload, algorithm, timings))
    show(console, measured)
    content = {"benchmark": "compiling", "machine": machine, "limit": LIMIT, "notes": [], "measured": measured}
    report.write(console, content, options.json, None)


def record(workload: str, algorithm: str, timings: dict[str, Timing]) -> dict[str, Any]:
    """What one race found out."""
    quartiles = ratios(timings["minima.jax"], timings["optax"])
    return {
        "workload": WORKLOADS[workload].title,
        "algorithm": ALGORITHMS[algorithm].title,
        "minima / optax": quartiles[1],
        "quartiles": [quartiles[0], quartiles[2]],
        **{title: timing.record() for title, timing in timings.items()},
    }


def show(console: Console, measured: list[dict[str, Any]]) -> None:
    """The table of all races."""
    lines = report.table()
    for title in ("workload", "algorithm"):
        lines.add_column(title, no_wrap=True)
    for title in (*(f"{title}: {', '.join(STAGES)}" for title in MODULES), "ratio", "quartiles", "at most", ""):
        lines.add_column(title, justify="right", no_wrap=True)
    for each in measured:
        parts = (", ".join(map(duration, each[title]["parts"])) for title in MODULES)
        ratio, (low, high) = each["minima / optax"], each["quartiles"]
        found = (f"{ratio:.2f}", f"{low:.2f} to {high:.2f}", f"{LIMIT:g}", report.verdict(ratio, LIMIT))
        lines.add_row(each["workload"], each["algorithm"], *parts, *found)
    console.print(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = [name for name, algorithm in ALGORITHMS.items() if algorithm.optax]
    chosen = {"workload": (list(WORKLOADS), ["small", "many", "gpt2"]), "algorithm": (known, known)}
    for name, (choices, usual) in chosen.items():
        text = f"one of {', '.join(choices)}; may be given several times (default: {', '.join(usual)})"
        parser.add_argument(f"--{name}", action="append", choices=choices, metavar=name.upper(), help=text)
    report.add_options(parser, "compiling", plot=False)
    options = report.apart(parser.parse_args(), "compiling")
    for name, (_, usual) in chosen.items():
        setattr(options, name, list(dict.fromkeys(getattr(options, name) or usual)))
    return options


if __name__ == "__main__":
    main()
