"""The words of a rule where operators end: ``sqrt``, ``where`` and their like.

Each works on whatever a rule may be run on: numbers, arrays of NumPy, PyTorch and JAX, SymPy expressions, and the
symbols of the tracer.
"""

import sys
from abc import ABC, abstractmethod
from typing import Any

import numpy as np

from minima.optim.language.operations import OPERATIONS

__all__ = ["Symbolic", "abs", "exp", "log", "maximum", "minimum", "sign", "sqrt", "where"]


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
    """-1, 0 or 1 by the sign of each element."""
    return _call("sign", x)


def maximum(x: Any, y: Any) -> Any:
    """The larger of two, element by element."""
    return _call("maximum", x, y)


def minimum(x: Any, y: Any) -> Any:
    """The smaller of two, element by element."""
    return _call("minimum", x, y)


def where(condition: Any, x: Any, y: Any) -> Any:
    """``x`` where the condition holds, else ``y``: what a rule writes instead of ``if``.

    >>> import numpy as np
    >>> where(np.array([1.0, -2.0]) > 0, 1.0, 0.0)
    array([1., 0.])
    """
    return _call("where", condition, x, y)


def _call(name: str, *args: Any) -> Any:
    for value in args:
        if isinstance(value, Symbolic):
            return value.call(name, args)
    for value in args:
        library = type(value).__module__.partition(".")[0]
        if library in _LIBRARIES:
            return _LIBRARIES[library](name, args)
    result = OPERATIONS[name].numpy(*args)
    # Of plain numbers a plain number: one of NumPy's would not leave arithmetic with symbols and tensors to them.
    return result if any(isinstance(value, np.ndarray | np.generic) for value in args) else result.item()


def _call_jax(name: str, args: tuple[Any, ...]) -> Any:
    return getattr(sys.modules["jax"].numpy, OPERATIONS[name].library)(*args)


def _call_torch(name: str, args: tuple[Any, ...]) -> Any:
    torch = sys.modules["torch"]
    if name in ("maximum", "minimum"):  # these two take no plain numbers in PyTorch
        like = next(x for x in args if isinstance(x, torch.Tensor))
        args = tuple(torch.as_tensor(x, dtype=like.dtype, device=like.device) for x in args)
    return getattr(torch, OPERATIONS[name].library)(*args)


def _call_sympy(name: str, args: tuple[Any, ...]) -> Any:
    sympy = sys.modules["sympy"]
    if name == "where":
        condition, x, y = args
        return sympy.Piecewise((x, condition), (y, True))
    return getattr(sympy, OPERATIONS[name].sympy)(*args)


_LIBRARIES = {"jax": _call_jax, "jaxlib": _call_jax, "torch": _call_torch, "sympy": _call_sympy}
