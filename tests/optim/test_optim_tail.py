"""The tail of a step, composed around every rule: clipping by the global norm, and a moving average of the weights."""

import copy
import math
import pickle
import threading
from functools import partial

import numpy as np
import pytest

from minima import Tensor
from minima.optim import EMA, LAMB, SGD, Adafactor, Adam, AdamW, Lion, Optimizer, Prodigy, clip_grad_norm, hyper

SHAPES = ((6, 4), (3, 5), (7,), (), (0,), (5000,))
RULES = [
    partial(SGD, lr=0.1, momentum=0.9),
    partial(Adam, lr=0.1, wd=0.2),
    partial(Adam, lr=0.1, wd=0.2, decay="l2", maximize=True),
    partial(Lion, lr=0.01),
    partial(LAMB, lr=0.1, wd=0.1),
    partial(Adafactor, lr=0.01),
    partial(Prodigy, d0=0.01),
]
NAMES = [f"{rule.func.__name__}-{number}" for number, rule in enumerate(RULES)]
each_rule = pytest.mark.parametrize("rule", RULES, ids=NAMES)


def weights(dtype="float64"):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), dtype=dtype, requires_grad=True) for shape in SHAPES]


def give(params, step, scale=None):
    """Gradients whose norm is above 5 in some steps and below it in others; one parameter has none now and then."""
    rng = np.random.default_rng([1, step])
    scale = (0.01, 1.0, 30.0)[step % 3] if scale is None else scale
    for number, param in enumerate(params):
        values = (scale * rng.normal(size=param.shape)).astype(param.dtype)
        param.grad = None if (number, step) == (1, 2) else Tensor(values, dtype=param.dtype)


def values(params):
    return [param.buffer.copy() for param in params]


def same(one, other):
    return all(a.tobytes() == b.tobytes() for a, b in zip(one, other, strict=True))


# Clipping ------------------------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_step_with_max_norm_is_clip_grad_norm_and_a_step(rule, dtype, engine):
    params, others = weights(dtype), weights(dtype)
    optimizer, other = rule(params, max_norm=5.0, **engine), rule(others, **engine)
    clipped = 0
    for step in range(6):
        give(params, step)
        give(others, step)
        clipped += clip_grad_norm(others, 5.0) > 5.0
        optimizer.step()
        other.step()
        for one, two in zip(params, others, strict=True):
            rounding = 1e-13 if dtype == "float64" else 2e-5
            np.testing.assert_allclose(one.buffer, two.buffer, rtol=rounding, atol=rounding)
    assert 0 < clipped < 6
    untouched = weights(dtype)
    give(untouched, 5)
    assert same(values([p.grad for p in params]), values([p.grad for p in untouched]))  # the caller's own


def test_the_norm_is_that_of_all_gradients_of_all_dtypes_and_groups(engine):
    rng = np.random.default_rng(3)
    dtypes = ("float64", "float32", "float16", "float32")
    params = [Tensor(np.zeros(9), dtype=dtype, requires_grad=True) for dtype in dtypes]
    optimizer = SGD([{"params": params[:2]}, {"params": params[2:], "lr": 0.5}], lr=1.0, max_norm=2.0, **engine)
    grads = [rng.normal(size=9).astype(dtype) for dtype in dtypes]
    for param, grad in zip(params, grads, strict=True):
        param.grad = Tensor(grad, dtype=grad.dtype)
    optimizer.step()
    norm = math.sqrt(math.fsum(float(x) ** 2 for grad in grads for x in grad))
    assert norm > 2.5
    for param, grad, lr in zip(params, grads, (1.0, 1.0, 0.5, 0.5), strict=True):
        wanted = -lr * 2.0 / norm * grad.astype(np.float64)
        rounding = {"float64": 1e-15, "float32": 1e-6, "float16": 1e-3}[param.dtype.name]
        np.testing.assert_allclose(param.buffer, wanted, rtol=rounding)


@pytest.mark.parametrize("limit", [0.0, 1.0])
def test_gradients_of_zeros_stay_what_they_are(engine, limit):
    w = Tensor([1.0, 2.0], requires_grad=True)
    optimizer = SGD([w], lr=1.0, max_norm=limit, **engine)
    w.grad = Tensor([0.0, 0.0])
    optimizer.step()
    assert w.tolist() == [1.0, 2.0]


