"""A name that Optax has is that algorithm: the same call of both gives the same numbers, in float64."""

import inspect
import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import jax
import minima.jax as mj
from minima import optim
from minima.jax import adapt
from minima.jax.core import OPTIONS
from minima.jax.dialects import DIALECTS, INSTEAD
from minima.jax.xla import enable_x64

optax = pytest.importorskip("optax")
contrib = pytest.importorskip("optax.contrib")
sys.path.insert(0, str(Path(__file__).parents[1] / "optim"))
from elsewhere import LOSSES, STEPS, VALLEY  # noqa: E402 - the path comes first

MASK = "[True, False, True]"
CALLS = {
    "sgd": ["0.02", "0.02, momentum=0.9", "0.02, 0.9, True"],
    "adam": ["0.02", "0.02, 0.8, 0.95, 1e-3", "0.02, eps_root=0.01", "0.02, nesterov=True"],
    "adamw": ["0.02", "0.02, b1=0.8, weight_decay=0.2", f"0.02, weight_decay=0.2, mask={MASK}", "0.02, nesterov=True"],
    "nadam": ["0.02", "0.02, b1=0.8, b2=0.9, eps=0.1"],
    "nadamw": ["0.02", "0.02, weight_decay=0.1"],
    "amsgrad": ["0.02", "0.02, b2=0.8", "0.02, eps_root=0.01"],
    "adabelief": ["0.02", "0.02, b1=0.8, b2=0.95, eps=1e-3", "0.02, eps=1e-3, eps_root=1e-5"],
    "yogi": ["0.02", "0.02, b1=0.8, b2=0.95, eps=0.1"],
    "sm3": ["0.02", "0.02, 0.5"],
    "adagrad": ["0.02", "0.02, initial_accumulator_value=0, eps=1e-5"],
    "rmsprop": ["0.02", "0.02, centered=True, momentum=0.9", "0.02, decay=0.5, eps_in_sqrt=False"],
    "adadelta": ["1.0", "0.2, weight_decay=0.1", f"0.2, weight_decay=0.1, weight_decay_mask={MASK}"],
    "adamax": ["0.02", "0.02, b2=0.8"],
    "adamaxw": ["0.02", "0.02, weight_decay=0.1"],
    "radam": ["0.02", "0.02, b2=0.9, eps=0.1, threshold=6"],
    "lion": ["1e-3", f"1e-3, weight_decay=0.1, mask={MASK}"],
    "signum": ["0.02", "0.02, beta=0.5"],
    "sign_sgd": ["0.02"],
    "lamb": ["0.02", "0.02, eps=1e-3, weight_decay=0.1"],
    "lars": ["0.02", "0.02, weight_decay=0.1, momentum=0.5, trust_coefficient=0.1"],
    "novograd": ["0.02", "0.02, b1=0.8, b2=0.5, weight_decay=0.1"],
    "ademamix": ["0.02", "0.02, b1=0.8, b2=0.95, b3=0.99, alpha=2, eps=1e-3, weight_decay=0.1"],
    "simplified_ademamix": ["0.02", "1e-3, b1=0.9, b2=0.99, alpha=2, eps=1e-3, weight_decay=0.1"],
    "adopt": ["0.02", "0.02, b1=0.8, b2=0.95, eps=0.1, use_clipping=False"],
    "polyak_sgd": ["", "f_min=1.5, eps=0.1", "0.05, f_min=1.5, variant='sps+'"],
    "momo": ["", "0.2, beta=0.8, lower_bound=0.5, weight_decay=0.1"],
    "momo_adam": ["", "0.3, b1=0.8, b2=0.95, eps=0.001, lower_bound=0.5, weight_decay=0.1"],
    "dog": ["", "0.5, init_step=('heuristic', 0.1), weight_decay=0.1"],
    "dowg": ["", "0.5, eps=0.01", "0.5, init_estim_sq_dist=0.1, eps=0.01, weight_decay=0.1"],
    "schedule_free_sgd": ["0.02", "0.02, b1=0.8"],
    "schedule_free_adamw": ["0.02", "0.02, b2=0.95, weight_decay=0.1"],
}
"""Every name, with arguments for both."""

APART = {("adopt", "clip_exp"), ("adopt", "clip_value_fn"), ("adadelta", "learning_rate")}
"""Arguments that differ: the bound of clipping is a power here, and a function in Optax; a rate of None is 1."""


