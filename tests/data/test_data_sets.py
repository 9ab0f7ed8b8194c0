"""TensorDataset, Subset, random_split: what items they give, and the sentences for bad arguments."""

import re

import numpy as np
import pytest

from minima.autograd import Tensor
from minima.data import Dataset, Subset, TensorDataset, random_split
from minima.random import manual_seed

FEATURES = np.arange(12.0).reshape(6, 2)
LABELS = np.arange(6, dtype=np.int32)


@pytest.mark.parametrize(
    ("given", "dtype"),
    [
        (FEATURES, "float32"),
        (FEATURES.astype("float16"), "float32"),
        (LABELS, "int64"),
        (LABELS.astype("uint8"), "int64"),
        (LABELS > 2, "bool"),
        (LABELS.tolist(), "int64"),
        (Tensor(FEATURES, dtype="float64"), "float64"),
        (Tensor(LABELS, dtype="int32"), "int32"),
    ],
)
def test_rows_of_arrays_get_training_dtypes_and_rows_of_tensors_keep_theirs(given, dtype):
    data = TensorDataset(given)
    expected = np.asarray(given.numpy() if isinstance(given, Tensor) else given)
    assert len(data) == 6
    for index in (2, -1, slice(1, 5, 2), np.array([3, 3, 0])):
        (row,) = data[index]
        assert isinstance(row, Tensor)
        assert row.dtype == np.dtype(dtype)
        assert row.numpy().tolist() == expected[index].tolist()


def test_changing_a_row_leaves_the_data_alone():
    for given in (FEATURES.astype("float32"), Tensor(FEATURES)):
        for index in (1, slice(0, 2), np.array([0, 1])):
            (row,) = TensorDataset(given)[index]
            row.data *= 0
            np.testing.assert_array_equal(given.numpy() if isinstance(given, Tensor) else given, FEATURES)


def test_a_subset_gives_the_chosen_items_in_their_order():
    subset = Subset(TensorDataset(FEATURES, LABELS), [5, 0, -2, 0])
    assert [label.item() for _, label in subset] == [5, 0, 4, 0]
    assert list(Subset(Subset("abcdef", range(1, 6)), [4, 0])) == ["f", "b"]
    assert len(Subset([], [])) == 0


def test_a_subset_hands_only_indices_from_the_front_to_the_data():
    class Positions(Dataset):
        def __len__(self):
            return 4

        def __getitem__(self, index):
            assert type(index) is int and 0 <= index < 4
            return index

    assert list(Subset(Positions(), np.array([-1, -4], dtype="int8"))) == [3, 0]
    assert list(Positions()) == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("size", "lengths", "counts"),
    [
        (10, [7, 3], [7, 3]),
        (10, [10, 0], [10, 0]),
        (10, [0.75, 0.25], [8, 2]),
        (11, [0.5, 0.5], [6, 5]),
        (10, [1.0], [10]),
        (11, [1 / 3, 1 / 3, 1 / 3], [4, 4, 3]),
        (5, [0.3, 0.3, 0.4], [2, 1, 2]),
        (0, [0.5, 0.5], [0, 0]),
        (7, np.array([3, 4]), [3, 4]),
    ],
)
def test_a_random_split_has_the_lengths_of_torch_and_every_item_once(size, lengths, counts):
    parts = random_split(range(size), lengths, seed=3)
    assert [len(part) for part in parts] == counts
    assert sorted(item for part in parts for item in part) == list(range(size))
    torch = pytest.importorskip("torch")
    if size:  # torch warns about empty parts
        assert [len(part) for part in torch.utils.data.random_split(range(size), list(lengths))] == counts


def test_a_split_depends_on_its_seed_or_else_on_the_global_generator():
    def split(seed):
        return [list(part) for part in random_split(range(50), [0.6, 0.4], seed=seed)]

    assert split(1) == split(1) != split(2)
    manual_seed(0)
    first, second = split(None), split(None)
    manual_seed(0)
    assert split(None) == first != second


class Empty(Dataset):
    pass


ERRORS = [
    (lambda: TensorDataset(), ValueError, "TensorDataset: at least one array is needed"),
    (
        lambda: TensorDataset(()),
        TypeError,
        "TensorDataset: every array must be an argument of its own; got (); write TensorDataset(*arrays)",
    ),
    (
        lambda: TensorDataset((np.zeros(1), np.zeros(1))),
        TypeError,
        "TensorDataset: every array must be an argument of its own; got (array([0.]), array([0.])); "
        "write TensorDataset(*arrays)",
    ),
    (
        lambda: random_split(None, [1]),
        TypeError,
        "random_split: dataset must have a length and items, as a Dataset, a list or an array has; got None",
    ),
    (
        lambda: Subset(3, [0]),
        TypeError,
        "Subset: dataset must have a length and items, as a Dataset, a list or an array has; got 3",
    ),
    (
        lambda: TensorDataset(np.zeros((3, 2)), np.zeros(4)),
        ValueError,
        "TensorDataset: all arrays must have the same first dimension; got [(3, 2), (4,)]",
    ),
    (
        lambda: TensorDataset(np.float32(1)),
        ValueError,
        "TensorDataset: all arrays must have the same first dimension; got [()]",
    ),
    (
        lambda: TensorDataset(np.array(["a"])),
        TypeError,
        "TensorDataset: an array must be made of real numbers; got array(['a'], dtype='<U1')",
    ),
    (lambda: Subset(range(3), [0, 3]), IndexError, "Subset: indices must lie in [-3, 3); got 3"),
    (lambda: Subset(range(3), [-4]), IndexError, "Subset: indices must lie in [-3, 3); got -4"),
    (lambda: Subset(range(3), [0.5]), TypeError, "Subset: indices must be integers; got [0.5]"),
    (lambda: Subset(range(2), [True, False]), TypeError, "Subset: indices must be integers; got [True, False]"),
    (lambda: Subset(range(3), [[0]]), ValueError, "Subset: indices must be one flat sequence; got [[0]]"),
    (
        lambda: random_split(range(3), [1, 1]),
        ValueError,
        "random_split: integer lengths must add up to the 3 items; got [1, 1]",
    ),
    (
        lambda: random_split(range(3), [0.5, 0.6]),
        ValueError,
        "random_split: fractions must add up to 1; got [0.5, 0.6]",
    ),
    (
        lambda: random_split(range(3), [4, -1]),
        ValueError,
        "random_split: lengths must be integers of at least 0, or fractions from 0 to 1; got [4, -1]",
    ),
    (
        lambda: random_split(range(3), ["a"]),
        TypeError,
        "random_split: lengths must be integers of at least 0, or fractions from 0 to 1; got ['a']",
    ),
    (
        lambda: random_split(range(3), [3], seed=-1),
        ValueError,
        "random_split: seed must be an integer of at least 0; got -1",
    ),
    (lambda: len(Empty()), NotImplementedError, "Empty: a Dataset must define __len__"),
    (lambda: Empty()[0], NotImplementedError, "Empty: a Dataset must define __getitem__"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