def test_a_norm_that_is_not_finite_does_what_clip_grad_norm_does(engine):
    for bad in (math.inf, math.nan):
        found = []
        for own in (True, False):
            w = Tensor([1.0, 2.0, 3.0], requires_grad=True)
            optimizer = SGD([w], lr=1.0, max_norm=1.0 if own else None, **engine)
            w.grad = Tensor([bad, 1.0, 0.0])
            if not own:
                clip_grad_norm([w], 1.0)
            optimizer.step()
            found.append(w.buffer)
        np.testing.assert_array_equal(*found)


def test_a_gradient_that_is_not_finite_is_skipped_before_anything_is_clipped(engine):
    params = weights()
    optimizer = Adam(params, lr=0.1, max_norm=1.0, ema_decay=0.9, on_nonfinite="skip", **engine)
    give(params, 0)
    optimizer.step()
    before = pickle.dumps(optimizer.state_dict()["state"]), values(params)
    give(params, 1)
    params[5].grad.buffer[4999] = math.nan
    optimizer.step()
    assert optimizer.skipped == 1 and optimizer.t == 1
    assert (pickle.dumps(optimizer.state_dict()["state"]), values(params))[0] == before[0]
    assert same(values(params), before[1])


def test_the_limit_may_be_a_function_of_the_step_and_change_at_any_time(engine):
    def stepped(limits, assigned):
        w = Tensor(np.zeros(1), requires_grad=True)
        optimizer = SGD([w], lr=1.0, max_norm=limits, **engine)
        for number in range(3):
            if assigned:
                optimizer.max_norm = assigned[number]
            w.grad = Tensor([10.0])
            optimizer.step()
        return w.item()

    assert stepped(lambda step: 3.0 - step, None) == -6.0
    assert stepped(3.0, [3.0, None, 2.0]) == -15.0


def test_groups_must_agree_on_what_all_parameters_share(engine):
    params = weights()
    groups = [{"params": params[:2]}, {"params": params[2:], "max_norm": 2.0}]
    optimizer = SGD(groups, max_norm=1.0, **engine)
    give(params, 0)
    before = values(params)
    wanted = (
        r"SGD.step: max_norm goes into what all parameters share, and must be the same in all groups; "
        r"got 1.0 and 2.0; nothing was changed"
    )
    with pytest.raises(ValueError, match=wanted):
        optimizer.step()
    assert same(values(params), before) and optimizer.t == 0 and optimizer.steps == (0,) * 6
    optimizer.param_groups[1]["max_norm"] = 1.0
    optimizer.step()
    assert optimizer.t == 1


@pytest.mark.parametrize("bad", [-1.0, math.nan, math.inf, "1", True])
def test_a_limit_that_is_none_is_refused(bad):
    with pytest.raises((TypeError, ValueError), match=r"SGD: max_norm must be None or (lie|a number) in \[0, inf\)"):
        SGD(weights(), max_norm=bad)


# The average ---------------------------------------------------------------------------------------------------------


@each_rule
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_ema_decay_keeps_the_average_that_ema_keeps(rule, dtype, engine):
    params, others = weights(dtype), weights(dtype)
    optimizer, other = rule(params, ema_decay=0.9, **engine), rule(others, **engine)
    ema = EMA(others, 0.9)
    for step in range(6):
        for each in (params, others):
            give(each, step)
            if each[1].grad is None:  # EMA also follows what has not moved
                each[1].grad = Tensor(np.zeros((3, 5)), dtype=dtype)
        optimizer.step()
        other.step()
        ema.update()
    assert same(values(params), values(others))
    with optimizer.averaged(), ema.averaged():
        for one, two in zip(params, others, strict=True):
            rounding = 1e-15 if dtype == "float64" else 1e-6
            np.testing.assert_allclose(one.buffer, two.buffer, rtol=rounding, atol=rounding)
    assert same(values(params), values(others))


def test_the_average_follows_its_formula_and_begins_as_the_parameter(engine):
    w = Tensor([2.0], dtype="float64", requires_grad=True)
    optimizer = SGD([w], lr=1.0, ema_decay=0.75, **engine)
    wanted, value = 2.0, 2.0
    for grad in (1.0, -3.0, 0.5):
        w.grad = Tensor([grad], dtype="float64")
        optimizer.step()
        value -= grad
        wanted = 0.75 * wanted + 0.25 * value
    with optimizer.averaged():
        assert w.item() == pytest.approx(wanted, rel=1e-15)
    assert w.item() == value


