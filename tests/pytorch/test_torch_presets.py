"""The presets are PyTorch's algorithms, to rounding; state moves both ways; what is no such algorithm is refused."""

import copy
import sys
import unittest
from types import ModuleType

import numpy as np
import pytest
import torch
from tensors import parameters

from minima import torch as mt
from minima.optim import Optimizer, hyper

PRESETS = {
    "Adam": mt.Adam.like_torch,
    "AdamW": mt.Adam.like_torch_adamw,
    "SGD": mt.SGD.like_torch,
    "Adagrad": mt.AdaGrad.like_torch,
    "RMSprop": mt.RMSProp.like_torch,
}
ROWS = [
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3}),
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "initial_accumulator_value": 0.3, "weight_decay": 0.1}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1}),
]
each = pytest.mark.parametrize("name, options", ROWS, ids=lambda value: str(value))


def twins(name, options, dtype=torch.float64, **more):
    """Parameters and optimizers: PyTorch's, and ours; in two groups, which have a setting of their own."""
    params = parameters(dtype)
    others = copy.deepcopy(params)
    theirs = getattr(torch.optim, name)(groups(others), foreach=False, **options)
    return (others, theirs), (params, PRESETS[name](groups(params), **options, **more))


def groups(params):
    return [{"params": params[:3]}, {"params": params[3:], "lr": 0.05}]


def together(theirs, mine, count, seed=0):
    """Step both by the same gradients."""
    draw = torch.Generator().manual_seed(seed)
    for step in range(count):
        for i, (other, param) in enumerate(zip(theirs[0], mine[0], strict=True)):
            grad = torch.randn(param.shape, generator=draw, dtype=param.dtype) * 2 ** (step % 7)
            other.grad, param.grad = (None, None) if (i + step) % 6 == 5 else (grad, grad.clone())
        theirs[1].step()
        mine[1].step()


def assert_alike(theirs, mine, rtol=1e-11, atol=1e-12):
    for other, param in zip(theirs[0], mine[0], strict=True):
        torch.testing.assert_close(param, other, rtol=rtol, atol=atol)


@each
def test_a_preset_takes_the_steps_of_pytorch_s_own(name, options, engine):
    theirs, mine = twins(name, options, engine=engine)
    for seed in range(5):
        together(theirs, mine, 5, seed)
        assert_alike(theirs, mine)


@each
def test_a_preset_takes_the_steps_of_pytorch_s_own_in_single_precision(name, options):
    theirs, mine = twins(name, options, torch.float32)
    together(theirs, mine, 25)
    assert_alike(theirs, mine, rtol=2e-5, atol=2e-6)


@each
def test_a_run_may_change_sides_and_back(name, options):
    theirs, mine = twins(name, options)
    together(theirs, mine, 7)
    from_theirs, from_mine = copy.deepcopy(theirs[1].state_dict()), mt.torch_state_dict(mine[1])
    fresh = twins(name, {})
    for (old, _), (new, _) in zip((theirs, mine), fresh, strict=True):
        for param, value in zip(new, old, strict=True):
            param.data.copy_(value.data)
    fresh[0][1].load_state_dict(from_mine)
    made = PRESETS[name](groups(fresh[1][0]), **options)
    mt.load_torch_state_dict(made, from_theirs)
    together(theirs, mine, 7, seed=1)
    together(fresh[0], (fresh[1][0], made), 7, seed=1)
    assert_alike(theirs, mine)
    assert_alike(theirs, fresh[0])
    assert_alike(theirs, (fresh[1][0], made))
    for group, other in zip(made.param_groups, mine[1].param_groups, strict=True):
        assert {k: v for k, v in group.items() if k != "params"} == {k: v for k, v in other.items() if k != "params"}


def state_of(name, **options):
    w = torch.ones(2, requires_grad=True)
    optimizer = getattr(torch.optim, name)([w], **options)
    w.grad = torch.ones(2)
    optimizer.step()
    return optimizer.state_dict()


class Other(Optimizer):
    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, *, lr):
        return param - lr * grad


ENTRIES = [
    ("amsgrad must be False", mt.Adam.like_torch, lambda: state_of("Adam", amsgrad=True)),
    ("maximize must be False", mt.Adam.like_torch, lambda: state_of("Adam", maximize=True)),
    ("momentum must be 0", mt.RMSProp.like_torch, lambda: state_of("RMSprop", momentum=0.9)),
    ("centered must be False", mt.RMSProp.like_torch, lambda: state_of("RMSprop", centered=True)),
    ("must go to Adam", mt.RMSProp.like_torch, lambda: state_of("Adam")),
    ("must be that of Adam, AdamW", mt.Adam.like_torch, lambda: state_of("NAdam")),
    ("must be that of Adam, AdamW", mt.Adam.like_torch, lambda: state_of("Adamax")),
    ("must be that of Adam, AdamW", mt.SGD.like_torch, lambda: state_of("Rprop")),
    ("decay of group 0 must work as in torch.optim.Adam", mt.Adam, lambda: state_of("Adam", weight_decay=0.1)),
    ("decay of group 0 must work as in torch.optim.AdamW", mt.Adam.like_torch, lambda: state_of("AdamW")),
]


