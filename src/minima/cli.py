"""The command line: ``minima demo``."""

import argparse
import os
import sys
from collections.abc import Sequence

from minima import __version__

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name; its exit status."""
    parser = argparse.ArgumentParser(prog="minima", description="Optimizers for deep learning.")
    parser.add_argument("--version", action="version", version=f"minima {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_demo(
        commands.add_parser("demo", help="train a network on real data with every optimizer, and draw the curves")
    )
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
    try:
        from minima.demo import run
    except ImportError as error:
        print(f"minima demo: needs {error.name}; install it with: pip install 'minima[demo]'", file=sys.stderr)
        return 1
    return run(
        epochs=options.epochs,
        batch_size=options.batch_size,
        seed=options.seed,
        optimizers=options.optimizer or (),
        rates=options.lr,
        output=options.output,
    )


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
