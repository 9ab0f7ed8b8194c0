"""The same optimizer twice: that of torch.optim and ours, each with parameters of its own, in groups that differ."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from tensors import parameters

from minima import torch as mt

NAMES = ["SGD", "Adam", "AdamW", "RMSprop", "Adagrad", "Adamax", "NAdam", "RAdam", "Adadelta", "Rprop", "ASGD"]
"""The algorithms that both have."""
DECAYING = [name for name in NAMES if name != "Rprop"]
"""Those that have weight decay."""
DTYPES = [torch.float32, torch.float64, torch.complex64, torch.complex128]


def tensor(value):
    return torch.tensor(value, dtype=torch.float64)


SETTINGS = [
    ("SGD", {}),
    ("SGD", {"lr": 0.1, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "dampening": 0.3, "maximize": True}),
    ("SGD", {"lr": 0.1, "dampening": 0.3}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "weight_decay": 0.2}),
    ("SGD", {"lr": 0.1, "momentum": 0.9, "nesterov": True, "maximize": True}),
    ("SGD", {"lr": tensor(0.1), "momentum": 0.5}),
    ("Adam", {}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    ("Adam", {"lr": 0.1, "betas": (0.8, 0.7), "amsgrad": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3, "amsgrad": True, "maximize": True}),
    ("Adam", {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("Adam", {"lr": tensor(0.1)}),
    ("Adam", {"lr": tensor(0.1), "betas": (tensor(0.8), tensor(0.95))}),
    ("AdamW", {}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.3, "maximize": True}),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.0, "amsgrad": True}),
    ("AdamW", {"lr": tensor(0.1), "betas": (0.5, 0.9), "amsgrad": True}),
    ("RMSprop", {}),
    ("RMSprop", {"lr": 0.1, "alpha": 0.9, "eps": 1e-2, "weight_decay": 0.1}),
    ("RMSprop", {"lr": 0.01, "momentum": 0.9, "maximize": True}),
    ("RMSprop", {"lr": 0.01, "alpha": 0.9, "eps": 1e-2, "centered": True}),
    ("RMSprop", {"lr": tensor(0.01), "eps": 1e-2, "weight_decay": 0.1, "centered": True, "momentum": 0.5}),
    ("Adagrad", {}),
    ("Adagrad", {"lr": 0.1, "lr_decay": 0.2, "weight_decay": 0.1, "initial_accumulator_value": 0.3, "eps": 1e-3}),
    ("Adagrad", {"lr": 0.1, "initial_accumulator_value": 0.1, "maximize": True}),
    ("Adagrad", {"lr": tensor(0.1), "lr_decay": 0.1}),
    ("Adamax", {}),
    ("Adamax", {"lr": 0.1, "betas": (0.8, 0.7), "eps": 1e-2, "weight_decay": 0.3}),
    ("Adamax", {"lr": 0.1, "betas": (0.5, 0.9), "weight_decay": 0.1, "maximize": True}),
    ("Adamax", {"lr": tensor(0.1)}),
    ("NAdam", {}),
    ("NAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3, "momentum_decay": 0.5}),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.3, "decoupled_weight_decay": True, "momentum_decay": 0}),
    ("NAdam", {"lr": tensor(0.1), "betas": (0.5, 0.9), "maximize": True}),
    ("RAdam", {}),
    ("RAdam", {"lr": 0.1, "betas": (0.8, 0.95), "eps": 1e-3, "weight_decay": 0.3}),
    ("RAdam", {"lr": 0.1, "betas": (0.9, 0.6), "weight_decay": 0.3, "decoupled_weight_decay": True}),
    ("RAdam", {"lr": tensor(0.1), "betas": (0.5, 0.9), "maximize": True}),
    ("Adadelta", {}),
    ("Adadelta", {"lr": 0.5, "rho": 0.7, "eps": 1e-3, "weight_decay": 0.1}),
    ("Adadelta", {"lr": tensor(0.5), "eps": 1e-2, "weight_decay": 0.1, "maximize": True}),
    ("Rprop", {}),
    ("Rprop", {"lr": 0.1, "etas": (0.3, 1.5), "step_sizes": (0.05, 0.2)}),
    ("Rprop", {"lr": tensor(0.1), "step_sizes": (0, 0.15), "maximize": True}),
    ("ASGD", {}),
    ("ASGD", {"lr": 0.1, "lambd": 0.5, "alpha": 0.5, "t0": 2, "weight_decay": 0.1}),
    ("ASGD", {"lr": tensor(0.1), "lambd": 0.1, "t0": 0, "maximize": True}),
]
"""Every option, with a value that counts."""

DIFFERENCES = {
    "SGD": {"lr": 0.05, "momentum": 0.8, "nesterov": True, "dampening": 0, "weight_decay": 0.1},
    "Adam": {"lr": 0.05, "betas": (0.7, 0.9), "amsgrad": True, "decoupled_weight_decay": True, "weight_decay": 0.1},
    "AdamW": {"lr": 0.05, "eps": 1e-4, "amsgrad": True, "maximize": True, "weight_decay": 0.1},
    "RMSprop": {"lr": 0.05, "eps": 1e-2, "momentum": 0.8, "centered": True, "maximize": True},
    "Adagrad": {"lr": 0.05, "lr_decay": 0.1, "weight_decay": 0.1, "eps": 1e-3, "maximize": True},
    "Adamax": {"lr": 0.05, "betas": (0.7, 0.8), "eps": 1e-3, "maximize": True, "weight_decay": 0.1},
    "NAdam": {"lr": 0.05, "betas": (0.7, 0.9), "decoupled_weight_decay": True, "weight_decay": 0.1},
    "RAdam": {"lr": 0.05, "betas": (0.7, 0.9), "decoupled_weight_decay": True, "weight_decay": 0.1, "eps": 1e-2},
    "Adadelta": {"lr": 0.3, "rho": 0.8, "eps": 1e-3, "weight_decay": 0.1, "maximize": True},
    "Rprop": {"lr": 0.05, "etas": (0.7, 1.1), "step_sizes": (0.01, 0.1), "maximize": True},
    "ASGD": {"lr": 0.05, "lambd": 0.2, "alpha": 0.9, "t0": 4, "weight_decay": 0.1, "maximize": True},
}
"""What the second group of parameters has otherwise."""


@dataclass
class Run:
    """Parameters and their optimizer."""

    params: list[torch.Tensor]
    optimizer: Any


def grouped(params, special=None, *, named=False):
    """Two groups, of which the second is special."""
    each = [(f"layer.{i}", param) for i, param in enumerate(params)] if named else list(params)
    return [{"params": each[:3]}, {"params": each[3:], **copy.deepcopy(special or {})}]


def twins(name, options, dtype=torch.float64, special=None, *, named=False, **more):
    """PyTorch's run, and ours; ``more`` are options of ours alone."""
    params = parameters(dtype)
    others = copy.deepcopy(params)
    theirs = getattr(torch.optim, name)(grouped(others, special, named=named), **copy.deepcopy(options))
    made = getattr(mt, name)
    return Run(others, theirs), Run(
        params, made(grouped(params, special, named=named), **copy.deepcopy(options), **more)
    )


