"""SM3: AdaGrad with upper bounds of its sums for rows and columns, in place of a sum for each element."""

from minima.optim.language.hyper import Hyper, hyper
from minima.optim.language.ranks import PerColumn, PerRow
from minima.optim.language.vocabulary import direction, max, maximum, minimum, sqrt
from minima.optim.optimizer import Optimizer

__all__ = ["SM3"]


class SM3(Optimizer):
    """Divides the gradient by the root of an upper bound of its summed squares, kept for each row and each column.

    ::

        param = (1 - lr*weight_decay)*param
        least = minimum(row_max, col_max)
        v = least + grad**2
        update = grad/sqrt(v + eps)
        exp_avg = momentum*exp_avg + (1 - momentum)*update
        param = param - lr*exp_avg
        row_max = max(v, axis=1)
        col_max = max(v, axis=0)

    The summed squares of an element are at most the largest ``v`` of its row, and at most the largest ``v`` of its
    column. So ``v`` is never less than AdaGrad's sum, and not much more where large gradients share a row or a column.
    For a parameter with fewer than two axes, AdaGrad's sum itself is kept, as ``accumulator``. A tensor with more than
    two axes is treated as a matrix: its first axis by all others.

    Args:
        params: An iterable of the Tensors to optimize, or of groups: dicts with ``params`` and the group's own
            hyperparameters.
        lr: Learning rate, at least 0: the size of the first steps without momentum.
        momentum: Exponential decay rate of the average of updates, in [0, 1). With 0 there is no average, and its array
            is not kept.
        beta: Decay rate of the earlier bound in ``v``, in [0, 1): ``v = beta*least + (1 - beta)*grad**2``; maxima never
            shrink. None means sums, as in the paper.
        eps: Added under the root, above 0. With it, elements without gradients do not move.
        weight_decay: Weight decay, at least 0: each step first multiplies the parameter by ``1 - lr * weight_decay``,
            independently of its gradient (decoupled). Also accepted as ``wd``.

    Keeps for a matrix ``row_max``, of shape (rows, 1), and ``col_max``, of shape (1, columns); for any other parameter
    one array, ``accumulator``; with momentum one more of the parameter's shape, ``exp_avg``.

    Source: Anil, Gupta, Koren and Singer, *Memory-Efficient Adaptive Optimization*, NeurIPS 2019, SM3-II, with rows and
    columns as its sets. ``momentum`` is the paper's; ``lr``, ``beta`` and ``eps`` are pytorch_optimizer's.

    PyTorch has no such algorithm. Differs from Optax and pytorch_optimizer for more than two axes: both keep maxima for
    each axis. By default, ``eps`` is 1e-8 in Optax, and ``momentum`` is 0 in pytorch_optimizer.

    >>> from minima import Tensor
    >>> from minima.optim import SM3
    >>> w = Tensor([[3.0, -4.0]], requires_grad=True)
    >>> optimizer = SM3([w], lr=0.5)
    >>> for _ in range(2):
    ...     optimizer.zero_grad()
    ...     (w * w).sum().backward()
    ...     optimizer.step()
    >>> w, optimizer.row_max[0], optimizer.col_max[0]
    (Tensor([[ 2.8699431, -3.8698678]], requires_grad=True), Tensor([[126.41]]), Tensor([[ 70.81, 126.41]]))
    """

    lr: Hyper = hyper(default=0.1, low=0)
    momentum: Hyper = hyper(default=0.9, low=0, below=1, switch=True)
    beta: Hyper = hyper(default=None, low=0, below=1)
    eps: Hyper = hyper(default=1e-30, above=0)
    weight_decay: Hyper = hyper(default=0.0, low=0)

    @staticmethod
    def update(
        param, grad, row_max: PerRow, col_max: PerColumn, accumulator, exp_avg,
        *, lr, momentum, beta, eps,
    ):  # fmt: skip
        least = accumulator if param.ndim < 2 else minimum(row_max, col_max)
        v = least + grad**2 if beta is None else beta * least + (1 - beta) * grad**2
        if param.ndim < 2:
            accumulator = v if beta is None else maximum(accumulator, v)
        else:
            row_max = max(v, axis=1) if beta is None else maximum(row_max, max(v, axis=1))
            col_max = max(v, axis=0) if beta is None else maximum(col_max, max(v, axis=0))
        update = grad / sqrt(v + eps)
        if momentum:
            exp_avg = momentum * exp_avg + (1 - momentum) * update
            update = exp_avg
        return param - lr * direction(update), row_max, col_max, accumulator, exp_avg
