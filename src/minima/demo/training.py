"""The training of the demo: one network, one loop, any optimizer."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import minima as mi
from minima import nn
from minima.data import DataLoader
from minima.demo.data import Split
from minima.optim import SGD, AdaGrad, Adam, Optimizer, RMSProp

__all__ = ["OPTIMIZERS", "History", "Setting", "train"]


@dataclass(frozen=True)
class Setting:
    """An optimizer, and what it is given on this task."""

    kind: type[Optimizer]
    lr: float
    others: dict[str, Any] = field(default_factory=dict[str, Any])


OPTIMIZERS = {
    "sgd": Setting(SGD, 0.05, {"momentum": 0.9}),
    "adagrad": Setting(AdaGrad, 0.005),
    "rmsprop": Setting(RMSProp, 0.0005),
    "adam": Setting(Adam, 0.0005),
}
"""The optimizers under their names on the command line."""


@dataclass
class History:
    """What one training showed, epoch by epoch."""

    name: str
    lr: float
    train_loss: list[float] = field(default_factory=list[float])
    valid_loss: list[float] = field(default_factory=list[float])
    valid_accuracy: list[float] = field(default_factory=list[float])
    seconds: float = 0.0
    """Time spent in training steps: without loading and judging."""
    steps: int = 0


def build(seed: int) -> nn.Module:
    """The network 30-24-24-24-2; one seed always gives the same weights."""
    mi.manual_seed(seed)
    return nn.Sequential(
        nn.Linear(30, 24),
        nn.ReLU(),
        nn.Linear(24, 24),
        nn.ReLU(),
        nn.Linear(24, 24),
        nn.ReLU(),
        nn.Linear(24, 2),
    )


def train(
    name: str,
    lr: float,
    split: Split,
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    report: Callable[[str, History], None],
) -> History:
    """Train the network with one optimizer; ``report`` is called after every epoch."""
    kind, others = OPTIMIZERS[name].kind, OPTIMIZERS[name].others
    cross_entropy = nn.CrossEntropyLoss()
    _rehearse(kind, split, batch_size, cross_entropy, lr=lr, **others)
    network = build(seed)
    optimizer = kind(network.parameters(), lr=lr, **others)
    loader = DataLoader(split.train, batch_size=batch_size, shuffle=True, seed=seed)
    history = History(kind.__name__, lr)
    for _ in range(epochs):
        network.train()
        losses: list[float] = []
        start = time.perf_counter()
        for xb, yb in loader:
            loss = cross_entropy(network(xb), yb)
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss.item() * len(yb))
        history.seconds += time.perf_counter() - start
        history.steps += len(loader)
        history.train_loss.append(sum(losses) / len(split.train))
        _judge(network, cross_entropy, split, history)
        report(name, history)
    return history


def _rehearse(kind: type[Optimizer], split: Split, batch_size: int, cross_entropy: nn.Module, **settings: Any) -> None:
    """A step of a network that is thrown away: what the first one loads and compiles is not the optimizer's time."""
    network = build(seed=0)
    xb, yb = next(iter(DataLoader(split.train, batch_size=batch_size)))
    cross_entropy(network(xb), yb).backward()
    kind(network.parameters(), **settings).step()


def _judge(network: nn.Module, cross_entropy: nn.Module, split: Split, history: History) -> None:
    network.eval()
    x, y = split.valid.tensors
    with mi.no_grad():
        scores = network(x)
        history.valid_loss.append(cross_entropy(scores, y).item())
        history.valid_accuracy.append((scores.argmax(axis=1) == y).mean().item())
