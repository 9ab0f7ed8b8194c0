"""Lookahead: held to its equations, whose slow weights begin at the start, and what it lends."""

import math

import numpy as np
import pytest
from loops import SHAPES, AdamInside, SGDInside, gradients, lookahead, start

from minima import Tensor
from minima.optim import SGD, Adam, Lookahead, ScheduleFreeSGD


def weights(dtype="float64"):
    return [Tensor(x, dtype=dtype, requires_grad=True) for x in start()]


def give(params, step, absent=()):
    grads = gradients([param.buffer.astype("float64") for param in params], step)
    for i, (param, grad) in enumerate(zip(params, grads, strict=True)):
        param.grad = None if i in absent else Tensor(grad, dtype=param.dtype)


INSIDE = {
    "SGD": (
        lambda p: SGD([{"params": p[:2]}, {"params": p[2:], "lr": 0.05, "wd": 0.4}], lr=0.02, momentum=0.9, wd=0.1),
        lambda: [SGDInside(0.02, 0.9, 0.1), SGDInside(0.02, 0.9, 0.1), SGDInside(0.05, 0.9, 0.4)],
    ),
    "Adam": (
        lambda p: Adam([{"params": p[:1]}, {"params": p[1:], "lr": 0.3}], lr=0.1, weight_decay=0.1),
        lambda: [AdamInside(0.1, wd=0.1), AdamInside(0.3, wd=0.1), AdamInside(0.3, wd=0.1)],
    ),
}


def absent(step):
    """Of the first parameter every third gradient is missing, of the last the first four."""
    return {i for i, is_absent in ((0, step % 3 == 1), (2, step < 4)) if is_absent}


@pytest.mark.parametrize("inside", INSIDE)
@pytest.mark.parametrize("missing", [lambda step: (), absent], ids=["all", "some"])
@pytest.mark.parametrize(("k", "alpha"), [(5, 0.5), (1, 0.3), (3, 0.8), (4, 1.0), (2, 0.0), (7, 0.25)])
def test_parameters_slow_weights_and_state_are_those_of_the_equations(inside, missing, k, alpha, engine):
    make, rules = INSIDE[inside]
    params, oracle = weights(), rules()
    optimizer = Lookahead(make(params), k, alpha)
    optimizer.engine = engine.get("engine")
    wanted = lookahead(oracle, k, alpha, 24, missing)
    for step, (values, slow) in enumerate(wanted):
        give(params, step, missing(step))
        optimizer.step()
        for i in range(len(SHAPES)):
            np.testing.assert_allclose(params[i].buffer, values[i], rtol=1e-11, atol=1e-12)
            np.testing.assert_allclose(optimizer.slow[i].buffer, slow[i], rtol=1e-11, atol=1e-12)
            kept = optimizer.u[i] if inside == "SGD" else optimizer.exp_avg[i]
            own = oracle[i].u if inside == "SGD" else oracle[i].m
            np.testing.assert_allclose(kept.buffer, np.broadcast_to(own, SHAPES[i]), rtol=1e-10, atol=1e-11)


def test_slow_weights_begin_as_the_parameter_is_at_the_start():
    w = Tensor([1.0], requires_grad=True)
    optimizer = Lookahead(SGD([w], lr=1.0), k=2, alpha=0.25)
    assert optimizer.slow[0].tolist() == [1.0]
    for _ in range(2):
        w.grad = Tensor([-4.0])
        optimizer.step()
    assert w.tolist() == optimizer.slow[0].tolist() == [3.0]


def test_an_alpha_of_one_leaves_the_optimizer_alone_and_zero_takes_every_round_back():
    for alpha in (0.0, 1.0):
        params, others = weights(), weights()
        looking, plain = Lookahead(Adam(params, lr=0.1), 4, alpha), Adam(others, lr=0.1)
        for step in range(8):
            give(params, step)
            looking.step()
            give(others, step)
            plain.step()
        for param, other, first in zip(params, others, start(), strict=True):
            np.testing.assert_allclose(param.buffer, first if alpha == 0 else other.buffer, rtol=1e-12)