def together(*runs, count, seed=0):
    """Step all by the same gradients, which grow and fall; some are None."""
    draw = torch.Generator().manual_seed(seed)
    for step in range(count):
        for i, first in enumerate(runs[0].params):
            grad = torch.randn(first.shape, generator=draw, dtype=first.dtype) * 2.0 ** (step % 7 - 2)
            for run in runs:
                run.params[i].grad = None if (i + step) % 6 == 5 else grad.clone()
        for run in runs:
            run.optimizer.step()


ROUNDING = {
    torch.float64: {"rtol": 1e-11, "atol": 1e-12},
    torch.complex128: {"rtol": 1e-11, "atol": 1e-12},
    torch.float32: {"rtol": 2e-5, "atol": 2e-6},
    torch.complex64: {"rtol": 2e-5, "atol": 2e-6},
}


NUMBERS = {"step": {"rtol": 0, "atol": 0}, "eta": {"rtol": 1e-6, "atol": 0}, "mu": {"rtol": 1e-6, "atol": 0}}
NUMBERS |= {"mu_product": {"rtol": 2e-6, "atol": 0}}
"""How close the state is that is one number for a parameter, whatever its dtype: PyTorch's are in float32."""


def assert_alike(theirs, *others):
    """The same parameters, and the same state under the same names; SGD counts its steps nowhere but here."""
    for ours in others:
        for i, (param, own) in enumerate(zip(theirs.params, ours.params, strict=True)):
            single = isinstance(theirs.optimizer, torch.optim.ASGD)  # whose rate is one in PyTorch
            kept, mine = theirs.optimizer.state.get(param, {}), ours.optimizer.state.get(own, {})
            single |= getattr(kept.get("mu_product"), "dtype", None) == torch.float32  # which PyTorch's NAdam goes by
            close = ROUNDING[torch.float32 if single else param.dtype]
            torch.testing.assert_close(own, param, **close)
            assert kept.keys() == mine.keys() - ({"step"} - kept.keys()), f"parameter {i}"
            for key, value in kept.items():
                alike = {**NUMBERS[key], "check_dtype": False} if key in NUMBERS else close
                torch.testing.assert_close(mine[key], value, **alike, msg=lambda m, key=key: f"{key}: {m}")


def plain(group, *aside):
    """What a group says, without its parameters."""
    return {key: value for key, value in group.items() if key not in ("params", *aside)}


def assert_groups(theirs, ours, aside=()):
    """The same groups: keys, values, kinds of values."""
    assert len(theirs.param_groups) == len(ours.param_groups)
    for group, own in zip(theirs.param_groups, ours.param_groups, strict=True):
        assert plain(own, *aside) == plain(group, *aside)
        assert type(own) is dict and type(own.get("betas")) is type(group.get("betas"))
