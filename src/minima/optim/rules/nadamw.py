"""NAdamW: NAdam with weight decay, and with the same momentum in every step."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.rules.nadam import NAdam

__all__ = ["NAdamW"]


class NAdamW(NAdam):
    """Steps as NAdam does, with weight decay from the start, and ``beta1`` for the momentum of every step.

    ::

        param = (1 - lr*weight_decay)*param
        mu_product = mu_product*beta1
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        ahead = beta1*exp_avg/(1 - mu_product*beta1)
        m_hat = (1 - beta1)*grad/(1 - mu_product) + ahead
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    This is `NAdam`, whose weight decay is decoupled too; only the defaults of ``lr``, ``weight_decay`` and ``schedule``
    are others. Without a schedule the step follows AdamW's average as it will be one step on.

    Args:
        params: The Tensors to optimize, as an iterable; or groups, dicts with ``params`` and hyperparameters of their
            own.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Share of the average of gradients that each step keeps, in [0, 1), and what ``mu`` grows to.
        beta2: Share of the average of squared gradients that each step keeps, in [0, 1).
        eps: Added to the root, at least 0; keeps a parameter without gradients from dividing by 0.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``, whatever its gradient (decoupled). Also accepted as ``wd``.
        momentum_decay: How fast ``mu`` grows with ``schedule=True``, at least 0, as `NAdam` explains.
        schedule: Whether ``mu`` grows; otherwise it is ``beta1`` in every step.
        corrected_ahead: Whether the average that is looked ahead to has the correction of the next step, in which it
            will be taken; otherwise that of this one, as in timm: ``ahead = beta1*exp_avg/(1 - mu_product)``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, and one number, ``mu_product``, in float64.

    Source: Dozat, *Incorporating Nesterov Momentum into Adam*, ICLR 2016 workshop, without the schedule of its
    Algorithm 2; Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, for the weight decay. The
    defaults are timm's.

    The same as ``optax.nadamw``, but that ``weight_decay`` is 1e-4 there by default. Differs from timm: there
    ``corrected_ahead`` is False. Differs from PyTorch: ``torch.optim.NAdam(decoupled_weight_decay=True)`` is this with
    ``schedule=True``, to the digits of its float32 product.

    >>> from minima import Tensor
    >>> from minima.optim import NAdamW
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = NAdamW([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.mu_product[0]
    (Tensor([ 0.7398831, -1.7353034], requires_grad=True), Tensor(0.81, dtype=float64))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    weight_decay: Hyper = hyper(default=0.01, low=0)
    schedule: bool = hyper(default=False, kw_only=True)
