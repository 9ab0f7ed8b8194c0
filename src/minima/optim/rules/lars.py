"""LARS: gradient descent with momentum, where the step of each tensor is proportional to its norm."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import direction, minimum, norm, where
from minima.optim.optimizer import Optimizer

__all__ = ["LARS"]


class LARS(Optimizer):
    """Steps along a decaying sum of gradients, each scaled to a share of the norm of its tensor.

    ::

        size = norm(param)
        step = grad + weight_decay*param
        length = norm(step)
        ratio = where((size > 0) & (length > 0), trust*size/length, 1)
        rate = lr*ratio
        momentum_buffer = momentum*momentum_buffer + rate*step
        param = param - momentum_buffer

    Norms are taken over one whole tensor. Where a norm is 0, ``ratio`` is 1, so a tensor of zeros takes the steps of
    SGD. ``lr`` is part of the sum: a change of the learning rate does not affect the gradients that are already in it.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: a factor of ``trust``.
        momentum: Decay factor of the sum of steps in each step, in [0, 1). With constant gradients, steps grow to
            ``1 / (1 - momentum)`` times a single one. 0 means no sum.
        weight_decay: Weight decay, at least 0: this share of the parameter is added to the gradient before the norm is
            taken. Also accepted as ``wd``.
        trust: The length of a single step as a share of the tensor's norm, before ``lr``; at least 0.
        sum_of_norms: Whether ``length`` is ``norm(grad) + weight_decay*norm(param)``, which is larger than the norm of
            the sum where decay and gradient differ in direction.
        trust_clip: Whether ``rate`` is at most ``lr``, so that no tensor takes a longer step than with SGD (LARC).
        adaptive: Whether steps are scaled by norms. Biases and the parameters of normalisation layers are usually
            excluded: put them in a group with ``adaptive=False`` and ``weight_decay=0``, which takes the steps of SGD
            with ``lr``.

    Keeps one array per parameter, ``momentum_buffer``; none without momentum.

    Source: You, Gitman and Ginsburg, *Large Batch Training of Convolutional Networks*, 2017, Algorithm 1, which has
    ``sum_of_norms=True``. The defaults are Optax's; the default of ``lr`` is timm's.

    PyTorch has no such algorithm. With ``trust_clip``, as in timm and NVIDIA's Apex, ``rate`` is the smaller of
    ``ratio`` and ``lr``: ``lr`` is then a bound and not a factor. Differs from timm and pytorch_optimizer: there
    ``sum_of_norms`` is True, and ``lr`` multiplies the whole sum, which gives the same steps while ``lr`` is constant.
    Differs from timm: there a tensor without weight decay takes the steps of SGD unless ``always_adapt=True``. Differs
    from pytorch_optimizer: there vectors take the steps of SGD without weight decay.

    >>> from minima import Tensor
    >>> from minima.optim import LARS
    >>> w = Tensor([3.0, -4.0], requires_grad=True)
    >>> optimizer = LARS([w], lr=100.0)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.momentum_buffer[0]
    (Tensor([ 2.16     , -2.8799999], requires_grad=True), Tensor([ 0.54      , -0.71999997]))
    """

    lr: Hyper = hyper(default=1.0, low=0)
    momentum: Hyper = hyper(default=0.9, low=0, below=1, switch=True)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    trust: Hyper = hyper(default=1e-3, low=0)
    sum_of_norms: bool = hyper(default=False, kw_only=True)
    trust_clip: bool = hyper(default=False, kw_only=True)
    adaptive: bool = hyper(default=True, kw_only=True)

    @staticmethod
    def update(param, grad, momentum_buffer, *, lr, momentum, weight_decay, trust, sum_of_norms, trust_clip, adaptive):
        step = grad + weight_decay * param
        rate = lr
        if adaptive:
            size = norm(param)
            length = norm(grad) + weight_decay * size if sum_of_norms else norm(step)
            ratio = where((size > 0) & (length > 0), trust * size / length, 1)
            rate = minimum(ratio, lr) if trust_clip else lr * ratio
        if not momentum:
            return param - rate * direction(step), momentum_buffer
        momentum_buffer = momentum * momentum_buffer + rate * step
        return param - direction(momentum_buffer), momentum_buffer
