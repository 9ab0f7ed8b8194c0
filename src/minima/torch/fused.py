"""The fused engine on tensors: machine code on their own memory, in one call for a whole batch."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import torch

from minima.optim.engines.cpu.launch import Launch
from minima.torch.addresses import Addresses, Collector
from minima.torch.batch import Batch, Kernel
from minima.torch.memory import dense, here, is_here

__all__ = ["Fused", "kind_of"]

_negated = torch.Tensor.is_neg


class Fused(Kernel):
    """A launch for tensors. It asks for all addresses in every step, so that it never writes where a tensor was."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._getters = list(map(itemgetter, batch.names))
        self._are_here = all(map(is_here, batch.params))
        numbers = list(map(here, batch.params))
        plain = list(map(dense, numbers))
        self._copies = [(i, copy) for i, (x, copy) in enumerate(zip(numbers, plain, strict=True)) if copy is not x]
        """Copies of parameters with gaps in memory, which are stepped in their place."""
        self._lone = [len(numbers) + i for i, number in enumerate(numbers) if number.numel() == 1]
        """Where the gradients of one element are: autograd may hand them on as a negated view of something else."""
        states = [[here(get(kept)) for kept in batch.kept] for get in self._getters]
        compute = np.dtype(np.float64 if numbers[0].dtype == torch.float64 else np.float32)
        kinds = batch.keeping.kinds(compute, master=batch.rounding == "master", live=batch.program.numbers)
        sizes = [number.numel() for number in numbers]
        self._launch = Launch(
            batch.program, kind_of(numbers[0].dtype, batch.rounding), kinds, compute, sizes, batch.rows
        )
        many, columns = self._launch.buffers.shape
        order = np.arange(many * columns).reshape(many, columns).T.tolist()
        places = [
            *order[0],
            *range(many * columns, many * (columns + 1)),
            *(place for row in order[1:] for place in row),
        ]
        samples = [*plain, *plain, *(tensor for tensors in states for tensor in tensors)]
        self._addresses = Addresses(samples, self._launch.addresses, places)
        self._collector: Collector | None = None
        if self._are_here and not self._copies:
            kept = batch.params, batch.kept, batch.names
            self._collector = Collector(*kept, samples, self._launch.addresses, places)
        self._held: Sequence[Any] = ()

    def find(self) -> bool:
        if self._collector is None:
            return super().find()
        if not self._collector():
            return False
        first = len(self.batch.params)
        return not any(_negated(self._collector.grads[i - first]) for i in self._lone)

    def load(self, grads: Sequence[Any]) -> bool:
        tensors: list[Any] = [*self.batch.params, *grads]
        try:
            for get in self._getters:
                tensors += map(get, self.batch.kept)
        except KeyError:  # someone took it out of the state
            return False
        if not self._are_here:
            tensors = [tensor if tensor is None else here(tensor) for tensor in tensors]
        for i, copy in self._copies:
            tensors[i] = copy
        self._held = tensors
        return self._addresses(tensors) and not any(_negated(tensors[i]) for i in self._lone)

    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        for i, copy in self._copies:
            copy.copy_(here(self.batch.params[i]))
        self._launch(scalars, ts)
        for i, copy in self._copies:
            here(self.batch.params[i]).copy_(copy)
        self._held = ()
        if self._collector is not None:
            self._collector.let_go()


def kind_of(dtype: torch.dtype, rounding: str) -> str:
    """What engines call the form of a parameter."""
    name = str(dtype).removeprefix("torch.")
    if rounding == "stochastic":
        return {"bfloat16": "bfloat16", "float16": "float16_stochastic"}.get(name, name)
    return {"bfloat16": "bfloat16_nearest"}.get(name, name)
