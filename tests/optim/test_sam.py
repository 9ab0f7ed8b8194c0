"""SAM and ASAM: held to their equations, and to giving back what they have moved."""

import math

import numpy as np
import pytest
from loops import SHAPES, AdamInside, SGDInside, gradients, sam, start, worst

import minima as mi
from minima import Tensor, nn
from minima.optim import SAM, SGD, Adam, ScheduleFreeSGD


def weights(dtype="float64"):
    return [Tensor(x, dtype=dtype, requires_grad=True) for x in start()]


def give(params, step, absent=()):
    grads = gradients([param.buffer.astype("float64") for param in params], step)
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        param.grad = None if i in absent else Tensor(grad, dtype=param.dtype)
    return float(sum(np.abs(param.buffer).sum() for param in params))


def same(params, values):
    return all(param.buffer.tobytes() == value.tobytes() for param, value in zip(params, values, strict=True))


def values(params):
    return [param.buffer.copy() for param in params]


INSIDE = {
    "SGD": (
        lambda p, **more: SGD(
            [{"params": p[:2]}, {"params": p[2:], "lr": 0.05, "wd": 0.4}], lr=0.02, momentum=0.9, wd=0.1, **more
        ),
        lambda: [SGDInside(0.02, 0.9, 0.1), SGDInside(0.02, 0.9, 0.1), SGDInside(0.05, 0.9, 0.4)],
    ),
    "Adam": (
        lambda p, **more: Adam([{"params": p[:1]}, {"params": p[1:], "lr": 0.3}], lr=0.1, weight_decay=0.1, **more),
        lambda: [AdamInside(0.1, wd=0.1), AdamInside(0.3, wd=0.1), AdamInside(0.3, wd=0.1)],
    ),
}
SETTINGS = [
    {"rho": 0.05},
    {"rho": 2.0},
    {"rho": 0.0},
    {"rho": 0.5, "adaptive": True},
    {"rho": 1.0, "adaptive": True, "eta": 0.0},
    {"rho": 0.7, "adaptive": True, "eta": 0.3},
]


def absent(step):
    return {0} if step % 3 == 1 else {2} if step < 4 else set()


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("missing", [lambda step: (), absent], ids=["all", "some"])
@pytest.mark.parametrize("max_norm", [None, 0.7])
@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_parameters_and_state_are_those_of_the_equations(inside, missing, max_norm, settings, engine):
    make, rules = INSIDE[inside]
    params, oracle = weights(), rules()
    optimizer = SAM(make(params, max_norm=max_norm, **engine), **settings)
    eta = settings.get("eta", 0.01) if settings.get("adaptive") else None
    for step, (wanted, grads) in enumerate(sam(oracle, settings["rho"], eta, 22, absent=missing, max_norm=max_norm)):
        optimizer.step(lambda step=step: give(params, step, missing(step)))
        for i in range(len(SHAPES)):
            np.testing.assert_allclose(params[i].buffer, wanted[i], rtol=1e-10, atol=1e-11)
            if i not in missing(step):  # the gradient that is left is that of the worst point
                np.testing.assert_allclose(params[i].grad.buffer, grads[i], rtol=1e-9, atol=1e-10)
            kept = optimizer.u[i] if inside == "SGD" else optimizer.exp_avg[i]
            own = oracle[i].u if inside == "SGD" else oracle[i].m
            np.testing.assert_allclose(kept.buffer, np.broadcast_to(own, SHAPES[i]), rtol=1e-9, atol=1e-10)


def test_a_group_that_maximizes_is_perturbed_downwards():
    params = weights()
    groups = [{"params": params[:1], "maximize": True}, {"params": params[1:]}]
    optimizer = SAM(SGD(groups, lr=0.1), rho=0.5)
    rules = [SGDInside(0.1, sign=-1.0), SGDInside(0.1), SGDInside(0.1)]
    for step, (wanted, _) in enumerate(sam(rules, 0.5, None, 5, signs=(-1, 1, 1))):
        optimizer.step(lambda step=step: give(params, step))
        for param, value in zip(params, wanted, strict=True):
            np.testing.assert_allclose(param.buffer, value, rtol=1e-11, atol=1e-12)
    optimizer.maximize, optimizer.param_groups[0]["maximize"] = False, False
    give(params, 5)
    before, grads = values(params), [param.grad.buffer.copy() for param in params]
    optimizer.first_step()
    for param, value in zip(params, worst(before, grads, 0.5), strict=True):
        np.testing.assert_allclose(param.buffer, value, rtol=1e-12)


