"""LAMB: Adam, where the step of each tensor is proportional to its norm."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, minimum, norm, sqrt, where
from minima.optim.optimizer import Optimizer

__all__ = ["LAMB"]


class LAMB(Optimizer):
    """Steps in Adam's direction, scaled so that each tensor moves by a share ``lr`` of its own norm.

    ::

        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        m_hat = exp_avg/(1 - beta1**t)
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2
        v_hat = exp_avg_sq/(1 - beta2**t)
        step = m_hat/(sqrt(v_hat) + eps) + weight_decay*param
        length = norm(step)
        size = norm(param)
        trust = where((length > 0) & (size > 0), size/length, 1)
        param = param - lr*trust*step

    Norms are taken over one whole tensor. Where a norm is 0, ``trust`` is 1, so a tensor of zeros takes Adam's steps.
    Layers whose gradients are large relative to their weights do not limit the learning rate of the other layers. This
    allows large learning rates with batches of tens of thousands of samples.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the length of a step, as a share of the tensor's norm.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the step before its norm is
            taken, so decay changes the direction of the step and not its length. Also accepted as ``wd``.
        trust_clip: Whether ``trust`` is at most 1, so that no tensor takes a longer step than Adam's (LAMBC).
        adaptive: Whether steps are scaled by norms. Biases and the parameters of normalisation layers are usually
            excluded: put them in a group with ``adaptive=False`` and ``weight_decay=0``, which takes Adam's steps with
            ``lr``.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``.

    Source: You et al., *Large Batch Optimization for Deep Learning: Training BERT in 76 minutes*, ICLR 2020,
    Algorithm 2, with the identity for its function phi.

    PyTorch has no such algorithm. Differs from timm: there a tensor without weight decay takes Adam's steps unless
    ``always_adapt=True``, which corresponds to ``adaptive`` here, and gradients are clipped first, as by
    ``max_norm=1``, unless ``max_grad_norm=None``. Differs from pytorch_optimizer: its ``Lamb`` is the first version of
    the paper, which has no bias correction of ``exp_avg_sq`` and bounds ``norm(param)`` by 10.

    >>> from minima import Tensor
    >>> from minima.optim import LAMB
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = LAMB([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0]
    (Tensor([ 2.3281322, -3.3275762], requires_grad=True), Tensor([ 1.0692894, -1.4492893]))
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    eps: Hyper = hyper(default=1e-6, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    trust_clip: bool = hyper(default=False, kw_only=True)
    adaptive: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, *, lr, beta1, beta2, eps, weight_decay, trust_clip, adaptive, t
    ):  # fmt: skip
        exp_avg = beta1 * exp_avg + (1 - beta1) * grad
        exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * grad**2
        m_hat = exp_avg / (1 - beta1**t)
        v_hat = exp_avg_sq / (1 - beta2**t)
        step = direction(m_hat / (sqrt(v_hat) + eps)) + weight_decay * param
        if not adaptive:
            return param - lr * step, exp_avg, exp_avg_sq
        size, length = norm(param), norm(step)
        trust = where((length > 0) & (size > 0), size / length, 1)
        trust = minimum(trust, 1) if trust_clip else trust
        return param - lr * trust * step, exp_avg, exp_avg_sq
