"""A transformation of minima works where Optax's do, and under all that JAX does with functions."""

import jax.numpy as jnp
import numpy as np
import pytest
from trees import arrays, gradients, run, start

import jax
from minima import optim
from minima.jax import State, Transformation, adapt
from minima.optim import schedules

optax = pytest.importorskip("optax")
adam = adapt(optim.Adam)


def told(value):
    """What a case is called: functions have other names in every process."""
    return value if isinstance(value, str) else getattr(value, "__name__", None)


def updated(tx, count=4):
    """Parameters after some updates by a transformation, under jit."""
    params = arrays(start())
    state = tx.init(params)

    @jax.jit
    def step(grads, state, params):
        updates, state = tx.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    for number in range(count):
        params, state = step(arrays(gradients(number)), state, params)
    return params


def agree(here, there, rtol=2e-6):
    for x, y in zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True):
        np.testing.assert_allclose(x, y, rtol=rtol, atol=1e-6)


WRAPPED = {
    "chain": lambda tx: optax.chain(optax.clip_by_global_norm(1.0), tx, optax.scale(0.5)),
    "masked": lambda tx: optax.masked(tx, {"first": {"w": True, "b": False}, "second": True, "third": False}),
    "partition": lambda tx: optax.partition(
        {"ours": tx, "none": optax.set_to_zero()},
        {"first": {"w": "ours", "b": "none"}, "second": "ours", "third": "ours"},
    ),
    "MultiSteps": lambda tx: optax.MultiSteps(tx, 2),
    "apply_if_finite": lambda tx: optax.apply_if_finite(tx, 3),
    "flatten": lambda tx: optax.flatten(tx),
}


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_inside_optax_s_own_it_does_what_optax_s_does(wrap):
    agree(updated(wrap(adam(1e-2))), updated(wrap(optax.adam(1e-2))))


@pytest.mark.parametrize("lr", [1e-2, optax.linear_schedule(1e-2, 0, 10)], ids=["number", "schedule"])
def test_hyperparameters_can_be_injected(lr):
    agree(updated(optax.inject_hyperparams(adam)(lr=lr)), updated(optax.inject_hyperparams(optax.adam)(lr)))


def test_it_is_a_pair_as_optax_has_them():
    tx = adam(1e-2)
    init, update = tx
    assert isinstance(tx, optax.GradientTransformationExtraArgs) and isinstance(tx, Transformation)
    assert isinstance(init(arrays(start())), State) and update == tx.update


def test_lookahead_takes_it_as_its_fast_optimizer():
    params = optax.LookaheadParams.init_synced(arrays(start()))
    tx = optax.lookahead(adam(1e-2), 2, 0.5)
    state = tx.init(params)
    for number in range(3):
        updates, state = tx.update(arrays(gradients(number)), state, params)
        params = optax.apply_updates(params, updates)
    assert not np.allclose(params.fast["second"], params.slow["second"])


# Hyperparameters -----------------------------------------------------------------------------------------------------

KINDS = {
    "number": lambda: 1e-2,
    "array": lambda: jnp.asarray(1e-2),
    "a schedule of minima": lambda: schedules.constant(1e-2),
    "a schedule of Optax": lambda: optax.constant_schedule(1e-2),
    "a function": lambda: lambda t: 1e-2 + 0 * t,
}


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_a_hyperparameter_may_be_given_in_any_way(kind):
    tx = adam(kind())
    agree(updated(tx), updated(adam(1e-2)))
    assert jax.tree.structure(tx.init(arrays(start()))) == jax.tree.structure(adam(1e-2).init(arrays(start())))


def test_functions_of_the_step_are_asked_with_the_steps_taken_so_far():
    tx = adapt(optim.SGD)(lambda t: jnp.where(t == 2, 1.0, 0.0))
    params, state = run(jax.jit(tx.step), tx.init(arrays(start())), 2)
    agree(params, start())
    assert float(state.hypers["lr"]) == 0.0
    after, state = tx.step(arrays(gradients(0)), state, params)
    assert float(state.hypers["lr"]) == 1.0 and not np.allclose(after["second"], params["second"])


def test_a_leaf_that_is_called_like_a_hyperparameter_can_have_a_group():
    params = {"lr": jnp.ones(1), "w": jnp.ones(1)}
    tx = adapt(optim.SGD)(1.0, groups={"[l]r": {"lr": 0.0}})
    new, state = tx.step(params, tx.init(params), params)
    assert (new["lr"], new["w"]) == (1, 0) and state.hypers == {"lr": 1, "[l]r": {"lr": 0}}


