"""What a sum, a mean, a largest value and a norm of a matrix are: their values, and the order of their additions."""

import math

import numpy as np
import pytest
from orders import column_sum, row_sum

from minima.optim.engines.reductions import BAND, CHUNK, reducer

SHAPES = [(1, 1), (3, 5), (64, 33), (65, 31), (130, 7), (2, CHUNK + 7), (BAND * BAND + 3, 2), (7, 1), (1, 9000)]
FLOAT32 = np.dtype(np.float32)


def drawn(shape):
    """Numbers of very different sizes, so that another order of additions gives other bits."""
    rng = np.random.default_rng(math.prod(shape))
    return (rng.normal(size=shape) * 10.0 ** rng.integers(-6, 6, shape)).astype(np.float32)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_additions_have_the_order_of_the_definition_down_to_the_last_bit(shape):
    values = drawn(shape)
    wide = values.astype(np.float64)
    rows = [row_sum(row) for row in wide.tolist()]
    columns = [column_sum(column) for column in wide.T.tolist()]
    assert reducer("sum", FLOAT32, by_rows=True)(values) == row_sum(rows)
    assert reducer("sum", FLOAT32, by_rows=False)(values) == row_sum(wide.reshape(-1).tolist())
    by_row, by_column = (reducer(name, FLOAT32, by_rows=True)(values) for name in ("sum1", "sum0"))
    assert by_row.shape == (shape[0], 1) and by_column.shape == (1, shape[1])
    assert by_row.dtype == by_column.dtype == FLOAT32
    assert by_row[:, 0].tolist() == np.array(rows).astype(np.float32).tolist()
    assert by_column[0].tolist() == np.array(columns).astype(np.float32).tolist()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_means_norms_and_largest_values_are_right_to_rounding(shape):
    values = drawn(shape)
    wide = values.astype(np.float64)
    for axis, places in (("", (0, 1)), ("0", (0,)), ("1", (1,))):
        found = {word: reducer(f"{word}{axis}", FLOAT32, by_rows=True)(values) for word in ("mean", "norm", "max")}
        rounding = 2e-7 if axis else 1e-13
        scale = np.abs(wide).mean(axis=places, keepdims=bool(axis))
        assert (np.abs(found["mean"] - wide.mean(axis=places, keepdims=bool(axis))) <= rounding * scale).all()
        wanted = np.sqrt((wide**2).sum(axis=places, keepdims=bool(axis)))
        np.testing.assert_allclose(found["norm"], wanted, rtol=rounding)
        np.testing.assert_array_equal(found["max"], wide.max(axis=places, keepdims=bool(axis)))


def test_squares_of_a_norm_neither_overflow_nor_vanish():
    large, small = np.full((2, 2), 1e30, np.float32), np.full((2, 2), 1e-30, np.float32)
    for name in ("norm", "norm0", "norm1"):
        count = 4 if name == "norm" else 2
        for values in (large, small):
            found = reducer(name, FLOAT32, by_rows=True)(values)
            np.testing.assert_allclose(found, math.sqrt(count) * float(values[0, 0]), rtol=1e-6)


@pytest.mark.parametrize("by_rows", [False, True])
def test_nan_is_larger_than_all_and_a_largest_zero_is_positive(by_rows):
    largest = reducer("max", FLOAT32, by_rows=by_rows)
    assert math.isnan(largest(np.array([[1.0, math.nan], [math.inf, 2.0]], np.float32)))
    for zeros in ([[-0.0, -0.0]], [[-0.0, 0.0]], [[0.0, -0.0]]):
        found = largest(np.array(zeros, np.float32))
        assert found == 0 and not np.signbit(found)


def test_of_nothing_there_is_nothing_to_add():
    empty = np.zeros((0, 3), np.float32)
    with np.errstate(all="ignore"):
        assert reducer("sum", FLOAT32, by_rows=True)(empty) == 0 and reducer("norm", FLOAT32, by_rows=True)(empty) == 0
        assert math.isnan(reducer("mean", FLOAT32, by_rows=True)(empty))
        assert reducer("max", FLOAT32, by_rows=True)(empty) == -math.inf
    assert reducer("sum0", FLOAT32, by_rows=True)(empty).tolist() == [[0.0] * 3]
    assert reducer("sum1", FLOAT32, by_rows=True)(empty).shape == (0, 1)
