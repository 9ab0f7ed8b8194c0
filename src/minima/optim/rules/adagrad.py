"""AdaGrad: steps that shrink with the sum of a parameter's squared gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["AdaGrad"]


class AdaGrad(Optimizer):
    """Divides each step of a parameter by the root of the sum of all its squared gradients so far.

    ::

        param = (1 - lr*wd)*param
        cache = cache + grad**2
        param = param - lr/sqrt(cache + eps)*grad

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of the first step, and the scale of all steps.
        wd: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * wd``, independently of its
            gradient (decoupled). Also accepted as ``weight_decay``.
        eps: Added to the sum under the root, at least 0; prevents division by 0 for a parameter without gradients.
        eps_inside: Whether eps is added under the root. If not, it is added to the root: ``sqrt(cache) + eps``.
        initial: Initial value of the sum, at least 0; a larger value makes the first steps shorter. It is read when the
            state of a parameter is created. A later change affects only parameters that are added afterwards.
        lr_decay: Additional decay of ``lr``, at least 0: ``lr`` is divided by ``1 + lr_decay * (t - 1)`` in step ``t``.
            None means no such decay.

    Keeps one array per parameter, ``cache``.

    Source: Duchi, Hazan and Singer, *Adaptive Subgradient Methods for Online Learning and Stochastic Optimization*,
    JMLR 12, 2011, Figure 1 with diagonal matrices. The paper adds its constant (delta) outside the root; here eps is
    inside.

    Differs from PyTorch: there eps (1e-10) is outside the root (``eps_inside=False``), ``lr`` is 0.01 by default, and
    ``weight_decay`` is added to the gradient (``decay="l2"``); here it is decoupled.

    >>> from minima import Tensor
    >>> from minima.optim import AdaGrad
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdaGrad([w], lr=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.cache[0]
    (Tensor([ 0.2763932, -1.2      ], requires_grad=True), Tensor([ 5., 25.]))
    """

    lr: Hyper = hyper(default=0.001, low=0)
    wd: Hyper = hyper(default=0.0, low=0)
    eps: Hyper = hyper(default=1e-7, low=0)

    eps_inside: bool = hyper(default=True, kw_only=True)
    initial: Hyper = hyper(default=0.0, low=0, kw_only=True)
    lr_decay: float | None = hyper(default=None, low=0, kw_only=True)

    @staticmethod
    def update(param, grad, cache="initial", *, lr, eps, eps_inside, lr_decay, t):
        cache = cache + grad**2
        if lr_decay is not None:
            lr = lr / (1 + lr_decay * (t - 1))
        if eps_inside:
            return param - lr / sqrt(cache + eps) * grad, cache
        return param - lr / (sqrt(cache) + eps) * grad, cache
