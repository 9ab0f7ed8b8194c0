"""Gradient accumulation: the gradient of a batch that is too large for the memory, part by part."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, cast

import numpy as np

from minima.autograd import Tensor
from minima.checks import integer
from minima.errors import sentence
from minima.optim.training.params import check_loss_fn, checked_loss

__all__ = ["accumulate"]


def accumulate(loss_fn: Callable[..., Tensor], batch: Any, parts: int) -> float:
    """Add the gradient of the loss of a batch to ``grad``, computed part by part; then call ``step()``.

    Only the intermediate results of one part are in memory at a time. Each part is weighted by its share of the items,
    so the sum is the gradient of the mean loss of the whole batch, up to rounding, for parts of any size.

    Args:
        loss_fn: Called as ``loss_fn(*part)`` if the batch is a tuple or a list, else as ``loss_fn(part)``; returns the
            mean loss of the items in the part, a Tensor with one element.
        batch: A Tensor or an array with the items along axis 0, or another batch of a `DataLoader`: nested tuples,
            lists and dicts of them. Lists of strings or numbers are lists of items.
        parts: The number of parts, at least 1. Their sizes differ by at most one item; a batch with fewer items is
            divided into single items.

    Returns:
        The mean loss of the batch.

    Raises:
        TypeError: ``loss_fn`` is not a function, ``parts`` is not an integer, a piece of ``batch`` cannot be divided,
            or the loss is not a Tensor.
        ValueError: ``parts`` is below 1, the batch is empty, its pieces have different numbers of items, or a loss has
            more than one element.

    Layers that depend on the whole batch, such as ``BatchNorm1d``, see only the parts. If the loss is not a mean over
    the items with equal weights, the sum is not the loss of the whole batch.

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
    check_loss_fn(who, loss_fn)
    many = integer(who, "parts", parts, 1)
    pieces = cast(Sequence[Any], batch) if isinstance(batch, tuple | list) else (batch,)
    names = [f"batch[{place}]" for place in range(len(pieces))] if pieces is batch else ["batch"]
    sizes = [size for name, piece in zip(names, pieces, strict=True) for size in _sizes(name, piece)]
    if len(set(sizes)) > 1:
        raise ValueError(sentence(who, "all pieces of the batch must have as many items", got=sizes))
    if not sizes or sizes[0] == 0:
        raise ValueError(sentence(who, "the batch is empty"))
    size = sizes[0]
    many = min(many, size)
    bounds = [size * part // many for part in range(many + 1)]
    losses: list[float] = []
    for start, stop in zip(bounds, bounds[1:], strict=False):
        loss = checked_loss(who, loss_fn(*[_cut(piece, start, stop) for piece in pieces]))
        share = (stop - start) / size
        loss.backward(Tensor.from_numpy(np.full(loss.shape, share, loss.dtype)))
        losses.append(share * loss.item())
    return math.fsum(losses) if all(map(math.isfinite, losses)) else sum(losses)


def _sizes(name: str, piece: Any) -> Iterator[int]:
    """How many items everything in a piece has that is to be cut; a TypeError for what cannot be."""
    if _is_nested(piece):
        pairs: Iterable[tuple[Any, Any]] = enumerate(cast(Sequence[Any], piece))
        if isinstance(piece, Mapping):
            pairs = cast(Mapping[Any, Any], piece).items()
        for place, inner in pairs:
            yield from _sizes(f"{name}[{place!r}]", inner)
        return
    try:
        if isinstance(piece, str | bytes):  # which are single items
            raise TypeError
        size, _ = len(piece), piece[0:0]
    except (TypeError, ValueError, LookupError):
        rule = f"{name} must be a Tensor or an array, or a tuple, a list or a dict of them"
        raise TypeError(sentence("accumulate", rule, got=piece)) from None
    yield size


def _cut(piece: Any, start: int, stop: int) -> Any:
    """The items of a piece from ``start`` to ``stop``."""
    if not _is_nested(piece):
        return piece[start:stop]
    if isinstance(piece, Mapping):
        return {key: _cut(inner, start, stop) for key, inner in cast(Mapping[Any, Any], piece).items()}
    inside = [_cut(inner, start, stop) for inner in piece]
    # A named tuple is made from a sequence by its _make.
    make = getattr(cast(Any, type(piece)), "_make", tuple[Any, ...])
    return inside if isinstance(piece, list) else make(inside)


def _is_nested(piece: Any) -> bool:
    """Whether what is to be cut lies further inside; not so in a list of plain items, such as strings."""
    if isinstance(piece, Mapping):
        return True
    plain = (str, bytes, int, float, np.generic)
    inside = cast(Sequence[Any], piece) if isinstance(piece, tuple | list) else [""]
    return not inside or not all(isinstance(each, plain) for each in inside)
