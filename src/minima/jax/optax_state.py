"""The state of Optax's own optimizers, taken over by a transformation of minima, and given back."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from typing import Any, NamedTuple, cast

from minima import optim
from minima.errors import sentence
from minima.jax.core import Core
from minima.jax.leaves import Tree
from minima.jax.state import State
from minima.jax.transformation import Transformation
from minima.jax.xla import enable_x64, jax, jnp, traced
from minima.optim.core.variants import MASTER
from minima.optim.language.trace import EMA

__all__ = ["from_optax", "to_optax"]


class _Part(NamedTuple):
    """What Optax keeps of an optimizer in one of its states."""

    kind: str
    """The state, by its name in Optax."""
    fields: Mapping[str, str]
    """Its fields that are trees like the parameters, each with the slot that it is here."""
    of_steps: bool = False
    """Whether it adds up steps, with the learning rate in them and turned round, where minima has neither."""


_MOMENTS = _Part("ScaleByAdamState", {"mu": "exp_avg", "nu": "exp_avg_sq"})
_ADAM = (
    _Part("ScaleByAmsgradState", {"mu": "exp_avg", "nu": "exp_avg_sq", "nu_max": "max_exp_avg_sq"}),
    _MOMENTS,
)
_PARTS: dict[type[optim.Optimizer], tuple[_Part, ...]] = {
    optim.SGD: (_Part("TraceState", {"trace": "u"}),),
    optim.Adam: _ADAM,
    optim.AdamW: _ADAM,
    optim.RMSProp: (
        _Part("ScaleByRStdDevState", {"mu": "grad_avg", "nu": "cache"}),
        _Part("ScaleByRmsState", {"nu": "cache"}),
        _Part("TraceState", {"trace": "momentum_buffer"}, of_steps=True),
    ),
    optim.AdaGrad: (_Part("ScaleByRssState", {"sum_of_squares": "cache"}),),
    optim.Lion: (_Part("ScaleByLionState", {"mu": "exp_avg"}),),
    optim.AdaBelief: (_Part("ScaleByBeliefState", {"mu": "exp_avg", "nu": "exp_avg_var"}),),
    optim.AdaDelta: (_Part("ScaleByAdaDeltaState", {"e_g": "square_avg", "e_x": "acc_delta"}),),
    optim.AdaMax: (_Part("ScaleByAdamState", {"mu": "exp_avg", "nu": "exp_inf"}),),
    optim.Yogi: (_MOMENTS,),
    optim.RAdam: (_MOMENTS,),
    optim.LAMB: (_MOMENTS,),
}
"""What Optax keeps of every rule; of parts that have a slot in common the first whose slots are all there counts."""
_KINDS = {part.kind for parts in _PARTS.values() for part in parts}
_INJECTED = ("InjectStatefulHyperparamsState", "InjectHyperparamsState")
_COUNTING = ("ScaleByScheduleState", "WrappedScheduleState", *_INJECTED)
"""States that count the steps, beside those of algorithms."""


def from_optax(tx: Transformation, optax_state: Any, params: Any) -> State:
    """Convert the state of an optimizer of Optax to that of a transformation of minima, to continue the run.

    Averages, counts and injected learning rates are found inside ``optax.chain``, ``masked``, ``MultiSteps``,
    ``inject_hyperparams`` and similar wrappers. Masked leaves are masked here too, so the state is one for
    ``optax.masked(tx, mask)``. Hyperparameters are those of ``tx``, except adjustable ones that ``inject_hyperparams``
    keeps.

    Args:
        tx: The same algorithm with the same hyperparameters: ``mj.adamw(...)`` for ``optax.adamw(...)``. If it is part
            of a chain, pass the transformation itself, and put the result into its place in the state of the chain.
        optax_state: The state of Optax's optimizer.
        params: The parameters, the whole tree.

    Returns:
        The state of ``tx``, in new arrays. State that Optax does not keep, such as copies and averages of the
        parameters, starts again.

    Raises:
        TypeError: ``tx`` is not a transformation of minima.
        ValueError: Optax keeps no such state; ``optax_state`` does not contain it, or more than once; or structures or
            shapes differ.

    >>> import jax.numpy as jnp
    >>> import optax
    >>> import minima.jax as mj
    >>> params = jnp.ones(2)
    >>> theirs, ours = optax.adam(0.1), mj.adam(0.1)
    >>> _, optax_state = theirs.update(params, theirs.init(params), params)
    >>> state = mj.from_optax(ours, optax_state, params)
    >>> int(state.t), state.slots["exp_avg"]
    (1, Array([0.1, 0.1], dtype=float32))
    """
    who = "minima.jax.from_optax"
    core = _core(who, tx)
    fresh = core.init(params)
    there = _There(who, core, optax_state, params, fresh.slots.keys() - {MASTER, EMA})
    if there.is_masked:
        fresh = core.init(there.params)
    t, hypers = there.count(), there.adjusted(fresh.hypers)
    factors = there.factors(hypers)
    slots = {name: there.tree.flat(name, slot) for name, slot in fresh.slots.items()}
    for part, held in there.held:
        for field, slot in part.fields.items():
            what, column = f"{part.kind}.{field}", slots[slot]
            values = there.column(what, getattr(held, field))
            for i in there.tree.moving:
                factor = 1 / factors[i] if part.of_steps else None
                column[i] = _copied(values[i], column[i].dtype, factor)
    made = {name: there.tree.made(column) for name, column in slots.items()}
    return State(_copied(t, jnp.int32), hypers, made, fresh.shared)


def to_optax(tx: Transformation, state: State, params: Any, optax_state: Any) -> Any:
    """Convert the state of a transformation of minima to that of an optimizer of Optax: the inverse of `from_optax`.

    Args:
        tx: The transformation of minima.
        state: Its state.
        params: The parameters.
        optax_state: A state of Optax's optimizer: the result of its ``init(params)``, or the state at the start of the
            run.

    Returns:
        A state like ``optax_state``, with the state of the algorithm in new arrays, in Optax's precision. Everything
        else is the same, in the same arrays.

    Raises:
        TypeError: ``tx`` is not a transformation of minima, or ``state`` none of its states.
        ValueError: As in `from_optax`; or ``state`` contains state that Optax does not keep.
    """
    who = "minima.jax.to_optax"
    core = _core(who, tx)
    if not isinstance(state, State):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise TypeError(sentence(who, "state must be one of minima", got=type(cast(object, state))))
    there = _There(who, core, optax_state, params, state.slots.keys())
    factors, tree = there.factors(state.hypers), there.tree
    for part, held in there.held:
        new: dict[str, Any] = {}
        for field, slot in part.fields.items():
            likes = there.column(f"{part.kind}.{field}", getattr(held, field))
            values = there.column(f"state.slots[{slot!r}]", state.slots[slot])
            for i in tree.moving:
                values[i] = _copied(values[i], likes[i].dtype, factors[i] if part.of_steps else None)
            new[field] = tree.made([values[i] if i in tree.moving else like for i, like in enumerate(likes)])
        optax_state = _mapped(optax_state, part.kind, partial(_replaced, new=new))
    for kind in (*(part.kind for part, _ in there.held), *_COUNTING):
        optax_state = _mapped(optax_state, kind, partial(_counted, t=state.t))
    for kind in _INJECTED:
        optax_state = _mapped(optax_state, kind, partial(_injected, hypers=state.hypers))
    return optax_state


class _There:
    """Optax's state, and what of it is the algorithm's."""

    def __init__(self, who: str, core: Core, optax_state: Any, params: Any, slots: Iterable[str]) -> None:
        """Find what holds these slots; a ValueError where that is unclear."""
        self.core = core
        self._who = who
        self._state = optax_state
        self.held = [(part, self._only(part)) for part in self._parts(set(slots))]
        """The parts of the algorithm, each with the state that holds it."""
        if not self.held and (others := sorted(kind for kind in _KINDS if _all(optax_state, kind))):
            rule = f"optax_state must be that of {core.who}, which keeps nothing"
            raise ValueError(sentence(who, rule, got=others, hint="give the factory the settings that Optax's had"))
        tree = Tree(who, params)
        nodes: dict[int, Any] = {}
        for part, held in self.held:
            for field in part.fields:
                found = enumerate(tree.flat(f"{part.kind}.{field}", getattr(held, field)))
                nodes |= {i: each for i, each in found if _is(each, "MaskedNode")}
        self.is_masked = bool(nodes)
        if nodes:
            params = tree.made([nodes.get(i, leaf) for i, leaf in enumerate(tree.leaves)])
        self.params = params
        """The parameters, without those that a mask leaves out."""
        self.tree = Tree(core.who, params)

    def _parts(self, slots: set[str]) -> Iterator[_Part]:
        parts = _PARTS.get(self.core.cls)
        if parts is None:
            known = ", ".join(sorted({rule.__name__ for rule in _PARTS}))
            rule = f"{self.core.who} has a state that Optax keeps otherwise, or not at all"
            raise ValueError(sentence(self._who, rule, hint=f"what goes over is that of {known}"))
        for part in parts:
            if {*part.fields.values()} <= slots:
                slots -= {*part.fields.values()}
                yield part
        if slots:
            rule = f"Optax keeps no {sorted(slots)[0]!r}"
            hint = "pass a state without it, state._replace(slots=...)" if self._who.endswith("to_optax") else ""
            raise ValueError(
                sentence(self._who, rule, hint=hint or "Optax has no run that this algorithm can continue")
            )

    def _only(self, part: _Part) -> Any:
        found = _all(self._state, part.kind)
        if not found:
            there = sorted(kind for kind in _KINDS if _all(self._state, kind))
            rule = f"optax_state must hold a {part.kind}, as that of {self.core.who} here does"
            raise ValueError(sentence(self._who, rule, got=there or type(self._state).__name__))
        if len(found) > 1:
            rule = f"optax_state must hold one {part.kind}, and holds {len(found)}"
            hint = "pass the part that is meant, such as optax_state[1] or optax_state.inner_states['label']"
            raise ValueError(sentence(self._who, rule, hint=hint))
        return found[0]

    def column(self, what: str, slot: Any) -> list[Any]:
        """An entry of a state for all leaves; a ValueError where structures or shapes differ."""
        found = self.tree.flat(what, slot)
        for i in self.tree.moving:
            if jnp.shape(found[i]) != self.tree.leaves[i].shape:
                rule = f"{what} of {self.tree.names[i]!r} must have the shape {self.tree.leaves[i].shape}"
                raise ValueError(sentence(self._who, rule, got=jnp.shape(found[i])))
        return found

    def count(self) -> Any:
        """The steps that Optax has taken."""
        found = [held.count for _, held in self.held if "count" in held._fields]
        found += [held.count for kind in _COUNTING for held in _all(self._state, kind)]
        known = {int(count) for count in found if not traced(count)}
        if len(known) > 1:
            rule = f"the counts of steps in optax_state must agree; they are {sorted(known)}"
            raise ValueError(sentence(self._who, rule, hint="pass the part that is meant"))
        if not found and any(map(callable, self.core.groups.all[0].values.values())):
            rule = f"optax_state counts no steps, and {self.core.who} has functions of the step"
            raise ValueError(sentence(self._who, rule, hint="make it with numbers, and say state._replace(t=...)"))
        return found[0] if found else 0

    def adjusted(self, hypers: dict[str, Any]) -> dict[str, Any]:
        """Hyperparameters of a state of minima, with what is injected in Optax's."""
        for kind in _INJECTED:
            for injected in _all(self._state, kind):
                values = self.core.groups.all[0].values
                given = {name: x for name, x in injected.hyperparams.items() if name in hypers}
                given = {name: x for name, x in given.items() if not callable(values[self.core.groups.spelled(name)])}
                given = {name: _copied(x, jnp.float32) for name, x in given.items()}
                hypers = self.core.groups.adjusted(self._who, hypers, given)
        return hypers

    def factors(self, hypers: Mapping[str, Any]) -> dict[int, Any]:
        """What Optax has as a factor in sums of steps, by the places of leaves: the learning rate, turned round."""
        if not any(part.of_steps for part, _ in self.held):
            return {}
        if any(callable(group.values["lr"]) for group in self.core.groups.all):
            rule = "Optax's momentum has the learning rate of each step in it, and that of minima has not"
            raise ValueError(sentence(self._who, rule, hint="only constant learning rates can be converted"))
        with enable_x64(True):
            numbers, _ = self.core.groups.today(hypers, 0)
        found = {
            i: -numbers[place]["lr"] for i, place in zip(self.tree.moving, self.core.places(self.tree), strict=True)
        }
        if any(not traced(x) and not float(x) for x in found.values()):
            raise ValueError(sentence(self._who, "the learning rate must not be 0 where Optax has it in its momentum"))
        return found


