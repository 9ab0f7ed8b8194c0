"""SOAP: Adam in the eigenbasis of Shampoo's preconditioner."""

from typing import Any

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import ColumnsByColumns, RowsByRows
from minima.optim.language.vocabulary import direction, eigh, maximum, qr, sort_columns, sqrt, sum
from minima.optim.optimizer import Optimizer

__all__ = ["SOAP"]


def _basis(average: Any) -> Any:
    """The eigenvectors, that of the largest eigenvalue first."""
    values, vectors = eigh(average)
    return sort_columns(vectors, values)


def _next_basis(average: Any, q: Any) -> tuple[Any, Any]:
    """The basis after one round of the power iteration, and the eigenvalues by which its columns were put in order."""
    product = average @ q
    values = sum(q * product, axis=0)
    q, _ = qr(sort_columns(product, values))
    return q, values


class SOAP(Optimizer):
    """Takes Adam's steps in the slowly changing eigenbases of the second moments of the gradient's rows and columns.

    ::

        k = maximum(t - 1, 1)
        rate = lr*sqrt(1 - beta2**k)/(1 - beta1**k)
        exp_avg = beta1*exp_avg + (1 - beta1)*grad
        rotated = q_left.T@grad@q_right
        exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*rotated**2
        step = q_left.T@exp_avg@q_right/(sqrt(exp_avg_sq) + eps)
        step = q_left@step@q_right.T
        param = (1 - lr*weight_decay)*(param - rate*step)
        left = beta2*left + (1 - beta2)*(grad@grad.T)
        right = beta2*right + (1 - beta2)*(grad.T@grad)

    The first step does not change the parameter. It computes the eigenvectors of ``left`` and ``right`` as ``q_left``
    and ``q_right``, with the largest eigenvalue first. After that, every ``interval`` steps, each basis is updated by
    one round of power iteration, with its columns sorted by eigenvalue, and ``exp_avg_sq`` is sorted in the same way::

        product = left@q_left
        values = sum(q_left*product, axis=0)
        exp_avg_sq = sort_columns(exp_avg_sq.T, values).T
        q_left, _ = qr(sort_columns(product, values))

    Adam scales each element of a matrix separately, in the given coordinates. SOAP rotates the gradient to axes along
    which it is nearly uncorrelated, where separate scales are adequate. So it uses the information of Shampoo, and most
    steps cost little more than Adam's.

    A tensor with more than two axes is treated as a matrix: its first axis by all others. A parameter with fewer than
    two axes takes the same steps without a rotation. A side with more than ``max_size`` rows or columns is not rotated
    either.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step, whatever the scale of the gradient.
        beta1: Exponential decay rate of the average of gradients, in [0, 1).
        beta2: Exponential decay rate of the average of squared gradients, in [0, 1).
        eps: Added to the root, at least 0; prevents division by 0 for a parameter without gradients.
        weight_decay: Weight decay, at least 0: each step but the first ends by multiplying the parameter by
            ``1 - lr * weight_decay``. Also accepted as ``wd``.
        shampoo_beta: Exponential decay rate of ``left`` and ``right``, in [0, 1); None means ``beta2``, as above.
        interval: Number of steps between updates of the bases, from 1 to 1000.
        max_size: Largest number of rows or columns with a basis, at least 0.

    Keeps two arrays per parameter, ``exp_avg`` and ``exp_avg_sq``, the latter in the rotated basis; for a matrix also
    ``left`` and ``q_left``, of shape (rows, rows), and ``right`` and ``q_right``, of shape (columns, columns), in the
    precision of the step. Eigenvectors and orthogonal factors are computed in float64.

    Source: Vyas et al., *SOAP: Improving and Stabilizing Shampoo using Adam*, ICLR 2025, Algorithm 3; the first step,
    and the place of weight decay, as in the authors' code.

    PyTorch has no such algorithm. Differs from pytorch_optimizer: there a tensor with more than two axes has a basis
    for each axis, and orthogonal factors are computed in float32. If the first gradient does not have full rank, as for
    every matrix that is not square, the basis of its null space is arbitrary, and libraries differ.

    >>> from minima import Tensor
    >>> from minima.optim import SOAP
    >>> w = Tensor([[3.0, 1.0], [1.0, -2.0]], requires_grad=True)
    >>> optimizer = SOAP([w], lr=0.1, weight_decay=0)
    >>> for _ in range(3):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w
    Tensor([[ 2.7753985,  1.0231999],
            [ 1.0228454, -1.7754132]], requires_grad=True)
    """

    lr: Hyper = hyper(default=3e-3, low=0)
    beta1: Hyper = hyper(default=0.95, low=0, below=1)
    beta2: Hyper = hyper(default=0.95, low=0, below=1)
    eps: Hyper = hyper(default=1e-8, low=0)
    weight_decay: Hyper = hyper(default=0.01, low=0)
    shampoo_beta: Hyper | None = hyper(default=None, low=0, below=1, kw_only=True)
    interval: int = hyper(default=10, choices=range(1, 1001), kw_only=True)
    max_size: Hyper = hyper(default=10000, low=0, kw_only=True)

    @staticmethod
    def update(
        param, grad, exp_avg, exp_avg_sq, left: RowsByRows, right: ColumnsByColumns, q_left: RowsByRows,
        q_right: ColumnsByColumns,
        *, lr, beta1, beta2, eps, weight_decay, shampoo_beta, interval, max_size, t, first,
    ):  # fmt: skip
        turns_rows = param.ndim > 1 and not param.shape[0] > max_size
        turns_columns = param.ndim > 1 and not param.shape[1] > max_size

        def to_basis(x):
            if turns_rows and turns_columns:
                return q_left.T @ x @ q_right
            return q_left.T @ x if turns_rows else x @ q_right if turns_columns else x

        def from_basis(x):
            if turns_rows and turns_columns:
                return q_left @ x @ q_right.T
            return q_left @ x if turns_rows else x @ q_right.T if turns_columns else x

        if not first:
            k = maximum(t - 1, 1)
            exp_avg = beta1 * exp_avg + (1 - beta1) * grad
            rotated = to_basis(grad)
            exp_avg_sq = beta2 * exp_avg_sq + (1 - beta2) * rotated**2
            step = to_basis(exp_avg) / (sqrt(exp_avg_sq) + eps)
            step = from_basis(step)
            rate = lr * sqrt(1 - beta2**k) / (1 - beta1**k)
            param = (1 - lr * weight_decay) * (param - rate * direction(step))
        beta = beta2 if shampoo_beta is None else shampoo_beta
        is_due = not first and (t - 1) % interval == 0
        if turns_rows:
            left = beta * left + (1 - beta) * (grad @ grad.T)
            if first:
                q_left = _basis(left)
            elif is_due:
                q_left, values = _next_basis(left, q_left)
                exp_avg_sq = sort_columns(exp_avg_sq.T, values).T
        if turns_columns:
            right = beta * right + (1 - beta) * (grad.T @ grad)
            if first:
                q_right = _basis(right)
            elif is_due:
                q_right, values = _next_basis(right, q_right)
                exp_avg_sq = sort_columns(exp_avg_sq, values)
        return param, exp_avg, exp_avg_sq, left, right, q_left, q_right
