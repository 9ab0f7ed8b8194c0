"""On many devices, which one CPU simulates, and in two processes: a step is that of one device."""

import json
import os
import socket
import subprocess
import sys
from functools import cache

import jax.numpy as jnp
import numpy as np
import processes
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import jax
from minima import optim
from minima.jax import adapt

SPECS = {
    "matrix": ("data", "model"),
    "bias": ("model",),
    "number": (),
    "kernel": (None, None, "data"),
    "whole": (None, "data"),
}
SHAPES = {"matrix": (8, 6), "bias": (4,), "number": (), "kernel": (3, 5, 8), "whole": (6, 4)}
RULES = [
    (optim.SGD, {"momentum": 0.9}, "float32"),
    (optim.AdamW, {"weight_decay": 0.1}, "float32"),
    (optim.AdamW, {"state_dtype": "bfloat16"}, "float32"),
    (optim.AdamW, {}, "bfloat16"),
    (optim.AdamW, {"rounding": "master", "ema_decay": 0.9}, "bfloat16"),
    (optim.AdamW, {"max_norm": 1.0, "exact": True}, "float32"),
    (optim.SM3, {}, "float32"),
    (optim.Adafactor, {}, "float32"),
    (optim.Prodigy, {"d0": 0.01}, "float32"),
    (optim.Muon, {}, "float32"),
]
ELEMENTWISE = {optim.SGD, optim.AdamW}
kinds = pytest.mark.parametrize("kind", [AxisType.Auto, AxisType.Explicit], ids=["auto", "explicit"])


def mesh_of(kind):
    if jax.device_count() < 8:
        pytest.skip("needs 8 devices: XLA_FLAGS=--xla_force_host_platform_device_count=8")
    return jax.make_mesh((4, 2), ("data", "model"), axis_types=(kind, kind))


def drawn(seed, dtype="float32", mesh=None):
    """A tree, sharded over a mesh."""
    rng = np.random.default_rng(seed)
    tree = {name: jnp.asarray(rng.normal(size=shape), dtype) for name, shape in SHAPES.items()}
    if mesh is None:
        return tree
    return {name: jax.device_put(x, NamedSharding(mesh, PartitionSpec(*SPECS[name]))) for name, x in tree.items()}


@cache
def compiled(number, donated=()):
    """The transformation of a row of RULES, and its step: compiled once for each sharding, in whichever test."""
    cls, given, _ = RULES[number]
    tx = adapt(cls)(**given)
    return tx, jax.jit(tx.step, donate_argnums=donated)


def after(number, step, mesh, init):
    """The parameters and the state after three steps."""
    dtype = RULES[number][2]
    params = drawn(0, dtype, mesh)
    state = init(params)
    for seed in (1, 2, 3):
        params, state = step(drawn(seed, dtype, mesh), state, params)
    return params, state


@cache
def on_one_device(number):
    tx, step = compiled(number)
    return jax.tree.map(lambda x: np.asarray(x, "float32"), after(number, step, None, tx.init))


def require_beside(params, state, mesh):
    """What has the shape of a parameter is sharded as that is; all else is on all devices."""
    for slot in state.slots.values():
        for name, x in slot.items():
            if x is not None and x.shape == SHAPES[name] and x.ndim:
                wanted = NamedSharding(mesh, PartitionSpec(*SPECS[name]))
                assert x.sharding.is_equivalent_to(wanted, x.ndim) and params[name].sharding.is_equivalent_to(
                    wanted, x.ndim
                )
    for leaf in jax.tree.leaves(state):  # the count of steps, hyperparameters, what all parameters share
        assert leaf.sharding.device_set == params["matrix"].sharding.device_set


numbered = pytest.mark.parametrize("number", range(len(RULES)), ids=[str(row) for row in RULES])


@kinds
@pytest.mark.parametrize("how", ["eager", "jit"])
@numbered
def test_eight_devices_take_the_steps_of_one(number, how, kind):
    cls, given, dtype = RULES[number]
    mesh, (tx, step) = mesh_of(kind), compiled(number, donated=(1, 2))
    init = jax.jit(tx.init) if how == "jit" else tx.init
    require_beside(params := drawn(0, dtype, mesh), init(params), mesh)
    params, state = after(number, step, mesh, init)
    require_beside(params, state, mesh)
    is_exact = cls in ELEMENTWISE and "max_norm" not in given  # sums are added in another order
    pairs = zip(jax.tree.leaves((params, state)), jax.tree.leaves(on_one_device(number)), strict=True)
    for here, there in pairs:
        here = np.asarray(here, "float32")
        np.testing.assert_allclose(here, there, rtol=0 if is_exact else 2e-5, atol=0 if is_exact else 1e-6)


