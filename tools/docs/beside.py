"""What an optimizer is called in PyTorch and in other libraries, and how far apart they are."""

import sys
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

from minima import optim
from minima.torch.dialect import Dialect
from minima.torch.dialects import DIALECTS

sys.path.append(str(Path(__file__).parents[2] / "tests" / "optim"))  # the table that the tests read
import elsewhere


def plain(value: object) -> str:
    """A default, as briefly as it can be written."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def others(name: str) -> str:
    """The calls of other libraries that make the same as ours, with the differences as they are measured now."""
    rows = [row for row in elsewhere.ROWS if row.rule == name and all(map(_is_there, row.library.needs))]
    if not rows:
        return ""
    text = ["| Library | There, and here | Difference |", "| --- | --- | ---: |"]
    for row in rows:
        title, there = row.library.title, row.theirs.removeprefix("sklearn.neural_network.")
        text.append(f"| {title} | `{there}`<br>`{row.ours}` | {elsewhere.difference(row) or 0:.0g} |")
    packages = dict.fromkeys((row.library.title, row.library.package) for row in rows)
    versions = ", ".join(f"{title} {version(package)}" for title, package in packages)
    return (
        "What these calls make is the same, up to rounding. Both take twenty steps in float64 from the same "
        "parameters, with gradients that depend on where these are; the difference is the largest one of a parameter "
        "or of its state, relative to the largest entry. It was measured when this page was built, with "
        f"{versions}.\n\n" + "\n".join(text)
    )


def _is_there(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def pytorch(cls: type[optim.Optimizer]) -> str:
    """What `minima.torch` has under the name, and what PyTorch calls the words of the rule."""
    name, more = cls.__name__, "[More about it](../pytorch.md)."
    theirs = [dialect for dialect in DIALECTS.values() if dialect.rule is cls or dialect.name == name]
    if not theirs:
        return f"{_linked(name)} is this algorithm, with PyTorch's habits. {more}"
    classes = " and ".join(_linked(dialect.name) for dialect in theirs)
    verb = "are PyTorch's own algorithms" if len(theirs) > 1 else "is PyTorch's own algorithm"
    rows = [["Here", *(f"`torch.optim.{dialect.name}`" for dialect in theirs)], ["---"] * (1 + len(theirs))]
    for word, hyper in cls.hyperparameters.items():
        rows.append([f"`{word}={plain(hyper.default)}`", *(_theirs(dialect, word) for dialect in theirs)])
    rows.append(["`decay='decoupled'`", *(f"as `decay={dialect.decay!r}`" for dialect in theirs)])
    rows += [[f"state `{word}`", *(f"`{it.state.get(word, word)}`" for it in theirs)] for word in cls.rule.state]
    return (
        f"{classes} {verb}, in its words and with its defaults; the definition on this page is "
        f"`adapt(minima.optim.{name})`. {more}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    )


def _linked(name: str) -> str:
    return f"[`minima.torch.{name}`](../api/torch.md#minima.torch.{name})"


def _theirs(dialect: Dialect, word: str) -> str:
    """What a dialect has for a hyperparameter of a rule."""
    if word in dialect.fixed:
        return f"as `{word}={dialect.fixed[word]}`"
    entry = dialect.entries[dialect.givers[word]]
    return f"`{entry.name}={plain(entry.default)}`"
