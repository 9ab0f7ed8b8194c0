"""DoWG: gradient descent whose step is the squared distance from the start, over the norm of weighted gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import maximum, norm, sqrt, total
from minima.optim.optimizer import Optimizer

__all__ = ["DoWG"]


class DoWG(Optimizer):
    """Takes DoG's steps, but weights each gradient in the divisor by the distance from the start at its own step.

    ::

        r = maximum(r, total(norm(param - start)**2))
        u = grad + weight_decay*param
        v = v + r*total(norm(u)**2)
        param = param - lr*r/(sqrt(v) + eps)*u

    ``start`` is the initial parameter, ``r`` is the square of the largest distance from it so far, and totals are taken
    over all parameters of the optimizer. Early gradients, from when the distance was small, have almost no weight. So
    steps are longer than those of ``DoG``, and no average of the weights is needed.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of the step, at least 0: 1, or a little less where training is unstable.
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the gradient, and is part of its
            norm. Also accepted as ``wd``.
        r0: Initial squared distance, above 0: small enough that the first step does no harm.
        eps: Added to the root, at least 0; prevents division by 0 for parameters without gradients.

    Keeps one array per parameter, ``start``, to which ``state_dtype`` does not apply; and two numbers for all
    parameters together, ``r`` and ``v``, in float64.

    Source: Khaled, Mishchenko and Jin, *DoWG Unleashed: An Efficient Universal Parameter-Free Gradient Descent Method*,
    NeurIPS 2023, Algorithm 1, which has no ``eps``. Defaults are those of Optax.

    PyTorch has no such algorithm. Differs from Optax: there ``r0`` is called ``init_estim_sq_dist``.

    >>> from minima import Tensor
    >>> from minima.optim import DoWG
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = DoWG([w], r0=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.r[0]
    (Tensor([ 2.6805584, -3.5740778], requires_grad=True), Tensor(0.1, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    r0: Hyper = hyper(default=1e-4, above=0)
    eps: Hyper = hyper(default=1e-4, low=0)

    @staticmethod
    def update(param, grad, start="param", r: Shared = "r0", v: Shared = 0.0, *, lr, weight_decay, eps):
        u = grad + weight_decay * param
        r = maximum(r, total(norm(param - start) ** 2))
        v = v + r * total(norm(u) ** 2)
        return param - lr * r / (sqrt(v) + eps) * u, start, r, v
