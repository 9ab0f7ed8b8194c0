"""Yogi: Adam, whose average of squares falls by as much as it rises and no faster."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, sign, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Yogi"]


class Yogi(Optimizer):
    """Steps as Adam does, by a second moment that moves towards each squared gradient by a share of that square.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = maximum(exp_avg_sq - (1 - beta2)*sign(exp_avg_sq - grad**2)*grad**2, 0)
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    Adam's second moment loses a share of itself in every step: where gradients become small, it forgets the large ones
    in a few hundred steps, and steps grow. Here it falls by a share of the new square, which is little where that is
    little. It rises as it falls, by as much.

    Args:
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Share of the average of gradients that each step keeps, in [0, 1).
        beta2: 1 less the share of each squared gradient by which the second moment moves towards it, in [0, 1).
        eps: Added to the root, at least 0; what gradients are small beside.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, whatever its gradient (decoupled). Also accepted as ``wd``.
        initial: What both averages start at, at least 0. It is used when a parameter's state is made: for the first
            parameters with the optimizer, later changes are for those added afterwards.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Zaheer, Reddi, Sachan, Kale and Kumar, *Adaptive Methods for Nonconvex Optimization*, NeurIPS 2018,
    Algorithm 2, which corrects neither average. The corrections, and ``initial`` for the average of gradients too, are
    those of Optax and pytorch_optimizer.

    PyTorch has no such algorithm. The second moment is never negative, but in the rounding of ``state_dtype``;
    ``maximum`` says so.

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
