"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.storage import Stored, base, rounding
from minima.optim.language.program import Program

__all__ = ["Reference", "ReferenceStep"]


class Reference(Engine):
    """Runs the body of a program on whole arrays, one parameter after another."""

    name = "reference"

    def prepare(
        self,
        program: Program,
        params: Sequence[Array],
        states: Sequence[tuple[Stored, ...]],
        rows: Sequence[int],
        *,
        measured: bool = False,
    ) -> Kernel:
        kept = [Stored(param.dtype.name, -1, param.shape, precision(param.dtype), (param,)) for param in params]
        return ReferenceStep(program, kept, states, rows, measured=measured)


class ReferenceStep(Kernel):
    """Steps parameters that may be kept in any form."""

    def __init__(
        self,
        program: Program,
        params: Sequence[Stored],
        states: Sequence[tuple[Stored, ...]],
        rows: Sequence[int],
        *,
        measured: bool = False,
    ) -> None:
        self.body = program.body_function(params[0].dtype, rounding(params[0].kind, params[0].dtype))
        self.params = params
        self.states = states
        self.rows = rows
        self.grads: Sequence[Array] = ()
        self.measured = measured
        self._measures: list[list[float]] = []

    @property
    def measures(self) -> NDArray[np.float64]:
        return np.array(self._measures)

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        arrays = (param.arrays[0] for param in self.params)
        return all(g.shape == p.shape and g.dtype == p.dtype for g, p in zip(grads, arrays, strict=True))

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        dtype = self.params[0].dtype
        self._measures = []
        numbers = [[np.array(value, dtype) for value in row] for row in scalars]
        for param, grad, state, row in zip(self.params, self.grads, self.states, self.rows, strict=True):
            like = Stored(base(param.kind), -1, param.shape, dtype, (grad,))
            inputs = param.read(), like.read(), *(s.read() for s in state)
            results = self.body(*inputs, *numbers[row])
            # A rule may hand on an input as it is: what is written first must not show in what is written next.
            new = [np.array(r) if any(r is given for given in inputs) else r for r in results]
            if self.measured:
                self._measures.append([_squares(x) for x in (inputs[1], np.subtract(new[0], inputs[0]), inputs[0])])
            for stored, value in zip((param, *state), new, strict=True):
                stored.write(value, ts[row])
        self.grads = ()


def _squares(values: Array) -> float:
    """The sum of the squares, in float64."""
    return float(np.square(values, dtype=np.float64).sum())
