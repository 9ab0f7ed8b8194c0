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
    """The state of an optimizer by the names of its parameters, in the form of `minima.optim` and `minima.jax`.

    PyTorch's own ``state_dict()`` has positions instead of names, and tensors. This has NumPy arrays, which
    `minima.save` writes, ``load_state_dict`` of the same algorithm in `minima.optim` reads, and ``from_state_dict`` in
    `minima.jax` reads. Arrays have the shapes of their parameters; state in ``"bfloat16"`` is a flat array of its bits.
    Entries of other code in groups or state are omitted.

    Args:
        optimizer: An optimizer of `minima.torch`, made from ``named_parameters()`` or a model; without names,
            parameters are named by position, from ``"0"``.

    Returns:
        A snapshot, which later steps do not change.

    Raises:
        TypeError: ``optimizer`` is not an optimizer of `minima.torch` with a rule.
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
    """Load the state of an optimizer of the same algorithm from NumPy, PyTorch or JAX, all of it or nothing.

    It contains the hyperparameters of every group, functions of the step included, the step counts, the state, and
    possibly the rounding of half precision. Parameters are found by name, in any order and any groups; parameters that
    share a group here must have had the same hyperparameters.

    Args:
        optimizer: An optimizer of `minima.torch`.
        state_dict: The result of `portable_state_dict`, or of ``state_dict`` in `minima.optim` or `minima.jax`.

    Raises:
        TypeError: ``optimizer`` or ``state_dict`` has the wrong type.
        ValueError: It belongs to another algorithm, or to a variant that differs from PyTorch's algorithm of this name;
            names, shapes, groups or ``state_dtype`` do not fit; or state would lose precision. Nothing was changed.
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
