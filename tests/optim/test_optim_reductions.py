"""The sums of squares of many arrays: their value, their bits, and what they cost."""

import math
import re
import subprocess
import sys
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of
from orders import row_sum

from minima.optim.engines.cpu.llvm import optimised
from minima.optim.engines.cpu.reductions import SquareSums, add_chunks, squares_source
from minima.optim.engines.reductions import CHUNK, finite, norm, square_sum, square_sums, total

DTYPES = ("float16", "float32", "float64")
SIZES = [(), 0, 1, 31, 32, 33, (3, 0, 2), (7, 9), CHUNK - 1, CHUNK, CHUNK + 1, (300, 701), 2 * CHUNK + 5]


def drawn(dtype, sizes=SIZES):
    rng = np.random.default_rng(0)
    return [np.asarray(rng.normal(size=size)).astype(dtype) for size in sizes]


def exact(array):
    """The sum of squares, each rounded once, the sum once more."""
    return math.fsum((array.reshape(-1).astype("float64") ** 2).tolist())


@pytest.mark.parametrize("dtype", DTYPES)
def test_sums_of_squares_are_right_to_rounding_and_numpy_gives_the_same_bits(dtype):
    arrays = drawn(dtype)
    found = square_sums(arrays)
    np.testing.assert_allclose(found, [exact(array) for array in arrays], rtol=2e-14)
    assert found.tolist() == [square_sum(array) for array in arrays]


@pytest.mark.parametrize("size", [0, 1, 31, 33, CHUNK, CHUNK + 1, 3 * CHUNK + 40, CHUNK**2 // 256])
def test_additions_have_one_order_everywhere(size):
    values = np.random.default_rng(size).normal(size=size) * 10.0 ** np.random.default_rng(1).integers(-9, 9, size)
    assert total(values) == row_sum(values.tolist())
    assert square_sum(values) == square_sums([values])[0] == row_sum((values**2).tolist())


def test_sums_of_chunks_are_added_in_the_same_order_whatever_their_number():
    counts = [0, 1, 2, CHUNK, CHUNK + 1, 5 * CHUNK + 77]
    sums = np.random.default_rng(0).normal(size=sum(counts))
    firsts = np.cumsum([0, *counts])
    wanted = [total(sums[first:last]) for first, last in zip(firsts, firsts[1:], strict=False)]
    assert add_chunks(sums.copy(), firsts).tolist() == wanted


def test_bits_of_bfloat16_are_squared_as_what_they_stand_for():
    bits = np.random.default_rng(0).integers(0, 0x7F00, size=3 * CHUNK + 5).astype(np.uint16)
    bits[::2] |= 0x8000
    numbers = (bits.astype(np.uint32) << 16).view(np.float32)
    found = SquareSums([bits.size], "bfloat16")([bits.ctypes.data])[0]
    assert found == square_sum(bits, "bfloat16") == square_sum(numbers)
    bits[7] = 0x7F80
    assert SquareSums([bits.size], "bfloat16")([bits.ctypes.data])[0] == math.inf


def test_arrays_of_several_dtypes_and_layouts_are_told_apart():
    cube = np.arange(24.0).reshape(2, 3, 4)
    odd = np.zeros(81, np.uint8)[1:].view(np.float32)
    odd[:] = 2
    frozen = np.broadcast_to(np.float32(3), (5, 2))
    arrays = [cube.astype("float32"), cube.T, cube[:, ::2, ::-1], odd, frozen, np.arange(4), cube.astype(">f4")]
    assert square_sums(arrays).tolist() == [exact(array) for array in arrays]
    assert square_sums([]).tolist() == [] and square_sums([np.zeros(0)]).tolist() == [0.0]


EXTREMES = [
    0.0,
    -0.0,
    1e-320,
    1e-200,
    1e-160,
    1e-30,
    1.0,
    -3.0,
    1e30,
    1e154,
    1e200,
    1.7e308,
    math.inf,
    -math.inf,
    math.nan,
]


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.sampled_from(DTYPES).flatmap(
            lambda dtype: arrays_of.arrays(
                dtype,
                arrays_of.array_shapes(min_dims=0, min_side=0, max_side=9),
                elements=st.sampled_from(
                    [x for x in EXTREMES if not math.isinf(float(np.float64(x).astype(dtype))) or math.isinf(x)]
                ),
            )
        ),
        max_size=4,
    )
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_norms_and_finiteness_are_right_at_every_magnitude(arrays):
    assert finite(arrays) == [bool(np.isfinite(array).all()) for array in arrays]
    entries = np.concatenate([np.zeros(0), *(array.reshape(-1).astype("float64") for array in arrays)])
    found = norm(arrays)
    if np.isnan(entries).any():
        assert math.isnan(found)
    elif np.isinf(entries).any():
        assert found == math.inf
    else:
        root = math.hypot(*entries)
        assert found == pytest.approx(root, rel=1e-14, abs=5e-324)


def test_the_result_does_not_depend_on_the_number_of_threads():
    arrays = drawn("float32", [700_000, 5, (300, 701)])
    sizes, addresses = [array.size for array in arrays], [array.ctypes.data for array in arrays]
    found = [SquareSums(sizes, "float32", threads)(addresses).tolist() for threads in (1, 2, 5) for _ in range(5)]
    assert all(each == found[0] for each in found)


def test_several_threads_may_measure_at_once():
    def measured(seed):
        arrays = drawn("float32", [300_000, 5, (30, 701)])
        arrays[0] *= seed
        return [square_sums(arrays).tolist() for _ in range(20)], [square_sum(array) for array in arrays]

    with ThreadPoolExecutor(4) as pool:
        for found, wanted in pool.map(measured, range(1, 9)):
            assert found == [wanted] * 20


def test_measuring_allocates_nothing_of_the_size_of_the_arrays():
    arrays = [np.ones(3_000_000, "float32"), np.ones(2_000_000), *(np.ones(100, "float16") for _ in range(50))]
    square_sums(arrays)
    tracemalloc.start()
    try:
        assert norm(arrays) == pytest.approx(math.sqrt(5_005_000))
        assert all(finite(arrays))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", [*DTYPES, "bfloat16"])
def test_all_lanes_are_summed_at_once_in_registers(dtype):
    code = str(optimised(squares_source(dtype)))
    sums = re.findall(r"(%\S+) = phi <32 x double> \[ zeroinitializer", code)
    assert any(re.search(rf"fadd <32 x double> .*{re.escape(each)},", code) for each in sums)
    assert "alloca" not in code.partition("row")[2]  # inside a loop, it would eat up the stack


WITHOUT_LLVM = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "llvmlite":
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Blocked())
import numpy as np
from minima.optim.engines.reductions import square_sums
print(square_sums([np.arange(70_000, dtype="float32") / 7, np.ones(3)]).tolist())
"""


def test_without_llvm_numpy_gives_the_same_bits():
    done = subprocess.run([sys.executable, "-c", WITHOUT_LLVM], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(square_sums([np.arange(70_000, dtype="float32") / 7, np.ones(3)]).tolist()), (
        done.stderr
    )
