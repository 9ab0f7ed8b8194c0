"""What an engine is: something that runs a program over a list of parameters, in place."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.storage import Stored
from minima.optim.language.program import Program

__all__ = ["MEASURES", "Array", "Engine", "Kernel", "precision"]

Array = NDArray[Any]
MEASURES = ("grad", "update", "param")
"""What a step can measure on its way: the gradient, how far the parameter moved, and the parameter before that."""


class Kernel(ABC):
    """A prepared step of some parameters."""

    @property
    @abstractmethod
    def measures(self) -> NDArray[np.float64]:
        """For every parameter the sums of squares of ``MEASURES`` in the last step, if it was prepared to measure."""

    @abstractmethod
    def load(self, grads: Sequence[Array]) -> bool:
        """Take the gradient of every parameter; False if one has not its parameter's shape and dtype.

        An engine may also refuse one that does not lie in memory row after row, at an aligned address.
        """

    @abstractmethod
    def first_not_finite(self) -> int | None:
        """The first parameter whose gradient, of those that were loaded, has an infinite entry or NaN."""

    @abstractmethod
    def run(self, scalars: Sequence[Sequence[float]], ts: Sequence[int]) -> None:
        """Step by the gradients that were loaded, which are then let go: for every row its scalars and its ``t``."""


class Engine(ABC):
    """Runs programs."""

    name: str

    @abstractmethod
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
        """Get ready to step these parameters again and again.

        Args:
            program: What to do.
            params: The buffer of every parameter, to be written to; all of one dtype.
            states: The state of every parameter, to be written to; all kept in the same form.
            rows: For every parameter which row of the scalars is its own.
            measured: Whether steps are to fill ``measures`` too.
            threads: How many threads may work on a step; by default as many as the environment says.
        """


def precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The precision in which a parameter of ``dtype`` is updated, and its state kept: its own, float32 at least.

    Half precision would lose what a rule lives on: in float16, 0.999 is two steps away from 1, and 1e-8 is zero.
    """
    return np.promote_types(dtype, np.float32)
