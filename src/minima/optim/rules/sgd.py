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
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: how far a parameter moves for a gradient of 1.
        momentum: Share of the running average ``u`` that each step keeps, in [0, 1). ``u`` averages over about
            ``1 / (1 - momentum)`` steps; 0 is plain gradient descent, along ``grad`` itself, and leaves ``u`` alone.
        wd: Weight decay, at least 0: each step first shrinks the parameter by the factor ``1 - lr * wd``,
            whatever its gradient (decoupled). Also accepted as ``weight_decay``.
        dampening: Share of each gradient that is kept out of ``u``, in [0, 1]. None means ``momentum``, which makes
            ``u`` an average; 0 makes it a sum, the classical heavy ball. Without momentum nothing is dampened.
        nesterov: Whether to step along ``momentum * u + (1 - dampening) * grad``, a look ahead, instead of ``u``.
        dampen_first: Whether the first gradient, too, is dampened. If not, ``u`` starts as that gradient, and what
            ``nesterov`` adds is a whole one, ``momentum * u + grad``, both as in PyTorch.

    Keeps one array per parameter, ``u``; none without momentum.

    Source: Robbins and Monro, *A Stochastic Approximation Method*, 1951; Polyak, *Some methods of speeding up the
    convergence of iteration methods*, 1964; Sutskever et al., *On the importance of initialization and momentum in
    deep learning*, 2013, equations 1 to 4, for both kinds of momentum.

    Differs from PyTorch: there ``dampening`` is 0 by default. ``u`` then grows to ``1 / (1 - momentum)`` times the
    average, so that ``torch.optim.SGD(lr=0.1, momentum=0.9)`` is ``SGD(lr=0.1, momentum=0.9, dampening=0)`` here, or,
    while ``lr`` is constant and there is no decay, ``SGD(lr=1.0, momentum=0.9)``. PyTorch adds its
    ``weight_decay`` to the gradient (``decay="l2"``); here it is decoupled. PyTorch leaves ``dampening`` out of the
    first step (``dampen_first=False``); here every step is alike.

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
