"""DataLoader: batches, orders, epochs, collation, and the sentences for bad arguments."""

import itertools
import pickle
import re
from collections import namedtuple

import numpy as np
import pytest

import minima.data
from minima.autograd import Tensor
from minima.data import DataLoader, Dataset, Subset, TensorDataset, default_collate
from minima.random import manual_seed

SIZE = 7
FEATURES = np.arange(2.0 * SIZE).reshape(SIZE, 2)
LABELS = np.arange(SIZE)


class Items(Dataset):
    """Gives items one at a time, and only for plain integers in range."""

    def __len__(self):
        return SIZE

    def __getitem__(self, index):
        assert type(index) is int and 0 <= index < SIZE
        return FEATURES[index], index


class Doubled(TensorDataset):
    def __getitem__(self, index):
        assert type(index) is int
        x, y = super().__getitem__(index)
        return x * 2, y


class Tripled(Subset):
    def __getitem__(self, index):
        assert type(index) is int
        x, y = super().__getitem__(index)
        return x * 3, y


DATASETS = {
    "tensors": (TensorDataset(FEATURES, LABELS), LABELS, 1),
    "items": (Items(), LABELS, 1),
    "list": ([(row, int(label)) for row, label in zip(FEATURES, LABELS, strict=True)], LABELS, 1),
    "subset of tensors": (Subset(TensorDataset(FEATURES, LABELS), [6, 0, 3]), [6, 0, 3], 1),
    "subset of subset": (Subset(Subset(TensorDataset(FEATURES, LABELS), [6, 0, 3, 2]), [3, 0]), [2, 6], 1),
    "subset of items": (Subset(Items(), [1, -1]), [1, 6], 1),
    "own items over tensors": (Doubled(FEATURES, LABELS), LABELS, 2),
    "own items in a subset": (Tripled(TensorDataset(FEATURES, LABELS), [6, 0, 3]), [6, 0, 3], 3),
    "nothing": (TensorDataset(FEATURES[:0], LABELS[:0]), [], 1),
}


@pytest.mark.parametrize("name", DATASETS)
@pytest.mark.parametrize("batch_size", [1, 3, 7, 50])
@pytest.mark.parametrize("drop_last", [False, True])
@pytest.mark.parametrize("shuffle", [False, True])
def test_batches_hold_the_items_in_order_and_have_the_announced_number(name, batch_size, drop_last, shuffle):
    dataset, labels, factor = DATASETS[name]
    loader = DataLoader(dataset, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=0)
    batches = list(loader)
    sizes = [len(labels[i : i + batch_size]) for i in range(0, len(labels), batch_size)]
    sizes = [size for size in sizes if size == batch_size or not drop_last]
    assert len(loader) == len(batches) == len(sizes)
    seen = []
    for (x, y), size in zip(batches, sizes, strict=True):
        assert isinstance(x, Tensor) and isinstance(y, Tensor)
        assert (x.dtype, x.shape, y.dtype, y.shape) == (np.float32, (size, 2), np.int64, (size,))
        np.testing.assert_array_equal(x.numpy(), FEATURES[y.numpy()] * factor)
        seen += y.numpy().tolist()
    if shuffle:
        assert set(seen) <= set(labels) and len(set(seen)) == len(seen)
    else:
        assert seen == list(labels)[: len(seen)]


def order(loader):
    return [label for _, y in loader for label in y.numpy().tolist()]


def loader_of(dataset, **arguments):
    return DataLoader(dataset, batch_size=2, shuffle=True, **arguments)


def test_an_order_depends_on_the_seed_and_the_epoch_alone():
    first, second = loader_of(Items(), seed=3), loader_of(TensorDataset(FEATURES, LABELS), seed=3)
    orders = [order(first) for _ in range(4)]
    manual_seed(1)  # of no concern to a loader with a seed
    second.epoch = 2
    assert order(second) == orders[2]
    assert second.epoch == 3 and first.epoch == 4
    assert len({tuple(each) for each in orders}) == 4
    assert order(loader_of(Items(), seed=4)) != orders[0]