@pytest.mark.parametrize("message, make, state", ENTRIES, ids=[f"{i}: {row[0]}" for i, row in enumerate(ENTRIES)])
def test_a_state_of_what_we_do_not_have_is_refused_in_one_sentence_and_nothing_is_changed(message, make, state):
    w = torch.ones(2, requires_grad=True)
    optimizer = make([w])
    before = copy.deepcopy(optimizer.state_dict())
    with pytest.raises(ValueError, match=message):
        mt.load_torch_state_dict(optimizer, state())
    assert optimizer.state_dict() == before


EXITS = [
    ("eps_inside", lambda w: mt.RMSProp([w])),
    ("eps_inside", lambda w: mt.AdaGrad([w])),
    ("decay", lambda w: mt.RMSProp([w], wd=0.1, eps_inside=False)),
    ("decay", lambda w: mt.Adam([w], weight_decay=0.1, decay="independent")),
    ("dampening", lambda w: mt.SGD([w], momentum=0.9, nesterov=True)),
    ("dampen_first", lambda w: mt.SGD([w], momentum=0.9)),
    ("state_dtype", lambda w: mt.Adam([w], state_dtype="int8")),
    ("maximize", lambda w: mt.Adam([w], maximize=True)),
    ("algorithm", lambda w: mt.adapt(Other)([w])),
]


@pytest.mark.parametrize("what, make", EXITS, ids=[f"{i}: {row[0]}" for i, row in enumerate(EXITS)])
def test_a_state_of_what_pytorch_does_not_have_is_not_given_away(what, make):
    with pytest.raises(ValueError, match=rf"torch_state_dict: .*{what}"):
        mt.torch_state_dict(make(torch.ones(2, requires_grad=True)))


def test_what_is_no_different_is_given_away():
    w = torch.ones(2, requires_grad=True)
    optimizer = mt.SGD([w], lr=0.1, momentum=0.9)  # dampens the first gradient, which is past
    w.grad = torch.ones(2)
    optimizer.step()
    state = mt.torch_state_dict(optimizer)
    assert state["param_groups"][0]["dampening"] == 0.9
    assert torch.equal(state["state"][0]["momentum_buffer"], optimizer.state[w]["u"])
    assert mt.torch_state_dict(mt.RMSProp([w], eps=0.0))["param_groups"][0]["alpha"] == 0.9


@pytest.mark.parametrize("name", ["SGD", "Adam"])
def test_a_preset_takes_the_switches_of_pytorch_that_change_no_result(name):
    w = torch.ones(2, requires_grad=True)
    switches = {"foreach": True, "fused": None, "differentiable": False}
    (group,) = PRESETS[name]([w], lr=0.5, maximize=False, **switches).param_groups
    assert group["lr"] == 0.5 and not group.keys() & switches.keys()
    for switch in ("capturable", "differentiable"):
        for params, options in (([w], {switch: True}), ([{"params": [w], switch: True}], {})):
            with pytest.raises(ValueError, match=f"torch.optim.{name}: {switch} must be False; got True"):
                PRESETS[name](params, **options)


@each
def test_a_preset_is_made_again_from_its_defaults(name, options):
    draw = [torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True) for _ in range(2)]
    first = PRESETS[name]([draw[0]], **options)
    for param, optimizer in zip(draw, (first, type(first)([draw[1]], **first.defaults)), strict=True):
        for step in range(3):
            param.grad = torch.full((2,), 1.0 + step, dtype=torch.float64)
            optimizer.step()
    assert torch.equal(*draw)


@pytest.mark.parametrize("name", PRESETS)
def test_without_weight_decay_a_mask_of_infinities_stays_as_with_pytorch(name, engine):
    found = []
    kind = {"lr": 0.1, "weight_decay": 0.0}
    for make in (
        lambda w: PRESETS[name]([w], engine=engine, **kind),
        lambda w: getattr(torch.optim, name)([w], **kind),
    ):
        w = torch.tensor([-torch.inf, torch.inf, 1.0], requires_grad=True)
        optimizer = make(w)
        for weight_decay in (0.0, 0.0, 0.1, 0.0):
            for key in ("wd", "weight_decay"):
                if key in optimizer.param_groups[0]:
                    optimizer.param_groups[0][key] = weight_decay
            w.grad = torch.tensor([0.0, 0.0, 1.0])
            optimizer.step()
            found.append(w.detach().clone())
    torch.testing.assert_close(torch.stack(found[:4]), torch.stack(found[4:]), rtol=1e-5, atol=1e-7, equal_nan=True)
    assert found[1][:2].tolist() == [-torch.inf, torch.inf]


@pytest.mark.parametrize("options", [{"momentum": 0}, {"momentum": 0.9, "dampening": 0.3}], ids=str)
def test_what_pytorch_s_sgd_refuses_the_preset_refuses(options):
    for make in (torch.optim.SGD, mt.SGD.like_torch):
        with pytest.raises(ValueError, match="(?i)nesterov"):
            make([torch.ones(2, requires_grad=True)], lr=0.1, nesterov=True, **options)


