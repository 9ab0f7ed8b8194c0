"""A run that Optax has begun goes on in minima, and back, where it would have gone on in Optax."""

from functools import cache

import jax.numpy as jnp
import numpy as np
import pytest
from trees import arrays, gradients, start

import jax
import minima.jax as mj
from minima import optim
from minima.jax.optax_state import _PARTS

optax = pytest.importorskip("optax")

CALLS = {
    "adam": ["adam(0.02)", "adam(0.02, 0.8, 0.95, 1e-3, eps_root=0.01)"],
    "adamw": ["adamw(0.02, weight_decay=0.1)"],
    "amsgrad": ["amsgrad(0.02, b2=0.8)"],
    "sgd": ["sgd(0.02)", "sgd(0.02, momentum=0.9)", "sgd(0.02, 0.9, True)"],
    "rmsprop": ["rmsprop(0.02)", "rmsprop(0.02, momentum=0.9)", "rmsprop(0.02, centered=True, momentum=0.9)"],
    "adagrad": ["adagrad(0.02)", "adagrad(0.02, initial_accumulator_value=0)"],
    "lion": ["lion(1e-3, weight_decay=0.1)"],
    "adabelief": ["adabelief(0.02)"],
    "adadelta": ["adadelta(0.2, weight_decay=0.1)"],
    "adamax": ["adamax(0.02)"],
    "yogi": ["yogi(0.02)"],
    "radam": ["radam(0.02, b2=0.9)"],
    "lamb": ["lamb(0.02, weight_decay=0.1)"],
}
"""Every algorithm, with arguments for both."""


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


@cache
def compiled(tx):
    @jax.jit
    def step(grads, state, params):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    return step


def go(tx, params, state, first, count=10):
    """Parameters and state after so many steps, of which the first is this one."""
    step = compiled(tx)
    for number in range(first, first + count):
        params, state = step(arrays(gradients(number, "float64")), state, params)
    return params, state


def whole(ours, theirs, into=lambda state, optax_state: state, out=lambda state: state, inner=None):
    """How far ten steps of Optax, ten of minima and ten of Optax are from thirty of Optax; and what came of them.

    ``ours`` steps; ``inner`` is the transformation of minima in it, whose state ``into`` puts into its place, and
    ``out`` takes from there.
    """
    inner = ours if inner is None else inner
    params = arrays(start("float64"))
    params, begun = go(theirs, params, theirs.init(params), 0)
    alone, _ = go(theirs, params, begun, 10, 20)
    params, state = go(ours, params, into(mj.from_optax(inner, begun, params), begun), 10)
    params, ended = go(theirs, params, mj.to_optax(inner, out(state), params, begun), 20)
    return apart(params, alone), ended


def apart(here, there):
    pairs = zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True)
    return max(float(jnp.abs(x - y).max() / jnp.abs(y).max()) for x, y in pairs)


@pytest.mark.parametrize("call", [call for calls in CALLS.values() for call in calls])
def test_ten_steps_in_optax_ten_here_and_ten_in_optax_are_thirty_in_optax(call):
    far, _ = whole(eval(f"mj.{call}"), eval(f"optax.{call}"))
    assert far < 1e-12


def test_every_algorithm_that_goes_over_is_tried():
    tried = {eval(f"mj.{calls[0]}")._core.cls for calls in CALLS.values()}
    assert tried == _PARTS.keys()


MASK = {"first": {"w": True, "b": False}, "second": True, "third": True}


def chained(position):
    def into(state, optax_state):
        return (*optax_state[:position], state, *optax_state[position + 1 :])

    return into, lambda state: state[position]


def test_it_is_found_in_a_chain():
    into, out = chained(1)
    clip, inner = optax.clip_by_global_norm(1.0), mj.adam(0.02)
    far, _ = whole(optax.chain(clip, inner), optax.chain(clip, optax.adam(0.02)), into, out, inner)
    assert far < 1e-12


def test_it_is_found_in_a_chain_that_a_user_has_made_of_parts():
    schedule = optax.cosine_decay_schedule(0.02, 30)
    parts = [optax.scale_by_adam(), optax.add_decayed_weights(0.1), optax.scale_by_schedule(lambda t: -schedule(t))]
    far, ended = whole(mj.adamw(schedule, weight_decay=0.1), optax.chain(*parts))
    assert far < 1e-12 and int(ended[0].count) == int(ended[2].count) == 30


