"""Functions of tensors; arrays and numbers are taken too, as the constructor of Tensor takes them."""

import builtins
from collections.abc import Sequence
from itertools import accumulate
from string import ascii_letters

from minima.autograd.methods import Axis
from minima.autograd.operations import elementwise, linalg, shapes
from minima.autograd.tensor import Tensor, TensorLike, align, apply, as_tensor
from minima.errors import sentence

__all__ = [
    "abs",
    "all",
    "any",
    "argmax",
    "argmin",
    "broadcast_to",
    "clip",
    "concatenate",
    "cos",
    "einsum",
    "exp",
    "expand",
    "flatten",
    "gelu",
    "log",
    "log_softmax",
    "logsumexp",
    "matmul",
    "max",
    "maximum",
    "mean",
    "min",
    "minimum",
    "pad",
    "permute",
    "relu",
    "reshape",
    "sigmoid",
    "sin",
    "softmax",
    "split",
    "sqrt",
    "squeeze",
    "stack",
    "std",
    "sum",
    "swapaxes",
    "tanh",
    "transpose",
    "unsqueeze",
    "var",
    "where",
]


def exp(x: TensorLike) -> Tensor:
    """The exponential of each element."""
    return as_tensor(x).exp()


def log(x: TensorLike) -> Tensor:
    """The natural logarithm of each element."""
    return as_tensor(x).log()


def sqrt(x: TensorLike) -> Tensor:
    """The square root of each element."""
    return as_tensor(x).sqrt()


def sin(x: TensorLike) -> Tensor:
    """The sine of each element."""
    return as_tensor(x).sin()


def cos(x: TensorLike) -> Tensor:
    """The cosine of each element."""
    return as_tensor(x).cos()


def tanh(x: TensorLike) -> Tensor:
    """The hyperbolic tangent of each element."""
    return as_tensor(x).tanh()


def sigmoid(x: TensorLike) -> Tensor:
    """``1 / (1 + exp(-x))`` of each element, without overflow."""
    return as_tensor(x).sigmoid()


def relu(x: TensorLike) -> Tensor:
    """``max(x, 0)`` of each element; the derivative at 0 is 0."""
    return as_tensor(x).relu()


def gelu(x: TensorLike, approximate: str = "none") -> Tensor:
    """``x * P(N(0, 1) <= x)`` of each element, exactly, or by ``approximate="tanh"`` (Hendrycks and Gimpel, 2016)."""
    return as_tensor(x).gelu(approximate)


def abs(x: TensorLike) -> Tensor:
    """The absolute value of each element; the derivative at 0 is 0."""
    return as_tensor(x).abs()


def clip(x: TensorLike, low: float | None = None, high: float | None = None) -> Tensor:
    """Each element, held between the numbers ``low`` and ``high``; outside of them the derivative is 0."""
    return as_tensor(x).clip(low, high)


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """The larger of each pair of elements; equal ones share the gradient evenly."""
    return apply(elementwise.maximum, *_aligned("maximum", x, y))


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """The smaller of each pair of elements; equal ones share the gradient evenly."""
    return apply(elementwise.minimum, *_aligned("minimum", x, y))


def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """``x`` where the boolean ``condition`` holds, else ``y``; all three broadcast.

    >>> where(Tensor([True, False]), Tensor([1.0, 2.0]), 0.0)
    Tensor([1., 0.])
    """
    condition = as_tensor(condition)
    if condition.dtype != bool:
        raise TypeError(sentence("where", "condition must be boolean", got=str(condition.dtype)))
    return apply(elementwise.where, condition, *_aligned("where", x, y))


