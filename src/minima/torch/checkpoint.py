"""Saving and loading the state of an optimizer: by the names of parameters where both sides know them, all or nothing.

Wrappers keep entries of their own in the state of a parameter, or beside the parameters. These come along: tensors in
the dtype and on the device of the parameter, as PyTorch has it, everything else as a copy.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

import torch

from minima.checks import flag, integer
from minima.errors import sentence
from minima.optim import schedules
from minima.optim.core.host import called, facts_of
from minima.optim.language.declaration import CHOICES, EXTRAS
from minima.optim.language.trace import EMA
from minima.optim.schedules.schedule import adopt
from minima.optim.state_dict import described, refuse_loops
from minima.torch.counts import step_count
from minima.torch.dialect import COEFFICIENT, DECAY, FLAG, Dialect, is_zero, plain
from minima.torch.dialects import DIALECTS
from minima.torch.host import TorchHost
from minima.torch.loop_state import gathered
from minima.torch.state import CODES, SCALE, STEP, Entry, Keeping
from minima.torch.values import GroupValues

__all__ = [
    "FUNCTIONS",
    "TRAIN_MODE",
    "Loaded",
    "bare",
    "groups_of",
    "load",
    "matched",
    "saved",
    "with_counts_of_its_own",
]


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
    train_mode: bool | None = None
    """Whether the parameters held the weights to train; None where nothing is said of it."""


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


def saved(
    dialect: Dialect,
    state_dict: dict[str, Any],
    groups: Sequence[GroupValues],
    t: int,
    *,
    in_blocks: bool,
    train_mode: bool | None,
) -> dict[str, Any]:
    """A state dict whose groups are plain data, and say which of their entries are functions of ``t``.

    Of what an optimizer of PyTorch could not go on with (another algorithm, steps that are cautious or clipped, another
    way of decay, state in 8 bits), the coefficient of weight decay stands beside its way, in a pair, with which that
    one refuses to compute; where there is no such coefficient, another entry does.
    """
    listed: Any = state_dict.get("param_groups")
    if not isinstance(listed, list) or len(cast(list[Any], listed)) != len(
        groups
    ):  # a hook may have put anything there
        return state_dict
    told: list[dict[str, Any]] = []
    for each, packed in zip(groups, cast(list[dict[str, Any]], listed), strict=True):
        group = packed | {name: plain(packed[name]) for name in dialect.entries if name in packed}
        way = dialect.way(group)
        is_read = dialect.is_foreign and not in_blocks and _is_known(dialect, group)
        if not is_read or way != dialect.foreign_way(group) and not is_zero(group.get(COEFFICIENT, 0)):
            group[dialect.stamped] = way, group[dialect.stamped]
        if own := each.active:
            group[FUNCTIONS] = {"t": t} | {name: _described(given) for name, given in own.items()}
        if train_mode is not None:
            group[TRAIN_MODE] = train_mode
        told.append(group)
    return {**state_dict, "param_groups": told}


def _described(given: Any) -> Any:
    """A function of the step, or several in a tuple, as plain data; a number as it is."""
    if isinstance(given, list | tuple):
        return [_described(part) for part in cast(Sequence[Any], given)]
    return described(given) if callable(given) else given


def load(who: str, groups: Sequence[GroupValues], host: TorchHost, state_dict: Mapping[str, Any]) -> Loaded:
    """State and groups as ``state_dict`` has them, for an optimizer with these groups; nothing is changed.

    Args:
        who: The public name that complains.
        groups: The groups of the optimizer.
        host: What is kept of parameters.
        state_dict: What ``state_dict`` of an optimizer of PyTorch gives.
    """
    entries: list[Mapping[str, Any]] = list(groups_of(who, state_dict))
    refuse_loops(who, gathered(state_dict))
    if len(entries) != len(groups):
        rule = f"state_dict must have as many groups as the optimizer, {len(groups)}"
        raise ValueError(sentence(who, rule, got=len(entries), hint="nothing was loaded"))
    listed = {key for entry in entries for key in entry["params"]}
    state: dict[Any, Any] = {key: _copied(kept) for key, kept in state_dict["state"].items() if key not in listed}
    told = [_told(who, entry) for entry in entries]
    counted = [integer(who, "t", functions.pop("t")) for functions in told if "t" in functions]
    result = Loaded(state, [], [], max(counted, default=None), _train_mode(who, host, entries))
    shared = set[str]()
    is_ours = any(map(_is_counted_here, state_dict["state"].values()))
    pairs = matched(who, [each.group for each in groups], entries)
    for each, (number, keys) in zip(groups, pairs, strict=True):
        dialect, group = each.dialect, each.group
        says_all = is_ours and dialect.is_foreign
        unsaid = [] if says_all else [name for name in EXTRAS if name in group and name not in entries[number]]
        new = _group(who, number, dialect, {**entries[number], **{name: group[name] for name in unsaid}}, group)
        values = GroupValues(dialect, dict(new)).watched().look(0)
        result.groups.append(new)
        result.functions.append(
            {name: each.functions[name] for name in unsaid if name in each.functions}
            | _functions(who, each, told[number], new)
        )
        for (which, param), key in zip(_called(group), keys, strict=True):
            if key in state_dict["state"]:
                is_master, form = host.rounding(param) == "master", host.form(param)
                facts = facts_of(values, param, host.seen(param))
                program = host.variants.program(values.variant, is_master, form, facts)
                kept, keeping, known = state_dict["state"][key], host.keeping(program, param), host.known(param)
                state[param] = _loaded(who, which, param, kept, keeping, known, counts=dialect.counts)
                shared |= {entry.name for entry in keeping.shared.values()}
    for name in shared:
        _unite(who, name, [state[param] for each in groups for param in each.group["params"] if param in state])
    return result


def _is_counted_here(kept: Any) -> bool:
    """Whether the state of a parameter was saved by minima: PyTorch counts steps in float32, or not at all."""
    return isinstance(kept, Mapping) and getattr(cast(Any, kept).get(STEP), "dtype", None) == torch.float64


def _is_known(dialect: Dialect, group: Mapping[str, Any]) -> bool:
    """Whether a group asks for nothing that PyTorch's optimizers do not know, and that changes their steps."""
    return all(dialect.chosen(group, name) == CHOICES[name].default for name in ("cautious", "max_norm"))


