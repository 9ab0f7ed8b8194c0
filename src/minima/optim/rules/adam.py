"""Adam: momentum, and a step for every parameter that follows the recent size of its gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Adam"]


class Adam(Optimizer):
    """Steps along a running average of the gradient, divided by the root of a running average of its square.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    ``t`` counts the steps that the parameter has taken, this one included. In the long run, steady gradients move the
    parameter by ``lr`` a step, a lone one after silence by ``lr * (1 - beta1) / sqrt(1 - beta2)``, and no gradients at
    all by more than ``lr * (1 - beta1) / sqrt((1 - beta2) * (1 - beta1**2 / beta2))``, which is 7.3 ``lr`` for the
    default betas (for eps = 0 and ``beta1**2 < beta2``).

    Args:
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient. The default is
            cautious; 1e-3 is where most people start.
        beta1: Share of the average of gradients that each step keeps, in [0, 1).
        beta2: Share of the average of squared gradients that each step keeps, in [0, 1).
        eps: Added to the root, at least 0; keeps a parameter without gradients from dividing by 0.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, whatever its gradient (decoupled). Also accepted as ``wd``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Kingma and Ba, *Adam: A Method for Stochastic Optimization*, ICLR 2015, Algorithm 1; Loshchilov and Hutter,
    *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 2, for the weight decay, which here is scaled by
    ``lr`` too.

    Differs from PyTorch: with weight decay this is ``torch.optim.AdamW``, to rounding (``torch.optim.Adam`` adds its
    ``weight_decay`` to the gradient); ``lr`` is 1e-5 by default, PyTorch's is 1e-3; the betas are two arguments.

    >>> from minima import Tensor
    >>> from minima.optim import Adam
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Adam([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.8004122, -1.8001665], requires_grad=True), Tensor([ 0.35999998, -0.74      ]))
    """

    lr: Hyper = hyper(default=1e-5, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, t):
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        return param - lr * m_hat / (sqrt(v_hat) + eps), exp_avg, exp_avg_sq
