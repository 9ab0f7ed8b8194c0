"""Saving and loading the state of an optimizer: by the names of parameters where both sides know them, all or nothing.

Wrappers keep entries of their own in the state of a parameter, or beside the parameters. These come along: tensors in
the dtype and on the device of the parameter, as PyTorch has it, everything else as a copy.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from typing import Any, cast

import torch

from minima.errors import sentence
from minima.torch.counts import whole
from minima.torch.state import MASTER, SCALE, STEP, Keeping

__all__ = ["Loaded", "groups_of", "load", "with_counts_of_its_own"]

Loaded = tuple[dict[Any, Any], list[dict[str, Any]]]
"""The state of each parameter, and what others keep under keys of their own; and the groups."""


def with_counts_of_its_own(state_dict: dict[str, Any]) -> dict[str, Any]:
    """A state dict whose counts of steps are not the tensors that the optimizer goes on counting in."""
    state: Any = state_dict.get("state")
    if not isinstance(state, Mapping):  # a hook may have put anything there
        return state_dict
    return {**state_dict, "state": {key: _separate(kept) for key, kept in cast(Mapping[Any, Any], state).items()}}


def _separate(kept: Any) -> Any:
    entries = cast(dict[str, Any], kept) if isinstance(kept, dict) else {}
    step = entries.get(STEP)
    return {**entries, STEP: step.clone()} if isinstance(step, torch.Tensor) else kept


def load(
    who: str,
    groups: Sequence[Mapping[str, Any]],
    keepings: Sequence[Keeping],
    masters: Mapping[torch.Tensor, bool],
    state_dict: Mapping[str, Any],
    others: Collection[str] = (),
) -> Loaded:
    """State and groups as ``state_dict`` has them, for an optimizer with these groups; nothing is changed.

    Args:
        who: The public name that complains.
        groups: The groups of the optimizer.
        keepings: What is kept of the parameters of each group.
        masters: Of each parameter, whether a copy of it in full precision is kept.
        state_dict: What ``state_dict`` of an optimizer of PyTorch gives.
        others: What the state of other algorithms consists of; it is refused where it is not that of ours too.
    """
    saved: list[Mapping[str, Any]] = list(groups_of(who, state_dict))
    if len(saved) != len(groups):
        raise ValueError(sentence(who, f"state_dict must have {len(groups)} groups", got=len(saved)))
    listed = {key for entry in saved for key in entry["params"]}
    state: dict[Any, Any] = {key: deepcopy(kept) for key, kept in state_dict["state"].items() if key not in listed}
    loaded: list[dict[str, Any]] = []
    pairs = _pairs(who, groups, saved)
    for group, mine, keeping in zip(groups, pairs, keepings, strict=True):
        entry = saved[mine[0]]
        keys = [*group, *(key for key in entry if key not in group and key not in _OWN)]
        # A learning rate may be a tensor, which schedulers write to: of each optimizer its own.
        loaded.append({key: deepcopy(entry[key]) if key in entry and key not in _OWN else group[key] for key in keys})
        for (which, param), key in zip(_named(group), mine[1], strict=True):
            if key in state_dict["state"]:
                kept = state_dict["state"][key]
                state[param] = _loaded(who, which, param, kept, keeping, others, master=masters[param])
    return state, loaded


def groups_of(who: str, state_dict: Any) -> Any:
    """The groups of what must be the state dict of an optimizer of PyTorch."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        got = list(cast(Any, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        hint = "pass what state_dict() of an optimizer of PyTorch gave"
        raise ValueError(sentence(who, "state_dict must have 'state' and 'param_groups'", got=got, hint=hint))
    if not isinstance(state_dict["state"], Mapping):
        raise ValueError(sentence(who, "the state of state_dict must be a dict", got=cast(Any, state_dict["state"])))
    found: list[Any] = list(cast(Any, state_dict["param_groups"]))
    for number, group in enumerate(found):
        if not isinstance(group, Mapping) or "params" not in group:
            raise ValueError(sentence(who, f"group {number} of state_dict must have 'params'", got=cast(Any, group)))
    return found


