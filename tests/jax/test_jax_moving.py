"""A run moves between NumPy, PyTorch and JAX through a file, in any order, and ends where it would have ended."""

import copy
import itertools
from functools import cache

import numpy as np
import pytest

import jax
import minima.jax as mj
from minima import optim
from minima.optim import hyper, schedules, sign, sqrt
from minima.optim.rules import RULES

torch = pytest.importorskip("torch")
from faces import FACES, NumPy, Torch, alone, gradients, moved, start  # noqa: E402 - PyTorch may be missing

import minima.torch as mt  # noqa: E402

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
    "muon": adapted(optim.Muon, lr=0.02, matrix=True),
    "averaged": adapted(optim.Adam, lr=0.02, ema_decay=0.9, max_norm=1.0),
}
"""By what is asked for, the same optimizer in every face."""
RUNS |= {rule.__name__: adapted(rule) for rule in (optim.Adafactor, optim.Prodigy, optim.NAdam)}
CROSSED = [(name, order) for name in ("adam", "adamw by groups", "a user's") for order in ORDERS]
CROSSED += [(name, ORDERS[number % len(ORDERS)]) for number, name in enumerate(RUNS) if name not in dict(CROSSED)]


@pytest.fixture(autouse=True)
def in_float64():
    with jax.enable_x64(True):
        yield


def apart(here, there):
    """How far two runs have come apart, relative to the largest parameter."""
    return max(np.abs(here[name] - there[name]).max() / np.abs(there[name]).max() for name in there)


@cache
def whole(face, name):
    """Where the steps of one of RUNS end in one face."""
    return alone(face, RUNS[name]).values()


@pytest.mark.parametrize(("name", "order"), CROSSED, ids=[f"{name}-{'-'.join(order)}" for name, order in CROSSED])
def test_fifty_steps_in_each_face_are_a_hundred_and_fifty_in_any(name, order, tmp_path):
    ended = moved(order, RUNS[name], tmp_path / "run.safetensors").values()
    for face in order:
        assert apart(ended, whole(face, name)) < 1e-11


TORCHS = {
    "adam": (torch.optim.Adam, {"lr": 0.02}),
    "adamw": (torch.optim.AdamW, {"lr": 0.02, "weight_decay": 0.1}),
    "momentum": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9}),
    "nesterov": (torch.optim.SGD, {"lr": 0.02, "momentum": 0.9, "nesterov": True}),
    "rmsprop": (torch.optim.RMSprop, {"lr": 0.02, "momentum": 0.5, "centered": True}),
    "adagrad": (torch.optim.Adagrad, {"lr": 0.1, "eps": 1e-8}),
}


@pytest.mark.parametrize("name", TORCHS)
def test_a_run_through_all_faces_ends_where_pytorch_s_own_optimizer_does(name, tmp_path):
    made, settings = TORCHS[name]
    theirs = Torch(lambda pairs: made([param for _, param in pairs], **settings), start()).go(0, 150).values()
    assert apart(moved(["JAX", "PyTorch", "NumPy"], RUNS[name], tmp_path / "run").values(), theirs) < 1e-11


def zeroed(state_dict):
    empty = {name: {key: 0 * x for key, x in own.items()} for name, own in state_dict["state"].items()}
    return {**state_dict, "state": empty}


@pytest.mark.parametrize("name", ["adam", "momentum", "a user's", "Adafactor"])
def test_a_run_whose_state_is_zeroed_on_the_way_ends_elsewhere(name, tmp_path):
    ended = moved(["PyTorch", "JAX", "NumPy"], RUNS[name], tmp_path / "run", change=zeroed).values()
    assert apart(ended, whole("PyTorch", name)) > 1e-3


# Bits -----------------------------------------------------------------------------------------------------------------


def in_bits(settings, **more):
    return makes(
        (mt.adapt(optim.Adam), {**settings, **more}),
        (mj.adapt(optim.Adam), {**settings, **more, "exact": True}),
        (optim.Adam, {**settings, **more}),
    )


