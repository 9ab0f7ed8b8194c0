"""What some optimizers need beyond parameters and gradients, to be measured with all others, which need no line."""

from argparse import ArgumentTypeError
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from inspect import signature
from typing import Any

from minima import optim
from minima.optim import Optimizer
from minima.optim.rules import RULES

__all__ = ["EXTRAS", "LOOPS", "Extra", "chosen", "extra", "kind", "needs_loss", "takes_estimates"]


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
    every: int = 10
    """Steps from one estimate to the next, where the rule takes estimates."""


EXTRAS = {
    # The default of 1e-5 is for fine-tuning; the paper's is 1e-3.
    "Adam": Extra(lr=1e-3),
    "LBFGS": Extra(closure=True, settings={"line_search_fn": "strong_wolfe"}),
    "Muon": Extra(tables={"matrix": False}),
}
"""By the names of the optimizers. Losses and estimates that a rule takes need no line: its functions say so."""
LOOPS = [name for name in ("LBFGS",) if name in optim.__all__]
"""Optimizers that are no rules. They can be trained with, but their steps have no fixed price."""


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


def takes_estimates(optimizer: type[Optimizer]) -> bool:
    """Whether its state holds an average of estimates, which ``update_estimate`` takes from the gradients."""
    return getattr(optimizer, "estimate", None) is not None


def chosen(text: str, known: Sequence[str] = tuple(RULES)) -> list[str]:
    """The optimizers of a list with commas, as the command line has it, in the order of those that are known."""
    names = [name.strip() for name in text.split(",") if name.strip()]
    strange = [name for name in names if name not in known]
    if strange or not names:
        raise ArgumentTypeError(f"must name some of {', '.join(known)}; got {', '.join(strange) or repr(text)}")
    return [name for name in known if name in names]
