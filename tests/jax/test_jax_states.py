"""What does not belong together is refused in a sentence that says what differs: states, masks, gradients, leaves."""

import jax.numpy as jnp
import numpy as np
import pytest

import jax
import minima.jax as mj
from minima import optim
from minima.jax import adapt

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}
ADAM = mj.adam(1e-3)


def half(params):
    return jax.tree.map(lambda x: x.astype(jnp.bfloat16), params)


OTHERS = {
    "another rule": (lambda: mj.sgd(1e-3, 0.9).init(PARAMS), "slots must hold 'exp_avg', 'exp_avg_sq'; got ['u']"),
    "another variant": (lambda: mj.amsgrad(1e-3).init(PARAMS), "state.slots must hold 'exp_avg', 'exp_avg_sq'; got"),
    "an average": (lambda: mj.adam(1e-3, ema_decay=0.9).init(PARAMS), "got ['exp_avg', 'exp_avg_sq', 'ema']"),
    "a copy": (lambda: mj.adam(1e-3, rounding="master").init(half(PARAMS)), "got ['exp_avg', 'exp_avg_sq', 'master']"),
    "other names": (lambda: adapt(optim.Adam)().init(PARAMS), "state.hypers must hold 'learning_rate'; got ['lr']"),
    "other groups": (
        lambda: mj.adam(1e-3, groups={"w": {"learning_rate": 1}}).init(PARAMS),
        "state.hypers must hold 'learning_rate'; got ['learning_rate', 'w']",
    ),
    "other parameters": (
        lambda: ADAM.init({"w": PARAMS["w"]}),
        "state.slots['exp_avg'] must have the structure of params; it lacks 'b'",
    ),
    "other shapes": (
        lambda: ADAM.init({"w": jnp.ones((3, 2)), "b": jnp.ones(2)}),
        "state.slots['exp_avg'] of 'w' must have the shape (2, 3) and be float32; got ((3, 2), 'float32')",
    ),
    "other leaves": (
        lambda: ADAM.init({"w": jnp.ones((2, 3)), "b": jnp.arange(2)}),
        "state.slots['exp_avg'] of 'b' must have the shape (2,) and be float32; got None",
    ),
    "another precision": (
        lambda: mj.adam(1e-3, state_dtype="bfloat16").init(PARAMS),
        "must have the shape (2,) and be float32; got ((2,), 'bfloat16'); a state is for the transformation that began",
    ),
    "many models": (
        lambda: jax.vmap(ADAM.init)(jax.tree.map(lambda x: jnp.stack([x, x]), PARAMS)),
        "state.t must be a single number",
    ),
}


@pytest.mark.parametrize("call", ["step", "update", "averaged", "state_dict"])
@pytest.mark.parametrize(("made", "words"), OTHERS.values(), ids=OTHERS)
def test_the_state_of_another_transformation_is_refused(made, words, call):
    state = made()
    given = (PARAMS, state, PARAMS) if call in ("step", "update") else (state, PARAMS)
    with pytest.raises(ValueError) as caught:
        getattr(ADAM, call)(*given)
    assert str(caught.value).startswith("adam: ") and words in str(caught.value)


def test_an_estimate_and_new_hyperparameters_go_into_their_own_state_alone():
    state = adapt(optim.Adam)().init(PARAMS)
    with pytest.raises(ValueError, match="sophiag: state.slots must hold 'exp_avg', 'hessian'; got"):
        adapt(optim.SophiaG)().estimated(PARAMS, state, PARAMS)
    with pytest.raises(ValueError, match="sgd.adjusted: state.slots must not hold 'exp_avg', 'exp_avg_sq'"):
        adapt(optim.SGD)(0.1).adjusted(state, lr=1.0)
    with pytest.raises(ValueError, match="adam.adjusted: state.hypers must hold 'learning_rate'; got .'lr'"):
        ADAM.adjusted(state, learning_rate=1.0)


def test_what_all_parameters_share_must_be_there():
    tx = adapt(optim.Prodigy)()
    state = tx.init(PARAMS)._replace(shared={})
    with pytest.raises(ValueError, match=r"prodigy: state.shared must hold 'd'.*; got \[\]"):
        tx.step(PARAMS, state, PARAMS)


def test_a_state_whose_own_numbers_are_in_another_precision_is_taken():
    tx = adapt(optim.Prodigy)()
    state = tx.init(PARAMS)
    with jax.enable_x64(True):
        wide = tx.init(PARAMS)
        assert wide.shared["d"].dtype == np.float64 and state.shared["d"].dtype == np.float32
        for each in (state, wide):
            assert tx.step(PARAMS, each, PARAMS)[1].shared["d"].dtype == each.shared["d"].dtype


