"""Launches on an NVIDIA GPU: the tables that the kernels of a program read, and the calls that put them on a stream.

Addresses, rows, counts and scalars go to the GPU in every step, as one small table, in front of the kernels on
PyTorch's current stream. The table comes from pinned memory, so that the host does not wait, and both ends of the copy
are PyTorch's: its allocators give neither memory to anyone else before the stream has come past its use.
"""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.cpu.layout import Layout, Places
from minima.optim.engines.passes import cut
from minima.optim.engines.reductions import CHUNK
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.program import Program
from minima.torch.private import raw_stream

__all__ = ["GridLaunch"]

_torch: Any = torch


@dataclass(frozen=True)
class _Work:
    """What is to be stepped, and how."""

    program: Program
    kinds: tuple[str, ...]
    """How the parameters are kept, and each state."""
    compute: np.dtype[Any]
    """The precision of the loop."""
    shapes: Sequence[Sequence[int]]
    device: torch.device


class GridLaunch:
    """Steps some tensors, whose addresses the owner of a launch writes into its table."""

    def __init__(
        self,
        program: Program,
        param: str,
        state: tuple[str, ...],
        compute: np.dtype[Any],
        shapes: Sequence[Sequence[int]],
        device: torch.device,
    ) -> None:
        """Get ready for tensors of these shapes on a GPU; as for `minima.optim.engines.cpu.launch.Launch`."""
        many = len(shapes)
        columns = 1 + len(state) + sum(kind in BLOCKS for kind in state)
        self._widths = len(program.scalars), len(program.wide)
        self._fixed = many * (columns + 2)
        """Words of the table whose places stay as they are."""
        scalars = -(-many * self._widths[0] * compute.itemsize // 8)
        self._table = np.zeros(self._fixed + many * (1 + self._widths[1]) + scalars, np.int64)
        self.addresses = self._table[: many * (columns + 1)]
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: many * columns].reshape(many, columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self._rows = self._table[len(self.addresses) : self._fixed]
        self._compute, self._device = compute, device
        self.arrange(self._rows)
        self._stage, self._there = 0, None
        work = _Work(program, (param, *state), compute, shapes, device)
        with torch.cuda.device(device):
            self._kernels = _Element(work) if program.is_plain else _Phases(work)
            self._stream = raw_stream(device)
        self.ran = SimpleNamespace(value=0)
        """Whose value is 1 when a step is on its way; the owner of a launch sets it to 0 before."""

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
        self._sent = _torch.from_numpy(self._table[:last])
        words = {"buffers": 0, "grads": self.buffers.size, "rows": self.addresses.size, "ts": self._fixed}
        words |= {"wide": behind_ts, "scalars": first}
        self._offsets = {name: 8 * word for name, word in words.items()}

    def __call__(self, scalars: Sequence[Sequence[float]], ts: Sequence[int], model: Sequence[Any] = ()) -> None:
        """Put a step, or the first stage of one, on the current stream.

        Args:
            scalars: For every row the scalars of the program, then its wide numbers.
            ts: For every row its ``t``.
            model: The numbers for the whole model, as far as they are known: any of them may be a tensor on the GPU.
        """
        width, _ = self._widths
        with np.errstate(over="ignore"):
            for number, row in enumerate(scalars):
                self._scalars[number], self._wide[number] = row[:width], row[width:]
        self._ts[:] = ts
        self._stage = 0
        if self._kernels.is_needed:
            with self._on_device():
                self._there = self._sent.pin_memory().to(self._device, non_blocking=True)
                self._start(model)
        self.ran.value = 1

    def proceed(self, model: Sequence[Any]) -> None:
        """Put the next stage on the current stream."""
        self._stage += 1
        if self._kernels.is_needed:
            with self._on_device():
                self._start(model)

    @property
    def has_written(self) -> bool:
        """Whether a stage that writes to tensors is on its way, since ``ran`` was set to 0."""
        return bool(self.ran.value) and any(self._kernels.writing[: self._stage + 1])

    def _on_device(self) -> Any:
        is_there = torch.cuda.current_device() == self._device.index
        return nullcontext() if is_there else torch.cuda.device(self._device)

    def _start(self, model: Sequence[Any]) -> None:
        stream, there = raw_stream(self._device), self._there
        assert there is not None
        if stream != self._stream:
            for table in self._kernels.tables:
                table.record_stream(torch.cuda.current_stream())
        address = there.data_ptr()
        known = {name: address + offset for name, offset in self._offsets.items()}
        self._kernels.start(self._stage, stream, known, model)
        if self._stage + 1 == len(self._kernels.writing):
            self._there = None

    @property
    def reports(self) -> NDArray[np.float64]:
        """For every tensor what the program reports of the last step. This waits for the GPU."""
        return self._kernels.values("reports")

    @property
    def totalled(self) -> NDArray[np.float64]:
        """For every tensor what the program adds up over all of them. This waits for the GPU."""
        return self._kernels.values("totalled")

    def total(self, column: int) -> torch.Tensor:
        """The sum of a column of ``totalled``, on the GPU."""
        assert isinstance(self._kernels, _Phases)
        with self._on_device():
            return self._kernels.total(column, raw_stream(self._device))


class _Element:
    """The kernel of a program that looks at one element at a time."""

    writing = (True,)
    """For every stage whether it writes to tensors."""

    def __init__(self, work: _Work) -> None:
        from minima.optim.engines.cuda import grid  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher

        program, (param, *state) = work.program, work.kinds
        sizes = [math.prod(shape) for shape in work.shapes]
        chunks = [
            (i, start, min(grid.CHUNK, size - start))
            for i, size in enumerate(sizes)
            for start in range(0, size, grid.CHUNK)
        ]
        self._threads, self._blocks, self._names = grid.THREADS, len(chunks), grid.ARGUMENTS[:-1]
        self.is_needed = bool(chunks)
        """Whether there is anything to step."""
        self._chunks = _torch.from_numpy(np.array(chunks, np.int64)).to(work.device)
        self.tables = [self._chunks]
        """What stays on the GPU."""
        self._nothing = np.zeros((len(sizes), 0))
        text, name = grid.ptx(program, param, tuple(state), work.compute.name), grid.kernel_name(program)
        self._launch = Launcher(text, name, len(grid.ARGUMENTS), work.device.index)

    def start(self, stage: int, stream: int, known: Mapping[str, int], model: Sequence[Any]) -> None:
        """Put a stage on a stream, given the addresses of the tables that change with every step."""
        arguments = [*(known[name] for name in self._names), self._chunks.data_ptr()]
        self._launch(self._blocks, self._threads, stream, arguments)

    def values(self, which: str) -> NDArray[np.float64]:
        return self._nothing


class _Phases:
    """The kernels of a program of several passes, and of what is between them; in all else like `_Element`."""

    def __init__(self, work: _Work) -> None:
        from minima.optim.engines.cuda import phases  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher
        from minima.optim.engines.cuda.grid import THREADS, kernel_name

        program, (param, *state), shapes = work.program, work.kinds, work.shapes
        self._device = device = work.device
        made = cut(program, work.kinds, work.compute.name)
        layout = Layout(program, made)
        places = Places(layout, shapes, is_shared=True)
        pieces = [(i, place) for i, many in enumerate(places.pieces.tolist()) for place in range(many)]
        self.is_needed, self.writing = bool(pieces), made.writing

        def zeros(many: int, dtype: Any = torch.float64) -> torch.Tensor:
            return _torch.zeros(max(1, many), dtype=dtype, device=device)

        width = max(1, len(layout.values))
        self._values = zeros(len(shapes) * width).fill_(math.nan).view(-1, width)[:, : len(layout.values)]
        own = {
            "values": self._values,
            "sums": zeros(places.sums),
            "scratch": zeros(places.scratch, getattr(torch, work.compute.name)),
            "places": _torch.from_numpy(places.table).to(device),
            "chunks": _torch.from_numpy(np.array(pieces, np.int64)).to(device),
        }
        self.tables = list(own.values())
        self._own = {name: table.data_ptr() for name, table in own.items()} | {"count": len(pieces)}
        self._names = phases.ARGUMENTS
        self._where = {
            "reports": [layout.values[name] for name in program.reports],
            "totalled": [layout.values[name] for name in program.totalled],
        }
        text, prefix = phases.phases_ptx(program, param, tuple(state), work.compute.name), kernel_name(program)
        printed = set(re.findall(r"\.entry (\w+)", text))
        self._launches: list[list[tuple[Launcher, int, int]]] = []
        for first, end in zip(made.stages, made.stages[1:], strict=False):
            mine: list[tuple[Launcher, int, int]] = []
            for k in range(first, end):
                each = made.passes[k]
                by_warp = each is not None and bool(each.ends) and not program.by_rows
                blocks = -(-len(pieces) // phases.WARPS) if by_warp else len(pieces)
                found = {f"small_{k}": (len(shapes), phases.SMALL_THREADS), f"pass_{k}": (blocks, THREADS)}
                for name, size in found.items():
                    if f"{prefix}_{name}" in printed:
                        mine.append((Launcher(text, f"{prefix}_{name}", len(self._names), device.index), *size))
            self._launches.append(mine)
        self._add: Any = None
        if program.totalled:
            self._add = Launcher(text, f"{prefix}_{phases.ADD}", 3, device.index), phases.SMALL_THREADS

    def start(self, stage: int, stream: int, known: Mapping[str, int], model: Sequence[Any]) -> None:
        numbers = self._numbers(model)
        tables = {**known, **self._own, "model": numbers.data_ptr()}
        arguments = [tables[name] for name in self._names]
        for launch, blocks, threads in self._launches[stage]:
            launch(blocks, threads, stream, arguments)

    def _numbers(self, model: Sequence[Any]) -> torch.Tensor:
        """The numbers for the whole model, on the GPU."""
        if any(isinstance(x, torch.Tensor) for x in model):
            each = [x if isinstance(x, torch.Tensor) else _torch.full((), x, device=self._device) for x in model]
            return torch.stack([x.to(self._device, torch.float64) for x in each])
        if not model:
            return self._values
        return _torch.tensor(list(model), dtype=torch.float64).pin_memory().to(self._device, non_blocking=True)

    def values(self, which: str) -> NDArray[np.float64]:
        """For every tensor what the program ``reports``, or what is ``totalled``."""
        return self._values[:, self._where[which]].cpu().numpy()

    def total(self, column: int, stream: int) -> torch.Tensor:
        """The sum of a column of what is totalled."""
        launch, threads = self._add
        many = len(self._values)
        numbers = _torch.zeros(many + 2 * (1 + many // CHUNK) + 1, dtype=torch.float64, device=self._device)
        numbers[:many] = self._values[:, self._where["totalled"][column]]
        result = numbers[-1]
        launch(1, threads, stream, [numbers.data_ptr(), many, result.data_ptr()])
        return result
