"""Lion: steps of one size, along the sign of a blend of gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sign
from minima.optim.optimizer import Optimizer

__all__ = ["Lion"]


class Lion(Optimizer):
    """Moves each parameter by ``lr``, against the sign of a blend of its gradient and their running average.

    ::

        param = (1 - lr*weight_decay)*param
        step = sign(beta1*exp_avg + (1 - beta1)*grad)
        param = param - lr*step
        exp_avg = beta2*exp_avg + (1 - beta2)*grad

    The size of a gradient matters only relative to the earlier gradients of its parameter. All parameters move by the
    same amount; a parameter whose blend is exactly 0 does not move.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of a step. Usual are 3 to 10 times less than Adam's learning rate, and 3
            to 10 times more weight decay.
        beta1: Weight of the average in the blend, in [0, 1).
        beta2: Exponential decay rate of the average of gradients, in [0, 1).
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps one array per parameter, ``exp_avg``.

    Source: Chen et al., *Symbolic Discovery of Optimization Algorithms*, NeurIPS 2023, Algorithm 2.

    PyTorch has no such algorithm. Differs from Optax: there ``weight_decay`` is 1e-3 by default.

    >>> from minima import Tensor
    >>> from minima.optim import Lion
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Lion([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.79999995, -1.8       ], requires_grad=True), Tensor([ 0.0378, -0.0776]))
    """

    lr: Hyper = hyper(default=1e-4, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.99, low=0, below=1)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, beta1, beta2):
        step = direction(sign(beta1 * exp_avg + (1 - beta1) * grad))
        exp_avg = beta2 * exp_avg + (1 - beta2) * grad
        return param - lr * step, exp_avg