def test_two_steps_by_hand_are_a_step_with_a_closure_and_so_is_one_without():
    runs = []
    for way in range(3):
        params = weights()
        optimizer = SAM(Adam(params, lr=0.1), rho=0.4)
        for step in range(5):
            if way == 0:
                assert isinstance(optimizer.step(lambda given=(params, step): give(*given)), float)
                continue
            give(params, step)
            optimizer.first_step(zero_grad=way == 1)
            assert optimizer.is_perturbed and all((param.grad is None) is (way == 1) for param in params)
            give(params, step)
            if way == 1:
                optimizer.second_step(zero_grad=True)
                assert all(param.grad is None for param in params)
            else:
                assert optimizer.step(loss=0.5) == 0.5
            assert not optimizer.is_perturbed
        runs.append([value.tobytes() for value in values(params)])
    assert runs[0] == runs[1] == runs[2]


def test_the_loss_that_is_returned_is_that_at_the_parameters():
    params, losses = weights(), []
    optimizer = SAM(SGD(params, lr=0.1), rho=0.4)
    returned = optimizer.step(lambda: losses.append(give(params, 0)) or losses[-1])
    assert len(losses) == 2 and returned == losses[0] != losses[1]


def test_derivatives_are_recorded_in_the_closure_whatever_is_around_the_step():
    w = Tensor([3.0, 4.0], requires_grad=True)
    optimizer = SAM(SGD([w], lr=0.25), rho=0.5)

    def closure():
        loss = (w * w).sum()
        loss.backward()
        return loss

    with mi.no_grad():
        optimizer.step(closure)
    np.testing.assert_allclose(w.buffer, [1.35, 1.8], rtol=1e-6)  # no gradient of the first pass is in the second


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_parameters_and_buffers_come_back_to_the_last_bit_if_the_second_closure_raises(dtype, error):
    network = nn.Sequential(nn.Linear(3, 3, dtype=dtype), nn.BatchNorm1d(3, dtype=dtype))
    network[0].weight.data = Tensor([[-0.0, 1e-7, 1.0], [3e4, math.inf, -1.0], [0.1, 0.2, 0.3]], dtype=dtype)
    optimizer = SAM(SGD(network, lr=0.1, on_nonfinite="raise"), rho=10.0, model=network)
    tensors = [*network.parameters(), *network.buffers()]
    calls = []

    def closure():
        calls.append(values(tensors))
        for param in network.parameters():
            param.grad = Tensor(np.ones(param.shape), dtype=dtype)
        network.buffers()[0].data = network.buffers()[0].data + 1.0
        if len(calls) == 2:
            raise error
        return 0.0

    with pytest.raises(error):
        optimizer.step(closure)
    assert same([*network.parameters()], calls[0][:4]) and not same([*network.parameters()], calls[1][:4])
    assert same(network.buffers(), calls[1][4:]) and not optimizer.is_perturbed and optimizer.t == 0


def test_a_first_closure_that_raises_changes_nothing_and_a_bad_gradient_neither():
    params = weights()
    optimizer = SAM(SGD(params, lr=0.1))
    with pytest.raises(ZeroDivisionError):
        optimizer.step(lambda: 1 / 0)
    with pytest.raises(ValueError, match=r"gradient of parameter 1 .*has shape \(2,\)"):
        give(params, 0)
        params[1].grad = Tensor([1.0, 2.0])
        optimizer.first_step()
    assert same(params, start()) and not optimizer.is_perturbed


@pytest.mark.parametrize("guard", ["skip", "raise"])
@pytest.mark.parametrize("when", [1, 2])
def test_a_gradient_that_is_not_finite_leaves_the_parameters_where_they_were(guard, when):
    params, calls = weights(), []
    optimizer = SAM(SGD(params, lr=0.1, on_nonfinite=guard), rho=0.5)

    def closure():
        calls.append(values(params))
        give(params, 0)
        if len(calls) >= when:
            params[1].grad.buffer[0, 0] = math.inf

    if guard == "raise":
        with pytest.raises(FloatingPointError, match="SGD.step: gradient of parameter 1 is not finite"):
            optimizer.step(closure)
    else:
        optimizer.step(closure)
    assert same(params, start()) and optimizer.t == 0 and optimizer.skipped == (guard == "skip")
    assert all((a == b).all() for a, b in zip(*calls, strict=True)) is (when == 1)


def test_a_loss_that_is_not_finite_at_the_worst_point_counts_for_the_guard():
    params, losses = weights(), [1.0, math.nan]
    optimizer = SAM(SGD(params, lr=0.1, on_nonfinite="skip"))
    optimizer.step(lambda: (give(params, 0), losses.pop(0))[1])
    assert optimizer.skipped == 1 and same(params, start())