def _core(who: str, tx: Any) -> Core:
    if not isinstance(tx, Transformation):
        hint = "of a chain, pass the transformation of minima in it"
        raise TypeError(sentence(who, "tx must be a transformation of minima", got=type(cast(object, tx)), hint=hint))
    return tx._core  # pyright: ignore[reportPrivateUsage] - a part of it


def _is(each: Any, kind: str) -> bool:
    """Whether something is a state of Optax of this name. (Who has one has Optax: it need not be imported.)"""
    return type(each).__name__ == kind and type(each).__module__.partition(".")[0] == "optax"


def _all(state: Any, kind: str) -> list[Any]:
    """All states of a kind within a state."""
    return [each for each in jax.tree.leaves(state, is_leaf=partial(_is, kind=kind)) if _is(each, kind)]


def _mapped(state: Any, kind: str, function: Callable[[Any], Any]) -> Any:
    """A state with others in the place of all states of a kind within it."""

    def new(each: Any) -> Any:
        return function(each) if _is(each, kind) else each

    return jax.tree.map(new, state, is_leaf=partial(_is, kind=kind))


def _copied(value: Any, dtype: Any, factor: Any = None) -> Any:
    """An array of its own; who donates one of the two states keeps the other."""
    if factor is not None:
        value = value * jnp.asarray(factor, value.dtype)
    return jnp.array(value, dtype, copy=True)


def _replaced(held: Any, new: Mapping[str, Any]) -> Any:
    return held._replace(**new)


def _counted(held: Any, t: Any) -> Any:
    """A state that counts, if it does, with another count."""
    return held._replace(count=_copied(t, jnp.asarray(held.count).dtype)) if "count" in held._fields else held


def _injected(held: Any, hypers: Mapping[str, Any]) -> Any:
    """Injected hyperparameters, with those of a state of minima; a number stays as it is where it is that already."""
    known = {name: x for name, x in hypers.items() if not isinstance(x, Mapping)}
    new = {
        name: jnp.where(
            jnp.asarray(old, jnp.float32) == known[name], old, jnp.asarray(known[name], jnp.asarray(old).dtype)
        )
        if name in known
        else old
        for name, old in held.hyperparams.items()
    }
    return held._replace(hyperparams=new)
