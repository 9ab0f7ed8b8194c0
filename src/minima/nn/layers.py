"""Layers: linear maps, embeddings, dropout, and two that only pass on."""

import math
from collections.abc import Sequence
from functools import partial
from typing import Any

from minima import init
from minima.autograd import Tensor
from minima.autograd.formulas import floating
from minima.autograd.fused import affine
from minima.autograd.operations import perceptron as primitives
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import checked, integer, number
from minima.errors import sentence
from minima.nn.functional.dropping import dropped, dropped_channels
from minima.nn.functional.lookup import looked_up
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["Dropout", "Dropout2d", "Embedding", "Flatten", "Identity", "Linear"]


class Linear(Module):
    """An affine map of the last axis.

        y = x W^T + b

    Args:
        in_features: The length of the last axis of the input.
        out_features: The length of the last axis of the output.
        bias: Whether to use ``b``.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: ``W``, of shape (out_features, in_features).
        bias: ``b``, of shape (out_features,), or ``None``.

    Shapes: ``(..., in_features)`` to ``(..., out_features)``.

    Both are initialised from U(-bound, bound) with ``bound = 1 / sqrt(in_features)``, as in PyTorch, which calls it
    `init.kaiming_uniform` with ``a = sqrt(5)``.

    Raises:
        TypeError: A number of features is not an integer, or ``dtype`` is not floating.
        ValueError: A number of features is negative, or the last axis of an input has another length.

    >>> from minima import init, nn
    >>> layer = nn.Linear(3, 2)
    >>> layer(init.zeros(5, 3)).shape
    (5, 2)
    """

    def __init__(self, in_features: int, out_features: int, bias: bool = True, dtype: Any = "float32") -> None:
        self.in_features = integer("Linear", "in_features", in_features)
        self.out_features = integer("Linear", "out_features", out_features)
        bound = 1 / math.sqrt(max(1, in_features))
        self.weight = Parameter(init.kaiming_uniform(out_features, in_features, a=math.sqrt(5), dtype=dtype))
        self.bias = Parameter(init.uniform(out_features, low=-bound, high=bound, dtype=dtype)) if bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """Apply the map."""
        return affine("Linear", x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        bias = self.bias is not None
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={bias}"


def perceptron(x: TensorLike, layers: Sequence[Linear], relus: Sequence[bool]) -> Tensor:
    """Apply layers one after another; ``relus`` is whether a ReLU follows each.

    All of them are one operation, unless results are halves, which are rounded after every layer.
    """
    h = as_tensor(x)
    if h.buffer.dtype.kind == "f" and h.buffer.itemsize > 2:
        parts: list[Any] = [h]
        for layer in layers:
            parts += layer.weight, layer.bias
        try:
            return apply(primitives.perceptron, *parts, relus=tuple(relus))
        except (ValueError, IndexError):
            pass  # the layer that does not fit says so next
    for layer, is_rectified in zip(layers, relus, strict=True):
        h = layer(h)
        h = h.relu() if is_rectified else h
    return h


class Embedding(Module):
    """A table of vectors, indexed by integers.

        y[i] = W[ids[i]]

    Args:
        num_embeddings: The number of vectors.
        embedding_dim: The length of each vector.
        padding_idx: The id whose vector is initialised to zeros and gets no gradient; negative ids count from the end.
        dtype: Floating-point dtype of the table.

    Attributes:
        weight: ``W``, of shape (num_embeddings, embedding_dim).

    Shapes: ids ``(...)`` to ``(..., embedding_dim)``.

    The table is initialised from N(0, 1), as in PyTorch.

    Raises:
        TypeError: A size or ``padding_idx`` is not an integer, or an input is not of an integer dtype.
        ValueError: A size is negative, or ``padding_idx`` lies outside the table.
        IndexError: An id lies outside [0, num_embeddings).

    >>> import numpy as np
    >>> from minima import nn
    >>> table = nn.Embedding(10, 4, padding_idx=0)
    >>> table(np.array([[1, 2, 0]])).shape
    (1, 3, 4)
    """

    def __init__(
        self, num_embeddings: int, embedding_dim: int, padding_idx: int | None = None, dtype: Any = "float32"
    ) -> None:
        self.num_embeddings = integer("Embedding", "num_embeddings", num_embeddings)
        self.embedding_dim = integer("Embedding", "embedding_dim", embedding_dim)
        table = init.randn(num_embeddings, embedding_dim, dtype=dtype)
        self.padding_idx = None
        if padding_idx is not None:
            position = integer("Embedding", "padding_idx", padding_idx, -num_embeddings, num_embeddings)
            self.padding_idx = position % num_embeddings
            table[self.padding_idx] = 0.0
        self.weight = Parameter(table)

    def forward(self, ids: TensorLike) -> Tensor:
        """Look up the ids."""
        return looked_up("Embedding", "ids", ids, self.weight, self.padding_idx)

    def extra_repr(self) -> str:
        """The arguments."""
        padding = "" if self.padding_idx is None else f", padding_idx={self.padding_idx}"
        return f"{self.num_embeddings}, {self.embedding_dim}{padding}"


class Dropout(Module):
    """In training, sets each element to zero with probability ``p`` and scales up the others; in evaluation, no change.

        y = x * mask / (1 - p),   mask ~ Bernoulli(1 - p)

    so the expectation of ``y`` is ``x``. The mask comes from the generator of `minima.random.manual_seed`.

    Args:
        p: The probability of a zero, in [0, 1].

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: ``p`` lies outside [0, 1].

    Srivastava et al., "Dropout: a simple way to prevent neural networks from overfitting" (2014), section 10 for the
    scaling in training.

    >>> from minima import init, nn
    >>> layer = nn.Dropout(0.2)
    >>> sorted({round(value, 2) for value in layer(init.ones(1000)).tolist()})
    [0.0, 1.25]
    >>> layer.eval()(init.ones(3)).tolist()
    [1.0, 1.0, 1.0]
    """

    p: float = checked(partial(number, high=1))

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, x: TensorLike) -> Tensor:
        """Drop elements, in training."""
        x = floating(x)
        return dropped(x, self.p, x.shape) if self.training else x

    def extra_repr(self) -> str:
        """The argument."""
        return f"p={self.p}"


