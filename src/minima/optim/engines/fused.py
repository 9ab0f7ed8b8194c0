"""The fused engine: one pass over memory for all parameters, in compiled code, on several threads."""

from collections.abc import Sequence

import numpy as np

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.pieces import Pieces
from minima.optim.engines.storage import Stored
from minima.optim.program import Program

__all__ = ["Fused"]


class Fused(Engine):
    """Compiles a program once for each combination of dtypes, and runs it over all parameters in one call."""

    name = "fused"

    def prepare(
        self, program: Program, params: Sequence[Array], states: Sequence[tuple[Stored, ...]], rows: Sequence[int]
    ) -> Kernel:
        return _Step(program, params, states, rows)


class _Step(Kernel):
    """The tables that the machine code reads. Only gradients and scalars change from step to step."""

    def __init__(
        self, program: Program, params: Sequence[Array], states: Sequence[tuple[Stored, ...]], rows: Sequence[int]
    ) -> None:
        # These load LLVM, which nothing but a step needs.
        from minima.optim.engines.gather import Gather
        from minima.optim.engines.kernel import compile_kernel

        dtype = params[0].dtype
        compute = precision(dtype)
        kinds = tuple(stored.kind for stored in states[0])
        self.code = compile_kernel(program, dtype.name, kinds, compute.name)
        self.copies: list[tuple[Array, Array]] = []
        """Parameters that are not laid out plainly, each with a plain copy that is stepped in its place."""
        plain = [self._plain(param) for param in params]
        kept = [[array for stored in state for array in stored.arrays] for state in states]
        self.arrays = [(param, *arrays) for param, arrays in zip(plain, kept, strict=True)]
        self.buffers = np.array([[array.ctypes.data for array in arrays] for arrays in self.arrays], np.int64)
        self.gather = Gather(params)
        self.grads: Sequence[Array] = ()
        self.rows = np.array(rows, np.int64)
        self.scalars = np.zeros((max(rows) + 1, len(program.scalars)), compute)
        self.ts = np.zeros(max(rows) + 1, np.int64)
        self.pieces = Pieces([param.size for param in params])
        chunks, done = self.pieces.table, self.pieces.done
        tables = (self.buffers, self.gather.addresses, self.rows, self.scalars, self.ts, chunks, done)
        self.tables = np.array([table.ctypes.data for table in tables], np.int64)
        self.arguments = (self.tables.ctypes.data, len(chunks), self.pieces.grain)

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        return self.gather(grads)

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        self.scalars[:] = scalars
        self.ts[:] = ts
        for param, copy in self.copies:
            np.copyto(copy, param)
        self.pieces.share(self._work)
        for param, copy in self.copies:
            np.copyto(param, copy)
        self.grads = ()

    def _work(self) -> None:
        # One call for each thread: between calls, threads would wait for each other to let go of the interpreter.
        self.code.call(*self.arguments)

    def _plain(self, param: Array) -> Array:
        if param.flags.carray:
            return param
        copy = np.array(param, order="C")
        self.copies.append((param, copy))
        return copy
