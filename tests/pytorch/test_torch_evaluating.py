"""Rules that train other weights than they are to be judged by, inside PyTorch: modes, lending, state dicts."""

import copy
import io

import numpy as np
import pytest
import torch

import minima.torch as mt
from minima import Tensor, optim

SHAPES = ((6, 4), (3, 5), (7,), (), (0,), (300,))
RULES = {
    "ScheduleFreeSGD": {"lr": 0.05, "momentum": 0.8},
    "ScheduleFreeAdamW": {"lr": 0.05, "betas": (0.8, 0.95), "eps": 1e-6},
}
HYPERS = {"weight_decay": 0.1, "warmup_steps": 4}
each_rule = pytest.mark.parametrize("name", RULES)
each_engine = pytest.mark.parametrize("engine", ["fused", "reference", "torch"])
ULP = {torch.float64: 2.0**-52, torch.float32: 2.0**-23, torch.float16: 2.0**-10, torch.bfloat16: 2.0**-7}


def weights(dtype=torch.float64):
    draw = torch.Generator().manual_seed(0)
    return [torch.nn.Parameter(torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype)) for shape in SHAPES]


def steps(optimizer, params, begin, end):
    for step in range(begin, end):
        draw = torch.Generator().manual_seed(step)
        for param in params:
            grad = torch.randn(param.shape, generator=draw, dtype=torch.float64) + 0.5
            param.grad = grad.to(param.dtype)
        optimizer.step()


def made(name, params, **more):
    return getattr(mt, name)(params, **RULES[name], **HYPERS, **more)


def trained(name, count=6, dtype=torch.float64, **more):
    params = weights(dtype)
    optimizer = made(name, params, **more)
    steps(optimizer, params, 0, count)
    return params, optimizer


def values(params):
    return [param.detach().clone() for param in params]


def same(one, other):
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


def close(one, other, tolerance):
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a.double(), b.double(), rtol=0, atol=tolerance)


def share(name):
    return RULES[name]["momentum"] if "momentum" in RULES[name] else RULES[name]["betas"][0]


def means(name, optimizer, params):
    """The weights to evaluate, by the definition of the ones to train: ``y = (1 - beta)*z + beta*x``."""
    beta = share(name)
    return [(y.detach().double() - (1 - beta) * optimizer.state[y]["z"].double()) / beta for y in params]


@each_rule
@each_engine
@pytest.mark.parametrize("dtype", ULP, ids=str)
def test_eval_and_train_go_to_the_average_and_back_to_rounding(name, engine, dtype):
    params, optimizer = trained(name, dtype=dtype, engine=engine)
    before, wanted = values(params), means(name, optimizer, params)
    optimizer.eval()
    held = values(params)
    close(held, wanted, 16 * ULP[dtype])
    assert not same(held, before) and {param.dtype for param in params} == {dtype}
    optimizer.eval()
    assert same(held, values(params))
    optimizer.train()
    close(values(params), before, 4 * ULP[dtype])
    behind = values(params)
    with optimizer.averaged():
        assert not same(behind, values(params))
    assert same(behind, values(params))


@each_rule
def test_both_faces_evaluate_the_same_bits(name):
    params, optimizer = trained(name, dtype=torch.float32)
    tensors = [Tensor(param.detach().numpy().copy(), requires_grad=True) for param in weights(torch.float32)]
    given = dict(RULES[name])
    if "betas" in given:
        given["beta1"], given["beta2"] = given.pop("betas")
    other = getattr(optim, name)(tensors, **given, **HYPERS)
    for step in range(6):
        draw = torch.Generator().manual_seed(step)
        for tensor in tensors:
            grad = torch.randn(tensor.shape, generator=draw, dtype=torch.float64) + 0.5
            tensor.grad = Tensor(grad.numpy(), dtype="float32")
        other.step()
    for each in (optimizer, other):
        each.eval()
    for param, tensor in zip(params, tensors, strict=True):
        assert param.detach().numpy().tobytes() == tensor.buffer.tobytes()


@each_rule
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_with_a_master_copy_half_precision_comes_back_to_the_bit(name, dtype):
    (params, optimizer), (twin, other) = (trained(name, dtype=dtype, rounding="master") for _ in range(2))
    for each in (params, twin):
        with torch.no_grad():
            each[0].mul_(1.5)  # which the copy takes over
    before = values(params)
    optimizer.eval()
    assert not same(before, values(params))
    optimizer.train()
    assert same(before, values(params))
    steps(optimizer, params, 6, 8)
    steps(other, twin, 6, 8)
    assert same(values(params), values(twin))


