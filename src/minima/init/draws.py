"""Draws of real numbers: rand, randn, uniform, normal."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minima.autograd import Device, DTypeLike, Tensor, as_dtype
from minima.autograd.tensor import TensorLike, as_tensor
from minima.errors import sentence
from minima.init.constants import Shape, lengths
from minima.random import generator

__all__ = ["normal", "normally", "rand", "randn", "uniform", "uniformly"]


def rand(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the uniform distribution on [0, 1). Arguments as for `zeros`.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.rand(3).numpy().round(3)
    array([0.637, 0.27 , 0.041], dtype=float32)
    """
    return Tensor(uniformly("rand", shape, 0.0, 1.0, dtype), dtype, device, requires_grad)


def randn(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the normal distribution with mean 0 and standard deviation 1. Arguments as for `zeros`.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.randn(3).numpy().round(3)
    array([ 0.126, -0.132,  0.64 ], dtype=float32)
    """
    return Tensor(normally("randn", shape, 0.0, 1.0, dtype), dtype, device, requires_grad)


def rand_like(x: TensorLike, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Numbers from U(0, 1) in the shape and dtype of ``x``, which must be floating."""
    given = as_tensor(x)
    kind = given.dtype if dtype is None else dtype
    return Tensor(uniformly("rand_like", given.shape, 0.0, 1.0, kind), kind, None, requires_grad)


def randn_like(x: TensorLike, *, dtype: DTypeLike | None = None, requires_grad: bool = False) -> Tensor:
    """Numbers from N(0, 1) in the shape and dtype of ``x``, which must be floating."""
    given = as_tensor(x)
    kind = given.dtype if dtype is None else dtype
    return Tensor(normally("randn_like", given.shape, 0.0, 1.0, kind), kind, None, requires_grad)


def uniform(
    *shape: int | Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the uniform distribution on [low, high). Other arguments as for `zeros`.

    Args:
        low: The lower end.
        high: The upper end, not below ``low``; never drawn, except when it equals ``low``.

    Raises:
        ValueError: ``low > high``, or one of them is not finite.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.uniform(3, low=-1, high=1).numpy().round(3)
    array([ 0.274, -0.46 , -0.918], dtype=float32)
    """
    return Tensor(uniformly("uniform", shape, low, high, dtype), dtype, device, requires_grad)


def normal(
    *shape: int | Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the normal distribution. Other arguments as for `zeros`.

    Args:
        mean: Its mean.
        std: Its standard deviation, at least 0.

    Raises:
        ValueError: ``std`` is negative, or one of them is not finite.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.normal(3, mean=10, std=0.5).numpy().round(3)
    array([10.063,  9.934, 10.32 ], dtype=float32)
    """
    return Tensor(normally("normal", shape, mean, std, dtype), dtype, device, requires_grad)


def uniformly(who: str, shape: Shape, low: float, high: float, dtype: DTypeLike) -> np.ndarray[Any, Any]:
    """Draws from the uniform distribution on [low, high)."""
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(sentence(who, "low and high must be finite with low <= high", got=(low, high)))
    kind = _floating(who, dtype)
    drawn = np.asarray(generator().uniform(low, high, lengths(who, shape))).astype(kind)
    # rounding to a narrower dtype may have hit the upper end, which is outside
    return np.minimum(drawn, np.nextafter(kind.type(high), kind.type(low)))


def normally(who: str, shape: Shape, mean: float, std: float, dtype: DTypeLike) -> np.ndarray[Any, Any]:
    """Draws from the normal distribution."""
    if not (math.isfinite(mean) and math.isfinite(std) and std >= 0):
        raise ValueError(sentence(who, "mean and std must be finite with std >= 0", got=(mean, std)))
    kind = _floating(who, dtype)
    return np.asarray(generator().normal(mean, std, lengths(who, shape))).astype(kind)


def _floating(who: str, dtype: DTypeLike) -> np.dtype[Any]:
    kind = as_dtype(dtype)
    if kind.kind != "f":
        raise TypeError(sentence(who, "dtype must be a floating one, since random numbers are drawn", got=dtype))
    return kind
