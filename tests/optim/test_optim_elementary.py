"""exp, log, powers and cube roots: accuracy, special values, and one set of bits whoever computes them."""

import itertools
import math
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from ptx import Kernel, Memory
from rules import arrays

from minima import Tensor
from minima.optim import Optimizer, cbrt, exp, hyper, log
from minima.optim.core.scalars import numbers_function
from minima.optim.engines.choice import choose
from minima.optim.engines.cpu import llvm
from minima.optim.engines.cpu.functions import functions_of
from minima.optim.engines.cuda.grid import CHUNK, THREADS, ptx
from minima.optim.language.elementary import of_floats, power_of_floats
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program

sys.path.append(str(Path(__file__).parents[2] / "tools"))
from accuracy import LAST, NAMES, Found, ranges, singles, some_doubles  # noqa: E402

INF, NAN = math.inf, math.nan
each_name = pytest.mark.parametrize("name", NAMES)
each_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])


def same(one, other):
    """Whether numbers have the same bits, whichever NaN one is."""
    one, other = np.asarray(one), np.asarray(other)
    return one.dtype == other.dtype and bool(
        (np.isnan(one) & np.isnan(other) | (one == other) & (np.signbit(one) == np.signbit(other))).all()
    )


# Accuracy ------------------------------------------------------------------------------------------------------------


@each_name
def test_results_of_float64_are_within_a_unit_in_the_last_place(name):
    found = some_doubles(name, 400, seed=0)
    assert found.count >= 1600 and 0.4 < found.off < 0.8


@each_name
def test_results_of_float32_are_within_half_a_unit_in_the_last_place(name):
    found, draw = Found(), np.random.default_rng(0)
    for first in (0, 0x00800000, 0x3F700000, 0x42000000, LAST - 2**17 + 1):  # 0, subnormals, 1, overflows, infinity
        x = np.arange(first, first + 2**17, dtype=np.uint32).view(np.float32)
        for sign in (1, -1) if name != "pow" else (1,):
            found += singles(name, sign * x, *[draw.uniform(-3, 3, x.size).astype(np.float32)][: name == "pow"])
    assert 0.49 < found.off < 0.501 and found.wrong < 1e-4 * found.count


@each_dtype
def test_powers_that_are_numbers_are_exact(dtype):
    whole = np.arange(1, 12, dtype=dtype)
    for base, exponent in itertools.product(whole, whole):
        if int(base) ** int(exponent) < 2 ** np.finfo(dtype).nmant:
            wanted = np.array(int(base) ** int(exponent), dtype)
            assert same(OPERATIONS["pow"].numpy(base, exponent), wanted[()])
            assert same(OPERATIONS["pow"].numpy(-base, exponent), wanted * (-1) ** int(exponent))
    values = np.random.default_rng(0).lognormal(0, 15, 1000).astype(dtype)
    assert same(OPERATIONS["pow"].numpy(values, 1.0), values)
    assert same(OPERATIONS["cbrt"].numpy(whole**3), whole)


# Special values ------------------------------------------------------------------------------------------------------

ENDS = {
    "exp": [(-INF, 0.0), (INF, INF), (NAN, NAN), (0.0, 1.0), (-0.0, 1.0), (1e5, INF), (-1e5, 0.0)],
    "log": [(0.0, -INF), (-0.0, -INF), (1.0, 0.0), (INF, INF), (NAN, NAN), (-1.0, NAN), (-INF, NAN), (-1e-40, NAN)],
    "cbrt": [(0.0, 0.0), (-0.0, -0.0), (INF, INF), (-INF, -INF), (NAN, NAN), (-8.0, -2.0), (1.0, 1.0)],
}
BASES = [0.0, -0.0, 1.0, -1.0, 0.5, -0.5, 2.0, -2.0, INF, -INF, NAN, 1e-40, -1e-40]
EXPONENTS = [0.0, -0.0, 1.0, -1.0, 2.0, -2.0, 3.0, -3.0, 0.5, -0.5, 2.5, 1e8, 1e8 + 8, 1e300, -1e300, INF, -INF, NAN]
EXPONENTS += [2.0**23 + 1, 2.0**24, 2.0**52 + 1, 2.0**53, 2.0**51 + 0.5]


