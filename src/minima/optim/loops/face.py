"""What a face tells the loops around its optimizers; and what the face of minima's own Tensors tells."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, cast

from minima.autograd import Tensor
from minima.autograd.modes import enable_grad
from minima.loading import fitting, halves
from minima.optim.core.stepper import Stepper
from minima.optim.engines import Array, precision
from minima.optim.host import copied, write
from minima.optim.loops.lbfgs import LBFGS
from minima.optim.optimizer import Optimizer

__all__ = ["Face", "TensorFace"]


class Face(Protocol):
    """A face of the optimizers, as loops need it. A "value" is an array or tensor of its kind that is no parameter."""

    home: str
    """Where its optimizers are."""
    optimizer: type
    """What they have in common."""
    solver: type
    """The one that takes many steps in each call."""

    def stepper(self, optimizer: Any) -> Stepper:
        """What takes the steps of an optimizer, with all that others have changed."""
        ...

    def grad_enabled(self) -> AbstractContextManager[Any]:
        """Within, derivatives are recorded."""
        ...

    def copied(self, tensor: Any) -> Any:
        """A copy of a tensor."""
        ...

    def widened(self, tensor: Any) -> Any:
        """A copy of a parameter as it is computed: in float32 at least."""
        ...

    def near(self, value: Any, tensor: Any) -> Any:
        """A value, or a copy on the device where the parameter has gone."""
        ...

    def shown(self, value: Any) -> Any:
        """A value as users see it."""
        ...

    def write(self, tensor: Any, value: Any) -> None:
        """Let a tensor have these values."""
        ...

    def beside(self, optimizer: Any, rule: type[Optimizer]) -> Any:
        """An optimizer of another rule, with the parameters and groups that this one has."""
        ...

    def keys(self, stepper: Stepper) -> list[Any]:
        """What a state dict calls the parameters."""
        ...

    def fitting(
        self, who: str, optimizer: Any, own: Sequence[Any], given: Any, state_dict: Mapping[str, Any], *, strict: bool
    ) -> list[Any]:
        """For every parameter's own value the one to take over, or None; one sentence where they do not fit."""
        ...

    def preparing(self, optimizer: Any, state_dict: Mapping[str, Any], *, strict: bool) -> Callable[[], Any]:
        """Check a state dict for an optimizer, as well as the face can before it writes; and give what takes it over.

        What still complains then has changed nothing.
        """
        ...


class TensorFace:
    """The face of minima's own Tensors."""

    home = "minima.optim"
    optimizer = Optimizer
    solver = LBFGS

    def stepper(self, optimizer: Any) -> Stepper:
        return optimizer._stepper

    def grad_enabled(self) -> AbstractContextManager[Any]:
        return enable_grad()

    def copied(self, tensor: Tensor) -> Array:
        return copied(tensor)

    def widened(self, tensor: Tensor) -> Array:
        return tensor.buffer.astype(precision(tensor.dtype))

    def near(self, value: Array, tensor: Tensor) -> Array:
        return value

    def shown(self, value: Array) -> Tensor:
        return Tensor.from_numpy(value)

    def write(self, tensor: Tensor, value: Array) -> None:
        write(tensor, value)

    def beside(self, optimizer: Any, rule: type[Optimizer]) -> Optimizer:
        groups = [{"params": [(slot.key, slot.tensor) for slot in group.slots]} for group in optimizer.param_groups]
        return rule(groups, engine=optimizer.engine, rounding="stochastic", seed=1, on_nonfinite="skip")

    def keys(self, stepper: Stepper) -> list[str]:
        return [member.key for member in stepper.members]

    def fitting(
        self, who: str, optimizer: Any, own: Sequence[Any], given: Any, state_dict: Mapping[str, Any], *, strict: bool
    ) -> list[Any]:
        keys = self.keys(self.stepper(optimizer))
        _, found = fitting(who, "the optimizer", dict(zip(keys, own, strict=True)), given, strict=strict)
        return [found.get(key) for key in keys]

    def preparing(self, optimizer: Any, state_dict: Mapping[str, Any], *, strict: bool) -> Callable[[], Any]:
        prepare = halves(optimizer)
        if prepare is None:  # a class with a way of its own
            return lambda: optimizer.load_state_dict(state_dict)
        return cast(Any, prepare)(state_dict, strict)
