"""The fused engine: one pass over memory for all parameters, in compiled code, on several threads."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Arrays, Engine, Kernel, precision
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
        *,
        measured: bool = False,
    ) -> Kernel:
        return _FusedKernel(program, kind, arrays, states, measured)


class _FusedKernel(Kernel):
    """A launch for arrays of NumPy. It asks for all addresses in every step, so that it never writes where one was."""

    is_atomic = True

    def __init__(
        self,
        program: Program,
        kind: str,
        arrays: Arrays,
        states: Sequence[tuple[Stored, ...]],
        measured: bool,
    ) -> None:
        from minima.optim.engines.cpu.launch import Launch

        self._where = arrays
        arrays = arrays.params()
        kinds = tuple(stored.kind for stored in states[0])
        self.launch = Launch(program, kind, kinds, precision(arrays[0].dtype), [x.size for x in arrays], measured=measured)
        self._shapes = [(x.shape, x.dtype) for x in arrays]
        self._copies: list[tuple[int, Array]] = []
        """Parameters that are not laid out plainly, each with a plain copy that is stepped in its place."""
        for i, x in enumerate(arrays):
            if not x.flags.carray: self._copies.append((i, np.array(x, order="C")))
        self._states = states
        self._stored = [[array for stored in state for array in stored.arrays] for state in states]
        self.held: Any = ()

    @property
    def measures(self) -> NDArray[np.float64]:
        return self.launch.measures

    def load(self, grads: Sequence[Array]) -> bool:
        params = self._where.params()
        for x, (shape, dtype), g, state in zip(params, self._shapes, grads, self._states):
            if x.shape != shape or x.dtype != dtype or not x.flags.writeable or g.shape != shape or g.dtype is not np.dtype(dtype.name) or not g.flags.carray and not (g.flags.c_contiguous and g.flags.aligned):
                return False
            if not all(s.is_intact for s in state):
                return False
        plain = list(params)
        for i, copy in self._copies:
            plain[i] = copy
        if not all(x.flags.carray for x in plain): return False
        self.launch.buffers[:] = [[x.ctypes.data, *(a.ctypes.data for a in arrays)] for x, arrays in zip(plain, self._stored)]
        self.launch.grads[:] = [g.ctypes.data for g in grads]
        self.held = (params, grads)
        return True

    def find(self):
        grads = self._where.grads()
        return grads is not None and self.load(grads)

    def finite(self):
        from minima.optim.engines.measure import finite
        return finite(self.held[1])

    def drop(self): self.held = ()
    def arrange(self, rows): self.launch.arrange(rows)

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        params = self.held[0]
        for i, copy in self._copies:
            np.copyto(copy, params[i])
        try:
            self.launch(scalars, ts)
        finally:
            for i, copy in self._copies:
                np.copyto(params[i], copy)
        self.held = ()