def sum(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The sum over all axes, or over ``axis``."""
    return as_tensor(x).sum(axis, keepdims)


def mean(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The mean over all axes, or over ``axis``; of integers and booleans as float32."""
    return as_tensor(x).mean(axis, keepdims)


def max(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The largest value; where several are, they share the gradient evenly."""
    return as_tensor(x).max(axis, keepdims)


def min(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """The smallest value; where several are, they share the gradient evenly."""
    return as_tensor(x).min(axis, keepdims)


def var(x: TensorLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The variance, divided by ``n - ddof``: NumPy's default 0, where PyTorch's is 1."""
    return as_tensor(x).var(axis, ddof, keepdims)


def std(x: TensorLike, axis: Axis = None, ddof: int = 0, keepdims: bool = False) -> Tensor:
    """The square root of ``var``; where it is 0 its gradient is 0."""
    return as_tensor(x).std(axis, ddof, keepdims)


def argmax(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the largest value stands along ``axis``, or in the flattened tensor: the first of several."""
    return as_tensor(x).argmax(axis, keepdims)


def argmin(x: TensorLike, axis: int | None = None, keepdims: bool = False) -> Tensor:
    """Where the smallest value stands along ``axis``, or in the flattened tensor: the first of several."""
    return as_tensor(x).argmin(axis, keepdims)


def any(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether any value is not zero."""
    return as_tensor(x).any(axis, keepdims)


def all(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """Whether no value is zero."""
    return as_tensor(x).all(axis, keepdims)


def logsumexp(x: TensorLike, axis: Axis = None, keepdims: bool = False) -> Tensor:
    """``log(sum(exp(x)))`` over all axes, or over ``axis``, without overflow."""
    return as_tensor(x).logsumexp(axis, keepdims)


def softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """``exp(x) / sum(exp(x))`` along ``axis``, without overflow."""
    return as_tensor(x).softmax(axis)


def log_softmax(x: TensorLike, axis: int = -1) -> Tensor:
    """The logarithm of ``softmax``, without overflow."""
    return as_tensor(x).log_softmax(axis)


def reshape(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """The same elements in another shape; one size may be -1."""
    return as_tensor(x).reshape(*shape)


def flatten(x: TensorLike, start: int = 0, end: int = -1) -> Tensor:
    """The axes ``start`` to ``end`` as one."""
    return as_tensor(x).flatten(start, end)


def transpose(x: TensorLike, *axes: int | Sequence[int]) -> Tensor:
    """The axes in the order ``axes``, or reversed."""
    return as_tensor(x).transpose(*axes)


def permute(x: TensorLike, *axes: int | Sequence[int]) -> Tensor:
    """The axes in the order ``axes``."""
    return as_tensor(x).permute(*axes)


def swapaxes(x: TensorLike, axis1: int, axis2: int) -> Tensor:
    """The two axes exchanged."""
    return as_tensor(x).swapaxes(axis1, axis2)


def squeeze(x: TensorLike, axis: Axis = None) -> Tensor:
    """Without the axes of size 1, or without those in ``axis``, whose size must be 1."""
    return as_tensor(x).squeeze(axis)


def unsqueeze(x: TensorLike, axis: int) -> Tensor:
    """With a new axis of size 1 at ``axis``."""
    return as_tensor(x).unsqueeze(axis)


def broadcast_to(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """The tensor repeated to ``shape`` without copying, by the rules of broadcasting."""
    return as_tensor(x).broadcast_to(*shape)


def expand(x: TensorLike, *shape: int | Sequence[int]) -> Tensor:
    """Like ``broadcast_to``; -1 keeps the size of an axis."""
    return as_tensor(x).expand(*shape)


def concatenate(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """The tensors one after the other along ``axis``; the other sizes must agree."""
    parts = _common("concatenate", tensors)
    ndim = parts[0].ndim
    if not -ndim <= axis < ndim:
        raise ValueError(sentence("concatenate", f"axis must lie in [-{ndim}, {ndim})", got=axis))
    axis %= ndim
    if len({(*part.shape[:axis], *part.shape[axis + 1 :]) for part in parts} | {ndim}) > 2:
        shapes_seen = [part.shape for part in parts]
        raise ValueError(sentence("concatenate", f"the sizes must agree in all axes but {axis}", got=shapes_seen))
    starts = tuple(accumulate((part.shape[axis] for part in parts), initial=0))
    return apply(shapes.concatenate, *parts, axis=axis, starts=starts)


def stack(tensors: Sequence[TensorLike], axis: int = 0) -> Tensor:
    """The tensors, all of one shape, along a new axis at ``axis``."""
    parts = _common("stack", tensors)
    ndim = parts[0].ndim + 1
    if not -ndim <= axis < ndim:
        raise ValueError(sentence("stack", f"axis must lie in [-{ndim}, {ndim})", got=axis))
    if len({part.shape for part in parts}) > 1:
        raise ValueError(sentence("stack", "the tensors must have one shape", got=[part.shape for part in parts]))
    return apply(shapes.stack, *parts, axis=axis % ndim)


def split(x: TensorLike, sections: int | Sequence[int], axis: int = 0) -> list[Tensor]:
    """The tensor cut along ``axis``, as by NumPy: into ``sections`` equal parts, or at the given positions."""
    x = as_tensor(x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(sentence("split", f"axis must lie in [-{x.ndim}, {x.ndim})", got=axis))
    axis %= x.ndim
    size = x.shape[axis]
    if isinstance(sections, int):
        if sections < 1 or size % sections:
            raise ValueError(sentence("split", f"sections must divide the size {size}", got=sections))
        sections = range(size // sections, size, size // sections) if size else [0] * (sections - 1)
    before = (slice(None),) * axis
    return [x[(*before, slice(a, b))] for a, b in zip([0, *sections], [*sections, size], strict=True)]


def pad(x: TensorLike, widths: int | Sequence[tuple[int, int]], value: float = 0.0) -> Tensor:
    """The tensor in a frame of ``value``, whose ``widths`` are (before, after) for each axis, or one number for all."""
    x = as_tensor(x)
    pairs = ((widths, widths),) * x.ndim if isinstance(widths, int) else tuple(widths)
    if len(pairs) != x.ndim or builtins.any(len(pair) != 2 or builtins.min(pair) < 0 for pair in pairs):
        raise ValueError(sentence("pad", f"widths must be a pair of sizes for each of {x.ndim} axes", got=widths))
    return apply(shapes.pad, x, widths=pairs, value=value)


def matmul(x: TensorLike, y: TensorLike) -> Tensor:
    """The matrix product ``x @ y``: of the last two axes, with the others broadcast; a single axis is a vector."""
    return apply(linalg.matmul, *_aligned("matmul", as_tensor(x), as_tensor(y)))


def einsum(subscripts: str, *operands: TensorLike) -> Tensor:
    """The Einstein sum, as NumPy's: ``einsum("bij,jk->bik", x, y)``.

    >>> einsum("ii", Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor(5.)
    """
    parts = _common("einsum", operands)
    return apply(linalg.einsum, *parts, subscripts=_explicit(subscripts, [part.ndim for part in parts]))


def _aligned(who: str, x: TensorLike, y: TensorLike) -> tuple[Tensor | float, Tensor | float]:
    """Two operands in a common floating dtype; a number stays a number beside a tensor."""
    if isinstance(y, Tensor) and not isinstance(x, Tensor):
        y, x = _aligned(who, y, x)
        return x, y
    pair = align(as_tensor(x), y)
    if pair is None:
        raise TypeError(sentence(who, "operands must be tensors, arrays or numbers", got=y))
    return pair


def _common(who: str, operands: Sequence[TensorLike]) -> list[Tensor]:
    """The operands as tensors; where some are floating, the integers among them take the first floating dtype."""
    tensors = [as_tensor(operand) for operand in operands]
    if not tensors:
        raise ValueError(sentence(who, "at least one tensor is needed"))
    dtype = next((t.dtype for t in tensors if t.dtype.kind == "f"), None)
    return [t if dtype is None or t.dtype.kind == "f" else t.astype(dtype) for t in tensors]


def _explicit(subscripts: str, ndims: list[int]) -> str:
    """The subscripts with the result written out and letters in place of the ellipsis."""
    subscripts = subscripts.replace(" ", "")
    terms, arrow, result = subscripts.partition("->")
    labels = terms.split(",")
    if len(labels) != len(ndims):
        raise ValueError(sentence("einsum", f"subscripts must name {len(ndims)} operands", got=subscripts))
    hidden = [ndim - len(label.replace("...", "")) for label, ndim in zip(labels, ndims, strict=True)]
    if builtins.any(n < 0 or (n > 0 and "..." not in label) for n, label in zip(hidden, labels, strict=True)):
        raise ValueError(sentence("einsum", f"subscripts must name the axes of operands with {ndims}", got=subscripts))
    unused = [letter for letter in ascii_letters if letter not in subscripts]
    batch = "".join(unused[: builtins.max(hidden)])
    labels = [label.replace("...", batch[len(batch) - n :]) for label, n in zip(labels, hidden, strict=True)]
    if not arrow:
        written = "".join(labels)
        result = "..." + "".join(sorted(c for c in set(written) - set(batch) if written.count(c) == 1))
    return ",".join(labels) + "->" + result.replace("...", batch)
