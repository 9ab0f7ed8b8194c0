"""Rprop: the sign of a gradient says where to, and a step size of every parameter's own how far."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import clip, sign, where
from minima.optim.optimizer import Optimizer

__all__ = ["Rprop"]


class Rprop(Optimizer):
    """Moves every parameter by a step size that grows while its gradient keeps its sign, and shrinks when it turns.

    ::

        param = (1 - weight_decay)*param
        agreement = grad*prev_grad
        turned = where(agreement < 0, eta_minus*step_size, step_size)
        step_size = minimum(maximum(where(agreement > 0, eta_plus*step_size, turned), step_min), step_max)
        prev_grad = where(agreement < 0, 0, grad)
        param = param - step_size*sign(prev_grad)

    A gradient that has turned has stepped over a minimum: the parameter stays where it is for one step, and goes on
    with a smaller one, in whatever direction the next gradient says. The signs must come from the loss and not from
    the choice of samples: this is for gradients of all data at once.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: The first step size, at least 0. It is read when the state of a parameter is created. A later change affects
            only parameters that are added afterwards.
        eta_minus: What the step size is multiplied by where the gradient has changed its sign, in (0, 1).
        eta_plus: What the step size is multiplied by where the gradient has kept its sign, above 1.
        step_min: The smallest step size, at least 0. The first one is raised to it too.
        step_max: The largest step size, at least 0. The first one is lowered to it too.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - weight_decay``, whatever its gradient and its step size. Also accepted as ``wd``.

    Keeps two arrays per parameter: ``prev_grad``, the last gradient, or 0 where that had turned, and ``step_size``.

    Source: Riedmiller and Braun, *A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm*,
    1993. There the step before is taken back where a gradient turns; here it is not, which is the variant iRprop- of
    Igel and Hüsken, *Improving the Rprop Learning Algorithm*, 2000. The limits are PyTorch's.

    The same as ``torch.optim.Rprop``, to the bit in float64, but that ``etas`` and ``step_sizes`` are two arguments
    each, and that there is no weight decay there. Differs from Optax: ``optax.rprop`` takes each step one step late.

    >>> from minima import Tensor
    >>> from minima.optim import Rprop
    >>> w = Tensor([1.0, -2.0], requires_grad=True)
    >>> optimizer = Rprop([w], lr=0.5)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.step_size[0]
    (Tensor([-0.10000002, -0.17999995], requires_grad=True), Tensor([0.3 , 0.72]))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    eta_minus: Hyper = hyper(default=0.5, above=0, below=1)
    eta_plus: Hyper = hyper(default=1.2, above=1)
    step_min: Hyper = hyper(default=1e-6, low=0)
    step_max: Hyper = hyper(default=50.0, low=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(param, grad, prev_grad, step_size="lr", *, eta_minus, eta_plus, step_min, step_max):
        agreement = grad * prev_grad
        turned = where(agreement < 0, eta_minus * step_size, step_size)
        step_size = clip(where(agreement > 0, eta_plus * step_size, turned), step_min, step_max)
        grad = where(agreement < 0, 0, grad)
        return param - step_size * sign(grad), grad, step_size
