"""The algorithms of minima.optim, for PyTorch."""

from dataclasses import InitVar

import torch

from minima import optim
from minima.torch.declared import keyword
from minima.torch.optimizer import Optimizer

__all__ = ["SGD", "AdaGrad", "Adam", "RMSProp"]

_Rate = float | torch.Tensor
"""A learning rate may be a tensor without axes, which a scheduler then writes to."""


class SGD(Optimizer, rule=optim.SGD):
    """`minima.optim.SGD` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 0.01
    momentum: InitVar[float] = 0.0
    wd: InitVar[float] = 0.0
    dampening: InitVar[float | None] = keyword(default=None, kw_only=True)
    nesterov: InitVar[bool] = keyword(default=False, kw_only=True)
    dampen_first: InitVar[bool] = keyword(default=True, kw_only=True)


class AdaGrad(Optimizer, rule=optim.AdaGrad):
    """`minima.optim.AdaGrad` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 0.001
    wd: InitVar[float] = 0.0
    eps: InitVar[float] = 1e-7
    eps_inside: InitVar[bool] = keyword(default=True, kw_only=True)
    initial: InitVar[float | None] = keyword(default=None, kw_only=True)
    lr_decay: InitVar[float | None] = keyword(default=None, kw_only=True)


class RMSProp(Optimizer, rule=optim.RMSProp):
    """`minima.optim.RMSProp` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 0.001
    wd: InitVar[float] = 0.0
    eps: InitVar[float] = 1e-7
    rho: InitVar[float] = 0.9
    eps_inside: InitVar[bool] = keyword(default=True, kw_only=True)


class Adam(Optimizer, rule=optim.Adam):
    """`minima.optim.Adam` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 1e-5
    beta1: InitVar[float] = 0.9
    beta2: InitVar[float] = 0.999
    eps: InitVar[float] = 1e-8
    weight_decay: InitVar[float] = 0.0
