"""The words of a rule where operators end: ``sqrt``, ``where`` and their like.

Each works on whatever a rule may be run on: numbers, arrays of NumPy, PyTorch and JAX, SymPy expressions, and the
symbols of the tracer. An array that a rule is run on by hand is one parameter; of more than two axes, the first one
makes the rows, and all others together the columns.
"""

import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from minima.errors import sentence
from minima.optim.language import decompositions
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.ranks import ColumnsByColumns, Exact, PerColumn, PerRow, PerTensor, RowsByRows, Shared

__all__ = ["ColumnsByColumns", "Exact", "PerColumn", "PerRow", "PerTensor", "RowsByRows", "Shared", "Symbolic", "abs"]
__all__ += [
    "bfloat16",
    "cbrt",
    "clip",
    "direction",
    "eigh",
    "exp",
    "log",
    "max",
    "maximum",
    "mean",
    "minimum",
    "norm",
    "qr",
    "sign",
    "sort_columns",
    "sqrt",
    "sum",
    "total",
    "where",
]


class Symbolic(ABC):
    """A value that stands for an array in a rule and says itself what a word of the vocabulary means for it."""

    @abstractmethod
    def call(self, name: str, args: tuple[Any, ...]) -> Any:
        """The result of the word ``name`` for ``args``, one of which is this value."""


def sqrt(x: Any) -> Any:
    """Square root of each element."""
    return _call("sqrt", x)


def exp(x: Any) -> Any:
    """e to the power of each element."""
    return _call("exp", x)


def log(x: Any) -> Any:
    """Natural logarithm of each element."""
    return _call("log", x)


def abs(x: Any) -> Any:
    """Absolute value of each element."""
    return _call("abs", x)