def test_a_step_that_is_skipped_is_no_step_for_k():
    params = weights()
    optimizer = Lookahead(SGD(params, lr=0.1, on_nonfinite="skip"), k=2)
    first = [param.buffer.copy() for param in params]
    for step, bad in enumerate((False, True, True, False)):
        give(params, step)
        if bad:
            params[1].grad = Tensor(np.full(SHAPES[1], math.nan))
        optimizer.step()
        moved = [(slow.buffer != value).any() for slow, value in zip(optimizer.slow, first, strict=True)]
        assert moved == [step == 3] * 3
    assert optimizer.skipped == 2 and optimizer.t == 2


def test_a_step_that_is_refused_changes_nothing():
    params = weights()
    optimizer = Lookahead(SGD(params, lr=0.1), k=1)
    give(params, 0)
    params[2].grad = Tensor([1.0])
    with pytest.raises(ValueError, match="SGD.step: gradient of parameter 2 has shape"):
        optimizer.step()
    assert all((param.buffer == value).all() for param, value in zip(params, start(), strict=True))
    assert all((slow.buffer == value).all() for slow, value in zip(optimizer.slow, start(), strict=True))


def test_hyperparameters_count_from_the_next_step_on_and_are_checked():
    params = weights()
    optimizer = Lookahead(SGD(params, lr=0.1), k=100)
    give(params, 0)
    optimizer.step()
    optimizer.k, optimizer.alpha = 2, 0.0
    give(params, 1)
    optimizer.step()
    assert all((param.buffer == value).all() for param, value in zip(params, start(), strict=True))
    for name, wrong, words in [
        ("k", 0, "Lookahead: k must be an integer of at least 1; got 0"),
        ("k", 2.5, "Lookahead: k must be an integer of at least 1; got 2.5"),
        ("alpha", 1.5, r"Lookahead: alpha must be a number in \[0, 1\]; got 1.5"),
        ("alpha", "half", r"Lookahead: alpha must be a number in \[0, 1\]; got 'half'"),
    ]:
        with pytest.raises((TypeError, ValueError), match=words):
            setattr(optimizer, name, wrong)
        with pytest.raises((TypeError, ValueError), match=words):
            Lookahead(optimizer.optimizer, **{name: wrong})
    assert (optimizer.k, optimizer.alpha) == (2, 0.0)


def test_slow_weights_of_half_precision_are_kept_in_float32():
    w = Tensor([1.0], dtype="float16", requires_grad=True)
    optimizer = Lookahead(SGD([w], lr=1.0), k=1, alpha=2**-8)
    for _ in range(4):
        w.grad = Tensor([-(2.0**-4)], dtype="float16")
        optimizer.step()
    assert optimizer.slow[0].dtype == np.float32
    assert optimizer.slow[0].item() == pytest.approx(
        1 + 4 * 2**-12, abs=2**-13
    )  # a float16 would have lost each of them


# What is lent --------------------------------------------------------------------------------------------------------


def test_slow_weights_are_lent_and_the_parameters_come_back_to_the_last_bit():
    params = weights()
    optimizer = Lookahead(Adam(params, lr=0.1), k=3)
    for step in range(4):
        give(params, step)
        optimizer.step()
    own, slow = [p.buffer.copy() for p in params], [s.buffer.copy() for s in optimizer.slow]
    with pytest.raises(RuntimeError, match=r"Adam.step: the parameters hold their averages; leave averaged\(\) first"):
        with optimizer.averaged():
            assert all((param.buffer == value).all() for param, value in zip(params, slow, strict=True))
            optimizer.step()
    assert all((param.buffer == value).all() for param, value in zip(params, own, strict=True))
    assert any((param.buffer != value).any() for param, value in zip(params, slow, strict=True))
    assert optimizer.t == 4
    optimizer.eval()  # this rule has one kind of weights
    optimizer.train()


def test_averages_of_the_optimizer_inside_come_before_slow_weights():
    params = weights()
    optimizer = Lookahead(SGD(params, lr=0.1, ema_decay=0.5), k=3)
    give(params, 0)
    optimizer.step()
    with optimizer.averaged():
        for param, first, slow in zip(params, start(), optimizer.slow, strict=True):
            assert (param.buffer != slow.buffer).all() and (slow.buffer == first).all()
    others = weights()
    free = Lookahead(ScheduleFreeSGD(others, lr=0.1), k=3)
    for step in range(2):
        give(others, step)
        free.step()
    free.eval()
    wanted = [param.buffer.copy() for param in others]
    free.train()
    with free.averaged():
        for param, value in zip(others, wanted, strict=True):
            np.testing.assert_allclose(param.buffer, value, rtol=1e-12)
