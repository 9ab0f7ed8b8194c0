"""Primitives that contract axes: matrix products and Einstein sums."""

from functools import lru_cache
from math import prod
from string import ascii_letters
from typing import Any

import numpy as np

from minima.autograd.primitive import Array, Namespace, primitive

Shape = tuple[int, ...]


@primitive
def matmul(xp: Namespace, x: Array, y: Array) -> Array:
    return xp.matmul(x, y)


@matmul.vjp("x")
def _(xp: Namespace, g: Array, shape: Shape, y: Array) -> Array:
    if y.ndim == 1:
        return g[..., None] * y
    if len(shape) == 1:
        return xp.matmul(y, g[..., None])[..., 0]
    return xp.matmul(g, xp.swapaxes(y, -1, -2))


@matmul.vjp("y")
def _(xp: Namespace, g: Array, shape: Shape, x: Array) -> Array:
    if x.ndim == 1:
        return x[:, None] * g[..., None, :] if len(shape) > 1 else g[..., None] * x
    if len(shape) == 1:
        return xp.matmul(xp.swapaxes(x, -1, -2), g[..., None])[..., 0]
    if len(shape) == 2:  # one matrix for the whole batch: one product instead of many and their sum
        return xp.matmul(rows(xp, x).T, rows(xp, g))
    return xp.matmul(xp.swapaxes(x, -1, -2), g)


@primitive
def linear(xp: Namespace, x: Array, weight: Array, bias: Array | None = None) -> Array:
    vectors = x if x.ndim == 2 else rows(xp, x)
    # `dot`, which for matrices is `matmul`, begins half a microsecond sooner. As one expression, for NumPy then adds
    # the bias into the memory of the product.
    out = xp.dot(vectors, weight.T) if bias is None else xp.dot(vectors, weight.T) + bias
    return out if x.ndim == 2 else xp.reshape(out, (*x.shape[:-1], weight.shape[0]))


@linear.vjp("x")
def _(xp: Namespace, g: Array, weight: Array) -> Array:
    return xp.dot(g, weight) if g.ndim == 2 else xp.matmul(g, weight)


@linear.vjp("weight")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return xp.dot(g.T, x) if g.ndim == 2 else xp.dot(rows(xp, g).T, rows(xp, x))


@linear.vjp("bias")
def _(xp: Namespace, g: Array) -> Array:
    # The sum of the rows as a product with ones: BLAS takes half the time of a reduction.
    vectors = g if g.ndim == 2 else rows(xp, g)
    return xp.dot(ones(len(vectors), vectors.dtype), vectors)


def rows(xp: Namespace, x: Array) -> Array:
    """The vectors along the last axis as the rows of a matrix; -1 would not tell how many there are of size 0."""
    return xp.reshape(x, (prod(x.shape[:-1]), x.shape[-1]))


@lru_cache(maxsize=64)
def ones(size: int, dtype: Any) -> Array:
    """Kept from one call to the next: nobody writes into them."""
    return np.ones(size, dtype)


@primitive(may_view=True)  # "ij->ji" is a view
def einsum(xp: Namespace, *arrays: Array, subscripts: str) -> Array:
    return xp.einsum(subscripts, *arrays, optimize=len(arrays) > 1)


@einsum.vjp("arrays")
def _(xp: Namespace, g: Array, arrays: list[Array], position: int, *, subscripts: str) -> Array:
    """The gradient of one operand is an Einstein sum of the others with ``g``, with two additions:

    an index that only this operand has is spread by ones, and one that it has twice comes back through an identity.
    """
    terms, result = subscripts.split("->")
    labels = terms.split(",")
    mine = labels.pop(position)
    others = [array for i, array in enumerate(arrays) if i != position]
    unused = iter(sorted(set(ascii_letters) - set(subscripts)))
    target = ""
    for label, size in zip(mine, arrays[position].shape, strict=True):
        if label in target:
            fresh = next(unused)
            labels.append(label + fresh)
            others.append(xp.eye(size, dtype=g.dtype))
            label = fresh
        elif label not in result and not any(label in term for term in labels):
            labels.append(label)
            others.append(xp.ones(size, g.dtype))
        target += label
    return xp.einsum(",".join([result, *labels]) + "->" + target, g, *others, optimize=True)
