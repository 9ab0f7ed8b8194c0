"""MADGRAD: sums of weighted gradients, subtracted from where a parameter began; the divisor is a cube root."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import cbrt, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["MADGRAD"]


class MADGRAD(Optimizer):
    """Moves every parameter towards its first value less its summed gradients, over the cube root of their squares.

    ::

        lamb = where(lr > 0, (lr + eps)*sqrt(t), 0)
        grad = grad + weight_decay*param
        grad_sum = grad_sum + lamb*grad
        grad_sum_sq = grad_sum_sq + lamb*grad**2
        z = start - grad_sum/(cbrt(grad_sum_sq) + eps)
        param = momentum*param + (1 - momentum)*z

    As in AdaGrad, the divisor is made of all squared gradients there have been; as their cube root it grows more
    slowly, and later gradients weigh more by ``sqrt(t)``, so that steps do not die away. A step does not start from the
    last parameter, but from the first (dual averaging): no gradient is ever forgotten, and momentum averages the
    parameters themselves.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the weight of the first gradient. With 0 a gradient has no weight, nor ``eps``.
        momentum: Share of the parameter that each step keeps, in [0, 1); the rest is ``z``.
        eps: Added to the cube root, and to ``lr``, at least 0; prevents division by 0 for a parameter without
            gradients.
        weight_decay: L2 penalty, at least 0: this share of the parameter is added to its gradient. Decay of the
            parameter itself would be undone by ``z``, which begins at ``start``. Also accepted as ``wd``.

    Keeps three arrays per parameter: ``grad_sum``, ``grad_sum_sq``, and ``start``, the parameter as it was at first. In
    fewer bits (``state_dtype``) that is rounded, and the parameter is then drawn to what it was rounded to.

    Source: Defazio and Jelassi, *Adaptivity without Compromise: A Momentumized, Adaptive, Dual Averaged Gradient Method
    for Stochastic Optimization*, JMLR 23, 2022, Algorithm 1. That ``eps`` is added to ``lr`` too is timm's and
    pytorch_optimizer's.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there ``lr`` is 1e-3 by default, and the count of
    steps is one for all parameters.

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
