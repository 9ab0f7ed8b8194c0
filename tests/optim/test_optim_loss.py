"""Rules that look at the loss of a step: how they are given it, and what they do without."""

import numpy as np
import pytest
from rules import bits, give

from minima import Tensor, nn
from minima.optim import (
    SGD,
    MoMo,
    MoMoAdam,
    Optimizer,
    PolyakSGD,
    Shared,
    accumulate,
    hyper,
    lr_range_test,
    minimum,
    norm,
    total,
)


class Scaled(Optimizer):
    """A step as long as the loss, and two numbers that are made of losses alone."""

    lr: float = hyper(0.1, low=0)
    lossy: bool = hyper(True)

    @staticmethod
    def update(param, grad, lowest: Shared = 1e300, last: Shared = 0.0, *, lr, lossy, loss):
        if not lossy:
            return param - lr * grad, lowest, last
        return param - lr * loss * grad, minimum(lowest, loss), loss


RULES = [Scaled, PolyakSGD, MoMo, MoMoAdam]
each_rule = pytest.mark.parametrize("cls", RULES)
NEEDS = "needs the loss of this step; call step(loss=loss) or step(closure); nothing was changed"


def weights(*dtypes):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=(3, 2)), dtype=dtype, requires_grad=True) for dtype in dtypes or ("float64",) * 2]


def gradients(params, seed=1):
    rng = np.random.default_rng(seed)
    give(params, [rng.normal(size=param.shape) for param in params])


@each_rule
def test_a_step_without_the_loss_is_refused_and_loses_nothing(cls, engine):
    params = weights()
    optimizer = cls(params, **engine)
    for seed in range(3):
        gradients(params, seed)
        before = bits(optimizer)
        for step in (optimizer.step, lambda: optimizer.step(lambda: None), lambda: optimizer.step(measure=True)):
            with pytest.raises(TypeError) as caught:
                step()
            assert str(caught.value) == f"{cls.__name__}.step: {NEEDS}"
            assert bits(optimizer) == before and optimizer.t == seed
        optimizer.step(loss=1.0)
        assert bits(optimizer) != before and optimizer.t == seed + 1


@each_rule
def test_the_loss_may_be_a_number_a_tensor_or_what_a_closure_returns(cls, engine):
    found = []
    for kind in (float, np.float32, lambda x: Tensor(x), lambda x: Tensor([[x]], dtype="float64", requires_grad=True)):
        params = weights()
        optimizer, other = cls(params, **engine), cls(twins := weights(), **engine)
        for seed in range(3):
            loss = kind(0.75 + seed)
            gradients(params, seed)
            assert optimizer.step(loss=loss) is loss
            assert other.step(lambda loss=loss, seed=seed: gradients(twins, seed) or loss) is loss
        assert bits(optimizer) == bits(other)
        found.append(bits(optimizer))
    assert found[1:] == found[:-1]


def test_the_loss_of_a_closure_takes_the_place_of_the_one_that_is_given(engine):
    params = weights()
    optimizer = Scaled(params, **engine)
    gradients(params)
    assert optimizer.step(lambda: 3.0, loss=5.0) == 3.0 and optimizer.last[0].item() == 3.0


@pytest.mark.parametrize("loss", ["1.0", [1.0], np.ones(2), Tensor([1.0, 2.0]), 1j], ids=str)
def test_what_is_no_number_is_refused_and_nothing_changes(loss, engine):
    params = weights()
    optimizer = MoMo(params, **engine)
    gradients(params)
    before = bits(optimizer)
    with pytest.raises(
        TypeError, match=r"^MoMo.step: loss must be a number, or a Tensor of one; got .*; nothing was c"
    ):
        optimizer.step(loss=loss)
    assert bits(optimizer) == before
    other = SGD(params, **engine)
    assert other.step(loss=loss) is loss and other.t == 1  # which looks at no loss


def test_all_parameters_see_the_same_loss_whatever_their_group_and_dtype(engine):
    params = weights("float64", "float32", "float32", "float16")
    optimizer = Scaled([{"params": params[:2]}, {"params": params[2:], "lr": 0.3}], **engine)
    rates, exact = (0.1, 0.1, 0.3, 0.3), (1e-15, 1e-6, 1e-6, 1e-2)
    for step, loss in enumerate((0.7, 1.75, 0.25)):
        before = [param.detach().numpy().astype("float64") for param in params]
        gradients(params, step)
        grads = [param.grad.numpy().astype("float64") for param in params]
        optimizer.step(loss=loss)
        for param, old, grad, lr, rtol in zip(params, before, grads, rates, exact, strict=True):
            np.testing.assert_allclose(param.detach().numpy(), old - lr * loss * grad, rtol=rtol, atol=rtol / 10)