KEPT = {
    "float32": ("float32", ORDERS[0], {}),
    "state in bfloat16": ("float32", ORDERS[1], {"state_dtype": "bfloat16"}),
    "state in 8 bits": ("float32", ("PyTorch", "NumPy", "PyTorch"), {"state_dtype": "int8"}),
    "float16, with copies": ("float16", ORDERS[2], {"rounding": "master"}),
    "float16, at random": ("float16", ORDERS[3], {"rounding": "stochastic", "seed": 3}),
    "bfloat16, with copies": ("bfloat16", ("PyTorch", "JAX", "PyTorch"), {"rounding": "master"}),
    "bfloat16, with copies of JAX's": ("bfloat16", ("JAX", "PyTorch", "JAX"), {"rounding": "master"}),
}


@pytest.mark.parametrize("kind", KEPT)
def test_a_run_that_moves_keeps_its_bits(kind, tmp_path):
    dtype, order, options = KEPT[kind]
    made = in_bits({"lr": 0.02, "weight_decay": 0.1}, **options)
    if dtype == "bfloat16":  # whose state PyTorch's face would keep in bfloat16 too
        made["PyTorch"] = lambda params: mt.adapt(optim.Adam)(
            params, lr=0.02, weight_decay=0.1, state_dtype="float32", **options
        )
    run = moved(order, made, tmp_path / "run", count=20, dtype=dtype)
    for face in dict.fromkeys(order):
        other = alone(face, made, 60, dtype)
        for name, value in other.values().items():
            np.testing.assert_array_equal(run.values()[name], value)
        state, kept = run.state_dict()["state"], other.state_dict()["state"]
        assert state.keys() == kept.keys() and all(
            np.array_equal(state[name][key], x) for name, own in kept.items() for key, x in own.items()
        )


def test_a_copy_that_is_dropped_on_the_way_is_missed(tmp_path):
    made = in_bits({"lr": 1e-4}, rounding="master")
    made["PyTorch"] = lambda params: mt.adapt(optim.Adam)(params, lr=1e-4, state_dtype="float32", rounding="master")

    def dropped(state_dict):
        for own in state_dict["state"].values():
            del own["master"]
        return state_dict

    run = moved(("PyTorch", "JAX"), made, tmp_path / "run", count=20, dtype="bfloat16", change=dropped)
    here, there = run.state_dict()["state"], alone("JAX", made, 40, "bfloat16").state_dict()["state"]
    assert not np.array_equal(here["layers.0.weight"]["master"], there["layers.0.weight"]["master"])


LISTED = [name for name in RULES if getattr(optim, name).rule is not None]


@pytest.mark.parametrize("name", LISTED)
def test_the_state_of_every_rule_goes_through_all_faces_unchanged(name):
    rule, given = getattr(optim, name), {"matrix": True} if name == "Muon" else {}
    made = {
        "JAX": lambda: mj.adapt(rule)(**given),
        "NumPy": lambda params: rule(params, **given),
        "PyTorch": lambda params: mt.adapt(rule)(params, **given),
    }
    first = Torch(made["PyTorch"], start())
    for number in range(2):
        for key, param in first.params.items():
            param.grad = torch.tensor(gradients(number, start())[key])
        first.optimizer.step(loss=1.0)
    told = first.state_dict()
    through = copy.deepcopy(told)
    for face in ("JAX", "NumPy", "PyTorch"):
        run = FACES[face](made[face], start())
        run.load(through)
        through = run.state_dict()
        for entry in ("algorithm", "state_dtype", "t", "steps", "new"):
            assert through[entry] == told[entry]
        assert through.keys() == told.keys()
        same_arrays({**told["state"], "": told.get("shared", {})}, {**through["state"], "": through.get("shared", {})})
    assert through["defaults"] == told["defaults"] and through["groups"] == told["groups"]


def same_arrays(here, there):
    assert here.keys() == there.keys()
    for name, own in here.items():
        assert own.keys() == there[name].keys(), name
        for key, array in own.items():
            other = there[name][key]
            assert array.dtype == other.dtype and np.array_equal(array, other), (name, key)


# What JAX cannot go on with -------------------------------------------------------------------------------------------


def told(rule=optim.Adam, count=3, **settings):
    return NumPy(lambda params: rule(params, **settings), start()).go(0, count).state_dict()