@pytest.mark.parametrize("name", ["adam", "sgd"])
def test_a_schedule_goes_on_where_it_was(name):
    schedule = optax.cosine_decay_schedule(0.02, 30)
    far, _ = whole(getattr(mj, name)(schedule), getattr(optax, name)(schedule))
    assert far < 1e-12


def test_leaves_that_a_mask_leaves_out_are_left_out():
    inner = mj.adam(0.02)
    far, _ = whole(
        optax.masked(inner, MASK),
        optax.masked(optax.adam(0.02), MASK),
        lambda state, held: optax.MaskedState(state),
        lambda state: state.inner_state,
        inner,
    )
    assert far < 1e-12


def test_decay_under_a_mask_goes_over():
    made = "adamw(0.02, weight_decay=0.1, mask=MASK)"
    far, _ = whole(eval(f"mj.{made}"), eval(f"optax.{made}"))
    assert far < 1e-12


def test_it_is_found_in_multi_steps():
    inner = mj.adam(0.02)
    ours, theirs = optax.MultiSteps(inner, 2), optax.MultiSteps(optax.adam(0.02), 2)
    far, _ = whole(
        ours,
        theirs,
        lambda state, held: held._replace(inner_opt_state=state),
        lambda state: state.inner_opt_state,
        inner,
    )
    assert far < 1e-12


def test_an_injected_learning_rate_goes_over_and_comes_back():
    theirs = optax.inject_hyperparams(optax.adam)(learning_rate=0.02)
    far, ended = whole(mj.adam(0.02), theirs)
    assert far < 1e-12 and int(ended.count) == 30
    params = arrays(start("float64"))
    optax_state = optax.tree.set(theirs.init(params), learning_rate=0.5)
    tx = mj.adam(0.02)
    state = mj.from_optax(tx, optax_state, params)
    assert float(state.hypers["learning_rate"]) == 0.5
    again = mj.to_optax(tx, tx.adjusted(state, learning_rate=0.25), params, optax_state)
    assert float(again.hyperparams["learning_rate"]) == 0.25


def test_momentum_of_rmsprop_goes_over_at_the_rate_that_was_injected():
    theirs = optax.inject_hyperparams(optax.rmsprop, static_args="momentum")(learning_rate=0.5, momentum=0.9)
    params = arrays(start("float64"))
    _, begun = go(theirs, params, theirs.init(params), 0, 2)
    tx = mj.rmsprop(0.02, momentum=0.9)
    state = mj.from_optax(tx, begun, params)
    (held,) = (x for x in jax.tree.leaves(begun, is_leaf=is_trace) if is_trace(x))
    np.testing.assert_allclose(state.slots["momentum_buffer"]["second"], held.trace["second"] / -0.5, rtol=1e-12)


def is_trace(x):
    return isinstance(x, optax.TraceState)


def test_a_part_that_was_divided_goes_over_by_itself():
    labels = {"first": {"w": "a", "b": "b"}, "second": "a", "third": "b"}
    theirs = optax.partition({"a": optax.adam(0.02), "b": optax.adam(0.1)}, labels)
    params = arrays(start("float64"))
    params, begun = go(theirs, params, theirs.init(params), 0)
    with pytest.raises(ValueError, match=r"^minima.jax.from_optax: optax_state must hold one ScaleByAdamState, and ho"):
        mj.from_optax(mj.adam(0.02), begun, params)
    ours, parts = {}, {"a": mj.adam(0.02), "b": mj.adam(0.1)}
    for label, tx in parts.items():
        ours[label] = optax.MaskedState(mj.from_optax(tx, begun.inner_states[label], params))
    here, _ = go(optax.partition(parts, labels), params, begun._replace(inner_states=ours), 10)
    there, _ = go(theirs, params, begun, 10)
    assert apart(here, there) < 1e-12


def test_the_old_state_may_be_donated_and_the_new_one_lives():
    params = arrays(start("float64"))
    theirs = optax.inject_hyperparams(optax.adam)(optax.constant_schedule(0.02))
    begun, tx = theirs.init(params), mj.adam(0.02)
    state = mj.from_optax(tx, begun, params)
    step = jax.jit(tx.step, donate_argnums=(1, 2))
    _, after = step(arrays(gradients(0, "float64")), state, arrays(start("float64")))
    assert all(x.is_deleted() for x in jax.tree.leaves(state.slots))
    assert not any(x.is_deleted() for x in jax.tree.leaves(begun))
    again = mj.to_optax(tx, after, params, begun)
    jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)(again)
    assert not any(x.is_deleted() for x in jax.tree.leaves((begun.inner_state, after)))


