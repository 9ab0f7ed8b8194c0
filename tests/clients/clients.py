"""What the tests inside other libraries share: those libraries, algorithms, a network with its data, comparisons."""

import warnings
from importlib import import_module

import pytest
import torch
from torch.utils._pytree import tree_map_only

from minima import torch as mt
from minima.optim import Optimizer, hyper, sign


class Plain(Optimizer):
    """A user's rule."""

    lr: float = hyper(0.01, low=0)
    beta1: float = hyper(0.9, low=0, below=1)

    @staticmethod
    def update(param, grad, mean, *, lr, beta1):
        mean = beta1 * mean + (1 - beta1) * grad
        return param - lr * sign(mean), mean


UserRule = mt.adapt(Plain)


def looking(params, **options):
    return mt.Lookahead(mt.Adam(params, **options), k=3)


ALGORITHMS = {
    "SGD": {"lr": 0.05, "momentum": 0.9, "nesterov": True, "weight_decay": 0.01},
    "Adam": {"lr": 0.01, "betas": (0.8, 0.95), "eps": 1e-3, "amsgrad": True, "weight_decay": 0.01},
    "AdamW": {"lr": 0.02, "eps": 1e-3},
    "RMSprop": {"lr": 0.01, "eps": 1e-3, "momentum": 0.5, "centered": True},
    "Adagrad": {"lr": 0.05, "eps": 1e-3, "lr_decay": 0.01},
}
"""Settings for what torch.optim and minima.torch both have; under this eps a gradient's last bits decide nothing."""

OURS = {
    "Adam": (mt.Adam, ALGORITHMS["Adam"]),
    "int8": (mt.AdamW, {"lr": 0.02, "state_dtype": "int8"}),
    "bfloat16": (mt.SGD, {"lr": 0.05, "momentum": 0.9, "state_dtype": "bfloat16"}),
    "Lion": (mt.Lion, {"lr": 0.003, "betas": (0.8, 0.9), "weight_decay": 0.1}),
    "a user's rule": (UserRule, {"lr": 0.003}),
}
"""What else is ours: state of other dtypes, rules that PyTorch has not."""

each_algorithm = pytest.mark.parametrize("name", ALGORITHMS)
SAVED = {**OURS, "Lookahead": (looking, ALGORITHMS["Adam"])}
"""These, and a loop around one, which is no class for a library to make."""

each_of_ours = pytest.mark.parametrize(("cls", "options"), OURS.values(), ids=OURS)
each_that_is_saved = pytest.mark.parametrize(("cls", "options"), SAVED.values(), ids=SAVED)


def client(name):
    """The library of this name; where it cannot be imported, the tests of the file are skipped and say why."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return import_module(name)
        except Exception as error:  # one that does not fit this PyTorch fails with anything, not with ImportError alone
            message = " ".join(f"{type(error).__name__}: {error}".split())
            pytest.skip(f"{name.partition('.')[0]} cannot be used: {message}", allow_module_level=True)


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.LayerNorm(8), torch.nn.Tanh(), torch.nn.Linear(8, 2))


def batches(count):
    """Inputs and classes, four a batch; the same ones for the same count."""
    draw = torch.Generator().manual_seed(1)
    inputs = torch.randn(count, 4, 4, generator=draw)
    return list(zip(inputs, (inputs[..., 0] > 0).long(), strict=True))


def sharp(params, **options):
    return mt.SAM(mt.Lookahead(mt.SGD(params, **options), k=2), rho=0.2)


def weights_after_sam(data, settings):
    """What SAM around Lookahead makes of the network in a plain loop, and the losses: two for each step."""
    model, losses = network(), []
    optimizer = sharp(model.parameters(), **settings)
    for inputs, classes in data:

        def closure(inputs=inputs, classes=classes):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), classes)
            loss.backward()
            losses.append(loss.item())
            return loss

        optimizer.step(closure)
    return losses, weights(model)


def weights(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def same_as_in_pytorch(run, rtol=1e-5, atol=1e-5):
    """What `run(optim)` gives, a curve first of all, is the same with minima.torch and with torch.optim."""
    ours, theirs = run(mt), run(torch.optim)
    assert len(theirs[0]) > 2 and len({*theirs[0]}) == len(theirs[0]), "a curve that stands still shows nothing"
    torch.testing.assert_close(ours, theirs, rtol=rtol, atol=atol)


def bits(value):
    """A nest of tensors and plain values, to be compared by ==."""
    return tree_map_only(torch.Tensor, lambda tensor: (tensor.dtype, tensor.tolist()), value)


def losses(model, optimizer, data, *, after=lambda count: None):
    """The losses of a plain loop, in which something may happen after each step."""
    found = []
    for count, (inputs, classes) in enumerate(data, 1):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs), classes)
        loss.backward()
        optimizer.step()
        after(count)
        found.append(loss.item())
    return found
