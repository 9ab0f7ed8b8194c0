"""Draws of integers and positions: randint, randperm, multinomial."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minima.autograd import Device, DTypeLike, Tensor
from minima.autograd.tensor import TensorLike, as_tensor
from minima.checks import flag, integer
from minima.errors import sentence
from minima.init.constants import lengths
from minima.random import generator

__all__ = ["multinomial", "randint", "randperm"]


def randint(
    low: int,
    high: int | Sequence[int] | None = None,
    size: int | Sequence[int] = (),
    *,
    dtype: DTypeLike = "int64",
    device: Device | str | None = None,
) -> Tensor:
    """Draws integers from [low, high), all equally likely, or from [0, low) if ``high`` is ``None``.

    Args:
        low: The smallest.
        high: One more than the largest, above ``low``; or the shape, as in ``randint(10, (5,))``.
        size: The shape.
        dtype: Of the Tensor.
        device: Where it lives.

    Raises:
        TypeError: A number is not an integer.
        ValueError: The range is empty, or a length is negative.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.randint(10, size=(5,)).tolist()
    [8, 6, 5, 2, 3]
    """
    who = "randint"
    if isinstance(high, Sequence):
        if size != ():
            raise TypeError(sentence(who, "the shape must be given once", got=(high, size)))
        high, size = None, high
    start = 0 if high is None else integer(who, "low", low, None)
    stop = integer(who, "low" if high is None else "high", low if high is None else high, None)
    if stop <= start:
        raise ValueError(sentence(who, "low must be below high", got=(start, stop)))
    return Tensor(generator().integers(start, stop, lengths(who, (size,))), dtype, device)


def randperm(n: int, *, device: Device | str | None = None) -> Tensor:
    """The integers in [0, n) in a random order.

    >>> from minima import init
    >>> sorted(init.randperm(3).tolist())
    [0, 1, 2]
    """
    return Tensor(generator().permutation(integer("randperm", "n", n)), "int64", device)


def multinomial(input: TensorLike, num_samples: int, replacement: bool = False) -> Tensor:
    """Draws positions along the last axis, with probabilities proportional to the weights.

    Args:
        input: The weights, at least 0 and finite, of shape (n,) or (m, n). Each row has its own draws; rows need not
            sum to 1.
        num_samples: Number of draws per row, at least 1.
        replacement: Whether a position may be drawn more than once.

    Returns:
        Positions in [0, n), int64, of shape (num_samples,) or (m, num_samples), in the order of the draws. A position
        with weight 0 is never drawn.

    Raises:
        TypeError: ``input`` is not floating, or an argument is not of its type.
        ValueError: ``input`` has another number of axes, a weight is negative or not finite, or a row has no positive
            weight, or without ``replacement`` fewer of them than ``num_samples``.

    With ``replacement`` by inversion; without, the smallest of exponential numbers over the weights: Efraimidis and
    Spirakis, "Weighted random sampling with a reservoir" (2006).

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.multinomial([0.1, 0.0, 0.9], 8, replacement=True).tolist()
    [2, 2, 0, 0, 2, 2, 2, 2]
    """
    who = "multinomial"
    weights = as_tensor(input)
    if weights.dtype.kind != "f":
        raise TypeError(sentence(who, "input must be floating", got=str(weights.dtype)))
    count = integer(who, "num_samples", num_samples, 1)
    replacement = flag(who, "replacement", replacement)
    if len(weights.shape) not in (1, 2):
        raise ValueError(sentence(who, "input must have the shape (n,) or (m, n)", got=weights.shape))
    p: np.ndarray[Any, Any] = weights.buffer.astype(np.float64)
    wrong = p[~(np.isfinite(p) & (p >= 0))]
    if wrong.size:
        raise ValueError(sentence(who, "weights must be finite, at least 0", got=float(wrong[0])))
    needed = 1 if replacement else count
    positive = (p > 0).sum(axis=-1)
    if (positive < needed).any():
        hint = "" if replacement else "draw fewer, or with replacement=True"
        rule = f"num_samples {count} needs {needed} positive weights in each row"
        raise ValueError(sentence(who, rule, got=int(positive.min()), hint=hint))
    if replacement:
        ends = p.cumsum(axis=-1)
        drawn = generator().random((*p.shape[:-1], count)) * ends[..., -1:]
        chosen = (ends[..., None, :] <= drawn[..., None]).sum(axis=-1)
    else:
        waits = generator().standard_exponential((*p.shape,))
        with np.errstate(divide="ignore"):
            order = np.log(waits) - np.log(p)  # a quotient could overflow
        chosen = order.argsort(axis=-1)[..., :count]
    return Tensor(chosen, "int64")
