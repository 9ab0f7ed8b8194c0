"""RMSProp: gradients divided by their recent size, for each parameter."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["RMSProp"]


class RMSProp(Optimizer):
    """Divides each step of a parameter by the root of a running average of its squared gradients.

    ::

        param = (1 - lr*wd)*param
        cache = rho*cache + (1 - rho)*grad**2
        param = param - lr/sqrt(cache + eps)*grad

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        wd: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * wd``, independently of its
            gradient (decoupled). Also accepted as ``weight_decay``.
        eps: Added to the average under the root, at least 0; gradients well below ``sqrt(eps)`` take shorter steps.
        rho: Exponential decay rate of the running average, in [0, 1); it averages over about ``1 / (1 - rho)`` steps.
        eps_inside: Whether eps is added under the root. If not, it is added to the root: ``sqrt(cache) + eps``.
        momentum: Decay factor of the sum of steps in each step, in [0, 1): with it, the parameter moves by ``-lr``
            times ``momentum_buffer = momentum*momentum_buffer + grad/sqrt(cache + eps)``. None means no such sum; 0
            gives the same steps, but keeps the array.
        centered: Whether to divide by the standard deviation of the gradient instead of its size: by the root of
            ``cache - grad_avg**2 + eps``, where ``grad_avg = rho*grad_avg + (1 - rho)*grad``.

    Keeps one array per parameter, ``cache``; with ``centered`` also ``grad_avg``, with ``momentum`` also
    ``momentum_buffer``. The averages start at 0 without bias correction, so the first step is ``1 / sqrt(1 - rho)``
    times as long as later ones.

    Source: Tieleman and Hinton, *Lecture 6.5: rmsprop*, Neural Networks for Machine Learning, Coursera, 2012; the
    lecture has no eps. ``centered`` and ``momentum``: Graves, *Generating Sequences With Recurrent Neural Networks*,
    2013, equations 38 to 41.

    Differs from PyTorch: there eps (1e-8) is outside the root (``eps_inside=False``), ``rho`` is called ``alpha`` and
    is 0.99 by default, ``lr`` is 0.01, and ``weight_decay`` is added to the gradient (``decay="l2"``); here it is
    decoupled. Where rounding makes ``cache - grad_avg**2`` negative, PyTorch gives NaN; here 0 takes its place.

    >>> from minima import Tensor
    >>> from minima.optim import RMSProp
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = RMSProp([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.cache[0]
    (Tensor([ 0.49887067, -1.4738754 ], requires_grad=True), Tensor([0.5470178, 2.5740356]))
    """

    lr: Hyper = hyper(default=0.001, low=0)
    wd: Hyper = hyper(default=0.0, low=0)
    eps: Hyper = hyper(default=1e-7, low=0)
    rho: Hyper = hyper(default=0.9, low=0, below=1)

    eps_inside: bool = hyper(default=True, kw_only=True)
    momentum: float | None = hyper(default=None, low=0, below=1, kw_only=True)
    centered: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(param, grad, cache, grad_avg, momentum_buffer, *, lr, eps, rho, eps_inside, momentum, centered):
        cache = rho * cache + (1 - rho) * grad**2
        spread = cache
        if centered:
            grad_avg = rho * grad_avg + (1 - rho) * grad
            spread = maximum(cache - grad_avg**2, 0)
        if momentum is not None:
            root = sqrt(spread + eps) if eps_inside else sqrt(spread) + eps
            momentum_buffer = momentum * momentum_buffer + grad / root
            return param - lr * direction(momentum_buffer), cache, grad_avg, momentum_buffer
        if eps_inside:
            return param - lr / sqrt(spread + eps) * direction(grad), cache, grad_avg, momentum_buffer
        return param - lr / (sqrt(spread) + eps) * direction(grad), cache, grad_avg, momentum_buffer