def _unite(who: str, name: str, entries: Sequence[dict[str, Any]]) -> None:
    """Let all parameters have the same tensor as the state that they share; a ValueError if they differ in it."""
    found = [kept[name] for kept in entries if name in kept]
    numbers = dict.fromkeys(map(float, found))
    if len({*map(repr, numbers)}) > 1:
        rule = f"the state {name!r} must be the same for all parameters, which share it"
        raise ValueError(sentence(who, rule, got=list(numbers), hint="nothing was loaded"))
    for kept in entries:
        if name in kept:
            kept[name] = found[0]


def _group(
    who: str, number: int, dialect: Dialect, entry: Mapping[str, Any], group: Mapping[str, Any]
) -> dict[str, Any]:
    """A group as a state dict has it: all that is the algorithm's, checked, and what others keep there."""
    who = f"{who}, group {number}"
    _check_side(who, dialect, entry)
    kept = {name: _present(dialect, name, value) for name, value in entry.items() if name not in _OWN}
    # Files from before decay had two ways have no capturable either, and then are not looked at for it.
    asked = [name for name in dialect.marks if name != FLAG or "capturable" in kept]
    if missing := [name for name in asked if not dialect.is_given(name, kept)]:
        rule = f"state_dict must be that of {dialect.name}, whose groups have {missing[0]!r}"
        raise ValueError(sentence(who, rule, got=list(entry), hint="nothing was loaded"))
    if dialect.is_foreign and (other := _of_another(dialect, kept)):
        rule = f"state_dict must be that of {dialect.name}; by its groups it is that of {other}"
        raise ValueError(sentence(who, rule, got=list(entry), hint="nothing was loaded"))
    pair: Any = kept.get(dialect.stamped)
    if isinstance(pair, list | tuple) and len(parts := cast(Sequence[Any], pair)) == 2 and isinstance(parts[0], str):
        kept[DECAY], kept[dialect.stamped] = parts
    way = kept.pop(DECAY, None)
    given = dialect.translated(kept, who)
    # A learning rate may be a tensor, which schedulers write to: of each optimizer its own.
    new = {name: deepcopy(value) for name, value in given.items()}
    new |= {x.name: x.default for x in dialect.table if x.name not in new}
    if dialect.decay == "decoupled" and FLAG in new:  # that is what the algorithm is, whoever saved it
        new[FLAG] = True
    if way is not None:
        dialect.set_way(new, dialect.check(who, DECAY, way))
    new |= {name: value for name, value in group.items() if name in _OWN or name not in (*new, *dialect.open)}
    return {name: new[name] for name in (*(x for x in group if x in new), *(x for x in new if x not in group))}


