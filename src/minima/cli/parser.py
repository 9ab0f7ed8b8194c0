"""The commands of ``minima`` and what each takes; every wrong word is answered in one sentence."""

import argparse
import difflib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NoReturn

from minima import __version__
from minima.bench.job import USUAL
from minima.bench.measuring import KNOWN, TITLES
from minima.bench.workloads import WORKLOADS
from minima.cli import commands
from minima.cli.explaining import explain
from minima.errors import sentence

__all__ = ["build", "parsed"]

_DEMO = ("sgd", "adagrad", "rmsprop", "adam")


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are sentences as minima has them."""

    def error(self, message: str) -> NoReturn:
        """Leave with status 2."""
        if message.startswith("argument "):
            message = message.removeprefix("argument ").replace(": ", " ", 1)
        self.exit(2, sentence(self.prog, message, hint=f"{self.prog} --help lists what it takes") + "\n")


def parsed(words: Sequence[str]) -> argparse.Namespace:
    """The options of a call, among them ``run``, the function that carries it out."""
    parser, known = build()
    if words and not words[0].startswith("-") and words[0] not in known:
        close = difflib.get_close_matches(words[0].lower(), known, 1)
        hint = (f"did you mean {close[0]}? " if close else "") + f"there are {', '.join(known)}"
        parser.exit(2, sentence("minima", f"there is no command {words[0]!r}", hint=hint) + "\n")
    return parser.parse_args(words)


def build() -> tuple[Parser, dict[str, Parser]]:
    """The parser, and those of the commands by their names."""
    parser = Parser(prog="minima", description="Optimizers for deep learning.")
    parser.add_argument("--version", action="version", version=f"minima {__version__}")

    def help_(_: argparse.Namespace) -> int:
        parser.print_help()
        return 0

    parser.set_defaults(run=help_)
    places = parser.add_subparsers(metavar="COMMAND", title="commands")
    added = {
        "list": (_list, "list every optimizer, in one line each"),
        "explain": (_explain, "show the equations, the state, the code and the cost of an optimizer"),
        "bench": (_bench, "time optimizer steps on this machine, and compare the installed libraries"),
        "demo": (_demo, "train a network on real data with four optimizers, and draw the curves"),
    }
    known = {name: places.add_parser(name, help=text) for name, (_, text) in added.items()}
    for name, (add, _) in added.items():
        add(known[name])
    return parser, known


def _list(parser: Parser) -> None:
    parser.description = "Lists every optimizer by family, the simplest first, in one line each."
    parser.add_argument("--json", action="store_true", help="print JSON, with each hyperparameter and its default")
    parser.epilog = "Example: minima list | grep -i sign"
    parser.set_defaults(run=commands.list_)


def _explain(parser: Parser) -> None:
    parser.description = (
        "Shows the equations and hyperparameters of an optimizer, its loop, the bytes that it keeps and moves, and the "
        "time of a step on this machine. For LBFGS, Lookahead and SAM, which are not rules, it shows the algorithm."
    )
    parser.add_argument(
        "optimizer", help="its name, as in Adam; for your own class module:Class or path/to/file.py:Class"
    )
    parser.add_argument(
        "values",
        nargs="*",
        default=(),
        type=_value,
        metavar="NAME=VALUE",
        help="hyperparameters, decay and ndim, which select the variant of the rule: momentum=0.9 nesterov=True",
    )
    parser.add_argument("--dtype", default="float32", help="dtype of the parameters (default: %(default)s)")
    parser.add_argument("--state-dtype", help="dtype of the state: bfloat16 or int8 (default: that of the step)")
    parser.add_argument("--parameters", type=_count, metavar="N", help="also time a step of this many parameters")
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--source", action="store_true", help="show the loop in LLVM's language")
    source.add_argument("--module", action="store_true", help="show the whole LLVM module")
    parser.epilog = "Example: minima explain SGD momentum=0.9 nesterov=True"
    parser.set_defaults(run=explain)


def _bench(parser: Parser) -> None:
    parser.description = (
        "Times optimizer steps of minima and of the installed libraries: PyTorch, minima inside PyTorch, Optax, minima "
        "inside JAX, NumPy, a loop in C, and, for large parameters, the speed of memory. Prints the machine, and a "
        "table of times and ratios for each workload. It first checks that all take the same steps."
    )
    for name, choices, usual in (
        ("workload", WORKLOADS, USUAL.workloads),
        ("algorithm", KNOWN, USUAL.algorithms),
        ("peer", TITLES, USUAL.peers),
    ):
        parser.add_argument(
            f"--{name}",
            action="append",
            type=_one_of(choices),
            metavar="NAME",
            help=f"one of {', '.join(choices)}; may be given several times (default: {', '.join(usual)})",
        )
    parser.add_argument(
        "--seconds",
        type=_seconds,
        default=60.0,
        metavar="S",
        help="approximate time limit in seconds; measurements after it are skipped (default: %(default)g)",
    )
    parser.add_argument("--json", metavar="FILE", help="write the numbers to a file")
    parser.add_argument("--plot", metavar="FILE", help="draw a picture (.png, .svg or .pdf); needs Matplotlib")
    parser.epilog = "Example: minima bench --workload small --algorithm adam --plot adam.svg"
    parser.set_defaults(run=commands.bench)


def _demo(parser: Parser) -> None:
    parser.description = (
        "Trains a classifier, 30-24-24-24-2, on 569 tumours (the breast-cancer data of scikit-learn) with each "
        "optimizer from the same initial weights; prints a table and draws the curves."
    )
    parser.add_argument(
        "--epochs", type=_count, default=40, help="passes over the training data (default: %(default)s)"
    )
    parser.add_argument("--batch-size", type=_count, default=32, help="samples per step (default: %(default)s)")
    parser.add_argument(
        "--seed", type=_seed, default=0, help="seed of the split, the weights and the order (default: %(default)s)"
    )
    parser.add_argument(
        "--optimizer",
        action="append",
        type=_one_of(_DEMO),
        metavar="NAME",
        help=f"train only with this optimizer, one of {', '.join(_DEMO)}; may be given several times",
    )
    parser.add_argument(
        "--lr",
        action="append",
        default=[],
        type=_rate,
        metavar="NAME=RATE",
        help="learning rate of one optimizer, as in --lr adam=1e-3; may be given several times",
    )
    parser.add_argument("--output", default="demo.png", help="file for the curves (default: %(default)s)")
    parser.epilog = "Example: minima demo --optimizer adam --lr adam=1e-3"
    parser.set_defaults(run=commands.demo)


def _one_of(names: Iterable[str]) -> Callable[[str], str]:
    """What takes one of some names, in whatever case."""

    def name(text: str) -> str:
        if text.lower() not in names:
            raise argparse.ArgumentTypeError(f"must be one of {', '.join(names)}; got {text!r}")
        return text.lower()

    return name


def _count(text: str) -> int:
    number = int(text) if text.strip().isdecimal() else 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 1; got {text!r}")
    return number


def _seed(text: str) -> int:
    number = int(text) if text.strip().isdecimal() else -1
    if not 0 <= number < 2**32:
        raise argparse.ArgumentTypeError(f"must be a whole number in [0, 2**32); got {text!r}")
    return number


def _seconds(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number < 3600:
        raise argparse.ArgumentTypeError(f"must be a number in (0, 3600); got {text!r}")
    return number


def _rate(text: str) -> tuple[str, float]:
    name, _, rate = text.partition("=")
    try:
        return name.lower(), float(rate)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be NAME=RATE, as in adam=1e-3; got {text!r}") from None


def _value(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"is how a value is written, as in momentum=0.9; got {text!r}")
    if value in ("True", "False", "None"):
        return name, {"True": True, "False": False, "None": None}[value]
    for kind in (int, float):
        try:
            return name, kind(value)
        except ValueError:
            pass
    return name, value  # a word, for whoever takes it to judge
