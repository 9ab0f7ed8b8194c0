"""Primitives that look through a window: convolutions and poolings over the last axes, of any number.

All inputs are (N, C, *sizes). A window of ``kernel`` elements an axis, ``dilation`` apart, moves by ``stride``. Padding
is a pair (before, after) for each axis.

A convolution is a matrix product: the windows are copied out of a strided view as the columns of a matrix (im2col), of
so many samples at a time as stay in the cache. Columns stand with the channels first and the samples beside the
positions, so that neither the result nor its gradient has to be copied into another order: in memory both are
(C, N, *sizes), and so is what is computed from them element by element or by pooling.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minima.autograd.operations.linalg import ones
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
        frame = [(max(before, 0), max(after, 0)) for before, after in padding]
        x = _framed(x, frame, value) if xp is np else xp.pad(x, ((0, 0), (0, 0), *frame), constant_values=value)
    return x


def _framed(x: Array, frame: Sequence[tuple[int, int]], value: float) -> Array:
    """What ``np.pad`` does, in half of the time, and in the order of memory of ``x``."""
    sizes = [size + before + after for size, (before, after) in zip(x.shape[2:], frame, strict=True)]
    out = np.full_like(x, value, shape=(*x.shape[:2], *sizes))
    inner = (slice(before, before + size) for size, (before, _) in zip(x.shape[2:], frame, strict=True))
    out[(slice(None), slice(None), *inner)] = x
    return out


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


def overlaid(
    xp: Namespace, part: Callable[[Sizes], Array], out: Array, kernel: Sizes, stride: Sizes, dilation: Sizes
) -> Array:
    """The reverse of `windows`: adds ``part(tap)``, of shape (N, C, *positions), for each element of a window.

    ``out`` are zeros of the shape (N, C, *sizes), which NumPy writes into.
    """
    apart = all(step >= span for step, span in zip(stride, reach(kernel, dilation), strict=True))
    for tap in product(*map(range, kernel)):  # over the elements of one window, not over the positions
        each = part(tap)
        starts = [i * d for i, d in zip(tap, dilation, strict=True)]
        ranges = zip(starts, each.shape[2:], stride, strict=True)
        place = (slice(None), slice(None), *(slice(a, a + n * step, step) for a, n, step in ranges))
        if xp is not np:
            out = out.at[place].add(each)
        elif apart:
            out[place] = each
        else:
            out[place] += each
    return out


def _columns(
    xp: Namespace, x: Array, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """The windows of (N, C, *sizes) as (groups, C / groups * kernel, N * positions)."""
    across, axes = padded(xp, xp.swapaxes(x, 0, 1), padding), len(kernel)
    seen = xp.moveaxis(windows(xp, across, kernel, stride, dilation), 1, 1 + axes)
    rows = x.shape[1] // groups * prod(kernel)
    return xp.reshape(seen, (groups, rows, prod(seen.shape[1 + axes :])))


def _flat(xp: Namespace, x: Array, groups: int) -> Array:
    """(N, C, *positions) as (groups, C / groups, N * positions)."""
    across = xp.swapaxes(x, 0, 1)
    return xp.reshape(across, (groups, x.shape[1] // groups, x.shape[0] * prod(x.shape[2:])))


def _product(xp: Namespace, x: Array, y: Array) -> Array:
    """The matrix product of each group; of one group by BLAS, whatever the order of memory."""
    return xp.matmul(x, y) if len(x) > 1 else xp.matmul(x[0], y[0])[None]


def _correlated(
    xp: Namespace,
    x: Array,
    weight: Array,
    bias: Array | None,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
    groups: int,
) -> Array:
    """The convolution of ``x`` with ``weight`` of shape (O, C / groups, *kernel)."""
    outer, inner, *kernel = weight.shape
    matrix = xp.reshape(weight, (groups, outer // groups, inner * prod(kernel)))
    spans = zip(_whole(x.shape, padding)[2:], reach(weight.shape[2:], dilation), stride, strict=True)
    positions = tuple((size - span) // step + 1 for size, span, step in spans)

    def part(samples: slice) -> Array:
        columns = _columns(xp, x[samples], weight.shape[2:], stride, padding, dilation, groups)
        return xp.reshape(_product(xp, matrix, columns), (outer, -1, *positions))

    each = x.shape[1] * prod(kernel) * prod(positions)
    return _shifted(xp, xp.swapaxes(_beside(xp, part, x.shape[0], each), 0, 1), bias)


def _few(xp: Namespace, samples: int, each: int) -> list[slice]:
    """Slices of the samples, so that columns of ``each`` elements a sample stay in the cache."""
    step = max(1, _COLUMNS // max(each, 1)) if xp is np else max(samples, 1)
    return [slice(start, start + step) for start in range(0, max(samples, 1), step)]


_COLUMNS = 1 << 18
"""Elements: a MiB of float32. Of all samples at once, a CNN on 28x28 at batch 64 held 15 MB in the place of 10."""


def _beside(xp: Namespace, part: Callable[[slice], Array], samples: int, each: int) -> Array:
    """What ``part`` gives for a few samples at a time, of shape (O, N, *positions), for all of them."""
    first, *others = _few(xp, samples, each)
    begun = part(first)
    if not others:
        return begun
    out = np.empty((begun.shape[0], samples, *begun.shape[2:]), begun.dtype)
    out[:, first] = begun
    for few in others:
        out[:, few] = part(few)
    return out


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
    matrix = xp.swapaxes(matrix, 1, 2)

    def part(samples: slice) -> Array:
        few = g[samples]
        columns = _product(xp, matrix, _flat(xp, few, groups))
        parts = xp.reshape(columns, (groups * inner, *kernel, few.shape[0], *g.shape[2:]))
        zeros = xp.zeros(_whole((groups * inner, few.shape[0], *sizes), padding), parts.dtype)
        out = overlaid(xp, lambda tap: parts[(slice(None), *tap)], zeros, kernel, stride, dilation)
        return unpadded(xp, out, padding)

    each = groups * inner * prod(kernel) * prod(g.shape[2:])
    return xp.swapaxes(_beside(xp, part, g.shape[0], each), 0, 1)


def _weighed(
    xp: Namespace, x: Array, g: Array, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes, groups: int
) -> Array:
    """The derivative of the convolution by its weight."""
    grad: Array = 0
    for few in _few(xp, g.shape[0], x.shape[1] * prod(kernel) * prod(g.shape[2:])):
        columns = _columns(xp, x[few], kernel, stride, padding, dilation, groups)
        grad = grad + _product(xp, _flat(xp, g[few], groups), xp.swapaxes(columns, 1, 2))
    return xp.reshape(grad, (g.shape[1], x.shape[1] // groups, *kernel))


def _shifted(xp: Namespace, out: Array, bias: Array | None) -> Array:
    """With the bias of each channel, in the memory of ``out`` if it can hold the sum."""
    if bias is None:
        return out
    column = xp.reshape(bias, (-1, *[1] * (out.ndim - 2)))
    if bias.dtype != out.dtype:
        return out + column
    out += column
    return out


def _total(xp: Namespace, g: Array) -> Array:
    rows = _flat(xp, g, 1)[0]
    return xp.matmul(rows, ones(rows.shape[1], rows.dtype))


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
    return _correlated(xp, x, weight, bias, stride, padding, dilation, groups)


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
    return _correlated(xp, g, weight, None, stride, padding, dilation, groups)


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


def _taps(seen: Array, kernel: Sizes) -> list[Array]:
    """The elements of all windows, one after the other: NumPy is slow at reducing axes of strided views."""
    return [seen[(slice(None), slice(None), *tap)] for tap in product(*map(range, kernel))]


@primitive(residual="chosen")
def max_pool(
    xp: Namespace, x: Array, *, kernel: Sizes, stride: Sizes, padding: Padding, dilation: Sizes
) -> tuple[Array, Array]:
    """``chosen`` numbers the largest element of each window, in a byte where the window has no more than 256.

    As in PyTorch it is the first of several, and the last one that is no number.
    """
    first, *others = _taps(windows(xp, padded(xp, x, padding, -np.inf), kernel, stride, dilation), kernel)
    number = np.min_scalar_type(len(others)).type
    out, chosen = xp.array(first), xp.zeros_like(first, dtype=number)
    for place, tap in enumerate(others, start=1):
        # Products and maxima: in NumPy a fraction of the time of where, whose branches nobody can foresee.
        chosen = xp.maximum(chosen, ((tap > out) | (tap != tap)) * number(place))
        out = xp.maximum(out, tap)
    return out, chosen


@max_pool.vjp("x")
def _(
    xp: Namespace,
    g: Array,
    shape: Sizes,
    chosen: Array,
    *,
    kernel: Sizes,
    stride: Sizes,
    padding: Padding,
    dilation: Sizes,
) -> Array:
    numbers = np.arange(prod(kernel), dtype=chosen.dtype).reshape(kernel)
    zeros = xp.zeros_like(g, shape=_whole(shape, padding))
    spread = overlaid(xp, lambda tap: g * (chosen == numbers[tap]), zeros, kernel, stride, dilation)
    return unpadded(xp, spread, padding)


def _whole(shape: Sizes, padding: Padding) -> Sizes:
    """The shape with the frame."""
    sizes = (size + before + after for size, (before, after) in zip(shape[2:], padding, strict=True))
    return (*shape[:2], *sizes)


@primitive
def average_pool(xp: Namespace, x: Array, divisor: Array, *, kernel: Sizes, stride: Sizes, padding: Padding) -> Array:
    """The sum of every window over ``divisor``, which broadcasts against the positions."""
    first, *others = _taps(windows(xp, padded(xp, x, padding), kernel, stride, (1,) * len(kernel)), kernel)
    return reduce(xp.add, others, xp.array(first)) / divisor


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
    share = g / divisor
    zeros = xp.zeros_like(g, shape=_whole(shape, padding))
    return unpadded(xp, overlaid(xp, lambda tap: share, zeros, kernel, stride, (1,) * len(kernel)), padding)
