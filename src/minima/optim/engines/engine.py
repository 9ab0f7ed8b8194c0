"""What an engine is: something that runs a program over a list of parameters, in place."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
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

    host_part: Callable[[Mapping[str, Any], int, bool], Sequence[Any]] | None = None
    """What computes the scalars where hyperparameters are tensors that the kernel does not want to look at."""
    is_atomic = False
    """Whether an interrupt (Ctrl-C) never leaves a step half done; whoever runs it must hold it back otherwise."""

    @abstractmethod
    def load(self, grads: Sequence[Any]) -> bool:
        """Take the gradient of every parameter; False if anything is not as it was prepared for.

        Gradients, parameters and state must have the shapes and dtypes that they had, and be writeable where they are
        written to. An engine may also refuse what does not lie in memory row after row, at an aligned address.
        """

    @abstractmethod
    def drop(self) -> None:
        """Let go of the gradients that were loaded."""

    @abstractmethod
    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own: from 0 up, without gaps."""

    @abstractmethod
    def run(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int]) -> None:
        """Step by the gradients that were loaded, which are then let go: for every row its scalars and its ``t``."""


class Engine(ABC):
    """Runs programs."""

    name: str

    @abstractmethod
    def prepare(
        self,
        program: Program,
        kind: str,
        params: Callable[[], list[Array]],
        states: Sequence[tuple[Stored, ...]],
        *,
        measured: bool = False,
    ) -> Kernel:
        """Get ready to step these parameters again and again.

        Args:
            program: What to do.
            kind: The kind in which parameters are kept: their dtype, and how results are rounded to it.
            params: Gives the buffer of every parameter, to be written to; all of one dtype. It is asked in every step.
            states: The state of every parameter, to be written to; all kept in the same form.
            measured: Whether steps are to fill ``measures`` too.
        """


def precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The precision in which a parameter of ``dtype`` is updated, and its state kept: its own, float32 at least.

    Half precision would lose what a rule lives on: in float16, 0.999 is two steps away from 1, and 1e-8 is zero.
    """
    return np.promote_types(dtype, np.float32)
