"""FTRL: parameters computed from sums of gradients in every step, many of them exactly 0."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Exact
from minima.optim.language.vocabulary import abs, sign, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["FTRL"]


class FTRL(Optimizer):
    """Computes each parameter from the sum of its gradients, with AdaGrad's rates; a small sum gives 0.

    ::

        new_grad_sum_sq = grad_sum_sq + grad**2
        new_root = sqrt(new_grad_sum_sq)
        root = sqrt(grad_sum_sq)
        sigma = (new_root - root)/lr
        z = z + grad - sigma*param
        scale = (beta + new_root)/lr + weight_decay
        param = where(abs(z) <= l1, 0, (sign(z)*l1 - z)/scale)

    The parameter is the best choice for the sum of all linear losses so far, one for each gradient, plus penalties on
    long steps and large parameters ("follow the regularised leader"). Without both penalties and with ``beta=0`` and
    ``initial=0``, the steps are those of AdaGrad. With ``l1``, a parameter stays exactly 0 until the sum of its
    gradients is large enough. So most of a model of rare features need not be stored.

    **Begin with parameters of 0.** The update does not read the old parameter: in the first step, an element without a
    gradient becomes 0, and other elements move towards 0, by ``sqrt(initial) + beta``. A value that you write into a
    parameter later is lost in the same way.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, above 0: the scale of all steps.
        l1: L1 penalty, at least 0: where the absolute value of ``z`` is at most ``l1``, the parameter is 0.
        weight_decay: L2 penalty, at least 0: half of it times the squared parameter is added once to the sum of all
            losses, and not in every step. Also accepted as ``wd``.
        beta: Added to the root, at least 0: makes the first steps shorter.
        initial: Initial value of the sum of squares, at least 0; a larger value makes the first steps shorter. It is
            read when the state of a parameter is created. A later change affects only parameters that are added
            afterwards.

    Keeps two arrays per parameter, ``z`` and ``grad_sum_sq``, from which the parameter is computed. ``state_dtype``
    does not apply to them: a rounding error in either would be an error of the parameter, and no later step would
    correct it.

    Source: McMahan et al., *Ad Click Prediction: a View from the Trenches*, KDD 2013, Algorithm 1, where ``initial`` is
    0 and ``beta`` 1; the defaults are Keras's.

    PyTorch has no such algorithm. Differs from Keras: there ``l2_regularization_strength`` is half of ``weight_decay``
    here, and the power of the sum may differ from 1/2.

    >>> from minima import Tensor
    >>> from minima.optim import FTRL
    >>> w = Tensor([0.0, 0.0], requires_grad=True)
    >>> optimizer = FTRL([w], lr=0.1, l1=1.0)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     ((w - Tensor([2.0, 0.2])) ** 2).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.z[0]
    (Tensor([0.14400573, 0.        ], requires_grad=True), Tensor([-9.008336, -0.8     ]))
    """

    lr: Hyper = hyper(default=1e-3, above=0)
    l1: Hyper = hyper(default=0.0, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    beta: Hyper = hyper(default=0.0, low=0, kw_only=True)
    initial: Hyper = hyper(default=0.1, low=0, kw_only=True)

    @staticmethod
    def update(param, grad, z: Exact, grad_sum_sq: Exact = "initial", *, lr, l1, weight_decay, beta):
        root = sqrt(grad_sum_sq)
        grad_sum_sq = grad_sum_sq + grad**2
        new_root = sqrt(grad_sum_sq)
        sigma = (new_root - root) / lr
        z = z + grad - sigma * param
        scale = (beta + new_root) / lr + weight_decay
        return where(abs(z) <= l1, 0, (sign(z) * l1 - z) / scale), z, grad_sum_sq
