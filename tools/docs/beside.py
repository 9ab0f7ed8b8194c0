"""What an optimizer is called in PyTorch."""

from minima import optim
from minima.torch.dialect import Dialect
from minima.torch.dialects import DIALECTS


def plain(value: object) -> str:
    """A default, as briefly as it can be written."""
    return f"{value:g}" if isinstance(value, float) else str(value)


def pytorch(cls: type[optim.Optimizer]) -> str:
    """What `minima.torch` has under the name, and what PyTorch calls the words of the rule."""
    name, more = cls.__name__, "See [PyTorch](../pytorch.md)."
    theirs = [dialect for dialect in DIALECTS.values() if dialect.rule is cls or dialect.name == name]
    if not theirs:
        return f"{_linked(name)} is this algorithm with PyTorch's interface. {more}"
    classes = " and ".join(_linked(dialect.name) for dialect in theirs)
    verb = "are PyTorch's own algorithms" if len(theirs) > 1 else "is PyTorch's own algorithm"
    rows = [["minima.optim", *(f"`torch.optim.{dialect.name}`" for dialect in theirs)], ["---"] * (1 + len(theirs))]
    for word, hyper in cls.hyperparameters.items():
        rows.append([f"`{word}={plain(hyper.default)}`", *(_theirs(dialect, word) for dialect in theirs)])
    rows.append(["`decay='decoupled'`", *(f"as `decay={dialect.decay!r}`" for dialect in theirs)])
    rows += [[f"state `{word}`", *(f"`{it.state.get(word, word)}`" for it in theirs)] for word in cls.rule.state]
    return (
        f"{classes} {verb}, with PyTorch's argument names and defaults. The definition on this page is "
        f"`adapt(minima.optim.{name})`. {more}\n\n" + "\n".join(f"| {' | '.join(row)} |" for row in rows)
    )


def _linked(name: str) -> str:
    return f"[`minima.torch.{name}`](../api/torch/algorithms.md#minima.torch.{name})"


def _theirs(dialect: Dialect, word: str) -> str:
    """What a dialect has for a hyperparameter of a rule."""
    if word in dialect.fixed:
        return f"as `{word}={dialect.fixed[word]}`"
    entry = dialect.entries[dialect.givers[word]]
    return f"`{entry.name}={plain(entry.default)}`"
