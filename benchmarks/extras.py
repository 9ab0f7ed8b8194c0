"""What some optimizers need beyond parameters and gradients, to be measured with all others, which need no line."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from minima import optim
from minima.optim import Optimizer
from minima.optim.rules import RULES

__all__ = ["EXTRAS", "Extra", "chosen", "extra", "kind", "needs_loss"]


@dataclass(frozen=True)
class Extra:
    """What one optimizer needs; the defaults are what nearly all do."""

    settings: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """With which it is measured, in place of the defaults."""
    lr: float | None = None
    """The middle of the grid of learning rates; None: the default of ``lr``."""
    tables: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Its settings for embeddings and last layers, where it is meant for hidden matrices only."""
    closure: bool = False
    """Whether ``step`` takes a closure, and asks for loss and gradients as often as it likes."""
    estimate: str = ""
    """The method that takes gradients of another loss, that of labels drawn from the model itself."""
    every: int = 10
    """Steps from one call of that method to the next."""


EXTRAS = {
    # The default of 1e-5 is for fine-tuning; the paper's is 1e-3.
    "Adam": Extra(lr=1e-3),
    "LBFGS": Extra(closure=True, settings={"line_search_fn": "strong_wolfe"}),
    "Muon": Extra(tables={"matrix": False}),
    "SophiaG": Extra(estimate="update_hessian"),
}
"""By the names of the optimizers. A loss that ``update`` takes needs no line: `needs_loss` sees it."""


def extra(name: str) -> Extra:
    """What an optimizer needs."""
    return EXTRAS.get(name, Extra())


def kind(name: str) -> type[Optimizer]:
    """The class of this name."""
    return getattr(optim, name)


def needs_loss(optimizer: type[Optimizer]) -> bool:
    """Whether ``update`` asks for the loss of the step."""
    update: Callable[..., Any] | None = getattr(optimizer, "update", None)
    return update is not None and "loss" in signature(update).parameters


def chosen(text: str) -> list[str]:
    """The optimizers of a list with commas, as the command line has it, in the order of the table."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in RULES]
    if strange or not names:
        raise ArgumentTypeError(f"must name some of {', '.join(RULES)}; got {', '.join(strange) or repr(text)}")
    return [name for name in RULES if name in names]
