"""What data sets and loaders say of themselves, in a terminal and in a notebook."""

import numpy as np

from minima.data import DataLoader, Dataset, Subset, TensorDataset


class Squares(Dataset[int]):
    def __len__(self) -> int:
        return 5

    def __getitem__(self, index: int) -> int:
        return index**2


ROWS = TensorDataset(np.ones((6, 3)), np.arange(6))


def test_data_sets_say_how_many_items_they_have_and_of_what():
    assert repr(ROWS) == "TensorDataset(6 rows of float32[3], int64)"
    assert [row.dtype for row in ROWS[0]] == ["float32", "int64"]
    assert repr(Subset(ROWS, [1, 2])) == "Subset(2 of TensorDataset(6 rows of float32[3], int64))"
    assert repr(Subset("abcdef", [1])) == "Subset(1 of str of 6)"
    assert repr(Subset(Squares(), [1])) == "Subset(1 of Squares of 5)"


def test_a_loader_shows_its_data_its_batch_size_and_what_is_not_the_default():
    assert repr(DataLoader(range(10))) == "DataLoader(range of 10, batch_size=1)"
    loader = DataLoader(ROWS, batch_size=4, shuffle=True, drop_last=True, seed=0)
    assert repr(loader) == f"DataLoader({ROWS!r}, batch_size=4, shuffle=True, drop_last=True, seed=0)"


def test_in_a_notebook_a_loader_is_a_table_that_counts_batches():
    lines = DataLoader(ROWS, batch_size=4, shuffle=True)._repr_markdown_().splitlines()
    assert "| batches | 2 |" in lines and "| items | 6 |" in lines and "| `shuffle` | `True` |" in lines