def theirs(name):
    return getattr(optax, name, None) or getattr(contrib, name)


def walked(tx):
    """The parameters behind every step."""
    params = [jnp.asarray(start) for start in VALLEY.starts]
    state, found = tx.init(params), []

    @jax.jit
    def step(grads, state, params, loss):
        updates, state = optax.with_extra_args_support(tx).update(grads, state, params, value=loss)
        return optax.apply_updates(params, updates), state

    for number in range(STEPS):
        grads = VALLEY.gradients(number, [np.asarray(param) for param in params])
        params, state = step(list(map(jnp.asarray, grads)), state, params, jnp.asarray(LOSSES[number]))
        found.append(params)
    return found


@pytest.mark.parametrize(("name", "given"), [(name, given) for name in CALLS for given in CALLS[name]])
def test_the_same_call_gives_the_numbers_of_optax(name, given):
    made = {"ours": getattr(mj, name), "theirs": theirs(name)}
    with enable_x64(True):
        pairs = zip(walked(eval(f"ours({given})", made)), walked(eval(f"theirs({given})", made)), strict=True)
        for here, there in pairs:
            for x, y in zip(here, there, strict=True):
                assert np.abs(x - y).max() <= 1e-12 * np.abs(y).max()


@pytest.mark.parametrize("rule", [optim.ScheduleFreeSGD, optim.ScheduleFreeAdamW], ids=lambda rule: rule.__name__)
def test_schedule_free_rules_take_functions_as_optax_s_do_under_inject_hyperparams(rule):
    name = {optim.ScheduleFreeSGD: "schedule_free_sgd", optim.ScheduleFreeAdamW: "schedule_free_adamw"}[rule]

    def rate(t):
        return 0.01 * (1 + t)

    with jax.enable_x64(True):
        ours, injected = walked(adapt(rule)(rate)), optax.inject_hyperparams(theirs(name))(rate)
        plain = walked(theirs(name)(rate))
        for here, there in zip(jax.tree.leaves(ours), jax.tree.leaves(walked(injected)), strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-12)
        apart = max(abs(x - y).max() for x, y in zip(jax.tree.leaves(ours), jax.tree.leaves(plain), strict=True))
    assert float(apart) > 1e-4  # else there would be no reason to refuse
    for act in (lambda: getattr(mj, name)(rate), lambda: getattr(mj, name)(groups={"w": {"lr": rate}})):
        with pytest.raises(TypeError, match="learning_rate must be a number, and no function of the step"):
            act()


def kept(tx, params):
    """How many numbers a transformation keeps in arrays."""
    return sum(x.size for x in jax.tree.leaves(jax.eval_shape(tx.init, params)) if x.size > 1)


@pytest.mark.parametrize(("name", "given"), [(name, given) for name in CALLS for given in CALLS[name]])
def test_the_same_call_keeps_as_many_numbers_as_optax(name, given):
    made, params = {"ours": getattr(mj, name), "theirs": theirs(name)}, [jnp.ones((6, 4)), jnp.ones(7), jnp.ones(())]
    assert kept(eval(f"ours({given})", made), params) == kept(eval(f"theirs({given})", made), params)


def test_every_name_is_in_the_table_and_in_optax():
    assert CALLS.keys() == DIALECTS.keys()
    assert all(hasattr(optax, name) or hasattr(contrib, name) for name in {*DIALECTS, *INSTEAD})


@pytest.mark.parametrize("name", DIALECTS)
def test_the_signature_is_that_of_optax_with_options_behind(name):
    ours, given = inspect.signature(getattr(mj, name)).parameters, inspect.signature(theirs(name)).parameters
    own = [each for each in ours if each not in OPTIONS or each in given]
    assert [each for each in own if (name, each) not in APART] == [each for each in given if (name, each) not in APART]
    assert all(ours[x].default == given[x].default for x in own if (name, x) not in APART)


def test_no_other_name_of_optax_means_something_else_here():
    others = [name for name in mj.__all__ if name not in DIALECTS and hasattr(optax, name)]
    assert [name for name in others if inspect.isfunction(getattr(optax, name))] == []


@pytest.mark.parametrize("name", INSTEAD)
def test_names_that_are_left_out_say_what_to_do_instead(name):
    with pytest.raises(AttributeError, match=f"there is no {name}: it "):
        getattr(mj, name)
