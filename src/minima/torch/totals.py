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
        self._device = device = columns[0][0].device
        places: dict[int, int] = {}
        """Where the number of each parameter is."""
        for launch, column, numbers in columns:
            places |= zip(numbers, launch.column(column), strict=True)
        there = _torch.tensor([places[number] for number in sorted(places)], dtype=torch.int64, device=device)
        many = len(places)
        room = _torch.zeros(2 * (1 + many // CHUNK) + 1, dtype=torch.float64, device=device)
        self.result = room[-1]
        """The total, when it has been added up."""
        self.tables = [there, room]
        """What stays on the GPU."""
        self._words = [there.data_ptr(), room.data_ptr(), many, self.result.data_ptr()]
        self._launch, self._threads = columns[0][0].adding

    def add(self) -> None:
        """Add up what the launches have found by now; the GPU must be the current one."""
        self._launch(1, self._threads, raw_stream(self._device), self._words)
