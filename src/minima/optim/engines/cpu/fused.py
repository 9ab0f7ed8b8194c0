"""The fused engine: one pass over memory for all parameters, in compiled code, on several threads."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Engine, Kernel, precision
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
    ) -> Kernel:
        return _Step(program, params, states, rows, measured)


class _Step(Kernel):
    """A launch for arrays of NumPy. Only gradients and scalars change from step to step."""

    def __init__(
        self,
        program: Program,
        params: Sequence[Array],
        states: Sequence[tuple[Stored, ...]],
        rows: Sequence[int],
        measured: bool,
    ) -> None:
        # These load LLVM, which nothing but a step needs.
        from minima.optim.engines.cpu.gather import Gather
        from minima.optim.engines.cpu.launch import Launch

        dtype = params[0].dtype
        kinds = tuple(stored.kind for stored in states[0])
        sizes = [param.size for param in params]
        self.launch = Launch(program, dtype.name, kinds, precision(dtype), sizes, rows, measured=measured)
        self.copies: list[tuple[Array, Array]] = []
        """Parameters that are not laid out plainly, each with a plain copy that is stepped in its place."""
        plain = [self._plain(param) for param in params]
        kept = [[array for stored in state for array in stored.arrays] for state in states]
        self.arrays = [(param, *arrays) for param, arrays in zip(plain, kept, strict=True)]
        self.launch.buffers[:] = [[array.ctypes.data for array in arrays] for arrays in self.arrays]
        self.gather = Gather(params, self.launch.grads)
        self.grads: Sequence[Array] = ()

    @property
    def measures(self) -> NDArray[np.float64]:
        return self.launch.measures

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        return self.gather(grads)

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        for param, copy in self.copies:
            np.copyto(copy, param)
        self.launch(scalars, ts)
        for param, copy in self.copies:
            np.copyto(param, copy)
        self.grads = ()

    def _plain(self, param: Array) -> Array:
        if param.flags.carray:
            return param
        copy = np.array(param, order="C")
        self.copies.append((param, copy))
        return copy
