"""A step of all leaves, each by one program: what the programs are handed, and how their results are written back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from minima.jax.device import widest
from minima.jax.groups import Groups
from minima.jax.leaves import Tree, precision, real
from minima.jax.replay import Hold, Numbers, Work, advance, holding, host_part, steps_alone
from minima.jax.rounding import narrowed
from minima.jax.scalars import Held
from minima.jax.sharding import automatic, explicit_mesh
from minima.jax.xla import Array, jax, jnp, traced
from minima.optim.language.program import Program
from minima.optim.language.ranks import ELEMENT, MODEL, TENSOR

__all__ = ["Made", "Step"]


class Made(NamedTuple):
    """What a step makes, by the places of leaves."""

    params: dict[int, Any]
    """The new parameters, or what must be added to the old ones."""
    states: dict[str, dict[int, Any]]
    shared: dict[str, Any]


@dataclass(frozen=True)
class Step:
    """All that a step knows before it is said which programs take it."""

    tree: Tree
    columns: Mapping[str, Sequence[Any]]
    """The state by name, leaf by leaf."""
    shared: Mapping[str, Any]
    """The state that all leaves share."""
    grads: Sequence[Any]
    places: Mapping[int, int]
    """The group of each leaf that is stepped."""
    groups: Groups
    numbers: Sequence[Mapping[str, Any]]
    """The numbers of each group."""
    t: Any
    hold: Hold | None
    rounding: str | None
    shift: Any
    """What is added to the step where random numbers depend on it."""
    as_difference: bool
    """Whether what must be added to parameters is asked for, in place of the new ones."""

    def by(self, programs: Mapping[int, Program]) -> Made:
        """Take it, each leaf by one program; every result is sharded as what it replaces."""
        leaves = {i: self.tree.leaves[i] for i in programs}
        if (mesh := explicit_mesh(leaves.values())) is None:
            return self._by(programs, leaves)
        states: dict[str, dict[int, Any]] = {}
        for i, program in programs.items():
            for name in program.state:
                if program.rank(name) != MODEL:
                    states.setdefault(name, {})[i] = self.columns[name][i]

        def taken(given: tuple[Any, ...]) -> Made:
            leaves, columns, shared, grads, numbers, t = given
            hold = None if self.hold is None else holding(t)
            step = replace(self, columns=columns, shared=shared, grads=grads, numbers=numbers, t=t, hold=hold)
            return step._by(programs, leaves)

        given = leaves, self.columns, self.shared, self.grads, self.numbers, self.t
        return automatic(taken, given, mesh, Made(leaves, states, dict(self.shared)))

    def _by(self, programs: Mapping[int, Program], leaves: Mapping[int, Any]) -> Made:
        handed = _Handed(self.numbers, self.t, self.hold)
        works: dict[int, Work] = {}
        for i, program in programs.items():
            kept = {name: self.columns[name][i] for name in program.kept}
            numbers = handed.of(self.places[i], program, real(leaves[i].dtype))
            works[i] = _work(program, leaves[i], self.grads[i], kept, numbers)
            is_whole = precision(leaves[i].dtype) == leaves[i].dtype
            works[i].only_steps = self.as_difference and is_whole and steps_alone(program)
        self.groups.require_agreement({self.places[i]: program for i, program in programs.items()})
        wide = {name: jnp.asarray(x, widest()) for name, x in self.shared.items()}
        shared = advance(list(works.values()), wide, self.hold)
        params: dict[int, Any] = {}
        states: dict[str, dict[int, Any]] = {}
        drawn = self.t + self.shift
        for i, work in works.items():
            for name, value in work.results().items():
                if name == "param":
                    params[i] = self._parameter(value, leaves[i], drawn)
                else:
                    like, number = self.columns[name][i], work.program.numbers[work.program.state.index(name)]
                    states.setdefault(name, {})[i] = _written(value, like, "stochastic", number, drawn)
            if self.as_difference:
                params[i] = _difference(leaves[i], work, params.get(i))
        shared = {name: jnp.asarray(x).astype(self.shared[name].dtype) for name, x in shared.items()}
        return Made(params, states, shared)

    def _parameter(self, value: Any, like: Any, drawn: Any) -> Any:
        rounding = self.rounding or ("stochastic" if like.dtype == jnp.bfloat16 else "nearest")
        return _written(value, like, rounding, -1, drawn)


class _Handed:
    """What the host parts of the programs hand over in a step, each computed once."""

    def __init__(self, numbers: Sequence[Mapping[str, Any]], t: Any, hold: Hold | None) -> None:
        self._numbers = numbers
        self._t = t
        self._hold = hold
        self._known: dict[Any, Numbers] = {}

    def of(self, place: int, program: Program, dtype: Any) -> Numbers:
        """Those of a group, for a program and a precision."""
        key = place, program, dtype
        if key not in self._known:
            t: Any = self._t if traced(self._t) else float(self._t)
            values: dict[str, Any] = {}
            for name in program.hypers:
                number = self._numbers[place].get(name)
                if name == "t":
                    number = t
                elif name == "first":
                    number = float(t == 1.0) if isinstance(t, float) else (t == 1).astype(widest())
                elif not isinstance(number, float | Held):
                    number = jnp.asarray(number, widest())
                    number = number if traced(number) else float(number)
                values[name] = number
            found = host_part(program, values, dtype, self._hold)
            arrays = [_arrays(found.narrow), _arrays(found.wide)]
            if any(arrays):  # behind a barrier, or XLA computes them anew in the loop of every leaf
                narrow, wide = jax.lax.optimization_barrier(arrays)
                found = Numbers({**found.narrow, **narrow}, {**found.wide, **wide})
            self._known[key] = found
        return self._known[key]


def _arrays(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in numbers.items() if isinstance(x, Array)}


def _work(program: Program, leaf: Any, grad: Any, kept: Mapping[str, Any], numbers: Numbers) -> Work:
    """A leaf as a step sees it: in the precision of the computation, and complex numbers as pairs."""
    dtype = real(leaf.dtype)

    def seen(x: Any) -> Any:
        if jnp.iscomplexobj(x):
            return jnp.stack([x.real, x.imag], axis=-1).astype(dtype)
        if jnp.iscomplexobj(leaf):
            return jnp.stack([x, jnp.zeros_like(x)], axis=-1).astype(dtype)
        return x if x.dtype == dtype else x.astype(dtype)

    ranks = {name: program.rank(name) for name in kept}
    state = {
        name: x.astype(widest()) if ranks[name] == TENSOR else seen(x) if ranks[name] == ELEMENT else x.astype(dtype)
        for name, x in kept.items()
    }
    return Work(program, seen(leaf), seen(grad), state, numbers, jnp.finfo(leaf.dtype).dtype)


def _written(value: Any, like: Any, rounding: str, number: int, drawn: Any) -> Any:
    """A result, as it is kept; random numbers depend on ``drawn``."""
    return narrowed(_joined(value, like), like.dtype, rounding, drawn, number)


def _joined(value: Any, like: Any) -> Any:
    """Pairs as complex numbers again."""
    if jnp.iscomplexobj(like) and value.ndim == like.ndim + 1:
        return jax.lax.complex(value[..., 0], value[..., 1])
    return value


def _difference(leaf: Any, work: Work, new: Any) -> Any:
    """What must be added to a parameter to get the new one.

    It is the very step of a rule that does nothing but subtract one, where the parameter is kept as it is computed. Of
    half precision it is exact whenever old and new are within a factor of two.
    """
    wide = precision(leaf.dtype)
    step = work.step() if wide == leaf.dtype else None
    if step is not None:
        return _joined(step.reshape(work.param.shape), leaf)
    return (new.astype(wide) - leaf.astype(wide)).astype(leaf.dtype)