@each_rule
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@pytest.mark.parametrize("state_dtype", [None, "float32", "bfloat16", "int8"])
def test_z_is_kept_as_it_is_computed_whatever_the_rest_is_kept_as(name, dtype, state_dtype):
    params, optimizer = trained(name, dtype=dtype, state_dtype=state_dtype)
    assert {optimizer.state[param]["z"].dtype for param in params} == {torch.float32}
    before, wanted = values(params), means(name, optimizer, params)
    optimizer.eval()
    close(values(params), wanted, 16 * ULP[dtype])
    optimizer.train()
    close(values(params), before, 4 * ULP[dtype])


@each_rule
def test_complex_and_strided_parameters_are_averaged_too(name):
    one, two = torch.nn.Parameter(torch.randn(5, 4, dtype=torch.complex128)), torch.nn.Parameter(torch.randn(6, 4).t())
    optimizer = made(name, [one, two])
    for step in range(3):
        for param in (one, two):
            param.grad = torch.full_like(param.detach(), 0.5 + step)
        optimizer.step()
    before = values([one, two])
    beta = share(name)
    wanted = [(y - (1 - beta) * optimizer.state[p]["z"]) / beta for y, p in zip(before, (one, two), strict=True)]
    with optimizer.averaged():
        torch.testing.assert_close(values([one, two]), wanted)
    assert same(before, values([one, two]))


@each_rule
def test_no_step_is_taken_with_the_weights_to_evaluate(name):
    params, optimizer = trained(name)
    optimizer.eval()
    before, calls = values(params), []
    words = f"^{name}.step: the parameters hold the weights to evaluate; call train[(][)] first$"
    for call in (optimizer.step, lambda: optimizer.step(lambda: calls.append(1))):
        with pytest.raises(RuntimeError, match=words):
            call()
    assert same(before, values(params)) and optimizer.t == 6 and not calls
    optimizer.train()
    optimizer.step()
    assert optimizer.t == 7


@each_rule
def test_the_mode_survives_what_others_do_to_groups(name):
    params, optimizer = trained(name)
    optimizer.eval()
    held = values(params)
    optimizer.param_groups = [dict(group) for group in optimizer.param_groups]  # which is then looked at anew
    optimizer.eval()
    assert same(held, values(params))
    with pytest.raises(RuntimeError, match="call train"):
        optimizer.step()


@each_rule
def test_before_the_first_step_all_weights_are_the_same(name):
    params = weights()
    optimizer = made(name, params)
    before = values(params)
    optimizer.train()
    optimizer.eval()
    assert same(before, values(params))
    with pytest.raises(RuntimeError, match="call train"):
        optimizer.step()


@each_rule
def test_while_averages_are_lent_the_mode_stays(name):
    params, optimizer = trained(name)
    before = values(params)
    with optimizer.averaged():
        for switch in (optimizer.eval, optimizer.train):
            words = f"{name}.{switch.__name__}: the parameters hold their averages; leave averaged[(][)] first"
            with pytest.raises(RuntimeError, match=words):
                switch()
    assert same(before, values(params))


@each_rule
def test_state_that_does_not_fit_leaves_all_as_they_were(name):
    params, optimizer = trained(name)
    before, z = values(params), optimizer.state[params[2]]["z"]
    optimizer.state[params[2]]["z"] = torch.zeros(2)
    for call in (optimizer.eval, lambda: optimizer.averaged().__enter__()):
        with pytest.raises(
            ValueError, match=f"^{name}.(eval|averaged): the state of parameter 2 must have 'z' of shape"
        ):
            call()
        assert same(before, values(params))
    optimizer.state[params[2]]["z"] = z
    optimizer.eval()


@each_rule
def test_an_ema_that_was_asked_for_is_lent_and_no_obstacle_to_the_mode(name):
    params, optimizer = trained(name, ema_decay=0.5)
    wanted = [optimizer.state[param]["ema"].clone() for param in params]
    with optimizer.averaged():
        assert same(wanted, values(params))
    mean = means(name, optimizer, params)
    optimizer.ema_decay = None
    optimizer.ema_decay = 0.25
    optimizer.eval()
    close(values(params), mean, 1e-13)


@each_rule
def test_a_state_dict_says_which_weights_there_were_and_goes_on_to_the_bit(name):
    params, optimizer = trained(name)
    assert [group["train_mode"] for group in optimizer.state_dict()["param_groups"]] == [True]
    assert "train_mode" not in optimizer.param_groups[0]
    optimizer.eval()
    file = io.BytesIO()
    torch.save((optimizer.state_dict(), values(params)), file)
    file.seek(0)
    kept, held = torch.load(file, weights_only=True)
    assert kept["param_groups"][0]["train_mode"] is False
    others = [torch.nn.Parameter(value) for value in held]
    resumed = getattr(mt, name)(others)
    resumed.load_state_dict(kept)
    assert "train_mode" not in resumed.param_groups[0]
    with pytest.raises(RuntimeError, match="call train"):
        resumed.step()
    for each, its in ((optimizer, params), (resumed, others)):
        each.train()
        steps(each, its, 6, 9)
        each.eval()
    assert same(values(params), values(others))


