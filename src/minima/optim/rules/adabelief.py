"""AdaBelief: Adam, divided by the deviation of gradients from their average in place of their size."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, maximum, sqrt
from minima.optim.optimizer import Optimizer
from minima.optim.rules._rectified import rectified

__all__ = ["AdaBelief"]


class AdaBelief(Optimizer):
    """Steps along a running average of the gradient, divided by the root mean square distance from that average.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_var = beta2*exp_avg_var + (1 - beta2)*(grad - exp_avg)**2 + eps
        s_hat = exp_avg_var/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(s_hat) + eps)

    The average is the gradient that the optimizer expects. Where new gradients confirm it, steps are long, even if the
    gradients are small; where they contradict it, steps are short. The distance is measured from the new average, so
    the first distance is ``beta1 * grad``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step where gradients are noise; longer where they agree.
        beta1: Exponential decay rate of the average of gradients, in [0, 1). With 0 all distances are 0, and steps are
            divided by ``eps`` alone.
        beta2: Exponential decay rate of the average of squared distances, in [0, 1).
        eps: Added to the root, and in every step to the average, where it grows to ``eps / (1 - beta2)``; at least 0.
            It bounds the step where all gradients are equal.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        eps_root: Added to the average in every step, in place of ``eps``; at least 0. None means ``eps``.
        amsgrad: Whether steps are divided by the largest ``exp_avg_var`` so far, so that a rare large distance is not
            forgotten: ``s_hat = max_exp_avg_var/(1 - beta2**t)``, where
            ``max_exp_avg_var = maximum(max_exp_avg_var, exp_avg_var)``.
        rectify: Whether steps are rectified, as in `RAdam`: the first steps, five for the default betas, follow
            ``m_hat`` without a division; later steps are multiplied by ``rect`` and divided by
            ``(sqrt(exp_avg_var) + eps)/sqrt(1 - beta2**t)``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_var``; with ``amsgrad`` a third, ``max_exp_avg_var``.

    Source: Zhuang et al., *AdaBelief Optimizer: Adapting Stepsizes by the Belief in Observed Gradients*, NeurIPS 2020,
    Algorithm 2; Reddi, Kale and Kumar, *On the Convergence of Adam and Beyond*, ICLR 2018, Algorithm 2, for
    ``amsgrad``; Liu et al., *On the Variance of the Adaptive Learning Rate and Beyond*, ICLR 2020, Algorithm 2, for
    ``rectify``.

    PyTorch has no such algorithm. Differs from timm: there ``rectify`` is True by default, and ``amsgrad`` has no
    effect with it.

    >>> from minima import Tensor
    >>> from minima.optim import AdaBelief
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdaBelief([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.7727291, -1.7723386], requires_grad=True), Tensor([ 0.35777777, -0.73777777]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-16, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    eps_root: Hyper = hyper(default=None, low=0, kw_only=True)
    amsgrad: bool = hyper(default=False, kw_only=True)
    rectify: bool = hyper(default=False, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_var, max_exp_avg_var,
        *, lr, beta1, beta2, eps, eps_root, amsgrad, rectify, t,
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_var = (
            beta2 * exp_avg_var + (1 - beta2) * (grad - exp_avg) ** 2 + (eps if eps_root is None else eps_root)
        )
        if amsgrad:
            max_exp_avg_var = maximum(max_exp_avg_var, exp_avg_var)
        s = max_exp_avg_var if amsgrad else exp_avg_var
        m_hat = exp_avg / (1 - beta1**t)
        if rectify:
            root = (sqrt(s) + eps) / sqrt(1 - beta2**t)
            rect, size = rectified(root, beta2, 5, 1, t)
            return param - lr * rect * direction(m_hat) / size, exp_avg, exp_avg_var, max_exp_avg_var
        s_hat = s / (1 - beta2**t)
        return param - lr * direction(m_hat) / (sqrt(s_hat) + eps), exp_avg, exp_avg_var, max_exp_avg_var
