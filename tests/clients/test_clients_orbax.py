"""In checkpoints of Orbax: what was saved goes on to the bit, on the devices that it was on."""

import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, PartitionSpec

import jax
from clients import client

checkpoint = client("orbax.checkpoint")
client("optax")
from jax_clients import INPUTS, TARGETS, bits, optax  # noqa: E402

import minima.jax as mj  # noqa: E402 - a library that is missing skips the file first
from minima import optim  # noqa: E402

RUNS = {
    "groups": (mj.adamw(0.02, groups={"bias": {"weight_decay": 0, "learning_rate": 0.1}}, ema_decay=0.9), jnp.float32),
    "schedule": (mj.adamw(optax.linear_schedule(0.02, 0.0, 20)), jnp.float32),
    "stochastic": (mj.lion(1e-3), jnp.bfloat16),
    "master": (mj.adamw(0.02, rounding="master", state_dtype="bfloat16"), jnp.bfloat16),
    "shared": (mj.adapt(optim.Prodigy)(d0=0.01), jnp.float32),
    "rows": (mj.adapt(optim.Adafactor)(), jnp.float32),
    "chain": (optax.chain(optax.clip_by_global_norm(0.5), mj.adamw(0.02)), jnp.float32),
    "partition": (
        optax.partition({"a": mj.adamw(0.02), "b": mj.sgd(0.1, momentum=0.9)}, {"weight": "a", "bias": "b"}),
        jnp.float32,
    ),
    "inject": (optax.inject_hyperparams(mj.adamw)(learning_rate=0.02), jnp.float32),
}


def start(dtype, mesh=None):
    params = {"weight": jax.random.normal(jax.random.key(0), (3, 8)).astype(dtype), "bias": jnp.zeros(8, dtype)}
    if mesh is None:
        return params
    specs = {"weight": PartitionSpec(None, "model"), "bias": PartitionSpec()}
    return {name: jax.device_put(x, NamedSharding(mesh, specs[name])) for name, x in params.items()}


def stepping(tx):
    @jax.jit
    def step(params, state):
        def loss(params):
            return jnp.mean(((INPUTS @ params["weight"] + params["bias"]).sum(axis=1) - TARGETS) ** 2)

        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return optax.apply_updates(params, updates), state

    return step


def goes_on(tx, params, folder):
    """Train, save, train on; and train on from what was restored."""
    step, run = stepping(tx), (params, jax.jit(tx.init)(params))
    for _ in range(3):
        run = step(*run)
    with checkpoint.StandardCheckpointer() as file:
        file.save(folder / "run", run)
        file.wait_until_finished()
        blank = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=x.sharding), run)
        restored = file.restore(folder / "run", blank)
    assert jax.tree.structure(restored) == jax.tree.structure(run)
    assert [x.sharding for x in jax.tree.leaves(restored)] == [x.sharding for x in jax.tree.leaves(run)]
    for _ in range(3):
        run, restored = step(*run), step(*restored)
    assert bits(run) == bits(restored) != bits((params, jax.jit(tx.init)(params)))


@pytest.mark.parametrize(("tx", "dtype"), RUNS.values(), ids=RUNS)
def test_a_run_that_was_saved_goes_on_to_the_bit(tx, dtype, tmp_path):
    goes_on(tx, start(dtype), tmp_path)


def test_a_sharded_run_is_restored_where_it_was(tmp_path):
    if jax.device_count() < 2:
        pytest.skip("one device only")
    params = start(jnp.bfloat16, jax.make_mesh((2,), ("model",)))
    assert not params["weight"].is_fully_replicated
    goes_on(RUNS["master"][0], params, tmp_path)


def test_shapes_that_were_asked_for_are_those_of_the_state():
    tx, dtype = RUNS["master"]
    params = start(dtype)
    asked = jax.eval_shape(tx.init, params)
    assert jax.tree.map(lambda x: (x.shape, x.dtype), asked) == jax.tree.map(
        lambda x: (x.shape, x.dtype), tx.init(params)
    )