@each_rule
def test_a_state_dict_without_a_mode_leaves_it_and_groups_must_agree_on_it(name):
    params = weights()
    optimizer = made(name, [{"params": params[:2]}, {"params": params[2:]}])
    steps(optimizer, params, 0, 2)
    kept = optimizer.state_dict()
    optimizer.eval()
    mute = copy.deepcopy(kept)
    for group in mute["param_groups"]:
        del group["train_mode"]
    optimizer.load_state_dict(mute)
    assert optimizer.state_dict()["param_groups"][1]["train_mode"] is False
    kept["param_groups"][1]["train_mode"] = False
    with pytest.raises(ValueError, match="train_mode must be the same in all groups; nothing was loaded"):
        optimizer.load_state_dict(kept)
    kept["param_groups"][1]["train_mode"] = 3
    with pytest.raises(TypeError, match=f"{name}.load_state_dict: train_mode must be True or False; got 3"):
        optimizer.load_state_dict(kept)


@each_rule
def test_a_copy_has_the_mode_of_the_original(name):
    params, optimizer = trained(name)
    optimizer.eval()
    twins, twin = copy.deepcopy((params, optimizer))
    with pytest.raises(RuntimeError, match="call train"):
        twin.step()
    for each, its in ((optimizer, params), (twin, twins)):
        each.train()
        steps(each, its, 6, 8)
    assert same(values(params), values(twins))


def test_other_rules_have_one_kind_of_weights():
    for cls in (mt.Adam, mt.SGD, mt.Lion):
        params = weights()
        optimizer = cls(params, lr=0.1)
        steps(optimizer, params, 0, 1)
        before = values(params)
        optimizer.eval()
        assert same(before, values(params))
        steps(optimizer, params, 1, 2)
        optimizer.train()
        assert optimizer.t == 2 and "train_mode" not in optimizer.state_dict()["param_groups"][0]


@each_rule
@each_engine
@pytest.mark.parametrize("more", [{}, {"r": 1.5, "weight_lr_power": 0.5}], ids=str)
def test_steps_and_weights_to_evaluate_are_those_of_schedulefree(name, engine, more):
    schedulefree = pytest.importorskip("schedulefree")
    mine, his = weights(), weights()
    ours = made(name, mine, engine=engine, **more)
    called = name.replace("ScheduleFree", "") + "ScheduleFree"
    theirs = getattr(schedulefree, called)(his, **RULES[name], **HYPERS, **more)
    for step in range(24):
        theirs.train()
        ours.train()
        steps(ours, mine, step, step + 1)
        steps(theirs, his, step, step + 1)
        torch.testing.assert_close(mine, his, rtol=1e-13, atol=1e-14)
        for one, two in zip(mine, his, strict=True):
            for entry in theirs.state[two]:
                torch.testing.assert_close(ours.state[one][entry], theirs.state[two][entry], rtol=1e-13, atol=1e-14)
            for entry in ("lr_max", "weight_sum"):
                assert float(ours.state[one][entry]) == pytest.approx(theirs.param_groups[0][entry], rel=1e-14)
        if step % 4 == 3:
            ours.eval()
            theirs.eval()
            torch.testing.assert_close(mine, his, rtol=1e-13, atol=1e-14)
    assert not np.allclose(mine[0].detach(), weights()[0].detach())


# Averages on the side ------------------------------------------------------------------------------------------------


@each_engine
@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ULP, ids=str)
def test_an_average_on_the_side_is_lent_and_the_parameters_come_back(dtype, state_dtype, engine):
    if engine == "torch" and state_dtype == "int8":
        pytest.skip("PyTorch's operations keep no state in 8 bits")
    params = weights(dtype)
    optimizer = mt.ASGD(params, lr=0.05, t0=2, engine=engine, state_dtype=state_dtype)
    seen = []
    for step in range(8):
        steps(optimizer, params, step, step + 1)
        seen.append([param.detach().to(torch.float64, copy=True) for param in params])
    before = values(params)
    wanted = [torch.stack(each[3:]).mean(0) for each in map(list, zip(*seen, strict=True))]
    with optimizer.averaged():
        close(params, wanted, 0.1 if state_dtype or dtype == torch.bfloat16 else 8 * ULP[dtype])
        assert not same(params, before)
    assert same(params, before)
    optimizer.eval()
    assert same(params, before)


def test_the_average_of_a_run_that_began_with_pytorch_is_lent():
    params, others = weights(), weights()
    theirs, ours = torch.optim.ASGD(others, lr=0.05, t0=2), mt.ASGD(params, lr=0.05, t0=2)
    steps(theirs, others, 0, 6)
    with torch.no_grad():
        for param, other in zip(params, others, strict=True):
            param.copy_(other)
    ours.load_state_dict(theirs.state_dict())
    with ours.averaged():
        close(params, [theirs.state[other]["ax"] for other in others], 0)
    assert same(params, others)
