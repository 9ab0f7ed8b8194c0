"""From the items of a batch to Tensors."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np

from minima.autograd import Tensor
from minima.errors import sentence

__all__ = ["default_collate"]


def default_collate(items: Sequence[Any]) -> Any:
    """Stack the items of one batch into Tensors with a new first axis.

    ========================  =======================================================================================
    each item is              the batch is
    ========================  =======================================================================================
    a `Tensor`                a `Tensor` of the same dtype
    an array or a number      a `Tensor`: float32 from floating numbers, int64 from integers, bool from booleans
    a tuple, a list, a dict   the same with a batch in each place; a named tuple stays one
    ``str`` or ``bytes``      the list of the items
    ========================  =======================================================================================

    Other objects that `numpy.asarray` converts to numbers (a torch tensor, a picture) are treated as arrays.

    Args:
        items: At least one item; all of the same kind and, for arrays, of the same shape.

    Raises:
        ValueError: There is no item; shapes, lengths or keys differ within the batch; or an unsigned integer does not
            fit into int64.
        TypeError: Items are of different kinds, or of a kind that is not a number; or no integer dtype fits all of
            them.

    PyTorch keeps the dtype of every array, returns float64 for Python floats, and turns tuples into lists.

    >>> from minima.data import default_collate
    >>> x, label = default_collate([([0.5, 1.5], 0), ([2.5, 3.5], 1)])
    >>> label
    Tensor([0, 1])
    >>> [column.tolist() for column in x]
    [[0.5, 2.5], [1.5, 3.5]]
    """
    if not len(items):
        raise ValueError(sentence("default_collate", "a batch needs at least one item", got=items))
    first = items[0]
    if isinstance(first, str | bytes):
        return list(items)
    if isinstance(first, Mapping):
        return _mappings(cast(Sequence[Mapping[Any, Any]], items))
    if isinstance(first, tuple | list):
        return _sequences(cast(Sequence[Sequence[Any]], items))
    arrays = [_array(item) for item in items]
    if not isinstance(first, Tensor):  # before they are stacked: NumPy stacks uint64 and int64 as floating numbers
        arrays = [_trainable("default_collate", array) if array.dtype.kind == "u" else array for array in arrays]
    if any(array.shape != arrays[0].shape for array in arrays):
        shapes = sorted({array.shape for array in arrays})
        raise ValueError(_complaint("the arrays of one batch must have one shape", shapes))
    stacked = np.stack(arrays)
    if stacked.dtype.kind == "f" and all(array.dtype.kind in "iu" for array in arrays):
        dtypes = sorted({array.dtype.name for array in arrays})
        raise TypeError(_complaint("Tensors of integers must have a dtype that can hold all of one batch", dtypes))
    return Tensor.from_numpy(stacked) if isinstance(first, Tensor) else to_tensor("default_collate", stacked)


def to_tensor(who: str, array: np.ndarray[Any, Any]) -> Tensor:
    """A Tensor of the dtype that training wants: float32, int64 or bool; in the array's memory where it has that."""
    return Tensor.from_numpy(_trainable(who, array))


def _trainable(who: str, array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    kind = array.dtype.kind
    if kind == "u" and array.dtype.itemsize == 8 and (largest := int(array.max(initial=0))) > np.iinfo(np.int64).max:
        hint = "give a Tensor, which keeps its dtype"
        raise ValueError(sentence(who, "integers must fit into int64", got=largest, hint=hint))
    dtype = "float32" if kind == "f" else "int64" if kind in "iu" else array.dtype
    return array.astype(dtype, copy=False)


def array_of(item: Any) -> np.ndarray[Any, Any] | None:
    """The numbers of an item, whatever holds them; ``None`` if there are none."""
    array = item.detach().numpy() if isinstance(item, Tensor) else np.asarray(item)
    return array if array.dtype.kind in "fiub" else None


def _array(item: Any) -> np.ndarray[Any, Any]:
    array = array_of(item)
    if array is None:
        raise TypeError(_complaint("an item must be made of numbers, arrays, tuples, lists, dicts and str", item))
    return array


def _mappings(items: Sequence[Mapping[Any, Any]]) -> dict[Any, Any]:
    first = items[0]
    for item in items:
        if not isinstance(cast(object, item), Mapping):
            raise TypeError(_complaint("the items of one batch must all be dicts when the first is", item))
        if item.keys() != first.keys():
            rule = f"the dicts of one batch must have one set of keys, here {list(first)}"
            raise ValueError(_complaint(rule, list(item)))
    return {key: default_collate([item[key] for item in items]) for key in first}


def _sequences(items: Sequence[Sequence[Any]]) -> Sequence[Any]:
    first = items[0]
    for item in items:
        if type(item) is not type(first):
            rule = f"the items of one batch must all be {type(first).__name__}s when the first is"
            raise TypeError(_complaint(rule, item))
        if len(item) != len(first):
            rule = f"the {type(first).__name__}s of one batch must have one length, here {len(first)}"
            raise ValueError(_complaint(rule, item))
    columns = [default_collate(column) for column in zip(*items, strict=True)]
    if isinstance(first, list):
        return columns
    make = getattr(type(first), "_make", tuple[Any, ...])  # how a named tuple is made from a sequence
    return make(columns)


def _complaint(rule: str, got: object) -> str:
    return sentence("default_collate", rule, got=got, hint="pass DataLoader a collate_fn for anything else")
