"""``minima explain``: an optimizer of minima's, or one of the user's own, by its name."""

import argparse
import difflib
import importlib
import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from minima import optim
from minima.errors import sentence
from minima.explain.algorithm import algorithm
from minima.explain.terminal import show
from minima.optim import Optimizer
from minima.optim.catalog import LOOPS
from minima.optim.loops.loop import Loop
from minima.optim.rules import RULES

__all__ = ["explain"]


def explain(options: argparse.Namespace) -> int:
    """Show the page; the exit status."""
    try:
        found = _find(options.optimizer)
        if issubclass(found, Loop | optim.LBFGS):
            return _explain_loop(found, options)
        asked = {name: getattr(options, name) for name in ("dtype", "state_dtype", "parameters")}
        explanation = found.explain(**asked | dict(options.values))
    except (ImportError, TypeError, ValueError) as error:
        print(error, file=sys.stderr)
        return 2
    explanation.show("module" if options.module else "update" if options.source else "")
    return 0


def _explain_loop(loop: type[Any], options: argparse.Namespace) -> int:
    given = (options.state_dtype, options.parameters, options.values, options.source, options.module)
    if any(given) or options.dtype != "float32":
        rule = f"{loop.__name__} is a loop around steps, and no rule that has variants and a program"
        raise ValueError(sentence("minima explain", rule, hint="give its name alone"))
    show(algorithm(loop))
    return 0


def _find(name: str) -> type[Any]:
    """The optimizer, or loop around one, behind ``Adam``, ``module:Class`` or ``path/to/file.py:Class``."""
    place, _, word = name.rpartition(":")
    module = _import(place) if place else optim
    known = _optimizers(module) if place else [*RULES, *LOOPS]
    alike = {each.lower(): each for each in known}
    if found := word if word in known else alike.get(word.lower()):
        return getattr(module, found)
    close = difflib.get_close_matches(word.lower(), alike, n=1)
    hint = f"did you mean {alike[close[0]]}? " if close else ""
    hint += f"there are {', '.join(known) or 'none'}"
    hint += "" if place else "; for one of your own write module:Class or path/to/file.py:Class"
    where = f" in {place}" if place else ""
    raise ValueError(sentence("minima explain", f"there is no optimizer {word!r}{where}", hint=hint))


def _optimizers(module: ModuleType) -> list[str]:
    """The names that optimizer classes, and loops, have in a module, the interface itself left out."""
    return [
        name
        for name, value in inspect.getmembers(module, inspect.isclass)  # also what is only loaded when asked for
        if issubclass(value, Optimizer | Loop) and value is not Optimizer
    ]


def _import(place: str) -> ModuleType:
    """A module by its name, found from here as ``python -m`` would, or a file by its path."""
    who = "minima explain"
    path = Path(place)
    if path.suffix == ".py" and not path.is_file():
        raise ImportError(sentence(who, f"there is no file {place}"))
    sys.path.insert(0, str(path.parent.resolve() if path.suffix == ".py" else Path.cwd()))
    try:
        if path.suffix != ".py":
            return importlib.import_module(place)
        spec = importlib.util.spec_from_file_location(path.stem, path)
        assert spec is not None and spec.loader is not None  # the suffix says that it is Python
        module = importlib.util.module_from_spec(spec)
        sys.modules.setdefault(path.stem, module)  # where dataclasses and pickle look
        spec.loader.exec_module(module)
        return module
    except Exception as error:  # whatever code of other people raises when it is imported
        raise ImportError(sentence(who, f"cannot import {place}", hint=f"{type(error).__name__}: {error}")) from error
    finally:
        sys.path.pop(0)
