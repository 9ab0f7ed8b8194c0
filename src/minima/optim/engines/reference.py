"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.reductions import finite, square_sum
from minima.optim.engines.storage import Stored, base
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
        threads: int | None = None,
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
        self.body = program.body_function(params[0].dtype)
        self.params = params
        self.states = states
        self.rows = rows
        self.grads: Sequence[Array] = ()
        self.shapes = [array.shape for array in self._arrays()]
        self.measured = measured
        self._measures: list[list[float]] = []

    @property
    def measures(self) -> NDArray[np.float64]:
        return np.array(self._measures)

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        written = zip(self._arrays(), self.shapes, strict=True)
        if not all(array.shape == shape and array.flags.writeable for array, shape in written):
            return False
        params = (param.arrays[0] for param in self.params)
        return all(g.shape == p.shape and g.dtype == p.dtype for g, p in zip(grads, params, strict=True))

    def first_not_finite(self) -> int | None:
        wide = [
            Stored(base(p.kind), -1, p.shape, p.dtype, (g,)).read()
            for p, g in zip(self.params, self.grads, strict=True)
        ]
        fine = finite(wide, [square_sum(values) for values in wide])
        return fine.index(False) if False in fine else None

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
                step = np.subtract(new[0], inputs[0])
                self._measures.append([square_sum(values) for values in (inputs[1], step, inputs[0])])
            for stored, value in zip((param, *state), new, strict=True):
                stored.write(value, ts[row])
        self.grads = ()

    def _arrays(self) -> Iterator[Array]:
        """All arrays that a step writes to."""
        for param, state in zip(self.params, self.states, strict=True):
            for stored in (param, *state):
                yield from stored.arrays
