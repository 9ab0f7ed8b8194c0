"""Launches on an NVIDIA GPU: the steps of some tensors, stage by stage, on PyTorch's current stream."""

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.storage import BLOCKS
from minima.optim.language.program import Program
from minima.torch.device_counts import DeviceCounts, Mode
from minima.torch.grid_kernels import ElementKernels, PhaseKernels, Work
from minima.torch.private import raw_stream
from minima.torch.tables import CountingTable, StepTable
from minima.torch.totals import Total

__all__ = ["Counting", "GridLaunch", "current"]


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
        work = Work(program, (param, *state), compute, shapes, device, mode)
        with torch.cuda.device(device):
            self._table = StepTable(*room) if counting is None else CountingTable(*room, *counting)
            self._kernels = ElementKernels(work) if program.is_plain else PhaseKernels(work)
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
                self._given = self._kernels.begin(0, model)
                self._there = self._table.send(raw_stream(self._device))

    def proceed(self, model: Any) -> None:
        """Get ready for the next stage."""
        self._stage += 1
        if self._is_needed:
            with current(self._device):
                self._given = self._kernels.begin(self._stage, model)

    def run(self) -> None:
        """Put the stage that was got ready for on the current stream."""
        if self._is_needed:
            with current(self._device):
                self._put()
        else:
            self._note(self._stage)
        if self._stage + 1 == len(self._kernels.writing):
            self.drop()

    def _note(self, stage: int) -> None:
        """Note that a stage is on its way."""
        self._stage = stage
        self._has_written |= self._kernels.writing[stage]
        self.ran.value = 1

    @property
    def has_written(self) -> bool:
        """Whether a stage that writes to tensors is on its way, since ``ran`` was set to 0."""
        return bool(self.ran.value) and self._has_written

    def drop(self) -> None:
        """Let go of what a step was to take that does not go on."""
        self._there = self._given = None
        self._kernels.drop()

    def _put(self) -> None:
        assert self._there is not None
        stream, (_, known) = raw_stream(self._device), self._there
        if stream not in self._streams:  # which PyTorch then waits for before it gives the memory to anyone else
            for table in (*self.tables, *self._counted):
                table.record_stream(torch.cuda.current_stream())
            self._streams.add(stream)
        if self._stage == 0:
            self._table.count(stream, known)
        numbers: Any = self._given(known) if callable(self._given) else self._given
        for stage in self._kernels.put(self._stage, stream, known, numbers):
            self._note(stage)

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

    def column(self, column: int) -> list[int]:
        """Where the numbers of a column of ``totalled`` are on the GPU."""
        assert isinstance(self._kernels, PhaseKernels)
        return self._kernels.column(column)

    @property
    def adding(self) -> tuple[Any, int]:
        """The kernel that adds up numbers, and the threads of its block."""
        assert isinstance(self._kernels, PhaseKernels)
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
