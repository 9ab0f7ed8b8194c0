"""Where a state dict has what loops know: in the state of the parameters and in the groups, as PyTorch has everything.

What stands beside these is lost in ``torch.distributed.checkpoint``.
"""

from collections.abc import Mapping, Sequence
from typing import Any, cast

from minima.optim.state_dict import LOOPS, loops_of

__all__ = ["gathered", "spread"]

_SLOW = "slow"
"""What a loop keeps for each parameter, among what it knows."""


def spread(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict whose entry ``loops`` has gone into the state of each parameter and into each group."""
    state, groups, loops = state_dict.get("state"), state_dict.get("param_groups"), loops_of(state_dict)
    if not isinstance(state, dict) or not isinstance(groups, list):  # a hook may have put anything there
        return dict(state_dict)
    new, told = dict(cast(dict[Any, Any], state)), list[dict[str, Any]]()
    for own, name in zip(loops, _names(loops), strict=True):
        told.append({entry: value for entry, value in own.items() if entry != _SLOW})
        for key, value in own.get(_SLOW, {}).items():
            new[key] = {**new.get(key, {}), name: value}
    rest = {name: value for name, value in state_dict.items() if name != LOOPS}
    listed = [{**group, LOOPS: told} for group in cast(list[dict[str, Any]], groups)]
    return rest | {"state": new, "param_groups": listed}


def gathered(state_dict: Any) -> Any:
    """The state dict of which `spread` made one; what is no such is left as it is."""
    if not isinstance(state_dict, Mapping) or LOOPS in state_dict:
        return cast(object, state_dict)
    given = cast(Mapping[str, Any], state_dict)
    listed, state = given.get("param_groups"), given.get("state")
    groups = cast(Sequence[Any], listed) if isinstance(listed, list | tuple) else ()
    found = next((cast(Any, group) for group in groups if isinstance(group, Mapping) and LOOPS in group), None)
    if found is None or not isinstance(state, Mapping):
        return given
    loops, known = loops_of(found), cast(Mapping[Any, Any], state)
    names, rest, slow = _names(loops), dict[Any, Any](), [dict[Any, Any]() for _ in loops]
    for key, kept in known.items():
        left: Any = dict(cast(Mapping[Any, Any], kept)) if isinstance(kept, Mapping) else kept
        for name, values in zip(names, slow, strict=True):
            if isinstance(left, dict) and name in left:
                values[key] = cast(dict[Any, Any], left).pop(name)
        if left or not kept:
            rest[key] = left
    own = [{**loop, **({_SLOW: values} if values else {})} for loop, values in zip(loops, slow, strict=True)]
    without = [{name: group[name] for name in group if name != LOOPS} for group in groups]
    return {**given, "state": rest, "param_groups": without, LOOPS: own}


def _names(loops: Sequence[Mapping[str, Any]]) -> list[str]:
    """What the values of loops, the outermost first, are called in the state of a parameter; no rule's state is."""
    return [f"{loop.get('loop')}.{depth}".lower() for depth, loop in zip(range(len(loops))[::-1], loops, strict=True)]
