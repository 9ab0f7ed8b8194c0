"""Primitives that rearrange elements and leave their values alone."""

import sys
from collections.abc import Sequence
from operator import gt
from typing import Any

from minima.autograd.operations.scatter import scatter
from minima.autograd.primitive import Array, Namespace, primitive, sum_to

Shape = tuple[int, ...]


@primitive(may_view=True, computes=False)
def reshape(xp: Namespace, x: Array, *, to: Shape) -> Array:
    return xp.reshape(x, to)


@reshape.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, *, to: Shape) -> Array:
    return xp.reshape(g, shape)


@primitive(may_view=True, computes=False)
def transpose(xp: Namespace, x: Array, *, axes: Shape) -> Array:
    return xp.transpose(x, axes)


@transpose.vjp("x")
def _(xp: Namespace, g: Array, *, axes: Shape) -> Array:
    inverse = sorted(range(len(axes)), key=lambda i: axes[i] % len(axes))
    return xp.transpose(g, inverse)


@primitive(may_view=True, computes=False)
def broadcast_to(xp: Namespace, x: Array, *, to: Shape) -> Array:
    return xp.broadcast_to(x, to)


@broadcast_to.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, *, to: Shape) -> Array:
    return sum_to(xp, g, shape)


@primitive(may_view=True, computes=False)
def getitem(xp: Namespace, x: Array, *, index: tuple[Any, ...]) -> Array:
    return x[index]


@getitem.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, *, index: tuple[Any, ...]) -> Array:
    return scatter(xp, g, shape, index)


@primitive(computes=False)
def gather(xp: Namespace, x: Array, index: Array, *, axis: int, once: bool) -> Array:
    """``once`` says that the index names no element twice: only the rule needs it."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError("axis is out of range")
    most = [size if i != axis % x.ndim else sys.maxsize for i, size in enumerate(x.shape)]
    if index.ndim != x.ndim or any(map(gt, index.shape, most)):
        raise ValueError("index must have as many dimensions as the tensor, and but for dim none that is longer")
    return x[_open_grid(xp, index, axis)]


@gather.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, index: Array, *, axis: int, once: bool) -> Array:
    return scatter(xp, g, shape, _open_grid(xp, index, axis), once=once)


def _open_grid(xp: Namespace, index: Array, axis: int) -> tuple[Array, ...]:
    """The index of ``x[i, index[i, j], k]``, where ``axis`` is the middle one."""
    grid = [xp.arange(n).reshape((n,) + (1,) * (index.ndim - 1 - i)) for i, n in enumerate(index.shape)]
    grid[axis] = index
    return tuple(grid)


@primitive(may_view=True, computes=False)
def flip(xp: Namespace, x: Array, *, axis: int | Shape | None) -> Array:
    return xp.flip(x, axis)


@flip.vjp("x")
def _(xp: Namespace, g: Array, *, axis: int | Shape | None) -> Array:
    return xp.flip(g, axis)


@primitive(computes=False)
def roll(xp: Namespace, x: Array, *, shifts: int | Shape, axis: int | Shape | None) -> Array:
    return xp.roll(x, shifts, axis)


@roll.vjp("x")
def _(xp: Namespace, g: Array, *, shifts: int | Shape, axis: int | Shape | None) -> Array:
    return xp.roll(g, -shifts if isinstance(shifts, int) else tuple(-shift for shift in shifts), axis)


@primitive(computes=False)
def diag(xp: Namespace, x: Array, *, diagonal: int) -> Array:
    return xp.array(xp.diag(x, diagonal))  # of a matrix it is a view that nobody may write to


@diag.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, *, diagonal: int) -> Array:
    if len(shape) == 1:
        return xp.diag(g, diagonal)
    along = xp.arange(g.shape[0])
    return scatter(xp, g, shape, (along + max(-diagonal, 0), along + max(diagonal, 0)), once=True)


@primitive(computes=False)
def tril(xp: Namespace, x: Array, *, diagonal: int) -> Array:
    return xp.tril(x, diagonal)


@tril.vjp("x")
def _(xp: Namespace, g: Array, *, diagonal: int) -> Array:
    return xp.tril(g, diagonal)


@primitive(computes=False)
def triu(xp: Namespace, x: Array, *, diagonal: int) -> Array:
    return xp.triu(x, diagonal)


@triu.vjp("x")
def _(xp: Namespace, g: Array, *, diagonal: int) -> Array:
    return xp.triu(g, diagonal)


@primitive(computes=False)
def concatenate(xp: Namespace, *arrays: Array, axis: int, starts: Sequence[int]) -> Array:
    """``starts`` says where along ``axis`` each array begins, and where the last one ends: only the rule needs it."""
    return xp.concatenate(arrays, axis=axis)


@concatenate.vjp("arrays")
def _(xp: Namespace, g: Array, position: int, *, axis: int, starts: Sequence[int]) -> Array:
    return g[(slice(None),) * axis + (slice(starts[position], starts[position + 1]),)]


@primitive(computes=False)
def stack(xp: Namespace, *arrays: Array, axis: int) -> Array:
    return xp.stack(arrays, axis=axis)


@stack.vjp("arrays")
def _(xp: Namespace, g: Array, position: int, *, axis: int) -> Array:
    return g[(slice(None),) * axis + (position,)]


@primitive(computes=False)
def pad(xp: Namespace, x: Array, *, widths: Sequence[tuple[int, int]], value: float) -> Array:
    return xp.pad(x, widths, constant_values=value)


@pad.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, *, widths: Sequence[tuple[int, int]], value: float) -> Array:
    return g[tuple(slice(before, before + size) for (before, _), size in zip(widths, shape, strict=True))]
