"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.engine import Array, Arrays, Engine, Kernel, precision
from minima.optim.engines.reductions import finite, square_sum
from minima.optim.engines.storage import Stored, base, rounding
from minima.optim.language.program import Program

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
        *,
        measured: bool = False,
    ) -> Kernel:
        shapes = [(param.shape, param.dtype) for param in arrays.params()]

        def kept() -> list[Stored] | None:
            found = [Stored(kind, -1, x.shape, precision(x.dtype), (x,)) for x in arrays.params()]
            fits = all(
                x.arrays[0].dtype == dtype and x.shape == shape and x.is_intact and all(s.is_intact for s in state)
                for x, (shape, dtype), state in zip(found, shapes, states, strict=True)
            )
            return found if fits else None

        return ReferenceKernel(program, kept, arrays.grads, lambda: states, measured=measured)


class ReferenceKernel(Kernel):
    """Steps parameters that may be kept in any form."""

    def __init__(
        self,
        program: Program,
        params: Callable[[], list[Stored] | None],
        grads: Callable[[], list[Array] | None],
        states: Callable[[], Sequence[tuple[Stored, ...]]],
        *,
        measured: bool = False,
    ) -> None:
        """Step by a program.

        Args:
            program: What to do.
            params: Gives every parameter as it lies in memory now, or None if anything is not as it was.
            grads: Gives their gradients, or None if one is missing.
            states: Gives their states.
            measured: Whether steps are to fill ``measures`` too.
        """
        self.program = program
        self.measured = measured
        self._params = params
        self._grads = grads
        self._states = states
        self._loaded: list[tuple[Stored, Array, tuple[Stored, ...]]] = []
        self._rows: list[int] = []
        self._measures: list[list[float]] = []

    @property
    def measures(self) -> NDArray[np.float64]:
        return np.array(self._measures)

    def find(self) -> bool:
        grads = self._grads()
        return grads is not None and self.load(grads)

    def finite(self) -> list[bool]:
        wide = [
            Stored(base(param.kind), -1, param.shape, param.dtype, (grad,)).read() for param, grad, _ in self._loaded
        ]
        return finite(wide, [square_sum(values) for values in wide])

    def load(self, grads: Sequence[Array]) -> bool:
        params = self._params()
        if params is None:
            return False
        self._loaded = list(zip(params, grads, self._states(), strict=True))
        arrays = (param.arrays[0] for param in params)
        return all(grad.shape == x.shape and grad.dtype == x.dtype for grad, x in zip(grads, arrays, strict=True))

    def drop(self) -> None:
        self._loaded = []

    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        self._rows = list(map(int, rows))

    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        self._measures = []
        # All is computed before anything is written: memory may run out.
        results = [self._results(*entry, scalars[row]) for entry, row in zip(self._loaded, self._rows, strict=True)]
        for (param, _, state), new, row in zip(self._loaded, results, self._rows, strict=True):
            for stored, value in zip((param, *state), new, strict=True):
                stored.write(value, ts[row])
        self.drop()

    def _results(self, param: Stored, grad: Array, state: tuple[Stored, ...], scalars: Sequence[Any]) -> list[Array]:
        """What a step makes of a parameter and its state."""
        dtype = param.dtype
        like = Stored(base(param.kind), -1, param.shape, dtype, (grad,))
        inputs = param.read(), like.read(), *(stored.read() for stored in state)
        body = self.program.body_function(dtype, rounding(param.kind, dtype))
        with np.errstate(all="ignore"):  # overflow and 0/0 are for the user to see in the result
            results = body(*inputs, *(np.array(value, dtype) for value in scalars))
            # A rule may hand on an input as it is: what is written first must not show in what is written next.
            new = [np.array(x) if any(x is given for given in inputs) else x for x in results]
            if self.measured:
                self._measures.append([square_sum(x) for x in (inputs[1], np.subtract(new[0], inputs[0]), inputs[0])])
        return new
