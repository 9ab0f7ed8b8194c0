"""The algorithms, as every library spells them: with settings by which all of them compute the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minima.optim import SGD, AdaGrad, Adam, Lion, Optimizer, RMSProp

__all__ = ["ALGORITHMS", "Algorithm", "Other"]

Textbook = Callable[..., tuple[Any, ...]]
"""Takes the parameter, the gradient, the state, and the number of the step; gives the parameter and the state."""


@dataclass(frozen=True)
class Other:
    """What a library besides PyTorch and optax calls an algorithm."""

    name: str
    settings: dict[str, Any]
    close: float | None = 1e-4
    """How far it may be from where the textbook gets, as a share of the way; None if it computes something else."""


@dataclass(frozen=True)
class Algorithm:
    """One algorithm: the lines that everybody writes in NumPy, and what libraries call it."""

    title: str
    textbook: Textbook
    states: int
    """How many arrays it keeps for a parameter."""
    minima: tuple[type[Optimizer], dict[str, Any]]
    torch: tuple[str, dict[str, Any]] | None = None
    """The class in torch.optim; None where there is none."""
    optax: tuple[str, dict[str, Any]] | None = None
    others: Mapping[str, Other] = field(default_factory=dict[str, Other])
    """By the names of libraries."""
    looks_at: str = "element"
    """What it sees at a time: an ``element``, a ``tensor``, a ``matrix`` (and it takes nothing else), or the ``model``,
    which is one long vector to its textbook."""
    numbers: int = 0
    """How many numbers, rows or columns it keeps besides arrays; the textbook gets them behind these."""
    fewest: float = 0
    """The bytes that any implementation has to move for an element of a large matrix: each pass reads and writes what
    it must. 0 if nobody has counted them."""
    torch_close: float = 1e-4
    """As ``close`` of `Other`, for torch.optim."""

    @property
    def start(self) -> tuple[float, ...]:
        """The state that the textbook begins with."""
        return (0.0,) * (self.states + self.numbers)


def _sgd(p: Any, g: Any, t: int) -> tuple[Any, ...]:
    return (p - 0.01 * g,)


def _momentum(p: Any, g: Any, u: Any, t: int) -> tuple[Any, ...]:
    u = 0.9 * u + g
    return p - 0.01 * u, u


def _adagrad(p: Any, g: Any, cache: Any, t: int) -> tuple[Any, ...]:
    cache = cache + g**2
    return p - 1e-3 * g / np.sqrt(cache), cache


def _rmsprop(p: Any, g: Any, cache: Any, t: int) -> tuple[Any, ...]:
    cache = 0.9 * cache + 0.1 * g**2
    return p - 1e-3 * g / np.sqrt(cache), cache


def _adam(p: Any, g: Any, m: Any, v: Any, t: int) -> tuple[Any, ...]:
    m = 0.9 * m + 0.1 * g
    v = 0.999 * v + 0.001 * g**2
    m_hat = m / (1 - 0.9**t)
    v_hat = v / (1 - 0.999**t)
    return p - 1e-3 * m_hat / (np.sqrt(v_hat) + 1e-8), m, v


def _lion(p: Any, g: Any, m: Any, t: int) -> tuple[Any, ...]:
    step = np.sign(0.9 * m + 0.1 * g)
    m = 0.99 * m + 0.01 * g
    return p - 1e-3 * step, m


# Where the libraries differ by default: dampening (minima), eps inside or outside of the root (AdaGrad, RMSProp: here
# 0), the smoothing of RMSProp, what AdaGrad's sum starts from (optax), weight decay (optax's Lion). None of it changes
# what a step costs.
ALGORITHMS = {
    "sgd": Algorithm("SGD", _sgd, 0, (SGD, {"lr": 0.01}), ("SGD", {"lr": 0.01}), ("sgd", {"learning_rate": 0.01})),
    "momentum": Algorithm(
        "SGD, momentum",
        _momentum,
        1,
        (SGD, {"lr": 0.01, "momentum": 0.9, "dampening": 0}),
        ("SGD", {"lr": 0.01, "momentum": 0.9}),
        ("sgd", {"learning_rate": 0.01, "momentum": 0.9}),
    ),
    "adagrad": Algorithm(
        "AdaGrad",
        _adagrad,
        1,
        (AdaGrad, {"lr": 1e-3, "eps": 0}),
        ("Adagrad", {"lr": 1e-3, "eps": 0}),
        ("adagrad", {"learning_rate": 1e-3, "eps": 0.0, "initial_accumulator_value": 0.0}),
    ),
    "rmsprop": Algorithm(
        "RMSProp",
        _rmsprop,
        1,
        (RMSProp, {"lr": 1e-3, "eps": 0}),
        ("RMSprop", {"lr": 1e-3, "eps": 0, "alpha": 0.9}),
        ("rmsprop", {"learning_rate": 1e-3, "eps": 0.0, "decay": 0.9}),
    ),
    "adam": Algorithm(
        "Adam",
        _adam,
        2,
        (Adam, {"lr": 1e-3}),
        ("Adam", {"lr": 1e-3}),
        ("adam", {"learning_rate": 1e-3}),
    ),
    "lion": Algorithm(
        "Lion",
        _lion,
        1,
        (Lion, {"lr": 1e-3}),
        None,
        ("lion", {"learning_rate": 1e-3, "weight_decay": 0.0}),
    ),
}
"""By their names on the command line."""
