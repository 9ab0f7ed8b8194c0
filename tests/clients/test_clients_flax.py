"""In Flax: in a TrainState of Linen, and in an Optimizer of NNX."""

import jax.numpy as jnp
import pytest

import jax
from clients import client

flax = client("flax")
linen = client("flax.linen")
nnx = client("flax.nnx")
train_state = client("flax.training.train_state")
client("optax")
from jax_clients import INPUTS, TARGETS, close, each_made, optax, same_as_in_optax, share_of_the_way  # noqa: E402

import minima.jax as mj  # noqa: E402 - a library that is missing skips the file first
from minima import optim  # noqa: E402

NAMES = ["hidden.bias", "hidden.kernel", "norm.bias", "norm.scale", "output.bias", "output.kernel"]


class Linen(linen.Module):
    is_boxed: bool = False

    def setup(self):
        kernels = linen.initializers.lecun_normal()
        kernels = linen.with_partitioning(kernels, (None, None)) if self.is_boxed else kernels
        self.hidden, self.output = (linen.Dense(size, kernel_init=kernels) for size in (8, 1))
        self.norm = linen.LayerNorm()

    def __call__(self, x):
        return self.output(self.norm(linen.tanh(self.hidden(x))))[:, 0]


def begun(tx, freeze=False, dtype=jnp.float32, **settings):
    network = Linen(**settings)
    params = jax.tree.map(lambda x: x.astype(dtype), network.init(jax.random.key(0), INPUTS)["params"])
    params = flax.core.freeze(params) if freeze else params
    return train_state.TrainState.create(apply_fn=network.apply, params=params, tx=tx)


@jax.jit
def trained_once(run):
    def loss(params):
        return jnp.mean((run.apply_fn({"params": params}, INPUTS) - TARGETS) ** 2)

    value, grads = jax.value_and_grad(loss)(run.params)
    return value, run.apply_gradients(grads=grads)


def trained(run, steps=20):
    curve = []
    for _ in range(steps):
        value, run = trained_once(run)
        curve.append(value)
    return jnp.stack(curve), run


@each_made
def test_a_train_state_trains_as_with_optax(made):
    def run(tx):
        curve, reached = trained(begun(tx))
        assert reached.step == 20
        return curve, reached.params

    same_as_in_optax(run, made)


@pytest.mark.parametrize("how", [{"freeze": True}, {"is_boxed": True}], ids=["frozen", "boxed"])
def test_parameters_may_be_frozen_or_in_boxes(how):
    tx = mj.adamw(0.05, weight_decay=0.1, groups={"*.bias": {"weight_decay": 0}, "output.kernel": {"lr": 0.01}})
    wanted, reached = trained(begun(tx))
    curve, other = trained(begun(tx, **how))
    close((curve, jax.tree.leaves(other.params)), (wanted, jax.tree.leaves(reached.params)))
    for each in (reached, other):
        assert sorted(tx.state_dict(each.opt_state, each.params)["state"]) == NAMES


def test_states_move_between_boxed_and_bare_parameters():
    tx = mj.adamw(0.05)
    _, bare = trained(begun(tx), 5)
    boxed = begun(tx, is_boxed=True)
    state = tx.from_state_dict(tx.state_dict(bare.opt_state, bare.params), boxed.params)
    assert jax.tree.structure(state) == jax.tree.structure(boxed.opt_state)
    close(jax.tree.leaves(state), jax.tree.leaves(bare.opt_state), rtol=0, atol=0)


@pytest.mark.parametrize("rounding", ["stochastic", "master"])
def test_a_train_state_in_bfloat16_goes_the_way_of_float32(rounding):
    start = begun(mj.sgd(0)).params
    wanted = trained(begun(optax.sgd(2e-4)), 120)[1].params
    ours = trained(begun(mj.sgd(2e-4, rounding=rounding), dtype=jnp.bfloat16), 120)[1].params
    theirs = trained(begun(optax.sgd(2e-4), dtype=jnp.bfloat16), 120)[1].params
    assert abs(share_of_the_way(start, ours, wanted) - 1) < 0.1 and share_of_the_way(start, theirs, wanted) < 0.9


# NNX -----------------------------------------------------------------------------------------------------------------


class Model(nnx.Module):
    """Parameters, running statistics that are none, and a stream of random numbers."""

    def __init__(self, seed=0):
        rngs = nnx.Rngs(seed)
        self.hidden, self.output = nnx.Linear(3, 8, rngs=rngs), nnx.Linear(8, 1, rngs=rngs)
        self.norm, self.dropout = nnx.BatchNorm(8, rngs=rngs), nnx.Dropout(0.1, rngs=rngs)

    def __call__(self, x):
        return self.output(self.dropout(self.norm(nnx.tanh(self.hidden(x)))))[:, 0]


def fitted(tx, model=None, steps=20):
    model = Model() if model is None else model
    optimizer = nnx.Optimizer(model, tx, wrt=nnx.Param)

    @nnx.jit
    def step(model, optimizer):
        value, grads = nnx.value_and_grad(lambda model: jnp.mean((model(INPUTS) - TARGETS) ** 2))(model)
        optimizer.update(model, grads)
        return value

    curve = jnp.stack([step(model, optimizer) for _ in range(steps)])
    return curve, nnx.state(model, nnx.Param), optimizer


@each_made
def test_an_optimizer_of_nnx_trains_as_with_optax(made):
    def run(tx):
        curve, params, optimizer = fitted(tx)
        assert optimizer.step[...] == 20
        return curve, nnx.to_pure_dict(params)

    same_as_in_optax(run, made)


def test_groups_and_states_of_nnx_go_by_the_names_of_its_attributes():
    tx = mj.adamw(0.05, weight_decay=0.1, groups={"*.bias": {"learning_rate": 0.0}})
    _, params, optimizer = fitted(tx, steps=3)
    start = nnx.state(Model(), nnx.Param)
    assert (params["output"]["bias"][...] == start["output"]["bias"][...]).all()
    assert (params["output"]["kernel"][...] != start["output"]["kernel"][...]).any()
    state = nnx.pure(optimizer.opt_state)
    assert sorted(tx.state_dict(state, nnx.pure(params))["state"]) == NAMES
    assert sorted(tx.state_dict(tx.init(params), params)["state"]) == NAMES
    assert sorted(tx.state_dict(tx.init(Model()), Model())["state"])[:4] == [*NAMES[:2], "norm.bias", "norm.mean"]


@pytest.mark.parametrize(("cls", "given"), [(optim.Prodigy, {"d0": 1e-3}), (optim.Muon, {"lr": 0.02})], ids=str)
def test_rules_that_share_numbers_and_look_at_matrices_train_as_by_hand(cls, given):
    tx = mj.adapt(cls)(**given)
    graph, params, rest = nnx.split(Model(), nnx.Param, ...)

    @jax.jit
    def step(params, rest, state):
        def loss(params):
            model = nnx.merge(graph, params, rest, copy=True)
            return jnp.mean((model(INPUTS) - TARGETS) ** 2), nnx.state(model, nnx.Not(nnx.Param))

        (value, rest), grads = jax.value_and_grad(loss, has_aux=True)(params)
        return value, rest, *tx.step(grads, state, params)

    state, wanted = tx.init(params), []
    for _ in range(10):
        value, rest, params, state = step(params, rest, state)
        wanted.append(value)
    curve, reached, _ = fitted(tx, steps=10)
    assert len({*curve.tolist()}) == 10
    close((curve, nnx.to_pure_dict(reached)), (jnp.stack(wanted), nnx.to_pure_dict(params)))
