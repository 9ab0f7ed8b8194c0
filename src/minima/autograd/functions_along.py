"""Functions of tensors along axes: reductions, running sums, orders; ``axis`` may be called ``dim``, as in PyTorch."""

from typing import Any, Unpack, overload

from minima.autograd.methods_along import Selected
from minima.autograd.spellings import Axis, Dim, Dims, Place, Spread
from minima.autograd.tensor import Tensor, TensorLike, as_tensor

__all__ = [
    "all",
    "amax",
    "amin",
    "any",
    "argmax",
    "argmin",
    "argsort",
    "count_nonzero",
    "cumsum",
    "gather",
    "log_softmax",
    "logsumexp",
    "max",
    "mean",
    "min",
    "norm",
    "prod",
    "softmax",
    "sort",
    "std",
    "sum",
    "topk",
    "var",
]


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """The sum over all axes, or over ``axis``."""
    return as_tensor(x).sum(axis, keepdims, **words)


def prod(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """The product over all axes, or over ``axis``."""
    return as_tensor(x).prod(axis, keepdims, **words)


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """The mean over all axes, or over ``axis``; of integers and booleans as float32."""
    return as_tensor(x).mean(axis, keepdims, **words)


@overload
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
@overload
def max(x: TensorLike, *, dim: int, keepdim: bool = False) -> Selected: ...
def max(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor | Selected:
    """The largest value; equal largest values share the gradient evenly.

    With PyTorch's ``dim``, returns values and indices; the first of equal values gets the gradient.
    """
    tensor: Any = as_tensor(x)  # its overloads are those of this function
    return tensor.max(axis, keepdims, **words)


@overload
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor: ...
@overload
def min(x: TensorLike, *, dim: int, keepdim: bool = False) -> Selected: ...
def min(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor | Selected:
    """The smallest value; equal smallest values share the gradient evenly.

    With PyTorch's ``dim``, returns values and indices; the first of equal values gets the gradient.
    """
    tensor: Any = as_tensor(x)  # its overloads are those of this function
    return tensor.min(axis, keepdims, **words)


def amax(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """The largest value, under PyTorch's name."""
    return as_tensor(x).amax(axis, keepdims, **words)


def amin(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """The smallest value, under PyTorch's name."""
    return as_tensor(x).amin(axis, keepdims, **words)


def var(x: TensorLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: Unpack[Spread]) -> Tensor:
    """The variance, with the divisor ``n - ddof``. ``ddof`` is 0 by default, as in NumPy; in PyTorch it is 1.

    ``ddof`` may be called ``correction``; ``unbiased=True`` means 1.
    """
    return as_tensor(x).var(axis, ddof, keepdims, **words)


def std(x: TensorLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False, **words: Unpack[Spread]) -> Tensor:
    """The square root of ``var``; where it is 0 its gradient is 0."""
    return as_tensor(x).std(axis, ddof, keepdims, **words)


def norm(x: TensorLike, p: float = 2, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """``sum(abs(x)**p)**(1/p)`` over all axes, or over ``axis``; where it is 0 its gradient is 0.

    Args:
        p: Above 0; ``inf`` gives the largest magnitude.

    >>> norm(Tensor([3.0, 4.0]))
    Tensor(5.)
    """
    return as_tensor(x).norm(p, axis, keepdims, **words)


def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor:
    """The index of the largest value along ``axis``, or in the flattened tensor; the first of equal values."""
    return as_tensor(x).argmax(axis, keepdims, **words)


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False, **words: Unpack[Place]) -> Tensor:
    """The index of the smallest value along ``axis``, or in the flattened tensor; the first of equal values."""
    return as_tensor(x).argmin(axis, keepdims, **words)


def any(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """Whether any value is not zero."""
    return as_tensor(x).any(axis, keepdims, **words)


def all(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """Whether no value is zero."""
    return as_tensor(x).all(axis, keepdims, **words)


def count_nonzero(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """How many values are not zero."""
    return as_tensor(x).count_nonzero(axis, keepdims, **words)


def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False, **words: Unpack[Dims]) -> Tensor:
    """``log(sum(exp(x)))`` over all axes, or over ``axis``, without overflow."""
    return as_tensor(x).logsumexp(axis, keepdims, **words)


def softmax(x: TensorLike, axis: int = -1, **words: Unpack[Dim]) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
    return as_tensor(x).softmax(axis, **words)


def log_softmax(x: TensorLike, axis: int = -1, **words: Unpack[Dim]) -> Tensor:
    """The logarithm of ``softmax``, without overflow."""
    return as_tensor(x).log_softmax(axis, **words)


def cumsum(x: TensorLike, axis: int | None = None, **words: Unpack[Dim]) -> Tensor:
    """The running sums along ``axis``, or of the flattened tensor."""
    return as_tensor(x).cumsum(axis, **words)


@overload
def sort(x: TensorLike, axis: int = -1, descending: bool = False) -> Tensor: ...
@overload
def sort(x: TensorLike, *, dim: int, descending: bool = False) -> Selected: ...
def sort(x: TensorLike, axis: int = -1, descending: bool = False, **words: Unpack[Dim]) -> Tensor | Selected:
    """The values sorted along ``axis``, as in NumPy: equal values keep their order, NaN is the largest.

    With PyTorch's ``dim``, returns values and indices.
    """
    tensor: Any = as_tensor(x)  # its overloads are those of this function
    return tensor.sort(axis, descending, **words)


def argsort(x: TensorLike, axis: int = -1, descending: bool = False, **words: Unpack[Dim]) -> Tensor:
    """The indices that sort the values along ``axis``."""
    return as_tensor(x).argsort(axis, descending, **words)


def topk(x: TensorLike, k: int, axis: int = -1, largest: bool = True, **words: Unpack[Dim]) -> Selected:
    """The ``k`` largest values along ``axis``, in order, and their indices; or the smallest."""
    return as_tensor(x).topk(k, axis, largest, **words)


def gather(x: TensorLike, dim: int, index: TensorLike) -> Tensor:
    """The elements at ``index`` along the axis ``dim``, as in PyTorch: ``x[i, index[i, j]]`` for ``dim=1``."""
    return as_tensor(x).gather(dim, index)
