"""Rules that ask for the step, for the loss, or for estimates, do in JAX what they do in the reference."""

import jax.numpy as jnp
import numpy as np
import pytest

import jax
from minima import Tensor, optim
from minima.jax import adapt
from minima.jax.xla import enable_x64
from minima.optim import Optimizer, hyper
from minima.optim.language.vocabulary import total

SHAPES = {"square": (6, 6), "other": (5, 5), "vector": (4,)}
STEPS = 24


def drawn(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {name: scale * rng.normal(size=shape) for name, shape in SHAPES.items()}


GRADS = [drawn([1, step]) for step in range(STEPS)]
LOSSES = np.abs(np.random.default_rng(2).normal(size=STEPS))


def reference(cls, count=STEPS, estimates=(), **given):
    """The parameters, and the optimizer, after some steps of the reference in float64."""
    params = {name: Tensor(x, dtype="float64", requires_grad=True) for name, x in drawn(0).items()}
    optimizer = cls(list(params.items()), engine="reference", **given)

    def load(values):
        for name, param in params.items():
            param.grad = Tensor(values[name], dtype="float64")

    for step in range(count):
        if step in estimates:
            load(drawn([3, step]))
            optimizer.update_estimate()
        load(GRADS[step])
        optimizer.step(loss=LOSSES[step])
    return {name: param.detach().numpy() for name, param in params.items()}, optimizer


def taken(tx, how, count=STEPS, estimates=(), **given):
    """The parameters, and the state, after some steps in JAX in float64."""
    with enable_x64(True):
        step, estimated = (how(f) for f in (tx.step, tx.estimated))
        params = jax.tree.map(jnp.asarray, drawn(0))
        state = tx.init(params)
        for number in range(count):
            if number in estimates:
                state = estimated(drawn([3, number]), state, params)
            given = {"loss": LOSSES[number]} if given else {}
            params, state = step(GRADS[number], state, params, **given)
    return params, state


def agree(here, there, rtol=1e-7):
    for name, x in there.items():
        np.testing.assert_allclose(here[name], x, rtol=rtol, atol=rtol)


def eager(function):
    return function


TURNS = [
    (optim.SOAP, {"interval": 3}),
    (optim.SOAP, {"interval": 1, "weight_decay": 0.1}),
    (optim.SOAP, {"interval": 4, "max_size": 5}),
    (optim.SOAP, {"interval": 3, "max_norm": 0.5}),
    (optim.Shampoo, {"interval": 3, "eps": 1e-2}),
    (optim.Shampoo, {"interval": 1, "eps": 1e-2, "max_size": 4}),
]


@pytest.mark.parametrize("how", [eager, jax.jit])
@pytest.mark.parametrize(("cls", "given"), TURNS, ids=str)
def test_programs_take_turns_as_those_of_the_reference_do(cls, given, how):
    count = STEPS if how is jax.jit else 5
    wanted, _ = reference(cls, count, **given)
    agree(taken(adapt(cls)(**given), how, count)[0], wanted)


def test_groups_may_take_turns_at_intervals_of_their_own():
    given = {"interval": 3, "groups": {"other": {"interval": 5}}}
    wanted, _ = reference(optim.SOAP, **given)
    agree(taken(adapt(optim.SOAP)(**given), jax.jit)[0], wanted)


class Seldom(Optimizer):
    """Moves in the first step, and in every third after it."""

    lr: float = hyper(default=1.0, low=0)
    interval: float = hyper(default=3, low=1)

    @staticmethod
    def update(param, grad, *, lr, interval, t, first):
        if first or t % interval == 0:
            param = param - lr * grad
        return param


def moves(tx, count=9):
    """In which steps parameters move, under jit with one trace."""
    traces, params = [], jnp.zeros(2)
    state, found = tx.init(params), []

    @jax.jit
    def step(state, params):
        traces.append(1)
        return tx.step(jnp.ones(2), state, params)

    for t in range(1, count + 1):
        new, state = step(state, params)
        found += [t] if (new != params).all() else []
        params = new
    assert len(traces) == 1
    return found


def test_one_compiled_step_serves_all_steps():
    assert moves(adapt(Seldom)()) == [1, 3, 6, 9]


def test_an_interval_that_stands_in_the_state_is_read_there():
    tx = adapt(Seldom)(adjustable=("lr", "interval"))
    assert moves(tx) == [1, 3, 6, 9]
    params = jnp.zeros(2)
    state = tx.adjusted(tx.init(params), interval=2)._replace(t=jnp.asarray(3, jnp.int32))
    assert jax.jit(tx.step)(jnp.ones(2), state, params)[0].tolist() == [-1, -1]


def test_updates_of_programs_that_take_turns_are_their_steps():
    tx, params = adapt(Seldom)(), jnp.ones(2)
    state = tx.init(params)._replace(t=jnp.asarray(1, jnp.int32))
    for update in (tx.update, jax.jit(tx.update)):
        updates, after = update(jnp.ones(2), state, params)
        assert updates.tolist() == [0, 0] and update(jnp.ones(2), after, params)[0].tolist() == [-1, -1]


def test_models_that_are_mapped_over_may_be_at_different_steps():
    tx, params = adapt(Seldom)(), jnp.zeros((3, 2))
    state = jax.vmap(tx.init)(params)._replace(t=jnp.asarray([0, 1, 2], jnp.int32))
    new, _ = jax.vmap(tx.step)(jnp.ones((3, 2)), state, params)
    assert new.tolist() == [[-1, -1], [0, 0], [-1, -1]]


def test_turns_are_taken_within_a_scan_too():
    tx, params = adapt(Seldom)(), jnp.zeros(2)

    def body(carry, _):
        params, state = carry
        return tx.step(jnp.ones(2), state, params), params[0]

    (last, _), seen = jax.lax.scan(body, (params, tx.init(params)), None, length=6)
    assert seen.tolist() == [0, -1, -1, -2, -2, -2] and last[0] == -3


def test_what_is_asked_of_the_shape_cannot_be_answered_by_a_traced_number():
    params = jnp.ones((3, 3))

    @jax.jit
    def init(size):
        return adapt(optim.SOAP)(max_size=size).init(params)

    with pytest.raises(ValueError, match="chooses a program, and must be known while JAX traces"):
        init(2.0)


# The loss ------------------------------------------------------------------------------------------------------------

LOOKING = [
    (optim.PolyakSGD, {"bound": 0.1}),
    (optim.PolyakSGD, {"maximize": True, "positive": True}),
    (optim.MoMo, {"weight_decay": 0.1}),
    (optim.MoMoAdam, {}),
    (optim.MoMoAdam, {"maximize": True}),
]


@pytest.mark.parametrize("how", [eager, jax.jit])
@pytest.mark.parametrize(("cls", "given"), LOOKING, ids=str)
def test_rules_that_look_at_the_loss_are_those_of_the_reference(cls, given, how):
    wanted, _ = reference(cls, **given)
    agree(taken(adapt(cls)(**given), how, loss=True)[0], wanted, rtol=1e-12)


def test_a_loss_that_is_missing_is_asked_for_and_others_are_ignored():
    tx, w = adapt(optim.PolyakSGD)(), jnp.ones(2)
    with pytest.raises(TypeError, match=r"needs the loss of this step; call step\(grads, state, params, loss=loss\)"):
        tx.step(w, tx.init(w), w)
    with pytest.raises(TypeError, match=r"needs the loss of this step; call update\(grads, state, params, value=loss"):
        jax.jit(tx.update)(w, tx.init(w), w)
    with pytest.raises(TypeError, match="loss must be a number"):
        tx.step(w, tx.init(w), w, loss=w)
    sgd = adapt(optim.SGD)(0.1)
    assert (sgd.update(w, sgd.init(w), w, value=3.0)[0] == sgd.update(w, sgd.init(w), w)[0]).all()


def test_only_the_variant_that_reads_the_loss_asks_for_it():
    class Perhaps(Optimizer):
        looks: bool = hyper(default=False)

        @staticmethod
        def update(param, grad, *, looks, loss):
            return param - loss * grad / total(grad) if looks else param - grad

    w = jnp.ones(2)
    tx = adapt(Perhaps)()
    assert tx.step(w, tx.init(w), w)[0].tolist() == [0, 0]
    with pytest.raises(TypeError, match="needs the loss"):
        adapt(Perhaps)(looks=True).step(w, tx.init(w), w)


# Estimates, and weights that are lent --------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{}, {"estimator": "hutchinson", "rho": 0.1}, {"batch_size": 8.0}], ids=str)
def test_estimates_do_what_they_do_in_the_reference(given):
    wanted, optimizer = reference(optim.SophiaG, estimates=(0, 5, 10), **given)
    params, state = taken(adapt(optim.SophiaG)(**given), jax.jit, estimates=(0, 5, 10))
    agree(params, wanted, rtol=1e-12)
    agree(state.slots["hessian"], dict(zip(SHAPES, (x.detach().numpy() for x in optimizer.hessian), strict=True)))


def test_an_estimate_counts_no_step_and_leaves_all_else_alone():
    tx, w = adapt(optim.SophiaG)(), {"a": jnp.ones(2), "b": jnp.ones(2)}
    _, state = tx.step(w, tx.init(w), w)
    after = tx.estimated({"a": jnp.ones(2), "b": None}, state, w)
    assert after.t == state.t and (after.slots["exp_avg"]["a"] == state.slots["exp_avg"]["a"]).all()
    assert after.slots["hessian"]["a"].all() and not after.slots["hessian"]["b"].any()


def test_rules_without_estimates_say_so():
    tx, w = adapt(optim.SGD)(0.1), jnp.ones(2)
    with pytest.raises(TypeError, match="the rule takes no estimates"):
        tx.estimated(w, tx.init(w), w)


def test_weights_to_lend_are_those_of_the_reference():
    _, optimizer = reference(optim.ASGD, t0=3)
    tx = adapt(optim.ASGD)(t0=3)
    params, state = taken(tx, jax.jit)
    with optimizer.averaged(), enable_x64(True):
        there = {name: param.detach().numpy().copy() for name, param in zip(SHAPES, optimizer.params, strict=True)}
        agree(tx.averaged(state, params), there, rtol=1e-12)
