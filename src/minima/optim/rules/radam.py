"""RAdam: Adam that takes momentum steps until its second moment is reliable."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer
from minima.optim.rules._rectified import rectified

__all__ = ["RAdam"]


class RAdam(Optimizer):
    """Takes momentum steps first, and Adam's steps once the average of squared gradients is reliable.

    ::

        param = (1 - lr*weight_decay)*param
        rho_inf = 2/(1 - beta2) - 1
        rho = rho_inf - 2*t*beta2**t/(1 - beta2**t)
        over = where(rho > threshold, (rho - 4)*(rho - 2)*rho_inf, 1)
        under = where(rho > threshold, (rho_inf - 4)*(rho_inf - 2)*rho, 1)
        rect = sqrt(over/under)
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        root = (sqrt(exp_avg_sq) + eps)/sqrt(1 - beta2**t)
        size = where(rho > threshold, root, 1)
        param = param - lr*rect*m_hat/size

    ``t`` counts the steps that the parameter has taken, including this one. ``rho`` is roughly the number of gradients
    that ``exp_avg_sq`` averages: ``t`` at first, ``rho_inf`` in the long run. The average of few gradients has a large
    variance. So the first steps, five for the default betas, follow ``m_hat`` without a division, and their length
    depends on the size of the gradients. Later steps are divided, and ``rect`` grows from near 0 to 1, which replaces a
    warmup.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient, once steps are
            divided; before that, a factor of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1). Up to
            ``(threshold - 1)/(threshold + 1)``, by default 2/3, no step is ever divided.
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        threshold: Steps are divided while ``rho`` is above this value, at least 4.
        eps_hat: Whether eps is added to the root before bias correction, as in PyTorch; otherwise after it, as in
            Optax: ``root = sqrt(exp_avg_sq/(1 - beta2**t)) + eps``. In the first divided steps, eps then has up to 13
                times less weight.
        degenerated_to_sgd: Whether steps that are not divided follow ``m_hat``; otherwise they apply only weight decay.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: Liu et al., *On the Variance of the Adaptive Learning Rate and Beyond*, ICLR 2020, Algorithm 2, which has no
    ``eps`` and no weight decay, and a threshold of 4. The threshold of 5 is that of PyTorch and Optax.

    Differs from PyTorch: ``torch.optim.RAdam`` adds its ``weight_decay`` to the gradient, unless
    ``decoupled_weight_decay=True``; the betas are two arguments. Differs from pytorch_optimizer: there
    ``degenerated_to_sgd`` is False by default, and the first steps then apply no weight decay either.

    >>> from minima import Tensor
    >>> from minima.optim import RAdam
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = RAdam([w], lr=0.1)
    >>> for _ in range(6):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.19951801, -0.40116596], requires_grad=True), Tensor([ 0.4869555, -0.973911 ]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    threshold: Hyper = hyper(default=5.0, low=4, kw_only=True)
    eps_hat: bool = hyper(default=True, kw_only=True)
    degenerated_to_sgd: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, threshold, eps_hat, degenerated_to_sgd, t
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        m_hat = exp_avg / (1 - beta1**t)
        if eps_hat:
            root = (sqrt(exp_avg_sq) + eps) / sqrt(1 - beta2**t)
        else:
            root = sqrt(exp_avg_sq / (1 - beta2**t)) + eps
        rect, size = rectified(root, beta2, threshold, int(degenerated_to_sgd), t)
        return param - lr * rect * direction(m_hat) / size, exp_avg, exp_avg_sq