def test_an_epoch_starts_when_it_is_asked_for_and_counts_though_it_is_left_early():
    loader = loader_of(Items(), seed=0)
    orders = [order(loader) for _ in range(2)]
    loader.epoch = 0
    next(iter(loader))
    assert loader.epoch == 1
    assert order(loader) == orders[1]
    loader.epoch = 0
    two = [[], []]
    for batches in zip(loader, loader, strict=True):
        for labels, (_, y) in zip(two, batches, strict=True):
            labels += y.numpy().tolist()
    assert two == orders


def test_without_a_seed_the_order_comes_from_the_global_generator():
    loader = loader_of(Items())
    manual_seed(0)
    orders = [order(loader) for _ in range(2)]
    manual_seed(0)
    assert [order(loader) for _ in range(2)] == orders
    assert orders[0] != orders[1]


def test_every_item_is_equally_likely_in_every_place():
    loader = DataLoader(range(3), batch_size=3, shuffle=True, seed=0)
    counts = {permutation: 0 for permutation in itertools.permutations(range(3))}
    for _ in range(600):
        for batch in loader:
            counts[tuple(batch.numpy().tolist())] += 1
    assert all(60 < count < 140 for count in counts.values())  # 100 expected, standard deviation 9


def test_batches_are_copies_of_the_data():
    x = FEATURES.astype("float32")
    for batch, _ in DataLoader(TensorDataset(x, LABELS), batch_size=3):
        batch.data *= 0
    np.testing.assert_array_equal(x, FEATURES)


def test_a_collate_fn_gets_the_list_of_items_also_of_tensors():
    for dataset in (Items(), TensorDataset(FEATURES, LABELS)):
        batches = list(DataLoader(dataset, batch_size=3, collate_fn=lambda items: [int(y) for _, y in items]))
        assert batches == [[0, 1, 2], [3, 4, 5], [6]]


class Ended(Items):
    """Has an item whose source is at its end."""

    def __getitem__(self, index):
        return index if index != 3 else next(iter(()))


def collate_to_the_end(items):
    return next(iter(())) if 3 in items else items


class Exhausted:
    """An item that is no array before it is asked."""

    def __array__(self, dtype=None, copy=None):
        raise StopIteration


ENDINGS = {
    "data set": lambda: DataLoader(Ended()),
    "subset": lambda: DataLoader(Subset(Ended(), [0, 1, 2, 3, 4])),
    "collate_fn": lambda: DataLoader(range(5), collate_fn=collate_to_the_end),
    "item": lambda: DataLoader([0, 1, 2, Exhausted(), 4]),
    "item of a tuple": lambda: DataLoader([(0,), (1,), (2,), (Exhausted(),), (4,)]),
}


@pytest.mark.parametrize("where", ENDINGS)
def test_a_stop_iteration_is_an_error_and_not_the_end_of_the_epoch(where):
    loader, seen = ENDINGS[where](), []
    words = "DataLoader: batch 3 of the epoch could not be made: the data set or collate_fn raised StopIteration"
    with pytest.raises(RuntimeError, match=f"^{words}; ") as caught:
        for batch in loader:
            seen.append(batch)
    assert len(seen) == 3 and isinstance(caught.value.__cause__, StopIteration)


def test_an_error_of_a_data_set_is_no_end_of_going_over_it():
    with pytest.raises(RuntimeError):
        list(Ended())
    with pytest.raises(IndexError):
        list(DataLoader(Subset(Short(), [0, 1])))


