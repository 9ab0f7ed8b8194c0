"""MoMo: SGD with momentum, where a model of the loss bounds each step."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import direction, maximum, minimum, norm, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["MoMo"]


class MoMo(Optimizer):
    """Steps along an average of gradients, at most to the point where a model of the loss reaches its lower bound.

    ::

        b = where(count > 0, beta, 0)
        exp_avg = b*exp_avg + (1 - b)*grad
        size = total(norm(exp_avg)**2)
        loss_avg = b*loss_avg + (1 - b)*loss
        dot_avg = b*dot_avg + (1 - b)*total(grad*param)
        height = (1 + lr*weight_decay)*(loss_avg - bound - dot_avg) + total(exp_avg*param)
        step = where(size > 0, minimum(lr, maximum(height, 0)/size), 0)
        param = param/(1 + lr*weight_decay) - step*exp_avg
        count = count + 1

    The model is the average of the linear functions that recent losses and gradients define. If it would fall below
    ``bound``, the step is shortened. Each step needs the ``loss``: call ``step(loss=loss)`` or ``step(closure)``. Give
    the loss of the batch that the gradients come from, before the step, and without the factor of mixed-precision loss
    scaling. Totals are taken over all parameters of the optimizer.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: The longest step for an average of 1, at least 0. It can be larger than for SGD, because steps that are too
            long are shortened.
        beta: Exponential decay rate of the averages after the first step, in [0, 1), and the same in all groups.
        weight_decay: Weight decay, at least 0: each step multiplies the parameter by ``1/(1 + lr * weight_decay)``.
            Also accepted as ``wd``.
        bound: The lowest value that the loss can have, or a guess of it; 0 for most losses.

    Keeps one array per parameter, ``exp_avg``, and three numbers for all parameters together, in float64: ``loss_avg``,
    ``dot_avg`` and ``count``, the number of steps.

    Source: Schaipp, Ohana, Eickenberg, Defazio and Gower, *MoMo: Momentum Models for Adaptive Learning Rates*, ICML
    2024, Algorithm 1. Defaults are the paper's.

    PyTorch has no such algorithm. Differs from Optax: there no step is taken for squared norms up to 2.2e-16, here only
    for 0; and Optax can estimate ``bound``.

    >>> from minima import Tensor
    >>> from minima.optim import MoMo
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = MoMo([w])
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     _ = optimizer.step(loss=loss)
    >>> w, optimizer.loss_avg[0]
    (Tensor([ 1.4605263, -1.9473685], requires_grad=True), Tensor(23.125, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    beta: Hyper = hyper(default=0.9, low=0, below=1)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    bound: Hyper = hyper(default=0.0)

    @staticmethod
    def update(
        param, grad, exp_avg, loss_avg: Shared = 0.0, dot_avg: Shared = 0.0, count: Shared = 0.0,
        *, lr, beta, weight_decay, bound, loss,
    ):  # fmt: skip
        b = where(count > 0, beta, 0)  # one for all: a gradient weighs in its average what its product does in dot_avg
        loss_avg = b * loss_avg + (1 - b) * loss
        exp_avg = b * exp_avg + (1 - b) * grad
        dot_avg = b * dot_avg + (1 - b) * total(grad * param)
        height = (1 + lr * weight_decay) * (loss_avg - bound - dot_avg) + total(exp_avg * param)
        size = total(norm(exp_avg) ** 2)
        step = where(size > 0, minimum(lr, maximum(height, 0) / size), 0)
        param = param / (1 + lr * weight_decay) - step * direction(exp_avg)
        return param, exp_avg, loss_avg, dot_avg, count + 1
