"""Adan: Adam with Nesterov momentum, estimated from differences of successive gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["Adan"]


class Adan(Optimizer):
    """Steps along averages of the gradient and of its changes, divided by the root mean square of their sum.

    ::

        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        diff = where(first, 0, grad - prev_grad)
        exp_avg_diff = beta2*exp_avg_diff + (1 - beta2)*diff
        d_hat = exp_avg_diff/(1 - beta2**t)
        exp_avg_sq = beta3*exp_avg_sq + (1 - beta3)*(grad + beta2*diff)**2
        v_hat = exp_avg_sq/(1 - beta3**t)
        step = (m_hat + beta2*d_hat)/(sqrt(v_hat) + eps)
        param = (param - lr*step)/(1 + lr*weight_decay)
        prev_grad = grad

    Nesterov's momentum needs the gradient at a point ahead. The last change of the gradient gives an estimate of it:
    ``grad + beta2*diff``. ``first`` is true in the first step, which has no earlier gradient.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient. 5 to 10 times
            Adam's learning rate is usual.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of differences, in [0, 1), and the distance of the point ahead.
        beta3: Exponential decay rate of the average of squares, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step ends by dividing the parameter by ``1 + lr * weight_decay``.
            Also accepted as ``wd``.
        proximal: Whether weight decay is a division at the end of the step. If not, each step first multiplies the
            parameter by ``1 - lr * weight_decay``.

    Keeps four arrays per parameter: ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq``, and ``prev_grad``, the gradient of
    the previous step.

    Source: Xie, Zhou, Li, Lin and Yan, *Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models*,
    2022, Algorithm 1, where ``1 - beta`` is written for each beta here.

    PyTorch has no such algorithm. Differs from Optax: there ``1 - beta2`` takes the place of ``beta2`` as the factor of
    differences, and 1e-8 is also added under the root.

    >>> from minima import Tensor
    >>> from minima.optim import Adan
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adan([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg_diff[0]
    (Tensor([ 0.80077314, -1.8002286 ], requires_grad=True), Tensor([-0.016,  0.016]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.98, low=0, below=1)
    beta2: Hyper = hyper(default=0.92, low=0, below=1)
    beta3: Hyper = hyper(default=0.99, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    proximal: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_diff, exp_avg_sq, prev_grad,
        *, lr, beta1, beta2, beta3, eps, weight_decay, proximal, t, first,
    ):  # fmt: skip
        diff = where(first, 0, grad - prev_grad)
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_diff = beta2 * exp_avg_diff + (1 - beta2) * diff
        exp_avg_sq = beta3 * exp_avg_sq + (1 - beta3) * (grad + beta2 * diff) ** 2
        m_hat = exp_avg / (1 - beta1**t)
        d_hat = exp_avg_diff / (1 - beta2**t)
        v_hat = exp_avg_sq / (1 - beta3**t)
        step = direction(m_hat + beta2 * d_hat) / (sqrt(v_hat) + eps)
        if proximal:
            param = (param - lr * step) / (1 + lr * weight_decay)
        else:
            param = (1 - lr * weight_decay) * param - lr * step
        return param, exp_avg, exp_avg_diff, exp_avg_sq, grad
