"""Lending other values to Tensors, which get their own back, to the last bit."""

from collections.abc import Generator, Iterable, Sequence
from contextlib import contextmanager

import numpy as np

from minima.autograd import Tensor
from minima.autograd.tensor import mark_written
from minima.optim.engines import Array

__all__ = ["lent", "write"]


@contextmanager
def lent(pairs: Sequence[tuple[Tensor, Array]]) -> Generator[None]:
    """Within, each Tensor has the values of its array."""
    own = [(tensor, tensor.buffer.copy()) for tensor, _ in pairs]
    try:
        write(pairs)
        yield
    finally:
        write(own)


def write(pairs: Iterable[tuple[Tensor, Array]]) -> None:
    """Copy each array into its Tensor's memory."""
    written: list[Tensor] = []
    with np.errstate(over="ignore"):
        for tensor, values in pairs:
            np.copyto(tensor.buffer, values, casting="same_kind")
            written.append(tensor)
    mark_written(written)
