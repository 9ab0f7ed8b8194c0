"""A perceptron trained with nothing but NumPy, as one writes it by hand for one network: no tape and no checks.

It is what a step costs where nothing but the arithmetic is paid for, and so the measure of a library's overhead.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Perceptron"]

Floats = NDArray[np.float32]


class Perceptron:
    """Linear layers with ReLU between them, the mean cross-entropy of its classes, and an optimizer.

    All parameters lie in one vector, and so do their averages: an update is a few operations, not a few for each
    parameter, which for eight of them would take four times as long.
    """

    optimizers = ("SGD", "Adam")
    """Plain SGD, and Adam with its usual settings."""

    def __init__(self, params: Sequence[Floats], optimizer: str, lr: float) -> None:
        """Begin with copies of these weights (outputs, inputs) and biases (outputs,), one after the other."""
        ends = np.cumsum([param.size for param in params])
        self._all = np.concatenate([param.ravel() for param in params])
        views = [part.reshape(param.shape) for part, param in zip(np.split(self._all, ends[:-1]), params, strict=True)]
        self._weights, self._biases = views[::2], views[1::2]
        self._grads: list[Floats] = []
        self._update = {"SGD": self._sgd, "Adam": self._adam}[optimizer]
        self._lr, self._t = lr, 0
        self._average, self._average_of_squares = np.zeros_like(self._all), np.zeros_like(self._all)

    def derive(self, x: Floats, y: NDArray[np.int64]) -> Any:
        """The loss of samples (N, inputs) with classes (N,); it leaves the gradients of all parameters behind."""
        inputs: list[Floats] = []
        h = x
        for weight, bias in zip(self._weights, self._biases, strict=True):
            if inputs:
                h = np.maximum(h, 0)
            inputs.append(h)
            h = h @ weight.T + bias

        rows = np.arange(len(y))
        h -= h.max(axis=1, keepdims=True)
        g = np.exp(h)
        total = g.sum(axis=1, keepdims=True)
        loss = np.mean(np.log(total[:, 0]) - h[rows, y])
        g /= total
        g[rows, y] -= 1
        g /= len(y)

        self._grads = []
        for layer in reversed(range(len(inputs))):
            self._grads += [g.sum(axis=0), g.T @ inputs[layer]]
            if layer:
                g = g @ self._weights[layer]
                g *= inputs[layer] > 0
        return loss

    def update(self) -> None:
        """Step by these gradients."""
        self._t += 1
        self._update(np.concatenate([grad.ravel() for grad in reversed(self._grads)]))

    def _sgd(self, grad: Floats) -> None:
        grad *= self._lr
        self._all -= grad

    def _adam(self, grad: Floats) -> None:
        beta1, beta2, eps = 0.9, 0.999, 1e-8
        root = (1 - beta2**self._t) ** 0.5
        m, v = self._average, self._average_of_squares
        m *= beta1
        m += (1 - beta1) * grad
        grad *= grad
        v *= beta2
        v += (1 - beta2) * grad
        self._all -= self._lr * root / (1 - beta1**self._t) * m / (np.sqrt(v) + eps * root)
