"""The reference engine on tensors: NumPy, one operation after another, on views of their memory."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from minima.optim.engines.reference import ReferenceStep
from minima.optim.engines.storage import Stored
from minima.torch.batch import Batch, Kernel
from minima.torch.fused import kind_of
from minima.torch.memory import bits, dense, here, laid_out
from minima.torch.soundness import is_freed

__all__ = ["Reference"]


class Reference(Kernel):
    """What every other engine is tested against."""

    def __init__(self, batch: Batch) -> None:
        super().__init__(batch)
        self._dtype = here(batch.params[0]).dtype
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._step: ReferenceStep | None = None

    def load(self, grads: Sequence[Any]) -> bool:
        batch, master = self.batch, self.batch.rounding == "master"
        if any(grad is None for grad in grads) or any(name not in kept for kept in batch.kept for name in batch.names):
            return False
        states = (kept[name] for kept in batch.kept for name in batch.names)
        if any(map(is_freed, (*batch.params, *grads, *states))):
            return False
        numbers, given = list(map(here, batch.params)), list(map(here, grads))
        plain = list(map(dense, numbers))
        for x, like in zip(given, plain, strict=True):
            if x.dtype != self._dtype or like.dtype != self._dtype or x.shape != like.shape or not laid_out(x, like):
                return False
        self._copies = [(x, copy) for x, copy in zip(numbers, plain, strict=True) if copy is not x]
        compute = np.dtype(np.float64 if self._dtype == torch.float64 else np.float32)
        kind = kind_of(self._dtype, batch.rounding)
        params = [Stored(kind, -1, (x.numel(),), compute, (bits(x),)) for x in plain]
        stored = [
            batch.keeping.stored(param, kept, master=master)
            for param, kept in zip(batch.params, batch.kept, strict=True)
        ]
        self._step = ReferenceStep(batch.program, params, stored, batch.rows)
        return self._step.load([bits(x.resolve_neg()) for x in given])

    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        assert self._step is not None
        for x, copy in self._copies:
            copy.copy_(x)
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            self._step.run(scalars, ts)
        for x, copy in self._copies:
            x.copy_(copy)
        self._step = None
