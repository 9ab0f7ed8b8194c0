"""Saving and loading the state of an optimizer: by the names of parameters where both sides know them, all or nothing.

Wrappers keep entries of their own in the state of a parameter, or beside the parameters. These come along: tensors in
the dtype and on the device of the parameter, as PyTorch has it, everything else as a copy.
"""

from collections.abc import Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch

from minima.checks import integer
from minima.errors import sentence
from minima.optim import schedules
from minima.optim.core.variants import MASTER
from minima.optim.language.declaration import Declaration
from minima.optim.schedules.schedule import adopt
from minima.optim.state_dict import described
from minima.torch.counts import step_count
from minima.torch.group import betas
from minima.torch.host import TorchHost
from minima.torch.memory import wide
from minima.torch.state import SCALE, STEP, Keeping
from minima.torch.values import GroupValues

__all__ = ["Loaded", "groups_of", "load", "with_counts_of_its_own", "with_functions"]


@dataclass(frozen=True)
class Loaded:
    """What a state dict says, checked."""

    state: dict[Any, Any]
    """The state of each parameter, and what others keep under keys of their own."""
    groups: list[dict[str, Any]]
    functions: list[dict[str, tuple[Any, Any]]]
    """The functions of the step of every group, each with the number that the group shows."""
    t: int | None = None
    """The steps that the optimizer had taken, which functions depend on; None where there are none."""


def with_counts_of_its_own(state_dict: dict[str, Any]) -> dict[str, Any]:
    """A state dict whose counts of steps are not the tensors that the optimizer goes on counting in."""
    state: Any = state_dict.get("state")
    if not isinstance(state, Mapping):  # a hook may have put anything there
        return state_dict
    return {**state_dict, "state": {key: _separate(kept) for key, kept in cast(Mapping[Any, Any], state).items()}}


def _separate(kept: Any) -> Any:
    entries = cast(dict[str, Any], kept) if isinstance(kept, dict) else {}
    step = entries.get(STEP)
    return {**entries, STEP: step.clone()} if isinstance(step, torch.Tensor) else cast(Any, kept)


def with_functions(state_dict: dict[str, Any], functions: Sequence[Mapping[str, Any]], t: int) -> dict[str, Any]:
    """A state dict whose groups say which of their hyperparameters are functions of ``t``, as plain data."""
    groups: Any = state_dict.get("param_groups")
    if not any(functions) or not isinstance(groups, list):
        return state_dict
    pairs: Any = zip(cast(list[dict[str, Any]], groups), functions, strict=False)
    told = [
        {**group, FUNCTIONS: {"t": t} | {name: described(function) for name, function in own.items()}} if own else group
        for group, own in pairs
    ]
    return {**state_dict, "param_groups": told}


def load(
    who: str,
    declaration: Declaration,
    groups: Sequence[GroupValues],
    host: TorchHost,
    state_dict: Mapping[str, Any],
    others: Collection[str] = (),
) -> Loaded:
    """State and groups as ``state_dict`` has them, for an optimizer with these groups; nothing is changed.

    Args:
        who: The public name that complains.
        declaration: What groups consist of.
        groups: The groups of the optimizer.
        host: What is kept of parameters.
        state_dict: What ``state_dict`` of an optimizer of PyTorch gives.
        others: What the state of other algorithms consists of; it is refused where it is not that of ours too.
    """
    saved: list[Mapping[str, Any]] = list(groups_of(who, state_dict))
    if len(saved) != len(groups):
        raise ValueError(sentence(who, f"state_dict must have {len(groups)} groups", got=len(saved)))
    listed = {key for entry in saved for key in entry["params"]}
    state: dict[Any, Any] = {key: deepcopy(kept) for key, kept in state_dict["state"].items() if key not in listed}
    told = [_told(who, entry) for entry in saved]
    counted = [integer(who, "t", functions.pop("t")) for functions in told if "t" in functions]
    result = Loaded(state, [], [], max(counted, default=None))
    pairs = _pairs(who, [each.group for each in groups], saved)
    for each, mine in zip(groups, pairs, strict=True):
        entry, group = saved[mine[0]], each.group
        if "betas" in entry and "beta2" in declaration.hypers:  # PyTorch's own keep both in one
            entry = {**entry, **betas(who, entry["betas"])}
        keys = [*group, *(key for key in entry if key not in group and key not in _OWN)]
        # A learning rate may be a tensor, which schedulers write to: of each optimizer its own.
        new = {key: deepcopy(entry[key]) if key in entry and key not in _OWN else group[key] for key in keys}
        variant = GroupValues(declaration, dict(new)).watched().look(0).variant
        result.groups.append(new)
        result.functions.append(_functions(who, declaration, each, told[mine[0]], new))
        for (which, param), key in zip(_named(group), mine[1], strict=True):
            if key in state_dict["state"]:
                needed = host.variants.program(variant, host.rounding(param) == "master")
                # Rounding may have changed, or change again: a copy in full precision stays.
                known = host.variants.program(declaration.complete({}), wide(param.dtype) != param.dtype)
                kept, keepings = state_dict["state"][key], [host.keeping(needed), host.keeping(known)]
                state[param] = _loaded(who, which, param, kept, keepings[0], keepings[1], others)
    return result


