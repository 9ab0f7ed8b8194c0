"""Normalisation: LayerNorm within each sample, BatchNorm1d within each channel of the batch."""

import math
from collections.abc import Sequence
from typing import Any

from minima import init
from minima.autograd import Tensor, as_dtype
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.halves import wide_dtype
from minima.autograd.primitive import Array, Namespace, primitive
from minima.autograd.tensor import TensorLike, apply
from minima.checks import integer, number
from minima.errors import sentence
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["BatchNorm1d", "LayerNorm"]


@primitive
def _normalize(xp: Namespace, x: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    """Mean 0 and variance 1 over ``axes``."""
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + eps)


@_normalize.vjp("x")
def _(xp: Namespace, g: Array, x: Array, out: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    # out = (x - mean) * scale with scale = (var + eps)^(-1/2): the two means are what x does through mean and var
    scale = 1 / xp.sqrt(xp.var(x, axis=axes, keepdims=True) + eps)
    along = xp.mean(g * out, axis=axes, keepdims=True)
    return scale * (g - xp.mean(g, axis=axes, keepdims=True) - out * along)


class LayerNorm(Module):
    """Give every sample mean 0 and variance 1 over its last axes, then a scale and a shift of its own to every element.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    Args:
        normalized_shape: The lengths of the last axes, which are normalised together; an integer for one axis.
        eps: Added to the variance, from 0 up.
        elementwise_affine: Whether ``weight`` is there.
        bias: Whether ``bias`` is there; only beside ``weight``.
        dtype: Of the parameters, a floating one.

    Attributes:
        weight: Of the shape ``normalized_shape``, ones at first; or ``None``.
        bias: Of the same shape, zeros at first; or ``None``.

    Shapes: ``(..., *normalized_shape)`` to the same.

    Raises:
        TypeError: ``normalized_shape`` is not made of integers, or ``eps`` is no number.
        ValueError: One of them is out of range, or the last axes of an input have other lengths.

    Ba, Kiros and Hinton, "Layer normalization" (2016). The variance is the biased one, as in PyTorch.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.LayerNorm(3)(Tensor([[1.0, 2.0, 3.0]])).detach().numpy().round(3)
    array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        lengths = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
        self.normalized_shape = tuple(integer("LayerNorm", "normalized_shape", length, 1) for length in lengths)
        if not self.normalized_shape:
            raise ValueError(
                sentence("LayerNorm", "normalized_shape must name at least one axis", got=normalized_shape)
            )
        self.eps = number("LayerNorm", "eps", eps)
        shape = self.normalized_shape
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        x = floating(x)
        count = len(self.normalized_shape)
        if x.shape[-count:] != self.normalized_shape:
            rule = f"the input must have the shape (..., {', '.join(map(str, self.normalized_shape))})"
            raise ValueError(sentence("LayerNorm", rule, got=x.shape))
        out = apply(_normalize, widened(x), axes=tuple(range(-count, 0)), eps=self.eps)
        return rounded(_affine(out, self.weight, self.bias), x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        affine, bias = self.weight is not None, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={affine}, bias={bias}"


class BatchNorm1d(Module):
    """Give every channel mean 0 and variance 1 over the batch, then a scale and a shift of its own.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    In training, ``mean`` and the biased ``var`` are the batch's, and the running statistics follow them:

        running_mean <- (1 - momentum) * running_mean + momentum * mean
        running_var  <- (1 - momentum) * running_var  + momentum * var * n / (n - 1)

    with ``n`` values in a channel. In evaluation the running statistics take their place.

    Args:
        num_features: The number of channels, from 1 up.
        eps: Added to the variance, from 0 up.
        momentum: How far the running statistics go towards the batch's, in [0, 1]; ``None`` makes them the plain
            average over all batches.
        affine: Whether ``weight`` and ``bias`` are there.
        track_running_stats: Whether there are running statistics; without them, evaluation takes the batch's too.
        dtype: Of the parameters and the running statistics, a floating one. Statistics beside float16 parameters are
            float32: the variance of a few hundred is beyond float16, and it would lose small changes.

    Attributes:
        weight: Of shape (num_features,), ones at first; or ``None``.
        bias: Of shape (num_features,), zeros at first; or ``None``.
        running_mean: A buffer of shape (num_features,), zeros at first; or ``None``.
        running_var: A buffer of shape (num_features,), ones at first; or ``None``.
        num_batches_tracked: A buffer, the int64 number of batches that the running statistics have seen; or ``None``.

    Shapes: ``(N, num_features)`` or ``(N, num_features, L)`` to the same.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: An argument is out of range, an input has another shape, or there is but one value in a channel,
            which has no variance, where the batch's statistics are wanted.

    Ioffe and Szegedy, "Batch normalization" (2015), algorithms 1 and 2. As in PyTorch, running_var is written with the
    unbiased variance and ``momentum`` weighs the new value.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> layer = nn.BatchNorm1d(1)
    >>> layer(Tensor([[1.0], [3.0]])).detach().numpy().round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.running_mean, layer.running_var
    (Tensor([0.2]), Tensor([1.1]))
    """

    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.num_features = integer("BatchNorm1d", "num_features", num_features, 1)
        self.eps = number("BatchNorm1d", "eps", eps)
        self.momentum = None if momentum is None else number("BatchNorm1d", "momentum", momentum, 0, 1)
        self.track_running_stats = track_running_stats
        shape = self.num_features
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(shape, dtype=dtype)) if affine else None
        tracked = track_running_stats
        wide = wide_dtype(as_dtype(dtype))
        self.register_buffer("running_mean", init.zeros(shape, dtype=wide) if tracked else None)
        self.register_buffer("running_var", init.ones(shape, dtype=wide) if tracked else None)
        self.register_buffer("num_batches_tracked", init.zeros(dtype="int64") if tracked else None)

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise, in training noting the batch's statistics."""
        x = floating(x)
        if len(x.shape) not in (2, 3) or x.shape[1] != self.num_features:
            rule = f"the input must have the shape (N, {self.num_features}) or (N, {self.num_features}, L)"
            raise ValueError(sentence("BatchNorm1d", rule, got=x.shape))
        axes = (0, 2)[: len(x.shape) - 1]
        wide = widened(x)
        if self.training or self.running_mean is None or self.running_var is None:
            values = x.shape[0] * math.prod(x.shape[2:])
            if values < 2:
                rule = "the statistics of a batch need at least 2 values in a channel"
                raise ValueError(sentence("BatchNorm1d", rule, got=x.shape, hint="call eval() to use the running ones"))
            self._track(wide.buffer, axes)
            out = apply(_normalize, wide, axes=axes, eps=self.eps)
        else:
            scale = (self.running_var + self.eps) ** -0.5
            out = _affine(wide, _column(scale, x), _column(-self.running_mean * scale, x))
        return rounded(_affine(out, _column(self.weight, x), _column(self.bias, x)), x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        affine = self.weight is not None
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={affine}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _track(self, values: Array, axes: tuple[int, ...]) -> None:
        """Move the running statistics, in their own memory, towards those of the batch."""
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        if mean is None or var is None or batches is None:
            return
        batches.data = batches.buffer + 1
        momentum = 1 / batches.item() if self.momentum is None else self.momentum
        mean.data = mean.buffer + momentum * (values.mean(axis=axes) - mean.buffer)
        var.data = var.buffer + momentum * (values.var(axis=axes, ddof=1) - var.buffer)


def _column(values: Tensor | None, x: Tensor) -> Tensor | None:
    """``values``, one for each channel, in a shape that broadcasts against ``x``."""
    return values if values is None or len(x.shape) == 2 else values.reshape(-1, 1)


def _affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
