"""ASGD: gradient descent with a falling learning rate, and an average of the weights."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import maximum
from minima.optim.optimizer import Optimizer

__all__ = ["ASGD"]


class ASGD(Optimizer):
    """Moves each parameter against its gradient with a falling learning rate, and keeps the average of the weights.

    ::

        param = (1 - lr*weight_decay)*param
        param = (1 - lambd*eta)*param - eta*grad
        average = param + (1 - mu)*(average - param)
        eta = lr/(1 + lambd*lr*t)**alpha
        mu = 1/maximum(1, t - t0)

    With noisy gradients, the parameters scatter around the minimum. Their average is much closer to the minimum than
    the last parameters. So the learning rate may fall slowly, and the parameters reach the minimum sooner.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Initial learning rate, at least 0: how far a parameter moves for a gradient of 1. ``eta`` starts with the
            value at the creation of a parameter's state; a later assignment takes effect from the second step after it.
        lambd: Decay of the parameter towards 0 and of the learning rate, at least 0: ``eta`` has halved after about
            ``1.5 / (lambd * lr)`` steps.
        alpha: Exponent of the decay of the learning rate, at least 0.
        t0: Number of steps before averaging begins, at least 0; until then ``average`` is the parameter itself. With
            the default, most runs end before averaging begins.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps one array per parameter, ``average``, and two numbers: ``eta``, the rate of the next step, and ``mu``, the
    share of the parameter in the next average. ``with optimizer.averaged():`` puts the average into the parameters for
    the length of the block. ``eval()`` does nothing: parameters in half precision could not be restored from the
    average.

    Source: Polyak and Juditsky, *Acceleration of Stochastic Approximation by Averaging*, 1992; the learning rate is
    that of Xu, *Towards Optimal One Pass Large Scale Learning with Averaged Stochastic Gradient Descent*, 2011. The
    defaults are PyTorch's.

    Differs from PyTorch: ``torch.optim.ASGD`` adds its ``weight_decay`` to the gradient (``decay="l2"``); here it is
    decoupled. It keeps ``eta`` and ``mu`` in float32; here they are in float64.

    >>> from minima import Tensor
    >>> from minima.optim import ASGD
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = ASGD([w], lr=0.8, t0=0)
    >>> for _ in range(4):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.average[0]
    (Tensor([ 0.12954469, -0.25908938], requires_grad=True), Tensor([ 0.09120014, -0.18240027]))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    lambd: Hyper = hyper(default=1e-4, low=0)
    alpha: Hyper = hyper(default=0.75, low=0)
    t0: Hyper = hyper(default=1e6, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, average, eta: PerTensor = "lr", mu: PerTensor = 1.0, *, lr, lambd, alpha, t0, t):
        param = (1 - lambd * eta) * param - eta * grad
        average = param + (1 - mu) * (average - param)  # of mu = 1 exactly the parameter
        eta = lr / (1 + lambd * lr * t) ** alpha
        mu = 1 / maximum(1, t - t0)
        return param, average, eta, mu

    @staticmethod
    def weights_to_lend(param, average):
        """The average, which goes its own way beside the parameter."""
        return average
