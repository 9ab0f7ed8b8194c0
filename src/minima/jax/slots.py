"""The state of each leaf: how it begins, and whether a state that comes is one that began so."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import numpy as np

from minima.errors import sentence
from minima.jax.groups import Group
from minima.jax.leaves import Tree, kept_like, precision, real
from minima.jax.sharding import beside
from minima.jax.state import State
from minima.jax.xla import Array, jnp, traced
from minima.optim.core.variants import MASTER
from minima.optim.language.program import Program
from minima.optim.language.ranks import ELEMENT, MATRIX, MODEL, TENSOR, state_shape
from minima.optim.language.rule import PARAM, Rule
from minima.optim.language.trace import EMA

__all__ = ["Entry", "begin", "columns", "entries", "require_known", "require_state"]

_OTHER = "a state is for the transformation that began it, and for its parameters"


class Entry(NamedTuple):
    """An entry of the state of a leaf."""

    name: str
    rank: int
    shape: tuple[int, ...]
    dtype: Any
    first: Any
    """What it begins as: a number, an array of one, or PARAM."""

    def begun(self, leaf: Any) -> Any:
        """Its value before the first step."""
        first = self.first
        if isinstance(first, str):  # a copy, since the parameter itself may be donated
            return jnp.array(leaf, self.dtype, copy=True)
        if self.rank >= MATRIX:
            return beside(jnp.eye(*self.shape, dtype=self.dtype) * first, [leaf])
        if self.rank != ELEMENT:
            return beside(jnp.full(self.shape, first, self.dtype), [leaf])
        return kept_like(leaf, first * (1 + 1j) if jnp.iscomplexobj(leaf) else first, self.dtype)  # a pair of real ones

    def fits(self, value: Any) -> bool:
        """Whether an array may be such an entry; in what precision one number is kept depends on JAX's settings."""
        is_one = self.rank <= TENSOR
        return np.shape(value) == self.shape and (is_one or getattr(value, "dtype", None) == self.dtype)


def entries(rule: Rule, group: Group, program: Program, leaf: Any, state_dtype: str | None) -> list[Entry]:
    """What a program keeps of a leaf."""
    found: list[Entry] = []
    for name in program.state:
        rank, first = program.rank(name), _first(rule, group, name)
        if rank <= TENSOR:
            found.append(Entry(name, rank, (), jnp.result_type(float), first))
        elif rank != ELEMENT:
            found.append(Entry(name, rank, state_shape(rank, leaf.shape), real(leaf.dtype), first))
        else:
            is_whole = state_dtype is None or name in {*rule.exact, EMA, MASTER} or jnp.iscomplexobj(leaf)
            dtype = precision(leaf.dtype) if is_whole else jnp.dtype(state_dtype)
            found.append(Entry(name, rank, leaf.shape, dtype, first))
    return found


def _first(rule: Rule, group: Group, name: str) -> Any:
    first: Any = rule.state.get(name, PARAM)  # the average and the copy begin as the parameter
    if not isinstance(first, str) or first == PARAM:
        return first
    value = group.values[first]
    return value(0) if callable(value) else value


def begin(tree: Tree, rule: Rule, kept: Mapping[int, Sequence[Entry]]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The state of all leaves before the first step, and that which they share, from the entries of each leaf."""
    found: dict[str, list[Any]] = {}
    shared: dict[str, Any] = {}
    for i, own in kept.items():
        for entry in own:
            if entry.rank != MODEL:
                found.setdefault(entry.name, [None] * len(tree.leaves))[i] = entry.begun(tree.leaves[i])
            elif entry.name not in shared:
                shared[entry.name] = entry.begun(tree.leaves[i])
    return {name: tree.made(found[name]) for name in (*rule.state, EMA, MASTER) if name in found}, shared


def require_state(who: str, state: State, hypers: Mapping[str, Any]) -> None:
    """One sentence unless it is a state that is still there, and in which hyperparameters of these names stand."""
    if not isinstance(state, State):  # pyright: ignore[reportUnnecessaryIsInstance] - what users pass is not typed
        raise TypeError(sentence(who, "state must be what init, or the last step, gave", got=type(state)))
    if isinstance(state.t, Array) and not traced(state.t) and state.t.is_deleted():
        hint = "go on with the state that the call gave"
        raise RuntimeError(sentence(who, "state was donated to an earlier call, and is gone", hint=hint))
    if np.shape(state.t):
        hint = "map over many models by jax.vmap"
        raise ValueError(sentence(who, "state.t must be a single number", got=state.t, hint=hint))
    _require_names(who, "hypers", state.hypers, hypers)
    for pattern, own in hypers.items():
        if own is not None:
            _require_names(who, f"hypers[{pattern!r}]", state.hypers[pattern], own)


def columns(who: str, tree: Tree, state: State, kept: Mapping[int, Sequence[Entry]]) -> dict[str, list[Any]]:
    """The state leaf by leaf; one sentence unless it is what these entries of each leaf began as."""
    wanted = {i: {entry.name: entry for entry in own if entry.rank != MODEL} for i, own in kept.items()}
    _require_names(who, "slots", state.slots, [name for own in wanted.values() for name in own])
    _require_names(who, "shared", state.shared, [x.name for own in kept.values() for x in own if x.rank == MODEL])
    found = {name: tree.flat(f"state.slots[{name!r}]", slot) for name, slot in state.slots.items()}
    for name, column in found.items():
        for i, value in enumerate(column):
            entry = wanted.get(i, {}).get(name)
            if value is not None if entry is None else not entry.fits(value):
                must = "be None" if entry is None else f"have the shape {entry.shape} and be {entry.dtype}"
                rule, dtype = f"state.slots[{name!r}] of {tree.names[i]!r} must {must}", getattr(value, "dtype", None)
                got: object = value if dtype is None else (np.shape(value), str(dtype))
                hint = _OTHER if tree.what == "params" else "call update(grads, state, params)"
                raise ValueError(sentence(who, rule, got=got, hint=hint))
    return found


def require_known(who: str, state: State, rule: Rule) -> None:
    """One sentence where a state holds what the rule does not keep; of which leaves is not asked."""
    known = {*rule.state, EMA, MASTER}
    if other := [name for name in state.slots if name not in known]:
        raise ValueError(sentence(who, f"state.slots must not hold {', '.join(map(repr, other))}", hint=_OTHER))


def _require_names(who: str, what: str, given: Any, wanted: Iterable[str]) -> None:
    names = list(dict.fromkeys(wanted))
    got = [*cast(Mapping[str, Any], given)] if isinstance(given, Mapping) else None
    if got is None or {*got} != {*names}:
        allowed = ", ".join(map(repr, names)) or "nothing"
        raise ValueError(sentence(who, f"state.{what} must hold {allowed}", got=got, hint=_OTHER))
