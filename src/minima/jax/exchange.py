"""State as the other faces of minima have it, by the names of parameters: runs move between NumPy, PyTorch and JAX."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from minima.checks import integer
from minima.errors import sentence
from minima.jax.leaves import Tree
from minima.jax.sharding import gathered
from minima.jax.state import State
from minima.jax.xla import Array, jax, jnp, traced
from minima.optim.state_dict import described

if TYPE_CHECKING:
    from minima.jax.transformation import Core

__all__ = ["dump", "restored"]

_MOST = 2**31 - 1
"""The largest count of steps: it is an int32."""


def dump(core: "Core", params: Any, state: State) -> dict[str, Any]:
    """The state as `minima.optim.Optimizer.state_dict` gives it."""
    tree = Tree(core.who, params)
    names = [tree.names[i] for i in tree.moving]
    columns = {name: tree.flat(f"state.slots[{name!r}]", slot) for name, slot in state.slots.items()}
    members: list[list[str]] = [[] for _ in core.groups.all]
    for name, place in zip(names, core.places(tree), strict=True):
        members[place].append(name)
    hypers = [_plain(core, state, place) for place in range(len(core.groups.all))]
    groups = [
        {"params": own, **{name: x for name, x in hypers[place].items() if place and x != hypers[0][name]}}
        for place, own in enumerate(members)
        if own
    ]
    t = int(state.t)
    kept = {tree.names[i]: {name: _array(x[i]) for name, x in columns.items() if x[i] is not None} for i in tree.moving}
    return {
        "algorithm": core.cls.__name__,
        "state_dtype": core.state_dtype,
        "rounding": core.rounding,
        "seed": core.options["seed"],
        "t": t,
        "skipped": 0,
        "defaults": hypers[0],
        "groups": groups,
        "steps": dict.fromkeys(names, t),
        "new": [name for name, own in kept.items() if own and not t],
        "state": kept,
        **({"shared": {name: np.asarray(x, np.float64) for name, x in state.shared.items()}} if state.shared else {}),
        **({"train_mode": True} if core.rule.weights else {}),
    }


def _plain(core: "Core", state: State, place: int) -> dict[str, Any]:
    """The hyperparameters of a group, as plain data: what the state holds of them, and else what they were given as."""
    group = core.groups.all[place]
    held = state.hypers.get(group.pattern, {}) if group.pattern else state.hypers
    found: dict[str, Any] = {}
    for name, value in group.values.items():
        key, source = core.groups.shown(name), held if name in group.own else state.hypers
        if callable(value):
            value = described(value)
        elif isinstance(value, Array):
            value = _decimal(value)
        elif (
            isinstance(value, float) and key in source and (group.decays or name != core.groups.declaration.coefficient)
        ):
            now = source[key]
            value = value if float(now) == float(np.float32(value)) else _decimal(now)
        found[name] = value
    return found


def _decimal(number: Any) -> float:
    """A float32 as the shortest decimal that gives it: 0.002, and not 0.0020000000949949026."""
    return float(str(np.asarray(number).astype(np.float32)))


def _array(x: Any) -> Any:
    array = gathered(x)
    if array.dtype == jnp.bfloat16:  # NumPy has no such numbers: their bits, as the other faces keep them
        return array.view(np.uint16).ravel()
    return array


def restored(core: "Core", params: Any, given: Any) -> State:
    """The state for these parameters out of a state dict of any face, all or nothing."""
    who = f"{core.who}.from_state_dict"
    wanted = ("algorithm", "t", "steps", "state", "defaults")
    if not isinstance(given, Mapping) or any(name not in given for name in wanted):
        got: object = list(cast(Mapping[str, Any], given)) if isinstance(given, Mapping) else given
        raise TypeError(sentence(who, "state_dict must be what a state_dict() of minima gave", got=got))
    known = cast(Mapping[str, Any], given)
    for name, own in (("algorithm", core.cls.__name__), ("state_dtype", core.state_dtype)):
        if known.get(name) != own:
            raise ValueError(sentence(who, f"state_dict must be one with {name} {own!r}", got=known.get(name)))
    if known.get("train_mode") is False:
        rule = "the parameters held the weights to evaluate"
        raise ValueError(sentence(who, rule, hint="call train() before state_dict()"))
    tree, fresh = Tree(core.who, params), core.init(params)
    names = [tree.names[i] for i in tree.moving]
    if missing := [name for name in names if name not in known["state"] or name not in known["steps"]]:
        rule = f"state_dict must hold {', '.join(map(repr, missing[:4]))}"
        raise ValueError(sentence(who, rule, hint=f"it holds {list(known['state'])[:6]}"))
    if extra := [name for name in known["state"] if name not in names]:
        raise ValueError(
            sentence(who, f"params have no {', '.join(map(repr, extra[:4]))}", hint=f"they have {names[:6]}")
        )
    counts = {integer(who, f"steps of {name!r}", known["steps"][name], high=_MOST) for name in names}
    if len(counts) > 1:
        rule = f"all parameters must have taken as many steps; they took {sorted(counts)}"
        raise ValueError(sentence(who, rule, hint="divide them by optax.partition, each part with its own state"))
    slots = {name: tree.made(_column(who, tree, name, slot, known["state"])) for name, slot in fresh.slots.items()}
    shared = dict(fresh.shared)
    for name, like in fresh.shared.items():
        if name not in known.get("shared", {}):
            raise ValueError(sentence(who, f"state_dict must hold {name!r} in 'shared'"))
        shared[name] = jnp.asarray(np.asarray(known["shared"][name], np.float64), like.dtype)
    t = counts.pop() if counts else integer(who, "t", known["t"], high=_MOST)
    return State(jnp.asarray(t, jnp.int32), _hypers(who, core, fresh, known, tree), slots, shared)


def _column(who: str, tree: Tree, name: str, slot: Any, saved: Mapping[str, Any]) -> list[Any]:
    """An entry of the state for all leaves, on the devices where the parameters are."""
    column = tree.flat(f"state.slots[{name!r}]", slot)
    for i in tree.moving:
        if column[i] is None:
            continue
        leaf, like = tree.names[i], column[i]
        if name not in saved[leaf]:
            raise ValueError(sentence(who, f"state_dict must hold {name!r} of {leaf!r}", got=list(saved[leaf])))
        value = np.asarray(saved[leaf][name])
        if like.dtype == jnp.bfloat16 and value.dtype == np.uint16 and value.size == like.size:
            value = value.view(jnp.bfloat16).reshape(like.shape)
        if value.shape != like.shape:
            rule = f"{name!r} of {leaf!r} must have the shape {like.shape}"
            raise ValueError(sentence(who, rule, got=value.shape))
        value = jnp.asarray(value.astype(like.dtype))
        column[i] = value if traced(like) else jax.device_put(value, like.sharding)
    return column


def _hypers(who: str, core: "Core", fresh: State, known: Mapping[str, Any], tree: Tree) -> dict[str, Any]:
    """The hyperparameters that stand in the state; what functions give they give again."""
    names, places = [tree.names[i] for i in tree.moving], core.places(tree)
    saved: dict[frozenset[str], Mapping[str, Any]] = {frozenset(x["params"]): x for x in known.get("groups", ())}
    hypers = dict(fresh.hypers)
    for place, group in enumerate(core.groups.all):
        members = frozenset(name for name, own in zip(names, places, strict=True) if own == place)
        values = {**known["defaults"], **saved.get(members, {})} if place else known["defaults"]
        held = hypers.get(group.pattern, {}) if group.pattern else hypers
        if not group.decays:
            continue
        shown = {name: core.groups.shown(name) for name in group.own if not callable(group.values[name])}
        now = {key: values[name] for name, key in shown.items() if key in held and name in values}
        now = {key: number for key, number in now.items() if not isinstance(number, Mapping)}
        if now:
            hypers = core.groups.adjusted(who, hypers, now, group.pattern)
    return hypers
