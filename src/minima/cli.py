"""The command line: ``minima demo``, ``minima explain``."""

import argparse
import difflib
import importlib
import importlib.util
import inspect
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from minima import __version__, optim
from minima.errors import sentence
from minima.explain.algorithm import algorithm
from minima.explain.terminal import show
from minima.optim import Optimizer
from minima.optim.catalog import LOOPS
from minima.optim.loops.loop import Loop
from minima.optim.rules import RULES

__all__ = ["main"]

_DEMO_NEEDS = {"matplotlib": "matplotlib", "rich": "rich", "sklearn": "scikit-learn"}
"""The modules that the demo imports, and the packages that bring them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; its exit status."""
    parser = argparse.ArgumentParser(prog="minima", description="Optimizers for deep learning.")
    parser.add_argument("--version", action="version", version=f"minima {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(
        commands.add_parser("demo", help="train a network on real data with every optimizer, and draw the curves")
    )
    _add_explain(commands.add_parser("explain", help="show what an optimizer does, keeps and costs"))
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except KeyboardInterrupt:
        print("\nminima: stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:  # whoever read our output has gone: nothing is left to say, and nobody to say it to
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _add_demo(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Trains a classifier, 30-24-24-24-2, on 569 tumours (the breast-cancer data of scikit-learn) with each "
        "optimizer from the same initial weights; prints a table and draws the curves."
    )
    parser.add_argument(
        "--epochs", type=_count, default=40, help="passes over the training data (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=_count, default=32, help="samples per step (default: %(default)s)")
    parser.add_argument("--seed", type=_seed, default=0, help="of split, weights and order (default: %(default)s)")
    parser.add_argument(
        "--optimizer",
        action="append",
        choices=("sgd", "adagrad", "rmsprop", "adam"),
        help="train with this one only; may be given several times",
    )
    parser.add_argument(
        "--lr",
        action="append",
        default=[],
        type=_rate,
        metavar="NAME=RATE",
        help="learning rate of one optimizer, as in --lr adam=1e-3; may be given several times",
    )
    parser.add_argument("--output", default="demo.png", help="where to draw the curves (default: %(default)s)")
    parser.set_defaults(run=_demo)


def _demo(options: argparse.Namespace) -> int:
    missing = [package for name, package in _DEMO_NEEDS.items() if importlib.util.find_spec(name) is None]
    if missing:
        hint = f"pip install {' '.join(missing)}"
        print(sentence("minima demo", f"needs {' and '.join(missing)}", hint=hint), file=sys.stderr)
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


def _add_explain(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Shows an optimizer's equations and hyperparameters, the loop that its rule becomes, the memory that it keeps "
        "and moves, and how long a step takes on this machine. Of LBFGS, Lookahead and SAM, which are no rules, it "
        "shows the algorithm."
    )
    parser.add_argument(
        "optimizer", help="its name, as in Adam; one of your own as module:Class or path/to/file.py:Class"
    )
    parser.add_argument(
        "values",
        nargs="*",
        type=_value,
        metavar="NAME=VALUE",
        help="hyperparameters, decay and ndim, which choose the variant of the rule: momentum=0.9 nesterov=True",
    )
    parser.add_argument("--dtype", default="float32", help="of the parameters (default: %(default)s)")
    parser.add_argument("--state-dtype", help="how the state is kept: bfloat16 or int8 (default: as it is computed)")
    parser.add_argument("--parameters", type=_count, metavar="N", help="time a step of this many parameters, too")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--source", action="store_true", help="show the loop as LLVM is given it")
    source.add_argument("--module", action="store_true", help="show all that LLVM is given")
    parser.set_defaults(run=_explain)


def _explain(options: argparse.Namespace) -> int:
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


def _count(text: str) -> int:
    number = int(text) if text.strip().isdigit() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return number


def _seed(text: str) -> int:
    number = int(text) if text.strip().isdigit() else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number in [0, 2**32); got {text!r}")
    return number


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name, float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be NAME=RATE, as in adam=1e-3; got {text!r}") from None


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be NAME=VALUE, as in momentum=0.9; got {text!r}")
    if value in ("True", "False", "None"):
        return name, {"True": True, "False": False, "None": None}[value]
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, value  # a word, for whoever takes it to judge


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
