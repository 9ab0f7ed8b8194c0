"""PyTorch's functions for what has an operator, and some that only PyTorch has a name for."""

from typing import Any

from minima.autograd.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "add",
    "bmm",
    "clone",
    "div",
    "dot",
    "is_tensor",
    "mm",
    "mul",
    "mv",
    "neg",
    "numel",
    "pow",
    "rsqrt",
    "sub",
]


def add(x: TensorLike, other: object, *, alpha: float = 1) -> Tensor:
    """``x + alpha * other``."""
    return as_tensor(x).add(other, alpha=alpha)


def sub(x: TensorLike, other: object, *, alpha: float = 1) -> Tensor:
    """``x - alpha * other``."""
    return as_tensor(x).sub(other, alpha=alpha)


def mul(x: TensorLike, other: object) -> Tensor:
    """``x * other``."""
    return as_tensor(x).mul(other)


def div(x: TensorLike, other: object) -> Tensor:
    """``x / other``."""
    return as_tensor(x).div(other)


def pow(x: TensorLike, exponent: object) -> Tensor:
    """``x ** exponent``."""
    return as_tensor(x).pow(exponent)


def neg(x: TensorLike) -> Tensor:
    """``-x``."""
    return as_tensor(x).neg()


def rsqrt(x: TensorLike) -> Tensor:
    """``1 / sqrt(x)``."""
    return as_tensor(x).rsqrt()


def dot(x: TensorLike, other: Any) -> Tensor:
    """``x @ other`` of two vectors. (NumPy's takes matrices too.)"""
    return as_tensor(x).dot(other)


def mv(x: TensorLike, other: Any) -> Tensor:
    """``x @ other`` of a matrix and a vector."""
    return as_tensor(x).mv(other)


def mm(x: TensorLike, other: Any) -> Tensor:
    """``x @ other`` of two matrices."""
    return as_tensor(x).mm(other)


def bmm(x: TensorLike, other: Any) -> Tensor:
    """``x @ other`` of two batches of matrices, (N, n, m) and (N, m, k)."""
    return as_tensor(x).bmm(other)


def clone(x: TensorLike) -> Tensor:
    """A copy in memory of its own; gradients flow through it."""
    return as_tensor(x).clone()


def numel(x: TensorLike) -> int:
    """The number of elements."""
    return as_tensor(x).numel()


def is_tensor(x: object) -> bool:
    """Whether it is a `Tensor`."""
    return isinstance(x, Tensor)
