"""Normalisation, with given parameters and statistics: layer_norm, rms_norm, group_norm, batch_norm, normalize."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from minima.autograd import Tensor, norm
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations.normalization import normalize as primitive
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import flag, integer, number
from minima.errors import sentence

__all__ = [
    "batch_norm",
    "batch_normalized",
    "group_norm",
    "group_normalized",
    "layer_norm",
    "layer_normalized",
    "lengths",
    "normalize",
    "rms_norm",
    "rms_normalized",
]

Lengths = tuple[int, ...]


def layer_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """What `minima.nn.LayerNorm` computes: mean 0 and variance 1 over the last axes, times ``weight`` plus ``bias``.

    Both have the shape ``normalized_shape``. All else is that of the layer.

    >>> layer_norm([[1.0, 3.0]], 2, eps=0.0).tolist()
    [[-1.0, 1.0]]
    """
    who, shape = "layer_norm", lengths("layer_norm", normalized_shape)
    scale, shift = _parameter(who, "weight", weight, shape), _parameter(who, "bias", bias, shape)
    return layer_normalized(who, input, shape, scale, shift, number(who, "eps", eps))


def rms_norm(
    input: TensorLike,
    normalized_shape: int | Sequence[int],
    weight: TensorLike | None = None,
    eps: float | None = None,
) -> Tensor:
    """What `minima.nn.RMSNorm` computes: root mean square 1 over the last axes, times ``weight``.

    That has the shape ``normalized_shape``. All else is that of the layer.

    >>> rms_norm([[2.0, -2.0]], 2, eps=0.0).tolist()
    [[1.0, -1.0]]
    """
    who, shape = "rms_norm", lengths("rms_norm", normalized_shape)
    small = None if eps is None else number(who, "eps", eps)
    return rms_normalized(who, input, shape, _parameter(who, "weight", weight, shape), small)


def group_norm(
    input: TensorLike,
    num_groups: int,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    eps: float = 1e-5,
) -> Tensor:
    """What `minima.nn.GroupNorm` computes: mean 0 and variance 1 in each group of channels of each sample.

    Args:
        input: Shape (N, C, ...).
        num_groups: Into how many groups the channels fall.
        weight: The scale of each channel, of shape (C,).
        bias: The shift of each channel, of shape (C,).
        eps: Added to the variance, at least 0.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: Shapes do not fit, or ``num_groups`` does not divide the channels.

    >>> group_norm([[1.0, 3.0, 10.0, 14.0]], 2, eps=0.0).tolist()
    [[-1.0, 1.0, -1.0, 1.0]]
    """
    who, x, groups = "group_norm", floating(input), integer("group_norm", "num_groups", num_groups, 1)
    if x.ndim < 2 or x.shape[1] % groups:
        rule = f"the input must have the shape (N, C, ...), with C channels that num_groups {groups} divides"
        raise ValueError(sentence(who, rule, got=x.shape))
    channels = x.shape[1:2]
    scale, shift = _parameter(who, "weight", weight, channels), _parameter(who, "bias", bias, channels)
    return group_normalized(who, x, groups, channels[0], scale, shift, number(who, "eps", eps))


def batch_norm(
    input: TensorLike,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: TensorLike | None = None,
    bias: TensorLike | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """What `minima.nn.BatchNorm2d` computes: each channel with mean 0 and variance 1 over the batch.

    Args:
        input: Shape (N, C, ...).
        running_mean: The mean of each channel, of shape (C,). In training it is written into, by the equations of
            `minima.nn.BatchNorm1d`; it may be ``None`` then, as ``running_var``.
        running_var: The variance of each channel.
        weight: The scale of each channel, of shape (C,).
        bias: The shift of each channel, of shape (C,).
        training: Whether the statistics are the batch's, rather than the running ones.
        momentum: How far the running statistics go towards the batch's, in [0, 1].
        eps: Added to the variance, at least 0.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: Shapes do not fit, statistics are missing, or there is but one value in a channel in training.

    >>> batch_norm([[1.0], [5.0]], Tensor([1.0]), Tensor([4.0]), eps=0.0).tolist()
    [[0.0], [2.0]]
    """
    who, x = "batch_norm", floating(input)
    if x.ndim < 2:
        raise ValueError(sentence(who, "the input must have the shape (N, C, ...)", got=x.shape))
    channels = x.shape[1:2]
    for name, running in (("running_mean", running_mean), ("running_var", running_var)):
        if not (running is None or isinstance(running, Tensor)):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise TypeError(sentence(who, f"{name} must be a Tensor, which training writes into, or None", got=running))
        _parameter(who, name, running, channels)
    if (running_mean is None) != (running_var is None):
        raise ValueError(sentence(who, "running_mean and running_var go together", hint="give both or none"))
    if not flag(who, "training", training) and running_mean is None:
        raise ValueError(sentence(who, "training=False needs running_mean and running_var", got=None))
    scale, shift = _parameter(who, "weight", weight, channels), _parameter(who, "bias", bias, channels)
    step, small = number(who, "momentum", momentum, 0, 1), number(who, "eps", eps)
    return batch_normalized(who, x, running_mean, running_var, scale, shift, training, step, small)


def normalize(input: TensorLike, p: float = 2.0, dim: int = 1, eps: float = 1e-12) -> Tensor:
    """Scale vectors to length 1: ``x / max(norm(x), eps)``.

    Args:
        input: Of any shape that has the axis ``dim``.
        p: Of the norm, above 0; ``inf`` is the largest magnitude.
        dim: The axis along which the vectors lie.
        eps: The smallest length that is divided by, at least 0.

    Raises:
        TypeError: An argument is not of its type.
        ValueError: ``p`` or ``eps`` is out of range, or there is no such axis.

    >>> normalize([[3.0, 4.0]]).numpy().round(4)
    array([[0.6, 0.8]], dtype=float32)
    """
    who, x = "normalize", floating(input)
    axis = integer(who, "dim", dim, None)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(sentence(who, f"the input must have an axis {axis}", got=x.shape))
    wide = widened(x)
    length = norm(wide, p, axis, keepdims=True)
    return rounded(wide / length.clip(number(who, "eps", eps)), x)


def layer_normalized(
    who: str, input: TensorLike, shape: Lengths, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The layer norm, of arguments that are checked."""
    x = floating(input)
    return _normalized(x, weight, bias, _last_axes(who, x, shape), eps)


