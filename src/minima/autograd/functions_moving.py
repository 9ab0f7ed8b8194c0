"""Functions that choose, repeat and move elements of tensors; arrays and numbers are taken too."""

from collections.abc import Sequence
from typing import Unpack

from minima.autograd.functions_of_shape import concatenate, in_common_dtype
from minima.autograd.spellings import Axis, Dim
from minima.autograd.tensor import Tensor, TensorLike, as_tensor
from minima.errors import sentence

__all__ = [
    "chunk",
    "diag",
    "hstack",
    "index_select",
    "masked_select",
    "meshgrid",
    "moveaxis",
    "movedim",
    "narrow",
    "repeat_interleave",
    "roll",
    "tile",
    "trace",
    "unbind",
    "vstack",
]


def chunk(x: TensorLike, chunks: int, axis: int = 0, **words: Unpack[Dim]) -> list[Tensor]:
    """At most so many parts along ``axis``, all but the last of one size."""
    return as_tensor(x).chunk(chunks, axis, **words)


def unbind(x: TensorLike, axis: int = 0, **words: Unpack[Dim]) -> list[Tensor]:
    """The parts of size 1 along ``axis``, without that axis."""
    return as_tensor(x).unbind(axis, **words)


def narrow(x: TensorLike, axis: int, start: int, length: int) -> Tensor:
    """So many elements along ``axis``, from ``start`` on; a view."""
    return as_tensor(x).narrow(axis, start, length)


def index_select(x: TensorLike, axis: int, index: TensorLike) -> Tensor:
    """The elements along ``axis`` whose numbers the vector ``index`` holds, in its order."""
    return as_tensor(x).index_select(axis, index)


def masked_select(x: TensorLike, mask: TensorLike) -> Tensor:
    """The elements for which the boolean ``mask`` holds, in a vector; both broadcast."""
    return as_tensor(x).masked_select(mask)


def repeat_interleave(
    x: TensorLike, repeats: int | TensorLike, axis: int | None = None, **words: Unpack[Dim]
) -> Tensor:
    """Each element along ``axis`` so many times in a row; by default of all elements, in a vector.

    Args:
        repeats: One number for all elements, or a vector with one for each.
    """
    return as_tensor(x).repeat_interleave(repeats, axis, **words)


def roll(x: TensorLike, shifts: int | Sequence[int], axis: Axis = None, *, dims: Axis = None) -> Tensor:
    """The elements moved along ``axis``, which PyTorch calls ``dims``, and those from the end put in front.

    Args:
        shifts: By how many places; one number for each axis, or one for all. Without an axis, as in a vector.
    """
    return as_tensor(x).roll(shifts, axis, dims=dims)


def tile(x: TensorLike, *reps: int | Sequence[int]) -> Tensor:
    """The whole tensor so many times along each axis; the numbers are those of the last axes."""
    return as_tensor(x).tile(*reps)


def movedim(x: TensorLike, source: int | Sequence[int], destination: int | Sequence[int]) -> Tensor:
    """The axes ``source`` at the places ``destination``, and all others in their order."""
    return as_tensor(x).movedim(source, destination)


def diag(x: TensorLike, diagonal: int = 0) -> Tensor:
    """The diagonal of a matrix; of a vector, the matrix with it as its diagonal: 0 is the main one, 1 above it."""
    return as_tensor(x).diag(diagonal)


def trace(x: TensorLike) -> Tensor:
    """The sum of the main diagonal of a matrix."""
    return as_tensor(x).trace()


moveaxis = movedim


def hstack(tensors: Sequence[TensorLike]) -> Tensor:
    """The tensors side by side: along the second axis, or of vectors along the only one."""
    parts = in_common_dtype("hstack", tensors)
    parts = [x.reshape(1) if not x.shape else x for x in parts]
    return concatenate(parts, 0 if len(parts[0].shape) == 1 else 1)


def vstack(tensors: Sequence[TensorLike]) -> Tensor:
    """The tensors one below the other: along the first axis, where a vector is a row."""
    parts = in_common_dtype("vstack", tensors)
    return concatenate([x.reshape(1, -1) if len(x.shape) < 2 else x for x in parts])


def meshgrid(*tensors: TensorLike, indexing: str = "") -> list[Tensor]:
    """The coordinates of a grid whose axes the vectors are, one tensor for each.

    Args:
        indexing: ``"ij"``: the first vector goes along the first axis; ``"xy"``: along the second, as in a picture.

    Raises:
        ValueError: ``indexing`` is missing: NumPy takes ``"xy"`` for it, and PyTorch ``"ij"``.

    >>> x, y = meshgrid([1, 2], [3, 4, 5], indexing="ij")
    >>> x.tolist(), y.shape
    ([[1, 1, 1], [2, 2, 2]], (2, 3))
    """
    if indexing not in ("ij", "xy"):
        raise ValueError(sentence("meshgrid", "indexing must be given as 'ij' or 'xy'", got=indexing))
    parts = [as_tensor(x).reshape(-1) for x in tensors]
    order = list(range(len(parts)))
    if indexing == "xy" and len(parts) > 1:
        order[:2] = 1, 0
    shape = [parts[i].shape[0] for i in order]
    places = [order.index(i) for i in range(len(parts))]
    return [
        x.reshape(*(x.shape[0] if axis == place else 1 for axis in range(len(shape)))).broadcast_to(*shape)
        for x, place in zip(parts, places, strict=True)
    ]
