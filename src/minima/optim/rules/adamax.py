"""AdaMax: Adam with the infinity norm, the largest recent gradient, in place of the root mean square."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import abs, direction, maximum
from minima.optim.optimizer import Optimizer

__all__ = ["AdaMax"]


class AdaMax(Optimizer):
    """Steps along a running average of the gradient, divided by the largest recent gradient.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        exp_inf = maximum(beta2*exp_inf, abs(grad) + eps)
        param = param - lr/(1 - beta1**t)*exp_avg/exp_inf

    ``exp_inf`` is an infinity norm: the largest gradient of the parameter so far, where each gradient shrinks by the
    factor ``beta2`` in every later step. It starts with the first gradient at full size, and needs no bias correction.
    No parameter moves by more than ``lr * (1 - beta1) / (1 - beta1 / beta2)`` a step, which is 1.01 ``lr`` for the
    default betas (for ``beta1 < beta2``). ``t`` counts the steps that the parameter has taken, including this one.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of the first step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Decay factor of the largest gradient in each step, in [0, 1).
        eps: Added to the size of each gradient, at least 0. With 0, a parameter whose gradients have all been 0 becomes
            NaN, since 0 is divided by 0.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        eps_inside: Whether eps is added to each gradient, as in PyTorch and Optax; otherwise it is added to the
            largest of them, as in Keras: ``exp_inf = maximum(beta2*exp_inf, abs(grad))``, and the step is divided by
            ``exp_inf + eps``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_inf``.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, Algorithm 2, which has no ``eps``
    and no weight decay.

    Differs from PyTorch: ``torch.optim.Adamax`` adds its ``weight_decay`` to the gradient; the betas are two arguments.
    Differs from Keras: there ``eps`` is 1e-7, ``lr`` 1e-3 by default.

    >>> from minima import Tensor
    >>> from minima.optim import AdaMax
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdaMax([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_inf[0]
    (Tensor([ 0.8051683, -1.8025341], requires_grad=True), Tensor([1.998, 3.996]))
    """

    lr: Hyper = hyper(default=2e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    eps_inside: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg, exp_inf, *, lr, beta1, beta2, eps, eps_inside, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_inf = maximum(beta2 * exp_inf, abs(grad) + eps if eps_inside else abs(grad))
        size = exp_inf if eps_inside else exp_inf + eps
        return param - lr / (1 - beta1**t) * direction(exp_avg) / size, exp_avg, exp_inf
