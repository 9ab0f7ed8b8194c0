"""CAME: Adafactor with momentum, and longer steps where updates agree with their average."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerColumn, PerRow
from minima.optim.language.vocabulary import direction, maximum, mean, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["CAME"]


class CAME(Optimizer):
    """Averages the updates of Adafactor, and divides the average by the distance of the updates from it.

    ::

        param = (1 - lr*weight_decay)*param
        square = grad**2 + eps1
        row_var = beta2*row_var + (1 - beta2)*mean(square, axis=1)
        col_var = beta2*col_var + (1 - beta2)*mean(square, axis=0)
        u = grad/(sqrt(row_var)/sqrt(mean(row_var))*sqrt(col_var))
        update = u/maximum(1, sqrt(mean(u**2))/threshold)
        exp_avg = beta1*exp_avg + (1 - beta1)*update
        residual = (update - exp_avg)**2 + eps2
        res_row = beta3*res_row + (1 - beta3)*mean(residual, axis=1)
        res_col = beta3*res_col + (1 - beta3)*mean(residual, axis=0)
        step = exp_avg/(sqrt(res_row)/sqrt(mean(res_row))*sqrt(res_col))
        param = param - lr*step

    The residual measures how far the newest updates are from the average: where updates scatter, steps are short; where
    they agree, steps are long. Like the squared gradients, the residual is kept for rows and columns instead of
    elements. Means without an axis are taken over one whole tensor. For a parameter with fewer than two axes,
    ``variance = beta2*variance + (1 - beta2)*square`` is kept, ``u = grad/sqrt(variance)``, and ``step = exp_avg``. A
    tensor with more than two axes is treated as a matrix: its first axis by all others.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: about the size of a step where the scatter of the updates is as large as the
            updates.
        beta1: Exponential decay rate of the average of updates, in [0, 1).
        beta2: Exponential decay rate of the averages of squares, in [0, 1).
        beta3: Exponential decay rate of the averages of residuals, in [0, 1).
        eps1: Added to squared gradients, above 0.
        eps2: Added to squared residuals, above 0.
        threshold: Largest root mean square of ``update``, above 0; larger updates are scaled down to it.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps one array per parameter, ``exp_avg``; for a matrix ``row_var`` and ``res_row``, of shape (rows, 1), and
    ``col_var`` and ``res_col``, of shape (1, columns); for any other parameter one more array, ``variance``.

    Source: Luo, Ren, Zheng, Jiang, Jiang and You, *CAME: Confidence-guided Adaptive Memory Efficient Optimization*, ACL
    2023, Algorithm 2. Averages start at 0, without bias correction. Defaults are those of the authors' code.

    PyTorch has no such algorithm. Differs from pytorch_optimizer for more than two axes: it factors the last two.
    Differs from the paper: the root of a product is computed as the product of the roots, which does not underflow
    where a row and a column without gradients cross.

    >>> from minima import Tensor
    >>> from minima.optim import CAME
    >>> w = Tensor([[3.0, -4.0]], requires_grad=True)
    >>> optimizer = CAME([w], lr=0.01)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.exp_avg[0], optimizer.row_var[0].shape
    (Tensor([[ 2.7319782, -3.7319558]], requires_grad=True), Tensor([[ 0.1897527 , -0.19024667]]), (1, 1))
    """

    lr: Hyper = hyper(default=2e-4, low=0)
    beta1: Hyper = hyper(default=0.9, low=0, below=1)
    beta2: Hyper = hyper(default=0.999, low=0, below=1)
    beta3: Hyper = hyper(default=0.9999, low=0, below=1)
    eps1: Hyper = hyper(default=1e-30, above=0)
    eps2: Hyper = hyper(default=1e-16, above=0)
    threshold: Hyper = hyper(default=1.0, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(
        param, grad, row_var: PerRow, col_var: PerColumn, variance, exp_avg, res_row: PerRow, res_col: PerColumn,
        *, lr, beta1, beta2, beta3, eps1, eps2, threshold,
    ):  # fmt: skip
        square = grad**2 + eps1
        if param.ndim < 2:
            variance = beta2 * variance + (1 - beta2) * square
            u = grad / sqrt(variance)
        else:
            row_var = beta2 * row_var + (1 - beta2) * mean(square, axis=1)
            col_var = beta2 * col_var + (1 - beta2) * mean(square, axis=0)
            u = grad / (sqrt(row_var) / sqrt(mean(row_var)) * sqrt(col_var))  # squares may vanish in float32
        update = u / maximum(1, sqrt(mean(u**2)) / threshold)
        exp_avg = beta1 * exp_avg + (1 - beta1) * update
        step = direction(exp_avg)
        if param.ndim == 2:
            residual = (update - exp_avg) ** 2 + eps2
            res_row = beta3 * res_row + (1 - beta3) * mean(residual, axis=1)
            res_col = beta3 * res_col + (1 - beta3) * mean(residual, axis=0)
            step = step / (sqrt(res_row) / sqrt(mean(res_row)) * sqrt(res_col))
        return param - lr * step, row_var, col_var, variance, exp_avg, res_row, res_col
