"""What the kernels of a program are told in each step: one table on the GPU, of addresses, scalars and counts.

The host writes all of it, and sends it in front of the kernels; or it sends addresses and hyperparameters, and a small
kernel counts there, and computes the scalars. Both come from pinned memory, so that the host does not wait, and both
ends of the copy are PyTorch's: its allocators give neither memory to anyone else before the stream has come past its
use. Where a CUDA graph may record the step, the second goes over in launches.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.language.program import Program
from minima.torch.device_counts import DeviceCounts
from minima.torch.memory import brought

__all__ = ["CountingTable", "Noter", "Sender", "StepTable"]

_torch: Any = torch


_PLACES, _BYTES = 64, 2**21
"""How many tables are on their way at most, and how much pinned memory they take, unless two take more."""


class Sender:
    """Sends tables to a GPU: those of each stream, which orders them, to one place."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._lines: dict[int, _Line] = {}
        """By the stream, which has to be the current one."""

    def send(self, stream: int, table: NDArray[np.int64], room: int = 0) -> torch.Tensor:
        """Put a table on its way; what it is on the GPU, with more words behind it if there is to be more room."""
        words, room = len(table), max(len(table), room)
        line = self._lines.get(stream)
        if line is None or line.words < words or line.room < room:
            line = self._lines[stream] = _Line(words, room, self._device)
        line.send(table)
        return line.there if line.room == room else line.there[:room]


