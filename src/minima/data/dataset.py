"""Data sets: what a DataLoader cuts into batches."""

import math
import operator
from collections.abc import Iterator, Sequence
from typing import Any, Generic, Protocol, TypeVar, cast

import numpy as np

from minima.autograd import Tensor
from minima.checks import integer
from minima.data.collate import array_of, to_tensor
from minima.errors import sentence
from minima.random import generator

__all__ = ["Dataset", "Subset", "TensorDataset", "random_split"]

_Item = TypeVar("_Item", covariant=True)


class Dataset(Generic[_Item]):
    """Base class for your own data: define ``__len__`` and ``__getitem__``.

    A `DataLoader` accepts any sequence; deriving from this class is optional, and is checked.

    >>> import numpy as np
    >>> from minima.data import DataLoader, Dataset
    >>> class Squares(Dataset):
    ...     def __len__(self):
    ...         return 5
    ...
    ...     def __getitem__(self, index):
    ...         return np.array([index, index**2], dtype="float32"), index % 2
    >>> for x, y in DataLoader(Squares(), batch_size=3):
    ...     print(x.shape, y.tolist())
    (3, 2) [0, 1, 0]
    (2, 2) [1, 0]
    """

    def __len__(self) -> int:
        """How many items there are."""
        raise NotImplementedError(sentence(type(self).__name__, "a Dataset must define __len__"))

    def __getitem__(self, index: int) -> _Item:
        """The item at ``index``, which lies in [0, len)."""
        raise NotImplementedError(sentence(type(self).__name__, "a Dataset must define __getitem__"))

    def __iter__(self) -> Iterator[_Item]:
        return (self[index] for index in range(len(self)))


class TensorDataset(Dataset[tuple[Tensor, ...]]):
    """Arrays cut along their first axis: item ``i`` is the tuple of every array's row ``i``.

    Args:
        tensors: `Tensor`s or arrays with equal first dimensions. They are not copied, but the returned rows are copies.
            Rows of a `Tensor` keep its dtype; rows of an array become float32, int64 or bool. An unsigned integer that
            does not fit into int64 raises a ValueError.

    Raises:
        ValueError: There is no array, one has no first axis, or their lengths differ.
        TypeError: One is not made of numbers.

    A `DataLoader` takes whole batches from it instead of single items. PyTorch accepts only tensors.

    >>> import numpy as np
    >>> from minima.data import TensorDataset
    >>> data = TensorDataset(np.array([[0.5, 1.0], [1.5, 2.0]]), np.array([0, 1]))
    >>> data[1]
    (Tensor([1.5, 2. ]), Tensor(1))
    """

    def __init__(self, *tensors: Any) -> None:
        if not tensors:
            raise ValueError(sentence("TensorDataset", "at least one array is needed"))
        self.tensors = tuple(each if isinstance(each, Tensor) else _numbers(each) for each in tensors)
        shapes = [each.shape for each in self.tensors]
        if not all(shapes) or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(sentence("TensorDataset", "all arrays must have the same first dimension", got=shapes))

    def __len__(self) -> int:
        return self.tensors[0].shape[0]

    def __repr__(self) -> str:
        none = self[:0]  # which have the dtypes of rows
        rows = (f"{each.dtype}{list(each.shape[1:]) or ''}" for each in none)
        return f"TensorDataset({len(self)} rows of {', '.join(rows)})"

    def __getitem__(self, index: Any) -> tuple[Tensor, ...]:
        """The rows at an index; a slice or an integer array gives several at once."""
        return tuple(_rows(each, index) for each in self.tensors)


class Subset(Dataset[_Item]):
    """Some of the items of a data set, in a given order.

    Args:
        dataset: Any sequence.
        indices: The indices of the items, integers in [-len(dataset), len(dataset)); repetition is allowed.

    Raises:
        TypeError: ``indices`` are not integers.
        ValueError: ``indices`` are not a flat sequence.
        IndexError: One lies outside the data set.

    >>> from minima.data import Subset
    >>> list(Subset("abcdef", [4, 0, -1]))
    ['e', 'a', 'f']
    """

    def __init__(self, dataset: "Items[_Item]", indices: Sequence[int] | np.ndarray[Any, Any]) -> None:
        array = np.asarray(indices)
        if array.ndim != 1:
            raise ValueError(sentence("Subset", "indices must be one flat sequence", got=indices))
        if array.size and array.dtype.kind not in "iu":
            raise TypeError(sentence("Subset", "indices must be integers", got=indices))
        size = len(items("Subset", "dataset", dataset))
        outside = array[(array < -size) | (array >= size)]
        if outside.size:
            raise IndexError(sentence("Subset", f"indices must lie in [{-size}, {size})", got=int(outside[0])))
        self.dataset = dataset
        # counted from the front, since a user's __getitem__ need not know negative indices
        self.indices = np.where(array < 0, array + size, array).astype(np.int64)

    def __len__(self) -> int:
        return len(self.indices)

    def __repr__(self) -> str:
        return f"Subset({len(self)} of {described(self.dataset)})"

    def __getitem__(self, index: int) -> _Item:
        return self.dataset[int(self.indices[index])]


