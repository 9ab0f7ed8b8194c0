"""Steps in JAX are those of the reference: to the last bit outside of jit and with ``exact``, else to rounding."""

import jax.numpy as jnp
import numpy as np
import pytest
from trees import ALGORITHMS, LOSSES, NAMES, arrays, gradients, run, start, stepped

import jax
from minima import optim
from minima.jax import adapt
from minima.optim import Optimizer, hyper
from minima.optim.language.ranks import TENSOR

SETTINGS = {"Prodigy": {"d0": 0.01}}
BEYOND = {"Muon", "MADGRAD", "Shampoo", "SOAP"}
"""Those with products of matrices and with cube roots, whose bits are the library's."""


def settings(cls):
    decays = {} if "weight_decay" in cls.rule.keywords else {cls._declaration.coefficient: 0.1}
    return {**SETTINGS.get(cls.__name__, {}), **decays}


def has_wide_state(cls):
    """Whether it keeps numbers in float64, which JAX keeps in float32."""
    return any(rank <= TENSOR for rank in cls.rule.ranks.values())


def states(tx_state, optimizer):
    for name, slot in tx_state.slots.items():
        leaves = jax.tree.leaves(slot, is_leaf=lambda x: x is None)
        for here, there in zip(leaves, getattr(optimizer, name), strict=True):
            if here is not None:
                yield np.asarray(here), there.detach().numpy()


@pytest.mark.parametrize("how", ["eager", "exact"])
@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_parameters_and_state_have_the_bits_of_the_reference(cls, how):
    count = 25 if how == "exact" else 3
    wanted, optimizer = stepped(cls, count, **settings(cls))
    tx = adapt(cls)(**settings(cls), exact=how == "exact")
    params, state = run(jax.jit(tx.step) if how == "exact" else tx.step, tx.init(arrays(start())), count, cls=cls)
    assert set(state.slots) == {x for x in cls.rule.state if any(x in slot.state for slot in optimizer._slots)}
    off = 1e-5 if has_wide_state(cls) or cls.__name__ in BEYOND else 0
    pairs = [*zip(map(np.asarray, jax.tree.leaves(params)), wanted, strict=True), *states(state, optimizer)]
    for here, there in pairs:
        assert np.abs(here - there).max() <= off * np.abs(there).max()
    assert int(state.t) == count


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_a_step_under_jit_is_the_reference_s_within_8_units_in_the_last_place(cls):
    (wanted, _), before = stepped(cls, 1, **settings(cls)), jax.tree.leaves(start())
    tx = adapt(cls)(**settings(cls))
    params, _ = run(jax.jit(tx.step), tx.init(arrays(start())), 1, cls=cls)
    for old, here, there in zip(before, jax.tree.leaves(params), wanted, strict=True):
        unit = np.spacing(np.maximum(np.abs(old), np.abs(there)).astype("float32"))
        assert (np.abs(np.asarray(here) - there) <= (64 if cls.__name__ in BEYOND else 8) * unit).all()


VARIANTS = [
    (optim.SGD, {"momentum": 0.9, "nesterov": True}),
    (optim.Adam, {"amsgrad": True, "wd": 0.1, "decay_mode": "l2"}),
    (optim.Adam, {"wd": 0.1, "decay_mode": "independent"}),
    (optim.RMSProp, {"centered": True, "momentum": 0.9}),
    (optim.Adam, {"maximize": True}),
    (optim.Lion, {"cautious": True}),
    (optim.Adam, {"max_norm": 0.5}),
    (optim.Adam, {"ema_decay": 0.9}),
    (optim.Muon, {"scale": "match_rms_adamw", "ns_steps": 3}),
    (optim.Adafactor, {"momentum": 0.9}),
]


@pytest.mark.parametrize(("cls", "given"), VARIANTS, ids=str)
def test_variants_and_options_are_those_of_the_reference(cls, given):
    there = {"decay" if name == "decay_mode" else name: x for name, x in given.items()}
    wanted, optimizer = stepped(cls, 20, **there)
    tx = adapt(cls)(**given, exact=True)
    params, state = run(jax.jit(tx.step), tx.init(arrays(start())), 20)
    for here, theirs in zip(jax.tree.leaves(params), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(here), theirs, rtol=2e-5, atol=1e-6)
    if "ema_decay" in given:
        averages = jax.tree.leaves(tx.averaged(state, params))
        with optimizer.averaged():
            for here, theirs in zip(averages, optimizer.params, strict=True):
                np.testing.assert_allclose(np.asarray(here), theirs.detach().numpy(), rtol=1e-6)


