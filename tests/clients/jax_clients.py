"""What the tests inside the libraries around JAX share: data, settings for minima.jax and for Optax, comparisons."""

import jax.numpy as jnp
import numpy as np
import pytest

import jax
import minima.jax as mj
from clients import client

optax = client("optax")

INPUTS = jax.random.normal(jax.random.key(1), (32, 3))
TARGETS = jnp.sin(2 * INPUTS[:, 0]) + INPUTS[:, 1] * INPUTS[:, 2]


def matrices(params):
    """Which leaves are matrices, as a tree of truths."""
    return jax.tree.map(lambda x: x.ndim > 1, params)


def others(params):
    return jax.tree.map(lambda x: x.ndim <= 1, params)


def labels(params):
    return jax.tree.map(lambda x: "matrix" if x.ndim > 1 else "other", params)


def schedule():
    return optax.warmup_cosine_decay_schedule(0.0, 0.05, 3, 20)


MADE = {
    "sgd": lambda o: o.sgd(0.01, momentum=0.9, nesterov=True),
    "adamw": lambda o: o.adamw(schedule(), eps=1e-3, weight_decay=0.1, mask=matrices),
    "lion": lambda o: o.lion(0.01, weight_decay=0.1),
    "chain": lambda o: optax.chain(optax.clip_by_global_norm(0.5), o.adam(0.05, eps=1e-3), optax.scale(0.5)),
    "masked": lambda o: optax.chain(
        optax.masked(o.rmsprop(0.01, eps=1e-3), matrices), optax.masked(optax.set_to_zero(), others)
    ),
    "partition": lambda o: optax.partition({"matrix": o.adam(0.05, eps=1e-3), "other": o.sgd(0.02)}, labels),
    "MultiSteps": lambda o: optax.MultiSteps(o.adam(0.05, eps=1e-3), 2),
    "inject_hyperparams": lambda o: optax.inject_hyperparams(o.adamw, static_args=("b1", "b2", "eps"))(
        learning_rate=schedule(), eps=1e-3, weight_decay=0.1
    ),
}
"""Settings for what Optax and minima.jax both have; under this eps a gradient's last bits decide nothing."""

each_made = pytest.mark.parametrize("made", MADE.values(), ids=MADE)


def same_as_in_optax(run, made):
    """What `run(tx)` gives, a curve first of all, is the same with minima.jax and with Optax."""
    ours, theirs = run(made(mj)), run(made(optax))
    curve = np.asarray(theirs[0])
    assert curve.shape[0] > 4 and curve[-1] < 0.8 * curve[0], "a curve that stands still shows nothing"
    assert jax.tree.structure(ours) == jax.tree.structure(theirs)
    close(ours, theirs)


def arrays(tree):
    return [np.asarray(x) for x in jax.tree.leaves(tree) if isinstance(x, jax.Array)]


def close(here, there, rtol=1e-4, atol=1e-5):
    pairs = list(zip(jax.tree.leaves(here), jax.tree.leaves(there), strict=True))
    assert pairs
    for x, y in pairs:
        if isinstance(x, jax.Array | np.ndarray | float):
            np.testing.assert_allclose(np.asarray(x, "f"), np.asarray(y, "f"), rtol=rtol, atol=atol)


def share_of_the_way(start, reached, wanted):
    """How far a run has come, of the way from the start to where another one is; what it strayed does not count."""
    start, reached, wanted = (
        np.concatenate([x.ravel().astype("f") for x in arrays(tree)]) for tree in (start, reached, wanted)
    )
    way = wanted - start
    return float((reached - start) @ way / (way @ way))


def bits(tree):
    """The arrays of a tree, to be compared by ==."""
    return [(str(x.dtype), x.tolist()) for x in arrays(tree)]
