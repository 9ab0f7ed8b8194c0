"""From data and indices of any kind to NumPy's."""

from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from minima.autograd.dtypes import FLOAT, DTypeLike, as_dtype
from minima.autograd.primitive import Array, is_numpy
from minima.autograd.tape import Value
from minima.checks import integer
from minima.errors import sentence

__all__ = [
    "as_array",
    "as_axis",
    "as_bound",
    "as_index",
    "as_integers",
    "as_number",
    "as_plain",
    "check_classes",
    "made",
]


def as_array(data: object, dtype: DTypeLike | None) -> Array:
    """A fresh array of the data in ``dtype``; by default floating data become float32, the others keep theirs."""
    if isinstance(data, Value):
        return np.array(data.buffer, dtype=None if dtype is None else as_dtype(dtype))
    try:
        found = np.asarray(data)
    except ValueError:
        rule = "data must be a number, an array or evenly nested sequences"
        raise ValueError(sentence("Tensor", rule, got=data)) from None
    except (RuntimeError, TypeError) as error:  # such as a tensor of PyTorch that requires a gradient
        raise TypeError(
            sentence("Tensor", f"data must be readable as an array, and are not ({error})", got=data)
        ) from error
    if found.dtype.kind not in "fiub":
        raise TypeError(sentence("Tensor", "data must be real numbers or booleans", got=data))
    if dtype is None:
        return np.array(found, dtype=FLOAT if found.dtype.kind == "f" else None)
    return np.array(found, dtype=as_dtype(dtype))


def as_index(index: Any, *, keep: bool) -> tuple[Any, ...]:
    """An index as a tuple for NumPy, with tensors as arrays; with ``keep``, arrays that nobody else can change."""
    items: list[Any] = [*index] if isinstance(index, tuple) else [index]
    ready = [_item(item, keep) for item in items]
    if not any(item is Ellipsis for item in ready):
        ready.append(Ellipsis)  # an index of every axis then gives a view without axes, not a copy
    return tuple(ready)


def _item(item: Any, keep: bool) -> Any:
    array: Any = item.buffer if isinstance(item, Value) else item
    return np.array(array) if isinstance(item, list) or (keep and is_numpy(array)) else array


def as_axis(who: str, axis: Any, ndim: int) -> int:
    """The argument ``axis`` as the number of one of ``ndim`` axes, from 0 on."""
    place = integer(who, "axis", axis, None)
    if not -ndim <= place < ndim:
        raise ValueError(sentence(who, f"axis must lie in [{-ndim}, {ndim})", got=axis))
    return place % ndim


def as_integers(who: str, name: str, value: Any) -> int | tuple[int, ...]:
    """The argument ``name``, an integer or a sequence of such, with Python's own."""
    if isinstance(value, Sequence | np.ndarray) and not isinstance(value, str):
        return tuple(integer(who, name, each, None) for each in cast("Sequence[Any]", value))
    return integer(who, name, value, None)


def as_plain(value: Any) -> Array:
    """The array of a tensor, or what NumPy makes of anything else."""
    return value.buffer if isinstance(value, Value) else np.asarray(value)


def made(who: str, got: object, maker: Callable[..., Array], *arguments: Any) -> Array:
    """What NumPy makes of numbers and sizes."""
    try:
        return maker(*arguments)
    except (TypeError, ValueError, ZeroDivisionError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(sentence(who, "the arguments must be numbers, sizes of at least 0 and no step 0", got=got)) from None


def as_number(who: str, name: str, value: Any) -> float:
    """The argument ``name`` as Python's number, which is weak: NumPy's own would widen float32."""
    try:
        return float(value)
    except (TypeError, ValueError):
        raise TypeError(sentence(who, f"{name} must be a number", got=value)) from None


def as_bound(who: str, name: str, value: Any) -> Any:
    """The argument ``name`` as Python's number, if it is one, or as it is: None, or an array of real numbers."""
    if value is None or type(value) is float or type(value) is int:
        return value
    array = np.asarray(None if isinstance(value, Value) else value)
    if array.dtype.kind not in "fiub":
        raise TypeError(sentence(who, f"{name} must be a number", got=value))
    return value if array.ndim else array.item()


# The unsigned type of each integer type: to it, a negative number is a huge one.
_UNSIGNED = {np.dtype(f"{kind}{size}"): np.dtype(f"u{size}") for kind in "iu" for size in (1, 2, 4, 8)}


def check_classes(who: str, name: str, numbers: Any, classes: int) -> None:
    """Refuses integers that do not lie in [0, classes)."""
    if not is_numpy(numbers) or numbers.size == 0:
        return  # a tracer has no values to check
    unsigned = numbers.view(_UNSIGNED[numbers.dtype])
    if unsigned.item(unsigned.argmax()) >= classes:  # one pass for both ends, which starts faster than that of max
        wrong = numbers[(numbers < 0) | (numbers >= classes)]
        raise ValueError(sentence(who, f"{name} must lie in [0, {classes})", got=int(wrong[0])))