def test_weights_to_evaluate_are_those_of_the_reference():
    _, optimizer = stepped(optim.ScheduleFreeAdamW, 10)
    tx = adapt(optim.ScheduleFreeAdamW)()
    params, state = run(tx.step, tx.init(arrays(start())), 10)
    optimizer.eval()
    for here, there in zip(jax.tree.leaves(tx.averaged(state, params)), optimizer.params, strict=True):
        np.testing.assert_allclose(np.asarray(here), there.detach().numpy(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cls", [optim.ScheduleFreeSGD, optim.ScheduleFreeAdamW], ids=lambda cls: cls.__name__)
def test_weights_to_evaluate_are_computed_from_the_master_copy(cls):
    def evaluated(dtype):
        tx = adapt(cls)(0.1, rounding="master")
        params = arrays(start("float16"), dtype)
        state = tx.init(params)
        for number in range(10):
            params, state = tx.step(arrays(gradients(number, "float16")), state, params)
        return tx.averaged(state, params)

    for half, single in zip(*map(jax.tree.leaves, map(evaluated, ("float16", "float32"))), strict=True):
        assert half.dtype == jnp.float16 and (half == single.astype(jnp.float16)).all()


def test_without_other_weights_to_evaluate_asking_for_them_is_answered_in_a_sentence():
    tx = adapt(optim.Adam)()
    params = arrays(start())
    with pytest.raises(ValueError, match="adam.averaged: there are no other weights to evaluate; give the factory"):
        tx.averaged(tx.init(params), params)


def test_groups_by_patterns_have_programs_and_numbers_of_their_own():
    by_pattern = {"first.*": {"lr": 0.1, "momentum": 0}, "third": {"wd": 0}}
    wanted, _ = stepped(optim.SGD, 10, lr=0.01, momentum=0.9, wd=0.1, groups=by_pattern)
    tx = adapt(optim.SGD)(0.01, momentum=0.9, wd=0.1, groups=by_pattern, exact=True)
    state = tx.init(arrays(start()))
    assert state.hypers.keys() == {"lr", "first.*"} and state.slots["u"]["first"] == {"b": None, "w": None}
    params, _ = run(jax.jit(tx.step), state, 10)
    for here, there in zip(jax.tree.leaves(params), wanted, strict=True):
        assert (np.asarray(here) == there).all()


def test_a_leaf_without_gradient_stays_as_it_is_and_so_does_its_state():
    tx = adapt(optim.Adam)(0.1, wd=0.1)
    params = arrays(start())
    state = tx.init(params)
    grads = arrays(gradients(0))
    grads["second"] = None
    for step in (tx.step, jax.jit(tx.step)):
        new, after = step(grads, state, params)
        assert (new["second"] == params["second"]).all() and not after.slots["exp_avg"]["second"].any()
        assert (new["first"]["w"] != params["first"]["w"]).all()


def test_the_gradient_is_cast_to_the_precision_of_the_computation():
    tx = adapt(optim.SGD)(1.0)
    w = jnp.zeros(2)
    new, _ = tx.step(jnp.array([1.0, 2.0], jnp.float16), tx.init(w), w)
    assert new.dtype == jnp.float32 and new.tolist() == [-1.0, -2.0]


def test_what_is_no_floating_array_passes_through():
    params = {"w": jnp.ones(3), "n": jnp.arange(3), "key": jax.random.key(0), "none": None, "f": "text"}
    grads = {"w": jnp.ones(3), "n": None, "key": None, "none": None, "f": None}
    tx = adapt(optim.Adam)(0.1)
    state = tx.init(params)
    new, state = tx.step(grads, state, params)
    updates, _ = tx.update(grads, state, params)
    assert new["n"] is params["n"] and new["key"] is params["key"] and new["f"] == "text" and new["none"] is None
    assert updates["n"].tolist() == [0, 0, 0] and updates["key"] is None and updates["f"] is None
    assert state.slots["exp_avg"]["n"] is None


def test_integer_leaves_take_the_gradients_that_jax_gives_them():
    def loss(params):
        return (params["w"] * params["n"]).sum()

    params = {"w": jnp.ones(3), "n": jnp.arange(3)}
    grads = jax.grad(loss, allow_int=True)(params)
    tx = adapt(optim.SGD)(1.0)
    new, _ = tx.step(grads, tx.init(params), params)
    assert new["w"].tolist() == [1.0, 0.0, -1.0] and new["n"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("cls", "given"),
    [(optim.SGD, {}), (optim.Adam, {}), (optim.LAMB, {}), (optim.AdaGrad, {"initial": 0.5})],
    ids=str,
)
def test_complex_leaves_are_stepped_as_pairs_of_real_ones(cls, given):
    z = jnp.array([1 + 2j, -3j], jnp.complex64)
    pairs = jnp.stack([z.real, z.imag], -1)
    tx = adapt(cls)(0.1, **given)
    new, state = tx.step(2 * z, tx.init(z), z)
    other, _ = tx.step(2 * pairs, tx.init(pairs), pairs)
    np.testing.assert_allclose(np.stack([new.real, new.imag], -1), other, rtol=1e-6)
    assert new.dtype == z.dtype


@pytest.mark.parametrize("cls", [optim.Muon, optim.Adafactor, optim.SOAP], ids=lambda cls: cls.__name__)
def test_rules_that_tell_rows_and_columns_apart_refuse_complex_leaves(cls):
    z = {"real": jnp.ones((3, 3)), "waves": jnp.ones((3, 3), jnp.complex64)}
    with pytest.raises(ValueError, match="and columns apart, and is for real parameters; 'waves' is complex"):
        adapt(cls)().init(z)


def test_a_real_leaf_refuses_a_complex_gradient():
    w = {"a": jnp.ones(2)}
    tx = adapt(optim.SGD)(0.1)
    with pytest.raises(TypeError, match="the gradient of 'a' must be real, as the parameter is; got 'complex64'"):
        tx.step({"a": jnp.ones(2, jnp.complex64)}, tx.init(w), w)


def test_an_empty_tree_and_a_single_number_are_trees_too():
    tx = adapt(optim.Adam)(0.1)
    assert tx.step({}, tx.init({}), {})[0] == {}
    new, _ = tx.step(jnp.ones(()), tx.init(jnp.ones(())), jnp.ones(()))
    assert np.isclose(new, 0.9)


# In half precision ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", [None, "master"])
def test_small_steps_move_bfloat16_through_plain_updates(rounding):
    tx = adapt(optim.SGD)(1e-4, rounding=rounding)
    params = jnp.ones(4096, jnp.bfloat16)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jnp.ones_like(params), state, params)
        return (params + updates, state), None

    (params, _), _ = jax.lax.scan(step, (params, tx.init(params)), None, length=1000)
    assert abs(float(params.astype(jnp.float32).mean()) - 0.9) < 2e-3


def test_to_the_nearest_they_do_not():
    tx = adapt(optim.SGD)(1e-4, rounding="nearest")
    params = jnp.ones(8, jnp.bfloat16)
    new, _ = tx.step(jnp.ones_like(params), tx.init(params), params)
    assert (new == params).all()


@pytest.mark.parametrize("rounding", ["stochastic", "nearest", "master"])
def test_float16_has_the_bits_of_the_reference(rounding):
    given = {"rounding": rounding, "seed": 3, "lr": 1e-3}
    wanted, _ = stepped(optim.Adam, 10, "float16", **given)
    tx = adapt(optim.Adam)(**given, exact=True)
    state, params = tx.init(arrays(start("float16"))), arrays(start("float16"))
    step = jax.jit(tx.step)
    for number in range(10):
        params, state = step(arrays(gradients(number, "float16")), state, params)
    for here, there in zip(jax.tree.leaves(params), wanted, strict=True):
        assert (np.asarray(here) == there).all()


def test_state_in_bfloat16_has_the_bits_of_the_reference():
    wanted, optimizer = stepped(optim.Adam, 10, state_dtype="bfloat16", seed=1)
    tx = adapt(optim.Adam)(state_dtype="bfloat16", seed=1, exact=True)
    params, state = run(jax.jit(tx.step), tx.init(arrays(start())), 10)
    assert state.slots["exp_avg"]["second"].dtype == jnp.bfloat16
    pairs = [*zip(jax.tree.leaves(params), wanted, strict=True), *states(state, optimizer)]
    assert all((np.asarray(here, np.float32) == there).all() for here, there in pairs)


# What update gives ---------------------------------------------------------------------------------------------------


def test_the_update_of_a_rule_that_subtracts_is_the_very_step():
    tx = adapt(optim.SGD)(1e-3)
    params, grads = jnp.full(3, 1e6, jnp.float32), jnp.array([1.0, 1e-3, 7.0])
    updates, _ = tx.update(grads, tx.init(params), params)
    assert (updates == -np.float32(1e-3) * grads).all()  # which is lost in a sum with the parameter


def test_update_needs_no_parameters_where_nothing_depends_on_them():
    grads = arrays(gradients(0))
    tx = adapt(optim.Adam)(0.1)
    state = tx.init(arrays(start()))
    (blind, _), (seen, _) = tx.update(grads, state), tx.update(grads, state, arrays(start()))
    assert all((x == y).all() for x, y in zip(jax.tree.leaves(blind), jax.tree.leaves(seen), strict=True))


@pytest.mark.parametrize(
    ("cls", "given"), [(optim.Adam, {"wd": 0.1}), (optim.LAMB, {}), (optim.ScheduleFreeSGD, {})], ids=str
)
def test_update_asks_for_parameters_where_it_depends_on_them(cls, given):
    tx = adapt(cls)(0.1, **given)
    state = tx.init(arrays(start()))
    with pytest.raises(ValueError, match="update needs params here"):
        tx.update(arrays(gradients(0)), state)


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_update_and_a_sum_give_what_step_gives(cls):
    tx = adapt(cls)(**settings(cls))
    params = arrays(start())
    state = tx.init(params)
    for number in range(2):
        grads = arrays(gradients(number))
        given = {"loss": LOSSES[number]} if cls.rule.needs_loss else {}
        updates, _ = tx.update(grads, state, params, **({"value": LOSSES[number]} if given else {}))
        summed = jax.tree.map(jnp.add, params, updates)
        params, state = tx.step(grads, state, params, **given)
        for here, there in zip(jax.tree.leaves(summed), jax.tree.leaves(params), strict=True):
            np.testing.assert_allclose(here, there, rtol=1e-6, atol=1e-6)


# Precision -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("beta", [0.9, 0.999, 0.99999])
@pytest.mark.parametrize("exact", [False, True])
def test_corrections_keep_their_digits(beta, exact):
    class Corrected(Optimizer):
        beta: float = hyper(default=0.9, low=0, below=1)

        @staticmethod
        def update(param, grad, *, beta, t):
            return param - param + (1 - beta**t) * (grad / grad)

    tx = adapt(Corrected)(beta=beta, exact=exact)
    state = tx.init(jnp.ones(()))
    step = jax.jit(tx.step)
    for t in [1, 2, 3, 10, 100, 999, 10**4, 10**5, 10**6, 10**7]:
        found, _ = step(jnp.ones(()), state._replace(t=jnp.asarray(t - 1, jnp.int32)), jnp.ones(()))
        wanted = -np.expm1(t * np.log1p(beta - 1) if beta == 0.9 else t * np.log(beta))
        assert abs(float(found) / wanted - 1) < 1.2e-7


def shampoo_of_a_vector(param, grads, *, fused):
    """Shampoo in NumPy, whose sums of products are rounded once, as by a fused multiply-add, or twice."""
    single, param = np.float32, param.copy()
    left = single(1e-6) * np.eye(len(param), dtype=single)
    for grad in grads:
        exact = np.outer(grad.astype("float64"), grad)
        left = (left + exact).astype(single) if fused else left + exact.astype(single)
        values, vectors = (x.astype(single) for x in np.linalg.eigh(left.astype("float64")))
        power = vectors * np.maximum(values, single(1e-6)) ** single(-0.5) @ vectors.T
        param -= single(1e-3) * (power @ grad)
    return param


def test_shampoo_drifts_under_jit_by_one_rounding_of_a_matrix_without_full_rank_and_does_not_with_exact():
    param, grads = start()["first"]["b"], [gradients(number)["first"]["b"] for number in range(25)]
    once, twice = (shampoo_of_a_vector(param, grads, fused=fused) for fused in (True, False))
    assert np.abs(once - twice).max() > 1e-4  # of 3e-3 that it moves
    found = {}
    for exact in (False, True):
        tx = adapt(optim.Shampoo)(exact=exact)
        here, state, step = jnp.asarray(param), tx.init(jnp.asarray(param)), jax.jit(tx.step)
        for grad in grads:
            here, state = step(jnp.asarray(grad), state, here)
        found[exact] = np.asarray(here)
    assert np.abs(found[True] - twice).max() < 2e-6
    assert min(np.abs(found[False] - numpy).max() for numpy in (once, twice)) < 2e-6


def test_names_of_leaves_are_those_of_the_other_faces():
    tx = adapt(optim.Adam)()
    params = arrays(start())
    assert list(tx.state_dict(tx.init(params), params)["state"]) == NAMES
