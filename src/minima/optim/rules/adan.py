"""Adan: Adam with Nesterov's look ahead, which it takes along the average difference of successive gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["Adan"]


class Adan(Optimizer):
    """Steps along averages of the gradient and of its changes, divided by the root of the squares of both together.

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

    Nesterov's momentum asks for the gradient at a point ahead. What it would be there, the last change of the gradient
    says: ``grad + beta2*diff``. ``first`` is true in the first step, in which nothing has changed yet.

    Args:
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient. 5 to 10 times
            Adam's is usual.
        beta1: Share of the average of gradients that each step keeps, in [0, 1).
        beta2: Share of the average of differences that each step keeps, in [0, 1), and how far ahead a step looks.
        beta3: Share of the average of squares that each step keeps, in [0, 1).
        eps: Added to the root, at least 0; keeps a parameter without gradients from dividing by 0.
        weight_decay: Weight decay, at least 0: each step ends by dividing the parameter by ``1 + lr * weight_decay``.
            Also accepted as ``wd``.
        proximal: Whether weight decay stands behind, as a division. If not, each step begins by shrinking the parameter
            by the factor ``1 - lr * weight_decay``.

    Keeps four arrays per parameter: ``exp_avg``, ``exp_avg_diff``, ``exp_avg_sq``, and ``prev_grad``, the gradient of
    its last step.

    Source: Xie, Zhou, Li, Lin and Yan, *Adan: Adaptive Nesterov Momentum Algorithm for Faster Optimizing Deep Models*,
    2022, Algorithm 1, which writes ``1 - beta`` for each beta here.

    PyTorch has no such algorithm. Differs from Optax: there differences are looked along by ``1 - beta2`` in place of
    ``beta2``, and 1e-8 stands under the root too.

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
