"""DataLoader: goes over a data set in batches, in order or shuffled anew every epoch."""

import operator
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minima.checks import integer
from minima.data.collate import default_collate
from minima.data.dataset import Items, Subset, TensorDataset
from minima.errors import sentence
from minima.random import generator

__all__ = ["DataLoader"]


class DataLoader:
    """Go over a data set in batches of Tensors.

    Args:
        dataset: A `Dataset`, or anything else with a length and items: a list, an array.
        batch_size: Items in a batch, from 1 up.
        shuffle: Whether every epoch has a random order of its own.
        drop_last: Whether a last batch of fewer than ``batch_size`` items is left out.
        seed: An integer from 0 up that, with the number of the epoch, alone decides the order; by default every epoch
            draws its order from the generator that `minima.random.manual_seed` seeds. No matter without ``shuffle``.
        collate_fn: Makes the batch from the list of its items, in the place of `default_collate`.

    Attributes:
        epoch: The number, from 0 up, of the epoch that the next ``iter(loader)`` starts. With a ``seed``, setting it
            repeats or skips epochs.

    Raises:
        TypeError: ``dataset`` has no length or no items, or an argument is not of its type.
        ValueError: ``batch_size`` is below 1, or ``seed`` is negative.

    ``len(loader)`` is the number of batches. A `TensorDataset`, also inside a `Subset`, is cut into whole batches at
    once rather than item by item; batches are copies. Unlike PyTorch's, one process does the loading, and a batch of
    tuples is a tuple.

    >>> import numpy as np
    >>> from minima.data import DataLoader, TensorDataset
    >>> data = TensorDataset(np.arange(10).reshape(5, 2) / 2, np.arange(5))
    >>> for x, y in DataLoader(data, batch_size=2):
    ...     print(x.shape, x.dtype, y.tolist())
    (2, 2) float32 [0, 1]
    (2, 2) float32 [2, 3]
    (1, 2) float32 [4]
    >>> loader = DataLoader(data, batch_size=5, shuffle=True, seed=0)
    >>> orders = [y.tolist() for _ in range(2) for _, y in loader]
    >>> loader.epoch = 0
    >>> [y.tolist() for _, y in loader] == orders[:1], orders[0] == orders[1]
    (True, False)
    """

    def __init__(
        self,
        dataset: Items[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.dataset = _checked_dataset(dataset)
        self.batch_size = integer("DataLoader", "batch_size", batch_size, 1)
        self.shuffle = _checked_flag("shuffle", shuffle)
        self.drop_last = _checked_flag("drop_last", drop_last)
        self.seed = None if seed is None else integer("DataLoader", "seed", seed)
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(sentence("DataLoader", "collate_fn must be callable or None", got=collate_fn))
        self.collate_fn = collate_fn
        self.epoch = 0

    def __len__(self) -> int:
        size = len(self.dataset)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __iter__(self) -> Iterator[Any]:
        # The order is drawn here and not in a generator's body, so that the epoch begins when it is asked for.
        order = self._order()
        self.epoch += 1
        size = self.batch_size
        parts = (order[start : start + size] for start in range(0, len(self) * size, size))
        return map(self._fetcher(), parts)

    def _order(self) -> np.ndarray[Any, np.dtype[np.int64]]:
        size = len(self.dataset)
        if not self.shuffle:
            return np.arange(size)
        source = generator() if self.seed is None else np.random.default_rng([self.seed, self.epoch])
        return source.permutation(size)

    def _fetcher(self) -> Callable[[np.ndarray[Any, np.dtype[np.int64]]], Any]:
        """The function that makes a batch from the positions of its items."""
        dataset, collate = self.dataset, self.collate_fn
        if collate is None:
            tensors, indices = _unwrapped(dataset)
            if tensors is not None:
                return tensors.__getitem__ if indices is None else lambda part: tensors[indices[part]]
            collate = default_collate
        return lambda part: collate([dataset[index] for index in part.tolist()])


def _unwrapped(dataset: Items[Any]) -> tuple[TensorDataset | None, np.ndarray[Any, Any] | None]:
    """The TensorDataset at the bottom of a pile of Subsets, and where the items of the pile lie in it.

    Only for exactly these two classes: a subclass may get its items in its own way.
    """
    indices: np.ndarray[Any, Any] | None = None
    while type(dataset) is Subset:
        indices = dataset.indices if indices is None else dataset.indices[indices]
        dataset = dataset.dataset
    return (dataset, indices) if type(dataset) is TensorDataset else (None, None)


def _checked_dataset(dataset: Any) -> Items[Any]:
    try:
        len(dataset)
        operator.attrgetter("__getitem__")(type(dataset))
    except (TypeError, AttributeError):
        rule = "dataset must have a length and items, as a Dataset, a list or an array has"
        raise TypeError(sentence("DataLoader", rule, got=dataset)) from None
    return dataset


def _checked_flag(name: str, value: Any) -> bool:
    if value is not True and value is not False:
        raise TypeError(sentence("DataLoader", f"{name} must be True or False", got=value))
    return value
