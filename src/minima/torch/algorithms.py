"""The algorithms of minima.optim, for PyTorch."""

from dataclasses import InitVar
from typing import Any, Self

import torch

from minima import optim
from minima.errors import sentence
from minima.torch.declared import keyword
from minima.torch.optimizer import Optimizer, Params
from minima.torch.twins import TWINS

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

    @classmethod
    def like_torch(
        cls,
        params: Params,
        lr: _Rate = 0.001,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
        **options: Any,
    ) -> Self:
        """Exactly ``torch.optim.SGD``, to rounding: classical momentum, decay that enters it.

        Arguments, and groups, are those of PyTorch, of which ``foreach`` and ``fused`` change nothing; ``options`` are
        also the keywords that every optimizer here takes.
        """
        if nesterov and (momentum == 0 or dampening != 0):
            rule = "nesterov must go with momentum and without dampening, as in PyTorch"
            raise ValueError(sentence("SGD.like_torch", rule, got=(momentum, dampening)))
        given = {
            "lr": lr,
            "momentum": momentum,
            "dampening": dampening,
            "weight_decay": weight_decay,
            "nesterov": nesterov,
        }
        params, ours = TWINS["SGD"].called(params, given | options)
        return cls(params, **ours)


class AdaGrad(Optimizer, rule=optim.AdaGrad):
    """`minima.optim.AdaGrad` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 0.001
    wd: InitVar[float] = 0.0
    eps: InitVar[float] = 1e-7
    eps_inside: InitVar[bool] = keyword(default=True, kw_only=True)
    initial: InitVar[float] = keyword(default=0.0, kw_only=True)
    lr_decay: InitVar[float | None] = keyword(default=None, kw_only=True)

    @classmethod
    def like_torch(
        cls,
        params: Params,
        lr: _Rate = 0.01,
        lr_decay: float = 0.0,
        weight_decay: float = 0.0,
        initial_accumulator_value: float = 0.0,
        eps: float = 1e-10,
        **options: Any,
    ) -> Self:
        """Exactly ``torch.optim.Adagrad``, to rounding: eps outside of the root, decay that enters the sum.

        Arguments, and groups, are those of PyTorch, of which ``foreach`` and ``fused`` change nothing; ``options`` are
        also the keywords that every optimizer here takes.
        """
        given = {
            "lr": lr,
            "lr_decay": lr_decay,
            "weight_decay": weight_decay,
            "initial_accumulator_value": initial_accumulator_value,
            "eps": eps,
        }
        params, ours = TWINS["Adagrad"].called(params, given | options)
        return cls(params, **ours)


class RMSProp(Optimizer, rule=optim.RMSProp):
    """`minima.optim.RMSProp` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 0.001
    wd: InitVar[float] = 0.0
    eps: InitVar[float] = 1e-7
    rho: InitVar[float] = 0.9
    eps_inside: InitVar[bool] = keyword(default=True, kw_only=True)
    momentum: InitVar[float | None] = keyword(default=None, kw_only=True)
    centered: InitVar[bool] = keyword(default=False, kw_only=True)

    @classmethod
    def like_torch(
        cls,
        params: Params,
        lr: _Rate = 0.01,
        alpha: float = 0.99,
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> Self:
        """Exactly ``torch.optim.RMSprop`` without momentum, to rounding: eps outside of the root, decay that enters it.

        Arguments, and groups, are those of PyTorch, of which ``foreach`` and ``fused`` change nothing; ``options`` are
        also the keywords that every optimizer here takes.
        """
        given = {"lr": lr, "alpha": alpha, "eps": eps, "weight_decay": weight_decay}
        params, ours = TWINS["RMSprop"].called(params, given | options)
        return cls(params, **ours)


class Adam(Optimizer, rule=optim.Adam):
    """`minima.optim.Adam` as an optimizer of PyTorch."""

    lr: InitVar[_Rate] = 1e-5
    beta1: InitVar[float] = 0.9
    beta2: InitVar[float] = 0.999
    eps: InitVar[float] = 1e-8
    weight_decay: InitVar[float] = 0.0
    amsgrad: InitVar[bool] = keyword(default=False, kw_only=True)
    eps_hat: InitVar[bool] = keyword(default=False, kw_only=True)

    @classmethod
    def like_torch(
        cls,
        params: Params,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        **options: Any,
    ) -> Self:
        """Exactly ``torch.optim.Adam``, to rounding: weight decay is added to the gradient.

        Arguments, and groups, are those of PyTorch, of which ``foreach`` and ``fused`` change nothing; ``options`` are
        also the keywords that every optimizer here takes.
        """
        given = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        params, ours = TWINS["Adam"].called(params, given | options)
        return cls(params, **ours)

    @classmethod
    def like_torch_adamw(
        cls,
        params: Params,
        lr: _Rate = 0.001,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        **options: Any,
    ) -> Self:
        """Exactly ``torch.optim.AdamW``, to rounding: Adam as it is here, with PyTorch's defaults.

        Arguments, and groups, are those of PyTorch, of which ``foreach`` and ``fused`` change nothing; ``options`` are
        also the keywords that every optimizer here takes.
        """
        given = {"lr": lr, "betas": betas, "eps": eps, "weight_decay": weight_decay}
        params, ours = TWINS["AdamW"].called(params, given | options)
        return cls(params, **ours)
