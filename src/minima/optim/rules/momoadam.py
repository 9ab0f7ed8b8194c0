"""MoMo-Adam: Adam, where a model of the loss bounds each step."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import direction, maximum, minimum, sqrt, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["MoMoAdam"]


class MoMoAdam(Optimizer):
    """Takes Adam's steps, at most to the point where a model of the loss reaches its lower bound.

    ::

        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        scale = eps + sqrt(exp_avg_sq/(1 - beta2**t))
        size = total(exp_avg**2/scale)
        count = count + 1
        share = 1 - beta1**count
        loss_avg = beta1*loss_avg + (1 - beta1)*loss
        dot_avg = beta1*dot_avg + (1 - beta1)*total(grad*param)
        height = (1 + lr*weight_decay)*(loss_avg - share*bound - dot_avg) + total(exp_avg*param)
        step = where(size > 0, minimum(lr/share, maximum(height, 0)/size), 0)
        param = param/(1 + lr*weight_decay) - step*exp_avg/scale

    Each step needs the ``loss``: call ``step(loss=loss)`` or ``step(closure)``. The loss and the model are explained in
    `MoMo`. Totals are taken over all parameters of the optimizer.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the longest step of an element where gradients stay the same. It can be larger
            than for Adam, because steps that are too long are shortened.
        beta1: Exponential decay rate of the averages of gradients and losses, in [0, 1), and the same in all groups.
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, above 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step shrinks the parameter by the factor
            ``1/(1 + lr * weight_decay)``. Also accepted as ``wd``.
        bound: The lowest value that the loss can have, or a guess of it; 0 for most losses.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, and three numbers for all parameters together, in
    float64: ``loss_avg``, ``dot_avg`` and ``count``, the number of steps.

    Source: Schaipp, Ohana, Eickenberg, Defazio and Gower, *MoMo: Momentum Models for Adaptive Learning Rates*, ICML
    2024, Algorithm 3. Defaults are the paper's.

    PyTorch has no such algorithm. Differs from Optax: there products up to 2.2e-16 take no step, here only 0 does not;
    and ``bound`` can be estimated.

    >>> from minima import Tensor
    >>> from minima.optim import MoMoAdam
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = MoMoAdam([w])
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     _ = optimizer.step(loss=loss)
    >>> w, optimizer.loss_avg[0]
    (Tensor([ 2.980001 , -3.9800007], requires_grad=True), Tensor(4.7360199, dtype=float64))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    bound: Hyper = hyper(default=0.0)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, loss_avg: Shared = 0.0, dot_avg: Shared = 0.0, count: Shared = 0.0,
        *, lr, beta1, beta2, eps, weight_decay, bound, loss, t,
    ):  # fmt: skip
        count = count + 1
        share = 1 - beta1**count  # of all losses and gradients in the averages, which begin with 0
        loss_avg = beta1 * loss_avg + (1 - beta1) * loss
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        dot_avg = beta1 * dot_avg + (1 - beta1) * total(grad * param)
        scale = eps + sqrt(exp_avg_sq / (1 - beta2**t))
        height = (1 + lr * weight_decay) * (loss_avg - share * bound - dot_avg) + total(exp_avg * param)
        size = total(exp_avg**2 / scale)
        step = where(size > 0, minimum(lr / share, maximum(height, 0) / size), 0)
        param = param / (1 + lr * weight_decay) - step * direction(exp_avg) / scale
        return param, exp_avg, exp_avg_sq, loss_avg, dot_avg, count
