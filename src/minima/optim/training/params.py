"""Tensors and their names, out of whatever holds them: what is done around an optimizer reads its arguments here."""

from collections.abc import Iterable
from typing import Any, cast

import numpy as np

from minima.autograd import Tensor
from minima.errors import sentence
from minima.optim.loops.loop import Loop
from minima.optim.optimizer import Optimizer

__all__ = ["Tensors", "check_loss_fn", "checked_loss", "named_gradients", "named_tensors"]

Tensors = Any
"""What holds tensors: an iterable of Tensors or of ``(name, Tensor)`` pairs, a module, an optimizer, one Tensor."""


def named_tensors(who: str, params: Tensors) -> list[tuple[str, Tensor]]:
    """Each Tensor once, under its name; where it has none, under its position.

    Args:
        who: The public name that complains.
        params: A Tensor, an `Optimizer`, whatever has ``named_parameters()`` or ``parameters()``, or an iterable of
            Tensors or of ``(name, Tensor)`` pairs.

    Raises:
        TypeError: It is none of these.
        ValueError: There is no Tensor in it.
    """
    rule = "params must be Tensors, a module or an optimizer"
    if isinstance(params, type):
        raise TypeError(sentence(who, rule, got=params, hint="make an object of the class, and pass that"))
    if isinstance(params, Tensor):
        params = [params]
    elif isinstance(params, Optimizer | Loop):
        params = [(slot.key, slot.tensor) for slot in params._slots]  # pyright: ignore[reportPrivateUsage] - the names
    else:
        for name in ("named_parameters", "parameters"):
            if callable(method := getattr(params, name, None)):
                params = method()
                break
    if not isinstance(params, Iterable) or isinstance(params, str | bytes | np.ndarray):
        raise TypeError(sentence(who, rule, got=cast(object, params)))
    found: dict[int, tuple[str, Tensor]] = {}
    for position, entry in enumerate(cast(Iterable[Any], params)):
        pair = cast(tuple[Any, ...], entry) if isinstance(entry, tuple) else (str(position), entry)
        name, tensor = pair if len(pair) == 2 else (None, None)
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            got = cast(object, entry)
            raise TypeError(sentence(who, f"{rule}; entry {position} is none of these", got=got))
        found.setdefault(id(tensor), (name, tensor))
    if not found:
        # A loop over a generator that an earlier loop has used up would else do nothing, and not say so.
        raise ValueError(sentence(who, "params is empty", hint="is it a generator that is used up? pass a list"))
    return list(found.values())


def named_gradients(who: str, params: Tensors) -> list[tuple[str, Tensor, Tensor]]:
    """Name, Tensor and gradient of each Tensor that has one; a TypeError where that is not floating."""
    found = [(name, tensor, tensor.grad) for name, tensor in named_tensors(who, params)]
    for name, _, grad in found:
        if grad is not None and grad.dtype.kind != "f":
            raise TypeError(sentence(who, f"the gradient of {name!r} must be floating", got=str(grad.dtype)))
    return [(name, tensor, grad) for name, tensor, grad in found if grad is not None]


def check_loss_fn(who: str, loss_fn: Any) -> None:
    """A TypeError unless ``loss_fn`` can be called."""
    if not callable(loss_fn):
        raise TypeError(sentence(who, "loss_fn must be a function that returns the loss of a batch", got=loss_fn))


def checked_loss(who: str, loss: Any) -> Tensor:
    """What ``loss_fn`` gave, which must be a Tensor of one element."""
    if not isinstance(loss, Tensor):
        raise TypeError(sentence(who, "loss_fn must give a Tensor", got=loss))
    if loss.size != 1:
        hint = "take its mean"
        raise ValueError(sentence(who, f"loss_fn must give one number; it gave shape {loss.shape}", hint=hint))
    return loss
