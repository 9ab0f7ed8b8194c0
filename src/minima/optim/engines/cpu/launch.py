"""A launch: the tables of addresses that the machine code of a program reads, and the call that makes it run."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.kernel import compile_kernel
from minima.optim.engines.cpu.pieces import Pieces
from minima.optim.engines.engine import MEASURES
from minima.optim.language.program import Program

__all__ = ["Launch"]


class Launch:
    """Steps some tensors, whose addresses the owner of a launch writes into its tables."""

    def __init__(
        self,
        program: Program,
        param: str,
        state: tuple[str, ...],
        compute: np.dtype[Any],
        sizes: Sequence[int],
        *,
        measured: bool = False,
    ) -> None:
        """Get ready for tensors of these sizes.

        Args:
            program: What to do.
            param: The kind in which every parameter is kept.
            state: For every state of the program, the kind in which it is kept.
            compute: The precision of the loop.
            sizes: The number of elements of every parameter.
            measured: Whether steps are to fill ``measures`` too.
        """
        self.code = compile_kernel(program, param, state, compute.name, measured=measured)
        columns = 1 + len(state) + sum(kind in ("int8", "uint8") for kind in state)
        self.addresses: NDArray[np.int64] = np.zeros(len(sizes) * (columns + 1), np.int64)
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: len(sizes) * columns].reshape(len(sizes), columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self.grads = self.addresses[len(sizes) * columns :]
        self.rows = np.zeros(len(sizes), np.int64)
        self.scalars = np.zeros((1, len(program.scalars)), compute)
        self._given: Sequence[Sequence[float]] | None = None
        self.ts = np.zeros(1, np.int64)
        self.pieces = Pieces(sizes)
        chunks, done = self.pieces.table, self.pieces.done
        self.sums = np.zeros((len(chunks) if measured else 0, len(MEASURES)))
        tables = (self.buffers, self.grads, self.rows, self.scalars, self.ts, chunks, done, self.sums)
        self.tables = np.array([table.ctypes.data for table in tables], np.int64)
        self.arguments = (self.tables.ctypes.data, len(chunks), self.pieces.grain)

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own."""
        self.rows[:] = rows
        many = int(self.rows.max(initial=0)) + 1
        self.scalars, self.ts = np.zeros((many, self.scalars.shape[1]), self.scalars.dtype), np.zeros(many, np.int64)
        self.tables[3:5] = self.scalars.ctypes.data, self.ts.ctypes.data
        self._given = None

    def __call__(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        """Step: for every row its scalars and its ``t``. Scalars that stay the same may come as the same object."""
        if scalars is not self._given:
            self.scalars[:] = scalars
            self._given = scalars
        self.ts[:] = ts
        self.pieces.share(self._work)

    @property
    def measures(self) -> NDArray[np.float64]:
        """For every tensor the sums of squares that the last step measured: those of its chunks, added in order."""
        measures = np.zeros((len(self.rows), len(MEASURES)))
        np.add.at(measures, self.pieces.table[:, 0], self.sums)
        return measures

    def _work(self) -> None:
        # One call for each thread: between calls, threads would wait for each other to let go of the interpreter.
        self.code.call(*self.arguments)
