"""D-Adaptation for Adam: a learning rate that grows to an estimate of the distance to the solution."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import abs, direction, maximum, sqrt, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["DAdaptAdam"]


class DAdaptAdam(Optimizer):
    """Takes Adam's steps with a learning rate ``d``, an estimated lower bound of the distance to the solution.

    ::

        step = d*lr
        exp_avg = beta1*exp_avg + (1 - beta1)*step*grad
        new_exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        param = (1 - step*weight_decay)*param - exp_avg/(sqrt(new_exp_avg_sq) + eps)
        root = sqrt(beta2)
        new_s = root*s + (1 - root)*step*grad
        length = total(abs(new_s))
        gain = total(grad*s/(sqrt(exp_avg_sq) + eps))
        numerator = root*numerator + (1 - root)*step*gain
        d = where(length > 0, maximum(d, numerator/((1 - root)*length)), d)

    Totals are taken over all parameters of the optimizer. While new gradients point in the direction of their sum, the
    estimate grows; it never falls. `Prodigy` is by the same authors, and finds a good learning rate sooner.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of the estimate, at least 0, and the same in all groups: 1, or a schedule that falls from 1. It is
            part of ``exp_avg``. So when it becomes 0, steps fade out instead of stopping at once.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1); its root is the decay rate of the
            estimate.
        eps: Added to the root, above 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - d * lr * weight_decay``. Also accepted as ``wd``.
        d0: Initial estimate, above 0, far below any plausible distance.
        bias_correction: Whether ``step`` has Adam's correction, ``d*lr*sqrt(1 - beta2**t)/(1 - beta1**t)``.

    Keeps three arrays per parameter, ``exp_avg``, ``exp_avg_sq`` and ``s``, and two numbers for all parameters
    together, ``d`` and ``numerator``, in float64.

    Source: Defazio and Mishchenko, *Learning-Rate-Free Learning by D-Adaptation*, ICML 2023, Algorithm 5. Defaults are
    the paper's. Weight decay is AdamW's, as in the authors' package with ``decouple=True``.

    PyTorch has no such algorithm. Differs from Optax' ``dadapt_adamw``, which always corrects the bias; with
    ``bias_correction=True`` it is the same to rounding.

    >>> from minima import Tensor
    >>> from minima.optim import DAdaptAdam
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = DAdaptAdam([w], d0=0.01)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.d[0]
    (Tensor([ 2.6106644, -3.6097531], requires_grad=True), Tensor(0.41407687, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    d0: Hyper = hyper(default=1e-6, above=0)
    bias_correction: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, s, d: Shared = "d0", numerator: Shared = 0.0,
        *, lr, beta1, beta2, eps, weight_decay, bias_correction, t,
    ):  # fmt: skip
        root = sqrt(beta2)
        step = d * (lr * sqrt(1 - beta2**t) / (1 - beta1**t)) if bias_correction else d * lr
        gain = total(grad * s / (sqrt(exp_avg_sq) + eps))
        exp_avg = beta1 * exp_avg + (1 - beta1) * step * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        s = root * s + (1 - root) * step * grad
        param = (1 - step * weight_decay) * param - direction(exp_avg) / (sqrt(exp_avg_sq) + eps)
        numerator = root * numerator + (1 - root) * step * gain
        length = total(abs(s))
        d = where(length > 0, maximum(d, numerator / ((1 - root) * length)), d)
        return param, exp_avg, exp_avg_sq, s, d, numerator
