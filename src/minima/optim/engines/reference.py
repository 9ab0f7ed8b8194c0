"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

from collections.abc import Sequence

import numpy as np

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.storage import Stored
from minima.optim.program import Program

__all__ = ["Reference"]


class Reference(Engine):
    """Runs the body of a program on whole arrays, one parameter after another."""

    name = "reference"

    def prepare(
        self, program: Program, params: Sequence[Array], states: Sequence[tuple[Stored, ...]], rows: Sequence[int]
    ) -> Kernel:
        return _Step(program, params, states, rows)


class _Step(Kernel):
    def __init__(
        self, program: Program, params: Sequence[Array], states: Sequence[tuple[Stored, ...]], rows: Sequence[int]
    ) -> None:
        self.body = program.body_function(precision(params[0].dtype))
        self.params = params
        self.states = states
        self.rows = rows
        self.grads: Sequence[Array] = ()

    def load(self, grads: Sequence[Array]) -> bool:
        self.grads = grads
        return all(g.shape == p.shape and g.dtype == p.dtype for g, p in zip(grads, self.params, strict=True))

    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        dtype = precision(self.params[0].dtype)
        numbers = [[np.array(value, dtype) for value in row] for row in scalars]
        for param, grad, state, row in zip(self.params, self.grads, self.states, self.rows, strict=True):
            inputs = param.astype(dtype, copy=False), grad.astype(dtype, copy=False), *(s.read() for s in state)
            results = self.body(*inputs, *numbers[row])
            # A rule may hand on an input as it is: what is written first must not show in what is written next.
            new_param, *new_state = (np.array(r) if any(r is given for given in inputs) else r for r in results)
            np.copyto(param, new_param, casting="same_kind")
            for stored, value in zip(state, new_state, strict=True):
                stored.write(value, ts[row])
        self.grads = ()
