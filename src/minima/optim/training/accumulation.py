"""Gradient accumulation: the gradient of a batch that is too large for the memory, part by part."""

import math
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from minima.autograd import Tensor
from minima.checks import integer
from minima.errors import sentence
from minima.optim.training.params import checked_loss

__all__ = ["accumulate"]


def accumulate(loss_fn: Callable[..., Tensor], batch: Any, parts: int) -> float:
    """Add the gradient of the loss of a batch to ``grad``, computed part by part; what is left to do is the step.

    Only one part's intermediate results are in memory at a time. Every part counts with its share of the items, so the
    sum is the gradient of the whole batch's mean loss, to rounding, however unequal the parts are.

    Args:
        loss_fn: Called as ``loss_fn(*part)``; gives the mean loss of the items in the part, a Tensor of one element.
        batch: A Tensor or an array, or a tuple or list of them, which have the items along axis 0.
        parts: Into how many parts to cut, from 1 up. They differ by at most one item; a batch of fewer items than that
            is cut into single items.

    Returns:
        The mean loss of the batch.

    Raises:
        TypeError: ``parts`` is no integer, ``batch`` has no items, or the loss is no Tensor.
        ValueError: ``parts`` is below 1, the batch is empty, its pieces have different numbers of items, or a loss has
            more than one element.

    Whatever looks at a batch as a whole, such as ``BatchNorm1d``, sees the parts instead; and a loss that is not a mean
    over the items with equal weights does not add up to the whole batch's.

    >>> from minima import Tensor
    >>> from minima.optim import accumulate
    >>> w = Tensor(2.0, requires_grad=True)
    >>> x, y = Tensor([1.0, 2.0, 3.0]), Tensor([1.0, 3.0, 4.0])
    >>> accumulate(lambda x, y: ((w * x - y) ** 2).mean(), (x, y), parts=3)
    2.0
    >>> w.grad
    Tensor(6.)
    """
    who = "accumulate"
    many = integer(who, "parts", parts, 1)
    pieces = cast(Sequence[Any], batch) if isinstance(batch, tuple | list) else (batch,)
    try:
        sizes = [len(piece) for piece in pieces]
    except TypeError:
        raise TypeError(
            sentence(who, "batch must be a Tensor or an array, or a tuple of them", got=cast(object, batch))
        ) from None
    if len(set(sizes)) > 1:
        raise ValueError(sentence(who, "all pieces of the batch must have as many items", got=sizes))
    if not sizes or sizes[0] == 0:
        raise ValueError(sentence(who, "the batch is empty"))
    size = sizes[0]
    many = min(many, size)
    bounds = [size * part // many for part in range(many + 1)]
    losses: list[float] = []
    for start, stop in zip(bounds, bounds[1:], strict=False):
        loss = checked_loss(who, loss_fn(*(piece[start:stop] for piece in pieces)))
        share = (stop - start) / size
        loss.backward(Tensor.from_numpy(np.full(loss.shape, share, loss.dtype)))
        losses.append(share * loss.item())
    return math.fsum(losses) if all(map(math.isfinite, losses)) else sum(losses)
