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

    table: torch.Tensor
    """Which tensor has which shares."""
    many: int


class ElementKernels:
    """The kernel of a program that looks at one element at a time."""

    writing = (True,)
    """For every stage whether it writes to tensors."""

    def __init__(self, work: Work) -> None:
        from minima.optim.engines.cuda import grid  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher
        from minima.optim.engines.cuda.shares import dealt

        program, (param, *state) = work.program, work.kinds
        sizes = np.array([math.prod(shape) for shape in work.shapes], np.int64)
        table = dealt(-(-sizes // grid.CHUNK), sizes)
        guard = (grid.FOUND,) * work.mode.is_guarded
        self._threads, self._blocks, self._names = grid.THREADS, int(table[-1, 0]), (*grid.ARGUMENTS, *guard)
        self.is_needed = bool(self._blocks)
        """Whether there is anything to step."""
        self._shares = _torch.from_numpy(table).to(work.device)
        self.tables = [self._shares]
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
            tables = {**known, "shares": self._shares.data_ptr(), "many": self._shares.shape[0] - 1}
            self._launch(self._blocks, self._threads, stream, [tables[name] for name in self._names])
        yield stage

    def values(self, which: str) -> NDArray[np.float64]:
        return self._nothing


class PhaseKernels:
    """The kernels of a program of several passes, and of what is between them; in all else like `ElementKernels`."""

    def __init__(self, work: Work) -> None:
        from minima.optim.engines.cuda import phases, sums  # these load LLVM
        from minima.optim.engines.cuda.driver import Launcher
        from minima.optim.engines.cuda.grid import FOUND, kernel_name
        from minima.optim.engines.cuda.shares import dealt

        program, (param, *state), shapes = work.program, work.kinds, work.shapes
        self._device = device = work.device
        made = cut(program, work.kinds, work.compute.name)
        layout = Layout(program, made)
        places = Places(layout, shapes, is_shared=True)
        self._products = BatchedProducts(layout, param, work.compute, places.shapes, device) if made.products else None
        """What multiplies matrices between two stages, if anything does."""
        groups = [range(len(shapes))] if self._products is None else self._products.groups
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
        counts = {"pass": places.pieces, "bands": places.stacks, "small": np.ones(len(shapes), np.int64)}
        self._shares: list[dict[str, _Share]] = []
        """For every group what each kind of kernel works on."""
        for members in groups:
            mine = np.array(members, np.int64)
            tables = {kind: dealt(many[mine], mine) for kind, many in counts.items()}
            self._shares.append(
                {kind: _Share(_torch.from_numpy(x).to(device), int(x[-1, 0])) for kind, x in tables.items()}
            )
        there = [share.table for shares in self._shares for share in shares.values()]
        self.tables = [*own.values(), *there, *(() if self._products is None else self._products.tables)]
        self._own = {name: table.data_ptr() for name, table in own.items()} | {"matrices": 0}
        self._names = *sums.ARGUMENTS, *((FOUND,) * work.mode.is_guarded)
        self._where = {
            "reports": [layout.values[name] for name in program.reports],
            "totalled": [layout.values[name] for name in program.totalled],
        }
        text = phases.phases_ptx(program, param, tuple(state), work.compute.name, work.mode.is_guarded)
        prefix = kernel_name(program)
        printed = set(re.findall(r"\.entry (\w+)", text))
        self._launches: list[list[tuple[Launcher, str, int, int]]] = []
        """For every stage its kernels: of which kind each is, on how many a block of it works, and its threads."""
        for begin, end in zip(made.stages, made.stages[1:], strict=False):
            kernels: list[tuple[Launcher, str, int, int]] = []
            for k in range(begin, end):
                each = made.passes[k]
                small = 1, sums.SMALL_THREADS
                whole = phases.pass_block(program, has_sums=each is not None and bool(each.ends))
                kinds = {"bands": small, "small": small, "pass": whole}
                for kind, (many, threads) in kinds.items():
                    name = f"{prefix}_{kind}_{k}"
                    if name in printed:
                        launcher = Launcher(text, name, len(self._names), device.index)
                        kernels.append((launcher, kind, many, threads))
            self._launches.append(kernels)
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
        for launch, kind, each, threads in self._launches[stage]:
            share = self._shares[group][kind]
            if share.many:
                tables["shares"], tables["many"] = share.table.data_ptr(), share.table.shape[0] - 1
                launch(-(-share.many // each), threads, stream, [tables[name] for name in self._names])

    def values(self, which: str) -> NDArray[np.float64]:
        """For every tensor what the program ``reports``, or what is ``totalled``."""
        return self._values.cpu().numpy()[:, self._where[which]]  # nothing is made on the GPU

    def column(self, column: int) -> list[int]:
        first, width = self._values.data_ptr(), self._values.stride(0)
        return [first + 8 * (row * width + self._where["totalled"][column]) for row in range(len(self._values))]
