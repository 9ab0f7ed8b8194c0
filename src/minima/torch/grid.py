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
from minima.torch.batched import BatchedProducts, Room
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
        self._counted = [] if counting is None else counting.counts.on(device)
        self._is_needed = counting is not None or self._kernels.is_needed
        """Whether there is anything to do; steps of tensors without elements are counted too."""
        self._stage = 0
        self._there: tuple[torch.Tensor, Mapping[str, int]] | None = None
        self._given: Any = None
        """The numbers for the whole model in a stage."""
        self._room: Room | None = None
        """The memory of products of matrices."""
        self._has_written = False
        self._totals: dict[int, Total] = {}
        self.lent: list[torch.Tensor] = []
        """What the owner of a launch keeps there besides."""
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
                self._given, self._room = self._kernels.numbers(model), self._kernels.room()
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
                self._take()
        self._note()
        if self._stage + 1 == len(self._kernels.writing):
            self.drop()

    def _note(self) -> None:
        """Note that the stage is on its way."""
        self._has_written |= self._kernels.writing[self._stage]
        self.ran.value = 1

    @property
    def has_written(self) -> bool:
        """Whether a stage that writes to tensors is on its way, since ``ran`` was set to 0."""
        return bool(self.ran.value) and self._has_written

    def drop(self) -> None:
        """Let go of what a step was to take that does not go on."""
        self._there = self._given = self._room = None

    def _take(self) -> None:
        assert self._there is not None
        stream, (_, known) = raw_stream(self._device), self._there
        if stream not in self._streams:  # which PyTorch then waits for before it gives the memory to anyone else
            for table in (*self.tables, *self._counted):
                table.record_stream(torch.cuda.current_stream())
            self._streams.add(stream)
        if self._stage == 0:
            self._table.count(stream, known)
        numbers: Any = self._given(known) if callable(self._given) else self._given
        if not self._kernels.is_needed:
            return
        if self._room is None:
            self._kernels.start(self._stage, stream, known, numbers)
            return
        for group in range(self._kernels.groups):  # both stages, and products between them, one group after the other
            self._kernels.start(0, stream, known, numbers, self._room, group)
            self._note()
            self._kernels.multiply(group, self._room)
            self._kernels.start(1, stream, known, numbers, self._room, group)
            self._stage = 1

    @property
    def tables(self) -> list[torch.Tensor]:
        """What stays on the GPU from step to step."""
        return [*self._kernels.tables, *self._table.constant, *self.lent]

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


class _Share(NamedTuple):
    """What a kernel works on."""

    address: int
    many: int


