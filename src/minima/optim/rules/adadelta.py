"""AdaDelta: steps in the unit of the parameter, taken from the size of past steps."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["AdaDelta"]


class AdaDelta(Optimizer):
    """Multiplies each gradient by the size of recent steps, and divides it by the size of recent gradients.

    ::

        param = (1 - lr*weight_decay)*param
        square_avg = rho*square_avg + (1 - rho)*grad**2
        delta = sqrt(acc_delta + eps)/sqrt(square_avg + eps)*grad
        param = param - lr*delta
        acc_delta = rho*acc_delta + (1 - rho)*delta**2

    A gradient divided by the size of gradients has no unit; the size of past steps has the unit of the parameter. So
    the step does not depend on the scale of the loss, and follows the scale of the parameter without a learning rate.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Factor of all steps, at least 0; the paper has no such factor, which means 1.
        rho: Exponential decay rate of both running averages, in [0, 1); they average over about ``1 / (1 - rho)``
            steps.
        eps: Added under both roots, at least 0. It sets the first step: ``acc_delta`` starts at 0, so the first step is
            ``sqrt(eps / (1 - rho))`` long, and later steps grow from there.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps two arrays per parameter, ``square_avg`` and ``acc_delta``. ``acc_delta`` averages the squares of ``delta``,
    before the multiplication by ``lr``.

    Source: Zeiler, *ADADELTA: An Adaptive Learning Rate Method*, 2012, Algorithm 1, where rho is 0.95. The defaults are
    PyTorch's.

    Differs from PyTorch: ``torch.optim.Adadelta`` adds its ``weight_decay`` to the gradient (``decay="l2"``); here it
    is decoupled. Differs from Keras: there ``lr`` is 1e-3, ``rho`` 0.95 and eps 1e-7 by default.

    >>> from minima import Tensor
    >>> from minima.optim import AdaDelta
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdaDelta([w])
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.square_avg[0]
    (Tensor([ 0.99359816, -1.9935957 ], requires_grad=True), Tensor([0.7574742, 3.0349443]))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    rho: Hyper = hyper(default=0.9, low=0, below=1)
    eps: Hyper = hyper(default=1e-6, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, square_avg, acc_delta, *, lr, rho, eps):
        square_avg = rho * square_avg + (1 - rho) * grad**2
        delta = sqrt(acc_delta + eps) / sqrt(square_avg + eps) * grad
        acc_delta = rho * acc_delta + (1 - rho) * delta**2
        return param - lr * delta, square_avg, acc_delta