def random_split(
    dataset: "Items[_Item]", lengths: Sequence[int] | Sequence[float], seed: int | None = None
) -> list[Subset[_Item]]:
    """Split a data set at random into several disjoint parts.

    Args:
        dataset: Any sequence.
        lengths: The number of items of each part, with the sum ``len(dataset)``; or fractions with the sum 1, where
            each part gets ``floor(fraction * len(dataset))`` items, and the remaining items are added one by one to the
            parts in order.
        seed: An integer, at least 0, that determines the split; by default the global generator is used.

    Returns:
        One `Subset` per length.

    Raises:
        TypeError: A length is not a number.
        ValueError: A length is negative, or they do not add up.

    The same as in PyTorch, with ``seed`` instead of ``generator``.

    >>> from minima.data import random_split
    >>> train, valid = random_split(range(10), [0.75, 0.25], seed=0)
    >>> len(train), len(valid), sorted([*train, *valid]) == list(range(10))
    (8, 2, True)
    """
    counts = _counts(len(items("random_split", "dataset", dataset)), lengths)
    source = generator() if seed is None else np.random.default_rng(integer("random_split", "seed", seed))
    order = source.permutation(len(dataset))
    stops = np.cumsum([0, *counts])
    return [Subset(dataset, order[start:stop]) for start, stop in zip(stops[:-1], stops[1:], strict=True)]


class Items(Protocol[_Item]):
    """What can be cut into batches: a `Dataset`, a list, an array, anything with a length and items."""

    def __len__(self) -> int: ...
    def __getitem__(self, index: int, /) -> _Item: ...


def described(dataset: Any) -> str:
    """A data set in a few words, whatever it is."""
    if isinstance(dataset, (TensorDataset, Subset)):
        return f"{dataset!r}"
    return f"{type(dataset).__name__} of {len(dataset)}"


def items(who: str, name: str, value: Any) -> Items[Any]:
    """``value``, which has a length and items."""
    try:
        len(value)
        operator.attrgetter("__getitem__")(type(value))
    except (TypeError, AttributeError):
        rule = f"{name} must have a length and items, as a Dataset, a list or an array has"
        raise TypeError(sentence(who, rule, got=value)) from None
    return value


def _numbers(each: Any) -> np.ndarray[Any, Any]:
    if isinstance(each, tuple) and all(getattr(one, "shape", ()) for one in cast(Sequence[Any], each)):
        rule = "every array must be an argument of its own"
        raise TypeError(sentence("TensorDataset", rule, got=cast(object, each), hint="write TensorDataset(*arrays)"))
    array = array_of(each)
    if array is None:
        raise TypeError(sentence("TensorDataset", "an array must be made of real numbers", got=cast(object, each)))
    return array


def _rows(each: Tensor | np.ndarray[Any, Any], index: Any) -> Tensor:
    # both ways copy: a batch that the training loop changes must not change the data
    source = each.detach().numpy() if isinstance(each, Tensor) else each
    rows = source.take(index, axis=0) if type(index) is np.ndarray else np.array(source[index])
    return Tensor.from_numpy(rows) if isinstance(each, Tensor) else to_tensor("TensorDataset", rows)


def _counts(size: int, lengths: Sequence[float]) -> list[int]:
    who, rule = "random_split", "lengths must be integers of at least 0, or fractions from 0 to 1"
    try:
        numbers = [float(length) for length in lengths]
    except (TypeError, ValueError):
        raise TypeError(sentence(who, rule, got=lengths)) from None
    if not all(math.isfinite(number) and number >= 0 for number in numbers):
        raise ValueError(sentence(who, rule, got=lengths))
    if all(isinstance(length, int | np.integer) for length in lengths):
        counts = [operator.index(cast(int, length)) for length in lengths]
        if sum(counts) != size:
            raise ValueError(sentence(who, f"integer lengths must add up to the {size} items", got=lengths))
        return counts
    if not math.isclose(sum(numbers), 1):
        raise ValueError(sentence(who, "fractions must add up to 1", got=lengths))
    counts = [math.floor(size * number) for number in numbers]
    for position in range(size - sum(counts)):
        counts[position % len(counts)] += 1
    return counts