@each_dtype
@pytest.mark.parametrize("name", ENDS)
def test_special_values_are_those_of_the_c_standard(name, dtype):
    x, wanted = np.array(ENDS[name]).T.astype(dtype)
    assert same(OPERATIONS[name].numpy(x), wanted)
    if dtype == "float64":
        assert same([OPERATIONS[name].number(value) for value in x], wanted)


def power(x, y):
    """x**y as Python has it, which follows the C standard but for complaints."""
    is_odd = abs(y) < 2.0**53 and y % 2 == 1
    try:
        return math.pow(x, y)
    except OverflowError:
        return -INF if x < 0 and is_odd else INF
    except ValueError:  # 0 to a negative power, or a negative base to a fraction
        return NAN if x else math.copysign(INF, x) if is_odd else INF


def test_powers_that_are_kept_tell_zeros_apart_and_are_those_of_arrays():
    for x, y in [(0.0, -1.0), (-0.0, -1.0), (0.0, -1.0), (0.96, 0.004), (0.96, 0.004), (NAN, 0.0), (-2.0, -0.5)]:
        wanted = OPERATIONS["pow"].numpy(np.array([x]), np.array([y]))
        assert same([power_of_floats(x, y)], wanted)


@each_dtype
def test_special_powers_are_those_of_the_c_standard(dtype):
    with np.errstate(over="ignore", under="ignore"):
        x, y = np.array(list(itertools.product(BASES, EXPONENTS))).T.astype(dtype)
        wanted = np.array([power(*map(float, pair)) for pair in zip(x, y, strict=True)]).astype(dtype)
    found = [OPERATIONS["pow"].numpy(x, y)]
    if dtype == "float64":
        found.append(np.array([OPERATIONS["pow"].number(*map(float, pair)) for pair in zip(x, y, strict=True)]))
    rounded = np.isfinite(wanted) & (wanted != 0) & (np.abs(wanted) != 1)
    assert (~rounded).sum() > 200
    for values in found:
        assert same(values[~rounded], wanted[~rounded])
        np.testing.assert_allclose(values[rounded], wanted[rounded], rtol=2 * np.finfo(dtype).eps, atol=0)


# One set of bits -----------------------------------------------------------------------------------------------------


def arguments(name, dtype, count):
    """As many arguments as it takes, ordinary ones and those at the ends of what a precision holds."""
    top, draw = np.finfo(dtype), np.random.default_rng(5)
    ends = [0.0, -0.0, top.tiny, -top.smallest_subnormal, top.max, INF, -INF, NAN, 1.0, -1.0, 710.0, -745.2, 88.8, 3.0]
    drawn = [np.concatenate(each) for each in zip(*ranges(name, draw, 4000), strict=True)]
    with np.errstate(over="ignore", under="ignore"):
        mixed = [draw.permutation(np.concatenate([np.repeat(ends, 200), draw.uniform(-5, 5, 4000)])) for _ in drawn]
        return [np.resize(np.concatenate(each), count).astype(dtype) for each in zip(mixed, drawn, strict=True)]


def alone(name, operands, result="result"):
    """A program of one operation."""
    body = (Instruction(result, name, ("param", "grad")[:operands]),)
    return Program("Alone", ("param", "grad"), (), (), (), body, (result,), ())


