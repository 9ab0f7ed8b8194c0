"""Zeros at random: dropout, dropout2d."""

import numpy as np

from minima.autograd import Tensor
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.tensor import TensorLike
from minima.checks import flag, number
from minima.errors import sentence
from minima.random import generator

__all__ = ["dropout", "dropout2d", "dropped", "dropped_channels"]


def dropout(input: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """What `minima.nn.Dropout` does, or, without ``training``, nothing.

    Pass ``self.training`` in a module.

    >>> dropout([1.0, 1.0], training=False).tolist()
    [1.0, 1.0]
    """
    who, x = "dropout", floating(input)
    p = number(who, "p", p, 0, 1)
    return dropped(x, p, x.shape) if flag(who, "training", training) else x


def dropout2d(input: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """What `minima.nn.Dropout2d` does, to whole channels of (N, C, ...), or, without ``training``, nothing.

    >>> dropout2d([[[1.0, 1.0]]], p=1.0).tolist()
    [[[0.0, 0.0]]]
    """
    who = "dropout2d"
    p = number(who, "p", p, 0, 1)
    return dropped_channels(who, input, p, flag(who, "training", training))


def dropped_channels(who: str, input: TensorLike, p: float, training: bool) -> Tensor:
    """The input without some channels, in training."""
    x = floating(input)
    if len(x.shape) < 3:
        raise ValueError(sentence(who, "the input must have the shape (N, C, H, W) or (N, C, ...)", got=x.shape))
    return dropped(x, p, (*x.shape[:2], *[1] * (len(x.shape) - 2))) if training else x


def dropped(x: Tensor, p: float, shape: tuple[int, ...]) -> Tensor:
    """``x`` times a mask of ``shape`` that is 0 with probability ``p`` and ``1 / (1 - p)`` else."""
    if p == 0:
        return x
    kept = generator().random(shape, dtype=np.float32) >= p
    scale = 1 / (1 - p) if p < 1 else 0.0
    wide = widened(x)
    return rounded(wide * Tensor.from_numpy(kept * wide.dtype.type(scale)), x)
