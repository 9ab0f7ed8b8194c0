"""The fused engine: as few passes over memory as can be, for all parameters, in compiled code, on several threads."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.errors import sentence
from minima.optim.engines.engine import Array, Arrays, Engine, Kernel, precision
from minima.optim.engines.passes import obstacle
from minima.optim.engines.reductions import finite
from minima.optim.engines.storage import Stored
from minima.optim.language.program import Program

__all__ = ["Fused"]


class Fused(Engine):
    """Compiles a program once for each combination of dtypes, and runs it over all parameters in one call."""

    name = "fused"

    def prepare(
        self,
        program: Program,
        kind: str,
        arrays: Arrays,
        states: Sequence[tuple[Stored, ...]],
    ) -> Kernel:
        if reason := obstacle(program, tuple(stored.kind for stored in states[0])):
            rule = f"{program.name} cannot be run by the fused engine: {reason}"
            raise NotImplementedError(sentence(self.name, rule, hint="leave engine out, or take the reference engine"))
        return _FusedKernel(program, kind, arrays, states)


class _FusedKernel(Kernel):
    """A launch for arrays of NumPy. It asks for all addresses in every step, so that it never writes where one was."""

    def __init__(
        self,
        program: Program,
        kind: str,
        arrays: Arrays,
        states: Sequence[tuple[Stored, ...]],
    ) -> None:
        # These load LLVM, which nothing but a step needs.
        from minima.optim.engines.cpu.functions import functions_of
        from minima.optim.engines.cpu.gather import Gather
        from minima.optim.engines.cpu.launch import Launch

        params = arrays.params()
        kinds = tuple(stored.kind for stored in states[0])
        compute = precision(params[0].dtype)
        self._launch = Launch(program, kind, kinds, compute, [param.shape for param in params])
        self.functions = functions_of(program)
        self._arrays, self._both = arrays, arrays.both
        copies = [None if x.flags.c_contiguous and x.flags.aligned else np.array(x, order="C") for x in params]
        self._copies = [(i, copy) for i, copy in enumerate(copies) if copy is not None]
        """Plain copies of parameters that are not contiguous, which are stepped in their place."""
        # An interrupt may come while they are written back, and between two stages.
        self.is_atomic = not self._copies and self._launch.is_atomic
        self._stage, self._stages = 0, program.stage_count
        plain = [x if copy is None else copy for x, copy in zip(params, copies, strict=True)]
        self._kept = [array for state in states for stored in state for array in stored.arrays]
        places = np.arange(self._launch.buffers.size).reshape(self._launch.buffers.shape)
        grads = range(places.size, places.size + len(params))
        order = [*places[:, 0].tolist(), *grads, *places[:, 1:].ravel().tolist()]
        samples = [*plain, *plain, *self._kept]
        writeable = [*[True] * len(params), *[False] * len(params), *[True] * len(self._kept)]
        self._gather = Gather(samples, self._launch.addresses, order, writeable)
        self._held: list[Array] = []

    @property
    def reports(self) -> NDArray[np.float64]:
        return self._launch.reports

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self._launch.totalled

    def find(self) -> bool:
        arrays = self._both()
        return arrays is not None and self._take(arrays)

    def load(self, grads: Sequence[Array]) -> bool:
        return self._take([*self._arrays.params(), *grads])

    @property
    def has_run(self) -> bool:
        return bool(self._launch.ran.value)

    @property
    def has_written(self) -> bool:
        return self._launch.has_written

    def _take(self, arrays: list[Array]) -> bool:
        self._launch.ran.value = 0
        for i, copy in self._copies:
            param = arrays[i]
            if param.shape != copy.shape or param.dtype != copy.dtype or not param.flags.writeable:
                return False
            arrays[i] = copy
        arrays += self._kept
        self._held = arrays
        return self._gather(arrays)

    def finite(self) -> list[bool]:
        many = len(self._launch.grads)
        grads = self._held[many : 2 * many]
        return finite(grads, self._launch.square_sums().tolist())

    def drop(self) -> None:
        self._held = []

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._launch.arrange(rows)

    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        self._stage = 0
        if self._copies:
            params = self._arrays.params()
            for i, copy in self._copies:
                np.copyto(copy, params[i])
        self._launch.begin(scalars, ts, model)

    def proceed(self, model: Sequence[float]) -> None:
        self._stage += 1
        self._launch.proceed(model)

    def run(self) -> None:
        try:
            self._launch.run()
        finally:
            if self._stages > 1 or self._copies:
                self._end_stage()
            else:
                self._held = []

    def _end_stage(self) -> None:
        if self._stage < self._stages - 1:
            return
        if self._copies:
            params = self._arrays.params()
            for i, copy in self._copies:
                np.copyto(params[i], copy)
        self._held = []
