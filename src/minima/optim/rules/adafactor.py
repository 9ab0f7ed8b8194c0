"""Adafactor: Adam's second moment, kept for rows and columns in place of elements."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerColumn, PerRow
from minima.optim.language.vocabulary import direction, maximum, mean, minimum, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["Adafactor"]


class Adafactor(Optimizer):
    """Divides the gradient by an estimate of its recent size, computed from one number for each row and each column.

    ::

        lr_t = minimum(lr, 1/sqrt(t))
        lr_t = lr_t*maximum(eps2, sqrt(mean(param**2)))
        rate = t**decay_rate
        square = grad**2 + eps1
        row_var = (1 - rate)*row_var + rate*mean(square, axis=1)
        whole = mean(row_var)
        col_var = (1 - rate)*col_var + rate*mean(square, axis=0)
        size = sqrt(row_var/whole)*sqrt(col_var)
        u = grad/size
        update = u/maximum(1, sqrt(mean(u**2))/threshold)
        step = lr_t*update
        param = (1 - lr*weight_decay)*param - step

    Means without an axis are taken over one whole tensor. For a parameter with fewer than two axes,
    ``variance = (1 - rate)*variance + rate*(grad**2 + eps1)`` is kept, and ``size = sqrt(variance)``. A tensor with
    more than two axes is treated as a matrix: its first axis by all others.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the length of a step relative to the parameter; without ``scale_parameter``,
            about the size of a step.
        decay_rate: Exponent of the weight of the newest gradient, at most 0: the weight is ``t**decay_rate``.
        eps1: Added to squared gradients, at least 0.
        eps2: Lower bound of the root mean square of a parameter, at least 0. With it, a tensor of zeros can move.
        threshold: Largest root mean square of ``update``, above 0; larger updates are scaled down to it.
        momentum: Exponential decay rate of the average of steps, in [0, 1). None means no average.
        weight_decay: Weight decay, at least 0: each step multiplies the parameter by ``1 - lr * weight_decay``. Also
            accepted as ``wd``.
        relative_step: Whether ``lr`` is bounded by ``1/sqrt(t)``.
        scale_parameter: Whether steps are scaled by the root mean square of the parameter.
        scale_decay: Whether decay is scaled like steps, ``(1 - lr_t*weight_decay)*param``.
        beta2_cap: Largest decay rate of the average of squares, in [0, 1): ``rate`` is at least ``1 - beta2_cap``, so
            old gradients are forgotten even late in training. None means no bound.
        floors: Whether ``eps1`` is a lower bound instead of a summand, as in PyTorch: ``whole`` and ``size`` are at
            least ``eps1``.

    Keeps for a matrix ``row_var``, of shape (rows, 1), and ``col_var``, of shape (1, columns); for any other parameter
    one array, ``variance``; with momentum one more of the parameter's shape, ``exp_avg``.

    Source: Shazeer and Stern, *Adafactor: Adaptive Learning Rates with Sublinear Memory Cost*, ICML 2018, Algorithms 4
    and 5, with the hyperparameters of Algorithm 6. There rows and columns have sums in place of means, with the same
    result.

    Differs from PyTorch: ``torch.optim.Adafactor`` is this with ``floors=True`` and the machine epsilon of the dtype
    for ``eps1``. Differs from all libraries: for more than two axes they factor the last two, or the two largest, which
    saves nothing for a convolution of 3 by 3. ``momentum`` averages the scaled step, as in the authors' code,
    pytorch_optimizer, timm and Optax. pytorch_optimizer and timm's ``AdafactorBigVision`` have ``beta2_cap=0.999``; the
    latter is this with ``relative_step=False`` and ``scale_parameter=False``. Differs from the paper: the root of a
    product is computed as the product of the roots, which does not underflow where a row and a column without gradients
    cross.

    >>> from minima import Tensor
    >>> from minima.optim import Adafactor
    >>> w = Tensor([[3.0, -4.0]], requires_grad=True)
    >>> optimizer = Adafactor([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.row_var[0], optimizer.col_var[0]
    (Tensor([[ 2.3455832, -3.340805 ]], requires_grad=True), Tensor([[44.60141]]), Tensor([[31.413662, 57.789158]]))
    """

    lr: Hyper = hyper(default=1e-2, low=0)
    decay_rate: Hyper = hyper(default=-0.8, high=0)
    eps1: Hyper = hyper(default=1e-30, low=0)
    eps2: Hyper = hyper(default=1e-3, low=0)
    threshold: Hyper = hyper(default=1.0, above=0)
    momentum: Hyper = hyper(default=None, low=0, below=1)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    relative_step: bool = hyper(default=True, kw_only=True)
    scale_parameter: bool = hyper(default=True, kw_only=True)
    scale_decay: bool = hyper(default=False, kw_only=True)
    floors: bool = hyper(default=False, kw_only=True)
    beta2_cap: Hyper = hyper(default=None, low=0, below=1, kw_only=True)

    @staticmethod
    def update(
        param, grad, row_var: PerRow, col_var: PerColumn, variance, exp_avg,
        *, lr, decay_rate, eps1, eps2, threshold, momentum, weight_decay, relative_step, scale_parameter, scale_decay,
        floors, beta2_cap, t,
    ):  # fmt: skip
        rate = t**decay_rate if beta2_cap is None else maximum(t**decay_rate, 1 - beta2_cap)
        square = grad**2 if floors else grad**2 + eps1
        if param.ndim < 2:
            variance = (1 - rate) * variance + rate * square
            size = sqrt(variance)
        else:
            row_var = (1 - rate) * row_var + rate * mean(square, axis=1)
            col_var = (1 - rate) * col_var + rate * mean(square, axis=0)
            whole = maximum(mean(row_var), eps1) if floors else mean(row_var)
            size = sqrt(row_var / whole) * sqrt(col_var)  # of the roots, as their squares may vanish in float32
        u = grad / (maximum(size, eps1) if floors else size)
        update = u / maximum(1, sqrt(mean(u**2)) / threshold)
        lr_t = minimum(lr, 1 / sqrt(t)) if relative_step else lr
        lr_t = lr_t * maximum(eps2, sqrt(mean(param**2))) if scale_parameter else lr_t
        step = lr_t * update
        if momentum is not None:
            exp_avg = momentum * exp_avg + (1 - momentum) * step
            step = direction(exp_avg)
        return (1 - (lr_t if scale_decay else lr) * weight_decay) * param - step, row_var, col_var, variance, exp_avg