class _Line:
    """Where tables come from and go to.

    Each is copied to pinned memory first: there places take turns, and the host waits for one half of them before it
    writes there again. Asking PyTorch for such memory in every step would take longer than a small step.
    """

    @torch.inference_mode(False)
    def __init__(self, words: int, room: int, device: torch.device) -> None:
        self.words, self.room = words, room
        """How long a table may be, and how much of it there is on the GPU."""
        self._half = max(1, min(_PLACES, _BYTES // max(1, 8 * words)) // 2)
        self._place = 0
        pinned = _torch.empty((2 * self._half, words), dtype=torch.int64, device="cpu").pin_memory()
        self._tensors, self._arrays = pinned.unbind(), list(pinned.numpy())
        self._events: list[torch.cuda.Event | None] = [None, None]
        """What comes behind all that was sent from each half."""
        self.there = _torch.empty(room, dtype=torch.int64, device=device)
        self._front = self.there[:words]

    def send(self, table: NDArray[np.int64]) -> None:
        place, (half, within) = self._place, divmod(self._place, self._half)
        event = self._events[half]
        if within == 0 and event is not None:
            event.synchronize()
        self._arrays[place][: len(table)] = table
        self._front.copy_(self._tensors[place], non_blocking=True)
        if within == self._half - 1:
            self._events[half] = event = torch.cuda.Event()
            event.record()
        self._place = (place + 1) % (2 * self._half)


class Noter:
    """Sends tables to memory of the step, in launches, which a CUDA graph can record; else like `Sender`."""

    def __init__(self, device: torch.device) -> None:
        from minima.optim.engines.cuda import notes  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher

        index: Any = device.index
        self._device, self._piece = device, notes.WORDS
        self._note = Launcher(notes.note_ptx(), notes.NOTE, 1 + self._piece, index)

    def send(self, stream: int, table: NDArray[np.int64], room: int = 0) -> torch.Tensor:
        words = table.tolist()
        words += [0] * (-len(words) % self._piece)
        there = _torch.empty(max(len(words), room), dtype=torch.int64, device=self._device)
        address = there.data_ptr()
        for first in range(0, len(words), self._piece):
            self._note(1, 1, stream, [address + 8 * first, *words[first : first + self._piece]])
        return there


class StepTable:
    """The table of a step whose scalars the host computes."""

    constant: Sequence[torch.Tensor] = ()
    """What stays on the GPU."""

    def __init__(self, program: Program, compute: np.dtype[Any], many: int, columns: int, device: torch.device) -> None:
        """Make room for so many parameters, with so many addresses of each besides that of its gradient."""
        self._widths = len(program.scalars), len(program.wide)
        self._fixed = many * (columns + 2)
        """Words of the table whose places stay as they are."""
        self._compute, self._device = compute, device
        scalars = -(-many * self._widths[0] * compute.itemsize // 8)
        self._table = np.zeros(self._fixed + many * (1 + self._widths[1]) + scalars, np.int64)
        self.addresses = self._table[: many * (columns + 1)]
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: many * columns].reshape(many, columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self._rows = self._table[len(self.addresses) : self._fixed]
        self._sender = Sender(device)
        self.arrange(self._rows)

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own."""
        self._rows[:] = rows
        many = int(self._rows.max(initial=0)) + 1
        width, wide = self._widths
        behind_ts = self._fixed + many
        first = behind_ts + many * wide
        last = first + -(-many * width * self._compute.itemsize // 8)
        self._ts = self._table[self._fixed : behind_ts]
        self._wide = self._table[behind_ts:first].view(np.float64).reshape(many, wide)
        scalars = self._table[first:last].view(self._compute)
        self._scalars = scalars[: many * width].reshape(many, width)
        self._used = self._table[:last]
        words = {"buffers": 0, "grads": self.buffers.size, "rows": self.addresses.size, "ts": self._fixed}
        words |= {"wide": behind_ts, "scalars": first}
        self._offsets = {name: 8 * word for name, word in words.items()}

    def write(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        """Take the scalars of each row, then its wide numbers; and its ``t``."""
        width, _ = self._widths
        with np.errstate(over="ignore"):
            for number, row in enumerate(scalars):
                self._scalars[number], self._wide[number] = row[:width], row[width:]
        self._ts[:] = ts

    def send(self, stream: int) -> tuple[torch.Tensor, Mapping[str, int]]:
        """Put what was written on the way: the table on the GPU, and the addresses of its parts."""
        there = self._sender.send(stream, self._used)
        address = there.data_ptr()
        return there, {name: address + offset for name, offset in self._offsets.items()}

    def count(self, stream: int, known: Mapping[str, int]) -> None:
        """Count the step, which the host has done."""


class CountingTable:
    """The table of a step that is counted on the GPU, and whose scalars are computed there."""

    def __init__(
        self,
        program: Program,
        compute: np.dtype[Any],
        many: int,
        columns: int,
        device: torch.device,
        counts: DeviceCounts,
        clocks: NDArray[np.int64],
        shifts: Sequence[int],
    ) -> None:
        """As for `StepTable`; ``clocks`` are the addresses of the counts of each parameter, and ``shifts`` what is
        added to its ``t`` for its random numbers."""
        from minima.optim.engines.cuda import rows  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher

        self._counts, self._device, self._many = counts, device, many
        self._clocks, self._shifts = clocks, np.array(shifts, np.int64)
        self._kinds = {torch.float64: rows.DOUBLE, torch.float32: rows.SINGLE}
        self._names, self._width = rows.ARGUMENTS, 2 * len(rows.asked(program))
        self._sender = Noter(device) if counts.mode.is_capturable else Sender(device)
        self._table = np.zeros(many * (columns + 1 + self._width), np.int64)
        self.addresses = self._table[: many * (columns + 1)]
        self.buffers = self.addresses[: many * columns].reshape(many, columns)
        self._numbers = self._table[self.addresses.size :].reshape(many, self._width)
        sizes = {"ts": 8 * many, "wide": 8 * many * len(program.wide)}
        sizes |= {"scalars": -(-many * len(program.scalars) * compute.itemsize // 8) * 8}
        self._sizes, self._groups = sizes, np.zeros(0, np.int64)
        self.constant: list[torch.Tensor] = []
        device_index: Any = device.index
        text, name = rows.rows_ptx(program, compute.name), rows.rows_name(program)
        self._rows = Launcher(text, name, len(self._names), device_index)
        self._threads = rows.THREADS
        self.arrange(np.zeros(many, np.int64))

    def arrange(self, groups: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the hyperparameters is its own."""
        groups = np.array(groups, np.int64)
        if np.array_equal(groups, self._groups):
            return
        known = [self._clocks.reshape(-1), groups, self._shifts, np.arange(self._many)]
        there = _torch.from_numpy(np.concatenate(known)).to(self._device)
        self._groups = groups
        self._used = self._table[: self.addresses.size + (int(groups.max(initial=0)) + 1) * self._width]
        offset = self._used.nbytes
        self._offsets = {"buffers": 0, "grads": 8 * self.buffers.size, "numbers": 8 * self.addresses.size}
        for name, size in self._sizes.items():
            self._offsets[name] = offset
            offset += size
        self._words = offset // 8
        self.constant = [there]
        first, step = there.data_ptr() + 16 * self._many, 8 * self._many
        self._constant = {"clocks": there.data_ptr(), "groups": first, "shifts": first + step, "rows": first + 2 * step}

    def write(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        """Take the hyperparameters of each group, and what is added to all ``t`` for random numbers."""
        self._seed = ts[0]
        self._held: list[torch.Tensor] = []
        for number, row in enumerate(scalars):
            words = self._numbers[number].reshape(-1, 2)
            for place, value in enumerate(row):
                words[place, 0] = 0
                if isinstance(value, torch.Tensor):
                    tensor = self._fitting(value)
                    self._held.append(tensor)
                    words[place] = self._kinds[tensor.dtype], tensor.data_ptr()
                else:
                    words[place, 1:].view(np.float64)[0] = value

    def _fitting(self, number: torch.Tensor) -> torch.Tensor:
        """A hyperparameter as the kernel can read it; others may write to it, and graphs read it again."""
        number = number.detach()
        if number.dtype in self._kinds and number.device == self._device:
            return number
        return brought(number, self._device).to(torch.float64)

    def send(self, stream: int) -> tuple[torch.Tensor, Mapping[str, int]]:
        """Put what was written on the way: the table on the GPU, and the addresses of its parts."""
        there = self._sender.send(stream, self._used, self._words)
        address = there.data_ptr()
        known = self._constant | {name: address + offset for name, offset in self._offsets.items()}
        known |= {"many": self._many, "seed": self._seed, "ticks": int(self._counts.ticks)}
        return there, known | {"found": self._counts.verdict(self._device)}

    def count(self, stream: int, known: Mapping[str, int]) -> None:
        """Count the step, and compute its scalars, on a stream, given what `send` has put there."""
        words = {**known, "own": self._counts.take_own(self._device)}
        self._rows(-(-self._many // self._threads), self._threads, stream, [words[name] for name in self._names])
        self._held = []
