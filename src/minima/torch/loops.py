"""Loops around the step, inside PyTorch: those of `minima.optim`, on PyTorch's tensors and with PyTorch's habits."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, cast

import torch

from minima import optim
from minima.errors import sentence
from minima.optim.core.host import called
from minima.optim.core.stepper import Stepper
from minima.optim.loops import lookahead, sam
from minima.optim.loops.loop import Loop
from minima.torch.adaptation import adapt
from minima.torch.checkpoint import groups_of, matched
from minima.torch.counting import keep_here
from minima.torch.lbfgs import LBFGS
from minima.torch.loop_state import gathered, spread
from minima.torch.memory import local, same_shards, wide
from minima.torch.optimizer import Optimizer
from minima.torch.private import compiled_never
from minima.torch.sharding import write

__all__ = ["SAM", "Lookahead"]


class _Face:
    """The face of PyTorch's tensors."""

    home = "minima.torch"
    optimizer = Optimizer
    solver = LBFGS

    def stepper(self, optimizer: Any) -> Stepper:
        held = optimizer._current()
        keep_here(held)
        return held.stepper

    def grad_enabled(self) -> AbstractContextManager[Any]:
        return torch.enable_grad()

    def copied(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().clone()

    def widened(self, tensor: torch.Tensor) -> torch.Tensor:
        return tensor.detach().to(wide(tensor.dtype), copy=True)

    def near(self, value: torch.Tensor, tensor: torch.Tensor) -> torch.Tensor:
        return value if value.device == tensor.device else value.to(tensor.device)

    def shown(self, value: torch.Tensor) -> torch.Tensor:
        return value

    def write(self, tensor: torch.Tensor, value: torch.Tensor) -> None:
        write(tensor, value)

    def beside(self, optimizer: Any, rule: type[optim.Optimizer]) -> Optimizer:
        groups = [
            {name: list(group[name]) for name in ("params", "param_names") if name in group}
            for group in optimizer.param_groups
        ]
        for group in groups:
            if names := group.pop("param_names", None):
                group["params"] = list(zip(names, group["params"], strict=True))
        made: Any = adapt(rule)
        return made(groups, engine=optimizer.engine, rounding="stochastic", seed=1, on_nonfinite="skip")

    def keys(self, stepper: Stepper) -> list[int]:
        return [member.place for member in stepper.members]

    def fitting(
        self, who: str, optimizer: Any, own: Sequence[Any], given: Any, state_dict: Mapping[str, Any], *, strict: bool
    ) -> list[Any]:
        saved, groups = groups_of(who, state_dict), optimizer.param_groups
        if len(saved) != len(groups):
            rule = f"state_dict must have as many groups as the optimizer, {len(groups)}"
            raise ValueError(sentence(who, rule, got=len(saved), hint="nothing was loaded"))
        values = cast(Mapping[Any, Any], given if isinstance(given, Mapping) else {})
        found: list[torch.Tensor] = []
        keys = [key for _, keys in matched(who, groups, saved) for key in keys]
        names = [name for group in groups for name in group.get("param_names") or [None] * len(group["params"])]
        for place, (key, name, mine) in enumerate(zip(keys, names, own, strict=True)):
            value: Any = values.get(key)
            fits = isinstance(value, torch.Tensor) and value.shape == mine.shape and same_shards(value, mine)
            if not fits or value.is_complex() is not mine.is_complex():
                rule = f"state_dict must have the slow weights of {called(place, name)}, of shape {tuple(mine.shape)}"
                got: object = tuple(value.shape) if isinstance(value, torch.Tensor) else value
                raise ValueError(sentence(who, rule, got=got, hint="nothing was loaded"))
            found.append(value)
        return found

    def preparing(self, optimizer: Any, state_dict: Mapping[str, Any], *, strict: bool) -> Callable[[], Any]:
        if isinstance(optimizer, Loop):
            return cast(Any, optimizer)._prepare_load(state_dict, strict)
        return lambda: optimizer.load_state_dict(state_dict)


class _TorchLoop(Loop, torch.optim.Optimizer):
    """A loop that is an optimizer of PyTorch, for whoever asks; all that those have it has of the optimizer inside."""

    _face = _Face()
    _step_supports_amp_scaling = False
    """What ``GradScaler`` asks by this name: it unscales gradients in front of a loop, whatever is inside."""

    def step(  # pyright: ignore[reportIncompatibleMethodOverride] - with keywords that PyTorch's have not
        self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False
    ) -> Any:
        """Take a step, as the loop of `minima.optim` of this name does."""
        if torch.compiler.is_compiling():
            return self._uncompiled_step(closure, loss, measure)
        return cast(Any, super()).step(closure, loss=loss, measure=measure)

    def _with_own(self, inside: Mapping[str, Any], *, copies: bool) -> dict[str, Any]:
        return spread(super()._with_own(gathered(inside), copies=copies))

    def _prepare_load(self, state_dict: Mapping[str, Any], strict: bool = True) -> Callable[[], Any]:
        return super()._prepare_load(gathered(state_dict), strict)

    @compiled_never
    def _uncompiled_step(self, closure: Callable[[], Any] | None, loss: Any, measure: bool) -> Any:
        """A step out of a function that is being compiled."""
        return self.step(closure, loss=loss, measure=measure)


class Lookahead(_TorchLoop, lookahead.Lookahead):
    """Lets an optimizer take ``k`` steps, moves slow weights part of the way to the result, and continues from there.

    Args:
        optimizer: An optimizer of `minima.torch`, or a loop around one.
        k: Number of steps after which the slow weights move, an integer, at least 1; ``t`` counts the steps of the
            parameter itself.
        alpha: Share of the way that they move, in [0, 1].

    This is `minima.optim.Lookahead` for PyTorch's tensors. It is also a ``torch.optim.Optimizer``, which schedulers,
    scalers and trainers accept. Parameters, groups, state and hooks are those of the inner optimizer, and hooks get the
    inner optimizer. State dicts are those of the inner optimizer with the slow weights in the state of each parameter,
    and a required entry ``loops`` in each group; `torch.distributed.checkpoint` supports them.

    >>> import torch
    >>> from minima.torch import SGD, Lookahead
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lookahead(SGD([w], lr=0.25), k=2)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w
    tensor([ 0.6250, -1.2500], requires_grad=True)
    """


class SAM(_TorchLoop, sam.SAM):
    """Lets an optimizer step with the gradient at the worst point nearby.

    Args:
        optimizer: An optimizer of `minima.torch`, or a loop around one.
        rho: Radius of the neighbourhood, at least 0; with ``adaptive``, use about ten times as much.
        adaptive: Whether the neighbourhood is proportional to the size of the parameters (ASAM).
        eta: Added to the size of the parameter with ``adaptive``, at least 0; without ``adaptive`` it has no effect.
        model: A module whose buffers are restored after the gradient at the worst point, so that the running statistics
            of ``BatchNorm`` do not include that point.

    This is `minima.optim.SAM` for PyTorch's tensors. It is also a ``torch.optim.Optimizer``, which schedulers accept,
    and trainers that pass a closure to ``step``. Parameters, groups, state and hooks are those of the inner optimizer,
    and hooks get the inner optimizer, once per step. If all gradients are 0, ``step()`` needs no closure, because the
    parameters are then the worst point; `torch.distributed.checkpoint` creates state in this way.

    >>> import torch
    >>> from minima.torch import SAM, SGD
    >>> w = torch.tensor([3.0, 4.0], requires_grad=True)
    >>> optimizer = SAM(SGD([w], lr=0.25), rho=0.5)
    >>> def closure():
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     return loss
    >>> optimizer.step(closure).item()
    25.0
    >>> w
    tensor([1.3500, 1.8000], requires_grad=True)
    """

    def step(self, closure: Callable[[], Any] | None = None, *, loss: Any = None, measure: bool = False) -> Any:
        """Take a step, as `minima.optim.SAM.step` does; if all gradients are 0, also without a closure."""
        if closure is None and not self.is_perturbed and not torch.compiler.is_compiling():
            grads = [param.grad for group in self.param_groups for param in group["params"] if param.grad is not None]
            if grads and not any(local(grad).count_nonzero() for grad in grads):
                return self._inner.step(**self._given(loss, measure))
        return super().step(closure, loss=loss, measure=measure)
