"""A run moves between NumPy, PyTorch and JAX through a file, in any order, and ends where it would have ended."""

import itertools

import numpy as np
import pytest

import jax
import minima.jax as mj
from minima import optim
from minima.optim import hyper, schedules, sign, sqrt

torch = pytest.importorskip("torch")
import minima.torch as mt  # noqa: E402 - PyTorch may be missing
from faces import alone, moved  # noqa: E402

ORDERS = list(itertools.permutations(["PyTorch", "JAX", "NumPy"]))


class Slowing(optim.Optimizer):
    """A user's rule: with state of two kinds, a flag, and the step."""

    lr: float = hyper(default=0.01, low=0)
    beta: float = hyper(default=0.9, low=0, below=1)
    rooted: bool = hyper(default=True)

    @staticmethod
    def update(param, grad, speed, largest, *, lr, beta, rooted, t):
        speed = beta * speed + (1 - beta) * grad
        largest = largest + grad**2
        scale = sqrt(largest / t) + 0.1 if rooted else 1.0
        return param - lr * (speed + 0.1 * sign(speed)) / scale, speed, largest


def makes(ours, theirs, numpy, **settings):
    """The same optimizer in every face: a class of PyTorch, a factory of JAX, a class of NumPy, each with arguments."""
    return {
        "PyTorch": lambda params: ours[0](params, **ours[1]),
        "JAX": lambda: theirs[0](**theirs[1]),
        "NumPy": lambda params: numpy[0](params, **numpy[1]),
    }


def adapted(rule, **settings):
    """A rule under its own name in every face."""
    return makes((mt.adapt(rule), settings), (mj.adapt(rule), settings), (rule, settings))


def cosine():
    return schedules.cosine(0.05, steps=150, warmup=20)


OUTSIDE = {"eps": 1e-8, "eps_inside": False}
BIASES = {"*bias": {"weight_decay": 0}, "head.*": {"lr": 0.01}}
RUNS = {
    "adam": makes((mt.Adam, {"lr": 0.02}), (mj.adam, {"learning_rate": 0.02}), (optim.Adam, {"lr": 0.02})),
    "adamw": makes(
        (mt.AdamW, {"lr": 0.02, "weight_decay": 0.1}),
        (mj.adamw, {"learning_rate": 0.02, "weight_decay": 0.1}),
        (optim.AdamW, {"lr": 0.02, "weight_decay": 0.1}),
    ),
    "adamw by groups": makes(
        (mt.AdamW, {"lr": 0.02, "weight_decay": 0.1, "groups": BIASES}),
        (mj.adamw, {"learning_rate": 0.02, "weight_decay": 0.1, "groups": BIASES}),
        (optim.AdamW, {"lr": 0.02, "weight_decay": 0.1, "groups": BIASES}),
    ),
    "adamw by a schedule": makes(
        (mt.AdamW, {"lr": cosine(), "weight_decay": 0.1}),
        (mj.adamw, {"learning_rate": cosine(), "weight_decay": 0.1}),
        (optim.AdamW, {"lr": cosine(), "weight_decay": 0.1}),
    ),
    "amsgrad": adapted(optim.Adam, lr=0.02, amsgrad=True),
    "sgd": makes((mt.SGD, {"lr": 0.02}), (mj.sgd, {"learning_rate": 0.02}), (optim.SGD, {"lr": 0.02})),
    "momentum": makes(
        (mt.SGD, {"lr": 0.02, "momentum": 0.9}),
        (mj.sgd, {"learning_rate": 0.02, "momentum": 0.9}),
        (optim.SGD, {"lr": 0.02, "momentum": 0.9, "dampening": 0}),
    ),
    "nesterov": makes(
        (mt.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
        (mj.sgd, {"learning_rate": 0.02, "momentum": 0.9, "nesterov": True}),
        (optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True, "dampening": 0}),
    ),
    "rmsprop": makes(
        (mt.RMSprop, {"lr": 0.02, "momentum": 0.5, "centered": True}),
        (mj.rmsprop, {"learning_rate": 0.02, "decay": 0.99, "eps_in_sqrt": False, "momentum": 0.5, "centered": True}),
        (optim.RMSProp, {"lr": 0.02, "rho": 0.99, "momentum": 0.5, "centered": True, **OUTSIDE}),
    ),
    "adagrad": makes(
        (mt.Adagrad, {"lr": 0.1, "eps": 1e-8}),
        (mj.adapt(optim.AdaGrad), {"lr": 0.1, **OUTSIDE}),
        (optim.AdaGrad, {"lr": 0.1, **OUTSIDE}),
    ),
    "lion": makes(
        (mt.Lion, {"lr": 0.01, "weight_decay": 0.1}),
        (mj.lion, {"learning_rate": 0.01, "weight_decay": 0.1}),
        (optim.Lion, {"lr": 0.01, "wd": 0.1}),
    ),
    "a user's": adapted(Slowing, lr=0.02, weight_decay=0.1),
    "averaged": adapted(optim.Adam, lr=0.02, ema_decay=0.9, max_norm=1.0),
}
"""By what is asked for, the same optimizer in every face."""
RUNS |= {rule.__name__: adapted(rule) for rule in (optim.Adafactor, optim.Muon, optim.SOAP, optim.Prodigy, optim.NAdam)}
CROSSED = [(name, order) for name in ("adam", "adamw by groups", "a user's") for order in ORDERS]
CROSSED += [(name, ORDERS[number % len(ORDERS)]) for number, name in enumerate(RUNS) if name not in dict(CROSSED)]


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def apart(here, there):
    """How far two runs have come apart, relative to the largest parameter."""
    return max(np.abs(here[name] - there[name]).max() / np.abs(there[name]).max() for name in there)


@pytest.mark.parametrize(("name", "order"), CROSSED, ids=[f"{name}-{'-'.join(order)}" for name, order in CROSSED])
def test_fifty_steps_in_each_face_are_a_hundred_and_fifty_in_any(name, order, tmp_path):
    ended = moved(order, RUNS[name], tmp_path / "run.safetensors").values()
    for face in order:
        assert apart(ended, alone(face, RUNS[name]).values()) < 1e-11
