"""NAdam: Adam with Nesterov momentum."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerTensor
from minima.optim.language.vocabulary import direction, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["NAdam"]


class NAdam(Optimizer):
    """Takes Adam's steps with Nesterov momentum: the average of gradients is extrapolated by one step.

    ::

        param = (1 - lr*weight_decay)*param
        mu = beta1*(1 - 0.5*0.96**(t*momentum_decay))
        mu_product = mu_product*mu
        mu_next = beta1*(1 - 0.5*0.96**((t + 1)*momentum_decay))
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        ahead = mu_next*exp_avg/(1 - mu_product*mu_next)
        m_hat = (1 - mu)*grad/(1 - mu_product) + ahead
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    ``mu`` is the momentum of a step, which grows from ``beta1/2`` to ``beta1``; ``mu_next`` is the momentum of the next
    step. ``m_hat`` contains the newest gradient twice, by itself and in ``exp_avg``: this is Nesterov's look-ahead.
    ``t`` counts the steps that the parameter has taken, including this one.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1), and the limit of ``mu``.
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        momentum_decay: How fast ``mu`` grows, at least 0: the difference between ``mu`` and ``beta1`` halves in
            ``17 / momentum_decay`` steps, by default 4,200.
        schedule: Whether ``mu`` grows; otherwise it is ``beta1`` in every step, as in Optax.
        corrected_ahead: Whether ``ahead`` has the bias correction of the next step; otherwise it has that of the
            current step, as in timm: ``ahead = mu_next*exp_avg/(1 - mu_product)``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, and one number, ``mu_product``, in float64.

    Source: Dozat, *Incorporating Nesterov Momentum into Adam*, ICLR 2016 workshop, Algorithm 2. The products of ``mu``
    are the bias correction of an average with decay rate ``mu``; that of ``exp_avg`` is ``beta1``, as in PyTorch and
    Keras. With weight decay (Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019) the algorithm
    is known as `NAdamW`.

    Differs from PyTorch: ``torch.optim.NAdam`` adds its ``weight_decay`` to the gradient, unless
    ``decoupled_weight_decay=True``, and keeps ``mu_product`` in float32; the betas are two arguments. Differs from
    Keras: there ``momentum_decay`` is 1, ``eps`` 1e-7, ``lr`` 1e-3 by default, and all parameters share one product.
    Differs from Optax: there ``mu`` is always ``beta1``. timm's ``NAdamW`` is this with ``schedule=False`` and
    ``corrected_ahead=False``.

    >>> from minima import Tensor
    >>> from minima.optim import NAdam
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = NAdam([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.mu_product[0]
    (Tensor([ 0.81997305, -1.8178976 ], requires_grad=True), Tensor(0.20259919, dtype=float64))
    """

    lr: Hyper = hyper(default=2e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    momentum_decay: Hyper = hyper(default=4e-3, low=0)
    schedule: bool = hyper(default=True, kw_only=True)
    corrected_ahead: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(
        param,
        grad,
        exp_avg,
        exp_avg_sq,
        mu_product: PerTensor = 1.0,
        *,
        lr,
        beta1,
        beta2,
        eps,
        momentum_decay,
        schedule,
        corrected_ahead,
        t,
    ):
        mu = beta1 * (1 - 0.5 * 0.96 ** (t * momentum_decay)) if schedule else beta1
        mu_next = beta1 * (1 - 0.5 * 0.96 ** ((t + 1) * momentum_decay)) if schedule else beta1
        mu_product = mu_product * mu  # state, and no function of t: beta1 may have changed
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        ahead = mu_next * exp_avg / (1 - (mu_product * mu_next if corrected_ahead else mu_product))
        m_hat = (1 - mu) * grad / (1 - mu_product) + ahead
        v_hat = exp_avg_sq / (1 - beta2**t)
        return param - lr * direction(m_hat) / (sqrt(v_hat) + eps), exp_avg, exp_avg_sq, mu_product
