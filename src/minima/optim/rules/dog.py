"""DoG: gradient descent whose step is the distance from the start, over the norm of all gradients so far."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Shared
from minima.optim.language.vocabulary import maximum, norm, sqrt, total, where
from minima.optim.optimizer import Optimizer

__all__ = ["DoG"]


class DoG(Optimizer):
    """Steps along the gradient, by the largest distance from the start so far over the norm of all gradients so far.

    ::

        distance = sqrt(total(norm(param - start)**2))
        r = where(r == 0, reps_rel*(1 + sqrt(total(norm(param)**2))), maximum(r, distance))
        u = grad + weight_decay*param
        v = v + total(norm(u)**2)
        param = param - lr*r/sqrt(v + eps)*u

    ``start`` is the initial parameter, and totals are taken over all parameters of the optimizer. In theory, the best
    constant step is the distance to the solution over the root of the sum of squared gradients. That distance is
    unknown, so the largest distance from the start so far replaces it. It grows quickly while the parameters move away
    from the start, and then stays constant.

    **Evaluate an average of the weights**, as the authors do: ``ema_decay=0.999`` keeps one, and
    ``with optimizer.averaged():`` uses it.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of the step, at least 0: 1, or a little less where training is unstable.
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the gradient, and is part of its
            norm. Also accepted as ``wd``.
        reps_rel: Initial distance, above 0, as a share of 1 plus the norm of all parameters: small enough that the
            first step does no harm. The authors recommend 1e-4 for models with batch normalisation. The same in all
            groups.
        eps: Added to the sum of squared gradients, at least 0; prevents division by 0 for parameters without gradients.

    Keeps one array per parameter, ``start``, to which ``state_dtype`` does not apply; and two numbers for all
    parameters together, ``r`` and ``v``, in float64.

    Source: Ivgi, Hinder and Carmon, *DoG is SGD's Best Friend: A Parameter-Free Dynamic Step Size Schedule*, ICML 2023,
    equation 1. Defaults are those of the authors' package.

    PyTorch has no such algorithm. Differs from Optax: there ``reps_rel`` is called
    ``init_step=("heuristic", reps_rel)``.

    >>> from minima import Tensor
    >>> from minima.optim import DoG
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = DoG([w], reps_rel=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.r[0]
    (Tensor([ 2.402174 , -3.2028985], requires_grad=True), Tensor(0.6, dtype=float64))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    reps_rel: Hyper = hyper(default=1e-6, above=0)
    eps: Hyper = hyper(default=1e-8, low=0)

    @staticmethod
    def update(
        param, grad, start="param", r: Shared = 0.0, v: Shared = 0.0, *, lr, weight_decay, reps_rel, eps
    ):  # fmt: skip
        u = grad + weight_decay * param
        distance = sqrt(total(norm(param - start) ** 2))
        # No distance has been walked but in the very first step, where r is still 0.
        r = where(r == 0, reps_rel * (1 + sqrt(total(norm(param) ** 2))), maximum(r, distance))
        v = v + total(norm(u) ** 2)
        return param - lr * r / sqrt(v + eps) * u, start, r, v
