"""L-BFGS against the book in float64, its ways to stop, and what it leaves behind when something goes wrong."""

import copy
import pickle
import re

import curvature
import numpy as np
import pytest

from minima import Tensor, checkpoint, nn
from minima.optim import LBFGS
from minima.optim.loops.wolfe import Point, strong_wolfe

START = np.array([-1.2, 1.0, -0.5, 0.8, 1.3])


def rosenbrock(x):
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def rosenbrock_by_hand(x):
    grad = np.zeros_like(x)
    bend = x[1:] - x[:-1] ** 2
    grad[1:] += 200 * bend
    grad[:-1] += -400 * x[:-1] * bend - 2 * (1 - x[:-1])
    return float((100 * bend**2 + (1 - x[:-1]) ** 2).sum()), grad


def tensors(parts, dtype="float64"):
    return [Tensor(part, dtype=dtype, requires_grad=True) for part in parts]


def whole(params):
    return np.concatenate([p.detach().numpy().reshape(-1) for p in params])


def by_hand(optimizer, function=rosenbrock_by_hand, calls=None):
    """A closure that writes the gradients of a function of one vector."""

    def closure():
        params = optimizer.params
        loss, grad = function(whole(params))
        begin = 0
        for p in params:
            size = p.detach().numpy().size
            p.grad = Tensor(grad[begin : begin + size].reshape(p.shape), dtype=str(p.dtype))
            begin += size
        if calls is not None:
            calls.append(loss)
        return loss

    return closure


def split(x, shapes):
    ends = np.cumsum([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape) for part, shape in zip(np.split(x, ends[:-1]), shapes, strict=True)]


WOLFE = {"line_search_fn": "strong_wolfe"}
SETTINGS = {
    "by default, with a search": ({**WOLFE}, 6),
    "a history that drops pairs": ({**WOLFE, "max_iter": 4, "history_size": 10}, 10),
    "a history of one": ({**WOLFE, "max_iter": 3, "history_size": 1}, 12),
    "a first step too far": ({**WOLFE, "lr": 50.0, "max_iter": 5}, 6),
    "a first step too short": ({**WOLFE, "lr": 1e-3, "max_iter": 3, "max_eval": 40}, 7),
    "few evaluations": ({**WOLFE, "max_iter": 20, "max_eval": 3}, 12),
    "one evaluation": ({**WOLFE, "max_iter": 2, "max_eval": 1}, 8),
    "coarse changes": ({**WOLFE, "tolerance_change": 1e-2}, 8),
    "a coarse gradient": ({**WOLFE, "tolerance_grad": 5.0}, 8),
    "without a search": ({"lr": 0.02, "max_iter": 3}, 10),
    "without a search, in one call": ({"lr": 0.02, "max_iter": 30, "history_size": 5}, 2),
    "tolerances that stop nothing": ({**WOLFE, "tolerance_grad": -1.0, "tolerance_change": -1.0, "max_iter": 8}, 3),
}


@pytest.mark.parametrize(("given", "calls"), SETTINGS.values(), ids=SETTINGS)
def test_parameters_and_state_are_those_of_the_algorithm_by_the_book(given, calls):
    told = curvature.LBFGS(rosenbrock_by_hand, START, **given)
    params = tensors(split(START, [(2,), (1, 2), (1,)]))
    optimizer = LBFGS([("a", params[0]), ("b", params[1]), ("c", params[2])], **given)
    closure = by_hand(optimizer)
    for _ in range(calls):
        # The inverse as a matrix rounds otherwise than the loops, which the valley makes more of from step to step.
        assert optimizer.step(closure) == pytest.approx(told.call(), rel=1e-6, abs=1e-12)
        np.testing.assert_allclose(whole(params), told.x, rtol=1e-6, atol=1e-8)
        kept = optimizer.state_dict()["memory"]
        assert (optimizer.func_evals, optimizer.n_iter) == (told.evals, told.n_iter)
        assert (kept["func_evals"], kept["n_iter"]) == (told.evals, told.n_iter)
        assert len(kept["old_dirs"]) == len(kept["old_stps"]) == len(kept["ro"]) == len(told.pairs)
        close = {"rtol": 1e-5, "atol": 1e-7}
        np.testing.assert_allclose(kept["d"], told.d, **close)
        np.testing.assert_allclose(kept["prev_flat_grad"], told.g, **close)
        np.testing.assert_allclose(
            [kept["t"], kept["prev_loss"], kept["H_diag"]], [told.step, told.f, told.scale], **close
        )
        for s, y, ro, (told_s, told_y) in zip(kept["old_stps"], kept["old_dirs"], kept["ro"], told.pairs, strict=True):
            np.testing.assert_allclose(s, told_s, **close)
            np.testing.assert_allclose(y, told_y, **close)
            assert ro == pytest.approx(1 / (told_y @ told_s), rel=1e-4)


