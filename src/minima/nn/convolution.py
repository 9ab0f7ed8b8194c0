"""Convolutions: Conv1d, Conv2d, and ConvTranspose2d, which goes the other way."""

import math
from typing import Any, Literal

from minima import init
from minima.autograd import Tensor
from minima.autograd.tensor import TensorLike
from minima.checks import integer, one_of
from minima.errors import sentence
from minima.nn.functional.convolutions import checked_output_padding, checked_padding, conv_transposed, convolved
from minima.nn.functional.padding import MODES
from minima.nn.functional.windows import Sizes, sizes
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["Conv1d", "Conv2d", "ConvTranspose2d"]

PaddingMode = Literal["zeros", "reflect", "replicate", "circular"]


class _Convolution(Module):
    """What the three share: the parameters and how they start."""

    _axes: int

    def __init__(
        self, channels: tuple[int, int], kernel_size: Sizes, groups: int, bias: bool, dtype: Any, transposed: bool
    ) -> None:
        who = type(self).__name__
        self.in_channels = integer(who, "in_channels", channels[0], 1)
        self.out_channels = integer(who, "out_channels", channels[1], 1)
        self.kernel_size = sizes(who, "kernel_size", kernel_size, self._axes)
        self.groups = integer(who, "groups", groups, 1)
        if self.in_channels % self.groups or self.out_channels % self.groups:
            rule = f"groups must divide in_channels {self.in_channels} and out_channels {self.out_channels}"
            raise ValueError(sentence(who, rule, got=groups))
        outer, inner = channels[::-1] if not transposed else channels
        shape = outer, inner // self.groups, *self.kernel_size
        bound = 1 / math.sqrt(math.prod(shape[1:]))
        self.weight = Parameter(init.kaiming_uniform(shape, a=math.sqrt(5), dtype=dtype))
        self.bias = Parameter(init.uniform(self.out_channels, low=-bound, high=bound, dtype=dtype)) if bias else None

    def _told(self, **options: tuple[Any, Any]) -> str:
        """The arguments for ``repr``; ``options`` are pairs of value and default, and told where the two differ."""
        told = [f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"]
        told += [f"{name}={value}" for name, (value, usual) in options.items() if value != usual]
        return ", ".join(told)


class _Conv(_Convolution):
    """A convolution over any number of axes."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes | Literal["valid", "same"] = 0,
        dilation: Sizes = 1,
        groups: int = 1,
        bias: bool = True,
        padding_mode: PaddingMode = "zeros",
        dtype: Any = "float32",
    ) -> None:
        who, axes = type(self).__name__, self._axes
        super().__init__((in_channels, out_channels), kernel_size, groups, bias, dtype, transposed=False)
        self.stride = sizes(who, "stride", stride, axes)
        self.dilation = sizes(who, "dilation", dilation, axes)
        self.padding = checked_padding(who, padding, stride, axes)
        self.padding_mode: PaddingMode = one_of(who, "padding_mode", padding_mode, ("zeros", *MODES))

    def forward(self, x: TensorLike) -> Tensor:
        """Convolve."""
        geometry = self.stride, self.padding, self.dilation, self.groups
        return convolved(type(self).__name__, x, self.weight, self.bias, *geometry, self.padding_mode)

    def extra_repr(self) -> str:
        """The arguments."""
        one = (1,) * self._axes
        return self._told(
            stride=(self.stride, None),
            padding=(self.padding, (0,) * self._axes),
            dilation=(self.dilation, one),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
            padding_mode=(self.padding_mode, "zeros"),
        )


class Conv1d(_Conv):
    """A convolution along one axis: each output depends on a window of the input, with shared weights.

        y[n, o, i] = bias[o] + sum over c, k of weight[o, c, k] * x[n, c, stride * i + dilation * k - padding]

    Arguments, attributes, errors and initialisation are those of `Conv2d`, with one axis instead of two.

    Shapes: ``(N, in_channels, L)`` to ``(N, out_channels, L')``, or both without ``N``, with
    ``L' = floor((L + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1``.

    >>> from minima import init, nn
    >>> nn.Conv1d(16, 33, 3, stride=2)(init.zeros(20, 16, 50)).shape
    (20, 33, 24)
    """

    _axes = 1


class Conv2d(_Conv):
    """A convolution over two axes: each output depends on a window of the image, with shared weights.

        y[n, o, i, j] = bias[o] + sum over c, k, l of
                        weight[o, c, k, l] * x[n, c, stride * i + dilation * k - padding, ...the same of j and l]

    Args:
        in_channels: The number of channels of the input.
        out_channels: The number of channels of the output.
        kernel_size: The size of the window; this and the next three are integers for both axes, or pairs (H, W).
        stride: How far the window moves from one output to the next.
        padding: Number of zeros on each side of the input; ``"valid"`` means none, ``"same"`` as many as keep the size.
        dilation: How far the elements of the window are apart. groups: Into how many parts the channels fall; an output
            sees the channels of its own part only. bias: Whether there is a bias.
        padding_mode: Values of the padding: ``"zeros"``; ``"reflect"``, the input mirrored at its edge;
            ``"replicate"``, the edge itself; or ``"circular"``, the opposite side.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of shape (out_channels, in_channels / groups, *kernel_size).
        bias: Of shape (out_channels,), or ``None``.

    Shapes: ``(N, in_channels, H, W)`` to ``(N, out_channels, H', W')``, or both without ``N``, with
    ``H' = floor((H + 2 * padding - dilation * (kernel_size - 1) - 1) / stride) + 1``.

    Both are initialised from U(-bound, bound) with ``bound = 1 / sqrt(in_channels / groups * prod(kernel_size))``, as
    in PyTorch.

    Raises:
        TypeError: A number is not an integer, or ``dtype`` is not floating.
        ValueError: An argument is out of range, ``groups`` does not divide the channels, or an input has another
            number of axes or channels, or is smaller than the window.

    As usual in deep learning, the kernel is not flipped: LeCun et al., "Gradient-based learning applied to document
    recognition" (1998).

    >>> from minima import init, nn
    >>> nn.Conv2d(3, 8, 5, stride=2, padding=2)(init.zeros(4, 3, 28, 28)).shape
    (4, 8, 14, 14)
    """

    _axes = 2


class ConvTranspose2d(_Convolution):
    """The derivative of a `Conv2d` with respect to its input: each input contributes to a window of the output.

    Args:
        in_channels: The number of channels of the input.
        out_channels: The number of channels of the output.
        kernel_size: The size of the window; this, ``stride``, ``padding``, ``output_padding`` and ``dilation`` an
            integer for both axes, or a pair (H, W).
        stride: How far the windows of neighbouring inputs are apart.
        padding: Number of elements removed from each side of the output.
        output_padding: Number of these elements to keep at the end of each axis, below ``stride`` or ``dilation``. A
            `Conv2d` maps several input sizes to the same output size; this selects one of them.
        groups: Into how many parts the channels fall; an input is spread over the channels of its own part only.
        bias: Whether there is a bias.
        dilation: How far the elements of the window are apart.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of shape (in_channels, out_channels / groups, *kernel_size).
        bias: Of shape (out_channels,), or ``None``.

    Shapes: ``(N, in_channels, H, W)`` to ``(N, out_channels, H', W')``, or both without ``N``, with
    ``H' = (H - 1) * stride - 2 * padding + dilation * (kernel_size - 1) + output_padding + 1``.

    Both are initialised from U(-bound, bound) with ``bound = 1 / sqrt(out_channels / groups * prod(kernel_size))``, as
    in PyTorch.

    Raises:
        TypeError: A number is not an integer, or ``dtype`` is not floating.
        ValueError: An argument is out of range, ``groups`` does not divide the channels, an input has another number of
            axes or channels, or the output would be empty.

    Zeiler et al., "Deconvolutional networks" (2010).

    >>> from minima import init, nn
    >>> nn.ConvTranspose2d(8, 3, 4, stride=2, padding=1)(init.zeros(4, 8, 14, 14)).shape
    (4, 3, 28, 28)
    """

    _axes = 2

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: Sizes,
        stride: Sizes = 1,
        padding: Sizes = 0,
        output_padding: Sizes = 0,
        groups: int = 1,
        bias: bool = True,
        dilation: Sizes = 1,
        dtype: Any = "float32",
    ) -> None:
        who, axes = "ConvTranspose2d", self._axes
        super().__init__((in_channels, out_channels), kernel_size, groups, bias, dtype, transposed=True)
        self.stride = sizes(who, "stride", stride, axes)
        self.padding = sizes(who, "padding", padding, axes, 0)
        self.output_padding = checked_output_padding(who, output_padding, stride, dilation)
        self.dilation = sizes(who, "dilation", dilation, axes)

    def forward(self, x: TensorLike) -> Tensor:
        """Apply the transposed convolution."""
        geometry = self.stride, self.padding, self.output_padding, self.groups, self.dilation
        return conv_transposed("ConvTranspose2d", x, self.weight, self.bias, *geometry)

    def extra_repr(self) -> str:
        """The arguments."""
        zero, one = (0,) * self._axes, (1,) * self._axes
        return self._told(
            stride=(self.stride, None),
            padding=(self.padding, zero),
            dilation=(self.dilation, one),
            output_padding=(self.output_padding, zero),
            groups=(self.groups, 1),
            bias=(self.bias is not None, True),
        )