def test_the_loss_is_a_number_in_float64_whatever_the_parameters_are(engine):
    params = weights("float16", "float32")
    optimizer = Scaled(params, **engine)
    losses = [1 + 2.0**-40, 1 / 3, 1e200]
    for loss in losses:
        gradients(params)
        with np.errstate(over="ignore"):
            optimizer.step(loss=loss)
        assert optimizer.last[0].item() == loss and optimizer.lowest[0].item() == min(losses[: optimizer.t])


def test_a_variant_that_looks_at_no_loss_needs_none(engine):
    params = weights()
    optimizer = Scaled(params, lossy=False, **engine)
    gradients(params)
    optimizer.step()
    optimizer.lossy = True
    with pytest.raises(TypeError, match="^Scaled.step: needs the loss"):
        optimizer.step()
    optimizer.step(loss=2.0)
    assert optimizer.t == 2


def test_where_nothing_has_a_gradient_no_loss_is_needed(engine):
    optimizer = MoMo(weights(), **engine)
    optimizer.step()
    assert optimizer.t == 1 and optimizer.steps == (0, 0)


@each_rule
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_loss_that_is_not_finite_is_skipped_refused_or_propagated(cls, bad, engine):
    params = weights()
    optimizer = cls(params, on_nonfinite="skip", **engine)
    gradients(params)
    optimizer.step(loss=1.0)
    before = bits(optimizer)
    optimizer.step(loss=bad)
    assert bits(optimizer) == before and optimizer.skipped == 1
    optimizer.on_nonfinite = "raise"
    with pytest.raises(FloatingPointError, match=rf"^{cls.__name__}.step: loss is {bad}; nothing was changed$"):
        optimizer.step(loss=bad)
    assert bits(optimizer) == before
    optimizer.on_nonfinite = "propagate"
    optimizer.step(loss=bad)
    if np.isnan(bad):
        assert all(np.isnan(param.detach().numpy()).all() for param in params)


@each_rule
def test_maximizing_is_minimizing_the_negated_loss(cls, engine):
    up, down = weights(), weights()
    climbing, falling = cls(up, maximize=True, **engine), cls(down, **engine)
    for seed in range(4):
        gradients(up, seed)
        give(down, [-param.grad.numpy() for param in up])
        climbing.step(loss=0.5 + seed)
        falling.step(loss=-0.5 - seed)
    assert bits(climbing) == bits(falling)


def test_groups_that_share_what_is_made_of_losses_must_agree_whether_they_climb(engine):
    params = weights()
    optimizer = MoMo([{"params": params[:1]}, {"params": params[1:], "maximize": True}], **engine)
    gradients(params)
    before = bits(optimizer)
    words = (
        r"^MoMo.step: maximize goes into what all parameters share, and must be the same in all groups; got False and"
    )
    with pytest.raises(ValueError, match=words + " True; nothing was changed$"):
        optimizer.step(loss=1.0)
    assert bits(optimizer) == before
    apart = PolyakSGD([{"params": params[:1]}, {"params": params[1:], "maximize": True}], **engine)
    apart.step(loss=1.0)  # which shares nothing
    assert apart.t == 1


def test_a_hyperparameter_cannot_be_called_loss():
    words = "^Mine.update: loss is that of the step, and cannot be a hyperparameter; choose another name$"
    with pytest.raises(TypeError, match=words):
        update = staticmethod(lambda param, grad, *, loss: param)
        type("Mine", (Optimizer,), {"loss": hyper(0.5), "update": update})


def test_the_formula_shows_the_loss_of_the_step_and_its_sign():
    assert str(PolyakSGD.formula(weight_decay=0)).splitlines() == [
        "size = c*(total(norm(grad)**2) + eps)",
        "gap = loss - bound",
        "step = where(size > 0, minimum(gap/size, lr), 0)",
        "param = param - step*grad",
    ]
    assert "loss = -loss" in str(PolyakSGD.formula(maximize=True)).splitlines()
    pytest.importorskip("sympy")
    assert r"\mathrm{loss}_t" in MoMo.formula().latex


