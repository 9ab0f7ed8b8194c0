"""NAdamW: NAdam with weight decay and constant momentum by default."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.rules.nadam import NAdam

__all__ = ["NAdamW"]


class NAdamW(NAdam):
    """Takes NAdam's steps, with weight decay and constant momentum ``beta1`` by default.

    ::

        param = (1 - lr*weight_decay)*param
        mu_product = mu_product*beta1
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        ahead = beta1*exp_avg/(1 - mu_product*beta1)
        m_hat = (1 - beta1)*grad/(1 - mu_product) + ahead
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    This is `NAdam`, whose weight decay is decoupled too. Only the defaults of ``lr``, ``weight_decay`` and ``schedule``
    differ. Without a schedule, the step is AdamW's with the average of gradients extrapolated by one step.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1), and the limit of ``mu``.
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        momentum_decay: How fast ``mu`` grows with ``schedule=True``, at least 0, as `NAdam` explains.
        schedule: Whether ``mu`` grows; otherwise it is ``beta1`` in every step.
        corrected_ahead: Whether ``ahead`` has the bias correction of the next step; otherwise it has that of the
            current step, as in timm: ``ahead = beta1*exp_avg/(1 - mu_product)``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, and one number, ``mu_product``, in float64.

    Source: Dozat, *Incorporating Nesterov Momentum into Adam*, ICLR 2016 workshop, without the schedule of its
    Algorithm 2; Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, for the weight decay. The
    defaults are timm's.

    The same as ``optax.nadamw``, except that ``weight_decay`` is 1e-4 there by default. Differs from timm: there
    ``corrected_ahead`` is False. Differs from PyTorch: ``torch.optim.NAdam(decoupled_weight_decay=True)`` is this with
    ``schedule=True``, up to the precision of its float32 product.

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
