"""Small problems to train on: two with data, two that are functions, each with a loss that is to become small.

They are chosen to be over in a moment and to differ: a network that learns pictures of digits by batches, a small
transformer, a quadratic whose gradients are noisy and whose axes lie askew, and a curved valley without noise.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from math import sqrt
from pydoc_data import topics
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

import minima as mi
from minima import nn
from minima.autograd import Tensor, where

__all__ = ["PROBLEMS", "Problem", "Task"]

Array = NDArray[Any]


@dataclass(frozen=True)
class Task:
    """A problem with its first parameters."""

    params: Any
    """What an optimizer gets: a module or a list of tensors."""
    draw: Callable[[], Callable[[], Tensor]]
    """Draws a batch, and gives the loss of it as a function of the parameters as they are then."""
    measure: Callable[[], float]
    """The loss that counts, the same for all batches."""
    sampled: Callable[[], Tensor]
    """The loss of a new batch whose labels are drawn from the model: the squares of its gradients estimate curvatures.
    For a sum of squares, the sum of what is squared, each times a standard normal number."""
    batch: int = 1
    """The labels of which that loss is the mean."""
    tables: tuple[str, ...] = ()
    """The names of embeddings and last layers."""


@dataclass(frozen=True)
class Problem:
    """A problem, and how long it may take."""

    title: str
    said: str
    """What it is, in a few words."""
    make: Callable[[int], Task]
    """Takes a seed, on which all that is random depends."""
    steps: int
    """How many gradients an optimizer may ask for."""
    every: int
    """Gradients from one measurement to the next."""
    target: float
    """The loss whose first sight is timed."""


# Digits --------------------------------------------------------------------------------------------------------------


@cache
def _digits() -> tuple[Array, Array, Array, Array]:
    """Pictures and digits to train with, and others to measure with."""
    pictures, digits = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(digits))
    pictures, digits = (pictures / 16).astype(np.float32)[order], digits[order]
    return pictures[360:], digits[360:], pictures[:360], digits[:360]


def _network(seed: int) -> Task:
    mi.manual_seed(seed)
    random = np.random.default_rng(seed)
    network = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    pictures, digits, unseen, answers = _digits()

    def taken(rows: Array) -> tuple[Array, Array]:
        return pictures[rows], digits[rows]

    return _classifier(network, random, taken, len(digits), 64, (unseen, answers), ("2.weight",))


def _classifier(
    network: nn.Module,
    random: np.random.Generator,
    taken: Callable[[Array], tuple[Array, Array]],
    count: int,
    batch: int,
    unseen: tuple[Array, Array],
    tables: tuple[str, ...],
) -> Task:
    """A network that tells classes: the last axis of what it gives."""
    cross_entropy = nn.CrossEntropyLoss()

    def loss(x: Array, classes: Array) -> Tensor:
        logits = network(Tensor(x))
        return cross_entropy(logits.reshape(-1, logits.shape[-1]), Tensor(classes.ravel()))

    def draw() -> Callable[[], Tensor]:
        x, classes = taken(random.integers(count, size=batch))
        return lambda: loss(x, classes)

    def sampled() -> Tensor:
        x, _ = taken(random.integers(count, size=batch))
        with mi.no_grad():
            logits = network(Tensor(x)).numpy()
        noise = random.gumbel(size=logits.shape)  # whose largest sum with the logits is a draw from their softmax
        return loss(x, (logits + noise).argmax(axis=-1))

    def measure() -> float:
        with mi.no_grad():
            return loss(*unseen).item()

    return Task(network, draw, measure, sampled, batch * unseen[1][0].size, tables)


# Text ----------------------------------------------------------------------------------------------------------------

WINDOW, WIDTH, HEADS, BATCH = 32, 32, 2, 8


@cache
def _text() -> tuple[Array, int]:
    """Python's own help, as numbers of its characters, and how many characters there are."""
    text = "\n".join(topics.topics[name] for name in sorted(topics.topics))[:200_000]
    characters = {character: number for number, character in enumerate(sorted(set(text)))}
    return np.array([characters[character] for character in text]), len(characters)