def _of_another(dialect: Dialect, group: Mapping[str, Any]) -> str:
    """The algorithm of PyTorch of which a group has all entries, one that this dialect lacks among them; else empty.

    A group of RAdam or Adamax has nothing by which it differs from one of Adam, but for what it lacks.
    """
    for other in DIALECTS.values():
        if {*other.marks} - dialect.entries.keys() and group.keys() >= {*other.marks}:
            return other.name
    return ""


def _check_side(who: str, dialect: Dialect, entry: Mapping[str, Any]) -> None:
    """A ValueError where a saved group is of minima's own definition and the algorithm PyTorch's, or the reverse."""
    name = dialect.rule.__name__
    if not dialect.is_foreign:
        if dialect.is_known and "differentiable" in entry:  # all of PyTorch's have it
            hint = "load it into the class of minima.torch that is called as that one is"
            raise ValueError(sentence(who, f"state_dict is of torch.optim, whose {name} is another", hint=hint))
        return
    own = [x for x in entry if x == "wd" or x in dialect.givers and x not in (*dialect.entries, *dialect.open)]
    own += [x for x, value in dialect.fixed.items() if entry.get(x, value) != value]
    if own and DECAY in entry:
        rule = f"state_dict is of minima's own definition, by {own[0]!r} in it"
        raise ValueError(sentence(who, rule, hint=f"load it into adapt(minima.optim.{name}); nothing was loaded"))


def _present(dialect: Dialect, name: str, value: Any) -> Any:
    """A value of a saved group; a number that may not be left out is its default where earlier versions said None."""
    entry = dialect.entries.get(name)
    if value is not None or entry is None or dialect.is_foreign or not entry.means:
        return value
    return entry.default


