"""MARS: AdamW on gradients with variance reduction, from their change since the last step."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, norm, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["MARS"]


class MARS(Optimizer):
    """Takes Adam's steps on gradients that are extrapolated by a share of their last change, and clipped.

    ::

        param = (1 - lr*weight_decay)*param
        change = grad - prev_grad
        corrected = grad + where(first, 0, gamma*beta1/(1 - beta1))*change
        length = norm(corrected)
        clipped = corrected/maximum(length, 1)
        exp_avg = beta1*exp_avg + (1 - beta1)*clipped
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*clipped**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)
        prev_grad = grad

    The norm is taken over one whole tensor, and ``first`` is true in the first step, which has no earlier gradient. An
    average of gradients lags behind the current parameter. Adding part of the last change of the gradient compensates
    for the lag, so ``exp_avg`` has less noise for the same lag. The norm of a corrected gradient is at most 1.

    A vector, such as a bias or the scale of a normalisation layer, takes the steps of `AdamW`, with ``grad`` in place
    of ``clipped``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1). With 0 nothing is corrected.
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        gamma: Strength of the variance reduction, at least 0: a gradient is extrapolated by ``gamma*beta1/(1 - beta1)``
            times its last change, by default 0.475 times. With 0 it is only clipped.
        optimize_1d: Whether vectors and scalars are treated like matrices.

    Keeps three arrays per parameter, ``exp_avg``, ``exp_avg_sq`` and ``prev_grad``; for a vector without
    ``optimize_1d`` only the first two.

    Source: Yuan, Liu, Wu, Zhou and Gu, *MARS: Unleashing the Power of Variance Reduction for Training Large Models*,
    2024: MARS-AdamW in its approximate form, where the change of a gradient is the difference to the gradient of the
    previous batch. The exact form needs the gradient of the current batch at the previous parameters, which takes a
    second pass through the model.

    PyTorch has no such algorithm. Differs from timm: there ``beta1`` is 0.9 by default. Differs from pytorch_optimizer:
    there the first step is corrected too, with a previous gradient of 0, and vectors have their own learning rate,
    betas and weight decay; here a group does that.

    >>> from minima import Tensor
    >>> from minima.optim import MARS
    >>> w = Tensor([[3.0, -4.0]], requires_grad=True)
    >>> optimizer = MARS([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.prev_grad[0]
    (Tensor([[ 2.8000095, -3.7999957]], requires_grad=True), Tensor([[ 5.8, -7.8]]))
    """

    lr: Hyper = hyper(default=3e-3, low=0)
    beta1: Hyper = hyper(default=0.95, low=0, below=1)
    beta2: Hyper = hyper(default=0.99, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    gamma: Hyper = hyper(default=0.025, low=0)
    optimize_1d: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, prev_grad, *, lr, beta1, beta2, eps, gamma, optimize_1d, t, first
    ):  # fmt: skip
        clipped = grad
        if optimize_1d or param.ndim >= 2:
            change = grad - prev_grad
            corrected = grad + where(first, 0, gamma * beta1 / (1 - beta1)) * change
            length = norm(corrected)
            clipped = corrected / maximum(length, 1)
            prev_grad = grad
        exp_avg = beta1 * exp_avg + (1 - beta1) * clipped
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * clipped**2
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        return param - lr * direction(m_hat) / (sqrt(v_hat) + eps), exp_avg, exp_avg_sq, prev_grad
