"""A launch: the tables of addresses that the machine code of a program reads, and the call that makes it run."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.kernel import compile_kernel
from minima.optim.engines.cpu.pieces import Pieces
from minima.optim.engines.cpu.reductions import SquareSums, add_chunks
from minima.optim.engines.storage import BLOCKS, base, is_stochastic
from minima.optim.language.program import Program

__all__ = ["Launch"]

_FEW = 4
"""Rows of scalars up to which Python writes them: one call for each, but NumPy's takes as long as several."""


MEASURES = ("grad", "update", "param")


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
        threads: int | None = None,
    ) -> None:
        """Get ready for tensors of these sizes.

        Args:
            program: What to do.
            param: The kind in which every parameter is kept.
            state: For every state of the program, the kind in which it is kept.
            compute: The precision of the loop.
            sizes: The number of elements of every parameter.
            measured: Whether steps are to fill ``measures`` too.
            threads: How many threads may work on a step; by default as many as `thread_count` says.
        """
        columns = 1 + len(state) + sum(kind in BLOCKS for kind in state)
        self.addresses: NDArray[np.int64] = np.zeros(len(sizes) * (columns + 1), np.int64)
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: len(sizes) * columns].reshape(len(sizes), columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self.grads = self.addresses[len(sizes) * columns :]
        self._rows = np.zeros(len(sizes), np.int64)
        self._width, self._compute = len(program.scalars), compute
        self._pack = struct.Struct(f"{self._width}{compute.char}").pack_into
        self._is_random = any(map(is_stochastic, (param, *state)))
        self._pieces = Pieces(sizes, threads)
        self._sums = np.zeros((len(MEASURES), self._pieces.many if measured else 0))
        arrays = (self.buffers, self.grads, self._rows, self._rows, self._rows, self._sums)
        self._tables = np.array([array.ctypes.data for array in arrays], np.int64)
        self.arrange(self._rows)
        code = compile_kernel(program, param, state, compute.name, measured=measured)
        self._pieces.give(code.address, self._tables.ctypes.data)
        self._run = self._pieces.run
        self._squares: SquareSums | None = None
        self._shape = sizes, base(param), threads
        self.ran = self._pieces.ran
        """Whose value is 1 when a step is done; the owner of a launch sets it to 0 before."""

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own."""
        self._rows[:] = rows
        many = int(self._rows.max(initial=0)) + 1
        self._scalars, self._ts = np.zeros((many, self._width), self._compute), np.zeros(many, np.int64)
        self._packed = self._scalars.data
        self._given: Sequence[Sequence[float]] | None = None
        self._offsets = tuple(range(0, self._scalars.nbytes, max(1, self._scalars.strides[0]))) if many <= _FEW else ()
        self._tables[3:5] = self._scalars.ctypes.data, self._ts.ctypes.data

    def __call__(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        """Step: for every row its scalars and its ``t``. Scalars that stay the same may come as the same object."""
        if scalars is not self._given:
            self._write(scalars)
            self._given = scalars  # after it: an interrupt may come between the two
        if self._is_random:
            self._ts[:] = ts
        self._run()

    def square_sums(self) -> NDArray[np.float64]:
        """The sum of the squares of every gradient whose address is in the tables; valid until the next call."""
        if self._squares is None:
            sizes, kind, threads = self._shape
            self._squares = SquareSums(sizes, kind, threads, addresses=self.grads)
        return self._squares.sums()

    def _write(self, scalars: Sequence[Sequence[float]]) -> None:
        if self._offsets:
            try:
                for offset, row in zip(self._offsets, scalars):  # noqa: B905 - as many: the check would take longer
                    self._pack(self._packed, offset, *row)
                return
            except OverflowError:  # of what is infinite in the precision of the loop
                pass
        with np.errstate(over="ignore"):
            self._scalars[:] = scalars

    @property
    def measures(self) -> NDArray[np.float64]:
        """For every tensor the sums of squares that the last step measured."""
        if not self._sums.size:
            return np.zeros((len(self._rows), len(MEASURES)))
        return np.stack([add_chunks(sums.copy(), self._pieces.firsts) for sums in self._sums], axis=1)
