"""What the kernels of all engines on tensors have in common: the tensors that they step."""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.core.host import Member
from minima.optim.engines.engine import Kernel
from minima.optim.engines.storage import shift
from minima.optim.language.program import Program
from minima.torch.device_counts import DeviceCounts
from minima.torch.memory import is_sharded, same_shards
from minima.torch.sharding import Shards, first_number
from minima.torch.state import Keeping

__all__ = ["Slot", "TensorKernel", "Work", "are_finite", "kind_of"]

_gradient = attrgetter("grad")


class Slot(Member):
    """A tensor of an optimizer, and its state."""

    __slots__ = ("kept",)

    tensor: torch.Tensor

    def __init__(self, tensor: torch.Tensor, name: str | None, position: int, place: int) -> None:
        super().__init__(tensor, name, position, place)
        self.kept: dict[str, Any] | None = None
        """The entry of the optimizer's state, once there is one."""


@dataclass(frozen=True)
class Work:
    """What a kernel does, and to whom."""

    program: Program
    keeping: Keeping
    rounding: str
    """How results are written to parameters in half precision: ``nearest`` or ``stochastic``."""
    params: Sequence[torch.Tensor]
    kept: Sequence[dict[str, Any]]
    """The state of each parameter."""
    witness: torch.Tensor | None = None
    """A sharded parameter of the same optimizer, if it has any: the processes that hold it decide together."""
    counts: DeviceCounts | None = None
    """What counts the steps of the parameters, where it is not the host."""
    places: Sequence[int] = ()
    """Where they stand among all of the optimizer."""

    @property
    def names(self) -> list[str]:
        """The names of the tensors that are kept of each parameter, in the order in which engines want them."""
        return self.keeping.names


class TensorKernel(Kernel):
    """A prepared step of tensors."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.shards = Shards(work.params[0]) if is_sharded(work.params[0]) else None
        """Who holds the other shards, where this process has but one of each."""
        self.shifts = [0] * len(work.params) if self.shards is None else [shift(first_number(x)) for x in work.params]
        """What is added to ``t`` for the random numbers of each parameter, so that shards round as the whole does."""
        self._own: list[tuple[int, int]] = []
        """For each row of a launch the one that it comes from and the shift of its ``t``, where they are not equal."""

    def own_rows(self, rows: Sequence[int] | NDArray[np.int64]) -> Sequence[int] | NDArray[np.int64]:
        """The rows of the parameters, where those whose shards begin elsewhere have rows of their own."""
        self._own = []
        if not any(self.shifts):
            return rows
        pairs = [(int(row), shift) for row, shift in zip(rows, self.shifts, strict=True)]
        self._own = list(dict.fromkeys(pairs))
        return list(map(self._own.index, pairs))

    def of_own_rows(self, scalars: Sequence[Any], ts: Sequence[int]) -> tuple[Sequence[Any], Sequence[int]]:
        """What is known of each row, for those of `own_rows`."""
        if not self._own:
            return scalars, ts
        return [scalars[row] for row, _ in self._own], [ts[row] + shift for row, shift in self._own]

    def _states(self) -> Iterator[Any]:
        """What now stands where state should be, of each parameter in the order of its names."""
        names = self.work.names
        return (kept.get(name) for kept in self.work.kept for name in names)

    def find(self) -> bool:
        grads = list(map(_gradient, self.work.params))
        if self.shards is not None and not all(map(same_shards, grads, self.work.params)):
            return False
        return self.load(grads)

    @abstractmethod
    def load(self, grads: Sequence[Any]) -> bool: ...

    def finite(self) -> list[bool]:
        found, shards = self.found_finite(), self.shards
        if shards is None and self.work.witness is not None:
            shards = Shards(self.work.witness)
        return found if shards is None else shards.all_of(found)

    @abstractmethod
    def found_finite(self) -> list[bool]:
        """Whether each of the gradients that were loaded has finite entries only, as far as they are here."""


def are_finite(grads: Sequence[torch.Tensor]) -> list[bool]:
    """Whether each of some gradients has finite entries only, which takes waiting for their device."""
    return torch.stack([grad.isfinite().all() for grad in grads]).cpu().numpy().tolist()


def kind_of(dtype: torch.dtype, rounding: str) -> str:
    """What engines call the form of a parameter."""
    name = str(dtype).removeprefix("torch.")
    if rounding == "stochastic":
        return {"bfloat16": "bfloat16", "float16": "float16_stochastic"}.get(name, name)
    return {"bfloat16": "bfloat16_nearest"}.get(name, name)
