"""The kernel for NVIDIA GPUs: what is printed, and that it has the CPU's bits, run by the interpreter in ptx.py."""

import os
import re

import numpy as np
import pytest
from ptx import Kernel, Memory
from rules import Everything

from minima import optim
from minima.optim import Optimizer, bfloat16, cbrt, exp, hyper, log, maximum, minimum, sign, sqrt, where
from minima.optim import abs as magnitude
from minima.optim.core.scalars import host_part
from minima.optim.core.variants import Variants
from minima.optim.engines.cpu.launch import Launch
from minima.optim.engines.cuda import words
from minima.optim.engines.cuda.grid import ARGUMENTS, CHUNK, THREADS, kernel_name, ptx
from minima.optim.engines.cuda.phases import phases_ptx
from minima.optim.engines.cuda.words import PRINTED, unprinted
from minima.optim.engines.passes import cut, obstacle, products
from minima.optim.engines.storage import BLOCK, BLOCKS, base
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.ranks import ELEMENT, TENSOR
from minima.optim.language.rule import GIVEN
from minima.optim.rules import RULES


class Words(Optimizer):
    """Every word that can be printed for a GPU, a first state that is not 0."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, peak=0.25, last=0.0, *, lr, t):
        peak, low = maximum(peak, magnitude(grad)), minimum(last, -grad)
        calm = (magnitude(grad) <= 1) & ~(grad == 0) | (grad != grad) | (param < 0) & (param >= -2)
        step = where(calm, 2 / (1 + bfloat16(peak)), 1 - sqrt(peak)) + (grad > 0.5)
        step = step + exp(-peak) * cbrt(grad) - log(peak) ** 3 * 2**grad
        return param - lr * step * sign(grad) + 0.01 * low * where(t > 2, 1.0, 0.5), peak, grad


KINDS = [
    ("float32", "float32", None),
    ("float64", "float64", None),
    ("bfloat16", "float32", None),
    ("bfloat16", "float32", "bfloat16"),
    ("bfloat16_nearest", "float32", None),
    ("float16", "float32", None),
    ("float16_stochastic", "float32", None),
    ("float32", "float32", "bfloat16"),
    ("float64", "float64", "bfloat16"),
    ("float32", "float32", "int8"),
    ("float64", "float64", "int8"),
    ("bfloat16", "float32", "int8"),
]
"""How a parameter is kept and rounded to, the precision of the loop, how its state is kept."""
IN_8_BITS = KINDS[9]


EVERYTHING = "MINIMA_EVERY_KERNEL" in os.environ
"""Whether to run every variant in every kind; else every kind once, and every rule once."""


def programs(cls):
    """The plainest and the richest variant of a rule."""
    variants = Variants(cls.rule, cls._declaration)
    found = variants.all_programs()
    return variants, found[0], found[-1]


def cases():
    for cls in (*(getattr(optim, name) for name in RULES), Words):
        variants, plain, rich = programs(cls)
        for kind in KINDS:
            yield cls, variants, rich, kind
            if cls.rule.estimate:
                yield cls, variants, variants.estimate(next(cls._declaration.variants())), kind
            if EVERYTHING and plain != rich:
                yield cls, variants, plain, kind
            if base(kind[0]) in ("bfloat16", "float16") and (EVERYTHING or cls is Words):
                yield cls, variants, variants.all_programs(master=True)[-1], kind


def named(cls, variants, program, kind):
    return pytest.param(variants, program, kind, id="-".join(map(str, (*program.inputs[2:], cls.__name__, *kind))))


PRINTABLE = [case for case in cases() if case[2].is_plain]
PASSES = [named(*case) for case in cases() if not case[2].is_plain and not obstacle(case[2], [case[3][2] or ""])]
CASES = [named(*case) for case in PRINTABLE]
RUN = [named(*x) for x in PRINTABLE if EVERYTHING or x[0] in (Words, optim.Adam) or x[3] == KINDS[0]]


def state_kinds(variants, program, kind):
    """The kind in which each state is kept."""
    _, compute, state = kind
    bounded = variants.bounded(program)
    kept = [state if state != "int8" or name not in bounded else "uint8" for name in program.state]
    return tuple(compute if k is None or n < 0 else k for k, n in zip(kept, program.numbers, strict=True))


def kept_kinds(variants, program, kind):
    """The kind in which each state is kept that is not shared by all parameters."""
    whole = dict(zip(program.state, state_kinds(variants, program, kind), strict=True))
    kinds = {ELEMENT: None, TENSOR: "float64"}
    return tuple(kinds.get(program.rank(name), kind[1]) or whole[name] for name in program.kept)


def printed(variants, program, kind, form=None):
    """The kernels of a program; or, guarded, those of its form that measures or reads scaled gradients."""
    made = program if form is None else form
    if made.is_plain:
        return ptx(made, kind[0], state_kinds(variants, program, kind), kind[1], form is not None)
    return phases_ptx(made, kind[0], kept_kinds(variants, program, kind), kind[1], form is not None)


# What is printed -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("variants, program, kind", CASES)
def test_what_is_printed_is_rounded_as_on_the_cpu_and_moves_whole_groups(variants, program, kind):
    text = printed(variants, program, kind)
    assert f".entry {kernel_name(program)}(" in text
    accesses = checked(text)
    written = [name for name, value in zip(("param", *program.state), program.outputs, strict=True) if value != name]
    arrays = (
        len(program.inputs) - ("param" not in written) + len(written)
    )  # what an estimate does not ask for is not read
    coded = 2 * len(program.state) * (kind[2] == "int8")  # four codes are one access of 32 bits
    assert sum(".v" in access for access in accesses) >= arrays - coded
    if kind == KINDS[0]:
        assert sum(access in ("ld.global.v4.b32", "st.global.v4.b32") for access in accesses) == arrays


def checked(text):
    """All accesses to memory in a text, in which everything is as it must be."""
    assert ".version 6.3" in text and ".target sm_70" in text
    assert not re.search(r"\bfma|\.approx|\.ftz|\.full\b|\bcall\b|\.local\b|\.shared\b|\batom|\bred\.", text)
    for operation in re.findall(r"^\s*(?:@!?%p\d+ )?((?:add|sub|mul|div|sqrt|rcp)\.[\w.]*f(?:16|32|64))\b", text, re.M):
        assert ".rn." in operation, operation
    accesses = re.findall(r"\b(?:ld|st)\.(?!param)[\w.]+", text)
    assert accesses and all(".global." in access for access in accesses)
    return accesses


@pytest.mark.parametrize("variants, program, kind", PASSES)
def test_passes_are_kernels_that_are_rounded_as_on_the_cpu(variants, program, kind):
    text = printed(variants, program, kind)
    checked(text)
    prefix, names = kernel_name(program), re.findall(r"\.entry (\w+)", text)
    made = cut(program, (kind[0], *kept_kinds(variants, program, kind)), kind[1]).passes
    passes = {f"{prefix}_pass_{k}": each for k, each in enumerate(made) if each is not None}
    assert [name for name in names if "_pass_" in name] == list(passes)
    assert (f"{prefix}_total" in names) is bool(program.totalled)
    for name, each in passes.items():
        if each.ends or program.by_rows:  # neighbouring elements are those of a warp
            continue
        kernel = next(part for part in text.split(".entry ") if part.startswith(f"{name}("))
        arrays = [*{array for array, _ in each.reads}, *{array for array, _ in each.writes}]
        coded = [array for array in arrays if array in program.kept and kind[2] == "int8"]
        wide = re.findall(r"\b(?:ld|st)\.global\.v[\w.]+", kernel)
        assert len(wide) >= len(arrays) - len(coded)  # four codes are one access of 32 bits
        if kind == KINDS[0]:
            assert len(wide) == len(arrays) and set(wide) <= {"ld.global.v4.b32", "st.global.v4.b32"}


def test_rules_that_multiply_matrices_are_among_them():
    found = {case.values[1].name for case in PASSES if products(case.values[1])}
    assert "Muon" in found


FORMS = [
    case
    for case in (*CASES, *PASSES)
    if case.values[2] in (KINDS[0], IN_8_BITS)
    if EVERYTHING or case.values[0].rule.name in ("Words", "Adam", "LAMB", "Adafactor", "Prodigy")
]


@pytest.mark.parametrize("variants, program, kind", FORMS)
def test_what_is_guarded_and_measured_or_scaled_is_rounded_as_on_the_cpu(variants, program, kind):
    for form in (program.scaled(), program.measured()):
        text = printed(variants, program, kind, form)
        checked(text)
        kernels = text.split(".entry ")[1:]
        guarded = [kernel for kernel in kernels if not kernel.startswith(f"{kernel_name(program)}_total(")]
        assert guarded and all(re.search(r"setp\.\w+\.f32 .*, 0f00000000;", kernel) for kernel in guarded)


def test_every_word_is_printed_or_known_not_to_be(monkeypatch):
    variants, plain, _ = programs(Everything)
    used = {line.operation for line in programs(Words)[2].body}
    used |= {line.operation for line in programs(Words)[0].all_programs(master=True)[-1].body}
    assert used == PRINTED == OPERATIONS.keys()
    assert unprinted(plain) == []
    monkeypatch.setattr(words, "PRINTED", PRINTED - {"exp"})
    with pytest.raises(AssertionError, match=r"end the process: \['exp'\]"):
        printed(variants, plain, ("float32", "float32", "int8"))


def test_a_kernel_is_called_as_its_rule_is():
    program = programs(optim.AdamW)[1]
    assert kernel_name(program) == f"minima_{program.name}" and "AdamW" in kernel_name(program)


# What it does --------------------------------------------------------------------------------------------------------

SIZES = [(1, 0), (3, 0), (255, 1), (256, 0), (2500, 3), (2048 + 257, 0), (100, 2), (1000, 0)]
"""Elements of each tensor, and how many entries from an aligned address its arrays begin."""
STEPS = 3


def numbers(program, variants, row):
    """Hyperparameters, of two groups that differ."""
    found = {}
    for name in program.hypers:
        if name not in GIVEN:
            default = variants.declaration.hypers[name].default
            found[name] = default or 0.9 if name != "lr" else 1e-2 * (row + 1)
    return found


def array(size, dtype, shift):
    """Zeros, so many entries behind an address of 64 bytes."""
    room = np.zeros(size * dtype.itemsize + 64 + shift * dtype.itemsize, np.uint8)
    start = -room.ctypes.data % 64 + shift * dtype.itemsize
    return room[start : start + size * dtype.itemsize].view(dtype)


def dtype_of(kind):
    return np.dtype({"bfloat16": "uint16"}.get(base(kind), base(kind)))


def fill(target, kind, values):
    """Write numbers as a kind of parameters keeps them."""
    if base(kind) == "bfloat16":
        target[:] = values.astype(np.float32).view(np.uint32) >> np.uint32(16)
    else:
        with np.errstate(over="ignore"):
            target[:] = values


def special(dtype):
    top = np.finfo(dtype)
    return [0.0, -0.0, np.inf, -np.inf, np.nan, float(top.tiny) / 4, float(top.max), -float(top.tiny)]


def different(mine, other):
    """How many entries differ in any bit; NaN is NaN."""
    if mine.dtype.kind != "f":
        return int((mine != other).sum())
    word = np.dtype(f"u{mine.itemsize}")
    return int(((mine.view(word) != other.view(word)) & ~(np.isnan(mine) & np.isnan(other))).sum())


def run_both(variants, program, kind, text, *, wild, sizes=SIZES, seed=0):
    """Step on the CPU and by the interpreter; how many entries of parameters and state differ in the end."""
    param, compute, _ = kind
    kinds, precision = state_kinds(variants, program, kind), np.dtype(compute)
    columns = [(dtype_of(param), 1)]
    for each in kinds:
        columns.append((dtype_of(each), 1))
        if each in BLOCKS:
            columns.append((precision, BLOCK))
    draw, memory, kernel = np.random.default_rng(seed), Memory(), Kernel(text)
    rows = [i % 2 for i in range(len(sizes))]
    cpu = Launch(program, param, kinds, precision, [(size,) for size, _ in sizes])
    cpu.arrange(rows)
    buffers = np.zeros((len(sizes), len(columns)), np.int64)
    grads, kept = np.zeros(len(sizes), np.int64), []
    for i, (size, shift) in enumerate(sizes):
        given = [array(size, dtype_of(param), shift) for _ in range(2)]
        for j, (dtype, shared) in enumerate(columns):
            mine, other = (array(-(-size // shared), dtype, shift) for _ in range(2))
            if j == 0:
                fill(mine, param, draw.standard_normal(size))
            elif shared == 1 and dtype == precision:
                mine[:] = np.abs(draw.standard_normal(size))
            other[:] = mine
            buffers[i, j], cpu.buffers[i, j] = memory.allow(mine), other.ctypes.data
            kept.append((mine, other))
        grads[i], cpu.grads[i] = memory.allow(given[0]), given[1].ctypes.data
        kept.append(tuple(given))
    pairs = [pair for pair in kept if pair[0].ctypes.data in grads]
    ends = np.cumsum([-(-size // CHUNK) for size, _ in sizes])
    shares = [(first, size) for first, (size, _) in zip((0, *ends), sizes, strict=False)]
    host = host_part(program)
    for t in range(1, STEPS + 1):
        for mine, other in pairs:
            values = draw.standard_normal(mine.size) * 10.0 ** draw.integers(-6, 2)
            if wild and values.size >= 100:
                values[7:15] = special(np.float16 if param.startswith("float16") else precision)
            fill(mine, param, values)
            other[:] = mine
        ts = [t, t + 7]
        scalars = [host(numbers(program, variants, row), ts[row], t == 1, 0.5) for row in range(2)]
        cpu.begin(scalars, ts)
        cpu.run()
        tables = buffers, grads, rows, scalars, ts, np.array(shares)
        dtypes = {"scalars": precision}
        with np.errstate(over="ignore"):
            plain = [np.ascontiguousarray(x, dtypes.get(n, np.int64)) for n, x in zip(ARGUMENTS, tables, strict=False)]
        arguments = [*(memory.allow(table) for table in plain), len(sizes)]
        kernel.launch(ends[-1], THREADS, arguments, memory)
    return sum(different(mine, other) for mine, other in kept)


@pytest.mark.parametrize("variants, program, kind", RUN)
@pytest.mark.parametrize("wild", [False, True] if EVERYTHING else [True])
def test_it_has_the_bits_of_the_cpu(variants, program, kind, wild):
    assert run_both(variants, program, kind, printed(variants, program, kind), wild=wild) == 0


FAULTS = {
    "a sum for a difference": (0, r"sub\.rn\.f32", "add.rn.f32"),
    "a product for a quotient": (0, r"div\.rn\.f32", "mul.rn.f32"),
    "alignment not asked": (0, r"setp\.eq\.b64", "setp.ge.s64"),
    "a root that is not exact": (0, r"sqrt\.rn\.f32", "sqrt.approx.f32"),
    "the first element again": (0, r"(ld\.global\.v4\.b32 \t\{%r\d+, )%r(\d+)", r"\1%r9999\2"),
    "another hash": (3, r"2146121005", "2146121007"),
    "another shift": (3, r"(shr\.u32 .*), 15;", r"\1, 14;"),
    "the scale of half a block": (9, r", 16, 31, -1", ", 0, 31, -1"),
    "another unit": (9, r"(cvt\.rn\.f32\.s16)", r"cvt.rn.f32.u16"),
    "one exchange twice": (9, r", 1, 31, -1", ", 2, 31, -1"),
}
"""Faults to put into what is printed for Adam: a kind of state, what to look for, and what to write there."""


@pytest.mark.parametrize("kind, pattern, fault", FAULTS.values(), ids=FAULTS)
def test_the_interpreter_sees_a_fault(kind, pattern, fault):
    variants, program, _ = programs(optim.Adam)
    text, sizes = printed(variants, program, KINDS[kind]), [(257, 0), (100, 1), (1000, 0)]
    wrong, count = re.subn(pattern, fault, text, count=1)
    assert count and wrong != text
    assert run_both(variants, program, KINDS[kind], text, wild=True, sizes=sizes) == 0
    try:
        found = run_both(variants, program, KINDS[kind], wrong, wild=True, sizes=sizes)
    except (AssertionError, KeyError):  # the interpreter complains
        found = 1
    assert found