def sign(x: Any) -> Any:
    """The sign of each element: -1, 0 or 1."""
    return _call("sign", x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two values, element by element."""
    return _call("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two values, element by element."""
    return _call("minimum", x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition is true, ``y`` elsewhere; use it in a rule instead of ``if``.

    >>> import numpy as np
    >>> where(np.array([1.0, -2.0]) > 0, 1.0, 0.0)
    array([1., 0.])
    """
    return _call("where", condition, x, y)


def cbrt(x: Any) -> Any:
    """Cube root of each element."""
    return _call("cbrt", x)


def clip(x: Any, low: Any, high: Any) -> Any:
    """``x`` clipped to ``[low, high]``, element by element: ``minimum(maximum(x, low), high)``.

    >>> clip(3.0, -1, 1)
    1.0
    """
    return minimum(maximum(x, low), high)


def bfloat16(x: Any) -> Any:
    """Each element rounded to the nearest bfloat16 number, with ties to even.

    Between matrix products of rounded values, ``bfloat16(x @ y)``, PyTorch's operations may then multiply in bfloat16
    and accumulate in float32.

    >>> bfloat16(3.14159)
    3.140625
    """
    return _call("bfloat16", x)


def direction(x: Any) -> Any:
    """``x`` itself, marked as the direction of the step for options such as ``cautious``.

    The parameter moves against it: ``param - lr * direction(exp_avg)``.
    """
    return x.call("direction", (x,)) if isinstance(x, Symbolic) else x


def sum(x: Any, *others: Any, axis: int | None = None) -> Any:
    """The sum over all elements of a parameter; or over each column (``axis=0``), or each row (``axis=1``).

    The reduced axis is kept with length 1, so ``rows * columns`` has the shape of the parameter.

    >>> import numpy as np
    >>> sum(np.array([[1.0, 2.0], [3.0, 4.0]]), axis=1)
    array([[3.],
           [7.]])
    """
    return _reduce("sum", x, axis, others)


def mean(x: Any, *others: Any, axis: int | None = None) -> Any:
    """The mean over all elements of a parameter; or over each column (``axis=0``), or each row (``axis=1``)."""
    return _reduce("mean", x, axis, others)


def max(x: Any, *others: Any, axis: int | None = None) -> Any:
    """The maximum over all elements of a parameter; or over each column (``axis=0``), or each row (``axis=1``)."""
    return _reduce("max", x, axis, others)


def norm(x: Any, *others: Any, axis: int | None = None) -> Any:
    """The Euclidean norm of all elements of a parameter; or of each column (``axis=0``), or each row (``axis=1``).

    Squares are computed in float64, so they neither overflow nor underflow in float32. If you call a rule with JAX
    arrays yourself, they are computed in the precision of the arrays.
    """
    return _reduce("norm", x, axis, others)


def total(x: Any) -> Any:
    """The sum over all parameters that the optimizer updates together: of their elements, or of one number of each.

    Outside an optimizer, with a single parameter, it is ``sum``.
    """
    return x.call("total", (x,)) if isinstance(x, Symbolic) else _reduce("sum", x, None)


def eigh(x: Any) -> Any:
    """Eigenvalues of a symmetric matrix, as a row in ascending order, and its eigenvectors, as columns of a matrix.

    They are computed in float64 for any precision of the matrix. ``vectors * values @ vectors.T`` is the matrix. For a
    matrix that is not finite, all are NaN.

    >>> import numpy as np
    >>> values, vectors = eigh(np.array([[2.0, 0.0], [0.0, 1.0]]))
    >>> values, vectors**2
    (array([[1., 2.]]), array([[0., 1.],
           [1., 0.]]))
    """
    return _decompose("eigh", x)


def qr(x: Any) -> Any:
    """The QR decomposition of a square matrix: an orthogonal factor and an upper triangular factor.

    They are computed in float64, whatever the precision of the matrix. The first columns of the orthogonal factor span
    what the first columns of the matrix do.

    >>> import numpy as np
    >>> q, r = qr(np.array([[0.0, 2.0], [3.0, 5.0]]))
    >>> np.allclose(q @ r, [[0, 2], [3, 5]]), np.allclose(q.T @ q, np.eye(2))
    (True, True)
    """
    return _decompose("qr", x)


def sort_columns(x: Any, by: Any) -> Any:
    """The columns of a matrix by what ``by`` has for each, a row, the largest first.

    >>> import numpy as np
    >>> sort_columns(np.array([[1.0, 2.0], [3.0, 4.0]]), by=np.array([[5.0, 6.0]]))
    array([[2., 1.],
           [4., 3.]])
    """
    for value in (x, by):
        if isinstance(value, Symbolic):
            return value.call("sort_columns", (x, by))
    if type(x).__module__.partition(".")[0] == "sympy":
        return sys.modules["sympy"].Function("sort_columns")(x, by)
    return decompositions.sort_columns(x, by)


def _decompose(word: str, x: Any) -> Any:
    if isinstance(x, Symbolic):
        return x.call(word, (x,))
    library = type(x).__module__.partition(".")[0]
    if library == "sympy":
        function = sys.modules["sympy"].Function
        return tuple(function(f"{word}_{part}")(x) for part in ("first", "second"))
    if library not in ("torch", "jax", "jaxlib"):
        x = _array(word, x)
    if getattr(x, "ndim", 0) != 2 or x.shape[0] != x.shape[1]:
        raise ValueError(sentence(word, "takes a square matrix", got=getattr(x, "shape", x)))
    return getattr(decompositions, word)(x)


def _reduce(word: str, x: Any, axis: Any, others: tuple[Any, ...] = ()) -> Any:
    if others:
        hint = "write maximum(x, y) for the larger of two, or axis=0" if word == "max" else "write axis=0 or axis=1"
        raise TypeError(sentence(word, "takes one value, and the axis by its name", got=1 + len(others), hint=hint))
    if axis is not None and (not isinstance(axis, int) or isinstance(axis, bool) or axis not in (0, 1)):
        rule = "axis must be 0, over the rows, or 1, over the columns, or left out"
        raise ValueError(sentence(word, rule, got=axis))
    if isinstance(x, Symbolic):
        return x.call(word if axis is None else f"{word}{axis}", (x,))
    library = type(x).__module__.partition(".")[0]
    if library == "sympy":
        return sys.modules["sympy"].Function(word if axis is None else f"{word}{axis}")(x)
    if library not in ("torch", "jax", "jaxlib") and not isinstance(x, int | float):
        x = _array(word, x)
    many = 0 if isinstance(x, int | float) else x.ndim
    kept = {None: tuple(range(many)), 0: (0,) if many else (), 1: tuple(range(1, many))}[axis]
    if not kept:  # there is one of each
        return abs(x) if word == "norm" else x
    return _over(word, x, kept, keepdims=axis is not None)


def _array(word: str, x: Any) -> Any:
    """What somebody gives a word to run on, as an array of NumPy."""
    array = np.asarray(x)
    if array.dtype.kind not in "biufc":
        raise TypeError(sentence(word, "takes numbers, and arrays of numbers", got=x))
    return array


def _over(word: str, x: Any, axes: tuple[int, ...], *, keepdims: bool) -> Any:
    """A reduction in the order of the library that the array is of."""
    if word == "norm":
        if type(x).__module__ == "numpy":
            found = (x.astype(np.float64) ** 2).sum(axes, keepdims=keepdims) ** 0.5
            return found.astype(x.dtype) if keepdims and x.dtype.kind == "f" else found
        if type(x).__module__.startswith("torch"):
            found = (x.double() ** 2).sum(axes, keepdim=keepdims) ** 0.5
            return found.to(x.dtype) if keepdims and x.is_floating_point() else found
        return (x * x).sum(axes, keepdims=keepdims) ** 0.5
    if type(x).__module__.startswith("torch"):
        return x.amax(axes, keepdim=keepdims) if word == "max" else getattr(x, word)(axes, keepdim=keepdims)
    return getattr(x, word)(axes, keepdims=keepdims)


def _call(name: str, *args: Any) -> Any:
    for value in args:
        if isinstance(value, Symbolic):
            return value.call(name, args)
    for value in args:
        library = type(value).__module__.partition(".")[0]
        if library in _LIBRARIES:
            return _LIBRARIES[library](name, args)
    for value in args:
        if not isinstance(value, int | float | np.ndarray):
            _array(name, value)
    if OPERATIONS[name].definition is not None:  # which would lose the imaginary part
        for value in args:
            if np.iscomplexobj(value):
                raise TypeError(sentence(name, "takes real numbers, and no complex ones", got=value))
    result = OPERATIONS[name].numpy(*args)
    # Of plain numbers a plain number: one of NumPy's would not leave arithmetic with symbols and tensors to them.
    return result if any(isinstance(value, np.ndarray | np.generic) for value in args) else result.item()


def _call_jax(name: str, args: tuple[Any, ...]) -> Any:
    if name == "bfloat16":
        return args[0].astype(sys.modules["jax"].numpy.bfloat16).astype(args[0].dtype)
    return getattr(sys.modules["jax"].numpy, OPERATIONS[name].library)(*args)


def _call_torch(name: str, args: tuple[Any, ...]) -> Any:
    torch = sys.modules["torch"]
    if name == "bfloat16":
        return args[0].to(torch.bfloat16).to(args[0].dtype)
    if name == "cbrt":
        return torch.sign(args[0]) * torch.abs(args[0]) ** (1 / 3)
    if name == "where" and not isinstance(args[0], torch.Tensor):  # a flag, such as first
        return args[1] if args[0] else args[2]
    if name in ("maximum", "minimum"):  # these two take no plain numbers in PyTorch
        like = next(x for x in args if isinstance(x, torch.Tensor))
        args = tuple(torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in args)
    return getattr(torch, OPERATIONS[name].library)(*args)


def _call_sympy(name: str, args: tuple[Any, ...]) -> Any:
    sympy = sys.modules["sympy"]
    if name == "where":
        condition, x, y = args
        return sympy.Piecewise((x, condition), (y, True))
    if name == "bfloat16":
        return sympy.Function(name)(*args)
    if name == "cbrt":  # SymPy's own is complex below 0
        return sympy.sign(args[0]) * sympy.cbrt(sympy.Abs(args[0]))
    return getattr(sympy, OPERATIONS[name].sympy)(*args)


_LIBRARIES = {"jax": _call_jax, "jaxlib": _call_jax, "torch": _call_torch, "sympy": _call_sympy}
