"""Comparisons of tensors and questions about values, as functions; arrays and numbers are taken too."""

from minima.autograd.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "allclose",
    "argwhere",
    "eq",
    "equal",
    "ge",
    "gt",
    "isclose",
    "isfinite",
    "isinf",
    "isnan",
    "le",
    "logical_and",
    "logical_not",
    "logical_or",
    "logical_xor",
    "lt",
    "ne",
]


def eq(x: TensorLike, other: TensorLike) -> Tensor:
    """``x == other``."""
    return as_tensor(x).eq(other)


def ne(x: TensorLike, other: TensorLike) -> Tensor:
    """``x != other``."""
    return as_tensor(x).ne(other)


def lt(x: TensorLike, other: TensorLike) -> Tensor:
    """``x < other``."""
    return as_tensor(x).lt(other)


def le(x: TensorLike, other: TensorLike) -> Tensor:
    """``x <= other``."""
    return as_tensor(x).le(other)


def gt(x: TensorLike, other: TensorLike) -> Tensor:
    """``x > other``."""
    return as_tensor(x).gt(other)


def ge(x: TensorLike, other: TensorLike) -> Tensor:
    """``x >= other``."""
    return as_tensor(x).ge(other)


def logical_and(x: TensorLike, other: TensorLike) -> Tensor:
    """Whether neither is zero."""
    return as_tensor(x).logical_and(other)


def logical_or(x: TensorLike, other: TensorLike) -> Tensor:
    """Whether one of the two is not zero."""
    return as_tensor(x).logical_or(other)


def logical_xor(x: TensorLike, other: TensorLike) -> Tensor:
    """Whether just one of the two is zero."""
    return as_tensor(x).logical_xor(other)


def logical_not(x: TensorLike) -> Tensor:
    """Whether it is zero."""
    return as_tensor(x).logical_not()


def isnan(x: TensorLike) -> Tensor:
    """Whether it is NaN."""
    return as_tensor(x).isnan()


def isinf(x: TensorLike) -> Tensor:
    """Whether it is infinite, of either sign."""
    return as_tensor(x).isinf()


def isfinite(x: TensorLike) -> Tensor:
    """Whether it is neither infinite nor NaN."""
    return as_tensor(x).isfinite()


def isclose(
    x: TensorLike, other: TensorLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> Tensor:
    """``abs(x - other) <= atol + rtol * abs(other)``; with ``equal_nan``, NaN is close to NaN."""
    return as_tensor(x).isclose(other, rtol, atol, equal_nan)


def allclose(
    x: TensorLike, other: TensorLike, rtol: float = 1e-05, atol: float = 1e-08, equal_nan: bool = False
) -> bool:
    """Whether ``isclose`` holds everywhere."""
    return as_tensor(x).allclose(other, rtol, atol, equal_nan)


def equal(x: TensorLike, other: TensorLike) -> bool:
    """Whether both have one shape and equal elements."""
    return as_tensor(x).equal(other)


def argwhere(x: TensorLike) -> Tensor:
    """The indices of all elements that are not zero, one row for each: (elements, axes)."""
    return as_tensor(x).argwhere()