def test_averages_of_half_precision_are_kept_in_single(engine):
    w = Tensor([1.0], dtype="float16", requires_grad=True)
    optimizer = SGD([w], lr=1.0, ema_decay=0.999, state_dtype="int8", **engine)
    for _ in range(10):
        w.grad = Tensor([0.125], dtype="float16")
        optimizer.step()
    (state,) = optimizer.state_dict()["state"].values()
    assert state["ema"].dtype == np.float32
    wanted = 1.0
    for step in range(1, 11):
        wanted = 0.999 * wanted + 0.001 * (1 - 0.125 * step)
    assert state["ema"][0] == pytest.approx(wanted, rel=1e-6)


def test_while_averages_are_lent_nothing_steps(engine):
    params = weights()
    optimizer = Adam(params, lr=0.1, ema_decay=0.9, **engine)
    give(params, 0)
    optimizer.step()
    own = values(params)
    with pytest.raises(RuntimeError, match=r"Adam.step: the parameters hold their averages; leave averaged\(\) first"):
        with optimizer.averaged():
            with optimizer.averaged():
                assert not same(values(params), own)
            optimizer.step()
    assert same(values(params), own) and optimizer.t == 1
    called = []
    with optimizer.averaged():
        with pytest.raises(RuntimeError, match="the parameters hold their averages"):
            optimizer.step(lambda: called.append(1))
        copied = copy.deepcopy(optimizer)
    assert called == []
    for each in (optimizer, copied):
        each.step()
        assert each.t == 2


def test_of_parameters_of_which_one_cannot_be_given_back_the_others_are(engine):
    params = weights()
    optimizer = SGD(params, lr=0.1, ema_decay=0.9, **engine)
    give(params, 0)
    optimizer.step()
    own, lost = values(params), params[1]
    with pytest.raises(ValueError, match="read-only"):
        with optimizer.averaged():
            lost.buffer.flags.writeable = False
    lost.buffer.flags.writeable = True
    lost.data = own[1]
    assert same(values(params), own)
    optimizer.step()
    assert optimizer.t == 2


def test_averages_are_not_lent_in_the_middle_of_a_step_of_another_thread(engine):
    inside, leave = threading.Event(), threading.Event()

    def waiting(step):
        if threading.current_thread() is not threading.main_thread():
            inside.set()
            leave.wait(30)
        return 0.5

    params = weights()
    optimizer = SGD(params, lr=0.5, ema_decay=0.9, **engine)
    give(params, 0)
    optimizer.step()
    optimizer.lr = waiting
    thread = threading.Thread(target=optimizer.step)
    thread.start()
    try:
        assert inside.wait(30)
        with pytest.raises(RuntimeError, match="SGD.averaged: another thread is stepping this optimizer; let one"):
            with optimizer.averaged():
                pass
    finally:
        leave.set()
        thread.join()
    assert optimizer.t == 2


def test_blocks_with_the_averages_may_overlap_and_no_thread_steps_meanwhile(engine):
    params, refused = weights(), []
    optimizer = SGD(params, lr=0.5, ema_decay=0.9, **engine)
    give(params, 0)
    optimizer.step()
    own = values(params)

    def step():
        try:
            optimizer.step()
        except RuntimeError as error:
            refused.append(str(error))

    first, second = optimizer.averaged(), optimizer.averaged()
    first.__enter__()
    averages = values(params)
    second.__enter__()
    first.__exit__(None, None, None)
    thread = threading.Thread(target=step)
    thread.start()
    thread.join()
    assert same(values(params), averages) and not same(averages, own)
    second.__exit__(None, None, None)
    assert same(values(params), own)
    assert refused == ["SGD.step: the parameters hold their averages; leave averaged() first"]


def test_an_optimizer_in_the_imperative_style_has_no_averages_to_lend():
    class Own(Optimizer):
        def step(self): ...

    words = "Own.averaged: an optimizer that overrides step.. keeps no averages; use minima.optim.EMA"
    with pytest.raises(TypeError, match=words), Own(weights()).averaged():
        pass


@pytest.mark.parametrize("other", [False, True])
def test_averages_that_are_asked_for_no_longer_are_not_lent_and_begin_anew(other, engine):
    w, idle = (Tensor([0.0], dtype="float64", requires_grad=True) for _ in range(2))
    optimizer = SGD([w, idle], lr=1.0, ema_decay=0.75, **engine)
    for decay in (0.75, 0.75, None, None, 0.75, None, 0.75):
        if optimizer.ema_decay != decay:
            optimizer.ema_decay = decay
            if other:
                idle.grad = Tensor([1.0], dtype="float64") if idle.grad is None else None
        began = w.item()
        w.grad = Tensor([-1.0], dtype="float64")
        optimizer.step()
        if decay is None:
            assert "ema" not in optimizer.state_dict()["state"]["0"]
            with pytest.raises(ValueError, match="SGD.averaged: there are no averages"), optimizer.averaged():
                pass
    with optimizer.averaged():
        assert w.item() == began + 0.25


