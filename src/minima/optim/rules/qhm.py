"""QHM: steps along a mixture of the newest gradient and a long average of gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction
from minima.optim.optimizer import Optimizer

__all__ = ["QHM"]


class QHM(Optimizer):
    """Moves each parameter against a mixture of its gradient and the running average of its gradients.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = momentum*exp_avg + (1 - momentum)*grad
        step = (1 - nu)*grad + nu*exp_avg
        param = param - lr*step

    A long average has little noise, but lags behind. The newest gradient has much noise, but no lag. Usual momentum
    steps along the average alone, which must then be short. With ``nu`` below 1 the average may be long.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: how far a parameter moves for a constant gradient of 1.
        momentum: Exponential decay rate of the average of gradients, in [0, 1). 0 steps along ``grad``, and does not
            change ``exp_avg``.
        nu: Weight of the average in a step, in [0, 1]. 1 is the usual momentum; ``nu=momentum`` is Nesterov's; 0 steps
            along ``grad``, and does not change ``exp_avg``.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps one array per parameter, ``exp_avg``; none without momentum.

    Source: Ma and Yarats, *Quasi-hyperbolic momentum and Adam for deep learning*, ICLR 2019, which recommends
    ``momentum`` and ``nu``; the learning rate is pytorch_optimizer's.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there ``momentum`` is 0 and ``nu`` 1 by default, and
    weight decay is part of the gradient unless ``weight_decouple=True``.

    >>> from minima import Tensor
    >>> from minima.optim import QHM
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = QHM([w], lr=0.5, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.33389997, -0.66779995], requires_grad=True), Tensor([ 0.306, -0.612]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    momentum: Hyper = hyper(default=0.999, low=0, below=1, switch=True)
    nu: Hyper = hyper(default=0.7, low=0, high=1, switch=True)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, *, lr, momentum, nu):
        if not momentum or not nu:
            return param - lr * direction(grad), exp_avg
        exp_avg = momentum * exp_avg + (1 - momentum) * grad
        step = direction((1 - nu) * grad + nu * exp_avg)
        return param - lr * step, exp_avg