class Dropout2d(Module):
    """In training, sets whole channels to zero with probability ``p`` and scales up the others; else no change.

    Neighbouring pixels are so similar that single zeros would have little effect.

    Args:
        p: The probability of a zero, in [0, 1].

    Shapes: ``(N, C, H, W)``, or any other ``(N, C, ...)`` with three axes or more, to the same.

    Raises:
        TypeError: ``p`` is not a number.
        ValueError: ``p`` lies outside [0, 1], or an input has fewer than three axes.

    Tompson et al., "Efficient object localization using convolutional networks" (2015), section 3.2. As in PyTorch, an
    input of three axes is ``(N, C, L)``.

    >>> from minima import init, nn
    >>> y = nn.Dropout2d(0.5)(init.ones(10, 20, 3, 3)).numpy()
    >>> bool((y == y[:, :, :1, :1]).all())
    True
    """

    p: float = checked(partial(number, high=1))

    def __init__(self, p: float = 0.5) -> None:
        self.p = p

    def forward(self, x: TensorLike) -> Tensor:
        """Drop channels, in training."""
        return dropped_channels("Dropout2d", x, self.p, self.training)

    def extra_repr(self) -> str:
        """The argument."""
        return f"p={self.p}"


class Flatten(Module):
    """Merges neighbouring axes into one; the default turns ``(N, ...)`` into ``(N, product of the others)``.

    Args:
        start_dim: The first axis to merge; negative values count from the end.
        end_dim: The last axis to merge; negative values count from the end.

    Raises:
        TypeError: One of them is not an integer.
        ValueError: They are not axes of the input, or ``start_dim`` is after ``end_dim``.

    >>> from minima import init, nn
    >>> nn.Flatten()(init.zeros(8, 3, 28, 28)).shape
    (8, 2352)
    """

    def __init__(self, start_dim: int = 1, end_dim: int = -1) -> None:
        self.start_dim = integer("Flatten", "start_dim", start_dim, None)
        self.end_dim = integer("Flatten", "end_dim", end_dim, None)

    def forward(self, x: TensorLike) -> Tensor:
        """Merge the axes."""
        x = as_tensor(x)
        rank = len(x.shape)
        start = self.start_dim + rank if self.start_dim < 0 else self.start_dim
        end = self.end_dim + rank if self.end_dim < 0 else self.end_dim
        if not 0 <= start <= end < rank:
            rule = f"axes {self.start_dim} to {self.end_dim} must be there in the input, in this order"
            raise ValueError(sentence("Flatten", rule, got=x.shape))
        return x.reshape(*x.shape[:start], math.prod(x.shape[start : end + 1]), *x.shape[end + 1 :])

    def extra_repr(self) -> str:
        """The arguments."""
        return f"start_dim={self.start_dim}, end_dim={self.end_dim}"


class Identity(Module):
    """Returns its input unchanged; a placeholder.

    >>> from minima import nn
    >>> nn.Identity()(3)
    3
    """

    def forward(self, x: Any) -> Any:
        """Return ``x``."""
        return x
