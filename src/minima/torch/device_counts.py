"""Counts of steps that live on a GPU, so that a step neither waits for it nor depends on what the host knows."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["DeviceCounts", "Mode"]

_torch: Any = torch


@dataclass(frozen=True)
class Mode:
    """How steps are taken whose counts are on a GPU."""

    is_capturable: bool = False
    """Whether a CUDA graph may record them: then nothing that they need is in the memory of the host."""
    is_guarded: bool = False
    """Whether a number on the GPU says, in each step, that it is to be left out."""
    is_scaled: bool = False
    """Whether gradients are as many times too large as a number on the GPU says."""


class DeviceCounts:
    """Counts on a GPU: of each parameter in a tensor of its own, of the optimizer in one tensor.

    Attributes:
        tensors: The count of each parameter, in float64, without axes.
        addresses: Where they were when this began.
        fresh: For each parameter 1 where its state is new, and no step has been taken with it, else 0.
        own: The steps that the optimizer has taken, those that it has left out, and a zero.
        found: Of the present step: not 0 where it is to be left out; in float32.
        scale: Of the present step: how many times too large gradients are.
        ticks: Whether it is a step, and is counted.
    """

    def __init__(
        self, device: torch.device, mode: Mode, counts: NDArray[np.int64], fresh: Sequence[bool], own: tuple[int, int]
    ) -> None:
        """Begin with what the host has counted; ``own`` is what the optimizer has taken and left out."""
        self.device, self.mode = device, mode

        def there(numbers: Any) -> torch.Tensor:
            return _torch.tensor(numbers, dtype=torch.float64, device=device)

        self.tensors = [there(float(count)) for count in counts.tolist()]
        self.addresses = [tensor.data_ptr() for tensor in self.tensors]
        self.fresh = there([float(is_new) for is_new in fresh])
        self.own = there([*map(float, own), 0.0])
        self.found: torch.Tensor | None = None
        self.scale: torch.Tensor | float = 1.0
        self.ticks = True
        self._is_counted = True

    @property
    def all(self) -> list[torch.Tensor]:
        """All tensors of counts."""
        return [*self.tensors, self.fresh, self.own]

    def begin(self, found: torch.Tensor | None, scale: torch.Tensor | float, *, ticks: bool = True) -> None:
        """Begin a step."""
        self.found, self.scale, self.ticks = found, scale, ticks
        self._is_counted = not ticks

    def take_own(self) -> int:
        """The address of the optimizer's own counts, for the kernel that counts first in a step; 0 for others."""
        is_counted, self._is_counted = self._is_counted, True
        return 0 if is_counted else self.own.data_ptr()

    def idle(self) -> None:
        """Count a step in which no parameter moves."""
        if self.take_own():
            self.own[0] += 1

    @property
    def verdict(self) -> int:
        """The address of what says whether the step is left out."""
        return self.own.data_ptr() + 16 if self.found is None else self.found.data_ptr()

    def clocks(self, places: Sequence[int]) -> NDArray[np.int64]:
        """For some parameters the addresses of their count, and of whether their state is new."""
        first = self.fresh.data_ptr()
        return np.array([(self.addresses[i], first + 8 * i) for i in places], np.int64).reshape(-1, 2)

    def read(self) -> tuple[list[float], list[bool], tuple[int, int]]:
        """All counts, what is new, and the optimizer's own two counts. This waits for the GPU."""
        numbers: list[float] = _torch.stack([*self.tensors, *self.fresh.unbind(), *self.own.unbind()]).tolist()
        many = len(self.tensors)
        return numbers[:many], [x != 0 for x in numbers[many : 2 * many]], (int(numbers[-3]), int(numbers[-2]))
