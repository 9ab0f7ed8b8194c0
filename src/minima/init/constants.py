"""Constants: zeros, ones, constant; and how all of ``minima.init`` reads a shape."""

import operator
from collections.abc import Sequence
from typing import Any

import numpy as np

from minima.autograd import Device, DTypeLike, Tensor
from minima.errors import sentence

__all__ = ["Shape", "constant", "lengths", "ones", "zeros"]

Shape = tuple[int | Sequence[int], ...]


def zeros(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor of zeros.

    Args:
        shape: The lengths of the axes, as separate arguments or as one tuple; none at all for a scalar.
        dtype: Of the Tensor.
        requires_grad: Whether gradients are accumulated for it.
        device: Where it lives.

    Raises:
        TypeError: A length is not an integer, or ``dtype`` is unknown.
        ValueError: A length is negative.

    All functions of this module have these arguments and errors; those that draw random numbers need a floating-point
    ``dtype``.

    >>> from minima import init
    >>> init.zeros(2, 3).shape, init.zeros((2, 3)).dtype
    ((2, 3), dtype('float32'))
    """
    return Tensor(np.zeros(lengths("zeros", shape)), dtype, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor of ones. Arguments as for `zeros`.

    >>> from minima import init
    >>> init.ones(3).tolist()
    [1.0, 1.0, 1.0]
    """
    return Tensor(np.ones(lengths("ones", shape)), dtype, device, requires_grad)


def constant(
    *shape: int | Sequence[int],
    value: float,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor with ``value`` everywhere. Other arguments as for `zeros`.

    >>> from minima import init
    >>> init.constant(2, value=0.25).tolist()
    [0.25, 0.25]
    """
    return Tensor(np.full(lengths("constant", shape), value), dtype, device, requires_grad)


def lengths(who: str, shape: Shape) -> tuple[int, ...]:
    """The lengths of the axes, given as separate arguments or as one sequence."""
    given: Any = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    rule = "shape must consist of integers of at least 0"
    try:
        found = tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(sentence(who, rule, got=given)) from None
    if any(length < 0 for length in found):
        raise ValueError(sentence(who, rule, got=given))
    return found
