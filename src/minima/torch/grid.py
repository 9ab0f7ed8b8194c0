"""A launch on an NVIDIA GPU: the tables that the kernel of a program reads, and the call that puts it on a stream.

Addresses, rows, counts and scalars go to the GPU in every step, as one small table, in front of the kernel on PyTorch's
current stream. The table comes from pinned memory, so that the host does not wait, and both ends of the copy are
PyTorch's: its allocators give neither memory to anyone else before the stream has come past its use.
"""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.storage import BLOCKS
from minima.optim.language.program import Program
from minima.torch.private import raw_stream

__all__ = ["GridLaunch"]

_torch: Any = torch


class GridLaunch:
    """Steps some tensors, whose addresses the owner of a launch writes into its table."""

    def __init__(
        self,
        program: Program,
        param: str,
        state: tuple[str, ...],
        compute: np.dtype[Any],
        sizes: Sequence[int],
        device: torch.device,
    ) -> None:
        """Get ready for tensors of these sizes on a GPU; as for `minima.optim.engines.cpu.launch.Launch`."""
        from minima.optim.engines.cuda.driver import Launcher  # these load LLVM
        from minima.optim.engines.cuda.grid import ARGUMENTS, CHUNK, THREADS, kernel_name, ptx

        many, width = len(sizes), len(program.scalars)
        columns = 1 + len(state) + sum(kind in BLOCKS for kind in state)
        self._fixed = many * (columns + 2)
        """Words of the table whose places stay as they are."""
        self._table = np.zeros(self._fixed + many + -(-many * width * compute.itemsize // 8), np.int64)
        self.addresses = self._table[: many * (columns + 1)]
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: many * columns].reshape(many, columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self._rows = self._table[len(self.addresses) : self._fixed]
        self._width, self._compute, self._threads = width, compute, THREADS
        self.arrange(self._rows)
        chunks = [
            (i, start, min(CHUNK, size - start)) for i, size in enumerate(sizes) for start in range(0, size, CHUNK)
        ]
        self._blocks = len(chunks)
        self._device = device
        text = ptx(program, param, state, compute.name)
        with torch.cuda.device(device):
            self._chunks = _torch.from_numpy(np.array(chunks, np.int64)).to(device)
            self._stream = raw_stream(device)
            self._launch = Launcher(text, kernel_name(program), len(ARGUMENTS), device.index)
        self.ran = SimpleNamespace(value=0)
        """Whose value is 1 when a step is on its way; the owner of a launch sets it to 0 before."""

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own."""
        self._rows[:] = rows
        many = int(self._rows.max(initial=0)) + 1
        first = self._fixed + many
        last = first + -(-many * self._width * self._compute.itemsize // 8)
        self._ts = self._table[self._fixed : first]
        scalars = self._table[first:last].view(self._compute)
        self._scalars = scalars[: many * self._width].reshape(many, self._width)
        self._sent = _torch.from_numpy(self._table[:last])
        self._offsets = tuple(8 * word for word in (0, self.buffers.size, self.addresses.size, first, self._fixed))

    def __call__(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        """Put a step on the current stream: for every row its scalars and its ``t``."""
        with np.errstate(over="ignore"):
            self._scalars[:] = scalars
        self._ts[:] = ts
        if self._blocks:
            if torch.cuda.current_device() == self._device.index:
                self._start()
            else:
                with torch.cuda.device(self._device):
                    self._start()
        self.ran.value = 1

    @property
    def has_written(self) -> bool:
        """Whether a step that writes to tensors is on its way, since ``ran`` was set to 0."""
        return bool(self.ran.value)

    def _start(self) -> None:
        stream = raw_stream(self._device)
        if stream != self._stream:
            self._chunks.record_stream(torch.cuda.current_stream())
        table = self._sent.pin_memory().to(self._device, non_blocking=True)
        address = table.data_ptr()
        arguments = [*(address + offset for offset in self._offsets), self._chunks.data_ptr()]
        self._launch(self._blocks, self._threads, stream, arguments)