_OWN = ("params", "param_names")


def _named(group: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
    names = group.get("param_names", [None] * len(group["params"]))
    return [
        (f"parameter {i}" + (f" ({name!r})" if name else ""), param)
        for i, (name, param) in enumerate(zip(names, group["params"], strict=True))
    ]


def _pairs(
    who: str, groups: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]
) -> list[tuple[int, list[Any]]]:
    """For each group the saved one that it takes over, and the saved parameters in the order of its own."""
    if not all("param_names" in group for group in (*groups, *saved)):
        for number, (group, entry) in enumerate(zip(groups, saved, strict=True)):
            if len(group["params"]) != len(entry["params"]):
                rule = f"group {number} of state_dict must have {len(group['params'])} parameters"
                raise ValueError(sentence(who, rule, got=len(entry["params"])))
        return [(number, list(entry["params"])) for number, entry in enumerate(saved)]
    found: list[tuple[int, list[Any]]] = []
    places = {frozenset(entry["param_names"]): number for number, entry in enumerate(saved)}
    for number, group in enumerate(groups):
        names = group["param_names"]
        if frozenset(names) not in places:
            there = [name for entry in saved for name in entry["param_names"]]
            missing = [name for name in names if name not in there]
            hint = f"{missing} are missing" if missing else "they are in other groups there"
            raise ValueError(sentence(who, f"state_dict must have the parameters of group {number}", hint=hint))
        place = places[frozenset(names)]
        keys = dict(zip(saved[place]["param_names"], saved[place]["params"], strict=True))
        found.append((place, [keys[name] for name in names]))
    return found


def _loaded(
    who: str,
    which: str,
    param: torch.Tensor,
    kept: Any,
    keeping: Keeping,
    others: Collection[str],
    *,
    master: bool,
) -> dict[str, Any]:
    """The state of one parameter, in memory of its own."""
    if not isinstance(kept, Mapping):
        raise ValueError(sentence(who, f"the state of {which} must be a dict", got=kept))
    kept = cast(Mapping[str, Any], kept)
    entries = list(keeping.entries(master=master))
    names = [STEP, *(entry.name for entry in entries)]
    foreign = [name for name in kept if name not in names]
    ours = {MASTER, *(f"{entry.name}{SCALE}" for entry in entries), *others}
    is_ours = any(name in kept for name in names)
    if any(name in ours for name in foreign) or (is_ours and foreign and any(name not in kept for name in names)):
        hint = "is it of another algorithm, state_dtype or rounding? load_torch_state_dict takes that of torch.optim"
        rule = f"the state of {which} must consist of {names}"
        raise ValueError(sentence(who, rule, got=list(kept), hint=hint))
    result: dict[str, Any] = {name: _foreign(param, name, kept[name]) for name in foreign}
    if not is_ours:
        return result
    step = whole(who, which, kept.get(STEP))
    result[STEP] = torch.tensor(float(step), dtype=torch.float64, device="cpu")
    for entry in entries:
        value = keeping.fitting(which, param, entry, kept.get(entry.name))
        result[entry.name] = value.clone() if value is kept[entry.name] else value
    return result


def _foreign(param: torch.Tensor, name: Any, value: Any) -> Any:
    """A copy of what others keep with a parameter; PyTorch's own optimizers cast tensors in the same way."""
    if isinstance(value, torch.Tensor):
        if name == STEP:
            return value.clone()
        return value.to(param.device, param.dtype if param.is_floating_point() else value.dtype, copy=True)
    if isinstance(value, dict):
        return {key: _foreign(param, key, x) for key, x in cast(dict[Any, Any], value).items()}
    if type(value) in (list, tuple):
        return type(value)(_foreign(param, name, x) for x in value)
    return deepcopy(value)