def test_a_shared_state_keeps_the_learning_rate_that_stands_in_it():
    state = ADAM.init(PARAMS)
    here, _ = mj.adam(5.0).step(PARAMS, state, PARAMS)
    there, _ = ADAM.step(PARAMS, state, PARAMS)
    assert (here["w"] == there["w"]).all()


@pytest.mark.filterwarnings("ignore:Some donated buffers were not usable")
def test_a_state_that_was_donated_is_not_taken_again():
    state, params = ADAM.init(PARAMS), jax.tree.map(jnp.copy, PARAMS)
    _, after = jax.jit(ADAM.step, donate_argnums=(1, 2))(PARAMS, state, params)
    for act in (lambda: ADAM.step(PARAMS, state, PARAMS), lambda: ADAM.adjusted(state, learning_rate=1.0)):
        with pytest.raises(
            RuntimeError, match="state was donated to an earlier call, and is gone; go on with the state"
        ):
            act()
    assert int(ADAM.step(PARAMS, after, PARAMS)[1].t) == 2


# Masks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "mask", "words"),
    [
        (ValueError, {"w": True}, "mask must have the structure of params; it lacks 'b'"),
        (ValueError, {"w": True, "c": True}, "it lacks 'b' and params have no 'c'"),
        (ValueError, {"w": True, "b": {"x": True}}, "it lacks 'b' and params have no 'b.x'"),
        (ValueError, {"w": True, "b": None}, "mask must have the structure of params; "),
        (ValueError, lambda params: [True, False], "it lacks 'b', 'w' and params have no '0', '1'"),
        (TypeError, {"w": "no", "b": True}, "mask of 'w' must be True or False; got 'no'"),
        (TypeError, {"w": jnp.ones(2, bool), "b": True}, "mask of 'w' must be True or False; got Array"),
    ],
    ids=["lacks one", "another name", "deeper", "none", "a function", "a word", "an array"],
)
def test_a_mask_that_does_not_fit_says_what_differs(kind, mask, words):
    with pytest.raises(kind) as caught:
        mj.adamw(1e-3, mask=mask).init(PARAMS)
    assert str(caught.value).startswith("adamw: mask ") and words in str(caught.value)


def test_a_mask_must_be_known_while_jax_traces():
    def init(truth):
        return mj.adamw(1e-3, mask={"w": truth, "b": True}).init(PARAMS).t

    with pytest.raises(TypeError, match="mask of 'w' must be True or False; got "):
        jax.jit(init)(True)


def test_one_truth_of_a_mask_may_stand_for_all_leaves_below_it():
    params = {"norm": {"scale": jnp.ones(2), "bias": jnp.ones(2)}, "w": jnp.ones(2)}
    tx = mj.adamw(1.0, weight_decay=0.5, mask={"norm": np.False_, "w": jnp.asarray(True)})
    new, _ = tx.step(jax.tree.map(jnp.zeros_like, params), tx.init(params), params)
    assert [x.tolist() for x in (new["norm"]["scale"], new["norm"]["bias"], new["w"])] == [[1, 1], [1, 1], [0.5, 0.5]]


def test_weight_decay_that_can_be_adjusted_begins_as_it_is_given_under_a_mask_too():
    tx = mj.adamw(
        1.0, weight_decay=0.5, mask={"w": True, "b": False}, adjustable=("weight_decay",), groups={"[w]": {"b1": 0.5}}
    )
    state = tx.init(PARAMS)
    assert float(state.hypers["weight_decay"]) == 0.5
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    assert float(tx.step(zeros, state, PARAMS)[0]["w"][0, 0]) == 0.5
    new, _ = tx.step(zeros, tx.adjusted(state, weight_decay=0.25), PARAMS)
    assert float(new["w"][0, 0]) == 0.75 and float(new["b"][0]) == 1


