"""Counts of steps that live on GPUs, so that a step neither waits for them nor depends on what the host knows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from minima.torch.memory import brought

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
    """Counts on GPUs: of each parameter on its own, of the optimizer on the GPU of the first parameter.

    Attributes:
        devices: The GPUs; the first has the optimizer's own counts, and decides whether a step is left out.
        tensors: The count of each parameter, in float64, without axes.
        addresses: Where they were when this began.
        own: The steps that the optimizer has taken, and those that it has left out.
        found: Of the present step, on each GPU: not 0 where it is to be left out; in float32. Empty if it never is.
        scale: Of the present step: how many times too large gradients are; a tensor may be anywhere.
        ticks: Whether it is a step, and is counted.
    """

    def __init__(
        self,
        devices: Sequence[torch.device],
        mode: Mode,
        counts: NDArray[np.int64],
        fresh: Sequence[bool],
        own: tuple[int, int],
    ) -> None:
        """Begin with what the host has counted.

        Args:
            devices: The GPU of each parameter.
            mode: How steps are taken.
            counts: The steps that each parameter has taken.
            fresh: Whether the state of each is new, and no step has been taken with it.
            own: The steps that the optimizer has taken, and those that it has left out.
        """
        self.devices, self.mode = list(dict.fromkeys(devices)), mode

        def there(numbers: Any, device: torch.device) -> torch.Tensor:
            return _torch.tensor(numbers, dtype=torch.float64, device=device)

        self.tensors = [there(float(count), device) for count, device in zip(counts.tolist(), devices, strict=True)]
        self.addresses = [tensor.data_ptr() for tensor in self.tensors]
        self.own = there([*map(float, own)], self.devices[0])
        self._fresh = {device: there([*map(float, fresh), 0.0], device) for device in self.devices}
        """On each GPU, for each parameter 1 where its state is new, else 0, of which those count that are there; and a
        zero."""
        self._where = list(devices)
        self.found: Mapping[torch.device, torch.Tensor] = {}
        self.scale: torch.Tensor | float = 1.0
        self.ticks = True
        self._is_counted = True

    def on(self, device: torch.device) -> list[torch.Tensor]:
        """The tensors of counts on a GPU."""
        tensors = [tensor for tensor, place in zip(self.tensors, self._where, strict=True) if place == device]
        return [*tensors, self._fresh[device], *([self.own] if device == self.devices[0] else [])]

    def counts_at(self, places: Sequence[int], device: torch.device) -> bool:
        """Whether the counts of some parameters are on a GPU."""
        return all(self._where[place] == device for place in places)

    def renew(self, place: int) -> None:
        """Be told that the state of a parameter is new."""
        self._fresh[self._where[place]][place] = 1.0

    def begin(self, found: torch.Tensor | None, scale: torch.Tensor | float, *, ticks: bool = True) -> None:
        """Begin a step. Whether it is left out is brought to all GPUs, before anything is counted."""
        found = None if found is None else found.to(torch.float32).reshape(())
        self.found = {} if found is None else {device: brought(found, device) for device in self.devices}
        self.scale, self.ticks = scale, ticks
        self._is_counted = not ticks

    def take_own(self, device: torch.device) -> int:
        """The address of the optimizer's own counts, for the kernel on their GPU that comes first in a step; else 0."""
        if self._is_counted or device != self.devices[0]:
            return 0
        self._is_counted = True
        return self.own.data_ptr()

    def end(self) -> None:
        """Count the step for the optimizer, unless a kernel has: there may have been none on the GPU of its counts."""
        if self._is_counted:
            return
        self._is_counted = True
        if not self.found:
            self.own[0] += 1
            return
        is_left_out = (self.found[self.devices[0]] != 0).double()
        self.own += torch.stack([1 - is_left_out, is_left_out])

    def verdict(self, device: torch.device) -> int:
        """The address of what says on a GPU whether the step is left out."""
        return self.found[device].data_ptr() if self.found else self._fresh[device].data_ptr() + 8 * len(self._where)

    def clocks(self, places: Sequence[int], device: torch.device) -> NDArray[np.int64]:
        """For some parameters on a GPU the addresses of their count, and of whether their state is new."""
        first = self._fresh[device].data_ptr()
        return np.array([(self.addresses[i], first + 8 * i) for i in places], np.int64).reshape(-1, 2)

    def read(self) -> tuple[list[Any], list[bool], tuple[int, int]]:
        """All counts, what is new, and the optimizer's own two counts. This waits for the GPUs.

        A count is a number; or a tensor, if someone has put one there that is none.
        """
        fresh: dict[torch.device, list[float]] = {device: _listed(numbers) for device, numbers in self._fresh.items()}
        taken, left_out = _listed(self.own)
        counts: list[Any] = list(self.tensors)
        together: dict[torch.device, list[int]] = {}  # others may have moved them
        for place, tensor in enumerate(self.tensors):
            if tensor.numel() == 1 and not (tensor.is_complex() or tensor.is_meta):
                together.setdefault(tensor.device, []).append(place)
        for places in together.values():
            numbers = torch.stack([self.tensors[place].reshape(()).double() for place in places])
            for place, number in zip(places, _listed(numbers), strict=True):
                counts[place] = number
        return counts, [fresh[at][i] != 0 for i, at in enumerate(self._where)], (int(taken), int(left_out))


def _listed(numbers: torch.Tensor) -> list[float]:
    return cast(Any, numbers).tolist()
