"""The kernels of a program on an NVIDIA GPU, with the tables that stay there, and how a stage is put on a stream."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.cpu.layout import Layout, Places
from minima.optim.engines.passes import cut
from minima.optim.language.program import Program
from minima.torch.batched import BatchedProducts, Room
from minima.torch.device_counts import Mode

__all__ = ["ElementKernels", "PhaseKernels", "Work"]

_torch: Any = torch


@dataclass(frozen=True)
class Work:
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


class _Share(NamedTuple):
    """What a kernel works on."""

    address: int
    many: int


class ElementKernels:
    """The kernel of a program that looks at one element at a time."""

    writing = (True,)
    """For every stage whether it writes to tensors."""

    def __init__(self, work: Work) -> None:
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

    def begin(self, stage: int, model: Any) -> Any:
        """Take the memory of a stage; the numbers for the whole model, on the GPU, or what will give them."""
        return model if callable(model) else None

    def drop(self) -> None:
        """Let go of the memory of a step."""

    def put(self, stage: int, stream: int, known: Mapping[str, int], numbers: torch.Tensor | None) -> Iterator[int]:
        """Put a stage on a stream, given the addresses of the tables that change with every step.

        Gives each stage that is on its way then: where products lie between two, also the second.
        """
        if self._blocks:
            tables = {**known, "chunks": self._chunks.data_ptr()}
            self._launch(self._blocks, self._threads, stream, [tables[name] for name in self._names])
        yield stage

    def values(self, which: str) -> NDArray[np.float64]:
        return self._nothing


class PhaseKernels:
    """The kernels of a program of several passes, and of what is between them; in all else like `ElementKernels`."""

    def __init__(self, work: Work) -> None:
        from minima.optim.engines.cuda import phases, sums  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher
        from minima.optim.engines.cuda.grid import FOUND, THREADS, kernel_name

        program, (param, *state), shapes = work.program, work.kinds, work.shapes
        self._device = device = work.device
        made = cut(program, work.kinds, work.compute.name)
        layout = Layout(program, made)
        places = Places(layout, shapes, is_shared=True)
        self._products = BatchedProducts(layout, param, work.compute, places.shapes, device) if made.products else None
        """What multiplies matrices between two stages, if anything does."""
        groups = [range(len(shapes))] if self._products is None else self._products.groups
        many = places.pieces.tolist()
        tensors = [i for members in groups for i in members]
        pieces = [(i, place) for i in tensors for place in range(many[i])]
        self.is_needed, self.writing = bool(shapes), made.writing
        self._room: Room | None = None
        """The memory of products, for a step."""

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
            self.adding = (
                Launcher(text, f"{prefix}_{sums.ADD}", len(sums.ADD_ARGUMENTS), device.index),
                sums.SMALL_THREADS,
            )

    def begin(self, stage: int, model: Any) -> Any:
        if stage == 0 and self._products is not None:
            self._room = self._products.room()
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

    def drop(self) -> None:
        self._room = None

    def put(self, stage: int, stream: int, known: Mapping[str, int], numbers: torch.Tensor | None) -> Iterator[int]:
        assert numbers is not None
        tables = {**known, **self._own, "model": numbers.data_ptr()}
        if self._products is None or self._room is None:
            self._put(stage, stream, tables, 0)
            yield stage
            return
        tables["matrices"] = self._room.addresses.data_ptr()
        for group in range(len(self._shares)):
            self._put(0, stream, tables, group)
            yield 0
            self._products(group, self._room, self._values)
            self._put(1, stream, tables, group)
            yield 1

    def _put(self, stage: int, stream: int, tables: dict[str, int], group: int) -> None:
        for launch, which, share, threads in self._launches[stage]:
            tables["chunks"], tables["count"] = mine = self._shares[group][which]
            if mine.many:
                launch(-(-mine.many // share), threads, stream, [tables[name] for name in self._names])

    def values(self, which: str) -> NDArray[np.float64]:
        """For every tensor what the program ``reports``, or what is ``totalled``."""
        return self._values.cpu().numpy()[:, self._where[which]]  # nothing is made on the GPU

    def column(self, column: int) -> list[int]:
        first, width = self._values.data_ptr(), self._values.stride(0)
        return [first + 8 * (row * width + self._where["totalled"][column]) for row in range(len(self._values))]
