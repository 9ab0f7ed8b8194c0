"""What users give as parameters: with their names, and in the groups that patterns of names divide them into."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch

from minima.errors import sentence
from minima.optim import patterns

__all__ = ["divided", "listed"]


class _Slot(NamedTuple):
    name: str | None
    tensor: torch.Tensor


def listed(who: str, params: Any) -> Any:
    """The parameters of a model with their names; else what was given, which must be something to go through."""
    if isinstance(params, torch.nn.ParameterList):  # a list, and not a model
        return list(cast(Iterable[torch.Tensor], params))
    if isinstance(params, torch.nn.Module):
        return list(params.named_parameters())
    if isinstance(params, type) or not isinstance(params, Iterable) or isinstance(params, str | Mapping | np.ndarray):
        hint = "pass model.parameters(), or for groups a list of dicts"
        raise TypeError(
            sentence(who, "params must be a model or an iterable of tensors", got=cast(object, params), hint=hint)
        )
    return cast(object, params)


def divided(who: str, params: Iterable[Any], groups: Mapping[str, Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The groups of ``params``, each divided by patterns of names: pattern to hyperparameters, the first match counts.

    >>> from torch import nn
    >>> model = nn.Linear(3, 2)
    >>> first, second = divided("Adam", model.named_parameters(), {"*bias": {"weight_decay": 0}})
    >>> [name for name, _ in first["params"]], [name for name, _ in second["params"]], second["weight_decay"]
    (['weight'], ['bias'], 0)
    """
    given = list(params)
    entries: list[dict[str, Any]] = given if given and isinstance(given[0], dict) else [{"params": given}]
    rules = patterns.read(who, groups)
    found: list[dict[str, Any]] = []
    slots: list[_Slot] = []
    for entry in entries:
        own = [_slot(who, param) for param in entry["params"]]
        slots += own
        for _, special, members in patterns.sort(own, rules):
            found.append({**entry, **special, "params": [tuple(slot) for slot in members]})
    patterns.check(who, slots, rules)
    return found


def _slot(who: str, param: Any) -> _Slot:
    if not isinstance(param, tuple) or len(cast(tuple[Any, ...], param)) != 2:
        hint = "pass model.named_parameters()"
        raise ValueError(sentence(who, "groups needs parameters with names", hint=hint))
    return _Slot(*cast(tuple[str, torch.Tensor], param))
