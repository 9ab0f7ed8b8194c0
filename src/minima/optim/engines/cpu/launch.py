"""A launch: the tables of addresses that the machine code of a program reads, and the call that makes it run."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.kernel import compile_kernel
from minima.optim.engines.cpu.layout import TABLE_NAMES, Layout, Places
from minima.optim.engines.cpu.pieces import Pieces
from minima.optim.engines.cpu.products import NumpyProducts, Products
from minima.optim.engines.cpu.reductions import SquareSums
from minima.optim.engines.passes import cut
from minima.optim.engines.storage import BLOCKS, base, is_stochastic
from minima.optim.language.program import Program

__all__ = ["Launch"]

_FEW = 4
"""Rows of scalars up to which Python writes them: one call for each, but NumPy's takes as long as several."""


class Launch:
    """Steps some tensors, whose addresses the owner of a launch writes into its tables."""

    def __init__(
        self,
        program: Program,
        param: str,
        state: tuple[str, ...],
        compute: np.dtype[Any],
        shapes: Sequence[Sequence[int]],
        *,
        threads: int | None = None,
        products: type[Products] = NumpyProducts,
    ) -> None:
        """Get ready for tensors of these shapes.

        Args:
            program: What to do.
            param: The kind in which every parameter is kept.
            state: For all ``kept`` state of the program, the kind in which it is kept: ``float64`` of what there is one
                for each tensor, and the precision of the loop of what there is for rows and columns.
            compute: The precision of the loop.
            shapes: The shape of every parameter.
            threads: How many threads may work on a step; by default as many as `thread_count` says.
            products: What multiplies matrices.
        """
        sizes = [math.prod(shape) for shape in shapes]
        columns = 1 + len(state) + sum(kind in BLOCKS for kind in state)
        self.addresses: NDArray[np.int64] = np.zeros(len(sizes) * (columns + 1), np.int64)
        """All addresses: those of ``buffers``, row after row, then those of ``grads``."""
        self.buffers = self.addresses[: len(sizes) * columns].reshape(len(sizes), columns)
        """For every tensor the address of the parameter and of each array of its state."""
        self.grads = self.addresses[len(sizes) * columns :]
        self._rows = np.zeros(len(sizes), np.int64)
        self._width, self._compute = len(program.scalars), compute
        self._wide_width = len(program.wide)
        self._pack = struct.Struct(f"{self._width}{compute.char}").pack_into
        self._pack_wide = struct.Struct(f"{self._wide_width}d").pack_into
        self._is_random = any(map(is_stochastic, (param, *state)))
        code = compile_kernel(program, param, state, compute.name)
        self._passes = None if program.is_plain else _Passes(program, (param, *state), compute, shapes, products)
        self._pieces = Pieces(sizes, threads, None if self._passes is None else self._passes.pieces)
        arrays = [self.buffers, self.grads, self._rows, self._rows, self._rows, self._rows]
        if self._passes is not None:
            arrays += self._passes.tables
            if self._passes.is_single:
                self._pieces.take(*self._passes.phases)
        self._tables = np.array([array.ctypes.data for array in arrays], np.int64)
        assert self._passes is None or len(arrays) == len(TABLE_NAMES)
        self.arrange(self._rows)
        self._pieces.give(code.address, self._tables.ctypes.data, code.between)
        self._run = self._pieces.run
        self._squares: SquareSums | None = None
        self._shape = sizes, base(param), threads
        self.ran = self._pieces.ran
        """Whose value is 1 when a step, or a stage of it, is done; the owner of a launch sets it to 0 before."""

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own."""
        self._rows[:] = rows
        many = int(self._rows.max(initial=0)) + 1
        self._scalars, self._ts = np.zeros((many, self._width), self._compute), np.zeros(many, np.int64)
        self._wide = np.zeros((many, self._wide_width))
        self._packed = self._scalars.data
        self._given: Sequence[Sequence[float]] | None = None
        self._offsets = tuple(range(0, self._scalars.nbytes, max(1, self._scalars.strides[0]))) if many <= _FEW else ()
        self._tables[3:6] = self._scalars.ctypes.data, self._ts.ctypes.data, self._wide.ctypes.data

    def begin(self, scalars: Sequence[Sequence[float]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        """Get ready for a step, or the first stage of one, which `run` takes.

        Args:
            scalars: For every row the scalars of the program, then its wide numbers. Those that stay the same may come
                as the same object.
            ts: For every row its ``t``.
            model: The numbers for the whole model, as far as they are known.
        """
        if scalars is not self._given:
            self._write(scalars)
            self._given = scalars  # after it: an interrupt may come between the two
        if self._is_random:
            self._ts[:] = ts
        if (passes := self._passes) is not None:
            passes.has_written = False
            passes.begin(0, model)

    def proceed(self, model: Sequence[float]) -> None:
        """Get ready for the next stage."""
        assert self._passes is not None
        self._passes.begin(self._passes.stage + 1, model)

    def run(self) -> None:
        """Take the stage that was got ready for."""
        passes = self._passes
        if passes is None or passes.is_single:
            self._run()
        elif passes.products is None:
            self._run_phases(passes)
        else:
            self._multiply(passes)

    def _multiply(self, passes: "_Passes") -> None:
        for tensor in range(len(self._rows)):
            self._pieces.only(tensor)
            passes.only(tensor)
            passes.begin(0)
            self._run_phases(passes)
            passes.multiply(tensor)
            passes.begin(1)
            self._run_phases(passes)

    def _run_phases(self, passes: "_Passes") -> None:
        self._pieces.take(*passes.phases)
        self._run()
        passes.has_written |= passes.writing[passes.stage]

    @property
    def has_written(self) -> bool:
        """Whether a stage that writes to tensors has been done, since ``ran`` was set to 0."""
        passes = self._passes
        return bool(self.ran.value) and (passes is None or passes.is_single or passes.has_written)

    @property
    def is_atomic(self) -> bool:
        """Whether a step is one call of machine code, which no interrupt parts."""
        return self._passes is None or self._passes.is_atomic

    @property
    def reports(self) -> NDArray[np.float64]:
        """For every tensor what the program reports of the last step; valid until the next one."""
        return np.zeros((len(self._rows), 0)) if self._passes is None else self._passes.reports

    @property
    def totalled(self) -> NDArray[np.float64]:
        """For every tensor what the program adds up over all of them; valid until the next step."""
        return np.zeros((len(self._rows), 0)) if self._passes is None else self._passes.totalled

    def square_sums(self) -> NDArray[np.float64]:
        """The sum of the squares of every gradient whose address is in the tables; valid until the next call."""
        if self._squares is None:
            sizes, kind, threads = self._shape
            self._squares = SquareSums(sizes, kind, threads, addresses=self.grads)
        return self._squares.sums()

    def _write(self, scalars: Sequence[Sequence[float]]) -> None:
        if self._wide_width:
            width = self._width
            try:
                if len(scalars) == 1:
                    self._pack(self._packed, 0, *scalars[0][:width])
                    self._pack_wide(self._wide.data, 0, *scalars[0][width:])
                    return
            except OverflowError:  # of what is infinite in the precision of the loop
                pass
            with np.errstate(over="ignore"):
                for number, row in enumerate(scalars):
                    self._scalars[number], self._wide[number] = row[:width], row[width:]
            return
        if self._offsets:
            try:
                for offset, row in zip(self._offsets, scalars):  # noqa: B905 - as many: the check would take longer
                    self._pack(self._packed, offset, *row)
                return
            except OverflowError:  # of what is infinite in the precision of the loop
                pass
        with np.errstate(over="ignore"):
            self._scalars[:] = scalars


class _Passes:
    """The tables of a program of several passes."""

    def __init__(
        self,
        program: Program,
        kinds: tuple[str, ...],
        compute: np.dtype[Any],
        shapes: Sequence[Sequence[int]],
        products: type[Products],
    ) -> None:
        self._dtype = compute
        self._cut = cut(program, kinds, compute.name)
        self.is_atomic = not self._cut.products and not program.totalled
        layout = Layout(program, self._cut)
        places = Places(layout, shapes, is_shared=False)
        self.pieces, self._places, self._shapes = places.pieces, places.table, places.shapes
        self._values = np.full((len(shapes), len(layout.values)), np.nan)
        self._model = np.zeros(len(program.model))
        self._sums, self._scratch = np.zeros(places.sums), np.zeros(places.scratch, compute)
        large = np.flatnonzero(self.pieces > 1)
        self._large = np.array([large.size, *large, 0], np.int64)
        self._matrices = np.zeros(0, np.int64)
        self.products: Products | None = None
        """What multiplies matrices, if anything does."""
        if lines := self._cut.products:
            ends = self._cut.operands, self._cut.results
            self.products = products(lines, kinds[0], compute, *ends, self._shapes)
            self._matrices = np.array(self.products.addresses, np.int64)
            made = {line.target for line in lines}
            read = {name for line in lines for name in line.reads} - made
            self._given = [(name, slot) for name, slot in layout.values.items() if name in read]
            self._truths = [name for name, _ in self._given if name in layout.truths]
            self._found = [(name, slot) for name, slot in layout.values.items() if name in made]
        self.tables = [self._model, self._values, self._sums, self._scratch, self._places, self._large, self._matrices]
        """In the order in which a kernel reads them."""
        self._reported = [layout.values[name] for name in program.reports]
        self._totalled = [layout.values[name] for name in program.totalled]
        self.is_single = self.products is None and len(self._cut.stages) == 2
        """Whether a step is one stage, the phases of which are always the same."""
        self.writing = self._cut.writing
        """For each stage whether it writes to tensors."""
        self.has_written = False
        """Whether such a stage of the last step has been done."""
        self.stage = 0

    def only(self, tensor: int) -> None:
        """Get ready for one tensor alone, whose products are taken next."""
        self._large[:2] = int(self.pieces[tensor] > 1), tensor

    def multiply(self, tensor: int) -> None:
        """Take the products of a tensor."""
        assert self.products is not None
        values = self._values[tensor]
        known: dict[str, Any] = {name: values[slot] for name, slot in self._given}
        with np.errstate(over="ignore"):
            narrow: dict[str, Any] = {name: self._dtype.type(value) for name, value in known.items()}
        known |= {name: np.bool_(known[name]) for name in self._truths}
        self.products(self._shapes[tensor], narrow, known)
        for name, slot in self._found:
            values[slot] = known[name]

    def begin(self, stage: int, model: Sequence[float] = ()) -> None:
        """Get ready for a stage."""
        self.stage = stage
        if self._model.size and len(model):
            self._model[:] = model

    @property
    def phases(self) -> tuple[int, int]:
        """The first phase of the stage, and the one behind its last; there is one where no tensor needs another."""
        first, end = self._cut.stages[self.stage], self._cut.stages[self.stage + 1] - 1
        return first, end if self._large[0] else min(first + 1, end)

    @property
    def reports(self) -> NDArray[np.float64]:
        return self._values[:, self._reported]

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self._values[:, self._totalled]
