"""AdaBelief: Adam, which divides by how far gradients stray from their average in place of how large they are."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["AdaBelief"]


class AdaBelief(Optimizer):
    """Steps along a running average of the gradient, divided by the root of the average squared distance to it.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_var = beta2*exp_avg_var + (1 - beta2)*(grad - exp_avg)**2 + eps
        s_hat = exp_avg_var/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(s_hat) + eps)

    The average is what the optimizer believes the gradient to be. Where gradients confirm it, steps are long, however
    small the gradients are; where they contradict it, steps are short. The distance is taken to the new average, so
    that the first one is ``beta1 * grad``.

    Args:
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: about the size of a step where gradients are noise; longer where they agree.
        beta1: Share of the average of gradients that each step keeps, in [0, 1). With 0 gradients never stray, and only
            ``eps`` is left to divide by.
        beta2: Share of the average of squared distances that each step keeps, in [0, 1).
        eps: Added to the root, and to the average in every step, where it grows to ``eps / (1 - beta2)``; at least 0.
            It bounds the step where all gradients are the same.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, whatever its gradient (decoupled). Also accepted as ``wd``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_var``.

    Source: Zhuang et al., *AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients*, NeurIPS 2020,
    Algorithm 2.

    PyTorch has no such algorithm. Differs from timm and pytorch_optimizer: there steps are rectified as RAdam's are,
    unless ``rectify=False``.

    >>> from minima import Tensor
    >>> from minima.optim import AdaBelief
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdaBelief([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.7727291, -1.7723386], requires_grad=True), Tensor([ 0.35777777, -0.73777777]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-16, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_var, *, lr, beta1, beta2, eps, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_var = beta2 * exp_avg_var + (1 - beta2) * (grad - exp_avg) ** 2 + eps
        m_hat = exp_avg / (1 - beta1**t)
        s_hat = exp_avg_var / (1 - beta2**t)
        return param - lr * direction(m_hat) / (sqrt(s_hat) + eps), exp_avg, exp_avg_var
