"""The numbers for the whole model where one GPU steps all parameters: kernels of one thread compute them.

So nothing waits for the GPU: not the state that all parameters share, which is there, and not what is scaled by a norm
over all gradients. All memory that this takes is made when a step is planned.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from minima.optim.core.batch import Batch
from minima.optim.core.clock import Clock
from minima.optim.core.host import Sources
from minima.optim.core.model import ModelLines, part_of
from minima.torch.capture import is_capturing, keep
from minima.torch.fused import Fused
from minima.torch.grid import GridLaunch, current
from minima.torch.private import raw_stream
from minima.torch.totals import Total

if TYPE_CHECKING:
    from minima.torch.host import TorchHost

__all__ = ["DeviceNumbers"]

_torch: Any = torch


class DeviceNumbers:
    """As for `minima.optim.core.host.Numbers`, of batches that are stepped by kernels of one GPU."""

    def __init__(self, host: "TorchHost", clock: Clock, batches: Sequence[Batch], sources: Sources) -> None:
        self._host, self._clock = host, clock
        self._param = cast(torch.Tensor, batches[0].members[0].tensor)
        launches = [cast(GridLaunch, cast(Fused, batch.kernel).launch) for batch in batches]
        self._device = launches[0].device
        with current(self._device):
            self._totals = [
                {which: Total([(launches[i], x, batches[i].indices) for i, x in each]) for which, each in found.items()}
                for found in sources
            ]
            """For every stage the totals that are known behind it."""
            totals = [total for found in self._totals for total in found.values()]
            addresses = {which: total.result.data_ptr() for found in self._totals for which, total in found.items()}
            self._told = [_Told(batch, addresses, self._device) for batch in batches]
            self._streams = {raw_stream(self._device)}
            """Those that are known to use the tables."""
        self._tables = [table for each in (*self._told, *totals) for table in each.tables]

    @staticmethod
    def fits(batches: Sequence[Batch]) -> bool:
        """Whether kernels of one GPU step all of these."""
        launches = [batch.kernel.launch for batch in batches if isinstance(batch.kernel, Fused)]
        devices = [launch.device for launch in launches if isinstance(launch, GridLaunch)]
        return len(devices) == len(batches) and len(set(devices)) == 1

    @_torch.no_grad()
    def begin(self, loss: Any) -> None:
        shared, stream = self._host.shared_on(self._device), raw_stream(self._device)
        if stream not in self._streams:  # which PyTorch then waits for before it gives the memory to anyone else
            for table in self._tables:
                table.record_stream(torch.cuda.current_stream())
            self._streams.add(stream)
        if is_capturing():
            keep(self._param, [*self._tables, *shared.values()])
        with current(self._device):
            for told in self._told:
                told.begin(self._clock.t + 1, loss, shared)

    def told(self, place: int, stage: int) -> Callable[[Mapping[str, int]], torch.Tensor]:
        return partial(self._told[place].told, stage)

    def add(self, stage: int) -> None:
        with current(self._device):
            for total in self._totals[stage].values():
                total.add()

    def finish(self) -> None:
        with current(self._device):
            for told in self._told:
                told.finish()


class _Told:
    """What one batch is told, and what it does to the state that all parameters share."""

    def __init__(self, batch: Batch, totals: Mapping[float, int], device: torch.device) -> None:
        """Prepare for a batch; ``totals`` are the addresses of all of them."""
        self._batch, self._part, self._device = batch, part_of(batch.program), device
        self._counts = cast(Fused, batch.kernel).work.counts
        self._is_guarded = self._counts is not None and self._counts.mode.is_guarded
        self._own, shared = len(batch.program.wide), tuple(self._part.shared)
        self._changed = tuple(name for name in shared if name in self._part.changes)
        many, there = len(batch.program.model), {"dtype": torch.float64, "device": device}
        self._given = _torch.zeros(self._own + len(shared), **there)
        """The wide numbers of the host part, and the state that all parameters share as it was before the step."""
        self._numbers = _torch.zeros(many, **there)
        self.tables = [self._given, self._numbers]
        """What stays on the GPU from step to step."""
        self._known: Mapping[str, int] = {}
        """The tables of this step."""
        self._ends: list[int] = []
        """Where the state is that changes."""
        self._told = 0 if self._counts is not None else self._own
        """How many wide numbers the host tells."""
        self._begin = self._beginning(self._told, len(shared)) if self._told + len(shared) else None
        self._results = [self._numbers.data_ptr() + 8 * place for place in range(many)]
        self._stages: dict[int, tuple[tuple[Any, bool], list[int]]] = {}
        """The kernels of those stages in which a number is new."""
        known: tuple[Any, ...] = (math.nan,) * many
        for stage in range(batch.program.stage_count if many else 0):
            lines = self._part.lines(stage)
            if lines.results != known:
                self._stages[stage] = self._kernel(str(stage), lines), _of(lines, totals)
                known = lines.results
        if self._changed:
            lines = self._part.lines(None)
            results = tuple(x for name, x in zip(shared, lines.results, strict=True) if name in self._changed)
            changes = ModelLines(lines.given, lines.totals, lines.lines, results)
            self._end = self._kernel("end", changes), _of(lines, totals)
        self._find = self._finding() if self._counts is not None and self._own else None

    def _beginning(self, numbers: int, shared: int) -> Any:
        """The kernel with which a step begins."""
        from minima.optim.engines.cuda import driver, model  # these load LLVM

        name, index = model.model_name(self._batch.program, "begin"), cast(Any, self._device.index)
        return driver.Launcher(model.begin_ptx(name, numbers, shared), name, 1 + numbers + shared, index)

    def _finding(self) -> Any:
        """The kernel that finds the wide numbers, where a GPU counts."""
        from minima.optim.engines.cuda import driver, rows  # these load LLVM

        program, index = self._batch.program, cast(Any, self._device.index)
        return driver.Launcher(rows.given_ptx(program), rows.given_name(program), len(rows.GIVEN_ARGUMENTS), index)

    def _kernel(self, what: str, lines: ModelLines) -> tuple[Any, bool]:
        """A kernel of lines, and whether it is guarded."""
        from minima.optim.engines.cuda import driver, model  # these load LLVM

        program, index = self._batch.program, cast(Any, self._device.index)
        name, is_guarded = model.model_name(program, what), self._is_guarded and bool(lines.lines)
        text = model.model_ptx(name, program, lines.given, tuple(lines.totals), lines.lines, lines.results, is_guarded)
        launch = driver.Launcher(text, name, 1 + len(lines.totals) + len(lines.results) + is_guarded, index)
        return launch, is_guarded

    def _put(self, kernel: tuple[Any, bool], totals: Sequence[int], results: Sequence[int]) -> None:
        launch, is_guarded = kernel
        guard = [self._known["found"]] if is_guarded else []
        launch(1, 1, raw_stream(self._device), [self._given.data_ptr(), *totals, *results, *guard])

    def begin(self, t: int, loss: Any, shared: Mapping[str, torch.Tensor]) -> None:
        """Begin step ``t`` of the optimizer, as the host counts, by a loss and the state that all parameters share."""
        if self._begin is not None:
            told = self._part.given(self._batch.leader, t, loss) if self._told else ()
            words = np.array(told, np.float64).view(np.int64).tolist()
            first = self._given.data_ptr() + 8 * (self._own - self._told)
            addresses = [shared[name].data_ptr() for name in self._part.shared]
            self._begin(1, 1, raw_stream(self._device), [first, *words, *addresses])
        self._ends = [shared[name].data_ptr() for name in self._changed]

    def told(self, stage: int, known: Mapping[str, int]) -> torch.Tensor:
        """The numbers of a stage, on the GPU, with the tables of the step."""
        self._known = known
        if stage == 0 and self._find is not None and self._counts is not None:
            own, result = self._counts.own.data_ptr(), self._given.data_ptr()
            self._find(1, 1, raw_stream(self._device), [known["numbers"], own, known["ticks"], result])
        if stage in self._stages:
            self._put(*self._stages[stage], self._results)
        return self._numbers

    def finish(self) -> None:
        """Let the state that all parameters share have its new values."""
        if self._changed:
            self._put(*self._end, self._ends)


def _of(lines: ModelLines, totals: Mapping[float, int]) -> list[int]:
    """The addresses of the totals that lines compute with."""
    return [totals[which] for which in lines.totals.values()]
