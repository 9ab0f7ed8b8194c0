"""MADGRAD: dual averaging: the initial parameter minus a weighted sum of gradients, over a cube root of squares."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import cbrt, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["MADGRAD"]


class MADGRAD(Optimizer):
    """Moves each parameter towards its initial value minus its summed gradients, over a cube root of their squares.

    ::

        lamb = where(lr > 0, (lr + eps)*sqrt(t), 0)
        grad = grad + weight_decay*param
        grad_sum = grad_sum + lamb*grad
        grad_sum_sq = grad_sum_sq + lamb*grad**2
        z = start - grad_sum/(cbrt(grad_sum_sq) + eps)
        param = momentum*param + (1 - momentum)*z

    As in AdaGrad, the divisor contains all squared gradients so far. Here it is their cube root, which grows more
    slowly, and gradients are weighted by ``sqrt(t)``; so steps do not shrink to 0. Every step starts from the initial
    parameter and not from the last one (dual averaging): no gradient is forgotten, and momentum averages the parameters
    themselves.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the weight of the first gradient. With 0, neither the gradient nor ``eps`` has an
            effect.
        momentum: Weight of the old parameter in each step, in [0, 1); ``z`` has the rest.
        eps: Added to the cube root, and to ``lr``, at least 0; prevents division by 0 for a parameter without
            gradients.
        weight_decay: L2 penalty, at least 0: this share of the parameter is added to its gradient. Decay of the
            parameter itself would be undone by ``z``, which starts from ``start``. Also accepted as ``wd``.

    Keeps three arrays per parameter: ``grad_sum``, ``grad_sum_sq``, and ``start``, the initial parameter. With a
    smaller ``state_dtype``, ``start`` is rounded, and the parameter is pulled towards the rounded value.

    Source: Defazio and Jelassi, *Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method
    for Stochastic Optimization*, JMLR 23, 2022, Algorithm 1. That ``eps`` is added to ``lr`` too is timm's and
    pytorch_optimizer's.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there ``lr`` is 1e-3 by default, and all parameters
    share one count of steps.

    >>> from minima import Tensor
    >>> from minima.optim import MADGRAD
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = MADGRAD([w], lr=0.1, momentum=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.grad_sum[0]
    (Tensor([ 0.6949589, -1.6121898], requires_grad=True), Tensor([ 0.4444593 , -0.91732883]))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    momentum: Hyper = hyper(default=0.9, low=0, below=1)
    eps: Hyper = hyper(default=1e-6, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, grad_sum, grad_sum_sq, start="param", *, lr, momentum, eps, weight_decay, t):
        grad = grad + weight_decay * param
        lamb = where(lr > 0, (lr + eps) * sqrt(t), 0)
        grad_sum = grad_sum + lamb * grad
        grad_sum_sq = grad_sum_sq + lamb * grad**2
        z = start - grad_sum / (cbrt(grad_sum_sq) + eps)
        return momentum * param + (1 - momentum) * z, grad_sum, grad_sum_sq, start
