"""Pooling: max_pool2d, avg_pool2d, adaptive_avg_pool2d."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minima.autograd import Tensor
from minima.autograd.formulas import rounded, widened
from minima.autograd.operations import windows as primitives
from minima.autograd.operations.windows import Window
from minima.autograd.tensor import TensorLike, apply
from minima.checks import flag, integer, or_none
from minima.errors import sentence
from minima.nn.functional.resampling import mixed
from minima.nn.functional.windows import Sizes, batched, check_fit, sizes

__all__ = [
    "adaptive_avg_pool2d",
    "adaptively_pooled",
    "avg_pool2d",
    "avg_pooled",
    "checked_output_size",
    "checked_pooling",
    "max_pool2d",
    "max_pooled",
]

Pair = tuple[int, ...]


def max_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    dilation: Sizes = 1,
    ceil_mode: bool = False,
) -> Tensor:
    """The largest value of every window: arguments, shapes and errors are those of `minima.nn.MaxPool2d`.

    >>> max_pool2d([[[1.0, 2.0, 0.0, 1.0], [5.0, 4.0, 3.0, 2.0]]], 2).tolist()
    [[[5.0, 3.0]]]
    """
    who = "max_pool2d"
    kernel, step, frame, up = checked_pooling(who, kernel_size, stride, padding, ceil_mode)
    return max_pooled(who, input, kernel, step, frame, sizes(who, "dilation", dilation, 2), up)


def avg_pool2d(
    input: TensorLike,
    kernel_size: Sizes,
    stride: Sizes | None = None,
    padding: Sizes = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Tensor:
    """The mean of every window: arguments, shapes and errors are those of `minima.nn.AvgPool2d`.

    >>> avg_pool2d([[[1.0, 2.0, 0.0, 1.0], [5.0, 4.0, 3.0, 2.0]]], 2).tolist()
    [[[3.0, 1.5]]]
    """
    who = "avg_pool2d"
    kernel, step, frame, up = checked_pooling(who, kernel_size, stride, padding, ceil_mode)
    flag(who, "count_include_pad", count_include_pad)
    if divisor_override is not None:
        integer(who, "divisor_override", divisor_override, 1)
    return avg_pooled(who, input, kernel, step, frame, up, count_include_pad, divisor_override)


def adaptive_avg_pool2d(input: TensorLike, output_size: int | Sequence[int | None] | None) -> Tensor:
    """The means of windows for an output of a given size: all else is that of `minima.nn.AdaptiveAvgPool2d`.

    >>> adaptive_avg_pool2d([[[1.0, 2.0, 6.0], [3.0, 4.0, 8.0]]], (1, None)).tolist()
    [[[2.0, 3.0, 7.0]]]
    """
    who = "adaptive_avg_pool2d"
    return adaptively_pooled(who, input, checked_output_size(who, output_size))


def checked_pooling(
    who: str, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool
) -> tuple[Pair, Pair, Pair, bool]:
    """The kernel, the stride, by default as large, and the padding for both axes; and whether to round up."""
    kernel = sizes(who, "kernel_size", kernel_size, 2)
    step = kernel if stride is None else sizes(who, "stride", stride, 2)
    frame = sizes(who, "padding", padding, 2, 0)
    if any(2 * n > k for n, k in zip(frame, kernel, strict=True)):
        raise ValueError(sentence(who, f"padding must be at most half of the kernel_size {kernel}", got=padding))
    return kernel, step, frame, flag(who, "ceil_mode", ceil_mode)


def checked_output_size(who: str, output_size: int | Sequence[int | None] | None) -> tuple[int | None, ...]:
    """The size of the output along both axes, ``None`` for one that stays."""
    pair = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
    if len(pair) != 2:
        raise ValueError(sentence(who, "output_size must be an integer or None, or two of them", got=output_size))
    check = or_none(lambda who, name, value: integer(who, name, value, 1))
    return tuple(check(who, "output_size", size) for size in pair)


def max_pooled(
    who: str, input: TensorLike, kernel: Pair, stride: Pair, padding: Pair, dilation: Pair, ceil_mode: bool
) -> Tensor:
    """The largest values, of arguments that are checked."""
    x, single = batched(who, input, None, 2)
    window = _window(who, x.shape, kernel, stride, dilation, padding, ceil_mode)
    out = apply(primitives.max_pool, x, window=window)
    return out.squeeze(0) if single else out


def avg_pooled(
    who: str,
    input: TensorLike,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
    ceil_mode: bool,
    count_include_pad: bool,
    divisor_override: int | None,
) -> Tensor:
    """The means, of arguments that are checked."""
    x, single = batched(who, input, None, 2)
    window, wide = _window(who, x.shape, kernel, stride, (1, 1), padding, ceil_mode), widened(x)
    divisor = np.array(divisor_override)
    if divisor_override is None:
        divisor = _counts(window, x.shape[2:], padding, count_include_pad)
    out = rounded(apply(primitives.average_pool, wide, divisor.astype(wide.dtype), window=window), x)
    return out.squeeze(0) if single else out


def adaptively_pooled(who: str, input: TensorLike, output_size: tuple[int | None, ...]) -> Tensor:
    """The means for an output of this size, which is checked."""
    whole, single = batched(who, input, None, 2)
    if 0 in whole.shape[2:]:
        raise ValueError(sentence(who, "there is no mean of an axis without elements", got=whole.shape))
    out = widened(whole)
    for axis, target in zip((2, 3), output_size, strict=True):
        if target is not None and target != out.shape[axis]:
            out = mixed(out, axis, _shares(out.shape[axis], target))
    out = rounded(out, whole)
    return out.squeeze(0) if single else out


def _window(
    who: str, shape: tuple[int, ...], kernel: Pair, stride: Pair, dilation: Pair, padding: Pair, ceil_mode: bool
) -> Window:
    """With ``ceil_mode``, so much more padding at the ends that a last window that starts inside fits."""
    window = Window(kernel, stride, dilation, tuple((n, n) for n in padding))
    if ceil_mode:
        longer: list[tuple[int, int]] = []
        for size, span, step, (before, after) in zip(shape[2:], window.spans, stride, window.padding, strict=True):
            count = -((span - size - before - after) // step) + 1
            if (count - 1) * step >= size + before:  # it would see nothing but padding
                count -= 1
            longer.append((before, max(after, (count - 1) * step + span - size - before)))
        window = window._replace(padding=tuple(longer))
    check_fit(who, window, shape)
    return window


def _counts(window: Window, shape: Pair, padding: Pair, count_include_pad: bool) -> np.ndarray[Any, Any]:
    """How many elements there are in each window."""
    counts: list[np.ndarray[Any, Any]] = []
    places = zip(shape, window.kernel, window.stride, padding, window.positions((1, 1, *shape)), strict=True)
    for size, span, step, pad, count in places:
        starts = np.arange(count) * step - pad
        ends = np.minimum(starts + span, size + pad)  # what ceil_mode adds to the padding never counts
        inside = np.minimum(ends, size) - np.maximum(starts, 0)
        counts.append(ends - starts if count_include_pad else inside)
    return counts[0][:, None] * counts[1]


def _shares(length: int, target: int) -> np.ndarray[Any, Any]:
    """The means of `adaptive_avg_pool2d` as a matrix."""
    outputs, places = np.arange(target)[:, None], np.arange(length)
    inside = (places >= outputs * length // target) & (places < -(-(outputs + 1) * length // target))
    return inside / inside.sum(axis=1, keepdims=True)
