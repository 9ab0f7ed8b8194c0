"""Optax's wrappers do with a transformation of minima what they do with Optax's own, to the last bits of float64."""

import jax.numpy as jnp
import numpy as np
import pytest
from trees import arrays, gradients, start

import jax
import minima.jax as mj
from minima import Tensor, optim
from minima.jax import adapt

optax = pytest.importorskip("optax")
contrib = pytest.importorskip("optax.contrib")

BASES = {
    "sgd": lambda made: made.sgd(0.02),
    "momentum": lambda made: made.sgd(0.02, momentum=0.9, nesterov=True),
    "adamw": lambda made: made.adamw(0.02, weight_decay=0.1),
    "rmsprop": lambda made: made.rmsprop(0.02),
    "lion": lambda made: made.lion(1e-3),
}


def sam(made, tx, **settings):
    return contrib.sam(tx, optax.chain(contrib.normalize(), made.sgd(0.1)), **settings)


AROUND = {
    "sam": lambda made, tx: sam(made, tx),
    "sam, three steps": lambda made, tx: sam(made, tx, sync_period=3, reset_state=False),
    "schedule_free": lambda made, tx: contrib.schedule_free(tx, 0.02, b1=0.8),
    "schedule_free, warmed up": lambda made, tx: contrib.schedule_free(tx, optax.linear_schedule(0.01, 0.02, 5)),
}


def walked(tx, count=12):
    """The parameters behind every step, in float64, and the state behind the last."""
    with jax.enable_x64(True):
        params = arrays(start("float64"))
        state, found = tx.init(params), []

        @jax.jit
        def step(grads, state, params):
            updates, state = optax.with_extra_args_support(tx).update(grads, state, params)
            return optax.apply_updates(params, updates), state

        for number in range(count):
            params, state = step(arrays(gradients(number, "float64")), state, params)
            found.append(params)
    return found, state


def equal(here, there, rtol=1e-12):
    pairs = zip(map(np.asarray, jax.tree.leaves(here)), map(np.asarray, jax.tree.leaves(there)), strict=True)
    for x, y in pairs:
        assert x.dtype == y.dtype == np.float64
        assert np.abs(x - y).max() <= rtol * np.abs(y).max()


@pytest.mark.parametrize("base", BASES)
@pytest.mark.parametrize("around", AROUND)
def test_around_ours_it_takes_the_steps_that_it_takes_around_optax_s(around, base):
    found, _ = walked(AROUND[around](mj, BASES[base](mj)))
    wanted, _ = walked(AROUND[around](optax, BASES[base](optax)))
    equal(found, wanted)


def test_sam_that_hides_its_first_step_takes_ours_inside():
    found = {}
    with jax.enable_x64(True):
        for made in (mj, optax):
            params = arrays(start("float64"))
            tx = sam(made, made.adamw(0.02), opaque_mode=True)
            state = tx.init(params)
            grad = jax.grad(lambda params: sum(jnp.sum(jnp.cosh(leaf)) for leaf in jax.tree.leaves(params)))
            for _ in range(5):
                updates, state = tx.update(grad(params), state, params, grad_fn=lambda at, _, grad=grad: grad(at))
                params = optax.apply_updates(params, updates)
            found[made] = params
    equal(found[mj], found[optax])


def test_weights_to_evaluate_are_optax_s_around_sgd_and_those_of_our_own_schedule_free_sgd():
    wrapped, state = walked(contrib.schedule_free(mj.sgd(0.02), 0.02, b1=0.8))
    tx = mj.schedule_free_sgd(0.02, b1=0.8)
    found, own = walked(tx)
    with jax.enable_x64(True):
        weights = contrib.schedule_free_eval_params(state, wrapped[-1])
        equal(found, wrapped)
        equal(tx.averaged(own, found[-1]), weights)


@pytest.mark.parametrize(("rule", "base"), [(optim.SGD, "sgd"), (optim.AdamW, "adamw")], ids=["sgd", "adamw"])
def test_lookahead_around_ours_is_that_of_minima_optim(rule, base):
    settings = {"sgd": {"lr": 0.02}, "adamw": {"lr": 0.02, "weight_decay": 0.1}}[base]
    tensors = [Tensor(leaf, dtype="float64", requires_grad=True) for leaf in jax.tree.leaves(start("float64"))]
    reference = optim.Lookahead(rule(tensors, **settings), k=3, alpha=0.4)
    tx = optax.lookahead(adapt(rule)(**settings), 3, 0.4)
    with jax.enable_x64(True):
        params = optax.LookaheadParams.init_synced(arrays(start("float64")))
        state = tx.init(params)
        for number in range(10):
            grads = gradients(number, "float64")
            for tensor, grad in zip(tensors, jax.tree.leaves(grads), strict=True):
                tensor.grad = Tensor(grad, dtype="float64")
            reference.step()
            updates, state = tx.update(arrays(grads), state, params)
            params = optax.apply_updates(params, updates)
            equal(params.fast, [tensor.detach().numpy() for tensor in tensors])
    equal(params.slow, [slow.detach().numpy() for slow in reference.slow])
