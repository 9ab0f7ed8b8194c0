"""Polyak's step: gradient descent whose step follows from the distance of the loss to its lowest value."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import maximum, minimum, norm, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["PolyakSGD"]


class PolyakSGD(Optimizer):
    """Steps along the gradient, to the point where a linear model of the loss reaches its lowest value.

    ::

        size = c*(total(norm(grad)**2) + eps)
        gap = loss - bound
        step = where(size > 0, minimum(gap/size, lr), 0)
        param = (1 - step*weight_decay)*param - step*grad

    Each step needs the ``loss``: call ``step(loss=loss)`` or ``step(closure)``. Give the loss of the batch that the
    gradients come from, before the step, and without the factor of mixed-precision loss scaling. The total is taken
    over all parameters of the optimizer.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: The longest step for a gradient of 1, at least 0. A schedule of it bounds steps that are long because of
            noise.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - step * weight_decay``. Also accepted as ``wd``.
        bound: The lowest value that the loss of a batch can have, or a guess of it; 0 where a model fits each batch.
        c: Factor of the squared norm, above 0: 1, or 1/2 for steps that are twice as long.
        eps: Added to the squared norm, at least 0.
        positive: Whether no step is taken for a loss below ``bound``; otherwise such a step goes up the gradient.

    Keeps nothing.

    Source: Loizou, Vaswani, Laradji and Lacoste-Julien, *Stochastic Polyak Step-size for SGD: An Adaptive Learning Rate
    for Fast Convergence*, AISTATS 2021, where it is called SPS_max. Defaults are those of Optax.

    PyTorch has no such algorithm. Differs from Optax: there no step is taken for squared norms up to 2.2e-16, here only
    for 0.

    >>> from minima import Tensor
    >>> from minima.optim import PolyakSGD
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = PolyakSGD([w])
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     loss = (w * w).sum()
    ...     loss.backward()
    ...     _ = optimizer.step(loss=loss)
    >>> w
    Tensor([ 0.75, -1.  ], requires_grad=True)
    """

    lr: Hyper = hyper(default=1.0, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    bound: Hyper = hyper(default=0.0)
    c: Hyper = hyper(default=1.0, above=0)
    eps: Hyper = hyper(default=0.0, low=0)
    positive: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(param, grad, *, lr, weight_decay, bound, c, eps, positive, loss):
        gap = maximum(loss - bound, 0) if positive else loss - bound
        size = c * (total(norm(grad) ** 2) + eps)
        step = where(size > 0, minimum(gap / size, lr), 0)
        return (1 - step * weight_decay) * param - step * grad
