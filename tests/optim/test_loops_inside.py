"""Lookahead and SAM around rules of every kind, in both faces: as when a person does by hand what the loop does.

The rules themselves are held to oracles of their own elsewhere; here they are stepped without a loop, and slow weights
and worst points are computed in NumPy.
"""

import numpy as np
import pytest
from loops import SHAPES, worst

from minima import Tensor, optim

RULES = {
    "SGD": {"lr": 0.05, "momentum": 0.9},
    "ScheduleFreeSGD": {"lr": 0.1},
    "ScheduleFreeAdamW": {"lr": 0.05, "weight_decay": 0.1},
    "Prodigy": {"d0": 0.01},
    "DoG": {"reps_rel": 0.1},
    "SophiaG": {"lr": 0.05, "rho": 0.1, "batch_size": 2.0},
    "PolyakSGD": {"lr": 0.5},
    "MoMo": {"lr": 0.5},
    "MoMoAdam": {"lr": 0.1},
    "MADGRAD": {"lr": 0.05},
    "LAMB": {"lr": 0.05},
}
"""Rules with weights to evaluate, totals, estimates, the loss, and the first parameter in their state."""
STEPS, K, ALPHA, RHO = 13, 3, 0.6, 0.3


def start():
    rng = np.random.default_rng(0)
    return [rng.normal(size=shape) for shape in SHAPES]


def loss_at(values):
    return sum(np.log(np.cosh(x)).sum() + 0.05 * (x**2).sum() for x in values) + 0.1 * sum(map(np.sum, values)) ** 2


def gradients_at(values):
    common = 0.2 * sum(map(np.sum, values))
    return [np.tanh(x) + 0.1 * x + common for x in values]


class Tensors:
    """The face of minima's own Tensors, as this test needs it."""

    home = optim

    def __init__(self):
        self.params = [Tensor(value, dtype="float64", requires_grad=True) for value in start()]

    def values(self):
        return [param.buffer.copy() for param in self.params]

    def put(self, values):
        for param, value in zip(self.params, values, strict=True):
            param.buffer[...] = value

    def give(self, grads):
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = Tensor(grad, dtype="float64")


class Torch:
    """The face of PyTorch's."""

    def __init__(self):
        self.torch = pytest.importorskip("torch")
        self.home = pytest.importorskip("minima.torch")
        self.params = [self.torch.tensor(value, requires_grad=True) for value in start()]

    def values(self):
        return [param.detach().numpy().copy() for param in self.params]

    def put(self, values):
        with self.torch.no_grad():
            for param, value in zip(self.params, values, strict=True):
                param.copy_(self.torch.from_numpy(value))

    def give(self, grads):
        for param, grad in zip(self.params, grads, strict=True):
            param.grad = self.torch.tensor(grad)


@pytest.fixture(params=[Tensors, Torch])
def face(request):
    return request.param


def made(face, name):
    here = face()
    return here, getattr(here.home, name)(here.params, **RULES[name])


def estimate(here, optimizer, step):
    if step % 4 == 0 and hasattr(optimizer, "update_hessian"):
        here.give(gradients_at(here.values()))
        optimizer.update_hessian()


def looped(face, name, loop):
    """The parameters after every step of an optimizer in a loop."""
    here, inside = made(face, name)
    optimizer = loop(here.home, inside)

    def closure():
        here.give(gradients_at(here.values()))
        return loss_at(here.values())

    for step in range(STEPS):
        estimate(here, optimizer, step)
        before = loss_at(here.values())
        assert optimizer.step(closure) == before
        yield here.values(), optimizer


@pytest.mark.parametrize("name", RULES)
def test_lookahead_is_the_rule_whose_parameters_are_moved_by_hand(face, name):
    here, plain = made(face, name)
    slow = start()
    for step, (found, optimizer) in enumerate(looped(face, name, lambda home, x: home.Lookahead(x, K, ALPHA)), 1):
        estimate(here, plain, step - 1)
        here.give(gradients_at(here.values()))
        plain.step(loss=loss_at(here.values()))
        if step % K == 0:
            slow = [x + ALPHA * (new - x) for x, new in zip(slow, here.values(), strict=True)]
            here.put(slow)
        for mine, theirs in zip(found, here.values(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-10, atol=1e-11)
        for mine, theirs in zip(optimizer.slow, slow, strict=True):
            np.testing.assert_allclose(np.asarray(mine), theirs, rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize("name", RULES)
def test_sam_is_the_rule_with_gradient_and_loss_of_the_worst_point(face, name):
    here, plain = made(face, name)
    for step, (found, _) in enumerate(looped(face, name, lambda home, x: home.SAM(x, RHO))):
        estimate(here, plain, step)
        at = worst(here.values(), gradients_at(here.values()), RHO)
        here.give(gradients_at(at))
        plain.step(loss=loss_at(at))
        for mine, theirs in zip(found, here.values(), strict=True):
            np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)


@pytest.mark.parametrize("name", ["ScheduleFreeSGD", "ScheduleFreeAdamW"])
def test_weights_to_evaluate_are_those_of_the_rule_inside(face, name):
    here, plain = made(face, name)
    for step, (found, optimizer) in enumerate(looped(face, name, lambda home, x: home.SAM(x, RHO))):
        here.give(gradients_at(worst(here.values(), gradients_at(here.values()), RHO)))
        plain.step()
        if step % 5 == 4:
            params = [param for group in optimizer.param_groups for param in getattr(group, "params", group["params"])]
            for each in (optimizer, plain):
                each.eval()
            for mine, theirs, trained in zip(params, here.values(), found, strict=True):
                mine = np.asarray(mine.detach())
                np.testing.assert_allclose(mine, theirs, rtol=1e-9, atol=1e-10)
                assert not np.allclose(mine, trained, rtol=1e-4)
            for each in (optimizer, plain):
                each.train()


@pytest.mark.parametrize("loop", ["SAM", "Lookahead"])
def test_no_loop_goes_around_lbfgs(face, loop):
    here = face()
    solver = here.home.LBFGS(here.params)
    words = f"^{loop}: LBFGS cannot be wrapped: it takes many steps .*; call its step.closure. without {loop}$"
    with pytest.raises(TypeError, match=words):
        getattr(here.home, loop)(solver)


@pytest.mark.parametrize("name", ["PolyakSGD", "MoMo"])
def test_without_a_loss_sam_says_that_the_rule_needs_one(face, name):
    here, inside = made(face, name)
    optimizer, before = here.home.SAM(inside, RHO), here.values()
    with pytest.raises(TypeError, match=f"^{name}.step: needs the loss of this step; "):
        optimizer.step(lambda: here.give(gradients_at(here.values())))
    here.give(gradients_at(here.values()))
    optimizer.first_step()
    here.give(gradients_at(here.values()))
    with pytest.raises(TypeError, match=f"^{name}.step: needs the loss of this step; "):
        optimizer.second_step()
    assert all((mine == theirs).all() for mine, theirs in zip(here.values(), before, strict=True))
    assert not optimizer.is_perturbed and optimizer.t == 0
