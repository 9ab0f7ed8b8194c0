"""Functions of tensors, element by element, and products; arrays and numbers are taken too, as by Tensor."""

import builtins
from operator import index
from string import ascii_letters

from minima.autograd.arrays import check_classes
from minima.autograd.functions_of_shape import in_common_dtype
from minima.autograd.operations import discrete, elementwise, linalg
from minima.autograd.tensor import Tensor, TensorLike, align, apply, as_tensor
from minima.errors import sentence

__all__ = [
    "abs",
    "ceil",
    "clamp",
    "clip",
    "cos",
    "einsum",
    "elu",
    "erf",
    "exp",
    "expm1",
    "floor",
    "gelu",
    "leaky_relu",
    "log",
    "log10",
    "log1p",
    "log2",
    "masked_fill",
    "matmul",
    "maximum",
    "minimum",
    "one_hot",
    "outer",
    "reciprocal",
    "relu",
    "round",
    "sigmoid",
    "sign",
    "silu",
    "sin",
    "softplus",
    "sqrt",
    "square",
    "tanh",
    "where",
]


def exp(x: TensorLike) -> Tensor:
    """The exponential of each element."""
    return as_tensor(x).exp()


def log(x: TensorLike) -> Tensor:
    """The natural logarithm of each element."""
    return as_tensor(x).log()


def log1p(x: TensorLike) -> Tensor:
    """``log(1 + x)`` of each element, exact for small x too."""
    return as_tensor(x).log1p()


def log2(x: TensorLike) -> Tensor:
    """The logarithm of each element to base 2."""
    return as_tensor(x).log2()


def log10(x: TensorLike) -> Tensor:
    """The logarithm of each element to base 10."""
    return as_tensor(x).log10()


def expm1(x: TensorLike) -> Tensor:
    """``exp(x) - 1`` of each element, exact for small x too."""
    return as_tensor(x).expm1()


def sqrt(x: TensorLike) -> Tensor:
    """The square root of each element."""
    return as_tensor(x).sqrt()


def square(x: TensorLike) -> Tensor:
    """``x * x`` of each element."""
    return as_tensor(x).square()


def reciprocal(x: TensorLike) -> Tensor:
    """``1 / x`` of each element."""
    return as_tensor(x).reciprocal()


def erf(x: TensorLike) -> Tensor:
    """The error function of each element: ``2 / sqrt(pi)`` times the integral of ``exp(-t**2)`` from 0 to x."""
    return as_tensor(x).erf()


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


def silu(x: TensorLike) -> Tensor:
    """``x * sigmoid(x)`` of each element (Elfwing et al., 2018), also called swish."""
    return as_tensor(x).silu()


def softplus(x: TensorLike, beta: float = 1.0, threshold: float = 20.0) -> Tensor:
    """``log(1 + exp(beta * x)) / beta`` of each element; and x where ``beta * x > threshold``, as in PyTorch.

    Args:
        beta: Above 0.
    """
    return as_tensor(x).softplus(beta, threshold)


def leaky_relu(x: TensorLike, negative_slope: float = 0.01) -> Tensor:
    """Each element that is positive, else ``negative_slope * x``, and its derivative at 0 too."""
    return as_tensor(x).leaky_relu(negative_slope)


def elu(x: TensorLike, alpha: float = 1.0) -> Tensor:
    """Each element that is positive, else ``alpha * (exp(x) - 1)`` (Clevert et al., 2016)."""
    return as_tensor(x).elu(alpha)


def abs(x: TensorLike) -> Tensor:
    """The absolute value of each element; the derivative at 0 is 0."""
    return as_tensor(x).abs()


def sign(x: TensorLike) -> Tensor:
    """-1, 0 or 1 for each element, in its dtype; the derivative is 0."""
    return as_tensor(x).sign()


def clip(x: TensorLike, low: float | None = None, high: float | None = None) -> Tensor:
    """Each element, clipped to the range from ``low`` to ``high``; outside the range the derivative is 0."""
    return as_tensor(x).clip(low, high)


def round(x: TensorLike, decimals: int = 0) -> Tensor:
    """Rounds to ``decimals`` decimals, with ties to even; the derivative is 0."""
    return as_tensor(x).round(decimals)


