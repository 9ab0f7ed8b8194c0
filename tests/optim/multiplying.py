"""A rule with all that may lie between products of matrices, for the engines of each face."""

from minima.optim import Optimizer, bfloat16, hyper, maximum, minimum, norm, where
from minima.optim.language.vocabulary import PerTensor, max


class Switching(Optimizer):
    """Numbers and truths between products, of the host and for the tensor; its shape; a state that it has one of."""

    lr: float = hyper(1e-2, low=0)
    damp: float = hyper(0.5, low=0)
    warm: float = hyper(2.0, low=0)

    @staticmethod
    def update(param, grad, u, size: PerTensor = 0.5, *, lr, damp, warm, t):
        u = 0.9 * u + grad
        if param.ndim < 2:
            return param - lr * u, u, size
        rows, columns = param.shape
        outer = u @ u.T
        outer = where((outer > damp) | (damp > 2), outer, damp * outer) + size * outer
        whole = norm(outer @ u)
        first = where((t < warm) & (whole > 1), outer, 1 - bfloat16(outer) / (1 + whole)) @ u
        first = maximum(first * (columns / (rows + 1)), -9.0) * size
        length = norm(first) + max(first @ first.T @ u)
        return (
            param - lr * first / maximum(length, 1e-3),
            u,
            0.5 * size + 0.01 * minimum(length, 9) / (1 + 1 / (1 + whole)),
        )
