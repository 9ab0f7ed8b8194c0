"""In Equinox, whose models are trees with functions, numbers and None among their leaves."""

from collections.abc import Callable

import jax.numpy as jnp
import pytest

import jax
from clients import client

eqx = client("equinox")
client("optax")
from jax_clients import INPUTS, TARGETS, bits, close, each_made, optax, same_as_in_optax, share_of_the_way  # noqa: E402

import minima.jax as mj  # noqa: E402 - a library that is missing skips the file first
from minima import optim  # noqa: E402


class Network(eqx.Module):
    """Arrays of floating and of whole numbers, a function, a plain number, and None where there is no bias."""

    layers: list
    norm: eqx.nn.LayerNorm
    activation: Callable
    seen: jax.Array
    scale: float

    def __init__(self, seed=0):
        first, second = jax.random.split(jax.random.key(seed))
        self.layers = [eqx.nn.Linear(3, 8, key=first), eqx.nn.Linear(8, "scalar", key=second, use_bias=False)]
        self.norm = eqx.nn.LayerNorm(8)
        self.activation = jax.nn.tanh
        self.seen = jnp.arange(3)
        self.scale = 2.0

    def __call__(self, x):
        return self.scale * self.layers[1](self.norm(self.activation(self.layers[0](x))))


def loss(model, inputs=INPUTS, targets=TARGETS):
    return jnp.mean((jax.vmap(model)(inputs) - targets) ** 2)


def floating(model):
    return eqx.filter(model, eqx.is_inexact_array)


def trained(tx, model, steps=20):
    """As Equinox's own pages have it: the curve, and the model."""

    @eqx.filter_jit
    def step(model, state):
        value, grads = eqx.filter_value_and_grad(loss)(model)
        updates, state = tx.update(grads, state, floating(model))
        return value, eqx.apply_updates(model, updates), state

    state, curve = tx.init(floating(model)), []
    for _ in range(steps):
        value, model, state = step(model, state)
        curve.append(value)
    return jnp.stack(curve), model, state


@each_made
def test_a_model_trains_as_with_optax(made):
    def run(tx):
        curve, model, _ = trained(tx, Network())
        assert model.seen.tolist() == [0, 1, 2] and model.scale == 2.0 and model.layers[1].bias is None
        return curve, floating(model)

    same_as_in_optax(run, made)


def test_a_model_may_be_given_whole():
    """A number that has no gradient stays the number that it is: else Equinox would train it from then on."""
    tx = mj.adamw(0.05, weight_decay=0.1, ema_decay=0.9)
    wanted, _, _ = trained(tx, Network())
    model, curve = Network(), []
    state = tx.init(model)

    @eqx.filter_jit
    def step(model, state):
        value, grads = eqx.filter_value_and_grad(loss)(model)
        updates, state = tx.update(grads, state, model)
        return value, eqx.apply_updates(model, updates), state

    for _ in range(20):
        value, model, state = step(model, state)
        curve.append(value)
        assert model.scale == 2.0 and isinstance(model.scale, float)
    close(jnp.stack(curve), wanted)
    averaged = tx.averaged(state, model)
    assert averaged.scale == 2.0 and loss(averaged) < wanted[0]


def test_step_takes_the_model_itself_and_what_is_donated():
    tx = mj.adamw(0.05, weight_decay=0.1)
    wanted, reached, _ = trained(tx, Network())
    model = Network()
    state = tx.init(model)

    @eqx.filter_jit(donate="all-except-first")
    def step(data, model, state):
        value, grads = eqx.filter_value_and_grad(loss)(model, *data)
        model, state = tx.step(grads, state, model)
        return value, model, state

    curve, before = [], model.layers[0].weight
    for _ in range(20):
        value, model, state = step((INPUTS, TARGETS), model, state)
        curve.append(value)
    assert before.is_deleted() and int(state.t) == 20
    close((jnp.stack(curve), floating(model)), (wanted, floating(reached)))


def test_groups_and_states_go_by_the_paths_of_the_model():
    tx = mj.adamw(0.05, weight_decay=0.1, groups={"layers.*.weight": {"learning_rate": 0.0}})
    _, model, state = trained(tx, Network(), 3)
    start = Network()
    assert (model.layers[0].weight == start.layers[0].weight).all() and (model.norm.bias != start.norm.bias).any()
    names = ["layers.0.weight", "layers.0.bias", "layers.1.weight", "norm.weight", "norm.bias"]
    assert list(tx.state_dict(state, floating(model))["state"]) == names


def test_models_that_are_mapped_over_train_as_each_alone():
    tx = mj.adamw(0.05, max_norm=0.5)  # a norm of each model, not of all
    alone = [trained(tx, Network(seed), 10)[1] for seed in range(3)]
    models = eqx.filter_vmap(Network)(jnp.arange(3))
    state = eqx.filter_vmap(tx.init)(floating(models))

    @eqx.filter_jit
    @eqx.filter_vmap
    def step(model, state):
        params, rest = eqx.partition(model, eqx.is_inexact_array)
        params, state = tx.step(eqx.filter_grad(loss)(model), state, params)
        return eqx.combine(params, rest), state

    for _ in range(10):
        models, state = step(models, state)
    assert state.t.tolist() == [10, 10, 10]
    close(floating(models), jax.tree.map(lambda *xs: jnp.stack(xs), *map(floating, alone)))


def test_a_scan_over_steps_is_the_loop():
    tx = mj.adamw(optax.linear_schedule(0.05, 0.0, 20), weight_decay=0.1)
    wanted, _, _ = trained(tx, Network())
    params, static = eqx.partition(Network(), eqx.is_inexact_array)

    @jax.jit
    def scanned(params, state):
        def body(carry, _):
            params, state = carry
            value, grads = jax.value_and_grad(lambda p: loss(eqx.combine(p, static)))(params)
            return tx.step(grads, state, params), value

        return jax.lax.scan(body, (params, state), None, length=20)[1]

    close(scanned(params, tx.init(params)), wanted)


def narrow(model, dtype=jnp.bfloat16):
    return jax.tree.map(lambda x: x.astype(dtype) if eqx.is_inexact_array(x) else x, model)


@pytest.mark.parametrize("rounding", ["stochastic", "master"])
def test_a_model_in_bfloat16_goes_the_way_of_float32(rounding):
    start, wanted = Network(), trained(optax.sgd(2e-4), Network(), 120)[1]
    ours = trained(mj.sgd(2e-4, rounding=rounding), narrow(start), 120)[1]
    theirs = trained(optax.sgd(2e-4), narrow(start), 120)[1]
    assert abs(share_of_the_way(start, ours, wanted) - 1) < 0.1 and share_of_the_way(start, theirs, wanted) < 0.9


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["float32", "bfloat16"])
def test_a_run_that_was_serialised_goes_on_to_the_bit(dtype, tmp_path):
    tx = mj.adapt(optim.Prodigy)(groups={"*.bias": {"weight_decay": 0.1}})
    start = narrow(Network(), dtype)

    @eqx.filter_jit
    def step(model, state):
        return tx.step(eqx.filter_grad(loss)(model), state, model)

    model, state = start, tx.init(start)
    for _ in range(5):
        model, state = step(model, state)
    eqx.tree_serialise_leaves(tmp_path / "run.eqx", (model, state))
    blank = eqx.filter_eval_shape(lambda: (start, tx.init(start)))
    other, resumed = eqx.tree_deserialise_leaves(tmp_path / "run.eqx", blank)
    for _ in range(5):
        model, state = step(model, state)
        other, resumed = step(other, resumed)
    assert bits((model, state)) == bits((other, resumed))
    assert int(state.t) == 10
