"""What every face of a stepper has: the counts of the parameters, what was measured, and the weights to evaluate."""

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar, Generic, TypeVar, cast

from minima.checks import integer
from minima.errors import sentence
from minima.optim.core.clock import MOST
from minima.optim.core.measures import Measures
from minima.optim.core.stepper import Stepper

__all__ = ["Stepped"]

Tensor = TypeVar("Tensor")


class Stepped(Generic[Tensor]):
    """The methods, in terms of what a face supplies: where its stepper is, and where counts are kept besides."""

    _tensor_type: ClassVar[type[Any]]
    """The class of the parameters."""

    @abstractmethod
    def _held_stepper(self) -> Stepper:
        """What takes the steps."""

    @abstractmethod
    def _renewed_stepper(self) -> Stepper:
        """What takes the steps, for the parameters as they are now."""

    @abstractmethod
    def _read_counts(self) -> None:
        """Take over counts that are kept elsewhere, such as on a GPU."""

    @abstractmethod
    def _tell_counts(self) -> None:
        """Let whoever keeps counts elsewhere know of those that were set here."""

    @abstractmethod
    def _switch_weights(self, who: str, *, train_mode: bool) -> None:
        """Let the parameters hold the weights to train, or those to evaluate; ``who`` complains."""

    @property
    def steps(self) -> tuple[int, ...]:
        """The number of steps that each parameter has taken, which is ``t`` in its update."""
        stepper = self._renewed_stepper()
        self._read_counts()
        return tuple(stepper.clock.counts.tolist())

    # Quoted, help() shows it as it is written.
    def set_steps(self, steps: int, params: "Tensor | Iterable[Tensor] | None" = None) -> None:
        """Set the step counts of parameters; ``t`` in their updates continues from there.

        Args:
            steps: The number of steps, at least 0 and below 2**62.
            params: The parameters, or a single one; by default all.

        Raises:
            TypeError: ``steps`` is not an integer.
            ValueError: It is out of its range, or one of ``params`` is not a parameter of the optimizer. Nothing was
                changed.
        """
        who = f"{type(self).__name__}.set_steps"
        steps = integer(who, "steps", steps, high=MOST)
        stepper = self._renewed_stepper()
        places = {id(member.tensor): member.place for member in stepper.members}
        given: Any = [member.tensor for member in stepper.members] if params is None else params
        is_many = isinstance(given, Iterable) and not isinstance(given, self._tensor_type)
        wanted = [places.get(id(param)) for param in cast(Iterable[Any], given if is_many else [given])]
        if None in wanted:
            raise ValueError(sentence(who, "params must be parameters of this optimizer", hint="nothing was changed"))
        stepper.clock.set(cast(list[int], wanted), steps)

    @property
    def skipped(self) -> int:
        """The number of steps that were skipped because of nonfinite gradients."""
        self._read_counts()
        return self._held_stepper().skipped

    @skipped.setter
    def skipped(self, skipped: int) -> None:
        skipped = integer(type(self).__name__, "skipped", skipped)
        self._read_counts()
        self._held_stepper().skipped = skipped
        self._tell_counts()

    @property
    def measures(self) -> Measures | None:
        """The measurements of the last ``step(measure=True)``; None if there was none."""
        return self._held_stepper().measures

    def train(self) -> None:
        """Put the training weights into the parameters, where they are from the start; see `eval`.

        Raises:
            RuntimeError: Another thread is stepping the optimizer, or the parameters hold their averages.
        """
        self._switch_weights(f"{type(self).__name__}.train", train_mode=True)

    def eval(self) -> None:
        """Put the weights to evaluate into the parameters, until `train` is called; `step` raises an error meanwhile.

        This has an effect only for rules whose training weights differ from the weights to evaluate, such as
        `ScheduleFreeSGD`. A state dict records which weights the parameters hold. No copy is kept, so `train` restores
        the training weights up to rounding; `averaged` restores them bit for bit.

        Raises:
            ValueError: A parameter, or its state, does not fit. Nothing was changed.
            RuntimeError: Another thread is stepping the optimizer, or the parameters hold their averages.
        """
        self._switch_weights(f"{type(self).__name__}.eval", train_mode=False)
