"""Signum: steps of one size, along the sign of the average gradient; without momentum, signSGD."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sign
from minima.optim.optimizer import Optimizer

__all__ = ["Signum"]


class Signum(Optimizer):
    """Moves each parameter by ``lr``, against the sign of the running average of its gradients.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = momentum*exp_avg + (1 - momentum)*grad
        step = sign(exp_avg)
        param = param - lr*step

    All parameters move by the same amount; a parameter whose average is exactly 0 does not move. Only the sign of each
    gradient matters, so machines in distributed training need to exchange only one bit per element. Without momentum,
    the average is the gradient itself: this is signSGD.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of a step.
        momentum: Exponential decay rate of the average of gradients, in [0, 1). 0 steps along the sign of ``grad``, and
            does not change ``exp_avg``.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps one array per parameter, ``exp_avg``; none without momentum.

    Source: Bernstein et al., *signSGD: Compressed Optimisation for Non-Convex Problems*, ICML 2018, Algorithm 1 without
    momentum and Algorithm 2 with it. The paper's learning rate is 1e-4; 1e-3 is pytorch_optimizer's.

    PyTorch has no such algorithm. Differs from Lion: Lion takes the sign of a blend in which the newest gradient has a
    larger weight than in the average.

    >>> from minima import Tensor
    >>> from minima.optim import Signum
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Signum([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.79999995, -1.8       ], requires_grad=True), Tensor([ 0.35999998, -0.74      ]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    momentum: Hyper = hyper(default=0.9, low=0, below=1, switch=True)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, momentum):
        if not momentum:
            return param - lr * direction(sign(grad)), exp_avg
        exp_avg = momentum * exp_avg + (1 - momentum) * grad
        step = direction(sign(exp_avg))
        return param - lr * step, exp_avg
