"""A training step of one network, as minima and as PyTorch take it: the same weights, the same data, the same Adam."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
from machine import library

import minima as mi
from minima import nn
from minima.optim import Adam

__all__ = ["NETWORKS", "TRAINERS", "Network", "Trainer"]


@dataclass(frozen=True)
class Network:
    """A perceptron of these widths, with ReLU between its layers, trained by cross-entropy."""

    widths: tuple[int, ...]
    batch: int
    target: float
    """What minima's training step may take at most of PyTorch's."""

    @property
    def title(self) -> str:
        """Its widths and the size of its batch."""
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """One batch: standard normal samples, and classes that have nothing to do with them."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.batch, self.widths[0]), dtype=np.float32)
        return x, random.integers(0, self.widths[-1], self.batch)

    def model(self) -> nn.Sequential:
        """Minima's network; its weights are the same every time."""
        mi.manual_seed(0)
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(self.widths):
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
        return nn.Sequential(*layers[:-1])


NETWORKS = {
    "small": Network((30, 24, 24, 24, 2), 64, target=0.35),
    "medium": Network((784, 512, 512, 10), 128, target=0.9),
}
"""By their names on the command line."""


@dataclass
class Step:
    """A training step in its two parts."""

    derive: Callable[[], Any]
    """Forward, loss and backward; gives the loss."""
    update: Callable[[], None]
    """The optimizer's step and zero_grad."""

    def run(self, times: int) -> tuple[float, ...]:
        """So many steps; the seconds of both parts."""
        clock = time.perf_counter
        deriving = updating = 0.0
        for _ in range(times):
            start = clock()
            self.derive()
            middle = clock()
            self.update()
            deriving += middle - start
            updating += clock() - middle
        return deriving, updating

    def losses(self, steps: int) -> list[float]:
        """Train so long; the loss before each step."""
        found: list[float] = []
        for _ in range(steps):
            found.append(self.derive().item())
            self.update()
        return found


@dataclass(frozen=True)
class Trainer:
    """A way to train."""

    title: str
    build: Callable[[Network, float], Step]
    """Takes the network and the learning rate."""
    needs: Sequence[str] = ()
    """The libraries without which it is left out."""


def _minima(network: Network, lr: float, **options: Any) -> Step:
    x, y = map(mi.Tensor, network.data())
    model, cross_entropy = network.model(), nn.CrossEntropyLoss()
    optimizer = Adam(model.parameters(), lr=lr, **options)

    def derive() -> Any:
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return Step(derive, update)


def _torch(network: Network, lr: float, **options: Any) -> Step:
    torch: Any = library("torch")
    x, y = map(torch.from_numpy, network.data())
    layers: list[Any] = []
    for inputs, outputs in pairwise(network.widths):
        layers += [torch.nn.Linear(inputs, outputs), torch.nn.ReLU()]
    model, cross_entropy = torch.nn.Sequential(*layers[:-1]), torch.nn.CrossEntropyLoss()
    with torch.no_grad():
        for param, weight in zip(model.parameters(), network.model().parameters(), strict=True):
            param.copy_(torch.from_numpy(weight.detach().numpy()))
    optimizer = torch.optim.Adam(model.parameters(), lr=lr, **options)

    def derive() -> Any:
        loss = cross_entropy(model(x), y)
        loss.backward()
        return loss

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad()

    return Step(derive, update)


TRAINERS = {
    "minima": Trainer("minima", _minima),
    "reference": Trainer("minima, engine='reference'", lambda network, lr: _minima(network, lr, engine="reference")),
    "torch": Trainer("PyTorch, eager", _torch, ("torch",)),
    "torch-fused": Trainer(
        "PyTorch, eager, fused=True", lambda network, lr: _torch(network, lr, fused=True), ("torch",)
    ),
}
"""By their names on the command line."""
