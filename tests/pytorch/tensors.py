"""What the tests of minima.torch share: parameters of all shapes and layouts, gradients for them, comparisons."""

from types import SimpleNamespace

import torch

from minima import optim
from minima import torch as mt
from minima.optim import Optimizer, hyper, maximum, sign, where

SHAPES = [(3, 4), (5,), (), (1,), (0, 3), (2, 3, 4, 5), (6, 3)]


class Lion(Optimizer):
    """A user's rule."""

    lr: float = hyper(1e-4, low=0)
    beta1: float = hyper(0.9, low=0, below=1)
    beta2: float = hyper(0.99, low=0, below=1)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, beta1, beta2):
        direction = sign(beta1 * exp_avg + (1 - beta1) * grad)
        return param - lr * direction, beta2 * exp_avg + (1 - beta2) * grad


class Odd(Optimizer):
    """A rule that uses words which PyTorch has not for many tensors at a time, and hands on what it was given."""

    lr: float = hyper(0.1, low=0)
    warm: float = hyper(3.0, low=1)
    rough: bool = hyper(False, kw_only=True)

    @staticmethod
    def update(param, grad, peak=0.25, last=0.0, *, lr, warm, rough, t):
        peak = maximum(peak, abs(grad))
        calm = (abs(grad) <= 1) & ~(grad == 0) | (t > warm)
        step = where(calm, 2 / (1 + peak), 1 - 0.5**peak)
        if rough:
            step = step**3
        return param - lr * step * sign(grad) + 0.01 * last, peak, grad


own = SimpleNamespace(
    **{rule.__name__: mt.adapt(rule) for rule in (optim.SGD, optim.AdaGrad, optim.RMSProp, optim.Adam)}
)
"""minima's own definitions inside PyTorch."""

MINE = [own.SGD, own.AdaGrad, own.RMSProp, own.Adam, mt.adapt(Lion), mt.adapt(Odd)]
SETTINGS = [
    (own.SGD, {}),
    (own.SGD, {"momentum": 0.9, "nesterov": True, "wd": 0.1, "decay": "l2"}),
    (own.SGD, {"momentum": 0.9, "dampening": 0.5, "dampen_first": False}),
    (own.AdaGrad, {"wd": 0.1, "eps_inside": False, "initial": 0.1, "lr_decay": 0.1}),
    (own.RMSProp, {"wd": 0.1, "decay": "independent"}),
    (own.Adam, {"weight_decay": 0.1}),
    (mt.adapt(Lion), {"wd": 0.1}),
    (mt.adapt(Odd), {"rough": True}),
    (mt.SGD, {"momentum": 0.9, "dampening": 0.2, "weight_decay": 0.1}),
    (mt.Adagrad, {"initial_accumulator_value": 0.1, "lr_decay": 0.1}),
    (mt.RMSprop, {"momentum": 0.9, "centered": True}),
    (mt.Adam, {"amsgrad": True, "weight_decay": 0.1}),
]
"""Optimizers, with hyperparameters."""


def parameters(dtype=torch.float32, seed=0):
    """Parameters of all shapes; one of them in channels-last order, the last with gaps."""
    draw = torch.Generator().manual_seed(seed)
    params = [torch.randn(shape, generator=draw).to(dtype) for shape in SHAPES]
    params[5] = params[5].to(memory_format=torch.channels_last)
    params.append(torch.randn(6, 6, generator=draw).to(dtype)[:, ::2])
    return [param.requires_grad_() for param in params]


def told(optimizer):
    """What a step is told of the loss, if its rule looks at it."""
    rule = getattr(optimizer, "rule", None)
    return {"loss": 1.5} if rule is not None and rule.rule.needs_loss else {}


def steps(optimizer, params, count, seed=1, *, all_of_them=False):
    """Step by random gradients, some of them None."""
    draw = torch.Generator().manual_seed(seed)
    for step in range(count):
        for i, param in enumerate(params):
            grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(param.dtype)
            param.grad = grad if all_of_them or (step + i) % 5 else None
        optimizer.step(**told(optimizer))


def arrays(optimizer, params):
    """Parameters and state, as dicts of tensors."""
    state = optimizer.state_dict()["state"]
    return [{"param": param.detach().clone(), **state.get(i, {})} for i, param in enumerate(params)]


def assert_same(found, wanted, **tolerance):
    assert len(found) == len(wanted)
    for mine, other in zip(found, wanted, strict=True):
        assert mine.keys() == other.keys()
        for name in mine:
            torch.testing.assert_close(
                mine[name], other[name], **tolerance, equal_nan=True, msg=lambda m, n=name: f"{n}: {m}"
            )


EXACT = {"rtol": 0, "atol": 0}
ROUNDING = {"rtol": 4e-6, "atol": 1e-7}