@each_rule
def test_a_rule_that_looks_at_the_loss_explains_itself(cls):
    assert cls.explain().bytes_moved > 0 and "loss" in str(cls.explain())


def test_a_rule_that_looks_at_the_loss_runs_by_hand():
    grad, param = np.array([3.0, 4.0]), np.array([1.0, 2.0])
    found = PolyakSGD.update(param, grad, lr=1.0, weight_decay=0.0, bound=0.5, c=1.0, eps=0.0, positive=False, loss=3.0)
    np.testing.assert_allclose(found, param - 2.5 / 25 * grad)


@each_rule
def test_a_run_that_is_resumed_goes_on_with_the_same_bits(cls, engine):
    params, others = weights(), weights()
    optimizer, resumed = cls(params, **engine), cls(others, **engine)
    for seed in range(6):
        gradients(params, seed)
        optimizer.step(loss=1.0 + seed)
        if seed == 2:
            give(others, [None] * len(others))
            for param, other in zip(params, others, strict=True):
                other.data = Tensor(param.detach().numpy().copy(), dtype=param.dtype)
            resumed.load_state_dict(optimizer.state_dict())
        elif seed > 2:
            gradients(others, seed)
            resumed.step(loss=1.0 + seed)
    assert bits(resumed) == bits(optimizer)


def test_a_parameter_that_joins_later_weighs_in_the_averages_of_momo_as_in_their_products(engine):
    early, late = weights()
    optimizer = MoMo([early, late], beta=0.75, lr=1e-3, **engine)
    gradients([early])
    optimizer.step(loss=1.0)
    before = [param.detach().numpy().copy() for param in (early, late)]
    gradients([early, late], 2)
    exp_avg = optimizer.exp_avg[0].numpy().copy()
    dot = optimizer.dot_avg[0].item()
    optimizer.step(loss=1.0)
    np.testing.assert_allclose(optimizer.exp_avg[0].numpy(), 0.75 * exp_avg + 0.25 * early.grad.numpy())
    np.testing.assert_allclose(optimizer.exp_avg[1].numpy(), 0.25 * late.grad.numpy())
    now = sum(float((p.grad.numpy() * old).sum()) for p, old in zip((early, late), before, strict=True))
    assert optimizer.dot_avg[0].item() == pytest.approx(0.75 * dot + 0.25 * now, rel=1e-12)


def square(kind, **hypers):
    w = Tensor([3.0, -2.0, 1.0], dtype="float64", requires_grad=True)
    return w, kind([w], **hypers)


@pytest.mark.parametrize("kind", [PolyakSGD, MoMo, MoMoAdam])
def test_a_rate_that_is_far_too_high_does_no_harm(kind, engine):
    w, optimizer = square(kind, lr=30.0, **engine)
    for _ in range(200):
        loss = (w * w * Tensor([10.0, 3.0, 1.0], dtype="float64")).sum()
        loss.backward()
        optimizer.step(loss=loss)
        optimizer.zero_grad()
    assert np.abs(w.detach().numpy()).max() < 0.5
    still, plain = square(SGD, lr=30.0)
    for _ in range(20):
        (still * still).sum().backward()
        plain.step()
        plain.zero_grad()
    assert np.abs(still.detach().numpy()).max() > 1e6


def test_what_trains_for_somebody_tells_the_loss(engine):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(32, 4)), rng.normal(size=(32, 1))
    model = nn.Linear(4, 1)
    optimizer = MoMo(model, lr=0.01, **engine)

    def loss_fn(x, y):
        return ((model(Tensor(x)) - Tensor(y)) ** 2).mean()

    assert len(lr_range_test(loss_fn, optimizer, [(x, y)], steps=12).losses) == 12
    first = accumulate(loss_fn, (x, y), 4)
    assert optimizer.step(loss=first) == first
    assert loss_fn(x, y).item() < first


def test_totals_of_a_rule_of_ones_own_may_meet_the_loss(engine):
    class Mine(Optimizer):
        @staticmethod
        def update(param, grad, *, loss):
            return param - loss / total(norm(grad) ** 2) * grad

    params = weights()
    optimizer = Mine(params, **engine)
    before = [param.detach().numpy().copy() for param in params]
    gradients(params)
    size = sum((param.grad.numpy() ** 2).sum() for param in params)
    optimizer.step(loss=3.0)
    for param, old in zip(params, before, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), old - 3.0 / size * param.grad.numpy(), rtol=1e-12)