class Short(Items):
    """Says that it is longer than it is."""

    def __getitem__(self, index):
        return [0][index]


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "uint32", "uint64", ">u8"])
def test_unsigned_integers_keep_their_value_or_are_refused(dtype):
    largest = np.iinfo(dtype).max
    words = f"integers must fit into int64; got {largest}; give a Tensor, which keeps its dtype"
    for who, make in {
        "default_collate": lambda: default_collate([np.array([0, largest], dtype), np.array([-1, 1])])[0],
        "TensorDataset": lambda: TensorDataset(np.array([0, largest], dtype))[:][0],
    }.items():
        if largest < 2**63:
            assert make().dtype == np.int64 and make().tolist() == [0, largest]
        else:
            with pytest.raises(ValueError, match=f"^{who}: {words}$"):
                make()
    tensors = [Tensor(np.array(value, dtype)) for value in (1, largest)]
    assert default_collate(tensors).tolist() == [1, largest]


def test_signed_and_unsigned_integers_of_one_batch_stay_integers():
    large = 2**53 + 1  # which float64 does not have
    batch = default_collate([np.uint64(large), -1])
    assert batch.dtype == np.int64 and batch.tolist() == [large, -1]
    rule = "Tensors of integers must have a dtype that can hold all of one batch; got ['int64', 'uint64']"
    with pytest.raises(TypeError, match=f"^default_collate: {re.escape(rule)}; "):
        default_collate([Tensor(np.array(large, dtype)) for dtype in ("uint64", "int64")])


def test_a_loader_can_be_pickled():
    loader = loader_of(Items(), seed=1)
    next(iter(loader))
    assert order(pickle.loads(pickle.dumps(loader))) == order(loader)


Point = namedtuple("Point", "x label")


@pytest.mark.parametrize(
    ("items", "expected"),
    [
        ([1, 2], ("int64", [1, 2])),
        ([1.5, 2], ("float32", [1.5, 2])),
        ([True, False], ("bool", [True, False])),
        ([np.float64(1), np.float64(2)], ("float32", [1, 2])),
        ([np.uint8(1), np.uint8(2)], ("int64", [1, 2])),
        ([np.ones((1, 2)), np.zeros((1, 2))], ("float32", [[[1, 1]], [[0, 0]]])),
        ([Tensor([1.0], dtype="float64"), Tensor([2.0], dtype="float64")], ("float64", [[1], [2]])),
        (["a", "b"], ["a", "b"]),
        ([b"a"], [b"a"]),
        ([(1, "a"), (2, "b")], (("int64", [1, 2]), ["a", "b"])),
        ([[1, 2.5], [3, 4.5]], [("int64", [1, 3]), ("float32", [2.5, 4.5])]),
        (
            [{"x": 1, "y": {"z": 2.0}}, {"y": {"z": 3.0}, "x": 4}],
            {"x": ("int64", [1, 4]), "y": {"z": ("float32", [2, 3])}},
        ),
        ([Point(1.0, 2), Point(3.0, 4)], Point(("float32", [1, 3]), ("int64", [2, 4]))),
    ],
)
def test_items_are_collated_by_their_kind(items, expected):
    def shown(batch):
        if isinstance(batch, Tensor):
            return str(batch.dtype), batch.numpy().tolist()
        if isinstance(batch, dict):
            return {key: shown(value) for key, value in batch.items()}
        if isinstance(batch, Point):
            return Point(*map(shown, batch))
        if isinstance(batch, tuple | list):
            return type(batch)(shown(value) for value in batch)
        return batch

    batch = default_collate(items)
    assert type(shown(batch)) is type(expected)
    assert shown(batch) == expected


def test_torch_tensors_are_collated_like_arrays():
    torch = pytest.importorskip("torch")
    batch = default_collate([torch.ones(2), torch.zeros(2)])
    assert isinstance(batch, Tensor) and batch.numpy().tolist() == [[1, 1], [0, 0]]


def test_arrays_and_tensors_are_data_sets_too():
    for dataset in (FEATURES, Tensor(FEATURES)):
        assert [batch.shape for batch in DataLoader(dataset, batch_size=4)] == [(4, 2), (3, 2)]


def test_the_star_import_gives_the_public_names():
    names = {}
    exec("from minima.data import *", names)
    assert names["Dataset"] is Dataset and names["DataLoader"] is DataLoader
    assert set(minima.data.__all__) <= set(names)