def test_what_is_no_optimizer_of_minima_is_refused():
    theirs = torch.optim.Adam([torch.ones(2, requires_grad=True)])
    for call in (lambda: mt.torch_state_dict(theirs), lambda: mt.load_torch_state_dict(theirs, theirs.state_dict())):
        with pytest.raises(TypeError, match="torch_state_dict: optimizer must be one of minima.torch"):
            call()


# PyTorch's own tables ------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables():
    """What PyTorch tests its optimizers with. It asks for a package that these tables do not need."""
    if "expecttest" not in sys.modules:
        stand_in = ModuleType("expecttest")
        stand_in.TestCase, stand_in.ACCEPT = unittest.TestCase, False
        sys.modules["expecttest"] = stand_in
    from torch.testing._internal.common_optimizers import optim_db

    return {info.optim_cls.__name__: info for info in optim_db}


TECHNICAL = ("foreach", "fused", "capturable", "differentiable")


@pytest.mark.parametrize("name", PRESETS)
def test_the_presets_hold_for_pytorch_s_table_of_inputs(tables, name):
    compared = 0
    for row in tables[name].optim_inputs_func(device="cpu"):
        options = {key: value for key, value in row.kwargs.items() if key not in TECHNICAL}
        lacking = [key for key in ("maximize", "amsgrad", "centered") if options.pop(key, False)]
        if lacking or name == "RMSprop" and options.pop("momentum", 0):
            with pytest.raises(ValueError, match=rf"torch.optim.{name}: \w+ must be (False|0); got"):
                PRESETS[name]([torch.ones(1, requires_grad=True)], **row.kwargs)
            continue
        theirs, mine = twins(name, options)
        together(theirs, mine, 20)
        assert_alike(theirs, mine, rtol=1e-10)
        compared += 1
    assert compared >= 3


@pytest.mark.parametrize("name", PRESETS)
def test_what_pytorch_s_table_of_errors_says_is_refused(tables, name):
    seen = 0
    for row in tables[name].optim_error_inputs_func("cpu", torch.float32):
        wrong = row.optimizer_error_input
        if wrong.kwargs.keys() & {*TECHNICAL}:
            continue
        if any(isinstance(beta, torch.Tensor) for beta in wrong.kwargs.get("betas", ())):
            continue  # here they may be
        params = [torch.ones(1, requires_grad=True)] if wrong.params is None else wrong.params
        with pytest.raises((TypeError, ValueError, UserWarning)):
            PRESETS[name](params, **wrong.kwargs)
        seen += 1
    assert seen >= 7


@pytest.mark.parametrize("name", ["Adam", "AdamW", "SGD", "RMSprop"])
def test_schedulers_of_pytorch_s_table_drive_ours_as_theirs(tables, name):
    for makers in tables[name].scheduler_inputs:
        theirs, mine = twins(name, {"lr": 0.1})
        schedulers = [[make(optimizer) for make in makers] for _, optimizer in (theirs, mine)]
        for step in range(8):
            together(theirs, mine, 1, step)
            for ours in schedulers:
                for scheduler in ours:
                    plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                    scheduler.step(1.0) if plateau else scheduler.step()
            assert [g["lr"] for g in mine[1].param_groups] == [g["lr"] for g in theirs[1].param_groups]
        assert_alike(theirs, mine)


# Whole trainings -----------------------------------------------------------------------------------------------------


def digits():
    sklearn = pytest.importorskip("sklearn.datasets")
    images, labels = sklearn.load_digits(return_X_y=True)
    return torch.tensor(images[:800] / 16, dtype=torch.float32), torch.tensor(labels[:800])


def perceptron():
    return torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))


def convolutional():
    layers = torch.nn.Conv2d(1, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
    net = torch.nn.Sequential(torch.nn.Unflatten(1, (1, 8, 8)), *layers, torch.nn.Flatten(), torch.nn.Linear(72, 10))
    return net.to(memory_format=torch.channels_last)


@pytest.mark.parametrize("network", [perceptron, convolutional])
@pytest.mark.parametrize(
    "name, options",
    [
        ("Adam", {"lr": 3e-3, "weight_decay": 1e-3}),
        ("AdamW", {"lr": 3e-3}),
        ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True}),
        ("Adagrad", {"lr": 0.05}),
        ("RMSprop", {"lr": 1e-3}),
    ],
)
def test_a_network_learns_along_the_same_curve(network, name, options):
    images, labels = digits()
    torch.manual_seed(0)
    first = network()
    curves = []
    for make in (getattr(torch.optim, name), PRESETS[name]):
        net = copy.deepcopy(first)
        optimizer, losses = make(net.parameters(), **options), []
        for step in range(40):
            batch = slice(step * 64 % 768, step * 64 % 768 + 64)
            loss = torch.nn.functional.cross_entropy(net(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert np.mean(curves[1][-5:]) < 0.75 * curves[1][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=5e-3, atol=1e-3)
