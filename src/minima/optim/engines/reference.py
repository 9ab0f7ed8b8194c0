"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Arrays, Engine, Kernel, precision
from minima.optim.engines.reductions import finite, reducer, square_sum
from minima.optim.engines.storage import Stored, base, rounding
from minima.optim.language.operations import DECOMPOSITIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Program, compile_lines
from minima.optim.language.ranks import MODEL, TENSOR, matrix_shape

__all__ = ["Reference", "ReferenceKernel"]


class Reference(Engine):
    """Runs the body of a program on whole arrays, one parameter after another."""

    name = "reference"

    def prepare(
        self,
        program: Program,
        kind: str,
        arrays: Arrays,
        states: Sequence[tuple[Stored, ...]],
    ) -> Kernel:
        shapes = [(param.shape, param.dtype) for param in arrays.params()]

        def kept() -> list[Stored] | None:
            found = [Stored(kind, -1, x.shape, precision(x.dtype), (x,)) for x in arrays.params()]
            fits = all(
                x.arrays[0].dtype == dtype and x.shape == shape and x.is_intact and all(s.is_intact for s in state)
                for x, (shape, dtype), state in zip(found, shapes, states, strict=True)
            )
            return found if fits else None

        return ReferenceKernel(program, kept, arrays.grads, lambda: states)


class ReferenceKernel(Kernel):
    """Steps parameters that may be kept in any form."""

    def __init__(
        self,
        program: Program,
        params: Callable[[], list[Stored] | None],
        grads: Callable[[], list[Array] | None],
        states: Callable[[], Sequence[tuple[Stored, ...]]],
    ) -> None:
        """Step by a program.

        Args:
            program: What to do.
            params: Gives every parameter as it lies in memory now, or None if anything is not as it was.
            grads: Gives their gradients, or None if one is missing.
            states: Gives their states.
        """
        self.program = program
        self._params = params
        self._grads = grads
        self._states = states
        self._loaded: list[_Loaded] = []
        self._rows: list[int] = []
        self._stage = 0
        self._ts: Sequence[int] = ()
        self._has_written = False
        self._results: list[tuple[Stored, tuple[Any, ...]]] = []
        """What is to be written, and where."""
        self._reports: list[list[float]] = []
        self._totalled: NDArray[np.float64] = np.zeros((0, 0))

    @property
    def reports(self) -> NDArray[np.float64]:
        return np.array(self._reports, np.float64).reshape(len(self._rows), len(self.program.reports))

    @property
    def totalled(self) -> NDArray[np.float64]:
        return self._totalled

    @property
    def has_written(self) -> bool:
        return self._has_written

    def find(self) -> bool:
        grads = self._grads()
        return grads is not None and self.load(grads)

    def finite(self) -> list[bool]:
        wide = [Stored(base(x.param.kind), -1, x.param.shape, x.param.dtype, (x.grad,)).read() for x in self._loaded]
        return finite(wide, [square_sum(values) for values in wide])

    def load(self, grads: Sequence[Array]) -> bool:
        self._has_written, params = False, self._params()
        if params is None:
            return False
        self._loaded = [_Loaded(*each) for each in zip(params, grads, self._states(), strict=True)]
        arrays = (param.arrays[0] for param in params)
        return all(grad.shape == x.shape and grad.dtype == x.dtype for grad, x in zip(grads, arrays, strict=True))

    def drop(self) -> None:
        self._loaded, self._results = [], []

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._rows = list(map(int, rows))

    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        self._stage, self._ts, self._reports = 0, ts, []
        with np.errstate(over="ignore"):  # a hyperparameter that the precision cannot hold is infinite
            for each, row in zip(self._loaded, self._rows, strict=True):
                each.begin(self.program, scalars[row])
        self._go(model)

    def proceed(self, model: Sequence[float]) -> None:
        self._stage += 1
        self._go(model)

    def _go(self, model: Sequence[float]) -> None:
        """Compute all that a stage writes, in the form in which it is kept."""
        program, wide = self.program, map(np.float64, model)
        numbers = dict(zip(program.model, wide, strict=True)) if model else {}
        for each in self._loaded:
            each.compute(program, self._stage, numbers)
        found = [[float(each.values.get(name, math.nan)) for name in program.totalled] for each in self._loaded]
        self._totalled = np.array(found, np.float64).reshape(len(self._rows), len(program.totalled))
        if self._stage < program.stage_count - 1:
            return
        self._reports = [[float(each.values[name]) for name in program.reports] for each in self._loaded]
        new = [(each.results(program), self._ts[row]) for each, row in zip(self._loaded, self._rows, strict=True)]
        with np.errstate(over="ignore"):  # what half precision cannot hold is infinite
            self._results = [(stored, stored.coded(value, t)) for found, t in new for stored, value in found]

    def run(self) -> None:
        if self._stage < self.program.stage_count - 1:
            return
        self._has_written = True
        with np.errstate(over="ignore"):
            for stored, codes in self._results:
                stored.put(codes)
        self.drop()


