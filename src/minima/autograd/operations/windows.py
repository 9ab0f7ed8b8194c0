"""Primitives that look through a window: convolutions and poolings over the last axes, of any number.

All inputs are (N, C, *sizes); what a window is says `Window`.

A convolution is a matrix product: the windows are copied out of a strided view as the columns of a matrix (im2col), of
so many samples at a time as stay in the cache. Columns stand with the channels first and the samples beside the
positions, so that neither the result nor its gradient has to be copied into another order: in memory both are
(C, N, *sizes), and so is what is computed from them element by element or by pooling.
"""

from collections.abc import Callable, Sequence
from functools import reduce
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np
from numpy.lib.stride_tricks import as_strided

from minima.autograd.operations.linalg import ones
from minima.autograd.primitive import Array, Namespace, primitive

__all__ = ["Window", "average_pool", "convolution", "max_pool", "transposed_convolution"]

Sizes = tuple[int, ...]
Padding = tuple[tuple[int, int], ...]


class Window(NamedTuple):
    """A window of ``kernel`` elements an axis, ``dilation`` apart, that moves by ``stride``, and the input's frame.

    ``padding`` is the width of the frame before and after each axis; one below zero cuts off.
    """

    kernel: Sizes
    stride: Sizes
    dilation: Sizes
    padding: Padding

    @property
    def spans(self) -> Sizes:
        """How many elements the window reaches over along each axis."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilation, strict=True))

    def framed(self, shape: Sizes) -> Sizes:
        """An input's shape, with the frame."""
        sizes = (size + before + after for size, (before, after) in zip(shape[2:], self.padding, strict=True))
        return (*shape[:2], *sizes)

    def positions(self, shape: Sizes) -> Sizes:
        """How many windows there are along each axis of an input."""
        parts = zip(self.framed(shape)[2:], self.spans, self.stride, strict=True)
        return tuple((size - span) // step + 1 for size, span, step in parts)

    def covered(self, positions: Sizes) -> Sizes:
        """The sizes of the input that so many windows cover without a rest."""
        parts = zip(positions, self.stride, self.spans, self.padding, strict=True)
        return tuple((count - 1) * step + span - sum(pair) for count, step, span, pair in parts)


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


def windows(xp: Namespace, x: Array, window: Window, value: float = 0.0) -> Array:
    """Every window of ``x`` in its frame of ``value``, of shape (N, C, *kernel, *positions); in NumPy a view."""
    kernel, stride, dilation, padding = window
    positions, x = window.positions(x.shape), padded(xp, x, padding, value)
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


def overlaid(xp: Namespace, part: Callable[[Sizes], Array], out: Array, window: Window) -> Array:
    """The reverse of `windows`: adds ``part(tap)``, of shape (N, C, *positions), for each element of a window.

    ``out`` are zeros of the shape with the frame, which NumPy writes into; the result is without it.
    """
    kernel, stride, dilation, padding = window
    apart = all(step >= span for step, span in zip(stride, window.spans, strict=True))
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
    return padded(xp, out, tuple((-before, -after) for before, after in padding))


def _columns(xp: Namespace, x: Array, window: Window, groups: int) -> Array:
    """The windows of (N, C, *sizes) as (groups, C / groups * kernel, N * positions)."""
    axes = len(window.kernel)
    seen = xp.moveaxis(windows(xp, xp.swapaxes(x, 0, 1), window), 1, 1 + axes)
    rows = x.shape[1] // groups * prod(window.kernel)
    return xp.reshape(seen, (groups, rows, prod(seen.shape[1 + axes :])))


def _flat(xp: Namespace, x: Array, groups: int) -> Array:
    """(N, C, *positions) as (groups, C / groups, N * positions)."""
    across = xp.swapaxes(x, 0, 1)
    return xp.reshape(across, (groups, x.shape[1] // groups, x.shape[0] * prod(x.shape[2:])))


def _product(xp: Namespace, x: Array, y: Array) -> Array:
    """The matrix product of each group; of one group by BLAS, whatever the order of memory."""
    return xp.matmul(x, y) if len(x) > 1 else xp.matmul(x[0], y[0])[None]


def _correlated(xp: Namespace, x: Array, weight: Array, bias: Array | None, window: Window, groups: int) -> Array:
    """The convolution of ``x`` with ``weight`` of shape (O, C / groups, *kernel)."""
    outer, rows, positions = weight.shape[0], prod(weight.shape[1:]), window.positions(x.shape)
    matrix = xp.reshape(weight, (groups, outer // groups, rows))

    def part(samples: slice) -> Array:
        columns = _columns(xp, x[samples], window, groups)
        return xp.reshape(_product(xp, matrix, columns), (outer, -1, *positions))

    each = groups * rows * prod(positions)
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


def _spread(xp: Namespace, g: Array, weight: Array, sizes: Sizes, window: Window, groups: int) -> Array:
    """The derivative of the convolution by its input of (*sizes): each element of ``g`` spread by the weight."""
    channels, rows = groups * weight.shape[1], prod(weight.shape[1:])
    matrix = xp.swapaxes(xp.reshape(weight, (groups, weight.shape[0] // groups, rows)), 1, 2)

    def part(samples: slice) -> Array:
        few = g[samples]
        columns = _product(xp, matrix, _flat(xp, few, groups))
        parts = xp.reshape(columns, (channels, *window.kernel, few.shape[0], *g.shape[2:]))
        zeros = xp.zeros(window.framed((channels, few.shape[0], *sizes)), parts.dtype)
        return overlaid(xp, lambda tap: parts[(slice(None), *tap)], zeros, window)

    each = groups * rows * prod(g.shape[2:])
    return xp.swapaxes(_beside(xp, part, g.shape[0], each), 0, 1)


def _weighed(xp: Namespace, x: Array, g: Array, window: Window, groups: int) -> Array:
    """The derivative of the convolution by its weight."""
    inner = x.shape[1] // groups
    grad: Array = 0
    for few in _few(xp, g.shape[0], x.shape[1] * prod(window.kernel) * prod(g.shape[2:])):
        columns = _columns(xp, x[few], window, groups)
        grad = grad + _product(xp, _flat(xp, g[few], groups), xp.swapaxes(columns, 1, 2))
    return xp.reshape(grad, (g.shape[1], inner, *window.kernel))


def _shifted(xp: Namespace, out: Array, bias: Array | None) -> Array:
    """With the bias of each channel, in the memory of ``out`` if it can hold the sum."""
    if bias is None:
        return out
    column = xp.reshape(bias, (-1, *[1] * (out.ndim - 2)))
    if bias.dtype != out.dtype:
        return out + column
    out += column
    return out


@primitive
def convolution(
    xp: Namespace, x: Array, weight: Array, bias: Array | None = None, *, window: Window, groups: int
) -> Array:
    """Each output is a window of the input times the ``weight``, of shape (O, C / groups, *kernel)."""
    return _correlated(xp, x, weight, bias, window, groups)


@convolution.vjp("x")
def _(xp: Namespace, g: Array, shape: Sizes, weight: Array, *, window: Window, groups: int) -> Array:
    return _spread(xp, g, weight, shape[2:], window, groups)


@convolution.vjp("weight")
def _(xp: Namespace, g: Array, x: Array, *, window: Window, groups: int) -> Array:
    return _weighed(xp, x, g, window, groups)


@primitive
def transposed_convolution(
    xp: Namespace, x: Array, weight: Array, bias: Array | None = None, *, window: Window, groups: int
) -> Array:
    """The derivative of a convolution by its input, as a function: ``weight`` has the shape (C, O / groups, *kernel).

    The ``window`` is that of the convolution, and covers its input, which is the output here, without a rest.
    """
    return _shifted(xp, _spread(xp, x, weight, window.covered(x.shape[2:]), window, groups), bias)


@transposed_convolution.vjp("x")
def _(xp: Namespace, g: Array, weight: Array, *, window: Window, groups: int) -> Array:
    return _correlated(xp, g, weight, None, window, groups)


@transposed_convolution.vjp("weight")
def _(xp: Namespace, g: Array, x: Array, *, window: Window, groups: int) -> Array:
    return _weighed(xp, g, x, window, groups)


@convolution.vjp("bias")
@transposed_convolution.vjp("bias")
def _(xp: Namespace, g: Array, *, window: Window, groups: int) -> Array:
    rows = _flat(xp, g, 1)[0]
    return xp.matmul(rows, ones(rows.shape[1], rows.dtype))


def _taps(seen: Array, kernel: Sizes) -> list[Array]:
    """The elements of all windows, one after the other: NumPy is slow at reducing axes of strided views."""
    return [seen[(slice(None), slice(None), *tap)] for tap in product(*map(range, kernel))]


@primitive(residual="chosen")
def max_pool(xp: Namespace, x: Array, *, window: Window) -> tuple[Array, Array]:
    """``chosen`` numbers the largest element of each window, in a byte where the window has no more than 256.

    As in PyTorch it is the first of several, and the last one that is no number.
    """
    first, *others = _taps(windows(xp, x, window, -np.inf), window.kernel)
    number = np.min_scalar_type(len(others)).type
    out, chosen = xp.array(first), xp.zeros_like(first, dtype=number)
    for place, tap in enumerate(others, start=1):
        # Products and maxima: in NumPy a fraction of the time of where, whose branches nobody can foresee.
        chosen = xp.maximum(chosen, ((tap > out) | (tap != tap)) * number(place))
        out = xp.maximum(out, tap)
    return out, chosen


@max_pool.vjp("x")
def _(xp: Namespace, g: Array, shape: Sizes, chosen: Array, *, window: Window) -> Array:
    numbers = np.arange(prod(window.kernel), dtype=chosen.dtype).reshape(window.kernel)
    zeros = xp.zeros_like(g, shape=window.framed(shape))
    return overlaid(xp, lambda tap: g * (chosen == numbers[tap]), zeros, window)


@primitive
def average_pool(xp: Namespace, x: Array, divisor: Array, *, window: Window) -> Array:
    """The sum of every window over ``divisor``, which broadcasts against the positions."""
    first, *others = _taps(windows(xp, x, window), window.kernel)
    return reduce(xp.add, others, xp.array(first)) / divisor


@average_pool.vjp("x")
def _(xp: Namespace, g: Array, shape: Sizes, divisor: Array, *, window: Window) -> Array:
    share = g / divisor
    return overlaid(xp, lambda tap: share, xp.zeros_like(g, shape=window.framed(shape)), window)
