"""Normalisation within each sample: LayerNorm and RMSNorm over its last axes, GroupNorm over groups of channels."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minima import init
from minima.autograd import Tensor
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations.linalg import ones
from minima.autograd.primitive import Array, Namespace, primitive
from minima.autograd.tensor import TensorLike, apply
from minima.checks import integer, number
from minima.errors import sentence
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm", "affine", "column", "normalize"]


@primitive
def normalize(xp: Namespace, x: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    """Mean 0 and variance 1 over ``axes``."""
    centred = x - xp.mean(x, axis=axes, keepdims=True)
    return centred / xp.sqrt(xp.mean(centred * centred, axis=axes, keepdims=True) + eps)


@normalize.vjp("x")
def _(xp: Namespace, g: Array, x: Array, out: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    # out = (x - mean) * scale with scale = (var + eps)^(-1/2): the two means are what x does through mean and var
    scale = 1 / xp.sqrt(xp.var(x, axis=axes, keepdims=True) + eps)
    along = xp.mean(g * out, axis=axes, keepdims=True)
    return scale * (g - xp.mean(g, axis=axes, keepdims=True) - out * along)


@primitive(residual="moments")
def layer_norm(
    xp: Namespace, x: Array, weight: Array | None, bias: Array | None, *, axes: tuple[int, ...], eps: float
) -> tuple[Array, tuple[Array, Array]]:
    """`normalize` over the last axes, then a scale and a shift; the mean of each sample and its scale are kept."""
    mean = xp.mean(x, axis=axes, keepdims=True)
    out = x - mean
    scale = 1 / xp.sqrt(xp.mean(out * out, axis=axes, keepdims=True) + eps)
    out *= scale
    if weight is not None:
        out = out * weight if bias is None else out * weight + bias
    return out, (mean, scale)


@layer_norm.vjp("x")
def _(
    xp: Namespace,
    g: Array,
    x: Array,
    weight: Array | None,
    moments: tuple[Array, Array],
    *,
    axes: tuple[int, ...],
    eps: float,
) -> Array:
    mean, scale = moments
    g = g if weight is None else g * weight
    through = x - mean
    through *= scale
    through = through * xp.mean(g * through, axis=axes, keepdims=True)
    through += xp.mean(g, axis=axes, keepdims=True)
    grad = g - through
    grad *= scale
    return grad


@layer_norm.vjp("weight")
def _(
    xp: Namespace,
    g: Array,
    shape: tuple[int, ...],
    x: Array,
    moments: tuple[Array, Array],
    *,
    axes: tuple[int, ...],
    eps: float,
) -> Array:
    mean, scale = moments
    grad = x - mean
    grad *= scale
    grad *= g
    return _over_samples(xp, grad, shape)


@layer_norm.vjp("bias")
def _(xp: Namespace, g: Array, shape: tuple[int, ...], *, axes: tuple[int, ...], eps: float) -> Array:
    return _over_samples(xp, g, shape)


def _over_samples(xp: Namespace, g: Array, shape: tuple[int, ...]) -> Array:
    """The sum over all axes but the last ones, of this shape, as a product with ones: BLAS is faster than a sum."""
    samples = math.prod(g.shape[: g.ndim - len(shape)])
    rows = xp.reshape(g, (samples, math.prod(shape)))
    return xp.reshape(xp.matmul(ones(samples, rows.dtype), rows), shape)


class LayerNorm(Module):
    """Normalises each sample to mean 0 and variance 1 over its last axes, then applies a scale and a shift per element.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    Args:
        normalized_shape: The lengths of the last axes, which are normalised together; an integer for one axis.
        eps: Added to the variance, at least 0.
        elementwise_affine: Whether to use ``weight``.
        bias: Whether to use ``bias``, which requires ``weight``.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of the shape ``normalized_shape``, initially ones; or ``None``.
        bias: Of the same shape, initially zeros; or ``None``.

    Shapes: ``(..., *normalized_shape)`` to the same.

    Raises:
        TypeError: ``normalized_shape`` is not made of integers, or ``eps`` is not a number.
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
        self.normalized_shape = _lengths("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps)
        shape = self.normalized_shape
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        x = floating(x)
        axes = _last_axes("LayerNorm", x, self.normalized_shape)
        return apply(layer_norm, x, self.weight, self.bias, axes=axes, eps=self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        weight, bias = self.weight is not None, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={weight}, bias={bias}"


@primitive
def _scale_to_one(xp: Namespace, x: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    """Root mean square 1 over ``axes``."""
    return x / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + eps)


@_scale_to_one.vjp("x")
def _(xp: Namespace, g: Array, x: Array, out: Array, *, axes: tuple[int, ...], eps: float) -> Array:
    scale = 1 / xp.sqrt(xp.mean(x * x, axis=axes, keepdims=True) + eps)
    return scale * (g - out * xp.mean(g * out, axis=axes, keepdims=True))


class RMSNorm(Module):
    """Normalises each sample to a root mean square of 1 over its last axes, then applies a scale per element.

        y = x / sqrt(mean(x^2) + eps) * weight

    Args:
        normalized_shape: The lengths of the last axes, which are normalised together; an integer for one axis.
        eps: Added to the mean square, at least 0; ``None`` means the machine epsilon of the input's dtype, 1.2e-7 for
            float32.
        elementwise_affine: Whether to use ``weight``.
        dtype: Floating-point dtype of the parameter.

    Attributes:
        weight: Of the shape ``normalized_shape``, initially ones; or ``None``.

    Shapes: ``(..., *normalized_shape)`` to the same.

    Raises:
        TypeError: ``normalized_shape`` is not made of integers, or ``eps`` is not a number.
        ValueError: One of them is out of range, or the last axes of an input have other lengths.

    Zhang and Sennrich, "Root mean square layer normalization" (2019), equation 4.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.RMSNorm(2)(Tensor([[3.0, 4.0]])).detach().numpy().round(3)
    array([[0.849, 1.131]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = _lengths("RMSNorm", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps)
        self.weight = Parameter(init.ones(self.normalized_shape, dtype=dtype)) if elementwise_affine else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        x = floating(x)
        eps = float(np.finfo(x.dtype).eps) if self.eps is None else self.eps
        out = apply(_scale_to_one, widened(x), axes=_last_axes("RMSNorm", x, self.normalized_shape), eps=eps)
        return rounded(affine(out, self.weight, None), x, self.weight)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class GroupNorm(Module):
    """Normalises each group of channels in each sample, then applies a scale and a shift per channel.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    Args:
        num_groups: The number of groups of neighbouring channels; 1 normalises all channels together, and
            ``num_channels`` each channel separately (instance normalisation).
        num_channels: The number of channels, a multiple of ``num_groups``.
        eps: Added to the variance, at least 0.
        affine: Whether to use ``weight`` and ``bias``.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of shape (num_channels,), initially ones; or ``None``.
        bias: Of shape (num_channels,), initially zeros; or ``None``.

    Shapes: ``(N, num_channels, ...)`` to the same.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or an input has another number of channels.

    Wu and He, "Group normalization" (2018). The variance is the biased one, as in PyTorch.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.GroupNorm(2, 4)(Tensor([[1.0, 3.0, 10.0, 14.0]])).detach().numpy().round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, dtype: Any = "float32"
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            rule = f"num_groups must divide num_channels {num_channels}"
            raise ValueError(sentence("GroupNorm", rule, got=num_groups))
        self.eps = number("GroupNorm", "eps", eps)
        self.weight = Parameter(init.ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        x = floating(x)
        if len(x.shape) < 2 or x.shape[1] != self.num_channels:
            rule = f"the input must have the shape (N, {self.num_channels}, ...)"
            raise ValueError(sentence("GroupNorm", rule, got=x.shape))
        grouped = widened(x).reshape(x.shape[0], self.num_groups, math.prod(x.shape[1:]) // self.num_groups)
        out = apply(normalize, grouped, axes=(2,), eps=self.eps).reshape(x.shape)
        return rounded(affine(out, column(self.weight, x), column(self.bias, x)), x, self.weight, self.bias)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"


def _lengths(who: str, normalized_shape: int | Sequence[int]) -> tuple[int, ...]:
    lengths = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    if not lengths:
        raise ValueError(sentence(who, "normalized_shape must name at least one axis", got=normalized_shape))
    return tuple(integer(who, "normalized_shape", length, 1) for length in lengths)


def _last_axes(who: str, x: Tensor, lengths: tuple[int, ...]) -> tuple[int, ...]:
    if x.shape[-len(lengths) :] != lengths:
        rule = f"the input must have the shape (..., {', '.join(map(str, lengths))})"
        raise ValueError(sentence(who, rule, got=x.shape))
    return tuple(range(-len(lengths), 0))


def column(values: Tensor | None, x: Tensor) -> Tensor | None:
    """``values``, one for each channel, in a shape that broadcasts against ``x``."""
    return values if values is None or len(x.shape) == 2 else values.reshape(-1, *[1] * (len(x.shape) - 2))


def affine(x: Tensor, weight: Tensor | None, bias: Tensor | None) -> Tensor:
    """``x * weight + bias``, of what is there."""
    x = x if weight is None else x * weight
    return x if bias is None else x + bias
