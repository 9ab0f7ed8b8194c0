"""The gradient at the worst point nearby is that of minima.optim.SAM, and of the papers' equations."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest

import jax
import minima.jax as mj
from minima import Tensor, optim
from minima.jax import adapt, sharpness_aware

STARTS = [np.array([[1.0, -2.0, 0.5], [0.3, 0.0, -1.5]]), np.array([0.7, -0.2]), np.array(1.3)]
TARGETS = [np.array([[0.5, 1.0, -1.0], [2.0, 0.1, 0.4]]), np.array([-0.3, 0.9]), np.array(-0.6)]


def loss(params, targets=TARGETS):
    """Steep in one place, flat in another, and of all parameters together; with operators that all arrays have."""
    apart = sum(((param - target) ** 4).sum() for param, target in zip(params, targets, strict=True))
    return apart + 0.3 * sum(param.sum() for param in params) ** 2


def walked(tx, steps, **settings):
    """The parameters behind some steps, in float64."""
    with jax.enable_x64(True):
        value_and_grad = sharpness_aware(loss, **settings)
        params = [jnp.asarray(start) for start in STARTS]
        state = tx.init(params)

        @jax.jit
        def step(params, state):
            value, grads = value_and_grad(params)
            updates, state = tx.update(grads, state, params)
            return [param + update for param, update in zip(params, updates, strict=True)], state, value

        values = []
        for _ in range(steps):
            params, state, value = step(params, state)
            values.append(float(value))
    return [np.asarray(param) for param in params], values


def reference(rule, steps, settings, **given):
    """The same by minima.optim."""
    params = [Tensor(start, dtype="float64", requires_grad=True) for start in STARTS]
    optimizer = optim.SAM(rule(params, **given), **settings)
    targets = [Tensor(target, dtype="float64") for target in TARGETS]

    def closure():
        optimizer.zero_grad()
        value = loss(params, targets)
        value.backward()
        return value

    values = [optimizer.step(closure).item() for _ in range(steps)]
    return [param.detach().numpy() for param in params], values


RULES = {
    "SGD": (optim.SGD, {"lr": 0.005, "momentum": 0.9}),
    "AdamW": (optim.AdamW, {"lr": 0.05, "weight_decay": 0.1}),
    "clipped": (optim.RMSProp, {"lr": 0.01, "max_norm": 1.0}),
    "up": (optim.SGD, {"lr": 1e-4, "maximize": True}),
}


@pytest.mark.parametrize("settings", [{}, {"rho": 0.3}, {"rho": 0.5, "adaptive": True, "eta": 0.1}], ids=str)
@pytest.mark.parametrize("name", RULES)
def test_its_steps_are_those_of_the_loop_around_tensors(name, settings):
    rule, given = RULES[name]
    wanted, losses = reference(rule, 20, settings, **given)
    own = {"maximize": True} if "maximize" in given else {}
    found, values = walked(adapt(rule)(**given), 20, **settings, **own)
    np.testing.assert_allclose(values, losses, rtol=1e-12)
    for here, there in zip(found, wanted, strict=True):
        assert np.abs(here - there).max() <= 1e-12 * np.abs(there).max()


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_gradient_is_that_of_the_papers(adaptive):
    start, target, rho, eta = np.array([2.0, -1.0, 0.25]), np.array([0.0, 1.0, 4.0]), 0.4, 0.05
    grad = 4 * (start - target) ** 3
    scale = np.abs(start) + eta if adaptive else np.ones(3)
    there = start + rho * scale**2 * grad / np.sqrt(np.sum((scale * grad) ** 2))
    with jax.enable_x64(True):
        both = sharpness_aware(lambda w: jnp.sum((w - target) ** 4), rho, adaptive, eta)
        value, found = both(jnp.asarray(start))
    assert float(value) == np.sum((start - target) ** 4)
    np.testing.assert_allclose(found, 4 * (there - target) ** 3, rtol=1e-11)


def test_optax_s_own_around_the_same_steps_takes_them_too():
    optax, contrib = pytest.importorskip("optax"), pytest.importorskip("optax.contrib")
    found, _ = walked(optax.adamw(0.05), 10, rho=0.2)
    tx = contrib.sam(optax.adamw(0.05), optax.chain(contrib.normalize(), optax.sgd(0.2)), opaque_mode=True)
    with jax.enable_x64(True):
        params, grad = [jnp.asarray(start) for start in STARTS], jax.grad(loss)
        state = tx.init(params)
        for _ in range(10):
            updates, state = tx.update(grad(params), state, params, grad_fn=lambda at, _: grad(at))
            params = optax.apply_updates(params, updates)
    for here, there in zip(found, params, strict=True):
        np.testing.assert_allclose(here, there, rtol=1e-11)


# As JAX has gradients ------------------------------------------------------------------------------------------------


def test_several_arguments_are_perturbed_by_one_norm_and_the_others_are_passed_on():
    def of_three(scale, first, others, *, power):
        return scale * loss([first, *others]) ** power

    first, *others = map(jnp.asarray, STARTS)
    value, (grad, grads) = sharpness_aware(of_three, 0.3, argnums=(1, 2))(2.0, first, others, power=1)
    one, all_of_them = sharpness_aware(lambda params: 2.0 * loss(params), 0.3)([first, *others])
    assert value == one
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), [grad, *grads], all_of_them)


def test_what_comes_with_the_loss_is_of_the_parameters_and_not_of_the_worst_point():
    w = jnp.array([3.0, 4.0])
    (value, at), grad = sharpness_aware(lambda w: (jnp.sum(w * w), w), 0.5, has_aux=True)(w)
    assert value == 25.0 and (at == w).all()
    np.testing.assert_allclose(grad, [6.6, 8.8], rtol=1e-6)


def test_every_model_of_a_map_has_a_worst_point_of_its_own_and_scan_and_traced_sizes_are_fine():
    w, rates = jnp.array([[3.0, 4.0], [30.0, 40.0]]), jnp.array([0.5, 5.0])
    _, grads = jax.jit(jax.vmap(lambda w, rho: sharpness_aware(lambda w: jnp.sum(w * w), rho)(w)))(w, rates)
    np.testing.assert_allclose(grads, [[6.6, 8.8], [66.0, 88.0]], rtol=1e-6)

    def body(w, _):
        value, grad = sharpness_aware(lambda w: jnp.sum(w * w), 0.5)(w)
        return w - 0.25 * grad, value

    _, values = jax.lax.scan(body, jnp.array([3.0, 4.0]), None, 2)
    np.testing.assert_allclose(values, [25.0, 2.25**2], rtol=1e-6)  # |w| becomes |w|/2 - 0.25


def test_under_an_axis_gradients_are_of_all_parts_or_each_part_has_a_worst_point_of_its_own():
    w, x = jnp.array([1.0, -2.0]), jnp.array([[1.0, 2.0], [-3.0, 0.5], [0.2, 0.1], [2.0, 2.0]])

    def of_part(w, x):
        return jnp.mean((x @ w - 1) ** 4)

    whole = sharpness_aware(of_part, 0.3)(w, x)
    mapped = jax.vmap(sharpness_aware(of_part, 0.3, axis_name="parts"), (None, 0), axis_name="parts")(w, x[:, None])
    jax.tree.map(lambda x, y: np.testing.assert_allclose(x, np.stack([y] * 4), rtol=1e-5), mapped, whole)
    _, apart = jax.vmap(sharpness_aware(of_part, 0.3), (None, 0), axis_name="parts")(w, x[:, None])
    assert not np.allclose(apart.mean(0), whole[1], rtol=1e-3)


def test_complex_parameters_go_up():
    z = jnp.array([3 + 4j, 1 - 2j])

    def size(z):
        return jnp.sum(jnp.abs(z - 1j) ** 2)

    value, grad = sharpness_aware(size, 0.5)(z)
    assert value == size(z)
    n = jnp.sqrt(size(z))
    np.testing.assert_allclose(grad, jnp.conj(2 * (z - 1j) * (1 + 0.5 / n)), rtol=1e-6)


# Where numbers end ---------------------------------------------------------------------------------------------------


def test_where_a_gradient_is_not_finite_nothing_is_perturbed():
    w = [jnp.array([0.0, 4.0]), jnp.array([1.0])]
    _, grads = sharpness_aware(lambda w: jnp.sum(jnp.log(w[0])) + jnp.sum(w[1] ** 2), 0.5)(w)
    assert np.isinf(grads[0][0]) and grads[0][1] == 0.25 and grads[1] == 2.0


@pytest.mark.parametrize("how", ["eager", "jit"])
def test_parameters_in_bfloat16_are_perturbed_in_the_mean(how):
    w = jnp.ones(4096, jnp.bfloat16)
    both = sharpness_aware(lambda w: jnp.sum(w.astype(jnp.float32) ** 2), rho=64 * 1e-3)  # 1e-3 for each
    _, grad = (jax.jit(both) if how == "jit" else both)(w)
    there = np.asarray(grad, "float64") / 2
    assert set(there) == {1.0, 1 + 2.0**-7} and abs(there.mean() - 1.001) < 3e-4
    _, other = both(2 * w)  # another loss: other random numbers
    assert ((np.asarray(other, "float64") / 4 > 1) != (there > 1)).any()


@pytest.mark.parametrize(
    ("kind", "act", "words"),
    [
        (TypeError, lambda: sharpness_aware(3), "sharpness_aware: loss must be a function of the parameters; got 3"),
        (ValueError, lambda: sharpness_aware(loss, -1), "sharpness_aware: rho must lie in [0, inf); got -1"),
        (TypeError, lambda: sharpness_aware(loss, "far"), "sharpness_aware: rho must be a number"),
        (TypeError, lambda: sharpness_aware(loss, lambda t: t), "rho must be a number; got <function"),
        (ValueError, lambda: sharpness_aware(loss, eta=-1), "sharpness_aware: eta must lie in [0, inf); got -1"),
        (TypeError, lambda: sharpness_aware(loss, adaptive=1), "sharpness_aware: adaptive must be"),
        (TypeError, lambda: sharpness_aware(loss, has_aux=1), "sharpness_aware: has_aux must be True or False"),
        (TypeError, lambda: sharpness_aware(loss, maximize=1), "sharpness_aware: maximize must be"),
    ],
    ids=["loss", "rho", "text", "function", "eta", "adaptive", "has_aux", "maximize"],
)
def test_what_it_cannot_use_is_refused_in_a_sentence(kind, act, words):
    with pytest.raises(kind) as caught:
        act()
    assert words in str(caught.value)


def test_the_name_of_optax_s_wrapper_points_to_it():
    with pytest.raises(AttributeError, match=r"there is no sam: it is a wrapper in Optax.*sharpness_aware\("):
        _ = mj.sam
