"""The tensors of an optimizer as one vector."""

from collections.abc import Sequence
from functools import reduce
from typing import Any

import torch

from minima.errors import sentence
from minima.torch.memory import local, wide

__all__ = ["VectorSpace", "divided"]


def divided(vector: torch.Tensor, sizes: Sequence[int]) -> Sequence[torch.Tensor]:
    """The parts of a vector, as views."""
    untyped: Any = vector
    return untyped.split(sizes)


class VectorSpace:
    """The parameters as one vector: on the device of the first, in the precision of the most precise, float32 at least.

    Complex numbers are pairs of real ones, as in PyTorch.
    """

    def __init__(self, who: str, params: Sequence[torch.Tensor]) -> None:
        """Take the parameters, one behind the other; ``who`` is the public name that complains."""
        self._who = who
        self._params = params
        self._parts = [local(param) for param in params]
        self.dtype = reduce(torch.promote_types, (wide(part.dtype) for part in self._parts))
        self.device = params[0].device
        self.sizes = [part.numel() for part in self._parts]
        self.size = sum(self.sizes)

    def parameters(self) -> torch.Tensor:
        return self._joined(self._parts)

    def gradient(self) -> torch.Tensor:
        grads = [param.grad for param in self._params]
        if all(grad is None for grad in grads):
            rule, hint = "closure must compute gradients, and no parameter has one", "call loss.backward() in it"
            raise ValueError(sentence(self._who, rule, hint=hint))
        return self._joined(
            [
                torch.zeros_like(part) if grad is None else local(grad.to_dense() if grad.is_sparse else grad)
                for part, grad in zip(self._parts, grads, strict=True)
            ]
        )

    def _joined(self, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat([tensor.to(self.device, self.dtype).reshape(-1) for tensor in tensors])

    def put(self, start: torch.Tensor, step: float = 0.0, direction: torch.Tensor | None = None) -> None:
        begins = divided(start, self.sizes)
        along = [None] * len(begins) if direction is None else divided(direction, self.sizes)
        for part, begin, way in zip(self._parts, begins, along, strict=True):
            begin = begin.view(part.shape)
            if way is None:
                part.copy_(begin)
            elif part.device == self.device:
                torch.add(begin, way.view(part.shape), alpha=step, out=part)
            else:
                part.copy_(torch.add(begin, way.view(part.shape), alpha=step))

    def minus(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        return x - y

    def times(self, factor: float, x: torch.Tensor) -> torch.Tensor:
        return x * factor

    def add(self, y: torch.Tensor, factor: float, x: torch.Tensor) -> None:
        y.add_(x, alpha=factor)

    def dot(self, x: torch.Tensor, y: torch.Tensor) -> float:
        return x.dot(y).item()

    def largest(self, x: torch.Tensor) -> float:
        return x.abs().max().item() if x.numel() else 0.0

    def total(self, x: torch.Tensor) -> float:
        return x.abs().sum().item()

    def vector(self, value: Any) -> torch.Tensor | None:
        """A copy of a vector out of a state dict; None if it is none of this length."""
        if not (isinstance(value, torch.Tensor) and value.shape == (self.size,) and value.is_floating_point()):
            return None
        return value.detach().to(self.device, self.dtype, copy=True)