class _Element:
    """The kernel of a program that looks at one element at a time."""

    writing = (True,)
    """For every stage whether it writes to tensors."""
    groups = 1
    """How many groups of tensors are stepped one after the other, each in all stages."""

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

    def room(self) -> Room | None:
        """The memory that products of matrices take in a step, where there are such."""
        return None

    def multiply(self, group: int, room: Room) -> None:
        """Put the products between the first stage and the second on PyTorch's current stream, for a group."""
        raise NotImplementedError  # a program that looks at one element alone has none

    def start(
        self,
        stage: int,
        stream: int,
        known: Mapping[str, int],
        numbers: torch.Tensor | None,
        room: Room | None = None,
        group: int = 0,
    ) -> None:
        """Put a stage on a stream, for a group, given the addresses of the tables that change with every step."""
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
        self._products = BatchedProducts(layout, param, work.compute, places.shapes, device) if made.products else None
        """What multiplies matrices between two stages, if anything does."""
        groups = [range(len(shapes))] if self._products is None else self._products.groups
        many = places.pieces.tolist()
        tensors = [i for members in groups for i in members]
        pieces = [(i, place) for i in tensors for place in range(many[i])]
        self.is_needed, self.writing, self.groups = bool(shapes), made.writing, len(groups)

        def zeros(many: int, dtype: Any = torch.float64) -> torch.Tensor:
            return _torch.zeros(max(1, many), dtype=dtype, device=device)

        width = max(1, len(layout.values))
        self._values = zeros(len(shapes) * width).fill_(math.nan).view(-1, width)
        own = {
            "values": self._values,
            "sums": zeros(places.sums),
            "scratch": zeros(places.scratch, getattr(torch, work.compute.name)),
            "places": _torch.from_numpy(places.table).to(device),
        }
        dealt = [_torch.from_numpy(np.array(each, np.int64)).to(device) for each in (pieces, tensors)]
        first, lone = (table.data_ptr() for table in dealt)
        self._shares: list[tuple[_Share, _Share]] = []
        """For every group its pieces, which are what passes work on, and its tensors, for the kernels between them."""
        for members in groups:
            count = sum(many[i] for i in members)
            self._shares.append((_Share(first, count), _Share(lone, len(members))))
            first, lone = first + 16 * count, lone + 8 * len(members)
        self.tables = [*own.values(), *dealt, *(() if self._products is None else self._products.tables)]
        self._own = {name: table.data_ptr() for name, table in own.items()} | {"matrices": 0}
        self._names = *sums.ARGUMENTS, *((FOUND,) * work.mode.is_guarded)
        self._where = {
            "reports": [layout.values[name] for name in program.reports],
            "totalled": [layout.values[name] for name in program.totalled],
        }
        text = phases.phases_ptx(program, param, tuple(state), work.compute.name, work.mode.is_guarded)
        prefix = kernel_name(program)
        printed = set(re.findall(r"\.entry (\w+)", text))
        self._launches: list[list[tuple[Launcher, int, int, int]]] = []
        """For every stage its kernels: what each works on, on how many of them a block does, and its threads."""
        for begin, end in zip(made.stages, made.stages[1:], strict=False):
            mine: list[tuple[Launcher, int, int, int]] = []
            for k in range(begin, end):
                each = made.passes[k]
                by_warp = each is not None and bool(each.ends) and not program.by_rows
                kinds = {f"small_{k}": (1, 1, sums.SMALL_THREADS)}
                kinds |= {f"pass_{k}": (0, phases.WARPS if by_warp else 1, THREADS)}
                for name, kind in kinds.items():
                    if f"{prefix}_{name}" in printed:
                        mine.append((Launcher(text, f"{prefix}_{name}", len(self._names), device.index), *kind))
            self._launches.append(mine)
        self.adding: Any = None
        if program.totalled:
            self.adding = Launcher(text, f"{prefix}_{sums.ADD}", 3, device.index), sums.SMALL_THREADS

    def room(self) -> Room | None:
        return None if self._products is None else self._products.room()

    def multiply(self, group: int, room: Room) -> None:
        assert self._products is not None
        self._products(group, room, self._values)

    def start(
        self,
        stage: int,
        stream: int,
        known: Mapping[str, int],
        numbers: torch.Tensor | None,
        room: Room | None = None,
        group: int = 0,
    ) -> None:
        assert numbers is not None
        tables = {**known, **self._own, "model": numbers.data_ptr()}
        if room is not None:
            tables["matrices"] = room.addresses.data_ptr()
        for launch, which, share, threads in self._launches[stage]:
            tables["chunks"], tables["count"] = mine = self._shares[group][which]
            if mine.many:
                launch(-(-mine.many // share), threads, stream, [tables[name] for name in self._names])

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
        here = _torch.tensor(list(model), dtype=torch.float64, device="cpu").pin_memory()
        return here.to(self._device, non_blocking=True)

    def values(self, which: str) -> NDArray[np.float64]:
        """For every tensor what the program ``reports``, or what is ``totalled``."""
        return self._values.cpu().numpy()[:, self._where[which]]  # nothing is made on the GPU

    def column(self, column: int) -> tuple[int, int]:
        values = self._values[:, self._where["totalled"][column] :]
        return values.data_ptr(), values.stride(0)