def rms_normalized(who: str, input: TensorLike, shape: Lengths, weight: Tensor | None, eps: float | None) -> Tensor:
    """The RMS norm, of arguments that are checked."""
    x = floating(input)
    small = float(np.finfo(x.dtype).eps) if eps is None else eps
    return _normalized(x, weight, None, _last_axes(who, x, shape), small, centred=False)


def group_normalized(
    who: str, input: TensorLike, groups: int, channels: int, weight: Tensor | None, bias: Tensor | None, eps: float
) -> Tensor:
    """The group norm, of arguments that are checked."""
    x = floating(input)
    if len(x.shape) < 2 or x.shape[1] != channels:
        raise ValueError(sentence(who, f"the input must have the shape (N, {channels}, ...)", got=x.shape))
    each = groups, channels // groups, 1
    scale, shift = (None if part is None else part.reshape(*each) for part in (weight, bias))
    grouped = x.reshape(x.shape[0], *each[:2], math.prod(x.shape[2:]))
    return _normalized(grouped, scale, shift, (2, 3), eps).reshape(x.shape)


def batch_normalized(
    who: str,
    x: Tensor,
    mean: Tensor | None,
    var: Tensor | None,
    weight: Tensor | None,
    bias: Tensor | None,
    training: bool,
    momentum: Any,
    eps: float,
) -> Tensor:
    """The batch norm, of arguments that are checked; in training it moves the statistics, in their own memory."""
    axes, columns = (0, *range(2, x.ndim)), (-1, *[1] * (x.ndim - 2))
    scale, shift = (None if part is None else part.reshape(*columns) for part in (weight, bias))
    if not training:
        assert mean is not None and var is not None
        wide, narrower = widened(x), (var + eps) ** -0.5
        factor = narrower.reshape(*columns) if scale is None else narrower.reshape(*columns) * scale
        offset = -mean.reshape(*columns) * factor
        return rounded(wide * factor + (offset if shift is None else offset + shift), x, weight, bias)
    if x.shape[0] * math.prod(x.shape[2:]) < 2:
        rule = "the statistics of a batch need at least 2 values in a channel"
        how = "pass training=False with" if who == "batch_norm" else "call eval() to use"
        raise ValueError(sentence(who, rule, got=x.shape, hint=f"{how} the running ones"))
    if mean is not None and var is not None:
        values = widened(x).buffer
        mean.data = mean.buffer + momentum * (values.mean(axis=axes) - mean.buffer)
        var.data = var.buffer + momentum * (values.var(axis=axes, ddof=1) - var.buffer)
    return _normalized(x, scale, shift, axes, eps)


def _normalized(
    x: Tensor, weight: Tensor | None, bias: Tensor | None, axes: tuple[int, ...], eps: float, centred: bool = True
) -> Tensor:
    return apply(primitive, x, weight, bias, axes=axes, eps=eps, centred=centred)


def lengths(who: str, normalized_shape: int | Sequence[int]) -> Lengths:
    """The lengths of the last axes, which are normalised together."""
    given = normalized_shape if isinstance(normalized_shape, Sequence) else (normalized_shape,)
    if not given:
        raise ValueError(sentence(who, "normalized_shape must name at least one axis", got=normalized_shape))
    return tuple(integer(who, "normalized_shape", length, 1) for length in given)


def _last_axes(who: str, x: Tensor, shape: Lengths) -> tuple[int, ...]:
    if x.shape[-len(shape) :] != shape:
        rule = f"the input must have the shape (..., {', '.join(map(str, shape))})"
        raise ValueError(sentence(who, rule, got=x.shape))
    return tuple(range(-len(shape), 0))


def _parameter(who: str, name: str, value: TensorLike | None, shape: Lengths) -> Tensor | None:
    """A parameter as a tensor of this shape, or none."""
    tensor = None if value is None else as_tensor(value)
    if tensor is not None and tensor.shape != shape:
        raise ValueError(sentence(who, f"{name} must have the shape {shape}", got=tensor.shape))
    return tensor
