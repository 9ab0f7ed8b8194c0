"""A training step of one network, as minima, PyTorch and NumPy take it: with the same weights, data and optimizer."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np
from architectures import characters, convolutions, perceptron
from by_hand import Perceptron

import minima as mi
from minima import nn
from minima.bench.machine import library
from minima.optim import Adam, Optimizer, RMSProp

__all__ = ["NETWORKS", "TRAINERS", "Network", "Step", "Target", "Trainer"]

OPTIMIZERS: dict[str, tuple[type[Optimizer], dict[str, Any], str]] = {
    "Adam": (Adam, {}, "Adam"),
    "RMSProp": (RMSProp, {"rho": 0.99, "eps": 1e-8, "eps_inside": False}, "RMSprop"),
}
"""The class of minima, the settings with which it is PyTorch's to rounding, and what PyTorch calls it."""


@dataclass(frozen=True)
class Target:
    """How fast a way to train has to be: a ratio of its time to another's."""

    contender: str
    rival: str
    limit: float


@dataclass(frozen=True)
class Network:
    """A perceptron of these widths, with ReLU between its layers, trained by cross-entropy."""

    widths: tuple[int, ...]
    batch: int
    targets: tuple[Target, ...]
    optimizer: str = "Adam"

    @property
    def title(self) -> str:
        """Its widths, the size of its batch, and its optimizer."""
        return f"{'-'.join(map(str, self.widths))}, batch {self.batch}, {self.optimizer}"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """One batch: standard normal samples, and classes that have nothing to do with them."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.batch, self.widths[0]), dtype=np.float32)
        return x, random.integers(0, self.widths[-1], self.batch)

    def model(self) -> nn.Module:
        """Minima's network; its weights are the same every time."""
        mi.manual_seed(0)
        return self.build(nn)

    def build(self, of: Any) -> Any:
        """The network of a library, by its ``nn``."""
        return perceptron(of, self.widths)


@dataclass(frozen=True)
class Pictures(Network):
    """A convolutional network on pictures of 28 x 28: the channels of each layer, then the classes."""

    @property
    def title(self) -> str:
        """Its channels and classes, the size of its batch, and its optimizer."""
        return f"CNN on 28x28: {super().title}"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """One batch: standard normal pictures, and classes that have nothing to do with them."""
        random = np.random.default_rng(0)
        x = random.standard_normal((self.batch, self.widths[0], 28, 28), dtype=np.float32)
        return x, random.integers(0, self.widths[-1], self.batch)

    def build(self, of: Any) -> Any:
        """The network of a library, by its ``nn``."""
        return convolutions(of, self.widths[:-1], 28, self.widths[-1])


@dataclass(frozen=True)
class Characters(Network):
    """A transformer on texts of 64 characters: their number, the width of each block, their number again."""

    length: int = 64

    @property
    def title(self) -> str:
        """Its widths, the size of its batch, and its optimizer."""
        return f"transformer on {self.length} characters: {super().title}"

    def data(self) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """One batch: texts, and for each of their characters one that has nothing to do with it."""
        random = np.random.default_rng(0)
        x = random.integers(0, self.widths[0], (self.batch, self.length))
        return x, random.integers(0, self.widths[-1], x.size)

    def build(self, of: Any) -> Any:
        """The network of a library, by its ``nn``."""
        return characters(of, self.widths, self.length, heads=4)


NETWORKS = {
    "small": Network((30, 24, 24, 24, 2), 64, (Target("minima", "numpy", 1.35), Target("minima", "torch", 0.26))),
    "medium": Network((784, 512, 512, 10), 128, (Target("minima", "torch", 0.85),)),
    # 1.2 times as many steps in a second.
    "wide": Network((784, 2048, 2048, 10), 64, (Target("minima-torch", "torch", 1 / 1.2),), "RMSProp"),
    "pictures": Pictures((1, 16, 32, 10), 64, (Target("minima", "torch", 3),)),
    "characters": Characters((65, 128, 128, 65), 16, (Target("minima", "torch", 2.2),)),
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
    build: Callable[[Network, float], Step | None]
    """Takes the network and the learning rate; None where there is no such optimizer."""
    needs: Sequence[str] = ()
    """The libraries without which it is left out."""


def _minima(network: Network, lr: float, **options: Any) -> Step:
    x, y = map(mi.Tensor, network.data())
    model, cross_entropy = network.model(), nn.CrossEntropyLoss()
    kind, settings, _ = OPTIMIZERS[network.optimizer]
    return _step(model, cross_entropy, kind(model.parameters(), lr=lr, **settings, **options), x, y)


def _by_hand(network: Network, lr: float) -> Step | None:
    if type(network) is not Network or network.optimizer not in Perceptron.optimizers:
        return None  # by hand there are layers of products and ReLU alone
    weights = [weight.detach().numpy() for weight in network.model().parameters()]
    perceptron, (x, y) = Perceptron(weights, network.optimizer, lr), network.data()
    return Step(lambda: perceptron.derive(x, y), perceptron.update)


def _minima_torch(network: Network, lr: float) -> Step:
    kind, settings, _ = OPTIMIZERS[network.optimizer]
    adapted: Any = import_module("minima.torch").adapt(kind)
    return _in_torch(network, lambda params: adapted(params, lr=lr, **settings))


def _torch(network: Network, lr: float, **options: Any) -> Step | None:
    kind = getattr(library("torch").optim, OPTIMIZERS[network.optimizer][2])  # pyright: ignore - it is there
    try:
        return _in_torch(network, lambda params: kind(params, lr=lr, **options))
    except TypeError:  # not fused: no such argument
        return None


def _in_torch(network: Network, make: Callable[[Any], Any]) -> Step:
    torch: Any = library("torch")
    x, y = map(torch.from_numpy, network.data())
    model, cross_entropy = network.build(torch.nn), torch.nn.CrossEntropyLoss()
    with torch.no_grad():
        for param, weight in zip(model.parameters(), network.model().parameters(), strict=True):
            param.copy_(torch.from_numpy(weight.detach().numpy()))
    return _step(model, cross_entropy, make(model.parameters()), x, y)


def _step(model: Any, cross_entropy: Any, optimizer: Any, x: Any, y: Any) -> Step:
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
    "numpy": Trainer("NumPy, by hand", _by_hand),
    "minima-torch": Trainer("PyTorch, eager, minima.torch", _minima_torch, ("torch",)),
    "torch": Trainer("PyTorch, eager", _torch, ("torch",)),
    "torch-fused": Trainer(
        "PyTorch, eager, fused=True", lambda network, lr: _torch(network, lr, fused=True), ("torch",)
    ),
}
"""By their names on the command line."""
