"""A total over parameters on a GPU, which is added up there, in the order that defines a sum."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from minima.optim.engines.reductions import CHUNK
from minima.torch.private import raw_stream

if TYPE_CHECKING:
    from minima.torch.grid import GridLaunch

__all__ = ["Total"]

_torch: Any = torch


class Total:
    """A total over the parameters of some launches, which are added in their order, as all sums are."""

    def __init__(self, columns: Sequence[tuple["GridLaunch", int, Sequence[int]]]) -> None:
        """Prepare for launches with a column of ``totalled`` each, and numbers that say the order of parameters."""
        from minima.optim.engines.cuda import driver, model  # these load LLVM

        self._device = device = columns[0][0].device
        index: Any = device.index
        order = sorted(number for *_, numbers in columns for number in numbers)
        ranks, self._many = {number: rank for rank, number in enumerate(order)}, len(order)
        room = self._many + 2 * (1 + self._many // CHUNK) + 1
        self._terms = _torch.zeros(room, dtype=torch.float64, device=device)
        self.result = self._terms[-1]
        """The total, when it has been added up."""
        self.tables = [self._terms]
        """What stays on the GPU."""
        self._gather = driver.Launcher(model.terms_ptx(), model.TERMS, len(model.TERMS_ARGUMENTS), index)
        self._threads = model.TERMS_THREADS
        self._sources: list[list[int]] = []
        for launch, column, numbers in columns:
            there = _torch.tensor([ranks[number] for number in numbers], dtype=torch.int64, device=device)
            self.tables.append(there)
            self._sources.append([*launch.column(column), there.data_ptr(), len(there), self._terms.data_ptr()])
        self._add, self._width = columns[0][0].adding

    def add(self) -> None:
        """Add up what the launches have found by now; the GPU must be the current one."""
        stream, terms = raw_stream(self._device), self._terms.data_ptr()
        for source in self._sources:
            self._gather(-(-source[3] // self._threads), self._threads, stream, source)
        self._add(1, self._width, stream, [terms, self._many, self.result.data_ptr()])