SIZE_RULE = "DataLoader: batch_size must be an integer of at least 1; got "
HINT = "; pass DataLoader a collate_fn for anything else"
ERRORS = [
    (lambda: DataLoader(Items(), batch_size=0), ValueError, SIZE_RULE + "0"),
    (lambda: DataLoader(Items(), batch_size=-1), ValueError, SIZE_RULE + "-1"),
    (lambda: DataLoader(Items(), batch_size=2.5), TypeError, SIZE_RULE + "2.5"),
    (lambda: DataLoader(Items(), batch_size=True), TypeError, SIZE_RULE + "True"),
    (lambda: DataLoader(Items(), batch_size=None), TypeError, SIZE_RULE + "None"),
    (lambda: DataLoader(Items(), shuffle="yes"), TypeError, "DataLoader: shuffle must be True or False; got 'yes'"),
    (lambda: DataLoader(Items(), drop_last=2), TypeError, "DataLoader: drop_last must be True or False; got 2"),
    (lambda: setattr(DataLoader(Items()), "batch_size", 0), ValueError, SIZE_RULE + "0"),
    (lambda: setattr(DataLoader(Items()), "batch_size", "x"), TypeError, SIZE_RULE + "'x'"),
    (lambda: setattr(DataLoader(Items()), "shuffle", 1), TypeError, "DataLoader: shuffle must be True or False; got 1"),
    (
        lambda: setattr(DataLoader(Items()), "drop_last", 1),
        TypeError,
        "DataLoader: drop_last must be True or False; got 1",
    ),
    (
        lambda: setattr(DataLoader(Items()), "seed", "x"),
        TypeError,
        "DataLoader: seed must be an integer of at least 0; got 'x'",
    ),
    (
        lambda: setattr(DataLoader(Items()), "dataset", 3),
        TypeError,
        "DataLoader: dataset must have a length and items, as a Dataset, a list or an array has; got 3",
    ),
    (lambda: DataLoader(Items(), seed=-1), ValueError, "DataLoader: seed must be an integer of at least 0; got -1"),
    (lambda: DataLoader(Items(), seed=0.5), TypeError, "DataLoader: seed must be an integer of at least 0; got 0.5"),
    (lambda: DataLoader(Items(), collate_fn=3), TypeError, "DataLoader: collate_fn must be callable or None; got 3"),
    (
        lambda: DataLoader({1, 2}),
        TypeError,
        "DataLoader: dataset must have a length and items, as a Dataset, a list or an array has; got {1, 2}",
    ),
    (
        lambda: DataLoader(7),
        TypeError,
        "DataLoader: dataset must have a length and items, as a Dataset, a list or an array has; got 7",
    ),
    (lambda: default_collate([]), ValueError, "default_collate: a batch needs at least one item; got []"),
    (
        lambda: default_collate([np.zeros(2), np.zeros(3)]),
        ValueError,
        "default_collate: the arrays of one batch must have one shape; got [(2,), (3,)]" + HINT,
    ),
    (
        lambda: default_collate([None]),
        TypeError,
        "default_collate: an item must be made of numbers, arrays, tuples, lists, dicts and str; got None" + HINT,
    ),
    (
        lambda: default_collate([(1, 2), (3,)]),
        ValueError,
        "default_collate: the tuples of one batch must have one length, here 2; got (3,)" + HINT,
    ),
    (
        lambda: default_collate([(1, 2), [3, 4]]),
        TypeError,
        "default_collate: the items of one batch must all be tuples when the first is; got [3, 4]" + HINT,
    ),
    (
        lambda: default_collate([{"a": 1}, {"b": 1}]),
        ValueError,
        "default_collate: the dicts of one batch must have one set of keys, here ['a']; got ['b']" + HINT,
    ),
    (
        lambda: default_collate([{"a": 1}, 3]),
        TypeError,
        "default_collate: the items of one batch must all be dicts when the first is; got 3" + HINT,
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
