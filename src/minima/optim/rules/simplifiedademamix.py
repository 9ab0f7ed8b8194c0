"""Simplified AdEMAMix: AdEMAMix with one sum of gradients in place of its two averages."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["SimplifiedAdEMAMix"]


class SimplifiedAdEMAMix(Optimizer):
    """Steps along a slowly decaying sum of gradients plus ``alpha`` times the newest gradient, divided as in Adam.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + grad
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        step = (exp_avg + alpha*grad)/(sqrt(v_hat) + eps)
        param = param - lr*step

    `AdEMAMix` keeps a fast and a slow average, to follow the newest gradients and to remember old ones. Here the newest
    gradient replaces the fast average, which saves one array of state. ``exp_avg`` is a sum. With constant gradients,
    the sum and the steps grow to ``1 / (1 - beta1)`` times the first ones, by default 100 times.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of the first step, for ``alpha = 0``, whatever the scale of the
            gradient; later steps are up to ``1 / (1 - beta1)`` times as long. Begin with a hundredth of Adam's learning
            rate.
        beta1: Decay factor of the sum of gradients in each step, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        alpha: Weight of the newest gradient relative to the sum, at least 0. 0 is Adam with the learning rate
            ``lr/(1 - beta1)``, and without bias correction of the average of gradients.
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Morwani et al., *Connections between Schedule-Free Optimizers, AdEMAMix, and Accelerated SGD Variants*,
    2025. The defaults are Optax's; the default of ``lr`` is pytorch_optimizer's.

    PyTorch has no such algorithm. The same as ``optax.contrib.simplified_ademamix``. Differs from pytorch_optimizer:
    there ``exp_avg`` is an average, and ``exp_avg_sq`` does not have Adam's bias correction.

    >>> from minima import Tensor
    >>> from minima.optim import SimplifiedAdEMAMix
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SimplifiedAdEMAMix([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.7010597, -1.7009602], requires_grad=True), Tensor([ 3.78, -7.76]))
    """

    lr: Hyper = hyper(default=1e-4, low=0)
    beta1: Hyper = hyper(default=0.99, low=0, below=1)
    beta2: Hyper = hyper(default=0.95, low=0, below=1)
    alpha: Hyper = hyper(default=0.0, low=0)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, alpha, eps, t):
        exp_avg = beta1 * exp_avg + grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        v_hat = exp_avg_sq / (1 - beta2**t)
        step = direction(exp_avg + alpha * grad) / (sqrt(v_hat) + eps)
        return param - lr * step, exp_avg, exp_avg_sq
