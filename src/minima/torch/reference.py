"""The reference engine on tensors: NumPy, one operation after another, on views of their memory."""

from collections.abc import Sequence
from functools import partial
from itertools import chain
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.reference import ReferenceKernel
from minima.optim.engines.storage import Array, Stored
from minima.optim.language.ranks import matrix_shape
from minima.torch.kernel import TensorKernel, Work, kind_of
from minima.torch.memory import bits, dense, local, same_strides
from minima.torch.soundness import Likeness, is_freed

__all__ = ["Reference"]


class Reference(TensorKernel):
    """What every other engine is tested against."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self._likeness = Likeness([*work.params, *self._states()])
        self._dtype = local(work.params[0]).dtype
        self._copies: list[tuple[torch.Tensor, torch.Tensor]] = []
        self._grads: list[torch.Tensor] = []
        """As they are: of bfloat16 NumPy sees bits only."""
        self._params: list[Stored] = []
        given, states = self._params, partial(_stored, work)  # which do not refer back to the kernel
        self._inner = ReferenceKernel(work.program, lambda: given, lambda: None, states)
        self._has_rows = work.program.by_rows or bool(work.program.shape)
        self._left = 0
        """How many stages are still to be taken."""

    @property
    def reports(self) -> NDArray[np.float64]:
        return self._inner.reports

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self._inner.totalled

    @property
    def has_written(self) -> bool:
        return self._inner.has_written

    def load(self, grads: Sequence[Any]) -> bool:
        work = self.work
        if any(grad is None or is_freed(grad) for grad in grads):
            return False
        if not self._likeness.holds(chain(work.params, self._states())):
            return False
        numbers, given = list(map(local, work.params)), list(map(local, grads))
        plain = list(map(dense, numbers))
        for x, like in zip(given, plain, strict=True):
            if x.dtype != self._dtype or like.dtype != self._dtype or x.shape != like.shape:
                return False
            if not same_strides(x, like):
                return False
        self._copies = [(x, copy) for x, copy in zip(numbers, plain, strict=True) if copy is not x]
        compute = np.dtype(np.float64 if self._dtype == torch.float64 else np.float32)
        self._grads = given
        kind = kind_of(self._dtype, work.rounding)
        shapes = [matrix_shape(x.shape) if self._has_rows else (x.numel(),) for x in plain]
        arrays = [self._shaped(bits(x), shape) for x, shape in zip(plain, shapes, strict=True)]
        pairs = zip(shapes, arrays, strict=True)
        self._params[:] = [Stored(kind, -1, shape, compute, (array,)) for shape, array in pairs]
        own = zip(given, shapes, strict=True)
        return self._inner.load([self._shaped(bits(x.resolve_neg()), shape) for x, shape in own])

    def _shaped(self, array: Array, shape: tuple[int, ...]) -> Array:
        return array if self._dtype == torch.bfloat16 else array.reshape(shape)  # bits of such stay flat

    def found_finite(self) -> list[bool]:
        return [bool(grad.isfinite().all()) for grad in self._grads]

    def drop(self) -> None:
        self._copies, self._grads = [], []
        self._params.clear()
        self._inner.drop()

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._inner.arrange(self.own_rows(rows))

    @torch.no_grad()
    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        for x, copy in self._copies:
            copy.copy_(x)
        self._left = self.work.program.stage_count
        self._inner.begin(*self.of_own_rows(scalars, ts), model)

    def proceed(self, model: Sequence[float]) -> None:
        self._inner.proceed(model)

    @torch.no_grad()
    def run(self) -> None:
        self._inner.run()
        self._left -= 1
        if self._left:
            return
        for x, copy in self._copies:
            x.copy_(copy)
        if not self.work.program.totalled:  # else the totals are still to be read
            self.drop()


def _stored(work: Work) -> list[tuple[Stored, ...]]:
    return [work.keeping.stored(param, kept) for param, kept in zip(work.params, work.kept, strict=True)]
