"""Rules that look at the loss of a step, inside PyTorch."""

import copy

import numpy as np
import pytest
import torch
from tensors import EXACT, arrays, assert_same, parameters, steps

from minima import Tensor, optim
from minima import torch as mt
from minima.optim import Optimizer, Shared, hyper

CLASSES = [mt.PolyakSGD, mt.MoMo, mt.MoMoAdam]
each_class = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)


class Scaled(Optimizer):
    """A user's rule: a step as long as the loss, and the last loss."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, last: Shared = 0.0, *, lr, loss):
        return param - lr * loss * grad, loss


def problem(dtype=torch.float64):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2).to(dtype)
    x, y = torch.randn(8, 3, dtype=dtype), torch.randn(8, 2, dtype=dtype)
    return model, lambda: ((model(x) - y) ** 2).mean()


@each_class
def test_a_step_without_the_loss_is_refused_and_loses_nothing(cls, engine):
    params = parameters(torch.float32)
    optimizer = cls(params, engine=engine)
    steps(optimizer, params, 2)
    before = copy.deepcopy(arrays(optimizer, params))
    for step in (optimizer.step, lambda: optimizer.step(lambda: None)):
        with pytest.raises(
            TypeError, match=rf"^{cls.__name__}.step: needs the loss of this step; call step\(loss=loss"
        ):
            step()
    assert_same(arrays(optimizer, params), before, **EXACT)
    assert optimizer.t == 2
    steps(optimizer, params, 1)
    assert optimizer.t == 3


@each_class
def test_the_loss_may_be_a_number_a_tensor_or_what_a_closure_returns(cls, engine):
    found = []
    for way in ("number", "tensor", "with a graph", "closure"):
        model, loss_of = problem()
        optimizer = cls(model, engine=engine)
        for _ in range(5):

            def closure(optimizer=optimizer, loss_of=loss_of):
                optimizer.zero_grad()
                loss = loss_of()
                loss.backward()
                return loss

            if way == "closure":
                assert isinstance(optimizer.step(closure), torch.Tensor)
                continue
            loss = closure()
            loss = {"number": loss.item(), "tensor": loss.detach().reshape(1, 1)}.get(way, loss)
            assert optimizer.step(loss=loss) is loss
        found.append([param.detach().clone() for param in model.parameters()])
    for others in found[1:]:
        assert all(map(torch.equal, found[0], others))


def test_a_loss_in_half_precision_is_taken_as_it_is(engine):
    w = torch.ones(2, dtype=torch.float64, requires_grad=True)
    optimizer = mt.adapt(Scaled)([w], engine=engine)
    w.grad = torch.ones(2, dtype=torch.float64)
    optimizer.step(loss=torch.tensor(0.1, dtype=torch.bfloat16))
    assert optimizer.state[w]["last"].item() == torch.tensor(0.1, dtype=torch.bfloat16).item()
    with pytest.raises(
        TypeError, match=r"^Scaled.step: loss must be a number, or a tensor of one; got .*; nothing was"
    ):
        optimizer.step(loss=torch.ones(2))
    assert optimizer.t == 1


@each_class
def test_steps_are_those_of_minima_optim_on_a_loss_that_is_trained(cls, engine):
    w = torch.tensor([3.0, -2.0, 1.0], dtype=torch.float64, requires_grad=True)
    v = Tensor([3.0, -2.0, 1.0], dtype="float64", requires_grad=True)
    mine, theirs = cls([w], engine=engine), getattr(optim, cls.__name__)([v])
    for _ in range(10):
        mine.zero_grad(), theirs.zero_grad()
        losses = (w * w).sum(), (v * v).sum()
        losses[0].backward(), losses[1].backward()
        mine.step(loss=losses[0]), theirs.step(loss=losses[1])
    np.testing.assert_allclose(w.detach().numpy(), v.detach().numpy(), rtol=1e-13)


def test_hyperparameters_may_be_tensors_beside_the_loss(engine):
    found = []
    for lr in (0.05, torch.tensor(0.05, dtype=torch.float64)):
        params = parameters(torch.float64)
        optimizer = mt.MoMo(params, lr=lr, engine=engine)
        steps(optimizer, params, 4)
        found.append(arrays(optimizer, params))
    assert_same(*found, rtol=1e-12, atol=1e-14)


def test_the_scaler_hands_the_loss_on_as_it_is():
    found = []
    for scaled in (False, True):
        model, loss_of = problem(torch.float32)
        optimizer = mt.MoMo(model, lr=0.1)
        scaler = torch.amp.GradScaler("cpu", init_scale=1024.0, enabled=scaled)
        for _ in range(3):
            optimizer.zero_grad()
            loss = loss_of()
            scaler.scale(loss).backward()
            scaler.step(optimizer, loss=loss)
            scaler.update()
        found.append([param.detach().clone() for param in model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two)


def test_a_run_that_is_resumed_goes_on_with_the_same_bits(engine):
    params = parameters(torch.float32)
    optimizer = mt.MoMoAdam(params, engine=engine)
    steps(optimizer, params, 3)
    others = [param.detach().clone().requires_grad_() for param in params]
    resumed = mt.MoMoAdam(others, engine=engine)
    resumed.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    steps(optimizer, params, 3, seed=2)
    steps(resumed, others, 3, seed=2)
    assert_same(arrays(optimizer, params), arrays(resumed, others), **EXACT)


@pytest.mark.parametrize("bad", [float("nan"), torch.tensor(float("inf"))], ids=str)
def test_a_loss_that_is_not_finite_is_skipped(bad, engine):
    params = parameters(torch.float32)
    optimizer = mt.MoMo(params, engine=engine, on_nonfinite="skip")
    steps(optimizer, params, 2)
    before = copy.deepcopy(arrays(optimizer, params))
    optimizer.step(loss=bad)
    assert_same(arrays(optimizer, params), before, **EXACT)
    assert optimizer.skipped == 1
