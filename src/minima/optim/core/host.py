"""What a face tells the core: where gradients are, how tensors lie in memory, what is kept, which kernel steps them."""

from collections.abc import Hashable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, NoReturn, Protocol

from minima.optim.core.clock import Clock
from minima.optim.core.values import Settings, Values
from minima.optim.core.variants import Variants
from minima.optim.engines.engine import Kernel
from minima.optim.language.program import Program
from minima.optim.language.ranks import matrix_shape
from minima.optim.language.rule import Weights
from minima.optim.language.trace import Variant

__all__ = ["Host", "Member", "Numbers", "Sources", "called", "facts_of"]

Sources = list[dict[float, list[tuple[int, int]]]]
"""For every stage the totals that are known behind it: which batches add to one, and which columns of theirs."""


class Member:
    """A parameter of an optimizer."""

    __slots__ = ("is_new", "name", "place", "position", "tensor", "values")

    def __init__(self, tensor: Any, name: str | None, position: int, place: int) -> None:
        self.tensor = tensor
        self.name = name
        self.position = position
        """Where it stands among the parameters that a message counts."""
        self.place = place
        """Where it stands among all parameters of the optimizer, and so in its clock."""
        self.values: Values
        """The hyperparameters of its group."""
        self.is_new = False
        """Whether some of its state has been made, and no step has been taken with it."""

    @property
    def key(self) -> str:
        """What it is called where things are found by name: its name, or its place where it has none."""
        return self.name if self.name else str(self.place)

    def __str__(self) -> str:
        return called(self.position, self.name)


def called(position: int, name: str | None) -> str:
    """What a message calls a parameter.

    >>> called(3, "head.weight")
    "parameter 3 ('head.weight')"
    """
    return f"parameter {position}" + (f" ({name!r})" if name else "")


def facts_of(settings: Settings, tensor: Any, shape: Sequence[int]) -> dict[str, Any]:
    """What is known before any step of a parameter that rules see in this shape: what its program may depend on."""
    rows, columns = matrix_shape(shape)
    return {**settings.numbers_of(tensor), "rows": rows, "columns": columns}


class Numbers(Protocol):
    """The numbers for the whole model in one step of some batches, and the state that all parameters share."""

    def begin(self, loss: Any) -> None:
        """Begin a step with this loss, before any batch is stepped."""
        ...

    def told(self, place: int, stage: int) -> Any:
        """The numbers that a batch is told in a stage, as its kernel takes them; NaN where one is not known yet."""
        ...

    def add(self, stage: int) -> None:
        """Find the totals that are known behind a stage, which all batches have taken."""
        ...

    def finish(self) -> None:
        """Let the state that all parameters share have its new values."""
        ...


class Host(Protocol):
    """A face of the optimizers, as the core needs it. `Member.tensor` is a tensor of its own kind."""

    who: str
    """Who complains."""
    action: str
    """What is being done, as messages say it: ``"step"``, or the other method that loads gradients."""
    variants: Variants
    """The rule."""

    def planning(self) -> AbstractContextManager[Any]:
        """What a plan is made within."""
        ...

    def are_idle(self, tensors: Sequence[Any]) -> bool:
        """Whether none of these has a gradient."""
        ...

    def checked(self, member: Member) -> Any:
        """The gradient of a parameter as engines take it; None if there is none; one sentence if it cannot be used."""
        ...

    def program(self, member: Member, variant: Variant, t: int | None = None) -> Program:
        """What step ``t`` does to the parameter; by default, one of the programs that take turns, for its state."""
        ...

    def takes_turns(self, member: Member, variant: Variant) -> bool:
        """Whether the program of the parameter depends on the step."""
        ...

    def settle(self, member: Member, program: Program) -> bool | None:
        """See to it that all the state that the program reads and writes is there, as it must be.

        Says whether some took the place of what other plans know.
        """
        ...

    def kind(self, member: Member, program: Program) -> Hashable:
        """What parameters that one kernel steps have in common, besides the program."""
        ...

    def kernel(self, program: Program, members: Sequence[Member]) -> Kernel:
        """What steps these parameters, which are of one kind."""
        ...

    def numbers(self, clock: Clock, batches: Sequence[Any], sources: Sources) -> Numbers | None:
        """What computes the numbers for the whole model of these batches, if it is not the host."""
        ...

    def shared(self) -> Mapping[str, float]:
        """The state that all parameters share."""
        ...

    def share(self, values: Mapping[str, float]) -> None:
        """Let the state that all parameters share have these values."""
        ...

    def average(self, who: str, member: Member) -> Any:
        """The moving average of a parameter; None where there is none yet; one sentence if it cannot be lent."""
        ...

    def weights(self, who: str, member: Member, weights: Weights) -> Any:
        """Other weights of a parameter; None where it has taken no step; one sentence if they cannot be lent."""
        ...

    def copied(self, tensor: Any) -> Any:
        """A copy of the values of a tensor."""
        ...

    def write(self, tensor: Any, values: Any) -> None:
        """Let a tensor have these values, and mark it as written to."""
        ...

    def written(self, tensors: Sequence[Any]) -> None:
        """Mark tensors as written to."""
        ...

    def unfit(self, members: Sequence[Member]) -> NoReturn:
        """Say what is wrong with one of these parameters, or with its state: a kernel did not take them."""
        ...