def test_what_ema_decay_averages_are_the_parameters_and_no_worst_points():
    params, others = weights(), weights()
    optimizer = SAM(SGD(params, lr=0.1, ema_decay=0.5), rho=1.0)
    optimizer.step(lambda: give(params, 0))
    with optimizer.averaged():
        lent = values(params)
    for value, first, param in zip(lent, start(), params, strict=True):
        np.testing.assert_allclose(value, (first + param.buffer) / 2, rtol=1e-12)
    assert len(others) == 3


# Buffers -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("by_hand", [False, True])
def test_running_statistics_know_nothing_of_the_worst_point_if_the_model_is_given(by_hand):
    def trained(with_model, rho=0.5):
        mi.manual_seed(0)
        network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4, momentum=None), nn.Linear(4, 1))
        optimizer = SAM(SGD(network, lr=0.1), rho=rho, model=network if with_model else None)
        x = Tensor(np.random.default_rng(0).normal(size=(8, 3)), dtype="float32")

        def closure():
            optimizer.zero_grad()
            loss = (network(x) ** 2).mean()
            loss.backward()
            return loss

        if by_hand:
            closure()
            optimizer.first_step()
            closure()
            optimizer.second_step()
        else:
            optimizer.step(closure)
        return values(network.buffers())

    alone = trained(True, rho=0.0)  # one pass, at the parameters
    assert [a.tobytes() for a in trained(True)] == [a.tobytes() for a in alone]
    assert alone[2] == 1 and trained(False)[2] == 2


# Mistakes ------------------------------------------------------------------------------------------------------------


def test_what_is_called_at_the_wrong_time_is_refused_and_changes_nothing():
    params = weights()
    optimizer = SAM(SGD(params, lr=0.1), rho=0.5)
    give(params, 0)
    with pytest.raises(RuntimeError, match=r"SAM.second_step: the parameters are not perturbed; call first_step"):
        optimizer.second_step()
    with pytest.raises(TypeError, match=r"SAM.step: needs a closure .* called twice; pass step\(closure\), or call"):
        optimizer.step()
    with pytest.raises(TypeError, match="SAM.step: closure must be a function .*; got 3"):
        optimizer.step(3)
    assert same(params, start())
    optimizer.restore()  # nothing to do
    optimizer.first_step()
    at = values(params)
    for wrong in (
        optimizer.first_step,
        optimizer.eval,
        optimizer.train,
        optimizer.averaged,
        lambda: optimizer.step(lambda: give(params, 1)),
    ):
        with pytest.raises(RuntimeError, match=r"the parameters are perturbed; call second_step\(\), or restore\(\)"):
            wrong()
    assert same(params, at)
    optimizer.restore()
    assert same(params, start()) and optimizer.t == 0 and not optimizer.is_perturbed


def test_weights_to_evaluate_are_not_perturbed():
    params = weights()
    optimizer = SAM(ScheduleFreeSGD(params, lr=0.1), rho=0.5)
    optimizer.step(lambda: give(params, 0))
    optimizer.eval()
    before = values(params)
    for wrong in (optimizer.first_step, lambda: optimizer.step(lambda: give(params, 1))):
        with pytest.raises(RuntimeError, match=r"the parameters hold the weights to evaluate; call train\(\) first"):
            wrong()
    assert same(params, before)
    optimizer.train()
    optimizer.step(lambda: give(params, 1))
    assert optimizer.t == 2


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"rho": -1}, "SAM: rho must be a number of at least 0; got -1"),
        ({"rho": "far"}, "SAM: rho must be a number of at least 0; got 'far'"),
        ({"eta": math.nan}, "SAM: eta must be a number of at least 0; got nan"),
        ({"adaptive": 1}, "SAM: adaptive must be True or False; got 1"),
        ({"model": nn.Linear}, "SAM: model must be a module, which has buffers"),
        ({"model": 3}, r"SAM: model must be a module, which has buffers\(\); got 3"),
    ],
)
def test_arguments_are_checked(given, words):
    with pytest.raises((TypeError, ValueError), match=words):
        SAM(SGD(weights()), **given)
    if "model" not in given:
        optimizer = SAM(SGD(weights()))
        with pytest.raises((TypeError, ValueError), match=words):
            setattr(optimizer, *next(iter(given.items())))
        assert (optimizer.rho, optimizer.adaptive, optimizer.eta) == (0.05, False, 0.01)


def test_half_precision_is_perturbed_in_the_mean_by_what_it_could_not_hold():
    w = Tensor(np.ones(20000), dtype="float16", requires_grad=True)
    optimizer = SAM(SGD([w], lr=0.0), rho=math.sqrt(20000) * 2.0**-13)  # an eighth of a unit for each entry
    w.grad = Tensor(np.ones(20000), dtype="float16")
    optimizer.first_step()
    assert w.buffer.astype(float).mean() - 1 == pytest.approx(2.0**-13, rel=0.05)
    optimizer.restore()
    assert (w.buffer == 1).all()
