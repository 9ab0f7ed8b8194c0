"""Pooling and resampling: MaxPool2d, AvgPool2d, AdaptiveAvgPool2d, Upsample."""

from collections.abc import Sequence

from minima.autograd import Tensor
from minima.autograd.tensor import TensorLike
from minima.checks import flag, integer
from minima.nn.functional.pooling import adaptively_pooled, avg_pooled, checked_output_size, checked_pooling, max_pooled
from minima.nn.functional.resampling import Mode, check_resampling, resampled
from minima.nn.functional.windows import Sizes, sizes
from minima.nn.module import Module

__all__ = ["AdaptiveAvgPool2d", "AvgPool2d", "MaxPool2d", "Upsample"]


class _Pool(Module):
    """What the two share: a window that moves."""

    def __init__(self, kernel_size: Sizes, stride: Sizes | None, padding: Sizes, ceil_mode: bool) -> None:
        arguments = checked_pooling(type(self).__name__, kernel_size, stride, padding, ceil_mode)
        self.kernel_size, self.stride, self.padding, self.ceil_mode = arguments


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
        window = self.kernel_size, self.stride, self.padding, self.dilation
        return max_pooled("MaxPool2d", x, *window, self.ceil_mode)

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
        window = self.kernel_size, self.stride, self.padding, self.ceil_mode
        return avg_pooled("AvgPool2d", x, *window, self.count_include_pad, self.divisor_override)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


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
        self.output_size = checked_output_size("AdaptiveAvgPool2d", output_size)

    def forward(self, x: TensorLike) -> Tensor:
        """Pool."""
        return adaptively_pooled("AdaptiveAvgPool2d", x, self.output_size)

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

    def __init__(
        self,
        size: Sizes | None = None,
        scale_factor: float | Sequence[float] | None = None,
        mode: Mode = "nearest",
        align_corners: bool | None = None,
    ) -> None:
        check_resampling("Upsample", size, scale_factor, mode, align_corners)
        self.size = size
        self.scale_factor = scale_factor
        self.mode = mode
        self.align_corners = align_corners

    def forward(self, x: TensorLike) -> Tensor:
        """Resample."""
        return resampled("Upsample", x, self.size, self.scale_factor, self.mode, bool(self.align_corners))

    def extra_repr(self) -> str:
        """The arguments."""
        given = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{given}, mode={self.mode!r}"
