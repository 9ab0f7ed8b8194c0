"""The fused engine on tensors, on CPUs and NVIDIA GPUs: compiled code on their own memory, in one call for a batch."""

import math
from collections.abc import Sequence
from operator import itemgetter
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.cpu.launch import Launch
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.engines.storage import is_stochastic
from minima.torch.addresses import Addresses, Collector
from minima.torch.capture import is_capturing, keep
from minima.torch.device_counts import DeviceCounts
from minima.torch.finite import Finite
from minima.torch.grid import Counting, GridLaunch
from minima.torch.host_products import TorchProducts
from minima.torch.kernel import TensorKernel, Work, are_finite, kind_of
from minima.torch.memory import dense, is_direct, local
from minima.torch.soundness import Likeness

__all__ = ["Fused"]

_negated = torch.Tensor.is_neg


class Fused(TensorKernel):
    """A launch for tensors. It asks for all addresses in every step, so that it never writes where a tensor was."""

    def __init__(self, work: Work) -> None:
        super().__init__(work)
        self.counts = work.counts is not None
        self._scales = work.counts is not None and work.counts.mode.is_scaled
        self._getters = list(map(itemgetter, work.names))
        self._are_direct = all(map(is_direct, work.params))
        numbers = list(map(local, work.params))
        plain = list(map(dense, numbers))
        self._copies = [(i, copy) for i, (x, copy) in enumerate(zip(numbers, plain, strict=True)) if copy is not x]
        """Copies of parameters with gaps in memory, which are stepped in their place."""
        self._copied = Likeness(numbers[i] for i, _ in self._copies)
        self._device = device = numbers[0].device
        self._finite = Finite()
        self._left = 0
        """How many stages are still to be taken."""
        self._lone = [i for i, number in enumerate(numbers) if number.numel() == 1]
        """Whose gradients have one element: autograd may hand them on as a negated view of something else."""
        states = [[local(get(kept)) for kept in work.kept] for get in self._getters]
        compute = np.dtype(np.float64 if numbers[0].dtype == torch.float64 else np.float32)
        program = work.program.scaled() if self._scales else work.program
        what = program, kind_of(numbers[0].dtype, work.rounding), work.keeping.kinds(compute), compute
        self._is_random = any(map(is_stochastic, (what[1], *what[2])))
        self.launch: Launch | GridLaunch
        if device.type == "cpu" and not self.counts:
            threads = thread_count(torch.get_num_threads())
            self.launch = Launch(*what, [x.shape for x in numbers], threads=threads, products=TorchProducts)
        else:
            self.launch = GridLaunch(*what, [x.shape for x in numbers], device, self._counting())
            self.on_device = True
        if isinstance(self.launch, GridLaunch):
            self.launch.lent = [copy for _, copy in self._copies]
        # Not while copies are written back, nor between two calls of it, nor where Python launches.
        self.is_atomic = not (self._copies or isinstance(self.launch, GridLaunch)) and self.launch.is_atomic
        many, columns = self.launch.buffers.shape
        order = np.arange(many * columns).reshape(many, columns).T.tolist()
        places = [
            *order[0],
            *range(many * columns, many * (columns + 1)),
            *(place for row in order[1:] for place in row),
        ]
        samples = [*plain, *plain, *(tensor for tensors in states for tensor in tensors)]
        self._addresses = Addresses(samples, self.launch.addresses, places)
        self._collector: Collector | None = None
        if self._are_direct and not self._copies:
            kept = work.params, work.kept, work.names
            self._collector = Collector(*kept, self._addresses)
        self._held: Sequence[Any] = ()
        self._grads: Sequence[Any] = ()

    def _counting(self) -> Counting | None:
        """What counts steps, if it is not the host."""
        counts = self.work.counts
        if counts is None:
            return None
        return Counting(counts, counts.clocks(self.work.places, self._device), self.shifts)

    @property
    def reports(self) -> NDArray[np.float64]:
        return self.launch.reports

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self.launch.totalled

    def total(self, column: int) -> torch.Tensor:
        assert isinstance(self.launch, GridLaunch)
        return self.launch.total(column)

    @property
    def has_run(self) -> bool:
        return bool(self.launch.ran.value)

    @property
    def has_written(self) -> bool:
        return self.launch.has_written

    def find(self) -> bool:
        self.launch.ran.value = 0
        if self._collector is None:
            return super().find()
        if not self._collector():
            return False
        self._grads = self._collector.grads
        return not any(_negated(self._grads[i]) for i in self._lone)

    def load(self, grads: Sequence[Any]) -> bool:
        self.launch.ran.value = 0
        tensors: list[Any] = [*self.work.params, *grads]
        try:
            for get in self._getters:
                tensors += map(get, self.work.kept)
        except KeyError:  # someone took it out of the state
            return False
        if not self._are_direct:
            tensors = [tensor if tensor is None else local(tensor) for tensor in tensors]
        if not self._copied.holds(tensors[i] for i, _ in self._copies):
            return False
        for i, copy in self._copies:
            tensors[i] = copy
        self._held, first = tensors, len(self.work.params)
        self._grads = tensors[first : 2 * first]
        return self._addresses(tensors) and not any(_negated(self._grads[i]) for i in self._lone)

    def found_finite(self) -> list[bool]:
        if isinstance(self.launch, GridLaunch):
            found = self._finite(list(self._grads), [self._device], is_recorded=False)
            if found is not None and not any(number.item() for number in found):
                return [True] * len(self._grads)
            return are_finite(self._grads)
        sums = self.launch.square_sums().tolist()
        # The sum of float64 squares may overflow though its entries are finite.
        return [math.isfinite(x) or bool(grad.isfinite().all()) for x, grad in zip(sums, self._grads, strict=True)]

    def drop(self) -> None:
        self._held = self._grads = ()
        if self._collector is not None:
            self._collector.let_go()
        if self.on_device:
            cast(GridLaunch, self.launch).drop()

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self.launch.arrange(self.own_rows(rows) if self._is_random and not self.counts else rows)

    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Any = ()) -> None:
        self._left = self.work.program.stage_count
        if self._copies:
            self._copy_in()
        if (counts := self.work.counts) is not None:
            scalars = [[*row, counts.scale] for row in scalars] if self._scales else scalars
            if counts.mode.is_capturable and is_capturing():
                self._keep(counts)
        self.launch.begin(*self.of_own_rows(scalars, ts), model)

    def _keep(self, counts: DeviceCounts) -> None:
        """Keep all that a graph that records the step will read and write."""
        assert isinstance(self.launch, GridLaunch)
        keep(self.work.params[0], [*self.launch.tables, *counts.on(self._device), *self._states()])

    def proceed(self, model: Any) -> None:
        self.launch.proceed(model)

    def run(self) -> None:
        try:
            self.launch.run()
        finally:
            self._left -= 1
            if not self._left:
                if self._copies:
                    self._copy_back()
                self.drop()

    @torch.no_grad()
    def _copy_in(self) -> None:
        for i, copy in self._copies:
            copy.copy_(local(self.work.params[i]))

    @torch.no_grad()
    def _copy_back(self) -> None:
        for i, copy in self._copies:
            local(self.work.params[i]).copy_(copy)
