"""A rule as a gradient transformation: a pair of pure functions as Optax has them, and a step that rounds once."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minima import optim
from minima.checks import flag, integer, one_of
from minima.errors import sentence
from minima.jax.device import has_float64, widely, widest
from minima.jax.exchange import dump, restored
from minima.jax.groups import Group, Groups
from minima.jax.leaves import Tree, is_parameter, kept_like, precision, real
from minima.jax.pair import PAIR
from minima.jax.replay import Numbers, Work, advance, holding, host_part, steps_alone, subtracts
from minima.jax.rounding import narrowed
from minima.jax.scalars import Held, settled
from minima.jax.state import State
from minima.jax.turns import Answers, Key, Way, by_turns
from minima.jax.xla import Array, jax, jnp, traced
from minima.optim.core.estimates import require_estimate
from minima.optim.core.variants import MASTER, Variants
from minima.optim.language.program import Program
from minima.optim.language.questions import Question
from minima.optim.language.ranks import ELEMENT, MATRIX, MODEL, TENSOR, matrix_shape, state_shape
from minima.optim.language.rule import LOSS, PARAM
from minima.optim.language.symbols import form_of
from minima.optim.language.trace import EMA

__all__ = ["OPTIONS", "Transformation"]

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


class Transformation(PAIR):
    """What a factory of `minima.jax` makes: ``init`` and ``update`` as Optax has them, and more.

    It is a pair, and unpacks into ``init, update``; it works wherever Optax's transformations do::

        state = tx.init(params)
        updates, state = tx.update(grads, state, params)
        params = optax.apply_updates(params, updates)

    or, with the same result in one rounding in place of two::

        params, state = tx.step(grads, state, params)

    All are pure functions, to be called within ``jax.jit`` or outside of it.
    """

    _core: "Core"

    def __new__(cls, core: "Core") -> "Transformation":
        self: Any = super().__new__(cls, core.init, core.update)  # pyright: ignore - Optax may be missing
        self._core = core
        return self  # pyright: ignore

    def step(self, grads: Any, state: State, params: Any, *, loss: Any = None) -> tuple[Any, State]:
        """Take a step.

        Args:
            grads: The gradients, in the structure of ``params``; None where there is none.
            state: What `init`, or the last step, gave.
            params: The parameters.
            loss: The loss of this step, a number, which some rules need; ``update`` takes it as ``value``.

        Returns:
            The new parameters, and the new state.

        Raises:
            TypeError: The rule needs the loss, and there is none.
            ValueError: Structures or shapes do not fit.
        """
        return self._core.step(grads, state, params, loss)

    def estimated(self, estimates: Any, state: State, params: Any) -> State:
        """The state behind an estimate, for rules such as `SophiaG` that take one now and then; no step is counted.

        Args:
            estimates: What is estimated, in the place of gradients; None where there is none.
            state: What `init`, or the last step, gave.
            params: The parameters.

        Raises:
            TypeError: The rule takes no estimates.
            ValueError: Structures or shapes do not fit.
        """
        return self._core.estimated(estimates, state, params)

    def adjusted(self, state: State, group: str = "", /, **values: Any) -> State:
        """The state with other values of hyperparameters, of those that are ``adjustable``; nothing is compiled anew.

        Args:
            state: The state.
            group: The pattern of a group, whose own hyperparameters are meant; by default those of all others.
            values: The new values, checked as those of the factory are.

        Raises:
            TypeError: There is no hyperparameter of this name, or a value is no number.
            ValueError: One cannot be adjusted, is out of its range, or there is no such group.
        """
        return self._core.adjusted(state, group, values)

    def averaged(self, state: State, params: Any) -> Any:
        """The weights to evaluate: the moving averages that ``ema_decay`` keeps, or what the rule evaluates.

        Raises:
            ValueError: There is neither.
        """
        return self._core.averaged(state, params)

    def state_dict(self, state: State, params: Any) -> dict[str, Any]:
        """The state as plain data, by the names of the parameters, as `minima.optim.Optimizer.state_dict` gives it.

        So a run can be saved by `minima.save`, and go on in NumPy or in PyTorch.
        """
        return dump(self._core, params, state)

    def from_state_dict(self, state_dict: Mapping[str, Any], params: Any) -> State:
        """The state for these parameters out of a state dict of any face of minima, on the devices that they are on.

        Raises:
            TypeError: ``state_dict`` is no such.
            ValueError: It is that of another algorithm, or names or shapes do not fit.
        """
        return restored(self._core, params, state_dict)

    def __repr__(self) -> str:
        return repr(self._core)


class Core:
    """What the functions of a transformation share."""

    def __init__(
        self,
        who: str,
        cls: type[optim.Optimizer],
        given: Mapping[str, Any],
        options: Mapping[str, Any],
        spelling: Mapping[str, str],
        mask: Any = None,
    ) -> None:
        """Check the arguments of a factory.

        Args:
            who: The factory.
            cls: The rule.
            given: Every hyperparameter by its declared name.
            options: Those of OPTIONS.
            spelling: The hyperparameters by what the factory calls them.
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
        self.groups = Groups(who, cls, values, options["groups"], adjustable, spelling, masked=masked)
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
        places = self.places(tree)
        columns: dict[str, list[Any]] = {}
        shared: dict[str, Any] = {}
        answers = self._answers({}, 0)
        for i, place in zip(tree.moving, places, strict=True):
            group, leaf = self.groups.all[place], tree.leaves[i]
            program = self._ways(place, leaf, answers)[0].program  # all that take turns keep the same state
            for name in program.state:
                first = self._first(group, name)
                if program.rank(name) == MODEL:
                    shared.setdefault(name, jnp.asarray(first, jnp.result_type(float)))
                    continue
                column = columns.setdefault(name, [None] * len(tree.leaves))
                column[i] = self._begun(leaf, name, program.rank(name), first)
        names = [name for name in (*self.rule.state, EMA, MASTER) if name in columns]
        slots = {name: tree.made(columns[name]) for name in names}
        return State(jnp.zeros([], jnp.int32), self.groups.begin(), slots, shared)

    def _answers(self, hypers: Mapping[str, Any], t: Any) -> Answers:
        """What the rule asks, answered for the step after ``t``."""
        with widely():
            numbers, _ = self.groups.today(hypers, t)
        fixed = [dict(group.variant) for group in self.groups.all]
        return Answers(self.who, [mine | own for mine, own in zip(numbers, fixed, strict=True)], t + 1)

    def _ways(self, place: int, leaf: Any, answers: Answers) -> list[Way]:
        """The programs of a leaf that take turns; most rules have one."""
        group, shape, form = self.groups.all[place], matrix_shape(leaf.shape), form_of(leaf.shape)

        def holds(question: Question) -> bool:
            return answers.of_shape(question, place, shape)

        found: list[Way] = []
        for asked, program in self.variants.choices(group.variant, self._has_master(leaf.dtype), form, holds):
            keys: dict[Key, bool] = {}
            for question, answer in asked:
                key = answers.key(question, place, shape)
                answers.truth(key, question, place, shape)
                keys[key] = answer
            found.append(Way(keys, program))
        return found

    def _has_master(self, dtype: Any) -> bool:
        return self.rounding == "master" and precision(dtype) != dtype

    def _first(self, group: Group, name: str) -> Any:
        """What an entry of the state begins as: a number, an array, or PARAM."""
        first: Any = self.rule.state.get(name, PARAM)  # the average and the copy begin as the parameter
        if not isinstance(first, str) or first == PARAM:
            return first
        value = group.values[first]
        return value(0) if callable(value) else value

    def _begun(self, leaf: Any, name: str, rank: int, first: Any) -> Any:
        whole = precision(leaf.dtype)
        if rank == TENSOR:
            return jnp.asarray(first, jnp.result_type(float))
        if rank != ELEMENT:
            shape, dtype = state_shape(rank, leaf.shape), real(leaf.dtype)
            return jnp.eye(*shape, dtype=dtype) * first if rank >= MATRIX else jnp.full(shape, first, dtype)
        dtype = jnp.dtype(jnp.bfloat16) if self._is_small(name, leaf) else whole
        if isinstance(first, str):  # a copy, since the parameter itself may be donated
            return jnp.array(leaf, dtype, copy=True)
        return kept_like(leaf, first, dtype)

    def _is_small(self, name: str, leaf: Any) -> bool:
        """Whether an entry of the state is kept in fewer bits."""
        whole = {*self.rule.exact, EMA, MASTER}
        return self.state_dtype is not None and name not in whole and not jnp.iscomplexobj(leaf)

    def adjusted(self, state: State, group: str, values: Mapping[str, Any]) -> State:
        who = f"{self.who}.adjusted"
        return state._replace(hypers=self.groups.adjusted(who, state.hypers, values, group))

    # The step --------------------------------------------------------------------------------------------------------

    def update(
        self, updates: Any, state: State, params: Any = None, *, value: Any = None, **extra: Any
    ) -> tuple[Any, State]:
        """What is to be added to the parameters, and the new state; ``value`` is the loss, as Optax calls it."""
        loss = extra.get(LOSS) if value is None else value
        if params is None:
            params = jax.tree.map(_zeros, updates)
            self._require_params_unread(params, state)
        call = "update(grads, state, params, value=loss)"
        tree, new, after = self._advanced(updates, state, params, loss, call, as_difference=True)
        return tree.made([new.params[i] if i in new.params else _nothing(x) for i, x in enumerate(tree.leaves)]), after

    def step(self, grads: Any, state: State, params: Any, loss: Any) -> tuple[Any, State]:
        """The new parameters, and the new state."""
        call = "step(grads, state, params, loss=loss)"
        tree, new, after = self._advanced(grads, state, params, loss, call, as_difference=False)
        return tree.made([new.params.get(i, leaf) for i, leaf in enumerate(tree.leaves)]), after

    def _require_params_unread(self, params: Any, state: State) -> None:
        tree, answers = Tree(self.who, params), self._answers(state.hypers, state.t)
        for i, place in zip(tree.moving, self.places(tree), strict=True):
            programs = [way.program for way in self._ways(place, tree.leaves[i], answers)]
            is_exact = precision(tree.leaves[i].dtype) == tree.leaves[i].dtype
            if not is_exact or any(subtracts(program) is None for program in programs):
                rule = "update needs params here: weight decay, the rule, or rounding depends on them"
                raise ValueError(sentence(self.who, rule, hint="call update(grads, state, params)"))

    def places(self, tree: Tree) -> list[int]:
        """Which group each leaf that is stepped belongs to."""
        decays = [True] * len(tree.leaves)
        if self._mask is not None:
            params = tree.made(tree.leaves)
            given = self._mask(params) if callable(self._mask) else self._mask
            decays = [bool(x) for x in tree.flat("mask", jax.tree.broadcast(given, params))]
        return self.groups.places([tree.names[i] for i in tree.moving], [decays[i] for i in tree.moving])

    def _advanced(
        self, grads: Any, state: State, params: Any, loss: Any, call: str, *, as_difference: bool
    ) -> tuple[Tree, "_New", State]:
        """The leaves, what a step makes of them, and the new state."""
        self._require_state(state)
        tree = Tree(self.who, params)
        found, t = tree.grads(grads), state.t + 1
        places = {i: place for i, place in zip(tree.moving, self.places(tree), strict=True) if found[i] is not None}
        with widely():
            answers = self._answers(state.hypers, state.t)
            ways = {i: self._ways(place, tree.leaves[i], answers) for i, place in places.items()}
            given = self._with_loss(ways, loss, call)
            numbers, shown = self.groups.today(state.hypers, state.t)
            numbers = [mine | given for mine in numbers]

            def run(programs: Mapping[int, Program]) -> "_New":
                return self._run(tree, found, state, t, places, programs, numbers, as_difference=as_difference)

            new = by_turns(self.who, ways, answers, run)
        return tree, new, State(t, shown, self._slots(tree, state, new.states), new.shared)

    def _require_state(self, state: object) -> None:
        if not isinstance(state, State):
            rule = "the second argument must be the state that init gave"
            raise TypeError(sentence(self.who, rule, got=type(state)))

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

    def _run(
        self,
        tree: Tree,
        grads: Sequence[Any],
        state: State,
        t: Any,
        places: Mapping[int, int],
        programs: Mapping[int, Program],
        numbers: Sequence[Mapping[str, Any]],
        *,
        as_difference: bool,
    ) -> "_New":
        """A step of all leaves, each by one program; the new parameters, or what must be added to the old ones."""
        hold = self._hold(t)
        handed = _Handed(numbers, t, hold)
        columns = {name: tree.flat(f"state.slots[{name!r}]", slot) for name, slot in state.slots.items()}
        works: dict[int, Work] = {}
        for i, program in programs.items():
            leaf = tree.leaves[i]
            kept = {name: columns[name][i] for name in program.kept}
            works[i] = _work(program, leaf, grads[i], kept, handed.of(places[i], program, real(leaf.dtype)))
            works[i].only_steps = as_difference and precision(leaf.dtype) == leaf.dtype and steps_alone(program)
        self.groups.require_agreement({places[i]: program for i, program in programs.items()})
        shared = {name: jnp.asarray(x, widest()) for name, x in state.shared.items()}
        shared = advance(list(works.values()), shared, hold)
        params: dict[int, Any] = {}
        states: dict[str, dict[int, Any]] = {}
        drawn = t + self._shift
        for i, work in works.items():
            for name, value in work.results().items():
                like = tree.leaves[i] if name == "param" else columns[name][i]
                written = self._written(name, work.program, value, like, drawn)
                (params if name == "param" else states.setdefault(name, {}))[i] = written
            if as_difference:
                params[i] = _difference(tree.leaves[i], work, params.get(i))
        shared = {name: jnp.asarray(x).astype(state.shared[name].dtype) for name, x in shared.items()}
        return _New(params, states, shared)

    def _hold(self, t: Any) -> Any:
        """What keeps results as they are, where the bits of the reference are asked for."""
        if not self._exact or not traced(t):
            return None
        if not has_float64():
            rule = "exact=True needs a device that computes in float64"
            raise ValueError(sentence(self.who, rule, hint="leave it out, and results differ by rounding"))
        return holding(t)

    def _slots(self, tree: Tree, state: State, new: Mapping[str, Mapping[int, Any]]) -> dict[str, Any]:
        """The state of all leaves, with some of it new."""
        found: dict[str, Any] = {}
        for name, slot in state.slots.items():
            column = tree.flat(f"state.slots[{name!r}]", slot)
            found[name] = tree.made([new.get(name, {}).get(i, x) for i, x in enumerate(column)])
        return found

    def estimated(self, estimates: Any, state: State, params: Any) -> State:
        """The state behind an estimate."""
        who = f"{self.who}.estimated"
        require_estimate(who, self.rule)
        self._require_state(state)
        tree = Tree(self.who, params)
        found = tree.grads(estimates)
        places = {i: place for i, place in zip(tree.moving, self.places(tree), strict=True) if found[i] is not None}
        with widely():
            numbers, _ = self.groups.today(state.hypers, state.t)
            programs = {i: self.variants.estimate(self.groups.all[place].variant) for i, place in places.items()}
            new = self._run(tree, found, state, state.t, places, programs, numbers, as_difference=False)
        return state._replace(slots=self._slots(tree, state, new.states))

    def _written(self, name: str, program: Program, value: Any, like: Any, drawn: Any) -> Any:
        """A result, as it is kept; random numbers depend on ``drawn``."""
        if name == "param":
            kind, number = self.rounding or ("stochastic" if like.dtype == jnp.bfloat16 else "nearest"), -1
        else:
            kind, number = "stochastic", program.numbers[program.state.index(name)]
        return narrowed(_joined(value, like), like.dtype, kind, drawn, number)

    # Weights to evaluate ---------------------------------------------------------------------------------------------

    def averaged(self, state: State, params: Any) -> Any:
        """The weights to evaluate."""
        who, tree = f"{self.who}.averaged", Tree(self.who, params)
        if EMA in state.slots:
            averages = tree.flat("state.slots['ema']", state.slots[EMA])
            pairs = zip(tree.leaves, averages, strict=True)
            return tree.made([leaf if each is None else each.astype(leaf.dtype) for leaf, each in pairs])
        weights = self.rule.to_lend
        if weights is None:
            hint = "give the factory an ema_decay"
            raise ValueError(sentence(who, "there are no other weights to evaluate", hint=hint))
        columns = {name: tree.flat(f"state.slots[{name!r}]", state.slots[name]) for name in weights.state}
        numbers, _ = self.groups.today(state.hypers, state.t)
        found = list(tree.leaves)
        for i, place in zip(tree.moving, self.places(tree), strict=True):
            leaf, own = tree.leaves[i], {**self.groups.all[place].values, **numbers[place]}
            dtype = precision(leaf.dtype)
            given = {name: _as_number(settled(own[name]), real(dtype)) for name in weights.hypers}
            values = weights.compute(leaf.astype(dtype), *(columns[name][i] for name in weights.state), **given)
            found[i] = jnp.where(state.t > 0, values, leaf).astype(leaf.dtype)
        return tree.made(found)


