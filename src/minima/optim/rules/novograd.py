"""NovoGrad: momentum on gradients that are divided by the recent norm of their tensor."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import direction, norm, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["NovoGrad"]


class NovoGrad(Optimizer):
    """Steps along a decaying sum of gradients, each divided by the recent norm of its whole tensor.

    ::

        size = norm(grad)**2
        exp_norm_sq = where(first, size, beta2*exp_norm_sq + (1 - beta2)*size)
        step = grad/(sqrt(exp_norm_sq) + eps) + weight_decay*param
        exp_avg = beta1*exp_avg + step
        param = param - lr*exp_avg

    Adam keeps a second moment for each element, NovoGrad keeps one for each tensor: its state is half of Adam's.
    ``exp_avg`` is a sum. With constant gradients, the sum and the steps grow to ``1 / (1 - beta1)`` times the first
    ones, by default 20 times. ``first`` is true in the first step.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the length of the first step of a tensor; later steps are up to
            ``1 / (1 - beta1)`` times as long.
        beta1: Decay factor of the sum of normalised gradients in each step, in [0, 1).
        beta2: Exponential decay rate of the average of squared norms, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a tensor without gradients.
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the normalised gradient, and is
            thus part of the sum. Also accepted as ``wd``.
        grad_averaging: Whether ``exp_avg`` is an average instead of a sum: each summand is multiplied by ``1 - beta1``.
            ``lr`` is then the length of later steps, and the first step is shorter.

    Keeps one array per parameter, ``exp_avg``, and one number, ``exp_norm_sq``, in float64.

    Source: Ginsburg et al., *Stochastic Gradient Methods with Layer-wise Adaptive Moments for Training of Deep
    Networks*, 2019, Algorithm 1.

    PyTorch has no such algorithm. Differs from Optax: there ``beta1`` is 0.9, ``beta2`` 0.25 and ``eps`` 1e-6 by
    default. ``grad_averaging`` is timm's; in pytorch_optimizer, the first summand is nevertheless added in full.
    Differs from timm: there every step up to the first nonzero gradient counts as the first, and ``lr`` is 1e-3 by
    default.

    >>> from minima import Tensor
    >>> from minima.optim import NovoGrad
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = NovoGrad([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_norm_sq[0]
    (Tensor([ 2.8241768, -3.765569 ], requires_grad=True), Tensor(99.92080007, dtype=float64))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    beta1: Hyper = hyper(default=0.95, low=0, below=1)
    beta2: Hyper = hyper(default=0.98, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    grad_averaging: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_norm_sq: PerTensor, *, lr, beta1, beta2, eps, weight_decay, grad_averaging, first
    ):  # fmt: skip
        size = norm(grad) ** 2
        exp_norm_sq = where(first, size, beta2 * exp_norm_sq + (1 - beta2) * size)
        step = grad / (sqrt(exp_norm_sq) + eps) + weight_decay * param
        exp_avg = beta1 * exp_avg + ((1 - beta1) * step if grad_averaging else step)
        return param - lr * direction(exp_avg), exp_avg, exp_norm_sq