@pytest.mark.parametrize("seed", range(12))
def test_the_search_asks_where_the_book_does(seed):
    draw = np.random.default_rng(seed)
    a, b, c, often = draw.uniform(0.1, 3, 4)

    def function(x):
        inner = float(x[0] - a)
        value = b * inner**2 + c * np.sin(4 * often * inner) + 0.1 * inner**4
        return float(value), np.array([2 * b * inner + 4 * often * c * np.cos(4 * often * inner) + 0.4 * inner**3])

    given = {**WOLFE, "max_iter": 6, "max_eval": int(draw.integers(2, 30)), "lr": float(10.0 ** draw.uniform(-3, 3))}
    told = curvature.LBFGS(function, [draw.normal()], **given)
    (w,) = tensors([told.x])
    optimizer = LBFGS([w], **given)
    for _ in range(4):
        optimizer.step(by_hand(optimizer, function))
        told.call()
        assert optimizer.func_evals == told.evals
        np.testing.assert_allclose(w.detach().numpy(), told.x, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("seed", range(400))
def test_the_search_does_so_whatever_values_and_slopes_it_is_told(seed):
    draw = np.random.default_rng(seed)
    fall, wave, often, phase, tilt = draw.uniform(0, 3, 5)
    first, size, tolerance = 10.0 ** draw.uniform(-2, 2), 10.0 ** draw.uniform(-3, 3), 10.0 ** draw.uniform(-6, 0)
    most = int(draw.integers(0, 3 + 9 * (seed % 2)))

    def phi(a):  # slopes that do not belong to the values lead into every corner
        return -fall * a + wave * np.sin(often * a), -tilt + 2 * wave * np.cos(often * a + 3 * phase)

    asked = []

    def at(a):
        asked.append(a)
        return Point(a, *phi(a), None)

    told = curvature.search(phi, first, 0.0, -1.0, size, tolerance, most)
    found = strong_wolfe(at, Point(0.0, 0.0, -1.0, None), first, most=most, size=size, tolerance=tolerance)
    assert (found.step, len(asked)) == (pytest.approx(told[0], rel=1e-9), told[1])


@pytest.mark.parametrize(("given", "calls"), [SETTINGS[name] for name in list(SETTINGS)[:2]])
def test_half_and_single_precision_go_down_as_well(given, calls):
    for dtype, tolerance in (("float32", 1e-5), ("float16", 2e-2)):
        params = tensors(split(START, [(3,), (2,)]), dtype)
        optimizer = LBFGS(params, **given)
        for _ in range(calls):
            optimizer.step(by_hand(optimizer, lambda x: rosenbrock_by_hand(x.astype(np.float64))))
        assert optimizer.state_dict()["memory"]["d"].dtype == np.float32
        told = curvature.LBFGS(rosenbrock_by_hand, START, **given)
        for _ in range(calls):
            told.call()
        assert rosenbrock_by_hand(whole(params).astype(float))[0] < max(2 * rosenbrock_by_hand(told.x)[0], tolerance)


def test_parameters_of_several_precisions_are_one_vector_in_the_most_precise():
    params = [*tensors([START[:2]], "float32"), *tensors([START[2:]], "float64")]
    optimizer = LBFGS(params, **WOLFE, max_iter=100)
    optimizer.step(by_hand(optimizer))
    assert optimizer.state_dict()["memory"]["d"].dtype == np.float64
    assert [str(p.dtype) for p in params] == ["float32", "float64"]
    np.testing.assert_allclose(whole(params), 1, atol=1e-3)


def test_a_parameter_without_a_gradient_counts_as_if_it_were_zeros_and_stays():
    a, b = tensors([START, [7.0, 7.0]])
    optimizer = LBFGS([a, b], **WOLFE)
    told = curvature.LBFGS(rosenbrock_by_hand, START, **WOLFE)

    def closure():
        optimizer.zero_grad()
        loss = rosenbrock(a)
        loss.backward()
        return loss

    for _ in range(2):
        optimizer.step(closure)
        told.call()
    np.testing.assert_allclose(a.detach().numpy(), told.x, rtol=1e-6)
    assert b.tolist() == [7.0, 7.0] and b.grad is None
    assert not optimizer.state_dict()["memory"]["d"][5:].any()


# When a call stops ---------------------------------------------------------------------------------------------------


def bowl(x):
    return float(x @ x) / 2, x.copy()


def count(function, start=(3.0, -4.0), **given):
    (w,) = tensors([start])
    optimizer, calls = LBFGS([w], **given), []
    first = optimizer.step(by_hand(optimizer, function, calls))
    assert first == calls[0] == function(np.array(start, float))[0]  # the loss that it began with
    assert optimizer.func_evals == len(calls)
    return len(calls), optimizer.n_iter, w.detach().numpy()


def test_a_call_takes_no_more_steps_than_it_may_and_does_not_look_behind_the_last_without_a_search():
    given = {"lr": 0.1, "tolerance_change": 0.0}
    assert count(rosenbrock_by_hand, START, lr=1e-4, max_iter=3, max_eval=9)[:2] == (3, 3)
    assert count(bowl, max_iter=0)[:2] == (1, 0)
    calls, steps, w = count(bowl, max_iter=1, **given)
    assert (calls, steps) == (1, 1)
    np.testing.assert_allclose(w, np.array([3, -4]) * (1 - 0.1 / 7))  # the first step, by the sum of the gradient


def test_a_call_evaluates_no_more_often_than_it_may():
    assert count(rosenbrock_by_hand, START, lr=1e-4, max_iter=50, max_eval=7)[:2] == (7, 7 - 1)
    for most in (1, 2, 3, 7):
        calls = count(rosenbrock_by_hand, START, **WOLFE, max_iter=50, max_eval=most)[0]
        assert most <= calls <= most + 1


def test_a_flat_start_is_left_as_it_is():
    assert count(bowl, (1e-8, 0.0))[:2] == (1, 0)
    assert count(bowl, (1e-3, 0.0), tolerance_grad=1e-2)[:2] == (1, 0)
    assert count(bowl, (1e-3, 0.0), tolerance_grad=1e-4)[1] > 0


def test_a_call_stops_where_the_gradient_is_small_where_nothing_moves_and_where_the_loss_does_not():
    calls, _, w = count(bowl, **WOLFE, tolerance_grad=1e-3, max_iter=100)
    assert abs(w).max() <= 1e-3 and calls < 10
    assert count(lambda x: (1e3 * x.sum(), 1e3 * np.ones(2)), lr=1e-6, tolerance_change=1e-5, max_iter=50)[:2] == (2, 1)
    assert count(lambda x: (0.0, np.ones(2)), lr=1e-2, tolerance_change=1e-9, max_iter=50)[:2] == (2, 1)
    assert count(bowl, (1e-3, 0.0), tolerance_change=1e-5, max_iter=50)[:2] == (1, 1)  # the slope is below it


def test_max_eval_follows_max_iter_unless_it_is_given():
    (w,) = tensors([START])
    optimizer, calls = LBFGS([w], lr=1e-4, max_iter=3), []
    optimizer.step(by_hand(optimizer, calls=calls))  # up to 3 evaluations, the last of them behind the second step
    assert (len(calls), optimizer.n_iter) == (3, 2)
    optimizer.max_iter = 4  # up to 5
    optimizer.step(by_hand(optimizer, calls=calls))
    assert (len(calls), optimizer.n_iter) == (3 + 4, 2 + 4)


def test_curvature_that_is_negative_is_not_learnt():
    (w,) = tensors([[1.0, 2.0]])
    optimizer = LBFGS([w], lr=0.1, max_iter=4)
    optimizer.step(by_hand(optimizer, lambda x: (-float(x @ x) / 2, -x)))
    kept = optimizer.state_dict()["memory"]
    assert kept["old_dirs"] == [] and kept["H_diag"] == 1.0 and optimizer.n_iter == 4


# Like other optimizers -----------------------------------------------------------------------------------------------


def test_lr_may_be_a_schedule_of_the_calls():
    (w,) = tensors([[3.0, -4.0]])
    optimizer = LBFGS([w], lr=lambda t: 0.5 - 0.1 * t, max_iter=1)
    for t, lr in enumerate((0.5, 0.4)):
        assert optimizer.lr == optimizer.param_groups[0]["lr"] == pytest.approx(lr) and optimizer.t == t
        before = w.detach().numpy().copy()
        optimizer.step(by_hand(optimizer, bowl))
    kept = optimizer.state_dict()["memory"]
    np.testing.assert_allclose(w.detach().numpy() - before, 0.4 * kept["d"])


def test_settings_show_and_change_like_those_of_other_optimizers():
    (w,) = tensors([START])
    optimizer = LBFGS([w], 0.5, 7, None, 1e-5, 1e-6, 3, "strong_wolfe")
    shown = "lr=0.5, max_iter=7, max_eval=None, tolerance_grad=1e-05, tolerance_change=1e-06, history_size=3"
    assert repr(optimizer) == f"LBFGS(1 parameter, {shown}, line_search_fn='strong_wolfe')"
    optimizer.max_iter, optimizer.param_groups[0]["history_size"] = np.int64(2), 1
    assert optimizer.param_groups[0]["max_iter"] == 2 and type(optimizer.max_iter) is int
    for _ in range(3):
        optimizer.step(by_hand(optimizer))
    assert optimizer.t == 3 and len(optimizer.state_dict()["memory"]["ro"]) == 1
    optimizer.train(), optimizer.eval(), optimizer.zero_grad()
    assert w.grad is None and optimizer.measures is None and optimizer.rule is None


def test_what_has_no_rule_says_so():
    (w,) = tensors([START])
    with pytest.raises(TypeError, match="^LBFGS: an optimizer that overrides step\\(\\) has no rule to read$"):
        LBFGS.formula()
    with pytest.raises(TypeError, match="^LBFGS: an optimizer that overrides step\\(\\) has no rule to read$"):
        LBFGS.explain()
    with pytest.raises(TypeError, match="^LBFGS.averaged: .* use minima.optim.EMA$"):
        LBFGS([w]).averaged()


def test_it_fits_a_regression_to_the_last_digit():
    draw = np.random.default_rng(0)
    x, true = draw.normal(size=(50, 4)), draw.normal(size=4)
    layer = nn.Linear(4, 1)
    target = (x @ true)[:, None] + 0.5
    optimizer = LBFGS(layer, **WOLFE, max_iter=100)
    data, wanted = Tensor(x), Tensor(target)

    def closure():
        optimizer.zero_grad()
        loss = ((layer(data) - wanted) ** 2).mean()
        loss.backward()
        return loss

    optimizer.step(closure)
    assert closure().item() < 1e-9


def test_a_logistic_regression_has_scikit_learn_s_weights_and_scipy_s_lowest_point():
    linear = pytest.importorskip("sklearn.linear_model")
    scipy = pytest.importorskip("scipy.optimize")
    draw = np.random.default_rng(0)
    x = draw.normal(size=(300, 5)) * [1, 3, 10, 30, 100]
    sides = np.where(draw.uniform(size=300) < 1 / (1 + np.exp(-(x @ [2, -0.5, 0.1, 0.02, -0.01] + 0.5))), 1.0, -1.0)

    def function(w):
        margins = sides * (x @ w[:-1] + w[-1])
        share = sides / (1 + np.exp(margins))
        penalty = np.append(w[:-1], 0.0)
        return float(np.logaddexp(0, -margins).sum() + penalty @ penalty / 2), penalty - np.append(
            x.T @ share, share.sum()
        )

    params = tensors([np.zeros(5), [0.0]])
    optimizer = LBFGS(params, **WOLFE, max_iter=200, tolerance_change=1e-13)
    optimizer.step(by_hand(optimizer, function))
    model = linear.LogisticRegression(tol=1e-10, max_iter=10_000).fit(x, sides)
    np.testing.assert_allclose(whole(params), np.append(model.coef_, model.intercept_), rtol=1e-5)
    least = scipy.minimize(lambda w: function(w), np.zeros(6), jac=True, method="L-BFGS-B", tol=1e-14).fun
    assert function(whole(params))[0] == pytest.approx(least, rel=1e-9)


BAD = {
    "max_iter": (2.5, TypeError, "LBFGS: max_iter must be a whole number in [0, inf); got 2.5"),
    "max_eval": (-1, ValueError, "LBFGS: max_eval must be None or lie in [0, inf); got -1.0"),
    "history_size": (0, ValueError, "LBFGS: history_size must lie in [1, inf); got 0.0"),
    "lr": (-1.0, ValueError, "LBFGS: lr must lie in [0, inf); got -1.0"),
    "tolerance_grad": ("1e-7", TypeError, "LBFGS: tolerance_grad must be a number in (-inf, inf); got '1e-7'"),
    "line_search_fn": ("wolfe", ValueError, "LBFGS: line_search_fn must be None or 'strong_wolfe'; got 'wolfe'"),
    "on_nonfinite": (None, ValueError, "LBFGS: on_nonfinite must be one of 'skip', 'raise', 'propagate'; got None"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_setting_that_is_not_allowed_is_refused_in_a_sentence(name):
    value, error, words = BAD[name]
    (w,) = tensors([START])
    with pytest.raises(error, match=f"^{re.escape(words)}$"):
        LBFGS([w], **{name: value})
    optimizer = LBFGS([w])
    with pytest.raises(error, match=f"^{re.escape(words)}$"):
        setattr(optimizer, name, value)


def test_groups_are_refused():
    a, b = tensors([START, START])
    with pytest.raises(ValueError, match="^LBFGS: all parameters are one vector, and must be one group; got 2$"):
        LBFGS([{"params": [a]}, {"params": [b]}])
    optimizer = LBFGS([{"params": [a], "lr": 0.5}])
    assert optimizer.lr == 0.5
    with pytest.raises(ValueError, match="^LBFGS: all parameters are one vector, and no group can be added; "):
        optimizer.add_param_group({"params": [b]})
    assert len(optimizer.param_groups) == 1


@pytest.mark.parametrize("closure", [None, 3.0])
def test_a_step_needs_a_closure(closure):
    optimizer = LBFGS(tensors([START]))
    with pytest.raises(TypeError, match=f"^LBFGS.step: closure must be a function .*; got {closure}; write step"):
        optimizer.step(closure)
    assert optimizer.t == 0


@pytest.mark.parametrize("loss", [None, "3", np.ones(2)])
def test_a_closure_must_return_the_loss(loss):
    (w,) = tensors([START])
    optimizer = LBFGS([w])
    with pytest.raises(TypeError, match="^LBFGS.step: closure must return the loss, a number or a tensor of one; got "):
        optimizer.step(lambda: loss)
    assert w.tolist() == START.tolist() and optimizer.func_evals == 0


def test_a_closure_must_compute_gradients_that_fit():
    (w,) = tensors([START])
    optimizer = LBFGS([w])
    with pytest.raises(ValueError, match="^LBFGS.step: closure must compute gradients, and no parameter has one; call"):
        optimizer.step(lambda: 1.0)
    optimizer.step(by_hand(optimizer))
    before, node = w.tolist(), w.node

    def closure():
        node.array, node.tensor = np.ones(3), None  # the setter of grad would refuse it
        return 1.0

    with pytest.raises(
        ValueError, match=r"^LBFGS.step: gradient of parameter 0 has shape \(3,\), the parameter has \(5,"
    ):
        optimizer.step(closure)
    assert w.tolist() == before


# What goes wrong -----------------------------------------------------------------------------------------------------


def failing(optimizer, at, error=RuntimeError):
    """A closure that raises when it is called for the ``at``-th time."""
    calls, inner = [], by_hand(optimizer)

    def closure():
        calls.append(1)
        if len(calls) == at:
            raise error
        return inner()

    return closure


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("given", [{**WOLFE, "max_iter": 10}, {"lr": 0.02, "max_iter": 10}])
def test_a_closure_that_raises_leaves_the_last_step_that_was_finished(given, error):
    given = {**given, "tolerance_change": -1.0}  # so that nothing stops early
    for at in range(1, 12 if "lr" not in given else 10):
        (w,) = tensors([START])
        optimizer = LBFGS([w], **given)
        places, closure = [], failing(optimizer, at, error)

        def watched(closure=closure, w=w, places=places):
            places.append(w.tolist())
            return closure()

        with pytest.raises(error):
            optimizer.step(watched)
        assert w.tolist() in places and optimizer.func_evals == at - 1 and optimizer.t == 0
        told = curvature.LBFGS(rosenbrock_by_hand, START, **{**given, "max_iter": optimizer.n_iter, "max_eval": 99})
        told.call()
        np.testing.assert_allclose(w.detach().numpy(), told.x, rtol=1e-7)
        before, optimizer.max_iter = rosenbrock_by_hand(whole([w]))[0], 4  # and it goes on from there
        optimizer.step(by_hand(optimizer))
        assert rosenbrock_by_hand(whole([w]))[0] < before


def walled(x):
    """A valley with the edge of the world beside it."""
    loss, grad = rosenbrock_by_hand(x)
    return (loss, grad) if abs(x).max() < 1.5 else (np.nan, np.full_like(x, np.nan))


def test_a_search_comes_back_from_what_is_not_finite():
    for guard in ("skip", "raise"):
        (w,) = tensors([START])
        optimizer = LBFGS([w], lr=100.0, **WOLFE, max_iter=60, max_eval=600, on_nonfinite=guard)
        optimizer.step(by_hand(optimizer, walled))
        np.testing.assert_allclose(w.detach().numpy(), 1, atol=1e-5)
        assert optimizer.skipped == 0 and optimizer.t == 1


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["loss", "gradient"])
def test_what_is_not_finite_from_the_beginning_changes_nothing(which, wrong):
    def broken(x):
        loss, grad = rosenbrock_by_hand(x)
        return (wrong, grad) if which == "loss" else (loss, np.where(np.arange(5) == 2, wrong, grad))

    (w,) = tensors([START])
    optimizer = LBFGS([w], **WOLFE)
    optimizer.step(by_hand(optimizer))
    before, kept = w.tolist(), optimizer.state_dict()["memory"]
    optimizer.step(by_hand(optimizer, broken))
    assert w.tolist() == before and (optimizer.skipped, optimizer.t) == (1, 1)
    optimizer.on_nonfinite = "raise"
    said = f"loss is {wrong}" if which == "loss" else "the gradient is not finite"
    with pytest.raises(FloatingPointError, match=f"^LBFGS.step: {said}; nothing was changed$"):
        optimizer.step(by_hand(optimizer, broken))
    now = optimizer.state_dict()["memory"]
    assert w.tolist() == before and now.pop("func_evals") == kept.pop("func_evals") + 2
    assert repr(now) == repr(kept)
    optimizer.on_nonfinite = "propagate"
    if which == "gradient":
        optimizer.step(by_hand(optimizer, broken))
        assert not np.isfinite(w.detach().numpy()).all()


def test_a_step_without_a_search_into_what_is_not_finite_is_taken_back_and_the_pairs_forgotten():
    (w,) = tensors([START])
    optimizer = LBFGS([w], lr=0.02, max_iter=5)
    optimizer.step(by_hand(optimizer))
    before = w.tolist()
    optimizer.lr = 1e4
    optimizer.step(by_hand(optimizer, walled))
    assert w.tolist() == before and optimizer.n_iter == 0 and "d" not in optimizer.state_dict()["memory"]
    optimizer.lr, optimizer.on_nonfinite = 1e3, "raise"
    with pytest.raises(FloatingPointError, match="^LBFGS.step: loss is nan; the step that led there was taken back$"):
        optimizer.step(by_hand(optimizer, walled))
    assert w.tolist() == before and optimizer.n_iter == 0
    optimizer.lr = 0.02
    optimizer.step(by_hand(optimizer, walled))
    assert optimizer.n_iter == 5 and rosenbrock_by_hand(whole([w]))[0] < rosenbrock_by_hand(np.array(before))[0]


def test_a_loss_that_is_flat_along_the_direction_and_one_that_falls_for_ever_end():
    (w,) = tensors([[1.0]])
    optimizer = LBFGS([w], **WOLFE, max_iter=5, max_eval=50)
    optimizer.step(by_hand(optimizer, lambda x: (-float(x[0]), np.array([-1.0]))))
    assert optimizer.func_evals <= 51 and np.isfinite(w.item()) and w.item() > 1e3


@pytest.mark.parametrize("given", [{**WOLFE, "max_iter": 10}, {"lr": 0.02, "max_iter": 10}])
def test_nothing_is_learnt_from_a_step_that_was_taken_back(given):
    (w,) = tensors([START])
    optimizer = LBFGS([w], **given)
    with pytest.raises(RuntimeError):
        optimizer.step(failing(optimizer, 5))
    kept = optimizer.state_dict()["memory"]
    assert kept["t"] == 0 and kept["ro"] and kept["prev_loss"] == rosenbrock_by_hand(whole([w]))[0]
    optimizer.max_iter = 1
    optimizer.step(by_hand(optimizer, lambda x: (rosenbrock_by_hand(x)[0], 3 * rosenbrock_by_hand(x)[1])))
    assert optimizer.state_dict()["memory"]["ro"] == kept["ro"]


# What is kept --------------------------------------------------------------------------------------------------------


def run(optimizer, calls=1):
    for _ in range(calls):
        optimizer.step(by_hand(optimizer))
    return whole(optimizer.params)


def through_pickle(optimizer, path):
    return pickle.loads(pickle.dumps(optimizer))


def through_deepcopy(optimizer, path):
    return copy.deepcopy(optimizer)


def through_a_state_dict(optimizer, path):
    params = [Tensor(p.detach().numpy().copy(), dtype="float64", requires_grad=True) for p in optimizer.params]
    other = LBFGS(params)
    assert other.load_state_dict(optimizer.state_dict()) == ([], [])
    return other


def through_a_checkpoint(optimizer, path):
    params = [Tensor(p.detach().numpy().copy(), dtype="float64", requires_grad=True) for p in optimizer.params]
    other = LBFGS(params)
    checkpoint.save(path / "run.safetensors", optimizer=optimizer)
    checkpoint.load(path / "run.safetensors", optimizer=other)
    return other


@pytest.mark.parametrize("calls", [0, 1, 3])
@pytest.mark.parametrize("through", [through_pickle, through_deepcopy, through_a_state_dict, through_a_checkpoint])
def test_a_copy_goes_on_with_the_same_bits(through, calls, tmp_path):
    optimizer = LBFGS(tensors(split(START, [(2,), (3, 1)])), **WOLFE, max_iter=4, history_size=5, on_nonfinite="raise")
    run(optimizer, calls)
    other = through(optimizer, tmp_path)
    before = whole(optimizer.params)
    assert (other.func_evals, other.n_iter, other.t) == (optimizer.func_evals, optimizer.n_iter, calls)
    assert other.on_nonfinite == "raise" and repr(other) == repr(optimizer)
    kept = repr(optimizer.state_dict())
    run(other, 2)
    assert (whole(optimizer.params) == before).all() and repr(optimizer.state_dict()) == kept  # nothing is shared
    assert (run(optimizer, 2) == whole(other.params)).all() and repr(optimizer.state_dict()) == repr(other.state_dict())


def test_parameters_are_found_by_name_in_whatever_order():
    a, b = tensors([START[:2], START[2:]])
    optimizer = LBFGS([("a", a), ("b", b)], **WOLFE, max_iter=4)
    run(optimizer, 2)
    a2, b2 = tensors([a.detach().numpy(), b.detach().numpy()])
    other = LBFGS([("b", b2), ("a", a2)])
    other.load_state_dict(optimizer.state_dict())
    run(optimizer, 2)

    def closure():
        loss, grad = rosenbrock_by_hand(whole([a2, b2]))
        a2.grad, b2.grad = Tensor(grad[:2], dtype="float64"), Tensor(grad[2:], dtype="float64")
        return loss

    for _ in range(2):
        other.step(closure)
    np.testing.assert_allclose(whole([a2, b2]), whole([a, b]), rtol=1e-10)


def spoilt(kept, **changes):
    kept = {**kept, "memory": {**kept["memory"], **changes}}
    kept["memory"] = {name: value for name, value in kept["memory"].items() if value is not None}
    return kept


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        (
            {"d": np.ones(4)},
            ValueError,
            r"a vector of 'memory' must be float64, of length 5; got \('float64', \(4,\)\)",
        ),
        ({"d": np.ones(5, "f4")}, ValueError, r"a vector of 'memory' must be float64, of length 5; got \('float32'"),
        ({"old_stps": [np.ones(4)]}, ValueError, ""),
        ({"ro": None}, ValueError, "'memory' must have 'ro' where it has 'd'"),
        ({"t": "1"}, TypeError, "t must be a finite number"),
        ({"n_iter": None}, TypeError, "'memory' must have 'func_evals', 'n_iter' and 'parameters'"),
        ({"parameters": [["0", [5, 1]]]}, ValueError, "the parameters of 'memory' must be those of the optimizer"),
    ],
)
def test_a_state_dict_that_does_not_fit_is_refused_and_nothing_lost(changes, error, words):
    optimizer, other = (LBFGS(tensors([START]), **WOLFE, max_iter=3) for _ in range(2))
    run(optimizer, 2), run(other, 1)
    kept, before = optimizer.state_dict(), repr(other.state_dict())
    with pytest.raises(error, match=f"^LBFGS.load_state_dict: {words}"):
        other.load_state_dict(spoilt(kept, **changes))
    with pytest.raises(TypeError, match="^LBFGS.load_state_dict: state_dict must have a dict 'memory'"):
        other.load_state_dict({**kept, "memory": None})
    assert repr(other.state_dict()) == before
    other.load_state_dict(kept)


def test_a_state_dict_is_plain_data_under_pytorch_s_names_and_a_snapshot():
    optimizer = LBFGS([("w", tensors([START])[0])], **WOLFE, max_iter=3)
    assert [*optimizer.state_dict()["memory"]] == ["func_evals", "n_iter", "parameters"]
    run(optimizer)
    kept = optimizer.state_dict()
    before = repr(kept)
    assert kept["memory"]["parameters"] == [["w", [5]]]
    names = "func_evals n_iter parameters d t prev_flat_grad prev_loss old_dirs old_stps ro H_diag"
    assert [*kept["memory"]] == names.split()
    run(optimizer, 3)
    assert repr(kept) == before