def _told(who: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved group says of functions of the step: a dict for each hyperparameter that is one, and ``t``."""
    told: Any = entry.get(FUNCTIONS, {})
    if not isinstance(told, Mapping) or not all(x == "t" or isinstance(told[x], Mapping) for x in cast(Any, told)):
        rule = f"the entry {FUNCTIONS!r} of a group must be as state_dict() made it"
        raise ValueError(sentence(who, rule, got=cast(Any, told), hint="nothing was loaded"))
    return dict(cast(Mapping[str, Any], told))


def _functions(
    who: str, declaration: Declaration, group: GroupValues, given: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """The hyperparameters that are functions of the step, with the number that the group shows."""
    found: dict[str, tuple[Any, Any]] = {}
    for name, description in given.items():
        present = group.functions.get(declaration.spelled(name), (None,))[0]
        if "function" not in description:
            function = adopt(present, schedules.from_dict(dict(description)))
        elif present is None:
            rule = f"{name} was the function {description['function']}, which no state_dict can hold"
            raise ValueError(sentence(who, rule, hint="give the optimizer that function first; nothing was loaded"))
        else:
            function = present
        found[name] = function, new[name]
    return found


def groups_of(who: str, state_dict: Any) -> Any:
    """The groups of what must be the state dict of an optimizer of PyTorch."""
    if not isinstance(state_dict, Mapping) or not {"state", "param_groups"} <= state_dict.keys():
        got = list(cast(Any, state_dict)) if isinstance(state_dict, Mapping) else type(state_dict).__name__
        hint = "pass what state_dict() of an optimizer of PyTorch gave"
        raise ValueError(sentence(who, "state_dict must have 'state' and 'param_groups'", got=got, hint=hint))
    if not isinstance(state_dict["state"], Mapping):
        raise ValueError(sentence(who, "the state of state_dict must be a dict", got=cast(Any, state_dict["state"])))
    groups = cast(Any, state_dict)["param_groups"]
    if not isinstance(groups, list | tuple):
        raise ValueError(sentence(who, "the groups of state_dict must be a list", got=groups))
    found = list(cast(list[Any], groups))
    for number, group in enumerate(found):
        if not isinstance(group, Mapping) or not isinstance(cast(Any, group).get("params"), list | tuple):
            raise ValueError(sentence(who, f"group {number} of state_dict must have 'params'", got=cast(Any, group)))
    return found


FUNCTIONS = "functions"
"""The entry of a group in a state dict that says which of its hyperparameters are functions of the step."""
_OWN = ("params", "param_names", FUNCTIONS)


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
    whole: Keeping,
    others: Collection[str],
) -> dict[str, Any]:
    """The state of one parameter, in memory of its own: what ``keeping`` asks for, and what ``whole`` knows."""
    if not isinstance(kept, Mapping):
        raise ValueError(sentence(who, f"the state of {which} must be a dict", got=kept))
    kept = cast(Mapping[str, Any], kept)
    entries = {entry.name: entry for entry in (*whole.entries, *keeping.entries)}
    needed = [STEP, *keeping.needed]
    foreign = [name for name in kept if name != STEP and name not in entries]
    ours = {MASTER, *(f"{name}{SCALE}" for name in entries), *others}
    is_ours = STEP in kept or any(name in kept for name in entries)
    misfits = any(name in ours for name in foreign)
    if misfits or (is_ours and foreign and any(name not in kept for name in needed)):
        hint = "is it of another algorithm, state_dtype or rounding? load_torch_state_dict takes that of torch.optim"
        rule = f"the state of {which} must consist of {[STEP, *keeping.names]}"
        raise ValueError(sentence(who, rule, got=list(kept), hint=hint))
    result: dict[str, Any] = {name: _foreign(param, name, kept[name]) for name in foreign}
    if not is_ours:
        return result
    result[STEP] = torch.tensor(float(step_count(who, which, kept.get(STEP))), dtype=torch.float64, device="cpu")
    for name, entry in entries.items():
        if name in kept or name in needed:
            value = keeping.fitting(which, param, entry, kept.get(name))
            result[name] = value.clone() if value is kept[name] else value
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
