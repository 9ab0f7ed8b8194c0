"""Rows of a table, looked up by integers: embedding."""

from minima.autograd import Tensor, where
from minima.autograd.formulas import as_given
from minima.autograd.primitive import is_numpy
from minima.autograd.tensor import TensorLike, as_tensor
from minima.checks import integer
from minima.errors import sentence

__all__ = ["embedding", "looked_up"]


def embedding(input: TensorLike, weight: TensorLike, padding_idx: int | None = None) -> Tensor:
    """What `minima.nn.Embedding` computes: the rows of ``weight`` whose numbers ``input`` holds.

    Args:
        input: Integers in [0, V), of any shape.
        weight: Shape (V, features).
        padding_idx: The number, possibly negative to count from the end, whose row gets no gradient.

    Shapes: ``(...)`` to ``(..., features)``. All else is that of the layer.

    >>> embedding(Tensor([1, 0]), [[1.0, 2.0], [3.0, 4.0]]).tolist()
    [[3.0, 4.0], [1.0, 2.0]]
    """
    who, table = "embedding", as_tensor(weight)
    if table.ndim != 2:
        raise ValueError(sentence(who, "weight must have the shape (V, features)", got=table.shape))
    rows = table.shape[0]
    if padding_idx is not None:
        padding_idx = integer(who, "padding_idx", padding_idx, -rows, rows) % rows
    return looked_up(who, "input", input, table, padding_idx)


def looked_up(who: str, name: str, ids: TensorLike, table: Tensor, padding_idx: int | None) -> Tensor:
    """The rows, of a table and a ``padding_idx`` that are checked."""
    rows, count = as_given(ids), table.shape[0]
    if rows.dtype.kind not in "iu":
        raise TypeError(sentence(who, f"{name} must have an integer dtype", got=str(rows.dtype)))
    numbers = rows.buffer
    if is_numpy(numbers) and numbers.size and (numbers.min() < 0 or numbers.max() >= count):
        wrong = numbers[(numbers < 0) | (numbers >= count)]
        raise IndexError(sentence(who, f"{name} must lie in [0, {count})", got=wrong.flat[0].item()))
    vectors = table[rows]
    if padding_idx is None:
        return vectors
    return where((rows == padding_idx).unsqueeze(-1), vectors.detach(), vectors)