@kinds
@pytest.mark.parametrize("cls", [optim.SOAP, optim.Shampoo], ids=lambda cls: cls.__name__)
def test_eight_devices_find_the_eigenvectors_of_one(cls, kind):
    """Of square matrices of full rank: of others some are arbitrary, and no two libraries agree on them."""
    mesh, tx = mesh_of(kind), adapt(cls)(lr=0.01)
    draws, place = np.random.default_rng(0).normal(size=(12, 8, 8)), NamedSharding(mesh, PartitionSpec("data", "model"))

    def stepped(put):
        params = {"w": put(jnp.asarray(draws[0]))}
        state, step = tx.init(params), jax.jit(tx.step)
        for grad in draws[1:]:
            params, state = step({"w": put(jnp.asarray(grad))}, state, params)
        return np.asarray(params["w"])

    with jax.enable_x64(True):
        here, there = stepped(lambda x: jax.device_put(x, place)), stepped(lambda x: x)
    assert abs(there - draws[0]).max() > 0.01
    np.testing.assert_allclose(here, there, rtol=0, atol=1e-9)


@kinds
def test_a_step_is_compiled_once_and_neither_adjusting_nor_donating_compiles_it_anew(kind):
    mesh, tx = mesh_of(kind), adapt(optim.AdamW)(0.1, groups={"bias": {"lr": 0.01}})
    params = drawn(0, mesh=mesh)
    params = {name: params[name] for name in ("matrix", "bias")}
    state, step = tx.init(params), jax.jit(tx.step)
    for _ in range(2):
        params, state = step(params, state, params)
        state = tx.adjusted(tx.adjusted(state, lr=0.05), "bias", lr=0.02)
    step(params, state, params)
    assert step._cache_size() == 1


@numbered
def test_types_stay_what_they_are_so_that_a_scan_takes_steps(number):
    dtype, mesh, (tx, step) = RULES[number][2], mesh_of(AxisType.Explicit), compiled(number)

    @jax.jit
    def scanned(params):
        def body(carry, _):
            params, state = carry
            return tx.step(params, state, params), None

        return jax.lax.scan(body, (params, tx.init(params)), None, length=3)[0]

    def looped(params):
        state = tx.init(params)
        for _ in range(3):
            params, state = step(params, state, params)
        return params, state

    pairs = zip(jax.tree.leaves(scanned(drawn(0, dtype, mesh))), jax.tree.leaves(looped(drawn(0, dtype))), strict=True)
    for here, there in pairs:
        np.testing.assert_allclose(np.asarray(here, "float32"), np.asarray(there, "float32"), rtol=2e-5, atol=1e-6)


# Two processes, each with a part of the data and of a parameter -------------------------------------------------------


def test_two_processes_train_as_one_does_and_save_and_load_their_state():
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = free.getsockname()[1]
    program, setting = [sys.executable, processes.__file__, str(port), "2"], {**os.environ, "XLA_FLAGS": ""}
    started = [
        subprocess.Popen([*program, str(rank)], env=setting, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for rank in range(2)
    ]
    try:
        done = [process.communicate(timeout=240) for process in started]
    finally:
        for process in started:
            process.kill()
    host, inputs = processes.problem()
    printed = [out.splitlines()[-1] if out else error for out, error in done]
    assert printed[0] == printed[1]
    for (cls, given), (value, found) in zip(processes.RUNS, json.loads(printed[0]), strict=True):
        tx, params = adapt(cls)(**given), {name: jnp.asarray(x) for name, x in host.items()}
        state, step = tx.init(params), jax.jit(tx.step)
        for _ in range(processes.STEPS):
            wanted, grads = jax.value_and_grad(processes.loss)(params, inputs)
            params, state = step(grads, state, params)
        assert wanted < 0.97 * processes.loss(host, inputs)
        np.testing.assert_allclose(value, wanted, rtol=1e-5)
        for name, x in params.items():
            np.testing.assert_allclose(found[name], x, rtol=1e-5, atol=1e-6)
