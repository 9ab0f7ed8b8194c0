"""StableAdamW: AdamW with a shorter step where gradients exceed their average."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, mean, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["StableAdamW"]


class StableAdamW(Optimizer):
    """Takes AdamW's steps, but shorter ones for a tensor whose gradients exceed their running averages.

    ::

        beta2_t = beta2*(1 - beta2**(t - 1))/(1 - beta2**t)
        exp_avg_sq = beta2_t*exp_avg_sq + (1 - beta2_t)*grad**2
        excess = sqrt(mean(grad**2/maximum(exp_avg_sq, eps**2)))
        lr_t = lr/maximum(1, excess)
        param = (1 - lr_t*weight_decay)*param
        beta1_t = beta1*(1 - beta1**(t - 1))/(1 - beta1**t)
        exp_avg = beta1_t*exp_avg + (1 - beta1_t)*grad
        param = param - lr_t*exp_avg/(sqrt(exp_avg_sq) + eps)

    The mean is taken over one whole tensor. ``excess`` is 1 while gradients keep their size. It grows when a tensor
    gets gradients that are large relative to ``exp_avg_sq``, and the step is divided by it. This replaces gradient
    clipping, which needs a threshold.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1), in the long run.
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1), in the long run.
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr_t * weight_decay``, which is closer to 1 where the step is shorter. Also accepted as ``wd``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, both with the bias correction included.

    Source: Wortsman et al., *Stable and low-precision training for large-scale vision-language models*, NeurIPS 2023,
    Algorithm 2.

    PyTorch has no such algorithm. Differs from Adam: ``exp_avg`` and ``exp_avg_sq`` are Adam's divided by
    ``1 - beta**t``, so the state of one cannot be loaded into the other.

    >>> from minima import Tensor
    >>> from minima.optim import StableAdamW
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = StableAdamW([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 2.7942014, -3.7921755], requires_grad=True), Tensor([ 5.891579, -7.890527]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.99, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.01, low=0)

    @staticmethod
    def update(param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, t):
        beta1_t = beta1 * (1 - beta1 ** (t - 1)) / (1 - beta1**t)
        beta2_t = beta2 * (1 - beta2 ** (t - 1)) / (1 - beta2**t)
        exp_avg = beta1_t * exp_avg + (1 - beta1_t) * grad
        exp_avg_sq = beta2_t * exp_avg_sq + (1 - beta2_t) * grad**2
        excess = sqrt(mean(grad**2 / maximum(exp_avg_sq, eps**2)))
        lr_t = lr / maximum(1, excess)
        param = (1 - lr_t * weight_decay) * param
        return param - lr_t * direction(exp_avg) / (sqrt(exp_avg_sq) + eps), exp_avg, exp_avg_sq
