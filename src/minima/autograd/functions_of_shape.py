"""Functions of tensors that rearrange their elements; arrays and numbers are taken too."""

import builtins
from collections.abc import Iterable, Sequence
from itertools import accumulate
from operator import index
from typing import Unpack

from minima.autograd.arrays import as_axis, as_integers
from minima.autograd.operations import shapes
from minima.autograd.spellings import Axis, Dim, spelled
from minima.autograd.tensor import Tensor, TensorLike, apply, as_tensor
from minima.errors import sentence

__all__ = [
    "broadcast_to",
    "cat",
    "concat",
    "concatenate",
    "expand",
    "flatten",
    "flip",
    "in_common_dtype",
    "pad",
    "permute",
    "reshape",
    "split",
    "squeeze",
    "stack",
    "swapaxes",
    "transpose",
    "tril",
    "triu",
    "unsqueeze",
]


def reshape(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1 and is then inferred."""
    return as_tensor(x).reshape(*shape)


def flatten(x: TensorLike, start: int = 0, end: int = -1, *, start_dim: int = 0, end_dim: int = -1) -> Tensor:
    """The axes ``start`` to ``end`` as one; PyTorch calls them ``start_dim`` and ``end_dim``."""
    return as_tensor(x).flatten(start, end, start_dim=start_dim, end_dim=end_dim)


def transpose(x: TensorLike, *axes: int | Sequence[int]) -> Tensor:
    """The axes in the order ``axes``, or reversed; two numbers swap two axes, as in PyTorch."""
    return as_tensor(x).transpose(*axes)


def permute(x: TensorLike, *axes: int | Sequence[int]) -> Tensor:
    """The axes in the order ``axes``."""
    return as_tensor(x).permute(*axes)


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """The tensor with two axes swapped."""
    return as_tensor(x).swapaxes(axis1, axis2)


def squeeze(x: TensorLike, axis: Axis = None, **words: Unpack[Dim]) -> Tensor:
    """Without the axes of size 1, or without those in ``axis``, whose size must be 1."""
    return as_tensor(x).squeeze(axis, **words)


def unsqueeze(x: TensorLike, axis: int | None = None, **words: Unpack[Dim]) -> Tensor:
    """With a new axis of size 1 at ``axis``."""
    return as_tensor(x).unsqueeze(axis, **words)


def broadcast_to(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """The tensor repeated to ``shape`` without copying, by the rules of broadcasting."""
    return as_tensor(x).broadcast_to(*shape)


def expand(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """Like ``broadcast_to``; -1 keeps the size of an axis."""
    return as_tensor(x).expand(*shape)


def flip(x: TensorLike, axis: Axis = None, *, dims: Axis = None) -> Tensor:
    """The elements in reverse along all axes, or along ``axis``, which PyTorch calls ``dims``; a view."""
    return as_tensor(x).flip(axis, dims=dims)


def tril(x: TensorLike, diagonal: int = 0) -> Tensor:
    """The lower triangle of the last two axes, with 0 above a diagonal: 0 is the main diagonal, 1 the one above."""
    return as_tensor(x).tril(diagonal)


def triu(x: TensorLike, diagonal: int = 0) -> Tensor:
    """The upper triangle of the last two axes, with 0 below a diagonal: 0 is the main diagonal, 1 the one above."""
    return as_tensor(x).triu(diagonal)


def concatenate(tensors: Sequence[TensorLike], axis: int = 0, **words: Unpack[Dim]) -> Tensor:
    """The tensors joined along ``axis``; the other sizes must agree."""
    if words:
        axis, _ = spelled("concatenate", words, axis, default=0)
    parts = in_common_dtype("concatenate", tensors)
    ndim = parts[0].ndim
    axis = as_axis("concatenate", axis, ndim)
    if len({(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts} | {ndim}) > 2:
        shapes_seen = [part.shape for part in parts]
        raise ValueError(sentence("concatenate", f"the sizes must agree in all axes but {axis}", got=shapes_seen))
    starts = tuple(accumulate((part.shape[axis] for part in parts), initial=0))
    return apply(shapes.concatenate, *parts, axis=axis, starts=starts)


def cat(tensors: Sequence[TensorLike], axis: int = 0, **words: Unpack[Dim]) -> Tensor:
    """PyTorch's name for ``concatenate``."""
    return concatenate(tensors, axis, **words)


def concat(tensors: Sequence[TensorLike], axis: int = 0, **words: Unpack[Dim]) -> Tensor:
    """``concatenate``, by another of PyTorch's names for it."""
    return concatenate(tensors, axis, **words)


def stack(tensors: Sequence[TensorLike], axis: int = 0, **words: Unpack[Dim]) -> Tensor:
    """The tensors, all of the same shape, joined along a new axis at ``axis``."""
    if words:
        axis, _ = spelled("stack", words, axis, default=0)
    parts = in_common_dtype("stack", tensors)
    axis = as_axis("stack", axis, parts[0].ndim + 1)
    if len({part.shape for part in parts}) > 1:
        raise ValueError(sentence("stack", "the tensors must have one shape", got=[part.shape for part in parts]))
    return apply(shapes.stack, *parts, axis=axis)


def split(x: TensorLike, sections: int | Sequence[int], axis: int = 0, **words: Unpack[Dim]) -> list[Tensor]:
    """The tensor split along ``axis``, as in NumPy: into ``sections`` equal parts, or at the given positions.

    With PyTorch's ``dim`` as there: into parts of the size ``sections``, the last one perhaps shorter, or of the given
    sizes.

    >>> [part.tolist() for part in split(Tensor([1, 2, 3, 4]), 1, dim=0)]
    [[1], [2], [3], [4]]
    """
    x = as_tensor(x)
    if words:
        axis, _ = spelled("split", words, axis, default=0)
    axis = as_axis("split", axis, x.ndim)
    size, given = x.shape[axis], sections
    sections = as_integers("split", "sections", given)
    if words:
        sections = _ends(sections, size, given)
    elif isinstance(sections, int):
        if sections < 1 or size % sections:
            raise ValueError(sentence("split", f"sections must divide the size {size}", got=sections))
        sections = range(size // sections, size, size // sections) if size else [0] * (sections - 1)
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip([0, *sections], [*sections, size], strict=True)]


def _ends(sizes: int | tuple[int, ...], total: int, given: object) -> list[int]:
    """Where parts of these sizes end, but for the last of them."""
    if isinstance(sizes, int):
        if sizes < 1:
            raise ValueError(sentence("split", "the size of the parts must be at least 1", got=sizes))
        return list(range(sizes, total, sizes))
    ends = list(accumulate(sizes))
    if not ends or ends[-1] != total or builtins.min(sizes) < 0:
        raise ValueError(sentence("split", f"the sizes of the parts must add up to {total}", got=given))
    return ends[:-1]


def pad(x: TensorLike, widths: int | Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """The tensor padded with ``value``; ``widths`` are (before, after) for each axis, or one number for all."""
    x = as_tensor(x)
    rule = f"widths must be a pair of sizes for each of {x.ndim} axes"
    try:
        pairs = ((index(widths),) * 2,) * x.ndim if not isinstance(widths, Sequence) else tuple(widths)
        fits = len(pairs) == x.ndim and all(len(pair) == 2 and builtins.min(map(index, pair)) >= 0 for pair in pairs)
    except TypeError:
        raise TypeError(sentence("pad", rule, got=widths)) from None
    if not fits:
        raise ValueError(sentence("pad", rule, got=widths))
    return apply(shapes.pad, x, widths=pairs, value=value)


def in_common_dtype(who: str, operands: Sequence[TensorLike]) -> list[Tensor]:
    """The operands as tensors; where some are floating, the integers among them take the first floating dtype."""
    if not isinstance(operands, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise TypeError(sentence(who, "the tensors must come in a list or a tuple", got=operands))
    tensors = [as_tensor(operand) for operand in operands]
    if not tensors:
        raise ValueError(sentence(who, "at least one tensor is needed"))
    dtype = next((t.dtype for t in tensors if t.dtype.kind == "f"), None)
    return [t if dtype is None or t.dtype.kind == "f" else t.astype(dtype) for t in tensors]