def test_one_trace_serves_all_values_of_what_is_adjustable():
    tx, traces = adam(1e-2, groups={"first.*": {"lr": 1e-3}}, adjustable=("lr", "beta1")), []

    @jax.jit
    def step(grads, state, params):
        traces.append(1)
        return tx.step(grads, state, params)

    state = tx.init(arrays(start()))
    params, state = run(step, state, 1)
    state = tx.adjusted(tx.adjusted(state, lr=0.0, beta1=0.5), "first.*", lr=0.0)
    assert float(state.hypers["beta1"]) == 0.5 and float(state.hypers["first.*"]["lr"]) == 0.0
    still, state = run(step, state, 1, params)
    agree(still, params, rtol=0)
    moved, _ = run(step, optax.tree.set(state, lr=jnp.float32(1.0)), 1, params)
    assert not np.allclose(moved["second"], params["second"]) and len(traces) == 1


def test_a_step_hands_on_the_very_arrays_of_what_is_adjustable():
    tx = adam(1e-2, adjustable=("lr", "beta1"), groups={"first.*": {"lr": 1e-3}})
    params = arrays(start())
    state = tx.init(params)
    _, after = tx.step(arrays(gradients(0)), state, params)
    assert jax.tree.structure(after.hypers) == jax.tree.structure(state.hypers)
    pairs = zip(jax.tree.leaves(after.hypers), jax.tree.leaves(state.hypers), strict=True)
    assert all(x is y for x, y in pairs)
    _, after = tx.step(arrays(gradients(0)), optax.tree.set(state, beta1=0.5), params)
    assert after.hypers["beta1"].dtype == jnp.float32 and float(after.hypers["beta1"]) == 0.5


def operations(function, *args):
    """How many operations of each kind are traced on whole leaves; all have the same shape."""
    shape, found = jax.tree.leaves(args[0])[0].shape, {}
    for line in jax.make_jaxpr(function)(*args).eqns:
        if line.outvars[0].aval.shape == shape:
            found[line.primitive.name] = found.get(line.primitive.name, 0) + 1
    return found


def test_no_more_is_traced_than_what_is_asked_for():
    tx = adapt(optim.SGD)(1e-2, momentum=0.9, dampening=0)  # u = 0.9*u + grad; param = param - 0.01*u
    params = [jnp.ones((3, 2))] * 5
    state = tx.init(params)
    assert operations(tx.step, params, state, params) == {"mul": 10, "add": 5, "sub": 5}
    assert operations(tx.update, params, state, params) == {"mul": 10, "add": 5, "neg": 5}


@pytest.mark.parametrize(
    ("kind", "act", "words"),
    [
        (ValueError, lambda tx, state: tx.adjusted(state, lr=-1), "lr must lie in [0, inf); got -1"),
        (ValueError, lambda tx, state: tx.adjusted(state, beta1=0.5), "beta1 is not adjustable here; make it one by"),
        (TypeError, lambda tx, state: tx.adjusted(state, gamma=1), "there is no hyperparameter 'gamma'"),
        (ValueError, lambda tx, state: tx.adjusted(state, "x*", lr=1), "there is no group 'x*'"),
        (TypeError, lambda tx, state: tx.adjusted(state, lr=lambda t: t), "lr must be a number"),
    ],
    ids=told,
)
def test_what_cannot_be_adjusted_is_refused_in_a_sentence(kind, act, words):
    tx = adam(1e-2)
    with pytest.raises(kind) as caught:
        act(tx, tx.init(arrays(start())))
    assert words in str(caught.value)


# What JAX does with functions ----------------------------------------------------------------------------------------


def test_it_can_be_mapped_over_many_models():
    tx = adam(1e-2)
    params = jax.tree.map(lambda x: jnp.stack([x, 2 * x]), arrays(start()))
    grads = jax.tree.map(lambda x: jnp.stack([x, x]), arrays(gradients(0)))
    new, _ = jax.vmap(tx.step)(grads, jax.vmap(tx.init)(params), params)
    one, _ = tx.step(arrays(gradients(0)), tx.init(arrays(start())), arrays(start()))
    agree(jax.tree.map(lambda x: x[0], new), one)


def test_the_number_of_models_does_not_change_what_a_norm_is():
    tx = adapt(optim.LAMB)(1e-2)
    params = jax.tree.map(lambda x: jnp.stack([x, 3 * x]), arrays(start()))
    grads = jax.tree.map(lambda x: jnp.stack([x, x]), arrays(gradients(0)))
    new, _ = jax.vmap(tx.step)(grads, jax.vmap(tx.init)(params), params)
    one, _ = tx.step(arrays(gradients(0)), tx.init(arrays(start())), arrays(start()))
    agree(jax.tree.map(lambda x: x[0], new), one)


