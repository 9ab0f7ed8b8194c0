"""State as the other faces of minima have it, by the names of parameters: runs move between NumPy, PyTorch and JAX."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from minima.errors import sentence
from minima.jax.leaves import Tree
from minima.jax.sharding import gathered
from minima.jax.state import State
from minima.jax.xla import Array, jax, jnp, traced
from minima.optim.core.variants import MASTER
from minima.optim.language.ranks import TENSOR
from minima.optim.language.trace import EMA
from minima.optim.portable import NOTHING, Run, read
from minima.optim.state_dict import described

if TYPE_CHECKING:
    from minima.jax.core import Core

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
    numbers = {name for name, rank in core.rule.ranks.items() if rank == TENSOR}
    kept = {
        tree.names[i]: {name: _array(x[i], name in numbers) for name, x in columns.items() if x[i] is not None}
        for i in tree.moving
    }
    return {
        "algorithm": core.cls.__name__,
        "state_dtype": core.state_dtype,
        "rounding": core.rounding,
        "seed": int(core.options["seed"]),
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


def _array(x: Any, is_number: bool) -> Any:
    array = gathered(x)
    if is_number:  # of which the other faces keep one in float64
        return array.astype(np.float64)
    if array.dtype == jnp.bfloat16:  # NumPy has no such numbers: their bits, as the other faces keep them
        return array.view(np.uint16).ravel()
    return array


def restored(core: "Core", params: Any, given: Any) -> State:
    """The state for these parameters out of a state dict of any face, all or nothing."""
    who = f"{core.who}.from_state_dict"
    tree, fresh = Tree(core.who, params), core.init(params)
    run = read(who, given, core.cls.__name__, core.state_dtype, [tree.names[i] for i in tree.moving])
    if not run.train_mode:
        rule = "the parameters held the weights to evaluate"
        raise ValueError(sentence(who, rule, hint="call train() before state_dict()"))
    t = _count(who, run)
    slots = {name: tree.made(_column(core, tree, name, slot, run)) for name, slot in fresh.slots.items()}
    if lost := [(leaf, name) for leaf, own in run.state.items() for name in own if name not in fresh.slots]:
        leaf, name = lost[0]
        rule = f"there is no place for the state {name!r} of {leaf!r}"
        raise ValueError(sentence(who, rule, hint=f"give the factory what the run had; {NOTHING}"))
    shared = dict(fresh.shared)
    for name, like in fresh.shared.items():
        if name in run.shared:
            shared[name] = jnp.asarray(np.asarray(run.shared[name], np.float64), like.dtype)
        elif t:
            raise ValueError(sentence(who, f"state_dict must hold {name!r} in 'shared'", hint=NOTHING))
    return State(jnp.asarray(t, jnp.int32), _hypers(who, core, fresh, run, tree), slots, shared)


def _count(who: str, run: Run) -> int:
    """The number of steps, of which there is one for all leaves."""
    counts = sorted({*run.steps.values(), run.t} if run.steps else {run.t})
    if len(counts) > 1:
        rule = f"all parameters must have taken as many steps, and the optimizer; they took {counts}"
        hint = "divide them by optax.partition, each part with its own state"
        raise ValueError(sentence(who, rule, hint=f"{hint}; {NOTHING}"))
    if counts[0] > _MOST:
        raise ValueError(sentence(who, f"steps must be at most {_MOST}", got=counts[0], hint=NOTHING))
    return counts[0]


def _column(core: "Core", tree: Tree, name: str, slot: Any, run: Run) -> list[Any]:
    """An entry of the state for all leaves, on the devices where the parameters are."""
    who, may_be_new = run.who, name in (MASTER, EMA) or name in core.variants.dispensable
    column = tree.flat(f"state.slots[{name!r}]", slot)
    for i in tree.moving:
        if column[i] is None:
            continue
        leaf, like = tree.names[i], column[i]
        saved = run.state[leaf]
        if name not in saved:
            if may_be_new or not run.has_begun(leaf):  # then it begins now
                continue
            rule = f"state_dict must hold {name!r} of {leaf!r}"
            raise ValueError(sentence(who, rule, got=list(saved), hint=NOTHING))
        value = np.asarray(saved[name])
        if like.dtype == jnp.bfloat16 and value.dtype == np.uint16 and value.size == like.size:
            value = value.view(jnp.bfloat16).reshape(like.shape)
        if value.shape != like.shape:
            rule = f"{name!r} of {leaf!r} must have the shape {like.shape}"
            raise ValueError(sentence(who, rule, got=value.shape, hint=NOTHING))
        value = jnp.asarray(value.astype(like.dtype))
        column[i] = value if traced(like) else jax.device_put(value, like.sharding)
    return column


def _hypers(who: str, core: "Core", fresh: State, run: Run, tree: Tree) -> dict[str, Any]:
    """The hyperparameters that stand in the state; what functions give they give again."""
    sharing: dict[tuple[str, str], list[str]] = {(("", name)): [] for name in core.groups.adjustable}
    for leaf, place in zip((tree.names[i] for i in tree.moving), core.places(tree), strict=True):
        group = core.groups.all[place]
        for name in core.groups.adjustable:
            if group.has(name):
                sharing.setdefault((group.pattern if name in group.own else "", name), []).append(leaf)
    hypers = dict(fresh.hypers)
    for (pattern, name), leaves in sharing.items():
        group = next(each for each in core.groups.all if each.pattern == pattern)
        held, key = hypers.get(pattern, {}) if pattern else hypers, core.groups.shown(name)
        if callable(group.values[name]) or key not in held:
            continue
        value = run.agreed(name, leaves, group.values[name])
        if isinstance(value, Mapping):
            rule = f"{key} was a function of the step"
            raise ValueError(sentence(who, rule, hint=f"give the factory that function; {NOTHING}"))
        hypers = core.groups.adjusted(who, hypers, {key: value}, pattern)
    return hypers
