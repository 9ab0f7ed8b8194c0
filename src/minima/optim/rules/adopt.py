"""ADOPT: Adam that divides each gradient by the average of earlier squared gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import clip, direction, maximum, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["ADOPT"]


class ADOPT(Optimizer):
    """Steps along a running average of gradients, each divided by the root of the average square of earlier ones.

    ::

        param = (1 - where(first, 0, lr*weight_decay))*param
        scaled = grad/maximum(sqrt(exp_avg_sq), eps)
        limit = (t - 1)**clip_exp
        scaled = minimum(maximum(scaled, -limit), limit)
        exp_avg = where(first, exp_avg, beta1*exp_avg + (1 - beta1)*scaled)
        param = param - lr*exp_avg
        exp_avg_sq = where(first, grad**2, beta2*exp_avg_sq + (1 - beta2)*grad**2)

    The divisor does not contain the gradient itself. So the algorithm converges for any ``beta2``. ``first`` is true in
    the first step, which starts the average of squares and does not change the parameter.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of divided gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Lower bound of the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step but the first begins by multiplying the parameter by
            ``1 - lr * weight_decay``, independently of its gradient. Also accepted as ``wd``.
        clip_exp: Exponent of the bound on a divided gradient, ``(t - 1)**clip_exp``; at least 0.
        clipped: Whether divided gradients are bounded.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Taniguchi et al., *ADOPT: Modified Adam Can Converge with Any beta2 with the Optimal Rate*, NeurIPS 2024,
    Algorithm 2.

    PyTorch has no such algorithm. Differs from timm: there ``clip_exp`` is 0.333 by default, and weight decay is part
    of the gradient unless ``decoupled=True``. Differs from pytorch_optimizer: there the bound is ``t**0.25``; weight
    decay begins with the first step, and is part of the gradient unless ``weight_decouple=True``.

    >>> from minima import Tensor
    >>> from minima.optim import ADOPT
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = ADOPT([w], lr=0.1)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.97110003, -1.97105   ], requires_grad=True), Tensor([ 0.189 , -0.1895]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.9999, low=0, below=1)
    eps: Hyper = hyper(default=1e-6, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    clip_exp: Hyper = hyper(default=0.25, low=0, kw_only=True)
    clipped: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, clip_exp, clipped, t, first):
        param = (1 - where(first, 0, lr * weight_decay)) * param
        scaled = grad / maximum(sqrt(exp_avg_sq), eps)
        if clipped:
            limit = (t - 1) ** clip_exp
            scaled = clip(scaled, -limit, limit)
        exp_avg = where(first, exp_avg, beta1 * exp_avg + (1 - beta1) * scaled)
        exp_avg_sq = where(first, grad**2, beta2 * exp_avg_sq + (1 - beta2) * grad**2)
        return param - lr * direction(exp_avg), exp_avg, exp_avg_sq
