"""Rprop: the sign of the gradient sets the direction, a step size of each parameter the length."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.vocabulary import clip, sign, where
from minima.optim.optimizer import Optimizer

__all__ = ["Rprop"]


class Rprop(Optimizer):
    """Moves each parameter by a step size that grows while its gradient keeps its sign, and shrinks when it changes.

    ::

        param = (1 - weight_decay)*param
        agreement = grad*prev_grad
        turned = where(agreement < 0, eta_minus*step_size, step_size)
        step_size = minimum(maximum(where(agreement > 0, eta_plus*step_size, turned), step_min), step_max)
        prev_grad = where(agreement < 0, 0, grad)
        param = param - step_size*sign(prev_grad)

    If the sign of a gradient changes, the parameter has passed a minimum: it stays in place for one step, and then
    continues with a smaller step along the sign of the next gradient. Use Rprop with gradients of all data at once: in
    small batches, noise changes the signs.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Initial step size, at least 0. It is read when the state of a parameter is created. A later change affects
            only parameters that are added afterwards.
        eta_minus: Factor of the step size if the gradient has changed its sign, in (0, 1).
        eta_plus: Factor of the step size if the gradient has kept its sign, above 1.
        step_min: The smallest step size, at least 0. The initial step size is raised to it too.
        step_max: The largest step size, at least 0. The initial step size is lowered to it too.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - weight_decay``, whatever its gradient and its step size. Also accepted as ``wd``.

    Keeps two arrays per parameter: ``prev_grad``, the last gradient, or 0 if its sign had changed, and ``step_size``.

    Source: Riedmiller and Braun, *A Direct Adaptive Method for Faster Backpropagation Learning: The RPROP Algorithm*,
    1993. There the previous step is undone if the sign changes; here it is not, which is the variant iRprop- of Igel
    and Hüsken, *Improving the Rprop Learning Algorithm*, 2000. The limits are PyTorch's.

    The same as ``torch.optim.Rprop``, bit for bit in float64, except that ``etas`` and ``step_sizes`` are two arguments
    each, and that PyTorch has no weight decay. Differs from Optax: ``optax.rprop`` applies each step one step later.

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
