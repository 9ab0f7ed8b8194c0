"""QHAdam: Adam, with the newest gradient mixed into its average, and its square into the average of squares."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["QHAdam"]


class QHAdam(Optimizer):
    """Takes Adam's steps, with the newest gradient and its square mixed into the two averages.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        step = (1 - nu1)*grad + nu1*m_hat
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        root = sqrt((1 - nu2)*grad**2 + nu2*v_hat)
        param = param - lr*step/(root + eps)

    QHAdam applies the idea of `QHM` to both averages of Adam. An average with a large ``beta1`` has little noise, and
    the newest gradient, with the weight ``1 - nu1``, has no lag. With ``nu1=1`` and ``nu2=1`` this is `Adam`.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        nu1: Weight of the average of gradients in a step, in [0, 1]; the newest gradient has the rest.
        nu2: Weight of the average of squares in the divisor, in [0, 1]; the newest square has the rest.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Ma and Yarats, *Quasi-hyperbolic momentum and Adam for deep learning*, ICLR 2019, which recommends
    ``beta1``, ``nu1`` and ``nu2``.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there ``beta1`` is 0.9 and ``nu1`` 1 by default,
    which is Adam, and weight decay is part of the gradient unless ``weight_decouple=True``.

    >>> from minima import Tensor
    >>> from minima.optim import QHAdam
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = QHAdam([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.8017216, -1.8008051], requires_grad=True), Tensor([ 0.01895, -0.0389 ]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.995, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    nu1: Hyper = hyper(default=0.7, low=0, high=1, kw_only=True)
    nu2: Hyper = hyper(default=1.0, low=0, high=1, kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, nu1, nu2, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        step = direction((1 - nu1) * grad + nu1 * m_hat)
        root = sqrt((1 - nu2) * grad**2 + nu2 * v_hat)
        return param - lr * step / (root + eps), exp_avg, exp_avg_sq