def _shift(who: str, seed: Any) -> Any:
    """What is added to the step where random numbers depend on it: far apart for seeds that are close."""
    if not traced(seed):
        seed = integer(who, "seed", seed.item() if isinstance(seed, Array) else seed)
        return np.int32(seed % 0x7FFFFFFF * 0x9E3779B1 & 0x7FFFFFFF)
    return (seed.astype(jnp.uint32) * np.uint32(0x9E3779B1) & np.uint32(0x7FFFFFFF)).astype(jnp.int32)


class _Handed:
    """What the host parts of the programs hand over in a step, each computed once."""

    def __init__(self, numbers: Sequence[Mapping[str, Any]], t: Any, hold: Any) -> None:
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


def _zeros(grad: Any) -> Any:
    return jnp.zeros_like(grad) if is_parameter(grad) else grad


def _arrays(numbers: Mapping[str, Any]) -> dict[str, Any]:
    return {name: x for name, x in numbers.items() if isinstance(x, Array)}


def _as_number(x: Any, dtype: Any) -> Any:
    return x.astype(dtype) if isinstance(x, Array) else x


class _New(NamedTuple):
    """What a step makes, by the places of leaves."""

    params: dict[int, Any]
    """The new parameters, or what must be added to the old ones."""
    states: dict[str, dict[int, Any]]
    shared: dict[str, Any]


def _nothing(leaf: Any) -> Any:
    """What must be added to a leaf that is not stepped: zeros, and None to what is no array."""
    return jnp.zeros_like(leaf) if isinstance(leaf, Array | np.ndarray) and _is_number(leaf) else None


def _is_number(leaf: Any) -> bool:
    return not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)


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
    dtype = precision(leaf.dtype)
    step = work.step() if dtype == leaf.dtype else None
    if step is not None:
        return _joined(step.reshape(work.param.shape), leaf)
    return (new.astype(dtype) - leaf.astype(dtype)).astype(leaf.dtype)
