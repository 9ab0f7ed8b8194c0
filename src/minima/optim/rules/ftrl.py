"""FTRL: parameters made anew in every step, of sums of gradients, with many of them exactly 0."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import Exact
from minima.optim.language.vocabulary import abs, sign, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["FTRL"]


class FTRL(Optimizer):
    """Makes every parameter anew from the sum of its gradients, 0 where that sum is small, with AdaGrad's rates.

    ::

        new_grad_sum_sq = grad_sum_sq + grad**2
        new_root = sqrt(new_grad_sum_sq)
        root = sqrt(grad_sum_sq)
        sigma = (new_root - root)/lr
        z = z + grad - sigma*param
        scale = (beta + new_root)/lr + weight_decay
        param = where(abs(z) <= l1, 0, (sign(z)*l1 - z)/scale)

    The parameter is what would have been best for all gradients so far, each taken as a slope, if steps are not to be
    long and parameters not large ("follow the regularised leader"). With neither penalty, ``beta=0`` and ``initial=0``,
    the steps are those of AdaGrad. With ``l1`` a parameter stays at 0, to the bit, until its gradients have had their
    say: most of a model of rare features need not be stored.

    **Begin with parameters of 0.** The parameter has no memory of its own: in the first step, an element without a
    gradient becomes 0, and others are drawn to it, by ``sqrt(initial) + beta``. What is written into a parameter from
    outside is lost likewise.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, above 0: the scale of all steps.
        l1: Absolute penalty, at least 0: where ``z`` is at most this, the parameter is 0.
        weight_decay: Squared penalty, at least 0: half of it times the square of the parameter is added to the sum of
            all losses, once and not in every step. Also accepted as ``wd``.
        beta: Added to the root, at least 0: makes first steps shorter.
        initial: What the sum of squares starts at, at least 0, so that first steps are shorter. It is read when the
            state of a parameter is created. A later change affects only parameters that are added afterwards.

    Keeps two arrays per parameter, ``z`` and ``grad_sum_sq``, of which the parameter is made. Both are kept as they are
    computed, whatever ``state_dtype`` says: what is lost of either is lost of the parameter, and no later step makes up
    for it.

    Source: McMahan et al., *Ad Click Prediction: a View from the Trenches*, KDD 2013, Algorithm 1, where ``initial`` is
    0 and ``beta`` 1; the defaults are Keras'.

    PyTorch has no such algorithm. Differs from Keras: there ``l2_regularization_strength`` is half of ``weight_decay``
    here, and the power of the sum may be another than 1/2.

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
