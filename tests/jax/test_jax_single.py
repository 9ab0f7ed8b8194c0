"""Where a device has no float64, a step computes in float32, and knows ``1 - beta**t`` nevertheless."""

from decimal import Decimal, localcontext

import jax.numpy as jnp
import numpy as np
import pytest
from trees import ALGORITHMS, LOSSES, arrays, gradients, run, start, stepped

import jax
from minima import optim
from minima.jax import adapt, device
from minima.optim import Optimizer, hyper

VARIABLE = "MINIMA_JAX_FLOAT64"
PLAIN = [cls for cls in ALGORITHMS if cls.__name__ not in ("Shampoo", "SOAP")]
"""All but those that take roots of eigenvalues that are all rounding here."""


@pytest.fixture(autouse=True)
def without(monkeypatch):
    monkeypatch.setenv(VARIABLE, "0")


class Correction(Optimizer):
    """Its step is the correction of a bias, times the gradient."""

    beta: float = hyper(default=0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, *, beta, t):
        return param - (1 - beta**t) * grad


STEPS = np.unique(np.geomspace(1, 1e7, 3000).astype("int32"))


def corrections(tx, state):
    """What the rule makes of every step."""

    @jax.jit
    @jax.vmap
    def found(t):
        param, _ = tx.step(-jnp.ones(()), state._replace(t=t - 1), jnp.zeros(()))
        return param

    return np.asarray(found(jnp.asarray(STEPS)), "float64")


def off(found, beta):
    """The largest relative error, against 50 digits."""
    with localcontext() as digits:
        digits.prec = 50
        exact = np.array([float(1 - Decimal(float(beta)) ** int(t)) for t in STEPS])
    return np.abs(found / exact - 1).max()


@pytest.mark.parametrize("beta", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 0.99999])
@pytest.mark.parametrize("adjustable", [(), ("beta",)], ids=["constant", "adjustable"])
def test_corrections_of_biases_are_those_of_float64_to_rounding(beta, adjustable):
    tx = adapt(Correction)(beta, adjustable=adjustable)
    assert off(corrections(tx, tx.init(jnp.zeros(()))), beta) <= 3.7e-7


@pytest.mark.parametrize("beta", [0.3, 0.9, 0.999, 0.99999])
def test_so_are_those_of_a_beta_that_somebody_sets_or_computes(beta):
    tx = adapt(Correction)(0.5, adjustable=("beta",))
    state = tx.adjusted(tx.init(jnp.zeros(())), beta=beta)
    assert off(corrections(tx, state), np.float32(beta)) <= 3.7e-7
    tx = adapt(Correction)(lambda t: jnp.float32(beta))
    assert off(corrections(tx, tx.init(jnp.zeros(()))), np.float32(beta)) <= 3.7e-7


def test_plain_float32_would_not_do():
    naive = jax.jit(lambda t: 1 - jnp.float32(0.999) ** t)(jnp.asarray(STEPS, jnp.float32))
    assert off(np.asarray(naive, "float64"), 0.999) > 1e-5


@pytest.mark.parametrize("cls", ALGORITHMS, ids=lambda cls: cls.__name__)
def test_nothing_in_float64_reaches_the_device(cls):
    tx, params = adapt(cls)(), arrays(start())
    state = tx.init(params)
    given = {"loss": LOSSES[0]} if cls.rule.needs_loss else {}
    text = jax.jit(tx.step).lower(arrays(gradients(0)), state, params, **given).as_text()
    assert "f64" not in text and "f32" in text


@pytest.mark.parametrize("cls", PLAIN, ids=lambda cls: cls.__name__)
def test_steps_are_as_near_to_the_reference_as_with_float64(cls, monkeypatch):
    wanted, _ = stepped(cls, 10)
    way = max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(start()), wanted, strict=True))
    apart = {}
    for said in "10":
        monkeypatch.setenv(VARIABLE, said)
        tx = adapt(cls)()
        params, _ = run(jax.jit(tx.step), tx.init(arrays(start())), 10, cls=cls)
        apart[said] = max(np.abs(x - y).max() for x, y in zip(jax.tree.leaves(params), wanted, strict=True))
    assert apart["0"] <= 2 * apart["1"] + 1e-5 * way


def test_the_bits_of_the_reference_are_refused():
    tx, params = adapt(optim.Adam)(exact=True), arrays(start())
    with pytest.raises(ValueError, match="adam: exact=True needs a device that computes in float64; leave it out"):
        jax.jit(tx.step)(arrays(gradients(0)), tx.init(params), params)


# Who decides ---------------------------------------------------------------------------------------------------------


def test_the_environment_decides_and_else_the_device(monkeypatch):
    assert not device.has_float64() and device.widest() is np.float32
    monkeypatch.setenv(VARIABLE, "1")
    assert device.has_float64() and device.widest() is np.float64
    monkeypatch.delenv(VARIABLE)
    assert device.has_float64()  # a CPU
    monkeypatch.setenv(VARIABLE, "no")
    with pytest.raises(ValueError, match="minima.jax: MINIMA_JAX_FLOAT64 must be 0 or 1; got 'no'; unset it"):
        adapt(optim.Adam)().init(jnp.ones(2))


def test_a_platform_that_nobody_knows_is_tried(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    try:
        for rounds, found in ((lambda x: x, True), (lambda x: x.astype(np.float32), False)):
            device._computes.cache_clear()
            monkeypatch.setattr(device, "_platform", lambda: "abacus")
            monkeypatch.setattr(device.jnp, "asarray", lambda x, dtype, rounds=rounds: rounds(np.asarray(x, dtype)))
            assert device.has_float64() is found
        device._computes.cache_clear()
        monkeypatch.setattr(device.jnp, "asarray", lambda x, dtype: 1 / 0)
        assert not device.has_float64()
    finally:
        device._computes.cache_clear()


def test_a_default_device_counts_as_the_device(monkeypatch):
    monkeypatch.delenv(VARIABLE)
    with jax.default_device(jax.devices("cpu")[0]):
        assert device._platform() == "cpu"
    with jax.default_device("cpu"):
        assert device._platform() == "cpu"
