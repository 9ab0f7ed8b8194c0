"""The fused engine: one pass over memory for all parameters, in compiled code, on several threads."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Engine, Kernel, precision
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
        params: Sequence[Array],
        states: Sequence[tuple[Stored, ...]],
        rows: Sequence[int],
        *,
        measured: bool = False,
        threads: int | None = None,
    ) -> Kernel:
        return _Step(program, params, states, rows, measured, threads)


class _Step(Kernel):
    """A launch for arrays of NumPy. Only gradients and scalars change from step to step."""

    def __init__(
        self,
        program: Program,
        params: Sequence[Array],
        states: Sequence[tuple[Stored, ...]],
        rows: Sequence[int],
        measured: bool,
        threads: int | None,
    ) -> None:
        # These load LLVM, which nothing but a step needs.
        from minima.optim.engines.cpu.gather import Gather
        from minima.optim.engines.cpu.launch import Launch

        dtype = params[0].dtype
        kinds = tuple(stored.kind for stored in states[0])
        sizes = [param.size for param in params]
        self.launch = Launch(
            program, dtype.name, kinds, precision(dtype), sizes, rows, measured=measured, threads=threads
        )
        self.copies: list[tuple[Array, Array]] = []
        """Parameters that are not laid out plainly, each with a plain copy that is stepped in its place."""
        plain = [self._plain(param) for param in params]
        self.arrays: list[Array] = []
        """All arrays of a step: each parameter and its state, which stay the same, then the gradients."""
        for param, state in zip(plain, states, strict=True):
            self.arrays += [param, *(array for stored in state for array in stored.arrays)]
        self.fixed = len(self.arrays)
        samples = [*self.arrays, *plain]
        written = [place < self.fixed for place in range(len(samples))]
        self.gather = Gather(samples, self.launch.addresses, range(len(samples)), written)

    @property
    def measures(self) -> NDArray[np.float64]:
        return self.launch.measures

    def load(self, grads: Sequence[Array]) -> bool:
        self.arrays[self.fixed :] = grads
        if self.copies and not all(x.shape == copy.shape and x.flags.writeable for x, copy in self.copies):
            return False
        return self.gather(self.arrays)

    def first_not_finite(self) -> int | None:
        sums = self.launch.square_sums().tolist()
        if math.isfinite(sum(sums)):
            return None
        fine = finite(self.arrays[self.fixed :], sums)
        return fine.index(False) if False in fine else None

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        for param, copy in self.copies:
            np.copyto(copy, param)
        self.launch(scalars, ts)
        for param, copy in self.copies:
            np.copyto(param, copy)
        del self.arrays[self.fixed :]

    def _plain(self, param: Array) -> Array:
        if param.flags.c_contiguous and param.flags.aligned:
            return param
        copy = np.array(param, order="C")
        self.copies.append((param, copy))
        return copy