@dataclass
class _Loaded:
    """A parameter in the middle of a step."""

    param: Stored
    grad: Array
    state: tuple[Stored, ...]
    values: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is known so far, by name."""

    def begin(self, program: Program, scalars: Sequence[Any]) -> None:
        param, dtype = self.param, self.param.dtype
        like = Stored(base(param.kind), -1, param.shape, dtype, (self.grad,))
        rows, columns = shape = matrix_shape(param.shape)
        arrays = [param.read(), like.read()]
        if program.by_rows:
            arrays = [array.reshape(shape) for array in arrays]
        for name, stored in zip(program.kept, self.state, strict=True):
            array = stored.read()
            is_whole = program.by_rows and program.rank(name) > TENSOR and array.shape == param.shape
            arrays.append(array.reshape(shape) if is_whole else array)
        self.values = dict(zip(("param", "grad", *program.kept), arrays, strict=True))
        self.values |= zip(program.shape, (np.float64(rows), np.float64(columns)), strict=False)
        many = len(program.scalars)
        self.values |= zip(program.scalars, (np.array(value, dtype) for value in scalars[:many]), strict=True)
        wide = map(np.float64, scalars[many:])
        self.values |= zip(map(_wide, program.wide), wide, strict=True)

    def compute(self, program: Program, stage: int, numbers: Mapping[str, Any]) -> None:
        """Run the lines of a stage, for which these numbers for the whole model are known."""
        self.values |= numbers
        lines, arguments, results = _stage(program, stage)
        run = compile_lines("stage", arguments, lines, results, self.param.dtype)
        words = _words(program.by_rows, self.param.kind, self.param.dtype)
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            found = run(*(self.values[name] for name in arguments), words=words)
        self.values |= zip(results, found, strict=True)

    def results(self, program: Program) -> list[tuple[Stored, Array]]:
        """What changes of the parameter and its state, and its new values."""
        shape, new = matrix_shape(self.param.shape), list[tuple[Stored, Array]]()
        outputs = dict(zip(("param", *program.state), program.outputs, strict=True))
        for name, stored in zip(("param", *program.kept), (self.param, *self.state), strict=True):
            value: Any = outputs[name]
            if value == name:  # rounded anew in every step, what stays as it is would wander off
                continue
            if isinstance(value, str):
                value = self.values[_read(program, value, program.rank(name))]
            if program.by_rows and stored.shape == self.param.shape:
                value = np.broadcast_to(value, shape).reshape(stored.shape)
            # A rule may hand on an input as it is: what is written first must not show in what is written next.
            new.append((stored, np.array(value)))
        return new


def _wide(name: str) -> str:
    """What a number of the host part is called where it is read in float64; no name in a rule begins so."""
    return f"64_{name}"


def _read(program: Program, name: str, rank: int) -> str:
    """What a value is called as something of this rank reads it."""
    return _wide(name) if rank <= TENSOR and name in program.wide else name


@cache
def _stage(program: Program, stage: int) -> tuple[tuple[Instruction, ...], tuple[str, ...], tuple[str, ...]]:
    """The lines of a stage, the values that they read, and those that they give."""
    lines: list[Instruction] = []
    for line in program.body:
        if line.rank != MODEL and program.stages[line.target] == stage:
            operands = (_read(program, x, line.rank) if isinstance(x, str) else x for x in line.operands)
            lines.append(replace(line, operands=tuple(operands)))
    given = tuple(line.target for line in lines)
    return tuple(lines), tuple(dict.fromkeys(x for line in lines for x in line.reads if x not in given)), given


@cache
def _words(by_rows: bool, kind: str, dtype: np.dtype[Any]) -> dict[str, Callable[..., Any]]:
    """The words that NumPy has not, for parameters of a kind that are computed in this precision."""
    words: dict[str, Callable[..., Any]] = {name: reducer(name, dtype, by_rows=by_rows) for name in REDUCTIONS}
    words |= {name: row.numpy for name, row in DECOMPOSITIONS.items()}
    return words | {"nearest": rounding(kind, dtype), "narrow": partial(np.asarray, dtype=dtype)}