def floor(x: TensorLike) -> Tensor:
    """The nearest integer below each element; the derivative is 0."""
    return as_tensor(x).floor()


def ceil(x: TensorLike) -> Tensor:
    """The nearest integer above each element; the derivative is 0."""
    return as_tensor(x).ceil()


def clamp(x: TensorLike, min: float | None = None, max: float | None = None) -> Tensor:
    """PyTorch's name for ``clip``."""
    return as_tensor(x).clamp(min, max)


def maximum(x: TensorLike, y: TensorLike) -> Tensor:
    """The larger of each pair of elements; equal ones share the gradient evenly."""
    return apply(elementwise.maximum, *_aligned("maximum", x, y))


def minimum(x: TensorLike, y: TensorLike) -> Tensor:
    """The smaller of each pair of elements; equal ones share the gradient evenly."""
    return apply(elementwise.minimum, *_aligned("minimum", x, y))


def where(condition: TensorLike, x: TensorLike, y: TensorLike) -> Tensor:
    """``x`` where the boolean ``condition`` is true, else ``y``; all three broadcast.

    >>> where(Tensor([True, False]), Tensor([1.0, 2.0]), 0.0)
    Tensor([1., 0.])
    """
    condition = as_tensor(condition)
    if condition.dtype != bool:
        raise TypeError(sentence("where", "condition must be boolean", got=str(condition.dtype)))
    return apply(elementwise.where, condition, *_aligned("where", x, y))


def masked_fill(x: TensorLike, mask: TensorLike, value: float) -> Tensor:
    """``value`` where the boolean ``mask`` is true, else ``x``; the mask broadcasts to the shape of ``x``.

    >>> masked_fill(Tensor([1.0, 2.0]), Tensor([True, False]), -1.0)
    Tensor([-1.,  2.])
    """
    return as_tensor(x).masked_fill(mask, value)


def one_hot(x: TensorLike, num_classes: int = -1) -> Tensor:
    """One-hot vectors along a new last axis: 1 at the class index, 0 elsewhere, as integers.

    Args:
        x: Integers in [0, num_classes).
        num_classes: The size of the new axis; -1 means the largest index plus 1.

    >>> one_hot(Tensor([0, 2])).tolist()
    [[1, 0, 0], [0, 0, 1]]
    """
    x = as_tensor(x)
    if x.dtype.kind not in "iu":
        raise TypeError(sentence("one_hot", "the class numbers must be integers", got=str(x.dtype)))
    try:
        num_classes = index(num_classes)
    except TypeError:
        raise TypeError(sentence("one_hot", "num_classes must be an integer", got=num_classes)) from None
    if num_classes == -1:
        if not x.buffer.size:
            raise ValueError(sentence("one_hot", "without class numbers, num_classes must be given", got=num_classes))
        num_classes = builtins.max(int(x.buffer.max()), 0) + 1
    if num_classes < 1:
        raise ValueError(sentence("one_hot", "num_classes must be at least 1, or -1", got=num_classes))
    check_classes("one_hot", "the class numbers", x.buffer, num_classes)
    return apply(discrete.one_hot, x, classes=num_classes)


def matmul(x: TensorLike, y: TensorLike) -> Tensor:
    """The matrix product ``x @ y`` of the last two axes; the other axes broadcast, and a single axis is a vector."""
    return apply(linalg.matmul, *_aligned("matmul", as_tensor(x), as_tensor(y)))


def outer(x: TensorLike, y: TensorLike) -> Tensor:
    """The outer product: the products of each element of ``x`` with each element of ``y``, both vectors."""
    x, y = as_tensor(x), as_tensor(y)
    if x.ndim != 1 or y.ndim != 1:
        raise ValueError(sentence("outer", "the operands must be vectors", got=[x.shape, y.shape], hint="flatten them"))
    return x.unsqueeze(1) * y


def einsum(subscripts: str, *operands: TensorLike) -> Tensor:
    """The Einstein summation of NumPy: ``einsum("bij,jk->bik", x, y)``.

    >>> einsum("ii", Tensor([[1.0, 2.0], [3.0, 4.0]]))
    Tensor(5.)
    """
    if not isinstance(subscripts, str):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        raise TypeError(sentence("einsum", "subscripts must be a string", got=subscripts))
    parts = in_common_dtype("einsum", operands)
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
