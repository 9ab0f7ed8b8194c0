"""What the commands do, but for ``explain``: each loads what it needs, or says what to install."""

import argparse
import importlib.util
import inspect
import json
import sys
from collections.abc import Mapping
from typing import Any

from minima import optim
from minima.axes import picture
from minima.errors import sentence
from minima.explain.page import Page, Section, Table
from minima.explain.terminal import show
from minima.optim.catalog import families
from minima.optim.rules import RULES

__all__ = ["bench", "demo", "list_"]


def list_(options: argparse.Namespace) -> int:
    """List every optimizer; the exit status."""
    classes = {family: [getattr(optim, name) for name in names] for family, names in families().items()}
    if options.json:
        rows = [_row(family, cls) for family, many in classes.items() for cls in many]
        print(json.dumps(rows, indent=1))
        return 0
    width = max(len(cls.__name__) for many in classes.values() for cls in many)
    sections = [
        Section(family, [Table((), [(cls.__name__.ljust(width), _summary(cls)) for cls in many])])
        for family, many in classes.items()
    ]
    count = sum(map(len, classes.values()))
    show(Page(f"{count} optimizers", "minima explain NAME shows one of them.", sections))
    return 0


def _row(family: str, cls: type[Any]) -> dict[str, Any]:
    if cls.__name__ in RULES:
        defaults: dict[str, Any] = {name: each.default for name, each in cls.hyperparameters.items()}
    else:
        _, *arguments = inspect.signature(cls).parameters.values()
        defaults = {each.name: None if each.default is each.empty else each.default for each in arguments}
    return {"name": cls.__name__, "family": family, "summary": _summary(cls), "hyperparameters": defaults}


def _summary(cls: type[Any]) -> str:
    """The first sentence of its docstring."""
    return " ".join((inspect.getdoc(cls) or "").partition("\n\n")[0].split()).replace("``", "")


def bench(options: argparse.Namespace) -> int:
    """Time steps; the exit status."""
    if options.plot and _lacks("minima bench --plot", {"matplotlib": "matplotlib"}):
        return 1
    try:
        plot = picture("minima bench", "--plot", options.plot) if options.plot else None
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    from minima.bench.job import USUAL, run

    return run(
        workloads=options.workload or USUAL.workloads,
        algorithms=options.algorithm or USUAL.algorithms,
        peers=options.peer or USUAL.peers,
        seconds=options.seconds,
        asked=bool(options.peer),
        numbers=options.json,
        plot=plot,
    )


def demo(options: argparse.Namespace) -> int:
    """Train, print and draw; the exit status."""
    if _lacks("minima demo", {"matplotlib": "matplotlib", "rich": "rich", "sklearn": "scikit-learn"}):
        return 1
    from minima.demo import run

    return run(
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        optimizers=options.optimizer or (),
        rates=options.lr,
        output=options.output,
    )


def _lacks(who: str, needs: Mapping[str, str]) -> bool:
    """Whether modules are missing; if so, says which packages to install."""
    missing = [package for module, package in needs.items() if importlib.util.find_spec(module) is None]
    if missing:
        hint = f"pip install {' '.join(missing)}"
        print(sentence(who, f"needs {' and '.join(missing)}", hint=hint), file=sys.stderr)
    return bool(missing)
