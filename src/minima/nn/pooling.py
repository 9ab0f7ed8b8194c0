"""Pooling and resampling: MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Upsample."""

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from minima.autograd import Tensor, matmul
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations import windows as primitives
from minima.autograd.tensor import TensorLike, apply
from minima.checks import flag, integer, number, one_of, or_none
from minima.errors import sentence
from minima.nn.module import Module
from minima.nn.windows import batched, positions, sizes

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d", "Upsample"]

Sizes = int | Sequence[int]


class _Pool(Module):
    """What the two share: a window that moves."""

    def __init__(self, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool) -> None:
        who = type(self).__name__
        self.kernel_size = sizes(who, "kernel_size", kernel_size, 2)
        self.stride = self.kernel_size if stride is None else sizes(who, "stride", stride, 2)
        self.padding = sizes(who, "padding", padding, 2, 0)
        if any(2 * n > k for n, k in zip(self.padding, self.kernel_size, strict=True)):
            rule = f"padding must be at most half of the kernel_size {self.kernel_size}"
            raise ValueError(sentence(who, rule, got=padding))
        self.ceil_mode = flag(who, "ceil_mode", ceil_mode)

    def _frame(self, shape: tuple[int, ...], spans: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """The padding: with ``ceil_mode`` so much more at the ends that a last window that starts inside fits."""
        frame = tuple((n, n) for n in self.padding)
        if not self.ceil_mode:
            positions(type(self).__name__, shape, spans, self.stride, frame)
            return frame
        longer: list[tuple[int, int]] = []
        for size, span, step, (before, after) in zip(shape, spans, self.stride, frame, strict=True):
            count = -((span - size - before - after) // step) + 1
            if (count - 1) * step >= size + before:  # it would see nothing but padding
                count -= 1
            longer.append((before, max(after, (count - 1) * step + span - size - before)))
        positions(type(self).__name__, shape, spans, self.stride, longer)
        return tuple(longer)


class MaxPool2d(_Pool):
    """The maximum of every window.

        y[n, c, i, j] = max over k, l of x[n, c, stride * i + dilation * k - padding, ...the same of j and l]

    Args:
        kernel_size: The size of the window; this and the next three an integer for both axes, or a pair (H, W).
        stride: How far the window moves, ``kernel_size`` if it is ``None``.
        padding: Number of elements of minus infinity on each side of the input, at most half of the window.
        dilation: How far the elements of the window are apart.
        ceil_mode: Whether a last window that starts inside the input, or in its padding before it, but ends outside
            counts too.

    Shapes: ``(N, C, H, W)`` to ``(N, C, H', W')``, or both without ``N``, with
    ``H' = floor((H + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or an input has another number of axes or is smaller than the window.

    As in PyTorch, the first of several largest values gets the gradient.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.MaxPool2d(2)(Tensor([[[1.0, 2.0, 0.0, 1.0], [5.0, 4.0, 3.0, 2.0]]])).tolist()
    [[[5.0, 3.0]]]
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        dilation: Sizes = 1,
        ceil_mode: bool = False,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.dilation = sizes("MaxPool2d", "dilation", dilation, 2)

    def forward(self, x: TensorLike) -> Tensor:
        """Pool."""
        x, single = batched("MaxPool2d", x, None, 2)
        frame = self._frame(x.shape[2:], primitives.reach(self.kernel_size, self.dilation))
        window = {"kernel": self.kernel_size, "stride": self.stride, "dilation": self.dilation}
        out = apply(primitives.max_pool, x, padding=frame, **window)
        return out.squeeze(0) if single else out

    def extra_repr(self) -> str:
        """The arguments."""
        return (
            f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}, "
            f"dilation={self.dilation}, ceil_mode={self.ceil_mode}"
        )


class AvgPool2d(_Pool):
    """The mean of every window.

    Args:
        kernel_size: The size of the window; this and the next two an integer for both axes, or a pair (H, W).
        stride: How far the window moves, ``kernel_size`` if it is ``None``.
        padding: How many zeros frame the input, at most half of the window.
        ceil_mode: Whether a last window that starts inside the input, or in its padding before it, but ends outside
            counts too.
        count_include_pad: Whether the mean includes the zeros of the padding.
        divisor_override: Divisor of the sum of a window, in place of the number of its elements.

    Shapes: ``(N, C, H, W)`` to ``(N, C, H', W')``, or both without ``N``, with
    ``H' = floor((H + 2 * padding - kernel_size) / stride) + 1``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or an input has another number of axes or is smaller than the window.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.AvgPool2d(2)(Tensor([[[1.0, 2.0, 0.0, 1.0], [5.0, 4.0, 3.0, 2.0]]])).tolist()
    [[[3.0, 1.5]]]
    """

    def __init__(
        self,
        kernel_size: Sizes,
        stride: Sizes | None = None,
        padding: Sizes = 0,
        ceil_mode: bool = False,
        count_include_pad: bool = True,
        divisor_override: int | None = None,
    ) -> None:
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = flag("AvgPool2d", "count_include_pad", count_include_pad)
        self.divisor_override = None
        if divisor_override is not None:
            self.divisor_override = integer("AvgPool2d", "divisor_override", divisor_override, 1)

    def forward(self, x: TensorLike) -> Tensor:
        """Pool."""
        x, single = batched("AvgPool2d", x, None, 2)
        frame = self._frame(x.shape[2:], self.kernel_size)
        wide = widened(x)
        divisor = self._divisor(x.shape[2:], frame).astype(wide.dtype)
        window = {"kernel": self.kernel_size, "stride": self.stride, "padding": frame}
        out = rounded(apply(primitives.average_pool, wide, divisor, **window), x)
        return out.squeeze(0) if single else out

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"

    def _divisor(self, shape: tuple[int, ...], frame: tuple[tuple[int, int], ...]) -> np.ndarray[Any, Any]:
        """What the sum of each window is divided by."""
        if self.divisor_override is not None:
            return np.array(self.divisor_override)
        counts: list[np.ndarray[Any, Any]] = []
        for size, span, step, pad, pair in zip(shape, self.kernel_size, self.stride, self.padding, frame, strict=True):
            starts = np.arange((size + sum(pair) - span) // step + 1) * step - pad
            ends = np.minimum(starts + span, size + pad)  # what ceil_mode adds to the padding never counts
            inside = np.minimum(ends, size) - np.maximum(starts, 0)
            counts.append(ends - starts if self.count_include_pad else inside)
        return counts[0][:, None] * counts[1]


class AdaptiveAvgPool2d(Module):
    """The means of windows whose size is chosen so that the output has a given size, for inputs of any size.

    Along an axis of ``n`` elements, output ``i`` of ``m`` is the mean of those from ``floor(i * n / m)`` up to, not
    including, ``ceil((i + 1) * n / m)``.

    Args:
        output_size: The size of the output: an integer for both axes, or a pair (H, W); ``None`` keeps an axis.

    Shapes: ``(N, C, H, W)`` to ``(N, C, *output_size)``, or both without ``N``.

    Raises:
        TypeError: A size is not an integer.
        ValueError: A size is not positive, or an input has another number of axes or an empty one.

    >>> from minima import init, nn
    >>> nn.AdaptiveAvgPool2d(1)(init.ones(4, 8, 7, 5)).shape
    (4, 8, 1, 1)
    """

    def __init__(self, output_size: int | Sequence[int | None] | None) -> None:
        pair = output_size if isinstance(output_size, Sequence) else (output_size, output_size)
        if len(pair) != 2:
            rule = "output_size must be an integer or None, or two of them"
            raise ValueError(sentence("AdaptiveAvgPool2d", rule, got=output_size))
        check = or_none(lambda who, name, value: integer(who, name, value, 1))
        self.output_size = tuple(check("AdaptiveAvgPool2d", "output_size", size) for size in pair)

    def forward(self, x: TensorLike) -> Tensor:
        """Pool."""
        whole, single = batched("AdaptiveAvgPool2d", x, None, 2)
        if 0 in whole.shape[2:]:
            rule = "there is no mean of an axis without elements"
            raise ValueError(sentence("AdaptiveAvgPool2d", rule, got=whole.shape))
        out = widened(whole)
        for axis, target in zip((2, 3), self.output_size, strict=True):
            if target is not None and target != out.shape[axis]:
                out = _mixed(out, axis, _shares(out.shape[axis], target))
        out = rounded(out, whole)
        return out.squeeze(0) if single else out

    def extra_repr(self) -> str:
        """The argument."""
        return f"output_size={self.output_size}"


class Upsample(Module):
    """Resizes images (or signals, or volumes) by a factor or to a size.

    Args:
        size: The size of the output: an integer for all axes, or one for each. Give either this or ``scale_factor``.
        scale_factor: Factor of the sizes, a positive number for all axes or one for each; sizes are rounded down.
        mode: ``"nearest"`` takes the nearest element before the position; ``"linear"``, ``"bilinear"`` and
            ``"trilinear"`` interpolate along one, two and three axes.
        align_corners: Whether to align the centres of the corner elements of input and output instead of their outer
            edges; for the modes that interpolate.

    Shapes: ``(N, C, L)``, ``(N, C, H, W)`` or ``(N, C, D, H, W)`` to the same with other sizes.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: Both or none of ``size`` and ``scale_factor`` are given, an argument is out of range, or the input
            has a number of axes that does not fit the mode and the sizes, or an empty axis.

    The same as in PyTorch, without ``"bicubic"`` and ``recompute_scale_factor``.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Upsample(scale_factor=2)(Tensor([[[1.0, 2.0]]])).tolist()
    [[[1.0, 1.0, 2.0, 2.0]]]
    """

    _MODES = {"nearest": (1, 2, 3), "linear": (1,), "bilinear": (2,), "trilinear": (3,)}

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: Literal["nearest", "linear", "bilinear", "trilinear"] = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        who = "Upsample"
        if (size is None) == (scale_factor is None):
            raise ValueError(sentence(who, "takes either size or scale_factor", got=(size, scale_factor)))
        listed = isinstance(size, Sequence), isinstance(scale_factor, Sequence)
        self.size = None if size is None else sizes(who, "size", size, len(size) if isinstance(size, Sequence) else 3)
        self.scale_factor = None
        if scale_factor is not None:
            each = scale_factor if isinstance(scale_factor, Sequence) else [scale_factor] * 3
            self.scale_factor = tuple(number(who, "scale_factor", factor) for factor in each)
            if 0 in self.scale_factor:
                raise ValueError(sentence(who, "scale_factor must be positive", got=scale_factor))
        self._given = size if scale_factor is None else scale_factor
        self._listed = any(listed)
        self.mode = one_of(who, "mode", mode, tuple(self._MODES))
        self.align_corners = None if align_corners is None else flag(who, "align_corners", align_corners)
        if mode == "nearest" and align_corners is not None:
            rule = "align_corners is for the modes that interpolate"
            raise ValueError(sentence(who, rule, got=align_corners, hint="leave it out"))

    def forward(self, x: TensorLike) -> Tensor:
        """Resample."""
        given = floating(x)
        axes = len(given.shape) - 2
        if axes not in self._MODES[self.mode]:
            allowed = " or ".join(str(count + 2) for count in self._MODES[self.mode])
            rule = f"mode {self.mode!r} takes inputs (N, C, ...) of {allowed} axes"
            raise ValueError(sentence("Upsample", rule, got=given.shape))
        targets: tuple[float, ...] | None = self.size or self.scale_factor
        assert targets is not None
        if 0 in given.shape[2:] or (self._listed and len(targets) != axes):
            rule = f"{self.extra_repr()} wants an input (N, C, ...) with {axes} sizes that are not 0"
            raise ValueError(sentence("Upsample", rule, got=given.shape))
        out = widened(given)
        for axis, wanted in enumerate(targets[:axes], start=2):
            length = out.shape[axis]
            target = int(wanted) if self.size else math.floor(length * wanted)
            if target < 1:
                raise ValueError(sentence("Upsample", f"nothing is left of axis {axis}", got=given.shape))
            ratio = length / target if self.size else 1 / wanted
            if self.mode != "nearest":
                out = _mixed(out, axis, _interpolation(length, target, ratio, bool(self.align_corners)))
            elif target % length == 0 and ratio == length / target:  # whole repeats: a view
                spread = out.unsqueeze(axis + 1).expand(
                    *(*[-1] * (axis + 1), target // length, *[-1] * (axes + 1 - axis))
                )
                out = spread.reshape(*out.shape[:axis], target, *out.shape[axis + 1 :])
            else:
                places = (np.arange(target, dtype=np.float32) * np.float32(ratio)).astype(int).clip(max=length - 1)
                out = out[(slice(None),) * axis + (places,)]
        return rounded(out, given)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{'size' if self.size else 'scale_factor'}={self._given}, mode={self.mode!r}"


def _mixed(x: Tensor, axis: int, matrix: np.ndarray[Any, Any]) -> Tensor:
    """A matrix (outputs, inputs) applied along an axis."""
    weights = Tensor.from_numpy(matrix.astype(x.dtype))
    last = len(x.shape) - 1
    if axis == last:
        return matmul(x, weights.T)
    moved = x.swapaxes(axis, last - 1)
    return matmul(weights, moved).swapaxes(axis, last - 1)


def _shares(length: int, target: int) -> np.ndarray[Any, Any]:
    """The means of `AdaptiveAvgPool2d` as a matrix."""
    outputs, places = np.arange(target)[:, None], np.arange(length)
    inside = (places >= outputs * length // target) & (places < -(-(outputs + 1) * length // target))
    return inside / inside.sum(axis=1, keepdims=True)


def _interpolation(length: int, target: int, ratio: float, corners: bool) -> np.ndarray[Any, Any]:
    """Linear interpolation as a matrix."""
    places = np.arange(target)
    if corners:
        at = places * ((length - 1) / (target - 1) if target > 1 else 0.0)
    else:
        at = np.maximum((places + 0.5) * ratio - 0.5, 0)
    low = np.minimum(at.astype(int), length - 1)
    high = np.minimum(low + 1, length - 1)
    matrix = np.zeros((target, length))
    np.add.at(matrix, (places, low), 1 - (at - low))
    np.add.at(matrix, (places, high), at - low)
    return matrix
