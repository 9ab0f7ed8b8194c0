"""AdamW: Adam, with the usual learning rate and weight decay by default."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.rules.adam import Adam

__all__ = ["AdamW"]


class AdamW(Adam):
    """Takes Adam's steps, with weight decay by default.

    ::

        param = (1 - lr*weight_decay)*param
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        param = param - lr*m_hat/(sqrt(v_hat) + eps)

    This is `Adam`, whose weight decay is decoupled too. Only the defaults of ``lr`` and ``weight_decay`` differ.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.
        amsgrad: Whether steps are divided by the largest ``exp_avg_sq`` so far, as `Adam` explains.
        eps_hat: Whether eps is added to the root before bias correction, as `Adam` explains.
        eps_root: Added under the root, at least 0, as `Adam` explains. None adds nothing.
        max_hat: Whether ``amsgrad`` takes the maximum after bias correction, as `Adam` explains.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``; with ``amsgrad`` a third, ``max_exp_avg_sq``.

    Source: Loshchilov and Hutter, *Decoupled Weight Decay Regularization*, ICLR 2019, Algorithm 2, where weight decay
    is scaled by the schedule alone; here, as in other libraries, it is scaled by ``lr``.

    The same as ``torch.optim.AdamW`` up to rounding, except that the betas are two arguments. Differs from Optax: there
    ``weight_decay`` is 1e-4 by default.

    >>> from minima import Tensor
    >>> from minima.optim import AdamW
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = AdamW([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 0.798519 , -1.7962726], requires_grad=True), Tensor([ 0.35979998, -0.7396    ]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    weight_decay: Hyper = hyper(default=0.01, low=0)