@pytest.mark.parametrize("threads", [1, 2])
@each_dtype
@each_name
def test_compiled_code_has_the_bits_of_the_definition(name, dtype, threads, monkeypatch):
    monkeypatch.setenv("MINIMA_NUM_THREADS", str(threads))
    sizes = [1, 3, 7, 8, 9, 31, 100, 70_001]
    places = np.cumsum(sizes)[:-1]
    given = [np.split(x, places) for x in arguments(name, dtype, sum(sizes))]
    wanted = [OPERATIONS[name].numpy(*values) for values in zip(*given, strict=True)]
    params, grads = given[0], given[-1]
    program = alone(name, len(given))
    kernel = choose("test", "fused").prepare(program, dtype, arrays(params, grads), [()] * len(sizes))
    kernel.arrange([0] * len(sizes))
    assert kernel.find()
    kernel.begin([()], [1])
    kernel.run()
    for found, value in zip(params, wanted, strict=True):
        assert same(found, value)


@each_dtype
@each_name
def test_a_gpu_has_the_bits_of_the_definition(name, dtype):
    given = arguments(name, dtype, 3 * CHUNK - 5)
    result, grad = given[0].copy(), given[-1].copy()
    memory, many = Memory(), -(-result.size // CHUNK)
    buffers, grads = ([memory.allow(values)] for values in (result, grad))
    tables = [np.array(table, np.int64) for table in (buffers, grads, [0], [0], [1], [[0, result.size]])]
    kernel = Kernel(ptx(alone(name, len(given)), dtype, (), dtype))
    kernel.launch(many, THREADS, [*(memory.allow(table) for table in tables), 1], memory)
    assert same(result, OPERATIONS[name].numpy(*given))


@each_name
def test_plain_numbers_have_the_bits_of_arrays(name):
    values, number = arguments(name, "float64", 20_000), of_floats(OPERATIONS[name].definition)
    assert same([number(*each) for each in zip(*values, strict=True)], OPERATIONS[name].numpy(*values))


@each_name
def test_compiled_functions_of_the_host_part_have_the_bits_of_plain_numbers(name):
    names = ("x", "y")[: 1 + (name == "pow")]
    host = (Instruction("found", name, names),)
    program = Program("Host", ("param", "grad"), names, host, ("found",), (), ("param",), ())
    ((called, function),) = functions_of(program)
    values = arguments(name, "float64", 2000)
    assert called == name and same(
        [function(*each) for each in zip(*values, strict=True)],
        [OPERATIONS[name].number(*each) for each in zip(*values, strict=True)],
    )


def test_a_kept_power_is_that_of_its_own_zero():
    """Zeros of two signs are equal, and so are the arguments of a call that has been answered before."""
    names = ("x", "y")
    host = (Instruction("found", "pow", names),)
    ((_, power),) = functions_of(Program("Host", ("param", "grad"), names, host, ("found",), (), ("param",), ()))
    for _ in range(2):
        assert power(0.0, -1.0) == math.inf and power(-0.0, -1.0) == -math.inf
        assert power(0.96, 0.004) == power(0.96, 0.004) == OPERATIONS["pow"].number(0.96, 0.004)


@each_dtype
@each_name
def test_loops_call_no_library_and_take_several_elements_at_once(name, dtype, monkeypatch):
    made = []
    compiled = llvm.optimised
    monkeypatch.setattr(llvm, "optimised", lambda *args: made.append(str(found := compiled(*args))) or found)
    ones = np.ones(100, dtype)
    program = alone(name, 2 if name == "pow" else 1, result="not_compiled_before")
    choose("test", "fused").prepare(program, dtype, arrays([ones], [ones.copy()]), [()])
    (text,) = (text for text in made if "fmul" in text)
    called = {word for line in text.splitlines() if "call" in line for word in line.split() if word.startswith("@")}
    assert all(word.startswith("@llvm.") for word in called) and "fma" not in text
    assert "x double>" in text


# Words and the host part ---------------------------------------------------------------------------------------------


def test_words_on_arrays_give_the_bits_of_rules_in_their_dtype():
    for name, word in (("exp", exp), ("log", log), ("cbrt", cbrt)):
        for dtype in ("float16", "float32", "float64"):
            x = np.linspace(0.1, 9.9, 99).astype(dtype)
            wanted = OPERATIONS[name].numpy(x)
            assert same(word(x), wanted) and wanted.dtype == dtype
            assert word(x.reshape(3, 33).T).shape == (33, 3) and same(word(x.reshape(3, 33).T), wanted.reshape(3, 33).T)
        assert type(word(2.0)) is float and word(2.0) == word(np.float64(2.0)) == word(np.array(2))
        assert type(word(np.float32(2.0))) is np.float32


def test_complex_numbers_are_refused_rather_than_cut():
    for word in (exp, log, cbrt):
        for wrong in (1j, np.array([1j])):
            rule = f"^{word.__name__}: takes real numbers, and no complex ones; got "
            with pytest.raises(TypeError, match=f"{rule}{re.escape(repr(wrong))}$"):
                word(wrong)


def test_a_literal_is_taken_in_the_precision_of_the_array():
    x = np.linspace(0.1, 9.9, 99, dtype=np.float32)
    assert same(OPERATIONS["pow"].numpy(x, 0.1), OPERATIONS["pow"].numpy(x, np.full(99, 0.1, np.float32)))
    assert same(OPERATIONS["pow"].numpy(0.1, x), OPERATIONS["pow"].numpy(np.full(99, 0.1, np.float32), x))


def test_whole_powers_on_the_host_are_squared_repeatedly():
    for x in (0.9, 0.999, -1.5, 2.0):
        assert power_of_floats(x, 0.0) == 1.0 and power_of_floats(x, 1.0) == x
        assert power_of_floats(x, 2.0) == x * x and power_of_floats(x, 3.0) == x * x * x
        cube = x * x * x
        assert power_of_floats(x, 13.0) == (cube * cube) * (cube * cube) * x
    for t in (100.0, 1000.0, 12345.0):
        assert power_of_floats(0.9999, t) == pytest.approx(0.9999**t, rel=t * 2**-53)
    assert power_of_floats(2.0, 1e4) == INF and power_of_floats(-2.0, 1e4 + 1) == -INF


@pytest.mark.parametrize("doubt", [0.0, 1.0])
def test_the_host_part_has_the_same_powers_whether_something_else_overflows_or_not(doubt):
    lines = [Instruction("power", "pow", ("beta", "t")), Instruction("root", "pow", ("t", -0.8))]
    lines += [Instruction("found", "exp", ("beta",)), Instruction("ratio", "div", (1.0, "doubt"))]
    compute = numbers_function(("beta", "t", "doubt"), lines, ("power", "root", "found", "ratio"))
    found = compute(0.999, 777.0, doubt)
    wanted = power_of_floats(0.999, 777.0), power_of_floats(777.0, -0.8), OPERATIONS["exp"].number(0.999)
    assert found == (*wanted, 1.0 if doubt else INF) and all(type(value) is float for value in found)
    assert OPERATIONS["pow"].numpy(0.999, 777.0) != found[0]  # else it would not show which is asked


def test_a_rule_with_these_words_gives_the_same_on_every_engine_in_half_precision_too():
    class Wavy(Optimizer):
        lr: float = hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, trend, *, lr, t):
            trend = 0.9 * trend + cbrt(grad) * exp(-abs(param)) ** (1 + 0.9**t)
            return param - lr * trend * log(2 + param * param) ** 1.5, trend

    for dtype in ("float16", "float32", "float64"):
        found = []
        for engine in ("reference", "fused"):
            w = Tensor(np.linspace(-2, 2, 1001).astype(dtype), requires_grad=True)
            optimizer = Wavy([w], engine=engine)
            for step in range(4):
                w.grad = Tensor(np.sin(np.arange(1001) + step).astype(dtype))
                optimizer.step()
            found.append(w.detach().numpy().tobytes())
        assert found[0] == found[1]
