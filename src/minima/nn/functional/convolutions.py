"""Convolutions with given weights: conv1d, conv2d, and conv_transpose2d, which goes the other way."""

from typing import Literal

from minima.autograd import Tensor
from minima.autograd.operations import windows as primitives
from minima.autograd.operations.windows import Window
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, one_of
from minima.errors import sentence
from minima.nn.functional.padding import framed
from minima.nn.functional.windows import AXES, Sizes, batched, check_fit, sizes

__all__ = [
    "checked_output_padding",
    "checked_padding",
    "conv1d",
    "conv2d",
    "conv_transpose2d",
    "conv_transposed",
    "convolved",
]

Padding = Sizes | Literal["valid", "same"]


def conv1d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """What `minima.nn.Conv1d` computes: its equation, its arguments, shapes and errors are those of the layer.

    Args:
        input: Shape (N, C, L) or (C, L).
        weight: Shape (O, C / groups, kernel_size).
        bias: Shape (O,).
        stride: How far the window moves.
        padding: How many zeros frame the input, or ``"valid"`` or ``"same"``.
        dilation: How far the elements of the window are apart.
        groups: Into how many parts the channels fall.

    >>> conv1d(Tensor([[1.0, 2.0, 4.0]]), Tensor([[[-1.0, 1.0]]])).tolist()
    [[1.0, 2.0]]
    """
    return _convolution("conv1d", 1, input, weight, bias, stride, padding, dilation, groups)


def conv2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Padding = 0,
    dilation: Sizes = 1,
    groups: int = 1,
) -> Tensor:
    """What `minima.nn.Conv2d` computes: its equation, its arguments, shapes and errors are those of the layer.

    Args:
        input: Shape (N, C, H, W) or (C, H, W).
        weight: Shape (O, C / groups, *kernel_size).
        bias: Shape (O,).
        stride: How far the window moves; this, ``padding`` and ``dilation`` an integer for both axes, or a pair (H, W).
        padding: How many zeros frame the input, or ``"valid"`` or ``"same"``.
        dilation: How far the elements of the window are apart.
        groups: Into how many parts the channels fall.

    >>> conv2d([[[1.0, 2.0], [3.0, 5.0]]], [[[[1.0, 0.0], [0.0, 1.0]]]], padding="same").tolist()
    [[[6.0, 2.0], [3.0, 5.0]]]
    """
    return _convolution("conv2d", 2, input, weight, bias, stride, padding, dilation, groups)


def conv_transpose2d(
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None = None,
    stride: Sizes = 1,
    padding: Sizes = 0,
    output_padding: Sizes = 0,
    groups: int = 1,
    dilation: Sizes = 1,
) -> Tensor:
    """What `minima.nn.ConvTranspose2d` computes: its arguments, shapes and errors are those of the layer.

    Args:
        input: Shape (N, C, H, W) or (C, H, W).
        weight: Shape (C, O / groups, *kernel_size).
        bias: Shape (O,).
        stride: How far the windows of neighbouring inputs are apart; this and the other sizes an integer for both axes,
            or a pair (H, W).
        padding: How much is cut off from each side of the output.
        output_padding: How much of that is kept at the end of each axis.
        groups: Into how many parts the channels fall.
        dilation: How far the elements of the window are apart.

    >>> conv_transpose2d([[[1.0, 2.0]]], [[[[1.0, 10.0]]]]).tolist()
    [[[1.0, 12.0, 20.0]]]
    """
    who = "conv_transpose2d"
    weight, bias, groups = _parameters(who, 2, weight, bias, groups, transposed=True)
    return conv_transposed(
        who,
        input,
        weight,
        bias,
        sizes(who, "stride", stride, 2),
        sizes(who, "padding", padding, 2, 0),
        checked_output_padding(who, output_padding, stride, dilation),
        groups,
        sizes(who, "dilation", dilation, 2),
    )


