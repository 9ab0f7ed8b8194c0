"""Shampoo: gradients preconditioned by second moments of their rows and columns."""

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
    """Divides the gradient of a matrix by the fourth roots of the second moments of its rows and its columns.

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

    AdaGrad divides each element by the root of its summed squares, as if elements were uncorrelated. The full
    second-moment matrix has a row and a column for each element, and is too large to keep. Shampoo keeps one matrix for
    the rows and one for the columns; their Kronecker product approximates the full matrix.

    ``left`` and ``right`` start as ``eps`` times the identity. A vector has only ``left``, with the power -1/2. A
    tensor with more than two axes is treated as a matrix: its first axis by all others. For more than ``max_size`` rows
    or columns, only the diagonal is kept: ``left_diagonal = left_diagonal + sum(grad**2, axis=1)``.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: steps shrink with the root of the number of gradients, so it may be large.
        eps: Initial value of the sums, above 0; prevents division by 0 for a direction without gradients. If ``eps`` is
            below the rounding error of the sums, in float32 6e-8 of the largest, the step in such directions is
            rounding error until there are as many gradients as rows. A larger value avoids this.
        weight_decay: Weight decay, at least 0: each step first shrinks the parameter by the factor
            ``1 - lr * weight_decay``. Also accepted as ``wd``.
        interval: Number of steps between computations of the roots, from 1 to 1000. The first step computes them.
        max_size: Largest number of rows or columns with a full matrix, at least 0; above it, only the diagonal is kept.

    Keeps two matrices per parameter, ``left``, of shape (rows, rows), and ``right``, of shape (columns, columns); with
    an ``interval`` above 1 also their roots, ``left_power`` and ``right_power``. In place of matrices that are too
    large, ``left_diagonal`` has a number for each row, and ``right_diagonal`` one for each column. All have the
    precision of the step; roots are computed in float64.

    Source: Gupta, Koren and Singer, *Shampoo: Preconditioned Stochastic Tensor Optimization*, ICML 2018, Algorithm 1.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there a tensor with more than two axes has a matrix
    for each axis, with roots of a higher degree; momentum, which is not used here, mixes the last step into the
    gradient; and with an interval above 1, parameters do not move until the first roots are computed.

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
