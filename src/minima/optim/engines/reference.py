"""The reference engine: NumPy, one operation after another. Slow, obvious, and the definition of every rule."""

from collections.abc import Sequence

import numpy as np

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.program import Program

__all__ = ["Reference"]


class Reference(Engine):
    """Runs the body of a program on whole arrays, one parameter after another."""

    name = "reference"

    def prepare(self, program: Program, arrays: Sequence[tuple[Array, ...]], rows: Sequence[int]) -> Kernel:
        body = program.body_function()
        dtype = precision(arrays[0][0].dtype)

        def kernel(grads: Sequence[Array], scalars: Sequence[Sequence[float]]) -> None:
            numbers = [[np.array(value, dtype) for value in row] for row in scalars]
            for (param, *state), grad, row in zip(arrays, grads, rows, strict=True):
                inputs = param.astype(dtype, copy=False), grad.astype(dtype, copy=False), *state
                outputs = body(*inputs, *numbers[row])
                for array, value in zip((param, *state), outputs, strict=True):
                    np.copyto(array, value, casting="same_kind")

        return kernel
