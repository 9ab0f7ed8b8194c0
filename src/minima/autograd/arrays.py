"""From data and indices of any kind to NumPy's."""

from typing import Any

import numpy as np

from minima.autograd.dtypes import FLOAT, DTypeLike, as_dtype
from minima.autograd.primitive import Array, is_numpy
from minima.autograd.tape import Value
from minima.errors import sentence

__all__ = ["as_array", "as_index"]


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
