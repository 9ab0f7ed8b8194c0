"""The kernel that counts steps on a GPU and computes scalars there: it has the bits of the host."""

import re
from dataclasses import replace

import numpy as np
import pytest
from ptx import Kernel, Memory
from test_optim_cuda import KINDS, checked, different, kernel_name, printed

from minima import optim
from minima.optim import Optimizer, bfloat16, cbrt, exp, hyper, log, maximum, minimum, sign, sqrt, where
from minima.optim import abs as magnitude
from minima.optim.core.model import part_of
from minima.optim.core.scalars import host_part
from minima.optim.core.variants import Variants
from minima.optim.engines import reductions
from minima.optim.engines.cuda import sums
from minima.optim.engines.cuda.grid import WARP
from minima.optim.engines.cuda.model import begin_ptx, model_name, model_ptx
from minima.optim.engines.cuda.notes import WORDS, note_ptx
from minima.optim.engines.cuda.phases import phases_ptx
from minima.optim.engines.cuda.rows import (
    ARGUMENTS,
    DOUBLE,
    GIVEN_ARGUMENTS,
    NUMBER,
    SINGLE,
    THREADS,
    asked,
    given_ptx,
    rows_name,
    rows_ptx,
)
from minima.optim.engines.cuda.sums import ADD, ADD_ARGUMENTS, SMALL_THREADS
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Program
from minima.optim.language.vocabulary import Shared, total
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
    words, _kept = table(numbers, memory)
    scalars = np.full((many, len(program.scalars)), 7, compute)
    wide, ts, two = np.full((many, len(program.wide)), 7.0), np.zeros(many, np.int64), np.array([3.0, 4.0])
    shifts = np.resize(np.array(SHIFTS), many)
    tables = dict(clocks=clocks, groups=np.array(groups), shifts=shifts, numbers=words)
    tables |= dict(ts=ts, wide=wide, scalars=scalars, own=two, found=np.array([found], np.float32))
    given = {name: memory.allow(np.ascontiguousarray(array)) for name, array in tables.items()}
    memory.allow(counts), memory.allow(fresh)
    given |= dict(many=many, seed=seed, ticks=ticks) | ({} if own else {"own": 0})
    text = rows_ptx(program, compute)
    checked(text)
    Kernel(text).launch(-(-many // THREADS), THREADS, [given[x] for x in ARGUMENTS], memory)
    return scalars, wide, ts, counts, fresh, two


def table(numbers, memory):
    """The words of the numbers of groups, and where those are that are not among them."""
    words, kept = [], []
    for group in numbers:
        for value in group:
            kind = {np.float32: SINGLE, np.ndarray: DOUBLE}.get(type(value), NUMBER)
            kept.append(np.array(value, np.float32 if kind == SINGLE else np.float64))
            memory.allow(kept[-1])
            words += [kind, kept[-1].ctypes.data if kind else int(kept[-1].view(np.int64))]
    return np.array(words, np.int64), kept


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


# What there is one of for all parameters ------------------------------------------------------------------------------


class Whole(Optimizer):
    """Every word, of numbers that all parameters share, and two totals, of which one needs the other."""

    lr: float = hyper(0.1)

    @staticmethod
    def update(param, grad, a: Shared = 0.5, b: Shared = -2.0, *, lr, t, first, loss):
        size = total(grad**2)
        calm = (magnitude(a) <= 1) & ~(b == 0) | (size != 3) & (a >= -2) | (a < b)
        step = where(calm, 2 / (1 + bfloat16(a)), 1 - sqrt(magnitude(b))) + where(first, loss, -b) + (size > t)
        powers = a**t * b**3 + magnitude(a) ** b - 2**b + magnitude(b) ** (t * 0.5) + size ** (t - 2)
        along = total(step * grad * param)
        best = maximum(a, along) * minimum(b, t) - exp(-b) * cbrt(a) + log(magnitude(along)) * sign(a)
        return param - lr * best * grad, powers + step, where(along > 0, best, b)


def with_parts():
    rules = [getattr(optim, name) for name in RULES] + [Whole]
    for cls in rules:
        variants = Variants(cls.rule, cls._declaration)
        for number, program in enumerate(variants.all_programs()):
            if part_of(program).counts:
                yield pytest.param(variants, program, id=f"{cls.__name__}-{number}")


PARTS = list(with_parts())


def stages(program):
    """The stages that have lines for the whole model; None is the end of a step."""
    return [*range(program.stage_count)] * bool(program.model) + [None] * bool(part_of(program).shared)


@pytest.mark.parametrize("ticks", [0, 1])
@pytest.mark.parametrize("variants, program", [each for each in PARTS if each.values[1].wide])
def test_wide_numbers_of_the_whole_model_have_the_bits_of_the_host(variants, program, ticks):
    part = part_of(program)
    for numbers in settings(variants, program):
        known = dict(zip(asked(program), map(float, numbers), strict=True))
        for count in (0, 1, 98, 2**31 + 5):
            memory, own, result = Memory(), np.array([count + ticks, 4.0, 0.0]), np.full(len(program.wide), 7.0)
            words, _kept = table([numbers], memory)
            tables = dict(numbers=words, own=own, result=result)
            given = {name: memory.allow(array) for name, array in tables.items()} | {"ticks": ticks}
            checked(given_ptx(program))
            Kernel(given_ptx(program)).launch(1, 1, [given[x] for x in GIVEN_ARGUMENTS], memory)
            t = count + 1
            host = host_part(program)(known, t, t == 1, known.get("loss", 0.0))
            assert different(result, np.array(host[len(program.scalars) :])) == 0 and own.tolist()[0] == count + ticks
    assert part.counts


def lines_ptx(program, what, lines, is_guarded=False):
    """The kernel of some lines."""
    known = lines.given, tuple(lines.totals), lines.lines, lines.results
    return model_ptx(model_name(program, what), program, *known, is_guarded)


def lines_by_kernel(program, what, lines, given, totals, found=None):
    """What the kernel of some lines gives."""
    memory, results = Memory(), np.full((len(lines.results), 1), 7.0)
    words = [memory.allow(given), *(memory.allow(number) for number in totals), *map(memory.allow, results)]
    name = model_name(program, what)
    if found is not None:
        words.append(memory.allow(np.array([found], np.float32)))
    text = lines_ptx(program, what, lines, found is not None)
    checked(text)
    Kernel(text, name).launch(1, 1, words, memory)
    return results[:, 0]


@pytest.mark.parametrize("variants, program", PARTS)
def test_lines_for_the_whole_model_have_the_bits_of_the_host(variants, program):
    part, draw = part_of(program), np.random.default_rng(0)
    for stage in stages(program):
        lines = part.lines(stage)
        for number in range(12):
            given = draw.normal(size=len(lines.given)) * 3
            totals = [np.array([x]) for x in draw.normal(size=len(lines.totals)) * 3]
            if number > 5:  # and of unusual ones
                given = draw.choice(WILD, len(given))
                totals = [np.array([x]) for x in draw.choice(WILD, len(totals))]
            if "t" in lines.given:
                given[lines.given.index("t")] = (1.0, 2.0, 70.0)[number % 3]
            by_which = dict(zip(lines.totals.values(), (float(x[0]) for x in totals), strict=True))
            if stage is None:
                changes = part.results(given.tolist(), by_which)
                results = [r for name, r in zip(part.shared, lines.results, strict=True) if name in part.changes]
                lines, host = lines._replace(results=tuple(results)), list(changes.values())
            else:
                host = part.told(stage, given.tolist(), by_which)
            kernel = lines_by_kernel(program, "end" if stage is None else str(stage), lines, given, totals)
            assert different(kernel, np.array(host, np.float64)) == 0, (stage, given, totals)


def test_lines_of_a_step_that_is_left_out_give_nothing():
    program = next(each.values[1] for each in PARTS if each.id == "Prodigy-0")
    lines = part_of(program).lines(None)
    given, totals = np.ones(len(lines.given)), [np.ones(1) for _ in lines.totals]
    for found, is_written in ((0.0, True), (1.0, False), (np.nan, False)):
        results = lines_by_kernel(program, "end", lines, given, totals, found)
        assert bool((results != 7.0).all()) is is_written


@pytest.mark.parametrize("told, shared", [(3, 2), (0, 1), (2, 0)])
def test_a_step_begins_with_numbers_of_the_launch_and_with_those_that_are_shared(told, shared):
    memory, given, kept = Memory(), np.full(told + shared + 1, -1.0), np.arange(1.0, 1 + shared)
    numbers = np.random.default_rng(0).normal(size=told)
    addresses = [memory.allow(kept[place : place + 1]) for place in range(shared)]
    text = begin_ptx("begin", told, shared)
    checked(text)
    Kernel(text).launch(1, 1, [memory.allow(given), *numbers.view(np.int64).tolist(), *addresses], memory)
    assert given.tolist() == [*numbers, *kept, -1.0]


@pytest.mark.parametrize(
    "chunk, many, first_warp", [(reductions.CHUNK, reductions.CHUNK + 5, min), (WARP, WARP**2 + 5, max)]
)
def test_a_total_is_added_of_numbers_that_are_anywhere(chunk, many, first_warp, monkeypatch):
    for module in (reductions, sums):
        monkeypatch.setattr(module, "CHUNK", chunk)  # for as many chunks as a chunk has numbers there would be millions
    monkeypatch.setattr(phases_ptx, "kept", {})
    variants, program = next(each.values for each in PARTS if each.id == "Prodigy-0")
    memory, draw = Memory(), np.random.default_rng(0)
    numbers, result = draw.normal(size=3 * many), np.full(1, 7.0)
    order, first = draw.permutation(3 * many)[:many], memory.allow(numbers)
    tables = dict(places=first + 8 * order, room=np.zeros(2 * (1 + many // chunk)), total=result)
    given = {name: memory.allow(array) for name, array in tables.items()} | {"count": many}
    kernel = Kernel(printed(variants, program, KINDS[0]), f"{kernel_name(program)}_{ADD}")
    kernel.apart = first_warp
    kernel.launch(1, SMALL_THREADS, [given[x] for x in ADD_ARGUMENTS], memory)
    assert result[0] == reductions.total(numbers[order])


def test_notes_are_written_word_by_word():
    memory, table = Memory(), np.zeros(WORDS + 1, np.int64)
    words = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, WORDS)
    checked(note_ptx())
    Kernel(note_ptx()).launch(1, 1, [memory.allow(table), *words], memory)
    assert table.tolist() == [*words.tolist(), 0]


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
