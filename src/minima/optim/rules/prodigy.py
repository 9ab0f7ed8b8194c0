"""Prodigy: Adam that finds its learning rate by itself."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import abs, direction, maximum, sqrt, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["Prodigy"]


class Prodigy(Optimizer):
    """Takes Adam's steps with a learning rate ``d``, an estimate of the distance from the start to the solution.

    ::

        step = d*lr
        exp_avg = beta1*exp_avg + (1 - beta1)*d*grad
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*d**2*grad**2
        new_param = (1 - step*weight_decay)*param - step*exp_avg/(sqrt(exp_avg_sq) + d*eps)
        beta3 = sqrt(beta2)
        s = beta3*s + d/d0*step*grad
        length = total(abs(s))
        numerator = beta3*numerator + d/d0*step*total(grad*(start - param))
        d = where(length > 0, maximum(d, d_coef*numerator/length), d)

    ``start`` is the initial parameter, and totals are taken over all parameters of the optimizer. While steps lead away
    from the start, the estimate grows; once gradients point back, it stays constant. All parameters share one ``d``, so
    their steps keep Adam's proportions.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of the estimate, at least 0, and the same in all groups: 1, or a schedule that falls from 1.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1); its root is the decay rate of the
            estimate.
        eps: Added to the root, times ``d``, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - d * lr * weight_decay``. Also accepted as ``wd``.
        d0: Initial estimate, above 0, far below any plausible distance.
        d_coef: Factor of the estimate, above 0. Change this if training is too slow or too fast.
        bias_correction: Whether ``step`` has Adam's correction, ``d*lr*sqrt(1 - beta2**t)/(1 - beta1**t)``.
        safeguard_warmup: Whether ``s`` omits ``lr``, so that a learning rate that warms up from 0 does not raise the
            estimate: ``s = beta3*s + d/d0*d*grad``.

    Keeps four arrays per parameter, ``exp_avg``, ``exp_avg_sq``, ``s`` and ``start``, and two numbers for all
    parameters together, ``d`` and ``numerator``, in float64.

    Source: Mishchenko and Defazio, *Prodigy: An Expeditiously Adaptive Parameter-Free Learner*, ICML 2024, Algorithm 4,
    with ``d/d0`` in place of ``d`` in ``numerator`` and ``s``: the factor cancels in the estimate, and keeps both in
    the range of floats.

    PyTorch has no such algorithm. Differs from prodigyopt and Optax: there ``eps`` is multiplied by the new ``d``;
    here, as in the paper, by the ``d`` of the step. For the default ``eps`` the difference is about 1e-8.

    >>> from minima import Tensor
    >>> from minima.optim import Prodigy
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = Prodigy([w], d0=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.d[0]
    (Tensor([ 2.2607002, -3.2600837], requires_grad=True), Tensor(0.1506725, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    d0: Hyper = hyper(default=1e-6, above=0)
    d_coef: Hyper = hyper(default=1.0, above=0)
    bias_correction: bool = hyper(default=False, kw_only=True)
    safeguard_warmup: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, s, start="param", d: Shared = "d0", numerator: Shared = 0.0,
        *, lr, beta1, beta2, eps, weight_decay, d0, d_coef, bias_correction, safeguard_warmup, t,
    ):  # fmt: skip
        beta3 = sqrt(beta2)
        step = d * (lr * sqrt(1 - beta2**t) / (1 - beta1**t)) if bias_correction else d * lr
        numerator = beta3 * numerator + d / d0 * step * total(grad * (start - param))
        s = beta3 * s + d / d0 * (d if safeguard_warmup else step) * grad
        exp_avg = beta1 * exp_avg + (1 - beta1) * d * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * d**2 * grad**2
        param = (1 - step * weight_decay) * param - step * direction(exp_avg) / (sqrt(exp_avg_sq) + d * eps)
        length = total(abs(s))
        d = where(length > 0, maximum(d, d_coef * numerator / length), d)
        return param, exp_avg, exp_avg_sq, s, start, d, numerator
