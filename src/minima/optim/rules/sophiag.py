"""Sophia-G: an average of gradients, divided by an estimate of the curvature, and clipped."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import clip, direction, maximum
from minima.optim.optimizer import Optimizer

__all__ = ["SophiaG"]


class SophiaG(Optimizer):
    """Divides an average of gradients by an average of estimates of the Hessian's diagonal, and clips the result.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        step = minimum(maximum(exp_avg/maximum(hessian, eps), -rho), rho)
        param = param - lr*step

    Where the estimate is good, this is Newton's step. Where the curvature is small, negative or out of date, the bound
    applies, and only the sign of the average matters.

    Only `update_hessian` changes ``hessian``; steps do not. Call it about every ten steps, with gradients that were
    computed for it in the parameters. By default these are gradients of a second loss (see ``estimator``), and the
    estimate is computed from their squares: ``hessian = beta2*hessian + (1 - beta2)*batch_size*grad**2``. With
    ``estimator="hutchinson"`` they are the estimates themselves: ``hessian = beta2*hessian + (1 - beta2)*grad``.

    **Before the first estimate** ``hessian`` **is 0, and every element moves by** ``lr*rho``, **whatever its
    gradient**: call `update_hessian` before the first step.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: a fraction of Newton's step; ``lr * rho`` is the longest step.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of estimates, in [0, 1).
        rho: Bound of each element of the step, above 0. It is well chosen if a few tenths of the elements are below it.
        eps: Lower bound of the curvature, above 0.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        batch_size: Number of examples (for a language model, tokens) over which the loss of an estimate is averaged,
            above 0. It may be assigned before each estimate.
        estimator: What `update_hessian` expects in place of gradients. ``"gauss_newton"``: gradients of the mean loss
            on labels drawn from the model's own predictions. ``"hutchinson"``: the product of the Hessian with a random
            vector, times that vector, which is known as Sophia-H.

    Keeps two arrays per parameter, ``exp_avg`` and ``hessian``.

    Source: Liu, Li, Hall, Liang and Ma, *Sophia: A Scalable Stochastic Second-order Optimizer for Language Model
    Pre-training*, ICLR 2024, without bias correction. Defaults are those of pytorch_optimizer's SophiaH.

    PyTorch has no such algorithm. Differs from the authors' code: it divides by ``rho*batch_size*hessian`` and clips at
    1, so its learning rate is ``lr * rho`` here. Differs from pytorch_optimizer: its SophiaH computes Hessian-vector
    products itself, or takes them as ``step(hessian=...)``. Differs from Optax: it corrects the bias of ``exp_avg``,
    scales ``hessian`` in place of the bound, and updates the estimate after the step.

    >>> from minima import Tensor
    >>> from minima.optim import SophiaG
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = SophiaG([w], lr=0.5, rho=0.1, batch_size=100)
    >>> w.grad = Tensor([0.1, 0.2])
    >>> optimizer.update_hessian()
    >>> w.grad = Tensor([0.01, 0.5])
    >>> optimizer.step()
    >>> w, optimizer.hessian[0]
    (Tensor([ 0.98, -2.05], requires_grad=True), Tensor([0.01, 0.04]))
    """

    lr: Hyper = hyper(default=0.06, low=0)
    beta1: Hyper = hyper(default=0.96, low=0, below=1)
    beta2: Hyper = hyper(default=0.99, low=0, below=1)
    rho: Hyper = hyper(default=0.01, above=0)
    eps: Hyper = hyper(default=1e-12, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    batch_size: Hyper = hyper(default=1.0, above=0, kw_only=True)
    estimator: str = hyper(default="gauss_newton", choices=("gauss_newton", "hutchinson"), kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg, hessian, *, lr, beta1, rho, eps):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        step = clip(exp_avg / maximum(hessian, eps), -rho, rho)
        return param - lr * direction(step), exp_avg, hessian

    @staticmethod
    def estimate(grad, hessian, *, beta2, batch_size, estimator):
        """``hessian`` behind an estimate."""
        estimated = grad if estimator == "hutchinson" else batch_size * grad**2
        return beta2 * hessian + (1 - beta2) * estimated
