"""Shampoo: a gradient divided by what rows, and columns, have had to do with each other."""

from typing import Any

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import ColumnsByColumns, PerColumn, PerRow, RowsByRows
from minima.optim.language.vocabulary import direction, eigh, maximum, sum
from minima.optim.optimizer import Optimizer

__all__ = ["Shampoo"]


def _power(sums: Any, exponent: float, eps: Any) -> Any:
    """A power of a symmetric matrix of which no eigenvalue is below ``eps``, but by rounding."""
    values, vectors = eigh(sums)
    return vectors * maximum(values, eps) ** exponent @ vectors.T


class Shampoo(Optimizer):
    """Divides each gradient of a matrix by the fourth roots of what its rows, and its columns, have added up to.

    ::

        param = (1 - lr*weight_decay)*param
        left = left + grad@grad.T
        vectors = eigh(left)[1]
        values = eigh(left)[0]
        left_power = vectors*maximum(values, eps)**(-0.25)@vectors.T
        step = left_power@grad
        right = right + grad.T@grad
        vectors = eigh(right)[1]
        values = eigh(right)[0]
        right_power = vectors*maximum(values, eps)**(-0.25)@vectors.T
        step = step@right_power
        param = param - lr*step

    AdaGrad divides each entry by the root of the squares that it has seen, as if entries had nothing to do with each
    other. With all that they have to do with each other it would be a matrix of elements by elements, which nobody can
    keep. This keeps what rows have to do with rows, and columns with columns, whose product comes close to it.

    ``left`` and ``right`` begin as ``eps`` times the identity. A vector has the first alone, to the power -1/2. A
    tensor of more than two axes is the matrix of its first axis by all others. Of more than ``max_size`` rows or
    columns only the diagonal is kept: ``left_diagonal = left_diagonal + sum(grad**2, axis=1)``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: steps fall with the root of the number of gradients, so it may be large.
        eps: What the sums begin with, above 0; prevents division by 0 for a direction without gradients. Below the
            rounding of the sums, which in float32 is 6e-8 of the largest, what a step does in such directions is
            rounding too, until there are as many gradients as rows; a larger one avoids that.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``. Also accepted as ``wd``.
        interval: The number of steps from one computation of the roots to the next, from 1 to 1000. The first step
            computes them.
        max_size: Of more rows, or columns, than that the diagonal stands for the matrix, at least 0.

    Keeps two matrices per parameter, ``left``, of rows by rows, and ``right``, of columns by columns; with an
    ``interval`` above 1 their roots, ``left_power`` and ``right_power``, too; and in place of those that are too large
    ``left_diagonal``, a number for each row, and ``right_diagonal``, one for each column. All are in the precision in
    which steps are computed; roots are taken by way of float64.

    Source: Gupta, Koren and Singer, *Shampoo: Preconditioned Stochastic Tensor Optimization*, ICML 2018, Algorithm 1.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there a tensor of more than two axes has a matrix for
    each of them, with roots of a higher degree; momentum, off here, mixes the last step into the gradient; and with an
    interval above 1 parameters stay where they are until the first roots.

    >>> from minima import Tensor
    >>> from minima.optim import Shampoo
    >>> w = Tensor([[3.0, 1.0], [1.0, -2.0]], requires_grad=True)
    >>> optimizer = Shampoo([w], lr=0.1)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w
    Tensor([[ 2.8425329 ,  0.93712014],
            [ 0.93712014, -1.8430678 ]], requires_grad=True)
    """

    lr: Hyper = hyper(default=1e-3, low=0)
    eps: Hyper = hyper(default=1e-6, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)
    interval: int = hyper(default=1, choices=range(1, 1001), kw_only=True)
    max_size: Hyper = hyper(default=10000, low=0, kw_only=True)

    @staticmethod
    def update(
        param, grad, left: RowsByRows = "eps", right: ColumnsByColumns = "eps", left_power: RowsByRows = 0.0,
        right_power: ColumnsByColumns = 0.0, left_diagonal: PerRow = "eps", right_diagonal: PerColumn = "eps",
        *, lr, eps, interval, max_size, t, first,
    ):  # fmt: skip
        exponent = -0.25 if param.ndim > 1 else -0.5
        is_due = interval == 1 or first or (t - 1) % interval == 0
        kept = left_power, right_power
        if param.shape[0] > max_size:
            left_diagonal = left_diagonal + sum(grad**2, axis=1)
            step = left_diagonal**exponent * grad
        else:
            left = left + grad @ grad.T
            if is_due:
                left_power = _power(left, exponent, eps)
            step = left_power @ grad
        if param.ndim > 1 and param.shape[1] > max_size:
            right_diagonal = right_diagonal + sum(grad**2, axis=0)
            step = step * right_diagonal**exponent
        elif param.ndim > 1:
            right = right + grad.T @ grad
            if is_due:
                right_power = _power(right, exponent, eps)
            step = step @ right_power
        param = param - lr * direction(step)
        if interval == 1:  # they are for this step alone
            left_power, right_power = kept
        return param, left, right, left_power, right_power, left_diagonal, right_diagonal
