"""The fused engine: one pass over memory for all parameters, in compiled code, on several threads."""

from collections.abc import Iterator, Sequence

import numpy as np

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.storage import Stored
from minima.optim.engines.threads import share, thread_count
from minima.optim.program import Program

__all__ = ["Fused"]

CHUNK = 1 << 14
"""Elements in one piece of work: small enough to spread evenly, large enough that its start costs nothing; whole blocks
of stored state."""
ALONE = 1 << 17
"""Elements below which one thread does it all: waking a second one costs more than it saves."""


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
        self.chunks = np.array(list(_chunks([param.size for param in params])), np.int64).reshape(-1, 3)
        self.done = np.zeros(1, np.int64)
        """How many chunks have been taken by a thread, in this step."""
        tables = (self.buffers, self.gather.addresses, self.rows, self.scalars, self.ts, self.chunks, self.done)
        self.tables = np.array([table.ctypes.data for table in tables], np.int64)
        self.helpers = 0 if sum(param.size for param in params) < ALONE else thread_count() - 1
        # Several turns for each thread, so that one which is held up does not hold up the step.
        turns = 8 * (self.helpers + 1) if self.helpers else 1
        self.arguments = (self.tables.ctypes.data, len(self.chunks), max(1, -(-len(self.chunks) // turns)))

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        return self.gather(grads)

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        self.scalars[:] = scalars
        self.ts[:] = ts
        for param, copy in self.copies:
            np.copyto(copy, param)
        self.done[0] = 0
        if self.helpers == 0:
            self._work()
        else:
            share(self._work, self.helpers)
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


def _chunks(sizes: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """Every tensor in pieces: its number, where a piece starts, and how many elements it has."""
    for tensor, size in enumerate(sizes):
        for start in range(0, size, CHUNK):
            yield tensor, start, min(CHUNK, size - start)
