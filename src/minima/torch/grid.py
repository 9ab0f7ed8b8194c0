"""Launches on an NVIDIA GPU: the kernels of a program, and the calls that put them on PyTorch's current stream."""

import math
import re
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.cpu.layout import Layout, Places
from minima.optim.engines.passes import cut
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.program import Program
from minima.torch.device_counts import DeviceCounts, Mode
from minima.torch.private import raw_stream
from minima.torch.tables import CountingTable, StepTable
from minima.torch.totals import Total

__all__ = ["Counting", "GridLaunch", "current"]

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
    mode: Mode
    """What else kernels go by."""


class Counting(NamedTuple):
    """What takes the place of the host's counts and scalars."""

    counts: DeviceCounts
    clocks: NDArray[np.int64]
    """For each tensor where its count is, and whether its state is new."""
    shifts: Sequence[int]
    """What is added to ``t`` for the random numbers of each."""


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
        counting: Counting | None = None,
    ) -> None:
        """Get ready for tensors of these shapes on a GPU; as for `minima.optim.engines.cpu.launch.Launch`.

        With ``counting``, their steps are counted there, and what is given for each row is the hyperparameters.
        """
        columns = 1 + len(state) + sum(kind in BLOCKS for kind in state)
        room = program, compute, len(shapes), columns, device
        self._device = device
        mode = Mode() if counting is None else counting.counts.mode
        work = _Work(program, (param, *state), compute, shapes, device, mode)
        with torch.cuda.device(device):
            self._table = StepTable(*room) if counting is None else CountingTable(*room, *counting)
            self._kernels = _Element(work) if program.is_plain else _Phases(work)
            self._streams = {raw_stream(device)}
            """Those that are known to use the tables."""
        self.addresses, self.buffers = self._table.addresses, self._table.buffers
        """All addresses: those of ``buffers``, row after row, then those of the gradients; ``buffers`` are, for every
        tensor, those of the parameter and of each array of its state."""
        self._counted = [] if counting is None else counting.counts.all
        self._is_needed = counting is not None or self._kernels.is_needed
        """Whether there is anything to do; steps of tensors without elements are counted too."""
        self._stage = 0
        self._there: tuple[torch.Tensor, Mapping[str, int]] | None = None
        self._given: Any = None
        """The numbers for the whole model in a stage."""
        self._has_written = False
        self._totals: dict[int, Total] = {}
        self.ran = SimpleNamespace(value=0)
        """Whose value is 1 when a step is on its way; the owner of a launch sets it to 0 before."""

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of what a step is given is its own."""
        self._table.arrange(rows)

    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Any = ()) -> None:
        """Get ready for a step, or the first stage of one, which `run` puts on the current stream.

        Args:
            scalars: For every row the scalars of the program, then its wide numbers; or its hyperparameters.
            ts: For every row its ``t``; or what is added to all, for random numbers.
            model: The numbers for the whole model, as far as they are known: any of them may be a tensor on the GPU.
                Or a function that puts what finds them on the stream, given the addresses of the tables of the step.
        """
        self._table.write(scalars, ts)
        self._stage, self._has_written = 0, False
        if self._is_needed:
            with current(self._device):
                self._given = self._kernels.numbers(model)
                self._there = self._table.send(raw_stream(self._device))

    def proceed(self, model: Any) -> None:
        """Get ready for the next stage."""
        self._stage += 1
        if self._is_needed:
            with current(self._device):
                self._given = self._kernels.numbers(model)

    def run(self) -> None:
        """Put the stage that was got ready for on the current stream."""
        if self._is_needed:
            with current(self._device):
                self._start()
        self._has_written |= self._kernels.writing[self._stage]
        self.ran.value = 1

    @property
    def has_written(self) -> bool:
        """Whether a stage that writes to tensors is on its way, since ``ran`` was set to 0."""
        return bool(self.ran.value) and self._has_written

    def drop(self) -> None:
        """Let go of what a step was to take that does not go on."""
        self._there = self._given = None

    def _start(self) -> None:
        assert self._there is not None
        stream, (_, known), numbers = raw_stream(self._device), self._there, self._given
        if stream not in self._streams:  # which PyTorch then waits for before it gives the memory to anyone else
            for table in (*self.tables, *self._counted):
                table.record_stream(torch.cuda.current_stream())
            self._streams.add(stream)
        if self._stage == 0:
            self._table.count(stream, known)
        numbers = numbers(known) if callable(numbers) else numbers
        if self._kernels.is_needed:
            self._kernels.start(self._stage, stream, known, numbers)
        if self._stage + 1 == len(self._kernels.writing):
            self.drop()

    @property
    def tables(self) -> list[torch.Tensor]:
        """What stays on the GPU from step to step."""
        return [*self._kernels.tables, *self._table.constant]

    @property
    def reports(self) -> NDArray[np.float64]:
        """For every tensor what the program reports of the last step. This waits for the GPU."""
        return self._kernels.values("reports")

    @property
    def totalled(self) -> NDArray[np.float64]:
        """For every tensor what the program adds up over all of them. This waits for the GPU."""
        return self._kernels.values("totalled")

    @property
    def device(self) -> torch.device:
        """The GPU."""
        return self._device

    def column(self, column: int) -> tuple[int, int]:
        """Where a column of ``totalled`` is on the GPU: the address of its first number, and how far they are apart."""
        assert isinstance(self._kernels, _Phases)
        return self._kernels.column(column)

    @property
    def adding(self) -> tuple[Any, int]:
        """The kernel that adds up numbers, and the threads of its block."""
        assert isinstance(self._kernels, _Phases)
        return self._kernels.adding

    def total(self, column: int) -> torch.Tensor:
        """The sum of a column of ``totalled``, on the GPU."""
        with current(self._device):
            if column not in self._totals:
                self._totals[column] = Total([(self, column, range(len(self.buffers)))])
            self._totals[column].add()
        return self._totals[column].result


def current(device: torch.device) -> Any:
    """What makes a GPU the current one."""
    return nullcontext() if torch.cuda.current_device() == device.index else torch.cuda.device(device)


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
        guard = (grid.FOUND,) * work.mode.is_guarded
        self._threads, self._blocks, self._names = grid.THREADS, len(chunks), (*grid.ARGUMENTS, *guard)
        self.is_needed = bool(chunks)
        """Whether there is anything to step."""
        self._chunks = _torch.from_numpy(np.array(chunks, np.int64)).to(work.device)
        self.tables = [self._chunks]
        """What stays on the GPU."""
        self._nothing = np.zeros((len(sizes), 0))
        text = grid.ptx(program, param, tuple(state), work.compute.name, work.mode.is_guarded)
        self._launch = Launcher(text, grid.kernel_name(program), len(self._names), work.device.index)

    def numbers(self, model: Any) -> Any:
        """The numbers for the whole model, on the GPU, where there are such; or what will give them."""
        return model if callable(model) else None

    def start(self, stage: int, stream: int, known: Mapping[str, int], numbers: torch.Tensor | None) -> None:
        """Put a stage on a stream, given the addresses of the tables that change with every step."""
        tables = {**known, "chunks": self._chunks.data_ptr()}
        self._launch(self._blocks, self._threads, stream, [tables[name] for name in self._names])

    def values(self, which: str) -> NDArray[np.float64]:
        return self._nothing


class _Phases:
    """The kernels of a program of several passes, and of what is between them; in all else like `_Element`."""

    def __init__(self, work: _Work) -> None:
        from minima.optim.engines.cuda import phases, sums  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher
        from minima.optim.engines.cuda.grid import FOUND, THREADS, kernel_name

        program, (param, *state), shapes = work.program, work.kinds, work.shapes
        self._device = device = work.device
        self._mode = work.mode
        made = cut(program, work.kinds, work.compute.name)
        layout = Layout(program, made)
        places = Places(layout, shapes, is_shared=True)
        pieces = [(i, place) for i, many in enumerate(places.pieces.tolist()) for place in range(many)]
        self.is_needed, self.writing = bool(shapes), made.writing

        def zeros(many: int, dtype: Any = torch.float64) -> torch.Tensor:
            return _torch.zeros(max(1, many), dtype=dtype, device=device)

        width = max(1, len(layout.values))
        self._values = zeros(len(shapes) * width).fill_(math.nan).view(-1, width)
        own = {
            "values": self._values,
            "sums": zeros(places.sums),
            "scratch": zeros(places.scratch, getattr(torch, work.compute.name)),
            "places": _torch.from_numpy(places.table).to(device),
            "chunks": _torch.from_numpy(np.array(pieces, np.int64)).to(device),
        }
        self.tables = list(own.values())
        self._own = {name: table.data_ptr() for name, table in own.items()} | {"count": len(pieces)}
        self._names = *sums.ARGUMENTS, *((FOUND,) * work.mode.is_guarded)
        self._where = {
            "reports": [layout.values[name] for name in program.reports],
            "totalled": [layout.values[name] for name in program.totalled],
        }
        text = phases.phases_ptx(program, param, tuple(state), work.compute.name, work.mode.is_guarded)
        prefix = kernel_name(program)
        printed = set(re.findall(r"\.entry (\w+)", text))
        self._launches: list[list[tuple[Launcher, int, int]]] = []
        for first, end in zip(made.stages, made.stages[1:], strict=False):
            mine: list[tuple[Launcher, int, int]] = []
            for k in range(first, end):
                each = made.passes[k]
                by_warp = each is not None and bool(each.ends) and not program.by_rows
                blocks = -(-len(pieces) // phases.WARPS) if by_warp else len(pieces)
                found = {f"small_{k}": (len(shapes), sums.SMALL_THREADS), f"pass_{k}": (blocks, THREADS)}
                for name, size in found.items():
                    if size[0] and f"{prefix}_{name}" in printed:
                        mine.append((Launcher(text, f"{prefix}_{name}", len(self._names), device.index), *size))
            self._launches.append(mine)
        self.adding: Any = None
        if program.totalled:
            self.adding = Launcher(text, f"{prefix}_{sums.ADD}", 3, device.index), sums.SMALL_THREADS

    def start(self, stage: int, stream: int, known: Mapping[str, int], numbers: torch.Tensor | None) -> None:
        assert numbers is not None
        tables = {**known, **self._own, "model": numbers.data_ptr()}
        arguments = [tables[name] for name in self._names]
        for launch, blocks, threads in self._launches[stage]:
            launch(blocks, threads, stream, arguments)

    def numbers(self, model: Any) -> Any:
        if callable(model):
            return model
        if not model:
            return self._values
        if any(isinstance(x, torch.Tensor) for x in model):
            there: dict[str, Any] = {"device": self._device, "dtype": torch.float64}
            return torch.stack(
                [x.to(**there) if isinstance(x, torch.Tensor) else _torch.full((), x, **there) for x in model]
            )
        return _torch.tensor(list(model), dtype=torch.float64).pin_memory().to(self._device, non_blocking=True)

    def values(self, which: str) -> NDArray[np.float64]:
        """For every tensor what the program ``reports``, or what is ``totalled``."""
        return self._values.cpu().numpy()[:, self._where[which]]  # nothing is made on the GPU

    def column(self, column: int) -> tuple[int, int]:
        values = self._values[:, self._where["totalled"][column] :]
        return values.data_ptr(), values.stride(0)
