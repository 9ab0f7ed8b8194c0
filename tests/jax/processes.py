"""One of the processes that test_jax_sharding starts: it trains on its part of the data, and prints what came of it."""

import json
import sys

import numpy as np

import jax
from minima import optim
from minima.jax import adapt

RUNS = [(optim.AdamW, {"weight_decay": 0.1}), (optim.Prodigy, {"d0": 0.01})]
STEPS = 6


def problem():
    rng = np.random.default_rng(0)
    params = {"hidden": rng.normal(size=(4, 8)), "output": rng.normal(size=(8,)), "bias": np.zeros(())}
    inputs = rng.normal(size=(16, 4))
    return {name: x.astype("float32") for name, x in params.items()}, inputs.astype("float32")


def loss(params, inputs):
    hidden = jax.numpy.tanh(inputs @ params["hidden"])
    return jax.numpy.mean((hidden @ params["output"] + params["bias"] - inputs[:, 0]) ** 2)


def main(port, count, rank):
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{port}", count, rank)
    from jax.experimental.multihost_utils import process_allgather
    from jax.sharding import AxisType, NamedSharding, PartitionSpec

    mesh = jax.make_mesh((count,), ("data",), axis_types=(AxisType.Auto,))

    def spread(x, *spec):
        return jax.make_array_from_callback(x.shape, NamedSharding(mesh, PartitionSpec(*spec)), x.__getitem__)

    host, inputs = problem()
    batch = spread(inputs, "data")
    reached = []
    for cls, given in RUNS:
        tx = adapt(cls)(**given)
        specs = {"hidden": (None, "data"), "output": (), "bias": ()}
        params = {name: spread(x, *specs[name]) for name, x in host.items()}
        state = tx.init(params)

        @jax.jit
        def step(params, state, batch, tx=tx):
            value, grads = jax.value_and_grad(loss)(params, batch)
            return value, *tx.step(grads, state, params)

        for number in range(STEPS):
            if number == STEPS // 2:  # a run that was saved goes on
                state = tx.from_state_dict(tx.state_dict(state, params), params)
            value, params, state = step(params, state, batch)
        assert not params["hidden"].is_fully_addressable and not state.slots["exp_avg"]["hidden"].is_fully_addressable
        found = {name: process_allgather(x, tiled=True).tolist() for name, x in params.items()}
        reached.append([float(value), found])
    print(json.dumps(reached))


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