def altered(state_dict, *path, to):
    state_dict = copy.deepcopy(state_dict)
    inner = state_dict
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = to
    return state_dict


def split(*path, to):
    return lambda: altered(told(), *path, to=to)


BIAS = {"layers.0.bias": {"lr": 0.5}}
WRONG = {
    "unequal steps": (
        split("steps", "head.weight", to=2),
        {},
        r"all parameters must have taken as many steps, and the optimizer; they took \[2, 3\]; divide them by optax.pa",
    ),
    "steps of the optimizer's own": (split("t", to=1), {}, r"they took \[1, 3\]"),
    "more steps than int32 counts": (
        lambda: {**told(), "steps": dict.fromkeys(told()["steps"], 2**31), "t": 2**31},
        {},
        "steps must be at most 2147483647; got 2147483648",
    ),
    "8 bits": (lambda: told(state_dtype="int8"), {}, "state_dict must be one with state_dtype None; got 'int8'"),
    "another algorithm": (lambda: told(optim.AdamW), {}, "one with algorithm 'Adam'; got 'AdamW'; nothing was loaded"),
    "names": (
        split("state", "more", to={}),
        {},
        "state_dict holds 'more', which the parameters here do not have; they",
    ),
    "a shape": (
        split("state", "head.weight", "exp_avg", to=np.zeros((6, 3))),
        {},
        r"'exp_avg' of 'head.weight' must have the shape \(3, 6\); got \(6, 3\)",
    ),
    "state that is missing": (
        lambda: altered(told(), "state", "head.weight", to={}),
        {},
        "state_dict must hold 'exp_avg' of 'head.weight'",
    ),
    "state without a place": (
        lambda: told(amsgrad=True),
        {},
        "there is no place for the state 'max_exp_avg_sq' of 'head.weight'; give the factory what the run had",
    ),
    "an average without a place": (lambda: told(ema_decay=0.5), {}, "there is no place for the state 'ema'"),
    "a schedule": (
        lambda: told(lr=schedules.cosine(0.1, steps=9)),
        {},
        "lr was a function of the step; give the factory that function",
    ),
    "groups": (
        lambda: told(groups=BIAS),
        {},
        "lr must be the same for 'head.weight' and 'layers.0.bias', which share it here; it was 1e-05 and 0.5",
    ),
    "a loop": (lambda: {**told(), "loops": [{"loop": "SAM"}]}, {}, "that of an optimizer without a loop around it"),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_jax_cannot_go_on_with_is_refused_in_a_sentence(kind):
    make, settings, words = WRONG[kind]
    tx, params = mj.adapt(optim.Adam)(**settings), FACES["JAX"](mj.adapt(optim.Adam), start()).params
    with pytest.raises(ValueError, match=rf"^adam.from_state_dict: [^\n]*{words}[^\n]*$"):
        tx.from_state_dict(make(), params)


def test_each_group_has_its_own_rate_however_the_groups_were_written():
    named = [(name, torch.tensor(x, requires_grad=True)) for name, x in start().items()]
    optimizer = mt.Adam([{"params": named[:1], "lr": 0.1}, {"params": named[1:], "lr": 0.2}], lr=9.0)
    params = FACES["JAX"](mj.adapt(optim.Adam), start()).params
    for groups in ({"layers.*": {"lr": 5.0}}, {"head.*": {"lr": 5.0}}):
        tx = mj.adapt(optim.Adam)(groups=groups)
        state = tx.from_state_dict(mt.portable_state_dict(optimizer), params)
        (pattern,) = groups
        rates = {"layers.*": (0.1, 0.2), "head.*": (0.2, 0.1)}[pattern]
        assert (float(state.hypers["lr"]), float(state.hypers[pattern]["lr"])) == tuple(map(np.float32, rates))


def test_a_run_that_has_not_begun_begins_in_jax():
    params = FACES["JAX"](mj.adapt(optim.Adam), start()).params
    tx = mj.adapt(optim.Adam)(lr=0.5)
    state = tx.from_state_dict(told(count=0, lr=0.25), params)
    assert int(state.t) == 0 and float(state.hypers["lr"]) == 0.25
    assert all(not x.any() for x in jax.tree.leaves(state.slots))
