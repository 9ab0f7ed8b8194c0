"""Stochastic gradient descent, with momentum."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, where
from minima.optim.optimizer import Optimizer

__all__ = ["SGD"]


class SGD(Optimizer):
    """Moves every parameter against its gradient, or against a running average of its gradients.

    ::

        param = (1 - lr*wd)*param
        u = momentum*u + (1 - momentum)*grad
        param = param - lr*u

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: how far a parameter moves for a gradient of 1.
        momentum: Decay factor of the running average ``u`` in each step, in [0, 1). ``u`` averages over about
            ``1 / (1 - momentum)`` steps. 0 is plain gradient descent along ``grad``, which does not change ``u``.
        wd: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * wd``, independently of its
            gradient (decoupled). Also accepted as ``weight_decay``.
        dampening: Share of each gradient that is not added to ``u``, in [0, 1]. With None it equals ``momentum``, and
            ``u`` is an average; with 0, ``u`` is a sum, the classical heavy ball. Without momentum it has no effect.
        nesterov: Whether to step along ``momentum * u + (1 - dampening) * grad``, Nesterov's look-ahead, instead of
            ``u``.
        dampen_first: Whether dampening applies to the first gradient too. If not, ``u`` starts as the whole first
            gradient, and ``nesterov`` steps along ``momentum * u + grad``; both are as in PyTorch.

    Keeps one array per parameter, ``u``; none without momentum.

    Source: Robbins and Monro, *A Stochastic Approximation Method*, 1951; Polyak, *Some methods of speeding up the
    convergence of iteration methods*, 1964; Sutskever et al., *On the importance of initialization and momentum in
    deep learning*, 2013, equations 1 to 4, for both kinds of momentum.

    Differs from PyTorch: there ``dampening`` is 0 by default, and ``u`` grows to ``1 / (1 - momentum)`` times the
    average. So ``torch.optim.SGD(lr=0.1, momentum=0.9)`` is ``SGD(lr=0.1, momentum=0.9, dampening=0)`` here; while
    ``lr`` is constant and there is no decay, it is also ``SGD(lr=1.0, momentum=0.9)``. PyTorch adds its
    ``weight_decay`` to the gradient (``decay="l2"``); here it is decoupled. PyTorch does not apply ``dampening`` to the
    first step (``dampen_first=False``); here all steps are the same.

    >>> from minima import Tensor
    >>> from minima.optim import SGD
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SGD([w], lr=0.5, momentum=0.9)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.u[0]
    (Tensor([ 0.71999997, -1.4399999 ], requires_grad=True), Tensor([ 0.35999998, -0.71999997]))
    """

    lr: Hyper = hyper(default=0.01, low=0)
    momentum: Hyper = hyper(default=0.0, low=0, below=1, switch=True)
    wd: Hyper = hyper(default=0.0, low=0)
    dampening: float | None = hyper(default=None, low=0, high=1, kw_only=True)
    nesterov: bool = hyper(default=False, kw_only=True)
    dampen_first: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(param, grad, u, *, lr, momentum, dampening, nesterov, dampen_first, first):
        if not momentum:
            return param - lr * direction(grad), u
        if dampening is None:
            dampening = momentum
        if not dampen_first:
            dampening = where(first, 0, dampening)
        u = momentum * u + (1 - dampening) * grad
        step = u
        if nesterov:
            step = momentum * u + ((1 - dampening) * grad if dampen_first else grad)
        return param - lr * direction(step), u
