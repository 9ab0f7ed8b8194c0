"""The sums of squares of many arrays: their value, their bits, and what they cost."""

import math
import re
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

from minima.optim.engines import measure, threads
from minima.optim.engines.cpu.llvm import optimised
from minima.optim.engines.cpu.pieces import CHUNK
from minima.optim.engines.cpu.squaring import squares_source
from minima.optim.engines.measure import Squares, finite, squares
from minima.optim.engines.norms import norm

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
    found = squares(arrays)
    np.testing.assert_allclose(found, [exact(array) for array in arrays], rtol=2e-14)
    assert found.tolist() == Squares([array.size for array in arrays], dtype).in_numpy(arrays).tolist()


def test_arrays_of_several_dtypes_and_layouts_are_told_apart():
    cube = np.arange(24.0).reshape(2, 3, 4)
    odd = np.zeros(81, np.uint8)[1:].view(np.float32)
    odd[:] = 2
    frozen = np.broadcast_to(np.float32(3), (5, 2))
    arrays = [cube.astype("float32"), cube.T, cube[:, ::2, ::-1], odd, frozen, np.arange(4), cube.astype(">f4")]
    assert squares(arrays).tolist() == [exact(array) for array in arrays]
    assert squares([]).tolist() == [] and squares([np.zeros(0)]).tolist() == [0.0]


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


def test_the_result_does_not_depend_on_the_number_of_threads(monkeypatch):
    arrays = drawn("float32", [700_000, 5, (300, 701)])
    found = []
    for count in (1, 2, 5):
        monkeypatch.setattr("minima.optim.engines.cpu.pieces.thread_count", lambda count=count: count)
        measure._prepared.squares.cache_clear()
        found += [squares(arrays).tolist() for _ in range(5)]
    measure._prepared.squares.cache_clear()
    assert threads.thread_count() >= 1 and all(each == found[0] for each in found)


def test_measuring_allocates_nothing_of_the_size_of_the_arrays():
    arrays = [np.ones(3_000_000, "float32"), np.ones(2_000_000), *(np.ones(100, "float16") for _ in range(50))]
    squares(arrays)
    tracemalloc.start()
    try:
        assert norm(arrays) == pytest.approx(math.sqrt(5_005_000))
        assert all(finite(arrays))
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("dtype", DTYPES)
def test_all_lanes_are_summed_at_once_in_registers(dtype):
    code = str(optimised(squares_source(dtype, measure.LANES)))
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
from minima.optim.engines.measure import squares
print(squares([np.arange(70_000, dtype="float32") / 7, np.ones(3)]).tolist())
"""


def test_without_llvm_numpy_gives_the_same_bits():
    done = subprocess.run([sys.executable, "-c", WITHOUT_LLVM], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == str(squares([np.arange(70_000, dtype="float32") / 7, np.ones(3)]).tolist()), (
        done.stderr
    )
