"""What an engine is: something that runs a program over a list of parameters, in place."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.storage import Array, Stored
from minima.optim.language.program import Program

__all__ = ["Array", "Arrays", "Engine", "Kernel", "precision"]


@dataclass(frozen=True)
class Arrays:
    """Where the arrays of some parameters are to be had: others may exchange them between steps."""

    params: Callable[[], list[Array]]
    """Gives their buffers."""
    grads: Callable[[], list[Array] | None]
    """Gives their gradients; None if one is missing."""
    both: Callable[[], list[Array] | None]
    """Gives all buffers, and then all gradients; None if one is missing. One call, because it is made in every step."""


class Kernel(ABC):
    """A prepared step of some parameters."""

    @property
    @abstractmethod
    def reports(self) -> NDArray[np.float64]:
        """For every parameter what the program reports of the last step."""

    @property
    @abstractmethod
    def totalled(self) -> NDArray[np.float64]:
        """For every parameter what the program adds up over all of them, as far as it is known in this stage."""

    host_part: Callable[[Mapping[str, Any], int, bool, float], Sequence[Any]] | None = None
    """What computes the scalars where hyperparameters are tensors that the kernel does not want to look at."""
    functions: tuple[tuple[str, Callable[..., float]], ...] = ()
    """What computes operations of the host part of the program, by their names, in less time than their definitions."""
    is_atomic = False
    """Whether an interrupt (Ctrl-C) never leaves a step half done; whoever runs it must hold it back otherwise."""

    counts = False
    """Whether it counts the steps of its parameters, and computes the host part of the program: then the scalars that
    it is given are hyperparameters, all that the program reads but for ``t`` and ``first``, with a row for each group;
    and ``ts`` is one number, what random numbers depend on besides ``t``."""

    on_device = False
    """Whether its numbers are on a device that would have to be waited for; then `total` adds them up there."""

    def total(self, column: int) -> Any:
        """The sum over all parameters of a column of ``totalled``, as the device has it; asked where ``on_device``."""
        raise NotImplementedError

    @property
    def has_run(self) -> bool:
        """Whether the step by the gradients that were last loaded has been done; asked where ``is_atomic``."""
        raise NotImplementedError

    @property
    @abstractmethod
    def has_written(self) -> bool:
        """Whether the step by the gradients that were last loaded has written to a parameter or to state."""

    @abstractmethod
    def load(self, grads: Sequence[Any]) -> bool:
        """Take the gradient of every parameter; False if anything is not as it was prepared for.

        Gradients, parameters and state must have the shapes and dtypes that they had, and be writeable where they are
        written to. An engine may also refuse what does not lie in memory row after row, at an aligned address.
        """

    @abstractmethod
    def find(self) -> bool:
        """Take the gradients that the parameters have now; False if one is missing, or `load` would not take it."""

    @abstractmethod
    def finite(self) -> list[bool]:
        """Whether each of the gradients that were loaded has finite entries only."""

    @abstractmethod
    def drop(self) -> None:
        """Let go of the gradients that were loaded."""

    @abstractmethod
    def arrange(self, rows: Sequence[int] | NDArray[np.int64]) -> None:
        """Be told, for every parameter, which row of the scalars is its own: from 0 up, without gaps."""

    @abstractmethod
    def begin(self, scalars: Sequence[Sequence[Any]], ts: Sequence[int], model: Sequence[float] = ()) -> None:
        """Get ready for a step by the gradients that were loaded; for its first stage, where a program has several.

        All memory that the stage takes is taken here, and nothing is written: where several kernels step, all of them
        are ready before the first writes anything.

        Args:
            scalars: For every row the ``scalars`` of the program, and then its ``wide`` numbers.
            ts: For every row its ``t``.
            model: The numbers for the whole ``model``; NaN where one is not known yet.
        """

    @abstractmethod
    def proceed(self, model: Sequence[float]) -> None:
        """Get ready for the next stage, as by `begin`: more of the numbers for the whole model are known now."""

    @abstractmethod
    def run(self) -> None:
        """Take the stage that was got ready for; behind the last one the gradients are let go."""


class Engine(ABC):
    """Runs programs."""

    name: str

    @abstractmethod
    def prepare(
        self,
        program: Program,
        kind: str,
        arrays: Arrays,
        states: Sequence[tuple[Stored, ...]],
    ) -> Kernel:
        """Get ready to step these parameters again and again.

        Args:
            program: What to do.
            kind: The kind in which parameters are kept: their dtype, and how results are rounded to it.
            arrays: Where the parameters, which are of one dtype, and their gradients are, in every step.
            states: The state of every parameter, as ``kept`` of the program names it, to be written to; all kept in the
                same way.
        """


def precision(dtype: np.dtype[Any]) -> np.dtype[Any]:
    """The precision in which a parameter of ``dtype`` is updated, and its state kept: its own, float32 at least.

    Half precision would lose what a rule lives on: in float16, 0.999 is two steps away from 1, and 1e-8 is zero.
    """
    return np.promote_types(dtype, np.float32)
