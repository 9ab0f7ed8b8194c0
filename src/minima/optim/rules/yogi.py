"""Yogi: Adam with a second moment that falls slowly."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, sign, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Yogi"]


class Yogi(Optimizer):
    """Takes Adam's steps, with a second moment that changes in each step by a share of the squared gradient.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = maximum(exp_avg_sq - (1 - beta2)*sign(exp_avg_sq - grad**2)*grad**2, 0)
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    Adam's second moment loses a share of itself in every step. When gradients become small, it forgets the large ones
    within a few hundred steps, and steps grow. Here it falls by a share of the new square, so small gradients lower it
    only a little. It rises by a share of the new square too.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: In [0, 1). The second moment changes by ``1 - beta2`` times the squared gradient.
        eps: Added to the root, at least 0; gradients well below it take short steps.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        initial: Initial value of both averages, at least 0. It is read when the state of a parameter is created. A
            later change affects only parameters that are added afterwards.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Zaheer, Reddi, Sachan, Kale and Kumar, *Adaptive Methods for Nonconvex Optimization*, NeurIPS 2018,
    Algorithm 2, which has no bias correction.

    PyTorch has no such algorithm. Differs from the paper: the bias corrections, and ``initial`` for the average of
    gradients too, are those of Optax and pytorch_optimizer. The second moment is never negative, except by the rounding
    of ``state_dtype``; ``maximum`` excludes that.

    >>> from minima import Tensor
    >>> from minima.optim import Yogi
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Yogi([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.8005603, -1.8002484], requires_grad=True), Tensor([ 0.3600132, -0.7400049]))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-3, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    initial: Hyper = hyper(default=1e-6, low=0, kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg="initial", exp_avg_sq="initial", *, lr, beta1, beta2, eps, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        # It falls by less than it is, which intervals cannot tell: the 0 lets it be kept in codes without a sign.
        exp_avg_sq = maximum(exp_avg_sq - (1 - beta2) * sign(exp_avg_sq - grad**2) * grad**2, 0)
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        return param - lr * direction(m_hat) / (sqrt(v_hat) + eps), exp_avg, exp_avg_sq
