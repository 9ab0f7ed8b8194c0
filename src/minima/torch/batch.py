"""A batch: parameters that one program steps, of one dtype and on one device, and what a kernel for them must do."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from minima.optim.language.program import Program
from minima.torch.state import Keeping

__all__ = ["Batch", "Kernel"]


@dataclass
class Batch:
    """Parameters that are stepped together."""

    program: Program
    rounding: str
    """How results are written to parameters in half precision: ``nearest``, ``stochastic`` or ``master``."""
    keeping: Keeping
    """What is kept of each parameter."""
    params: Sequence[torch.Tensor]
    kept: Sequence[Mapping[str, torch.Tensor]]
    """The state of each parameter."""
    rows: Sequence[int]
    """For every parameter which row of the scalars is its own."""

    @property
    def names(self) -> list[str]:
        """The names of the tensors that are kept of each parameter, in the order in which engines want them."""
        return [
            entry.name for entry in self.keeping.entries(master=self.rounding == "master", live=self.program.numbers)
        ]


class Kernel(ABC):
    """A prepared step of a batch."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch

    @abstractmethod
    def load(self, grads: Sequence[Any]) -> bool:
        """Take the gradients; False if anything, gradients, parameters or state, is not as it was planned for."""

    def find(self) -> bool:
        """Take the gradients that the parameters have now; False if anything is not as it was planned for."""
        return self.load([param.grad for param in self.batch.params])

    @abstractmethod
    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        """Step by the gradients that were loaded, which are then let go: for every row its scalars and its ``t``."""
