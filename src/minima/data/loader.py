"""DataLoader: goes over a data set in batches, in order or shuffled anew every epoch."""

import weakref
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any, cast

import numpy as np

from minima.checks import checked, flag, integer, or_none
from minima.data.collate import default_collate
from minima.data.dataset import Items, Subset, TensorDataset, described, items
from minima.errors import sentence
from minima.random import generator, generator_at, get_state

__all__ = ["DataLoader"]


class DataLoader:
    """Iterates over a data set in batches of Tensors.

    Args:
        dataset: A `Dataset`, or another object with a length and items, such as a list or an array.
        batch_size: Number of items in a batch, at least 1.
        shuffle: Whether every epoch has a new random order.
        drop_last: Whether to drop a last batch with fewer than ``batch_size`` items.
        seed: An integer, at least 0. With it, the order depends only on the seed and on the number of the epoch; by
            default, every epoch draws its order from the generator of `minima.random.manual_seed`. No effect without
            ``shuffle``.
        collate_fn: A function that makes the batch from the list of its items; by default `default_collate`.

    Raises:
        TypeError: ``dataset`` has no length or no items, or an argument has the wrong type.
        ValueError: ``batch_size`` is below 1, or ``seed`` is negative.

    ``len(loader)`` is the number of batches. From a `TensorDataset`, also inside a `Subset`, whole batches are taken at
    once instead of single items; batches are copies. A StopIteration in the data set or in ``collate_fn``, which would
    silently end the epoch, becomes a RuntimeError. Unlike in PyTorch, a single process does the loading, and a batch of
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

    dataset: Items[Any] = checked(items)
    batch_size: int = checked(partial(integer, low=1))
    shuffle: bool = checked(flag)
    drop_last: bool = checked(flag)
    seed: int | None = checked(or_none(integer))

    def __init__(
        self,
        dataset: Items[Any],
        batch_size: int = 1,
        shuffle: bool = False,
        drop_last: bool = False,
        seed: int | None = None,
        collate_fn: Callable[[list[Any]], Any] | None = None,
    ) -> None:
        self.dataset = dataset
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.drop_last = drop_last
        self.seed = seed
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(sentence("DataLoader", "collate_fn must be callable or None", got=collate_fn))
        self.collate_fn = collate_fn
        self._epoch = 0
        # Where the next iteration starts in that epoch, and the generator's state that its order is drawn from.
        self._start: tuple[int, dict[str, Any] | None] = 0, None
        self._running: weakref.ref[_Epoch] | None = None

    @property
    def epoch(self) -> int:
        """The number, at least 0, of the epoch that the next ``iter(loader)`` starts or continues.

        With a ``seed``, setting it to another number repeats or skips epochs.
        """
        return self._epoch

    @epoch.setter
    def epoch(self, value: int) -> None:
        number = integer("DataLoader", "epoch", value)
        if number != self._epoch:
            self._go(number, 0, None)

    def __len__(self) -> int:
        size = len(self.dataset)
        return size // self.batch_size if self.drop_last else -(-size // self.batch_size)

    def __repr__(self) -> str:
        return f"DataLoader({described(self.dataset)}{''.join(f', {name}={value!r}' for name, value in self._asked())})"

    def _repr_markdown_(self) -> str:  # notebooks show this
        rows = [
            ("data set", described(self.dataset)),
            ("items", f"{len(self.dataset):,}"),
            ("batches", f"{len(self):,}"),
        ]
        rows += [(f"`{name}`", f"`{value!r}`") for name, value in self._asked()]
        return "\n".join(["| DataLoader | |", "| --- | --- |", *(f"| {name} | {value} |" for name, value in rows)])

    def _asked(self) -> list[tuple[str, Any]]:
        """The batch size, and what else is not the default."""
        usually = {"batch_size": 0, "shuffle": False, "drop_last": False, "seed": None, "collate_fn": None}
        return [(name, value) for name, usual in usually.items() if (value := getattr(self, name)) is not usual]

    def __iter__(self) -> Iterator[Any]:
        # The order is drawn here and not with the first batch, so that the epoch begins when it is asked for.
        batch, drawn = self._start
        order, drawn = self._order(drawn)
        running = _Epoch(self._epoch, batch, drawn, order, len(self), self.batch_size, self._fetcher())
        self._go(self._epoch + 1, 0, None)
        self._running = weakref.ref(running)
        return running

    def state_dict(self) -> dict[str, Any]:
        """The position of the current iteration, as plain values for JSON.

        Within a loop over the loader, it is the epoch and the number of batches returned so far. The position moves to
        the next epoch only when the loop has ended, also by ``break``. Batches count when they are returned, so do not
        prefetch batches between the loader and the training.

        >>> from minima.data import DataLoader
        >>> loader = DataLoader(range(10), batch_size=2)
        >>> for batch in loader:
        ...     if 4 in batch:
        ...         state = loader.state_dict()
        >>> state["epoch"], state["batch"], loader.state_dict()["epoch"], loader.state_dict()["batch"]
        (0, 3, 1, 0)
        >>> loader.load_state_dict(state)
        >>> [batch.tolist() for batch in loader]
        [[6, 7], [8, 9]]
        """
        running = self._running and self._running()
        if running is None or running.over:
            epoch, (batch, drawn) = self._epoch, self._start
        else:
            epoch, batch, drawn = running.number, running.batch, running.drawn
        return {"epoch": epoch, "batch": batch, "generator": drawn} | self._facts()

    def load_state_dict(self, state_dict: Mapping[str, Any]) -> None:
        """Go to the position of a `state_dict`: the next ``iter(loader)`` returns the rest of that epoch in order.

        The order of a started epoch is drawn from the saved state of the generator; the generator itself does not
        change.

        Args:
            state_dict: The result of `state_dict`, of a loader with the same number of items and the same arguments.

        Raises:
            TypeError: ``state_dict`` is not a mapping.
            ValueError: It belongs to another kind of loader, or is invalid; nothing was changed.
        """
        who = "DataLoader.load_state_dict"
        if not isinstance(cast(object, state_dict), Mapping):
            raise TypeError(sentence(who, "state_dict must be a mapping", got=state_dict))
        own = self._facts()
        names = {"epoch", "batch", "generator", *own}
        if set(state_dict) != names:
            raise ValueError(sentence(who, f"state_dict must hold {', '.join(sorted(names))}", got=sorted(state_dict)))
        other = [
            f"{name} {state_dict[name]!r}, not {value!r}" for name, value in own.items() if state_dict[name] != value
        ]
        if other:
            rule = f"the state must be of a loader like this one, but is of one with {'; '.join(other)}"
            raise ValueError(sentence(who, rule, hint="nothing was loaded"))
        epoch = integer(who, "epoch", state_dict["epoch"])
        batch = integer(who, "batch", state_dict["batch"], 0, len(self) + 1)
        drawn = state_dict["generator"]
        if drawn is not None:
            generator_at(who, drawn)
        elif batch and self.shuffle and self.seed is None:
            raise ValueError(sentence(who, "generator must be a state of it where an epoch has begun", got=drawn))
        self._go(epoch, batch, drawn)

    def _go(self, epoch: int, batch: int, drawn: dict[str, Any] | None) -> None:
        self._epoch, self._start, self._running = epoch, (batch, drawn), None

    def _facts(self) -> dict[str, Any]:
        """What decides the batches beside the position."""
        return {
            "items": len(self.dataset),
            "batch_size": self.batch_size,
            "shuffle": self.shuffle,
            "drop_last": self.drop_last,
            "seed": self.seed if self.shuffle else None,
        }

    def _order(self, drawn: dict[str, Any] | None) -> "tuple[_Order, dict[str, Any] | None]":
        """The order of an epoch, and the state of the generator before it was drawn, where that decides it."""
        size = len(self.dataset)
        if not self.shuffle:
            return np.arange(size), None
        if self.seed is not None:
            return np.random.default_rng([self.seed, self._epoch]).permutation(size), None
        if drawn is not None:
            return generator_at("DataLoader", drawn).permutation(size), drawn
        drawn = get_state()
        return generator().permutation(size), drawn

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_running": None}  # an iteration stays with the loader that began it

    def _fetcher(self) -> "Callable[[_Order], Any]":
        """The function that makes a batch from the positions of its items."""
        dataset, collate = self.dataset, self.collate_fn
        if collate is None:
            tensors, indices = _unwrapped(dataset)
            if tensors is not None:
                return tensors.__getitem__ if indices is None else lambda part: tensors[indices[part]]
            collate = default_collate
        return lambda part: collate([dataset[index] for index in part.tolist()])


_Order = np.ndarray[Any, np.dtype[np.int64]]


class _Epoch(Iterator[Any]):
    """One pass over the batches of an order, from some batch on."""

    def __init__(
        self,
        number: int,
        batch: int,
        drawn: dict[str, Any] | None,
        order: _Order,
        count: int,
        size: int,
        fetch: Callable[[_Order], Any],
    ) -> None:
        self.number = number
        self.batch = batch
        """How many batches of the epoch have been handed out."""
        self.drawn = drawn
        self.over = False
        self._order, self._count, self._size, self._fetch = order, count, size, fetch

    def __next__(self) -> Any:
        if self.batch >= self._count:
            self.over = True
            raise StopIteration
        start = self.batch * self._size
        try:
            made = self._fetch(self._order[start : start + self._size])
        except StopIteration as error:  # it would end the epoch, as if all batches had been handed out
            rule = f"batch {self.batch} of the epoch could not be made: the data set or collate_fn raised StopIteration"
            raise RuntimeError(sentence("DataLoader", rule, hint="an empty iterator given to next()?")) from error
        self.batch += 1
        return made


def _unwrapped(dataset: Items[Any]) -> tuple[TensorDataset | None, np.ndarray[Any, Any] | None]:
    """The TensorDataset at the bottom of a pile of Subsets, and where the items of the pile lie in it.

    Only for exactly these two classes: a subclass may get its items in its own way.
    """
    indices: np.ndarray[Any, Any] | None = None
    while type(dataset) is Subset:
        indices = dataset.indices if indices is None else dataset.indices[indices]
        dataset = dataset.dataset
    return (dataset, indices) if type(dataset) is TensorDataset else (None, None)
