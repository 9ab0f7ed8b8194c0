"""AdEMAMix: Adam with a second, much slower average of gradients."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, exp, log, minimum, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["AdEMAMix"]


class AdEMAMix(Optimizer):
    """Takes Adam's steps along the sum of Adam's average of the gradient and ``alpha`` times a much slower average.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_slow = beta3*exp_avg_slow + (1 - beta3)*grad
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        step = (m_hat + alpha*exp_avg_slow)/(sqrt(v_hat) + eps)
        param = param - lr*step

    The slow average remembers gradients from thousands of steps ago, which are still useful where the loss changes
    slowly. The fast average follows the latest gradients. The slow average has no bias correction: it starts at 0, and
    its influence grows as it fills.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of the first steps, whatever the scale of the gradient; where gradients
            agree over many steps, later steps are up to ``1 + alpha`` times as long.
        beta1: Exponential decay rate of the fast average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        beta3: Exponential decay rate of the slow average of gradients, in [0, 1).
        alpha: Weight of the slow average, at least 0; 5 to 10 in the paper. With 0 this is Adam.
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        warmup: Number of steps, above 0, in which ``alpha`` grows linearly from 0, and the memory of the slow average,
            ``-1 / log(beta3)`` steps, grows linearly from the memory of the fast average; in the paper, all steps of
            the training. None means no warmup.

    Keeps three arrays per parameter, ``exp_avg``, ``exp_avg_sq`` and ``exp_avg_slow``.

    Source: Pagliardini, Ablin and Grangier, *The AdEMAMix Optimizer: Better, Faster, Older*, ICLR 2025, Algorithm 1.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there weight decay is part of the gradient unless
    ``weight_decouple=True``. Differs from Optax: it has no ``warmup``, but accepts functions of the step, which is
    counted from 0 there.

    >>> from minima import Tensor
    >>> from minima.optim import AdEMAMix
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdEMAMix([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg_slow[0]
    (Tensor([ 0.8002627, -1.8000166], requires_grad=True), Tensor([ 0.00037997, -0.00077995]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    beta3: Hyper = hyper(default=0.9999, low=0, below=1)
    alpha: Hyper = hyper(default=5.0, low=0)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    warmup: float | None = hyper(default=None, above=0, kw_only=True)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, exp_avg_slow, *, lr, beta1, beta2, beta3, alpha, eps, warmup, t):
        if warmup is not None:
            share = minimum(t / warmup, 1)
            alpha = share * alpha
            # The paper's equation, divided by both logarithms, so that beta1 may be 0.
            grown = exp(1 / ((1 - share) / log(beta1) + share / log(beta3)))
            beta3 = minimum(grown, beta3)
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        exp_avg_slow = beta3 * exp_avg_slow + (1 - beta3) * grad
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        step = direction(m_hat + alpha * exp_avg_slow) / (sqrt(v_hat) + eps)
        return param - lr * step, exp_avg, exp_avg_sq, exp_avg_slow
