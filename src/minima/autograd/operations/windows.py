"""Primitives that look through a window: convolutions and poolings over the last axes, of any number.

All inputs are (N, C, *sizes). A window of ``kernel`` elements an axis, ``dilation`` apart, moves by ``stride``. Padding
is a pair (before, after) for each axis.

A convolution is one matrix product for all windows of all samples: the windows are copied out of a strided view as the
columns of a matrix (im2col). Columns stand with the channels first and the samples beside the positions, so that
neither the result nor its gradient has to be copied into another order.
"""

from collections.abc import Callable
from functools import reduce
from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["average_pool", "convolution", "max_pool", "transposed_convolution"]

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


def reach(kernel: Sizes, dilation: Sizes) -> Sizes:
    """How many elements a window spans along each axis."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def padded(xp: Namespace, x: Array, padding: Padding, value: float = 0.0) -> Array:
    """``x`` in a frame of ``value``; a width below zero cuts off."""
    if any(before < 0 or after < 0 for before, after in padding):
        cuts = ((max(-before, 0), max(-after, 0)) for before, after in padding)
        kept = (slice(before, size - after) for (before, after), size in zip(cuts, x.shape[2:], strict=True))
        x = x[(slice(None), slice(None), *kept)]
    if any(before > 0 or after > 0 for before, after in padding):
        frame = ((max(before, 0), max(after, 0)) for before, after in padding)
        x = xp.pad(x, ((0, 0), (0, 0), *frame), constant_values=value)
    return x


def unpadded(xp: Namespace, x: Array, padding: Padding) -> Array:
    """The reverse: without the frame, and with zeros where something was cut off."""
    return padded(xp, x, tuple((-before, -after) for before, after in padding))


def windows(xp: Namespace, x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """Every window of ``x``, of shape (N, C, *kernel, *positions); in NumPy a view."""
    spans = zip(x.shape[2:], reach(kernel, dilation), stride, strict=True)
    positions = tuple((size - span) // step + 1 for size, span, step in spans)
    if xp is np:
        strides = x.strides[2:]
        taps = tuple(s * d for s, d in zip(strides, dilation, strict=True))
        steps = tuple(s * step for s, step in zip(strides, stride, strict=True))
        shape = (*x.shape[:2], *kernel, *positions)
        return as_strided(x, shape, (*x.strides[:2], *taps, *steps), writeable=False)
    axes = len(kernel)
    for i, (k, d, step, count) in enumerate(zip(kernel, dilation, stride, positions, strict=True)):
        x = xp.take(x, _places(k, d, count, step), axis=2 + 2 * i)
    order = (0, 1, *range(2, 2 + 2 * axes, 2), *range(3, 2 + 2 * axes, 2))
    return xp.transpose(x, order)


def _places(kernel: int, dilation: int, count: int, step: int) -> Array:
    """Where the elements of each window stand along an axis, of shape (kernel, count)."""
    return np.add.outer(np.arange(kernel) * dilation, np.arange(count) * step)


def overlaid(xp: Namespace, parts: Array, sizes: Sizes, stride: Sizes, dilation: Sizes) -> Array:
    """The reverse of `windows`: (N, C, *kernel, *positions) added up where the windows overlap, to (N, C, *sizes)."""
    axes = len(sizes)
    kernel, positions = parts.shape[2 : 2 + axes], parts.shape[2 + axes :]
    if stride == kernel and all(d == 1 for d in dilation):  # windows beside one another: nothing to add
        order = (0, 1, *(axis for i in range(axes) for axis in (2 + axes + i, 2 + i)))
        covered = tuple(k * n for k, n in zip(kernel, positions, strict=True))
        whole = xp.reshape(xp.transpose(parts, order), (*parts.shape[:2], *covered))
        return padded(xp, whole, tuple((0, size - n) for size, n in zip(sizes, covered, strict=True)))
    out = xp.zeros((*parts.shape[:2], *sizes), parts.dtype)
    for tap in product(*map(range, kernel)):  # over the elements of one window, not over the positions
        starts = [i * d for i, d in zip(tap, dilation, strict=True)]
        ranges = zip(starts, positions, stride, strict=True)
        place = (slice(None), slice(None), *(slice(a, a + n * step, step) for a, n, step in ranges))
        part = parts[(slice(None), slice(None), *tap)]
        if xp is np:
            out[place] += part
        else:
            out = out.at[place].add(part)
    return out


def _columns(xp: Namespace, x: Array, kernel: Sizes, stride: Sizes, dilation: Sizes, groups: int) -> Array:
    """The windows of the padded ``x`` as (groups, C / groups * kernel, N * positions)."""
    axes = len(kernel)
    seen = windows(xp, xp.swapaxes(x, 0, 1), kernel, stride, dilation)
    seen = xp.moveaxis(seen, 1, 1 + axes)
    rows = x.shape[1] // groups * prod(kernel)
    return xp.reshape(seen, (groups, rows, prod(seen.shape[1 + axes :])))


def _flat(xp: Namespace, x: Array, groups: int) -> Array:
    """(N, C, *positions) as (groups, C / groups, N * positions)."""
    across = xp.swapaxes(x, 0, 1)
    return xp.reshape(across, (groups, x.shape[1] // groups, x.shape[0] * prod(x.shape[2:])))


def _correlated(
    xp: Namespace, x: Array, weight: Array, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """The convolution of ``x`` with ``weight`` of shape (O, C / groups, *kernel)."""
    x, kernel = padded(xp, x, padding), weight.shape[2:]
    spans = zip(x.shape[2:], reach(kernel, dilation), stride, strict=True)
    positions = tuple((size - span) // step + 1 for size, span, step in spans)
    columns = _columns(xp, x, kernel, stride, dilation, groups)
    matrix = xp.reshape(weight, (groups, weight.shape[0] // groups, columns.shape[1]))
    out = xp.matmul(matrix, columns) if groups > 1 else xp.matmul(matrix[0], columns[0])
    return xp.swapaxes(xp.reshape(out, (weight.shape[0], x.shape[0], *positions)), 0, 1)


def _spread(
    xp: Namespace,
    g: Array,
    weight: Array,
    sizes: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    """The derivative of the convolution by its input of (*sizes): each element of ``g`` spread by the weight."""
    inner, kernel = weight.shape[1], weight.shape[2:]
    matrix = xp.reshape(weight, (groups, weight.shape[0] // groups, inner * prod(kernel)))
    columns = xp.matmul(xp.swapaxes(matrix, 1, 2), _flat(xp, g, groups))
    parts = xp.reshape(columns, (groups * inner, *kernel, g.shape[0], *g.shape[2:]))
    whole = tuple(size + before + after for size, (before, after) in zip(sizes, padding, strict=True))
    out = overlaid(xp, xp.moveaxis(parts, 1 + len(kernel), 1), whole, stride, dilation)
    return xp.swapaxes(unpadded(xp, out, padding), 0, 1)


def _weighed(
    xp: Namespace, x: Array, g: Array, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """The derivative of the convolution by its weight."""
    columns = _columns(xp, padded(xp, x, padding), kernel, stride, dilation, groups)
    grad = xp.matmul(_flat(xp, g, groups), xp.swapaxes(columns, 1, 2))
    return xp.reshape(grad, (g.shape[1], x.shape[1] // groups, *kernel))


def _shifted(xp: Namespace, out: Array, bias: Array | None) -> Array:
    return out if bias is None else out + xp.reshape(bias, (-1, *[1] * (out.ndim - 2)))


def _total(xp: Namespace, g: Array) -> Array:
    return xp.sum(g, axis=(0, *range(2, g.ndim)))


@primitive
def convolution(
    xp: Namespace,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    return _shifted(xp, _correlated(xp, x, weight, stride, padding, dilation, groups), bias)


@convolution.vjp("x")
def _(
    xp: Namespace,
    g: Array,
    shape: Sizes,
    weight: Array,
    *,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    return _spread(xp, g, weight, shape[2:], stride, padding, dilation, groups)


@convolution.vjp("weight")
def _(
    xp: Namespace, g: Array, shape: Sizes, x: Array, *, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    return _weighed(xp, x, g, shape[2:], stride, padding, dilation, groups)


@convolution.vjp("bias")
def _(xp: Namespace, g: Array, *, stride: Sizes, padding: Padding, dilation: Sizes, groups: int) -> Array:
    return _total(xp, g)


@primitive
def transposed_convolution(
    xp: Namespace,
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    sizes: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    """The derivative of a convolution by its input, as a function: ``weight`` has the shape (C, O / groups, *kernel).

    ``sizes`` and ``padding`` are those of that input, which the windows must cover without a rest.
    """
    return _shifted(xp, _spread(xp, x, weight, sizes, stride, padding, dilation, groups), bias)


@transposed_convolution.vjp("x")
def _(
    xp: Namespace,
    g: Array,
    weight: Array,
    *,
    sizes: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    return _correlated(xp, g, weight, stride, padding, dilation, groups)


@transposed_convolution.vjp("weight")
def _(
    xp: Namespace,
    g: Array,
    shape: Sizes,
    x: Array,
    *,
    sizes: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    return _weighed(xp, g, x, shape[2:], stride, padding, dilation, groups)


@transposed_convolution.vjp("bias")
def _(xp: Namespace, g: Array, *, sizes: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int) -> Array:
    return _total(xp, g)


def _over_taps(xp: Namespace, operation: Callable[[Array, Array], Array], seen: Array, kernel: Sizes) -> Array:
    """Each window reduced, one of its elements after the other: NumPy is slow at reducing axes of strided views."""
    taps = [seen[(slice(None), slice(None), *tap)] for tap in product(*map(range, kernel))]
    return reduce(operation, taps[1:], xp.array(taps[0]))


@primitive
def max_pool(xp: Namespace, x: Array, *, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Array:
    seen = windows(xp, padded(xp, x, padding, -np.inf), kernel, stride, dilation)
    return _over_taps(xp, xp.maximum, seen, kernel)


@max_pool.vjp("x")
def _(xp: Namespace, g: Array, x: Array, *, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes) -> Array:
    framed, taps = padded(xp, x, padding, -np.inf), prod(kernel)
    seen = windows(xp, framed, kernel, stride, dilation)
    flat = xp.reshape(seen, (*x.shape[:2], taps, *g.shape[2:]))
    first = xp.argmax(flat, axis=2)[:, :, None]
    mine = xp.reshape(np.arange(taps), (taps, *[1] * len(kernel))) == first
    parts = xp.reshape(xp.where(mine, g[:, :, None], 0), seen.shape)
    return unpadded(xp, overlaid(xp, parts, framed.shape[2:], stride, dilation), padding)


@primitive
def average_pool(xp: Namespace, x: Array, divisor: Array, *, kernel: Sizes, stride: Sizes, padding: Padding) -> Array:
    """The sum of every window over ``divisor``, which broadcasts against the positions."""
    seen = windows(xp, padded(xp, x, padding), kernel, stride, (1,) * len(kernel))
    return _over_taps(xp, xp.add, seen, kernel) / divisor


@average_pool.vjp("x")
def _(
    xp: Namespace,
    g: Array,
    shape: Sizes,
    divisor: Array,
    *,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
) -> Array:
    share = (g / divisor)[(slice(None), slice(None), *[None] * len(kernel))]
    parts = xp.broadcast_to(share, (*g.shape[:2], *kernel, *g.shape[2:]))
    whole = tuple(size + before + after for size, (before, after) in zip(shape[2:], padding, strict=True))
    return unpadded(xp, overlaid(xp, parts, whole, stride, (1,) * len(kernel)), padding)