def test_under_jit_it_is_the_same():
    params, theirs, tx = arrays(start("float64")), optax.adam(0.02), mj.adam(0.02)
    _, begun = go(theirs, params, theirs.init(params), 0)
    here, there = (
        f(begun, params) for f in (jax.jit(lambda s, p: mj.from_optax(tx, s, p)), lambda s, p: mj.from_optax(tx, s, p))
    )
    assert jax.tree.structure(here) == jax.tree.structure(there) and apart(here.slots, there.slots) == 0
    assert int(here.t) == int(there.t) == 10


def test_what_optax_does_not_keep_begins_anew_and_cannot_come_back():
    params, tx = arrays(start("float64")), mj.adam(0.02, ema_decay=0.9)
    begun = optax.adam(0.02).init(params)
    state = mj.from_optax(tx, begun, params)
    assert apart(state.slots["ema"], params) == 0
    with pytest.raises(ValueError, match=r"^minima.jax.to_optax: Optax keeps no 'ema'; pass a state without it, state"):
        mj.to_optax(tx, state, params, begun)


SHORT = {"first": {"w": np.zeros((4, 6)), "b": np.zeros(7)}, "second": np.zeros((3, 5)), "third": np.zeros(())}
REFUSED = {
    "none": (lambda p: (mj.adam(0.1), optax.sgd(0.1, 0.9).init(p)), r"must hold a ScaleByAdamState, as that of adam"),
    "two": (lambda p: (mj.adam(0.1), optax.chain(optax.adam(0.1), optax.adam(0.1)).init(p)), "and holds 2; pass the"),
    "another": (lambda p: (mj.sgd(0.1), optax.adam(0.1).init(p)), "must be that of sgd, which keeps nothing; got"),
    "without momentum": (lambda p: (mj.sgd(0.1, 0.9), optax.sgd(0.1).init(p)), "must hold a TraceState"),
    "shapes": (
        lambda p: (mj.adam(0.1), optax.adam(0.1).init(arrays(SHORT))),
        r"mu of 'first.w' must have the shape \(",
    ),
    "structures": (lambda p: (mj.adam(0.1), optax.adam(0.1).init(p["first"])), "must have the structure of params"),
    "no such": (lambda p: (mj.adapt(optim.Prodigy)(), optax.adam(0.1).init(p)), "prodigy has a state that Optax keeps"),
    "nesterov": (lambda p: (mj.adam(0.1, nesterov=True), optax.adam(0.1).init(p)), "has a state that Optax keeps othe"),
    "counts": (
        lambda p: (
            mj.adam(0.1),
            (optax.scale_by_adam().init(p), optax.ScaleByScheduleState(jnp.asarray(7, jnp.int32))),
        ),
        r"the counts of steps in optax_state must agree; they are \[0, 7\]",
    ),
    "no count": (
        lambda p: (mj.sgd(lambda t: 0.1, 0.9), optax.sgd(0.1, 0.9).init(p)),
        "optax_state counts no steps, and sgd has functions of the step",
    ),
    "momentum by a schedule": (
        lambda p: (
            mj.rmsprop(lambda t: 0.1, momentum=0.9),
            optax.rmsprop(optax.constant_schedule(0.1), momentum=0.9).init(p),
        ),
        "Optax's momentum has the learning rate of each step in it",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_unclear_is_refused_in_a_sentence(kind):
    make, words = REFUSED[kind]
    params = arrays(start("float64"))
    tx, optax_state = make(params)
    with pytest.raises(ValueError, match=rf"^[\w.]+: [^\n]*{words}"):
        mj.from_optax(tx, optax_state, params)


def test_a_chain_is_no_transformation_of_minima():
    params = arrays(start("float64"))
    with pytest.raises(
        TypeError, match="^minima.jax.from_optax: tx must be a transformation of minima; got .*; of a cha"
    ):
        mj.from_optax(optax.chain(mj.adam(0.1)), optax.adam(0.1).init(params), params)
    with pytest.raises(TypeError, match="^minima.jax.to_optax: state must be one of minima; got"):
        mj.to_optax(mj.adam(0.1), optax.adam(0.1).init(params), params, optax.adam(0.1).init(params))
