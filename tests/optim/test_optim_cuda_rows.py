"""The kernel that counts steps on a GPU and computes scalars there: it has the bits of the host."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ptx import Kernel, Memory
from test_optim_cuda import different, kernel_name

from minima import optim
from minima.optim import Optimizer, bfloat16, cbrt, exp, hyper, log, maximum, minimum, sign, sqrt, where
from minima.optim import abs as magnitude
from minima.optim.core.scalars import host_part
from minima.optim.core.variants import Variants
from minima.optim.engines.cuda.rows import ARGUMENTS, DOUBLE, NUMBER, SINGLE, THREADS, asked, rows_name, rows_ptx
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program
from minima.optim.rules import RULES


class Numbers(Optimizer):
    """Every word, of numbers alone."""

    lr: float = hyper(0.1)
    other: float = hyper(0.3)

    @staticmethod
    def update(param, grad, *, lr, other, t, first):
        calm = (magnitude(lr) <= 1) & ~(other == 0) | (t != 3) & (lr >= -2) | (lr < other)
        step = where(calm, 2 / (1 + bfloat16(lr)), 1 - sqrt(magnitude(other))) + where(first, 0.5, -other) + (t > 7)
        powers = lr**t * other**3 + magnitude(lr) ** other - 2**other + magnitude(other) ** (t * 0.5) + lr ** (t - 2)
        size = maximum(lr, other) * minimum(lr, t) - exp(-other) * cbrt(lr) + log(magnitude(lr)) * sign(other)
        return param - step * grad + powers * param - size * grad * param


class Few(Optimizer):
    """Numbers that are handed over as they are, in both precisions."""

    lr: float = hyper(0.1)
    rate: float = hyper(0.5)

    @staticmethod
    def update(param, grad, *, lr, rate, first):
        return param - lr * grad / (1 + rate * optim.norm(grad)) * where(first, 1.0, 2.0)


def programs():
    for cls in (*(getattr(optim, name) for name in RULES), Numbers, Few):
        variants = Variants(cls.rule, cls._declaration)
        known = {}
        for program in variants.all_programs():  # those that compute the same numbers count once
            numbers = replace(program, body=())  # which is printed elsewhere
            known.setdefault((program.hypers, program.host, program.scalars, program.wide), numbers)
        for number, program in enumerate(known.values()):
            yield pytest.param(variants, program, id=f"{cls.__name__}-{number}")


COUNTS = [0, 1, 2, 7, 63, 64, 99, 249, 1000, 123_456, 2**31 - 1, 2**31 + 5, 2**40 + 1]
SHIFTS = [0, 5, -3]


def run(program, compute, rows, *, ticks=1, found=0.0, own=True, seed=9):
    """Run the kernel: each row a count, whether its state is new, the number of its group; and the numbers of groups.

    Gives scalars, wide numbers, ts, counts, what is new, and the optimizer's own two counts.
    """
    counts, fresh, groups, numbers = rows
    many, memory = len(counts), Memory()
    counts, fresh = np.array(counts, np.float64), np.array(fresh, np.float64)
    clocks = np.stack([counts.ctypes.data + 8 * np.arange(many), fresh.ctypes.data + 8 * np.arange(many)], 1)
    words, kept = [], []
    for group in numbers:
        for value in group:
            kind = {np.float32: SINGLE, np.ndarray: DOUBLE}.get(type(value), NUMBER)
            kept.append(np.array(value, np.float32 if kind == SINGLE else np.float64))
            memory.allow(kept[-1])
            words += [kind, kept[-1].ctypes.data if kind else int(kept[-1].view(np.int64))]
    scalars = np.full((many, len(program.scalars)), 7, compute)
    wide, ts, two = np.full((many, len(program.wide)), 7.0), np.zeros(many, np.int64), np.array([3.0, 4.0])
    shifts = np.resize(np.array(SHIFTS), many)
    tables = dict(clocks=clocks, groups=np.array(groups), shifts=shifts, numbers=np.array(words, np.int64))
    tables |= dict(ts=ts, wide=wide, scalars=scalars, own=two, found=np.array([found], np.float32))
    given = {name: memory.allow(np.ascontiguousarray(table)) for name, table in tables.items()}
    memory.allow(counts), memory.allow(fresh)
    given |= dict(many=many, seed=seed, ticks=ticks) | ({} if own else {"own": 0})
    Kernel(rows_ptx(program, compute)).launch(-(-many // THREADS), THREADS, [given[x] for x in ARGUMENTS], memory)
    return scalars, wide, ts, counts, fresh, two


def settings(variants, program):
    """The numbers of two groups: the usual ones, and unusual ones."""
    usual = [variants.declaration.hypers[name].default or 0.25 if name != "loss" else 1.5 for name in asked(program)]
    odd = [np.float32(0.9 * value) if number % 2 else np.array(0.95 * value) for number, value in enumerate(usual)]
    return [list(map(float, usual)), odd]


def by_host(program, rows, numbers):
    """What the host computes for each row."""
    host, found = host_part(program), []
    for count, new, group in rows:
        known = dict(zip(asked(program), map(float, numbers[group]), strict=True))
        found.append(host(known, count + 1, bool(new), known.get("loss", 0.0)))
    return np.array(found).reshape(len(rows), -1)


@pytest.mark.parametrize("compute", ["float32", "float64"])
@pytest.mark.parametrize("variants, program", list(programs()))
def test_scalars_have_the_bits_of_the_host(variants, program, compute):
    numbers = settings(variants, program)
    rows = [(count, new, group) for count in COUNTS for new in (0, 1) for group in (0, 1)]
    scalars, wide, ts, *_ = run(program, compute, (*zip(*rows, strict=True), numbers))
    found = by_host(program, rows, numbers)
    with np.errstate(over="ignore"):
        assert different(scalars, found[:, : len(program.scalars)].astype(compute)) == 0
    assert different(wide, np.ascontiguousarray(found[:, len(program.scalars) :])) == 0
    assert ts.tolist() == [n + 1 + 9 + SHIFTS[i % 3] for i, (n, _, _) in enumerate(rows)]


WILD = [0.0, -0.0, 1.0, -1.0, 2.0, 0.5, -3.0, 1e-310, 1e300, -1e300, float("inf"), -float("inf"), float("nan"), 3.0]


def test_scalars_of_unusual_numbers_have_the_bits_of_the_host():
    variants = Variants(Numbers.rule, Numbers._declaration)
    program = variants.all_programs()[-1]
    assert {line.operation for line in program.host} == OPERATIONS.keys() - {"nearest"}
    numbers = [[x, y] for x in WILD for y in WILD]
    rows = [(count, 0, group) for count in (0, 1, 2, 98) for group in range(len(numbers))]
    scalars, *_ = run(program, "float64", (*zip(*rows, strict=True), numbers))
    assert different(scalars, by_host(program, rows, numbers)) == 0


def test_powers_of_unusual_numbers_have_the_bits_of_the_host():
    lines = Instruction("x0", "pow", ("lr", "other")), Instruction("x1", "pow", ("lr", "t"))
    program = Program("Powers", ("param", "grad"), ("lr", "other", "t"), lines, ("x0", "x1"), (), ("param",), ())
    wild = [*WILD, 2.0**31, 2.0**31 + 1, 2.0**31 - 0.5, 1 + 1e-9, -1 - 1e-9]
    numbers = [[x, y] for x in wild for y in wild]
    rows = [(count, 0, group) for count in (0, 1, 98) for group in range(len(numbers))]
    scalars, *_ = run(program, "float64", (*zip(*rows, strict=True), numbers))
    assert different(scalars, by_host(program, rows, numbers)) == 0


ADAM = Variants(optim.Adam.rule, optim.Adam._declaration)


@pytest.mark.parametrize(
    "options, counts, fresh, own",
    [
        ({}, [1, 6], [0, 0], [4, 4]),
        ({"found": 1.0}, [0, 5], [1, 0], [3, 5]),
        ({"found": float("nan")}, [0, 5], [1, 0], [3, 5]),
        ({"ticks": 0}, [0, 5], [1, 0], [4, 4]),
        ({"own": False}, [1, 6], [0, 0], [3, 4]),
    ],
    ids=str,
)
def test_a_step_counts_unless_it_is_left_out(options, counts, fresh, own):
    program = ADAM.all_programs()[0]
    rows = [0, 5], [1, 0], [0, 0], settings(ADAM, program)
    *_, after, new, two = run(program, "float32", rows, **options)
    assert (after.tolist(), new.tolist(), two.tolist()) == (counts, fresh, own)


def test_more_rows_than_a_block_has_threads():
    program = ADAM.all_programs()[0]
    many = 2 * THREADS + 3
    *_, counts, fresh, two = run(program, "float32", (range(many), [1] * many, [0] * many, settings(ADAM, program)))
    assert counts.tolist() == list(range(1, many + 1)) and not fresh.any() and two.tolist() == [4, 4]


FAULTS = {
    "another step": ("0d3FF0000000000000", "0d4000000000000000"),
    "another group": (r"mad\.lo\.s64 (.*), (%rd\d+), (\d+), (%rd\d+);", r"mad.lo.s64 \1, 0, \3, \4;"),
    "a sum for a square": (r"mul\.rn\.f64", "add.rn.f64"),
    "a single for a double": (r"setp\.eq\.b64 (.*), 1;", r"setp.eq.b64 \1, 2;"),
}


@pytest.mark.parametrize("pattern, fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_seen(pattern, fault, monkeypatch):
    program = ADAM.all_programs()[0]
    text = rows_ptx(program, "float32")
    wrong, count = re.subn(pattern, fault, text, count=1)
    assert count and kernel_name(program) in rows_name(program)
    monkeypatch.setattr("test_optim_cuda_rows.rows_ptx", lambda *_: wrong)
    try:
        test_scalars_have_the_bits_of_the_host(ADAM, program, "float32")
    except (AssertionError, KeyError):
        return
    pytest.fail("nobody has seen it")


class Keeping(Optimizer):
    """Keeps the last gradient, as it is."""

    lr: float = hyper(0.1)

    @staticmethod
    def update(param, grad, last, *, lr):
        return param - lr * (grad + last), grad


def test_a_program_for_scaled_gradients_reads_them_once():
    program = Variants(Keeping.rule, Keeping._declaration).all_programs()[0].scaled()
    readers = [line for line in program.body if "grad" in line.reads]
    assert [str(line) for line in readers] == ["unscaled = grad * unscale"] and "grad" not in program.outputs
    assert program.outputs[1] == "unscaled" and program.hypers[-1] == "grad_scale" == asked(program)[-1]
    again = program.scaled()  # names are found that nothing has
    assert again.body[0].target == "unscaled_" and again.hypers[-2:] == ("grad_scale", "grad_scale_")