class Transformer(nn.Module):
    """One block: attention to earlier characters, a perceptron, both beside a way around them."""

    def __init__(self, characters: int) -> None:
        super().__init__()
        self.token, self.place = nn.Embedding(characters, WIDTH), nn.Embedding(WINDOW, WIDTH)
        self.before, self.between, self.behind = (nn.LayerNorm(WIDTH) for _ in range(3))
        self.attention, self.joined = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)
        self.wide, self.narrow = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.head, self.active = nn.Linear(WIDTH, characters), nn.GELU()

    def forward(self, ids: Tensor) -> Tensor:
        count, length = ids.shape
        x = self.token(ids) + self.place(Tensor(np.arange(length)))
        parts = self.attention(self.before(x)).reshape(count, length, 3, HEADS, WIDTH // HEADS)
        queries, keys, values = (parts[:, :, number].swapaxes(1, 2) for number in range(3))
        scores = queries @ keys.swapaxes(2, 3) * (1 / sqrt(WIDTH // HEADS))
        is_past = Tensor(np.tri(length, dtype=bool))
        seen = where(is_past, scores, -1e9).softmax() @ values
        x = x + self.joined(seen.swapaxes(1, 2).reshape(count, length, WIDTH))
        x = x + self.narrow(self.active(self.wide(self.between(x))))
        return self.head(self.behind(x))


def _transformer(seed: int) -> Task:
    mi.manual_seed(seed)
    random = np.random.default_rng(seed)
    text, characters = _text()
    windows = np.lib.stride_tricks.sliding_window_view(text, WINDOW + 1)
    count = 9 * len(windows) // 10
    unseen = windows[count + WINDOW :: 301]  # no character of which is trained on

    def taken(rows: Array) -> tuple[Array, Array]:
        return windows[rows, :-1], windows[rows, 1:]

    names = ("token.weight", "place.weight", "head.weight")
    return _classifier(Transformer(characters), random, taken, count, BATCH, (unseen[:, :-1], unseen[:, 1:]), names)


# Functions -----------------------------------------------------------------------------------------------------------

SIDE = 10


def _quadratic(seed: int) -> Task:
    """Curvatures of 1, 1/2, 1/3 and so on along axes that lie askew, and noise that is larger where these are."""
    random = np.random.default_rng(seed)
    count = SIDE * SIDE
    axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(count, count)))
    roots = (axes / np.sqrt(np.arange(1, count + 1))).T.astype(np.float32)
    w = Tensor(random.normal(size=(SIDE, SIDE)).astype(np.float32), requires_grad=True)
    curved = Tensor(roots)

    def exact() -> Tensor:
        y = curved @ w.reshape(count)
        return 0.5 * (y * y).sum()

    def sampled() -> Tensor:
        return (curved @ w.reshape(count) * _noise(random, count)).sum()

    def draw() -> Callable[[], Tensor]:
        noise = Tensor((roots.T @ random.normal(size=count)).astype(np.float32).reshape(SIDE, SIDE))
        return lambda: exact() + (noise * w).sum()

    def measure() -> float:
        with mi.no_grad():
            return exact().item()

    return Task([w], draw, measure, sampled)


def _rosenbrock(seed: int) -> Task:
    """Ten numbers, each close to the square of the one before; the minimum, 0, is where all of them are 1."""
    random = np.random.default_rng(seed)
    start = np.resize([-1.2, 1.0], (2, 5)) + 0.1 * random.normal(size=(2, 5))
    w = Tensor(start.astype(np.float32), requires_grad=True)

    def squared() -> tuple[Tensor, Tensor]:
        x = w.reshape(10)
        return 10 * (x[1:] - x[:-1] * x[:-1]), 1 - x[:-1]

    def loss() -> Tensor:
        rise, rest = squared()
        return (rise * rise + rest * rest).sum()

    def sampled() -> Tensor:
        rise, rest = squared()
        return sqrt(2) * (rise * _noise(random, 9) + rest * _noise(random, 9)).sum()

    def measure() -> float:
        with mi.no_grad():
            return loss().item()

    return Task([w], lambda: loss, measure, sampled)


def _noise(random: np.random.Generator, count: int) -> Tensor:
    return Tensor(random.normal(size=count).astype(np.float32))


PROBLEMS = {
    "digits": Problem(
        "Digits", "a perceptron 64-32-10 on scikit-learn's pictures of digits, batches of 64", _network, 300, 10, 0.2
    ),
    "text": Problem(
        "Text",
        "a transformer of one block on the characters of Python's help, batches of 8",
        _transformer,
        200,
        20,
        2.8,
    ),
    "quadratic": Problem(
        "Noisy quadratic", "100 numbers, curvatures from 1 to 1/100, noisy gradients", _quadratic, 400, 5, 0.5
    ),
    "valley": Problem("Rosenbrock", "Rosenbrock's valley in 10 dimensions, no noise", _rosenbrock, 1000, 10, 1.0),
}
"""By their names in the results."""
