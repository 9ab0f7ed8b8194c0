"""State as the other faces of minima have it, by the names of parameters: runs move between PyTorch, NumPy and JAX."""

from collections.abc import Mapping
from typing import Any, cast

import torch

from minima.errors import sentence
from minima.torch.loops import SAM, Lookahead
from minima.torch.optimizer import Optimizer
from minima.torch.portable import dump

__all__ = ["load_portable_state_dict", "portable_state_dict"]


def portable_state_dict(optimizer: Optimizer) -> dict[str, Any]:
    """The state of an optimizer by the names of its parameters, as `minima.optim` and `minima.jax` have it.

    PyTorch's own ``state_dict()`` has positions in the place of names, and tensors; this has NumPy arrays, which
    `minima.save` writes, and which ``load_state_dict`` of the same algorithm's optimizer in `minima.optim` reads, and
    ``from_state_dict`` in `minima.jax`. Arrays have the shapes of their parameters; state in ``"bfloat16"`` is flat, as
    its bits. What others keep in groups or state is left out.

    Args:
        optimizer: An optimizer of `minima.torch`, made from ``named_parameters()`` or a model; without names a
            parameter is called by its place, ``"0"`` the first.

    Returns:
        A snapshot: steps to come change nothing in it.

    Raises:
        TypeError: ``optimizer`` is none of `minima.torch` with a rule.
        ValueError: A parameter is sharded, two have the same name, state does not fit, or is in 8 bits in another order
            than that of indices.

    >>> import torch
    >>> from minima.torch import SGD, portable_state_dict
    >>> w = torch.tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([("w", w)], lr=0.5, momentum=0.9)
    >>> (w * w).sum().backward()
    >>> optimizer.step()
    >>> told = portable_state_dict(optimizer)
    >>> told["algorithm"], told["steps"], told["defaults"]["momentum"], told["state"]
    ('SGD', {'w': 1}, 0.9, {'w': {'u': array([ 2., -4.], dtype=float32)}})
    """
    who = "minima.torch.portable_state_dict"
    return dump(who, _ours(who, optimizer)._current(), copies=True)  # pyright: ignore[reportPrivateUsage] - a part of it


def load_portable_state_dict(optimizer: Optimizer, state_dict: Mapping[str, Any]) -> None:
    """Take over what an optimizer of the same algorithm knew in any face of minima, all of it or nothing.

    The hyperparameters of every group come from it, functions of the step too, the steps that were taken, the state,
    and how half precision is written, where it says so. Parameters are found by their names, in whatever order and
    groups; parameters that share a group here must have had the same hyperparameters.

    Args:
        optimizer: An optimizer of `minima.torch`.
        state_dict: What `portable_state_dict`, or ``state_dict`` in `minima.optim` or `minima.jax`, gave.

    Raises:
        TypeError: ``optimizer`` or ``state_dict`` is no such.
        ValueError: It is that of another algorithm, or of one that has something otherwise than PyTorch's algorithm of
            this name; names, shapes, groups or ``state_dtype`` do not fit; or state would lose digits. Nothing was
            changed.
    """
    who = "minima.torch.load_portable_state_dict"
    _ours(who, optimizer)._prepare_load(state_dict, who)()  # pyright: ignore[reportPrivateUsage] - a part of it


def _ours(who: str, optimizer: Any) -> Optimizer:
    if isinstance(optimizer, Optimizer):
        return optimizer
    hint = "pass the optimizer inside" if isinstance(optimizer, Lookahead | SAM) else ""
    if not hint and isinstance(optimizer, torch.optim.Optimizer):
        hint = "load its state_dict() into the class of minima.torch that is called as it is"
    rule = "optimizer must be one of minima.torch with a rule"
    raise TypeError(sentence(who, rule, got=type(cast(object, optimizer)), hint=hint))