def test_it_runs_in_scan_and_cond_and_with_donated_buffers():
    tx = adapt(optim.ScheduleFreeAdamW)(1e-2)
    params = arrays(start())
    wanted, _ = run(tx.step, tx.init(params), 3)
    stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *[arrays(gradients(number)) for number in range(3)])

    def body(carry, grads):
        params, state = carry
        return jax.lax.cond(True, lambda: tx.step(grads, state, params), lambda: (params, state)), None

    (scanned, _), _ = jax.lax.scan(body, (params, tx.init(params)), stacked)
    agree(scanned, wanted)
    donated, _ = run(jax.jit(tx.step, donate_argnums=(1, 2)), tx.init(params), 3, jax.tree.map(jnp.copy, params))
    agree(donated, wanted)


def test_it_can_be_differentiated_by_its_hyperparameters():
    params, grads = arrays(start()), arrays(gradients(0))

    @jax.checkpoint
    def loss(lr):
        tx = adapt(optim.SGD)(lr)
        return tx.step(grads, tx.init(params), params)[0]["second"].sum()

    assert np.isclose(jax.grad(loss)(0.1), -grads["second"].sum(), rtol=1e-5)


def test_the_shape_of_the_state_can_be_asked_for():
    tx = adam(1e-2)
    shapes = jax.eval_shape(tx.init, arrays(start()))
    state = tx.init(arrays(start()))
    assert jax.tree.map(lambda x: (x.shape, x.dtype), shapes) == jax.tree.map(lambda x: (x.shape, x.dtype), state)


# Bad input -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "act", "words"),
    [
        (ValueError, lambda: adam(-1), "adam: lr must lie in [0, inf); got -1"),
        (TypeError, lambda: adam("fast"), "adam: lr must be a number"),
        (TypeError, lambda: adam(1, 2, 3, 4, 5, 6, 7, 8), "adam: too many positional arguments; it is adam(lr, beta1"),
        (TypeError, lambda: adam(learning_rate=1), "adam: got an unexpected keyword argument 'learning_rate'"),
        (ValueError, lambda: adam(rounding="up"), "adam: rounding must be"),
        (ValueError, lambda: adam(state_dtype="int8"), "adam: state_dtype must be"),
        (ValueError, lambda: adam(decay_mode="l3"), "adam: decay must be one of"),
        (TypeError, lambda: adam(adjustable="lr"), "adam: adjustable must be a sequence of names"),
        (ValueError, lambda: adam(adjustable=("amsgrad",)), "amsgrad chooses a program"),
        (TypeError, lambda: adapt(optim.Optimizer), "adapt: Optimizer has no rule"),
        (TypeError, lambda: adapt(dict), "adapt: a rule must be a subclass of minima.optim.Optimizer"),
        (ValueError, lambda: adam(groups={"x*": {"lr": 1}}).init({"w": jnp.ones(1)}), "no parameter matches 'x*'"),
        (TypeError, lambda: adam(groups={"w": {"speed": 1}}), "there is no hyperparameter 'speed'"),
        (ValueError, lambda: adam(groups={"lr": {"wd": 1}}), "'lr' is what the state calls a hyperparameter"),
        (
            ValueError,
            lambda: adam().init({"a": {"b": jnp.ones(1)}, "a.b": jnp.ones(1)}),
            "two leaves of params are",
        ),
    ],
    ids=told,
)
def test_what_a_factory_cannot_use_is_refused_in_a_sentence(kind, act, words):
    with pytest.raises(kind) as caught:
        act()
    assert words in str(caught.value)


def test_arguments_in_the_wrong_order_are_noticed():
    tx, params, grads = adam(1e-2), arrays(start()), arrays(gradients(0))
    with pytest.raises(TypeError, match="state must be what init, or the last step, gave; got <class 'dict'>"):
        tx.step(params, grads, tx.init(params))


def test_what_does_not_fit_is_named():
    tx, params = adam(1e-2), {"w": jnp.ones(3), "b": jnp.ones(2)}
    state = tx.init(params)
    with pytest.raises(ValueError, match=r"the gradient of 'w' must have the shape \(3,\); got \(4,\)"):
        tx.step({"w": jnp.ones(4), "b": jnp.ones(2)}, state, params)
    with pytest.raises(ValueError, match="grads must have the structure of params"):
        tx.step({"w": jnp.ones(3)}, state, params)


def test_groups_must_agree_on_what_all_leaves_share():
    tx = adapt(optim.Adam)(1e-2, max_norm=1.0, groups={"second": {"max_norm": 2.0}})
    with pytest.raises(ValueError, match="max_norm goes into what all parameters share, and must be the same"):
        tx.step(arrays(gradients(0)), tx.init(arrays(start())), arrays(start()))
