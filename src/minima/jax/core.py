"""What the functions of a gradient transformation share: the options, the state of all leaves, and the step."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minima import optim
from minima.checks import flag, integer, one_of
from minima.errors import sentence
from minima.jax.device import has_float64, widely, widest
from minima.jax.groups import Groups
from minima.jax.leaves import Tree, is_parameter, precision, real
from minima.jax.replay import holding, subtracts
from minima.jax.scalars import settled
from minima.jax.sharding import beside
from minima.jax.slots import Entry, begin, columns, entries, require_known, require_state
from minima.jax.state import State
from minima.jax.stepping import Made, Step
from minima.jax.turns import Answers, Key, Way, by_turns
from minima.jax.xla import Array, jax, jnp, traced
from minima.optim.core.estimates import require_estimate
from minima.optim.core.variants import MASTER, Variants
from minima.optim.language.questions import Question
from minima.optim.language.ranks import matrix_shape
from minima.optim.language.rule import LOSS
from minima.optim.language.symbols import form_of
from minima.optim.language.trace import EMA

__all__ = ["OPTIONS", "Core"]

OPTIONS: dict[str, Any] = {
    "groups": None,
    "decay_mode": "decoupled",
    "maximize": False,
    "cautious": False,
    "max_norm": None,
    "ema_decay": None,
    "rounding": None,
    "state_dtype": None,
    "seed": 0,
    "adjustable": ("lr",),
    "exact": False,
}
"""The keywords that every factory takes besides hyperparameters, and their defaults."""

_AS_PAIRS = "keep its real and imaginary parts as a last axis of 2 in the parameters, and join them in the model"


class Core:
    """What the functions of a transformation share."""

    def __init__(
        self,
        who: str,
        cls: type[optim.Optimizer],
        given: Mapping[str, Any],
        options: Mapping[str, Any],
        spelling: Mapping[str, str],
        constants: Mapping[str, str],
        mask: Any = None,
    ) -> None:
        """Check the arguments of a factory.

        Args:
            who: The factory.
            cls: The rule.
            given: Every hyperparameter by its declared name.
            options: Those of OPTIONS.
            spelling: The hyperparameters by what the factory calls them.
            constants: Those that cannot be functions of the step, with what to do instead.
            mask: Which leaves decay: a tree of truths, or a function from the parameters to one; by default all.
        """
        assert cls.rule is not None
        self.who = who
        self.cls = cls
        self.rule = cls.rule
        self._given = dict(given)
        self.options = dict(options)
        choices = {name: options[name] for name in ("maximize", "cautious", "max_norm", "ema_decay")}
        values = {**given, **choices, "decay": options["decay_mode"]}
        self._mask = None if mask is True else mask
        masked = self._mask is not None
        adjustable = options["adjustable"]
        self.groups = Groups(who, cls, values, options["groups"], adjustable, spelling, constants, masked=masked)
        variants: Variants | None = cls._variants  # pyright: ignore[reportPrivateUsage] - a face of it
        assert variants is not None
        self.variants = variants
        self.rounding = options["rounding"]
        if self.rounding is not None:
            one_of(who, "rounding", self.rounding, ("nearest", "stochastic", "master"))
        self.state_dtype = options["state_dtype"]
        if self.state_dtype is not None:
            one_of(who, "state_dtype", self.state_dtype, ("bfloat16",))
        self._shift = _shift(who, options["seed"])
        self._exact = flag(who, "exact", options["exact"])
        for group in self.groups.all:  # a variant that the rule refuses is refused now
            self.variants.program(group.variant)

    def __repr__(self) -> str:
        given = {self.groups.shown(name): x for name, x in self._given.items() if self.groups.has(name)}
        shown = given | {name: x for name, x in self.options.items() if x is not OPTIONS[name] and x != OPTIONS[name]}
        return f"{self.who}({', '.join(f'{name}={value!r}' for name, value in shown.items())})"

    # The state -------------------------------------------------------------------------------------------------------

    def init(self, params: Any) -> State:
        """The state before the first step."""
        tree = Tree(self.who, params)
        numbers, _ = self._today({}, 0)
        leaves = self._leaves(tree, self._answers(numbers, 0))
        slots, shared = begin(tree, self.rule, {i: leaf.entries for i, leaf in leaves.items()})
        hypers = beside(self.groups.begin(), tree.leaves)
        return State(beside(jnp.zeros([], jnp.int32), tree.leaves), hypers, slots, shared)

    def taken(self, params: Any, state: State, *, unread: bool = False) -> "_Taken":
        """The parameters and their state taken apart; one sentence unless the state is one that began here.

        Args:
            params: The parameters.
            state: The state.
            unread: Whether these are made of gradients, so that nothing may be read of them.
        """
        require_state(self.who, state, self.groups.names())
        tree = Tree(self.who, params, "grads" if unread else "params")
        numbers, shown = self._today(state.hypers, state.t)
        answers = self._answers(numbers, state.t)
        leaves = self._leaves(tree, answers)
        if unread:
            self._require_unread(tree, leaves)
        found = columns(self.who, tree, state, {i: leaf.entries for i, leaf in leaves.items()})
        return _Taken(tree, leaves, found, numbers, shown, answers)

    def _today(self, hypers: Mapping[str, Any], t: Any) -> tuple[list[dict[str, Any]], dict[str, Any]]:
        with widely():
            return self.groups.today(hypers, t)

    def _answers(self, numbers: Sequence[Mapping[str, Any]], t: Any) -> Answers:
        """What the rule asks, answered for the step after ``t``."""
        fixed = [dict(group.variant) for group in self.groups.all]
        with widely():
            return Answers(self.who, [{**mine, **own} for mine, own in zip(numbers, fixed, strict=True)], t + 1)

    def _leaves(self, tree: Tree, answers: Answers) -> dict[int, "_Leaf"]:
        """What is known of each leaf that is stepped."""
        found: dict[int, _Leaf] = {}
        for i, place in zip(tree.moving, self.places(tree), strict=True):
            ways, group = self._ways(tree, i, place, answers), self.groups.all[place]
            # All programs that take turns keep the same state.
            kept = entries(self.rule, group, ways[0].program, tree.leaves[i], self.state_dtype)
            found[i] = _Leaf(place, ways, kept)
        return found

    def places(self, tree: Tree) -> list[int]:
        """Which group each leaf that is stepped belongs to."""
        decays = [True] * len(tree.leaves) if self._mask is None else tree.truths("mask", self._mask)
        return self.groups.places([tree.names[i] for i in tree.moving], [decays[i] for i in tree.moving])

    def _ways(self, tree: Tree, i: int, place: int, answers: Answers) -> list[Way]:
        """The programs of a leaf that take turns; most rules have one."""
        group, leaf = self.groups.all[place], tree.leaves[i]
        shape, form = matrix_shape(leaf.shape), form_of(leaf.shape)

        def holds(question: Question) -> bool:
            return answers.of_shape(question, place, shape)

        has_master = self.rounding == "master" and precision(leaf.dtype) != leaf.dtype
        found: list[Way] = []
        for asked, program in self.variants.choices(group.variant, has_master, form, holds):
            keys: dict[Key, bool] = {}
            for question, answer in asked:
                key = answers.key(question, place, shape)
                answers.truth(key, question, place, shape)
                keys[key] = answer
            if jnp.iscomplexobj(leaf) and (program.by_rows or program.shape):
                which = f"{tree.names[i]!r} is complex"
                rule = f"{program.name} tells rows and columns apart, and is for real parameters; {which}"
                raise ValueError(sentence(self.who, rule, hint=_AS_PAIRS))
            found.append(Way(keys, program))
        return found

    def adjusted(self, state: State, group: str, values: Mapping[str, Any]) -> State:
        """The state with other values of hyperparameters."""
        who = f"{self.who}.adjusted"
        require_state(who, state, self.groups.names())
        require_known(who, state, self.rule)
        return state._replace(hypers=self.groups.adjusted(who, state.hypers, values, group))

    # The step --------------------------------------------------------------------------------------------------------

    def update(
        self, updates: Any, state: State, params: Any = None, *, value: Any = None, **extra: Any
    ) -> tuple[Any, State]:
        """What is to be added to the parameters, and the new state; ``value`` is the loss, as Optax calls it."""
        loss = extra.get(LOSS) if value is None else value
        unread = params is None
        taken = self.taken(jax.tree.map(_zeros, updates) if unread else params, state, unread=unread)
        call = "update(grads, state, params, value=loss)"
        made, after = self._advanced(updates, state, taken, loss, call, as_difference=True)
        found = [made.params[i] if i in made.params else _unmoved(leaf) for i, leaf in enumerate(taken.tree.given)]
        return taken.tree.made(found), after

    def step(self, grads: Any, state: State, params: Any, loss: Any) -> tuple[Any, State]:
        """The new parameters, and the new state."""
        taken = self.taken(params, state)
        call = "step(grads, state, params, loss=loss)"
        made, after = self._advanced(grads, state, taken, loss, call, as_difference=False)
        return taken.tree.made([made.params.get(i, leaf) for i, leaf in enumerate(taken.tree.given)]), after

    def _require_unread(self, tree: Tree, leaves: Mapping[int, "_Leaf"]) -> None:
        for i, leaf in leaves.items():
            is_exact = precision(tree.leaves[i].dtype) == tree.leaves[i].dtype
            if not is_exact or any(subtracts(way.program) is None for way in leaf.ways):
                rule = "update needs params here: weight decay, the rule, or rounding depends on them"
                raise ValueError(sentence(self.who, rule, hint="call update(grads, state, params)"))

    def _advanced(
        self, grads: Any, state: State, taken: "_Taken", loss: Any, call: str, *, as_difference: bool
    ) -> tuple[Made, State]:
        found, t = taken.tree.grads(grads), state.t + 1
        ways = {i: leaf.ways for i, leaf in taken.leaves.items() if found[i] is not None}
        with widely():
            given = self._with_loss(ways, loss, call)
            numbers = [mine | given for mine in taken.numbers]
            step = self._step(taken, state, found, t, numbers, as_difference=as_difference)
            made: Made = by_turns(self.who, ways, taken.answers, step.by)
        return made, State(t, taken.shown, taken.slots(made.states), made.shared)

    def _step(
        self,
        taken: "_Taken",
        state: State,
        grads: Sequence[Any],
        t: Any,
        numbers: Sequence[Mapping[str, Any]],
        *,
        as_difference: bool = False,
    ) -> Step:
        hold = holding(t) if self._holds(t) else None
        places = {i: leaf.place for i, leaf in taken.leaves.items()}
        return Step(
            taken.tree, taken.columns, state.shared, grads, places, self.groups, numbers, t,
            hold, self.rounding, self._shift, as_difference,
        )  # fmt: skip

    def _holds(self, t: Any) -> bool:
        """Whether results are to be kept as they are, since the bits of the reference are asked for."""
        if not self._exact or not traced(t):
            return False
        if not has_float64():
            rule = "exact=True needs a device that computes in float64"
            raise ValueError(sentence(self.who, rule, hint="leave it out, and results differ by rounding"))
        return True

    def _with_loss(self, ways: Mapping[int, Sequence[Way]], loss: Any, call: str) -> dict[str, Any]:
        """The loss as a number, where a program reads it; one sentence where it is missing."""
        if not any(LOSS in way.program.hypers for own in ways.values() for way in own):
            return {}
        if loss is None:
            raise TypeError(sentence(self.who, "needs the loss of this step", hint=f"call {call}"))
        is_array = isinstance(loss, Array | np.ndarray | np.generic)
        if not (is_array or isinstance(loss, int | float)) or np.size(loss) != 1 or np.iscomplexobj(loss):
            raise TypeError(sentence(self.who, "loss must be a number, or an array of one", got=loss))
        return {LOSS: jnp.asarray(loss).reshape(()).astype(widest())}

    def estimated(self, estimates: Any, state: State, params: Any) -> State:
        """The state behind an estimate."""
        who = f"{self.who}.estimated"
        require_estimate(who, self.rule)
        taken = self.taken(params, state)
        found = taken.tree.grads(estimates)
        groups = {i: self.groups.all[leaf.place] for i, leaf in taken.leaves.items() if found[i] is not None}
        with widely():
            programs = {i: self.variants.estimate(group.variant) for i, group in groups.items()}
            made = self._step(taken, state, found, state.t, taken.numbers).by(programs)
        return state._replace(slots=taken.slots(made.states))

    # Weights to evaluate ---------------------------------------------------------------------------------------------

    def averaged(self, state: State, params: Any) -> Any:
        """The weights to evaluate."""
        who, taken = f"{self.who}.averaged", self.taken(params, state)
        found = list(taken.tree.given)
        if EMA in taken.columns:
            for i in taken.leaves:
                found[i] = taken.columns[EMA][i].astype(taken.tree.leaves[i].dtype)
            return taken.tree.made(found)
        weights = self.rule.to_lend
        if weights is None:
            hint = "give the factory an ema_decay"
            raise ValueError(sentence(who, "there are no other weights to evaluate", hint=hint))
        for i, known in taken.leaves.items():
            leaf, own = taken.tree.leaves[i], {**self.groups.all[known.place].values, **taken.numbers[known.place]}
            wide = precision(leaf.dtype)
            given = {name: _as_number(settled(own[name]), real(wide)) for name in weights.hypers}
            whole = taken.columns[MASTER][i] if MASTER in taken.columns else None
            kept = (taken.columns[name][i] for name in weights.state)
            values = weights.compute(leaf.astype(wide) if whole is None else whole, *kept, **given)
            found[i] = jnp.where(state.t > 0, values, leaf).astype(leaf.dtype)
        return taken.tree.made(found)


class _Leaf(NamedTuple):
    """What is known of a leaf that is stepped."""

    place: int
    """Its group."""
    ways: list[Way]
    entries: list[Entry]


class _Taken(NamedTuple):
    """Parameters and their state, taken apart."""

    tree: Tree
    leaves: dict[int, _Leaf]
    columns: dict[str, list[Any]]
    numbers: list[dict[str, Any]]
    """Those of each group, for the next step."""
    shown: dict[str, Any]
    """What the state shows of them then."""
    answers: Answers

    def slots(self, new: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
        """The state of all leaves, with some of it new."""
        return {
            name: self.tree.made([new.get(name, {}).get(i, x) for i, x in enumerate(column)])
            for name, column in self.columns.items()
        }


def _shift(who: str, seed: Any) -> Any:
    """What is added to the step where random numbers depend on it: far apart for seeds that are close."""
    if not traced(seed):
        seed = integer(who, "seed", seed.item() if isinstance(seed, Array) else seed)
        return np.int32(seed % 0x7FFFFFFF * 0x9E3779B1 & 0x7FFFFFFF)
    return (seed.astype(jnp.uint32) * np.uint32(0x9E3779B1) & np.uint32(0x7FFFFFFF)).astype(jnp.int32)


def _zeros(grad: Any) -> Any:
    return jnp.zeros_like(grad) if is_parameter(grad) else grad


def _unmoved(leaf: Any) -> Any:
    """What must be added to a leaf that was not stepped: nothing, and None to what is no array of numbers."""
    kinds = jnp.number, jnp.bool_
    is_number = isinstance(leaf, Array | np.ndarray) and any(jnp.issubdtype(leaf.dtype, kind) for kind in kinds)
    return jnp.zeros_like(leaf) if is_number else None


def _as_number(x: Any, dtype: Any) -> Any:
    return x.astype(dtype) if isinstance(x, Array) else x