def test_who_keeps_no_average_has_none_to_lend():
    wanted = r"Adam.averaged: there are no averages of the parameters; give the optimizer an ema_decay, as in 0.999"
    with pytest.raises(ValueError, match=wanted), Adam(weights()).averaged():
        pass


def test_averages_are_saved_loaded_and_copied(engine):
    params, others = weights(), weights()
    optimizer = AdamW(params, ema_decay=0.9, max_norm=1.0, **engine)
    other = AdamW(others, **engine)
    for step in range(3):
        give(params, step)
        optimizer.step()
    for target, value in zip(others, values(params), strict=True):
        target.data = value
    other.load_state_dict(pickle.loads(pickle.dumps(optimizer.state_dict())))
    assert other.ema_decay == 0.9 and other.max_norm == 1.0
    third, fourth = copy.deepcopy((params, optimizer))[1], pickle.loads(pickle.dumps(optimizer))
    for step in range(3, 5):
        for each in (optimizer, other, third, fourth):
            give(each.params, step)
            each.step()
    for each in (other, third, fourth):
        with optimizer.averaged(), each.averaged():
            assert same(values(optimizer.params), values(each.params))
        assert same(values(optimizer.params), values(each.params))


def test_an_average_may_begin_in_the_middle_and_differ_by_group(engine):
    params = weights()
    optimizer = SGD([{"params": params[:2], "ema_decay": 0.5}, {"params": params[2:]}], lr=1.0, **engine)
    give(params, 1)
    optimizer.step()
    before = params[2].buffer.copy()
    first = params[0].buffer.copy()
    optimizer.param_groups[1]["ema_decay"] = 0.75
    give(params, 2, scale=1.0)
    optimizer.step()
    now, second = params[2].buffer.copy(), params[0].buffer.copy()
    assert not same([before, first], [now, second])
    start = weights()[0].buffer
    with optimizer.averaged():
        np.testing.assert_allclose(params[2].buffer, 0.75 * before + 0.25 * now, rtol=1e-14)
        np.testing.assert_allclose(params[0].buffer, 0.25 * start + 0.25 * first + 0.5 * second, rtol=1e-13)


def test_a_first_step_stays_the_first_whether_or_not_an_average_begins_later(engine):
    found = []
    for late in (False, True):
        w = Tensor([0.0], dtype="float64", requires_grad=True)
        optimizer = SGD([w], lr=1.0, momentum=0.5, dampening=0.5, dampen_first=False, **engine)
        for step in range(3):
            if late and step == 1:
                optimizer.ema_decay = 0.9
            w.grad = Tensor([1.0], dtype="float64")
            optimizer.step()
        found.append(w.item())
    assert found[0] == found[1]


# Both, in what tells of a rule ---------------------------------------------------------------------------------------


def test_formulas_tell_of_both():
    text = SGD.formula(momentum=0, wd=0, max_norm=1.0, ema_decay=0.9).text
    assert "max_norm/" in text and text.endswith("ema = ema + (1 - ema_decay)*(param - ema)")
    assert "ema" not in SGD.formula().text and "max_norm" not in SGD.formula().text


def test_a_rule_of_a_user_has_both_without_a_line(engine):
    class Signs(Optimizer):
        lr: float = hyper(1.0, low=0)

        @staticmethod
        def update(param, grad, *, lr):
            return param - lr * grad**3

    w = Tensor([0.0, 0.0], dtype="float64", requires_grad=True)
    optimizer = Signs([w], max_norm=1.0, ema_decay=0.5, **engine)
    w.grad = Tensor([3.0, 4.0], dtype="float64")
    optimizer.step()
    np.testing.assert_allclose(w.buffer, [-(0.6**3), -(0.8**3)], rtol=1e-14)
    with optimizer.averaged():
        np.testing.assert_allclose(w.buffer, [-(0.6**3) / 2, -(0.8**3) / 2], rtol=1e-14)


def test_in_the_imperative_style_both_names_are_free():
    class Own(Optimizer):
        def __init__(self, params):
            self.max_norm = 3
            super().__init__(params)
            self.ema_decay = "mine"

        def step(self): ...

    optimizer = Own(weights())
    assert optimizer.max_norm == 3 and optimizer.ema_decay == "mine"
    with pytest.raises(TypeError, match="are for rules"):
        super(Own, optimizer).__init__(weights(), max_norm=1.0)
