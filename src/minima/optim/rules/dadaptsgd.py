"""D-Adaptation for SGD: a learning rate that grows to a lower bound of the distance to the solution."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import maximum, norm, sqrt, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["DAdaptSGD"]


class DAdaptSGD(Optimizer):
    """Gradient descent with a learning rate ``d``, which grows to a lower bound of the distance to the solution.

    ::

        u = grad + weight_decay*param
        g0 = where(g0 == 0, sqrt(total(norm(u)**2)), g0)
        step = where(g0 > 0, d*lr/g0, 0)
        new_s = s + step*u
        param = param + (1 - momentum)*(start - new_s - param)
        length = sqrt(total(norm(new_s)**2))
        numerator = numerator + step*total(u*s)
        d = where(length > 0, maximum(d, 2*numerator/length), d)

    ``start`` is the initial parameter, and totals are taken over all parameters of the optimizer. ``start - s`` is the
    result of plain steps; the parameter is a running average of it, which is one form of momentum. While new gradients
    point in the direction of their sum, the bound grows; it never falls.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of the estimate, at least 0, and the same in all groups: 1, or a schedule that falls from 1.
        momentum: Decay rate of the average of ``start - s``, in [0, 1).
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the gradient. Also accepted as
            ``wd``.
        d0: Initial estimate, above 0, far below any plausible distance.

    Keeps two arrays per parameter, ``s`` and ``start``; ``state_dtype`` does not apply to ``start``. Also keeps three
    numbers for all parameters together, ``d``, ``numerator`` and ``g0``, the norm of the first gradients, in float64.

    Source: Defazio and Mishchenko, *Learning-Rate-Free Learning by D-Adaptation*, ICML 2023, Algorithm 4. Defaults are
    pytorch_optimizer's; the authors' package has no momentum by default.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there ``g0`` does not include weight decay.

    >>> from minima import Tensor
    >>> from minima.optim import DAdaptSGD
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = DAdaptSGD([w], d0=0.1)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.d[0]
    (Tensor([ 2.9663975, -3.9551969], requires_grad=True), Tensor(0.19947969, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    momentum: Hyper = hyper(default=0.9, low=0, below=1)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    d0: Hyper = hyper(default=1e-6, above=0)

    @staticmethod
    def update(
        param, grad, s, start="param", d: Shared = "d0", numerator: Shared = 0.0, g0: Shared = 0.0,
        *, lr, momentum, weight_decay,
    ):  # fmt: skip
        u = grad + weight_decay * param
        g0 = where(g0 == 0, sqrt(total(norm(u) ** 2)), g0)
        step = where(g0 > 0, d * lr / g0, 0)
        numerator = numerator + step * total(u * s)
        s = s + step * u
        length = sqrt(total(norm(s) ** 2))
        d = where(length > 0, maximum(d, 2 * numerator / length), d)
        # The paper's average of both; so written, a parameter that is there already stays where it is.
        return param + (1 - momentum) * (start - s - param), s, start, d, numerator, g0
