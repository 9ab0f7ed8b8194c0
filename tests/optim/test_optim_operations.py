"""Every operation on every kind of number: both engines give the same bits, whichever place an element has."""

import itertools

import numpy as np
import pytest
from rules import arrays

from minima.optim.engines.choice import choose
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program
from minima.optim.language.vocabulary import maximum, minimum, sign

SIZES = (1, 5, 8, 17, 33)
"""How many elements lie together: fewer than the registers of a machine hold, as many, and more."""


def numbers(dtype):
    most = np.finfo(dtype)
    sizes = [0.0, most.smallest_subnormal, most.tiny, 0.75, 1.0, 2.0, most.max, np.inf]
    return np.array([*sizes, *(-size for size in sizes), np.nan], dtype)


def program(name, *operands):
    """One operation of numbers, ``param`` and ``grad`` by default; where it takes truths, of whether they are above."""
    row = OPERATIONS[name]
    count = row.text.count("{}")
    operands = operands or ("param", "grad", "param")[:count]
    if name == "where":
        operands = ("param", "param", "grad")
    body, taken = [], list(operands)
    for place in range(row.truths):
        body.append(Instruction(f"truth{place}", "gt" if place else "lt", (operands[place], 0.75)))
        taken[place] = f"truth{place}"
    result = "result_of_minus_zero" if "-0.0" in map(repr, operands) else "result"  # a program of 0.0 would equal it
    body.append(Instruction(result, name, tuple(taken)))
    return Program("Alone", ("param", "grad"), (), (), (), tuple(body), (result,), ())


def results(made, dtype, size):
    """What each engine makes of all pairs of numbers, this many of which lie together."""
    first, second = np.array(list(itertools.product(numbers(dtype), repeat=2)), dtype).T.copy()
    for name in ("reference", "fused"):
        parts = [range(start, min(start + size, len(first))) for start in range(0, len(first), size)]
        params, grads = ([values[list(part)] for part in parts] for values in (first, second))
        kernel = choose("test", name).prepare(made, np.dtype(dtype).name, arrays(params, grads), [()] * len(parts))
        kernel.arrange([0] * len(parts))
        assert kernel.find()
        with np.errstate(all="ignore"):
            kernel.begin([()], [1])
            kernel.run()
        found = np.concatenate(params)
        yield np.where(np.isnan(found), np.array(np.nan, dtype), found)  # which NaN it is nobody says


def assert_same(made, dtype):
    for size in SIZES:
        one, other = results(made, dtype, size)
        assert one.tobytes() == other.tobytes(), size


each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


@each_dtype
@pytest.mark.parametrize("name", OPERATIONS)
def test_engines_agree_on_all_pairs_of_numbers(name, dtype):
    assert_same(program(name), dtype)


PLAIN = [name for name, row in OPERATIONS.items() if row.text.count("{}") == 2 and not row.truths]


@each_dtype
@pytest.mark.parametrize("literal", [0.0, -0.0, 1.0, np.inf, np.nan])
@pytest.mark.parametrize("name", PLAIN)
def test_engines_agree_where_one_side_is_a_literal(name, literal, dtype):
    assert_same(program(name, "param", literal), dtype)
    assert_same(program(name, literal, "param"), dtype)


@each_dtype
@pytest.mark.parametrize(("name", "wins"), [("maximum", np.greater_equal), ("minimum", np.less_equal)])
def test_of_equals_the_first_is_chosen_and_a_nan_before_all(name, wins, dtype):
    first, second = np.array(list(itertools.product(numbers(dtype), repeat=2)), dtype).T
    for found in results(program(name), dtype, 16):
        for x, y, result in zip(first, second, found, strict=True):
            wanted = x if wins(x, y) or np.isnan(x) else y
            assert (
                np.isnan(result) if np.isnan(wanted) else (result, np.signbit(result)) == (wanted, np.signbit(wanted))
            )


def test_a_word_chooses_of_zeros_as_the_engines_do():
    for word in (maximum, minimum):
        for x, y in ((0.0, -0.0), (-0.0, 0.0)):
            assert np.signbit(word(x, y)) == np.signbit(word(np.full(40, x), np.full(40, y))).all() == np.signbit(x)
    assert not np.signbit(sign(np.array([-0.0]))).any()


def test_every_operation_says_all_that_is_asked_of_it():
    for name, row in OPERATIONS.items():
        assert (row.binding is None) == (row.python is None) == row.text.startswith(f"{name}("), name
        assert len(row.range(*[(0.5, 2.0)] * row.text.count("{}"))) == 2, name
        assert row.truths <= row.text.count("{}"), name