# Gradients -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "grads", "words"),
    [
        (ValueError, {"w": PARAMS["w"]}, "grads must have the structure of params; it lacks 'b'"),
        (ValueError, {**PARAMS, "c": 1.0}, "grads must have the structure of params; params have no 'c'"),
        (ValueError, None, "grads must have the structure of params; "),
        (ValueError, {**PARAMS, "b": 1.0}, "the gradient of 'b' must have the shape (2,); got ()"),
        (TypeError, {**PARAMS, "b": "steep"}, "the gradient of 'b' must be an array of numbers; got 'steep'"),
        (TypeError, {**PARAMS, "b": {"x": 1.0}}, "the gradient of 'b' must be an array of numbers; got {'x': 1.0}"),
        (TypeError, {**PARAMS, "b": jax.random.key(0)}, "the gradient of 'b' must be an array of numbers; got "),
    ],
    ids=["lacks one", "one more", "none at all", "a number", "a word", "a tree", "a key"],
)
def test_gradients_that_do_not_fit_are_named(kind, grads, words):
    with pytest.raises(kind) as caught:
        ADAM.step(grads, ADAM.init(PARAMS), PARAMS)
    assert str(caught.value).startswith("adam: ") and words in str(caught.value)


@pytest.mark.parametrize(
    ("grads", "words"),
    [
        ({**PARAMS, "b": None}, "state.slots['exp_avg'] must have the structure of grads; grads have no 'b'"),
        (
            {**PARAMS, "b": jnp.arange(2)},
            "of 'b' must be None; got ((2,), 'float32'); call update(grads, state, params)",
        ),
        ({**PARAMS, "b": np.zeros(2, jax.dtypes.float0)}, "must be None; got ((2,), 'float32'); call update(grads, s"),
    ],
    ids=["None", "integers", "float0"],
)
def test_without_parameters_each_gradient_must_be_one(grads, words):
    with pytest.raises(ValueError) as caught:
        ADAM.update(grads, ADAM.init(PARAMS))
    assert words in str(caught.value)


def test_gradients_of_integers_change_nothing_with_parameters_or_without():
    params, none = {"w": jnp.ones(2), "n": jnp.arange(2)}, np.zeros(2, jax.dtypes.float0)
    state, grads = ADAM.init(params), {"w": jnp.ones(2), "n": none}
    (seen, _), (unseen, _) = ADAM.update(grads, state, params), ADAM.update(grads, state)
    assert seen["n"].tolist() == [0, 0] and unseen["n"] is None and (seen["w"] == unseen["w"]).all()


def test_a_step_without_any_gradient_counts_and_moves_nothing():
    new, state = ADAM.step({"w": None, "b": None}, ADAM.init(PARAMS), PARAMS)
    assert int(state.t) == 1 and (new["w"] == 1).all() and not state.slots["exp_avg"]["w"].any()


# Leaves that are no arrays of JAX ------------------------------------------------------------------------------------


def quadratic(params):
    return params["scale"] ** 2 + (params["w"] ** 2).sum() + 0 * params["n"]


@pytest.mark.parametrize("how", [lambda f: f, jax.jit], ids=["eager", "jit"])
def test_floats_and_arrays_of_numpy_are_stepped_where_jax_grad_gives_them_gradients(how):
    params = {"scale": 2.0, "w": np.ones(2), "n": 3}
    grads = {**jax.grad(lambda moving: quadratic({**params, **moving}))({"scale": 2.0, "w": np.ones(2)}), "n": None}
    tx = mj.sgd(0.25, momentum=0.5)
    state = tx.init(params)
    assert jax.tree.structure(state) == jax.tree.structure(jax.jit(tx.init)(params))
    for _ in range(2):
        params, state = how(tx.step)(grads, state, params)
    assert params["scale"].dtype == jnp.float32 and float(params["scale"]) == 2 - 0.25 * 4 - 0.25 * 6
    assert params["w"].dtype == jnp.float32 and params["w"].tolist() == [1 - 0.25 * 2 - 0.25 * 3] * 2
    assert int(params["n"]) == 3 and state.slots["u"]["n"] is None


def test_a_float_without_gradient_stays_the_float_that_it_is():
    params = {"rate": 0.5, "w": jnp.ones(2)}
    tx = mj.sgd(0.1)
    new, _ = tx.step({"rate": None, "w": jnp.ones(2)}, tx.init(params), params)
    assert new["rate"] is params["rate"]


def test_floats_go_through_updates_as_in_optax():
    optax = pytest.importorskip("optax")
    params = {"scale": 2.0, "w": np.ones(2)}
    for tx in (mj.adam(0.1), optax.adam(0.1)):
        updates, _ = tx.update(jax.tree.map(jnp.asarray, params), tx.init(params), params)
        new = optax.apply_updates(params, updates)
        np.testing.assert_allclose([float(new["scale"]), *new["w"]], [1.9, 0.9, 0.9], rtol=1e-6)