def _told(who: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    """What a saved group says of functions of the step: a dict for each hyperparameter that is one, and ``t``."""
    told: Any = entry.get(FUNCTIONS, {})
    known: Any = cast(Any, told) if isinstance(told, Mapping) else {"": None}
    if not all(name == "t" or isinstance(known[name], Mapping | list) for name in known):
        rule = f"the entry {FUNCTIONS!r} of a group must be as state_dict() made it"
        raise ValueError(sentence(who, rule, got=cast(Any, told), hint="nothing was loaded"))
    return dict(cast(Mapping[str, Any], told))


def _functions(
    who: str, group: GroupValues, given: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """The entries that are functions of the step, with what the group shows."""
    dialect, found = group.dialect, dict[str, tuple[Any, Any]]()
    for written, description in given.items():
        name = dialect.givers.get(written, written)
        if name not in new:
            raise dialect.unknown(who, written)
        present = group.functions.get(name, (None,))[0]
        if isinstance(description, list):
            told = cast(list[Any], description)
            before = cast(Sequence[Any], present) if isinstance(present, list | tuple) else [None] * len(told)
            parts = zip(told, before, strict=True)
            found[name] = tuple(_function(who, name, each, old) for each, old in parts), new[name]
        else:
            found[name] = _function(who, name, description, present), new[name]
    return found


def _function(who: str, name: str, description: Any, present: Any) -> Any:
    """The function that a state dict describes; ``present`` stands there now."""
    if not isinstance(description, Mapping):
        return description
    description = cast(Mapping[str, Any], description)
    if "function" not in description:
        return adopt(present if callable(present) else None, schedules.from_dict(dict(description)))
    if not callable(present):
        rule = f"{name} was the function {description['function']}, which no state_dict can hold"
        raise ValueError(sentence(who, rule, hint="give the optimizer that function first; nothing was loaded"))
    return present


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
TRAIN_MODE = "train_mode"
"""The entry of a group in a state dict that says whether the parameters held the weights to train."""
_OWN = ("params", "param_names", FUNCTIONS, TRAIN_MODE)


def _train_mode(who: str, host: TorchHost, entries: Sequence[Mapping[str, Any]]) -> bool | None:
    """Whether the parameters held the weights to train, if their rule has others and the groups say so."""
    said: list[Any] = [entry[TRAIN_MODE] for entry in entries if TRAIN_MODE in entry]
    if not said or not host.variants.rule.weights:
        return None
    if len({flag(who, TRAIN_MODE, each) for each in said}) > 1:
        raise ValueError(sentence(who, f"{TRAIN_MODE} must be the same in all groups", hint="nothing was loaded"))
    return bool(said[0])


def _called(group: Mapping[str, Any]) -> list[tuple[str, torch.Tensor]]:
    """The parameters of a group, each with what a message calls it."""
    names = group.get("param_names", [None] * len(group["params"]))
    return [(called(i, name), param) for i, (name, param) in enumerate(zip(names, group["params"], strict=True))]


def matched(
    who: str, groups: Sequence[Mapping[str, Any]], saved: Sequence[Mapping[str, Any]]
) -> list[tuple[int, list[Any]]]:
    """For each group the saved one that it takes over, and the saved parameters in the order of its own."""
    if not all(map(_are_told_apart, (groups, saved))):
        for number, (group, entry) in enumerate(zip(groups, saved, strict=True)):
            if len(group["params"]) != len(entry["params"]):
                rule = f"group {number} of state_dict must have as many parameters as here, {len(group['params'])}"
                raise ValueError(sentence(who, rule, got=len(entry["params"]), hint="nothing was loaded"))
        return [(number, list(entry["params"])) for number, entry in enumerate(saved)]
    found: list[tuple[int, list[Any]]] = []
    called = [list(map(bare, entry["param_names"])) for entry in saved]
    places = {frozenset(names): number for number, names in enumerate(called)}
    for number, group in enumerate(groups):
        names = list(map(bare, group["param_names"]))
        if frozenset(names) not in places:
            there = [name for names in called for name in names]
            missing = [name for name in names if name not in there]
            hint = f"{missing} are missing" if missing else "they are in other groups there"
            raise ValueError(sentence(who, f"state_dict must have the parameters of group {number}", hint=hint))
        place = places[frozenset(names)]
        keys = dict(zip(called[place], saved[place]["params"], strict=True))
        found.append((place, [keys[name] for name in names]))
    return found


def _are_told_apart(groups: Sequence[Mapping[str, Any]]) -> bool:
    """Whether every parameter has a name, and no two the same."""
    names: list[Any] = [name for group in groups for name in group.get("param_names") or [None]]
    return None not in names and len({*map(bare, names)}) == len(names)


def bare(name: str) -> str:
    """The name of a parameter without what wrappers of its model put in between."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


_WRAPPERS = ("module", "_orig_mod", "_fsdp_wrapped_module")
"""What data parallelism, compilation and sharding call the model that they wrap."""


def _loaded(
    who: str, which: str, param: torch.Tensor, kept: Any, keeping: Keeping, known: Mapping[str, Entry], *, counts: bool
) -> dict[str, Any]:
    """The state of one parameter, in memory of its own: what ``keeping`` asks for, and what else is ``known``."""
    if not isinstance(kept, Mapping):
        raise ValueError(sentence(who, f"the state of {which} must be a dict", got=kept))
    # PyTorch's SGD says None where there is no momentum, and flattened state dicts {} where there is nothing.
    kept = {name: value for name, value in cast(Mapping[str, Any], kept).items() if value is not None and value != {}}
    kept = {_renamed(name, value, kept): value for name, value in kept.items()}
    if not any(entry.name == EMA for entry in keeping.listed):  # a step would drop it
        kept.pop(EMA, None)
    entries = {**known, **{entry.name: entry for entry in keeping.listed}}
    needed = keeping.needed
    foreign = [name for name in kept if name != STEP and name not in entries]
    is_ours = STEP in kept or any(name in kept for name in entries)
    misfits = any(keeping.is_like_ours(name) for name in foreign)
    if misfits or (is_ours and foreign and any(name not in kept for name in needed)):
        hint = "is it of another algorithm, state_dtype or rounding?"
        rule = f"the state of {which} must consist of {[STEP, *(entry.name for entry in keeping.listed)]}"
        raise ValueError(sentence(who, rule, got=list(kept), hint=hint))
    result: dict[str, Any] = {name: _foreign(param, name, kept[name]) for name in foreign}
    if not is_ours:
        return result
    # Where PyTorch does not count, all that matters is that there was a step.
    counted = step_count(who, which, kept.get(STEP, None if counts else 1))
    result[STEP] = torch.tensor(float(counted), dtype=torch.float64, device="cpu")
    for name, entry in entries.items():
        if name in kept or name in needed:
            value = keeping.fitting(which, param, entry, kept.get(name), who)
            result[name] = value.clone() if value is kept[name] else value
    return result


def _renamed(name: str, value: Any, kept: Mapping[str, Any]) -> str:
    """The name of an entry today: earlier versions kept codes under the bare name, beside their scales."""
    is_bare = f"{name}{SCALE}" in kept and getattr(value, "dtype", None) in (torch.int8, torch.uint8)
    return f"{name}{CODES}" if is_bare else name


def _copied(value: Any) -> Any:
    """A copy of what others keep beside the parameters; keys, which may be parameters, are the same."""
    if isinstance(value, dict):
        return {key: _copied(each) for key, each in cast(dict[Any, Any], value).items()}
    return deepcopy(value)


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
