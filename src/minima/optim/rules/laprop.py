"""LaProp: Adam that divides each gradient by its usual size before averaging."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["LaProp"]


class LaProp(Optimizer):
    """Steps along a running average of gradients, each divided by the root mean square at its own step.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        exp_avg = beta1*exp_avg + (1 - beta1)*grad/(sqrt(v_hat) + eps)
        m_hat = exp_avg/(1 - beta1**t)
        param = param - lr*m_hat

    Adam divides the average of all gradients, old ones included, by the current size of gradients. Here each gradient
    is divided by the size at its own step. Momentum then accumulates steps of about equal length. So ``beta1`` and
    ``beta2`` can be chosen independently, unlike in Adam.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of divided gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Ziyin, Wang and Ueda, *LaProp: Separating Momentum and Adaptivity in Adam*, 2020, Algorithm 1. There ``lr``
    is inside the average, which keeps the value of each step; here it is outside, as in Adam, so a new ``lr`` applies
    to the whole step. While ``lr`` is constant, both are the same.

    PyTorch has no such algorithm. Differs from timm and pytorch_optimizer: there ``lr`` is inside the average, and the
    parameter decays after the step; pytorch_optimizer also adds 1e-15 under the root.

    >>> from minima import Tensor
    >>> from minima.optim import LaProp
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = LaProp([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.80283767, -1.8013657 ], requires_grad=True), Tensor([ 0.18460837, -0.18740514]))
    """

    lr: Hyper = hyper(default=4e-4, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-15, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, t):
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        v_hat = exp_avg_sq / (1 - beta2**t)
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad / (sqrt(v_hat) + eps)
        m_hat = exp_avg / (1 - beta1**t)
        return param - lr * direction(m_hat), exp_avg, exp_avg_sq