def _convolution(
    who: str,
    axes: int,
    input: TensorLike,
    weight: TensorLike,
    bias: TensorLike | None,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Tensor:
    weight, bias, groups = _parameters(who, axes, weight, bias, groups, transposed=False)
    step, apart = sizes(who, "stride", stride, axes), sizes(who, "dilation", dilation, axes)
    frame = checked_padding(who, padding, stride, axes)
    return convolved(who, input, weight, bias, step, frame, apart, groups)


def convolved(
    who: str,
    input: TensorLike,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...] | str,
    dilation: tuple[int, ...],
    groups: int,
    mode: str = "zeros",
) -> Tensor:
    """The convolution, of arguments that are checked; in the other modes the frame is of the input's own elements."""
    x, single = batched(who, input, weight.shape[1] * groups, len(stride))
    bare = ((0, 0),) * len(stride)
    window = Window(weight.shape[2:], stride, dilation, bare)
    if padding == "same":
        window = window._replace(padding=tuple(((span - 1) // 2, span // 2) for span in window.spans))
    elif not isinstance(padding, str):
        window = window._replace(padding=tuple((width, width) for width in padding))
    check_fit(who, window, x.shape)
    if mode != "zeros":
        x, window = framed(who, x, dict(enumerate(window.padding, start=2)), mode), window._replace(padding=bare)
    operands = (x, weight) if bias is None else (x, weight, bias)
    out = apply(primitives.convolution, *operands, window=window, groups=groups)
    return out.squeeze(0) if single else out


def conv_transposed(
    who: str,
    input: TensorLike,
    weight: Tensor,
    bias: Tensor | None,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    output_padding: tuple[int, ...],
    groups: int,
    dilation: tuple[int, ...],
) -> Tensor:
    """The transposed convolution, of arguments that are checked."""
    x, single = batched(who, input, weight.shape[0], len(stride))
    frame = tuple((cut, cut - extra) for cut, extra in zip(padding, output_padding, strict=True))
    window = Window(weight.shape[2:], stride, dilation, frame)
    if min(window.covered(x.shape[2:])) < 1 or min(x.shape[2:]) < 1:
        rule = f"the input is so small that padding {padding} cuts off all of the output"
        raise ValueError(sentence(who, rule, got=x.shape))
    operands = (x, weight) if bias is None else (x, weight, bias)
    out = apply(primitives.transposed_convolution, *operands, window=window, groups=groups)
    return out.squeeze(0) if single else out


def checked_padding(who: str, padding: Padding, stride: Sizes, axes: int) -> tuple[int, ...] | str:
    """The padding for each axis, or its name; ``"same"`` goes with a stride of 1."""
    if not isinstance(padding, str):
        return sizes(who, "padding", padding, axes, 0)
    one_of(who, "padding", padding, ("valid", "same"))
    if padding == "same" and any(step != 1 for step in sizes(who, "stride", stride, axes)):
        raise ValueError(sentence(who, "padding='same' needs a stride of 1", got=stride))
    return padding


def checked_output_padding(who: str, output_padding: Sizes, stride: Sizes, dilation: Sizes) -> tuple[int, ...]:
    """The output padding for both axes; with more, another size of the input would do."""
    extras = sizes(who, "output_padding", output_padding, 2, 0)
    limits = tuple(map(max, sizes(who, "stride", stride, 2), sizes(who, "dilation", dilation, 2)))
    if any(extra >= limit for extra, limit in zip(extras, limits, strict=True)):
        rule = f"output_padding must be below the larger of stride and dilation, {limits}"
        raise ValueError(sentence(who, rule, got=output_padding))
    return extras


def _parameters(
    who: str, axes: int, weight: TensorLike, bias: TensorLike | None, groups: int, transposed: bool
) -> tuple[Tensor, Tensor | None, int]:
    """The parameters as tensors whose shapes fit each other, and the number of groups."""
    weight, groups = as_tensor(weight), integer(who, "groups", groups, 1)
    if weight.dtype.kind != "f":
        raise TypeError(sentence(who, "weight must be floating", got=str(weight.dtype)))
    if weight.ndim != axes + 2 or 0 in weight.shape:
        shape = "C, O / groups" if transposed else "O, C / groups"
        rule = f"weight must have the shape ({shape}, {', '.join(AXES[axes - 1])}), each at least 1"
        raise ValueError(sentence(who, rule, got=weight.shape))
    if weight.shape[0] % groups:
        rule = f"groups must divide the first axis of the weight, {weight.shape[0]}"
        raise ValueError(sentence(who, rule, got=groups))
    outer = weight.shape[1] * groups if transposed else weight.shape[0]
    bias = None if bias is None else as_tensor(bias)
    if bias is not None and bias.shape != (outer,):
        raise ValueError(sentence(who, f"bias must have the shape ({outer},)", got=bias.shape))
    return weight, bias, groups
