"""How many steps each parameter has taken: exact for us, and shown to PyTorch as tensors that anyone may write to."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from minima.errors import sentence
from minima.optim.core.clock import MOST, Clock
from minima.torch.device_counts import DeviceCounts, Mode

__all__ = ["Counts", "step_count"]

_torch: Any = torch
_Indices = NDArray[np.integer[Any]] | list[int]


class Counts(Clock):
    """The clock of an optimizer, with a count for each parameter that PyTorch can see, and write to.

    Each is shown by a tensor of its own, on the CPU, without axes, in float64 whatever PyTorch's defaults are. The
    tensors are views of one array, so that one comparison tells whether anyone wrote to any of them. A tensor that is
    given other memory (``share_memory_()``, ``tensor.data = ...``) is taken back, with the number that it shows.

    While a GPU counts, ``device`` does, and the tensors are its: then what stands here is what was last read of it.
    """

    def __init__(self, who: str, called: Callable[[int], str]) -> None:
        """Count for ``who``, which complains; ``called`` is what a message calls the parameter of a place."""
        super().__init__()
        self._who = who
        self._called = called
        self._room: NDArray[np.float64] = np.zeros(0, np.float64)
        self._shown = self._room
        """The part of the room that is in use."""
        self._said = b""
        """What was last shown; the counts themselves are exact, where float64 is not: from 2**53 on."""
        self._tensors: dict[int, torch.Tensor] = {}
        self.device: DeviceCounts | None = None
        """What counts in our place."""

    def add(self, many: int) -> None:
        super().add(many)
        size, before, room = len(self.counts), self._shown, self._room
        if size > len(room):  # room for as many more: who adds group after group would else move all tensors each time
            self._room = np.zeros(max(size, 2 * len(room)), np.float64)
            self._room[: len(before)] = before
        self._shown = self._room[:size]
        self._said += bytes(8 * many)
        if self._room is not room:
            for index, tensor in self._tensors.items():
                tensor.data = self._view(index)

    def counter(self, places: slice | NDArray[np.int64]) -> Callable[[], object]:
        # The counts themselves come last: by them is known, after an interrupt, whether the step has been counted.
        if isinstance(places, slice):
            counts, shown = self.counts[places], self._shown[places]

            def count() -> None:
                np.add(counts, 1, shown)
                self._said = self._shown.tobytes()
                np.add(counts, 1, counts)
        else:

            def count() -> None:
                self._shown[places] = self.counts[places] + 1
                self._said = self._shown.tobytes()
                self.counts[places] += 1

        return count

    def set(self, places: Sequence[int], t: int | Sequence[int]) -> None:
        super().set(places, t)
        self._say(list(places))
        if self.device is not None:
            for place in places:
                self.device.tensors[place].fill_(float(self.counts[place]))

    def tensor(self, index: int) -> torch.Tensor:
        """The tensor that shows the count of a parameter, always the same one; its storage is these 8 bytes."""
        if index not in self._tensors:
            self._tensors[index] = self._view(index)
        return self._tensors[index]

    def heard(self) -> bool:
        """Whether anyone wrote to a tensor. What stands on a GPU counts, whoever wrote it."""
        return self.device is None and self._shown.tobytes() != self._said

    def take(self) -> None:
        """Go on from what was written to the tensors; a ValueError if a value is no count, and then nothing changes."""
        places = np.flatnonzero(self._shown != np.frombuffer(self._said))
        taken = [step_count(self._who, self._called(int(place)), float(self._shown[place])) for place in places]
        self.counts[places] = taken
        self.owner = None
        self._say(places)

    def take_back(self) -> None:
        """Go on from what tensors in other memory show, and show it in ours; a ValueError if one shows no count."""
        if self.device is not None:  # `are_there` is asked
            return
        own = self._shown.ctypes.data
        moved = {i: tensor for i, tensor in self._tensors.items() if tensor.data_ptr() != own + 8 * i}
        if moved:
            taken = [step_count(self._who, self._called(i), tensor) for i, tensor in moved.items()]
            for index, tensor in moved.items():
                tensor.data = self._view(index)
            self._shown[list(moved)] = taken

    def go(self, devices: Sequence[torch.device], mode: Mode, fresh: Sequence[bool], skipped: int) -> None:
        """Let GPUs count from now on, that of each parameter its steps; as for `DeviceCounts`."""
        tensors = [self.tensor(i) for i in range(len(self.counts))]
        self.device = DeviceCounts(devices, mode, self.counts, fresh, (self.t, skipped))
        for tensor, there in zip(tensors, self.device.tensors, strict=True):
            tensor.data = there
        self.owner = None

    def read(self) -> tuple[list[bool], int] | None:
        """Take over what the GPU has counted, if it does: whose state is new, and how many steps were left out.

        Raises:
            ValueError: Someone has written to a tensor what is no count.
        """
        if self.device is None:
            return None
        self.device.tensors = [self._tensors[i] for i in range(len(self.counts))]  # someone may have moved them
        numbers, fresh, (self.t, skipped) = self.device.read()
        self.counts[:] = [step_count(self._who, self._called(i), number) for i, number in enumerate(numbers)]
        self._say(slice(None))
        return fresh, skipped

    def come_back(self) -> None:
        """Count here again, from what was last read, if a GPU counts."""
        if self.device is None:
            return
        self.device = None
        for index, tensor in self._tensors.items():
            tensor.data = self._view(index)
        self.owner = None

    def are_there(self) -> bool:
        """Whether the tensors are those that the GPU counts in, with their memory where it was; if it counts."""
        device = self.device
        return device is None or device.addresses == [self._tensors[i].data_ptr() for i in range(len(device.addresses))]

    def replaced(self, index: int, value: Any) -> torch.Tensor:
        """Go on from a value that stands in the place of our tensor, which is what to put back there.

        Raises:
            ValueError: It is no whole number of at least 0; nothing was changed.
        """
        self.set([index], step_count(self._who, self._called(index), value))
        return self.tensor(index)

    def _say(self, indices: _Indices | slice) -> None:
        self._shown[indices] = self.counts[indices]
        self._said = self._shown.tobytes()

    def _view(self, index: int) -> torch.Tensor:
        number = self._shown[index : index + 1].reshape(())
        if not torch.is_inference_mode_enabled():
            return _torch.from_numpy(number)
        with torch.inference_mode(False):  # a tensor made in that mode could not be written to outside of it
            return _torch.from_numpy(number)


def step_count(who: str, which: str, value: Any) -> int:
    """A count of steps as others write it, a number or a tensor of one; a ValueError if it is none.

    >>> step_count("Adam", "parameter 0", torch.tensor(3.0, dtype=torch.bfloat16))
    3
    """
    number: Any = value
    if isinstance(value, torch.Tensor):
        number = value.item() if value.numel() == 1 and not value.is_meta else None
    elif isinstance(value, np.generic):
        number = cast(Any, value).item()
    if not isinstance(number, int | float) or not 0 <= number < MOST or number != int(number):
        rule = f"the state of {which} must have a whole number 'step' of at least 0"
        raise ValueError(sentence(who, rule, got=cast(object, value), hint="nothing was changed"))
    return int(number)
