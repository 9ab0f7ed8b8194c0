"""The search for passes: how many bytes the plans move that it finds, and what they must not do."""

from itertools import pairwise

import pytest

from minima.optim import (
    LAMB,
    LARS,
    Adafactor,
    Adam,
    Lion,
    Muon,
    NovoGrad,
    Optimizer,
    Prodigy,
    RMSProp,
    StableAdamW,
    hyper,
    where,
)
from minima.optim.engines.passes import cut, obstacle, whole
from minima.optim.language.lowering import lower
from minima.optim.language.ranks import ELEMENT, TENSOR
from minima.optim.language.trace import trace
from minima.optim.language.vocabulary import PerRow, PerTensor, mean, norm, total


def program_of(cls, form="vector", **options):
    declaration = cls._declaration
    return lower(trace(cls.rule, declaration.coefficient, declaration.complete(options), form))


def kinds_of(program, kind, param="float32"):
    sizes = {ELEMENT: kind, TENSOR: "float64"}
    return (param, *(sizes.get(program.rank(name), "float32") for name in program.kept))


def cut_of(program, kind="float32"):
    return cut(program, kinds_of(program, kind), "float32")


@pytest.mark.parametrize(
    ("cls", "options", "bytes_moved"),
    [
        (LAMB, {"weight_decay": 0.1}, (40, 32, 26.1)),
        (NovoGrad, {}, (24, 20, 18.0)),
        (LARS, {}, (28, 24, 22.0)),
        (StableAdamW, {"weight_decay": 0.1}, (36, 26, 21.1)),
        (Lion, {"cautious": True}, (28, 22, 19.0)),
        (Adam, {}, (28, 20, 16.1)),
        (RMSProp, {}, (20, 16, 14.0)),
    ],
)
def test_plans_move_as_few_bytes_as_each_storage_allows(cls, options, bytes_moved):
    program = program_of(cls, **options)
    for kind, wanted in zip(("float32", "bfloat16", "int8"), bytes_moved, strict=True):
        assert round(cut_of(program, kind).bytes, 1) == wanted


def test_adafactor_on_a_matrix_moves_parameter_and_gradient_only():
    program = program_of(Adafactor, "wide")
    found = cut_of(program)
    assert {name for moved in found.traffic for both in moved for name in both} == {"param", "grad"}
    assert found.bytes <= 24


def test_lamb_reads_new_moments_back_where_they_are_kept_as_computed():
    first, second = cut_of(program_of(LAMB, weight_decay=0.1)).traffic
    assert [list(names) for names in first] == [["param", "grad", "exp_avg", "exp_avg_sq"], ["exp_avg", "exp_avg_sq"]]
    assert [list(names) for names in second] == [["param", "exp_avg", "exp_avg_sq"], ["param"]]


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_lamb_computes_moments_twice_where_they_are_rounded(kind):
    first, second = cut_of(program_of(LAMB, weight_decay=0.1), kind).traffic
    assert not first[1]
    assert list(second[1]) == ["param", "exp_avg", "exp_avg_sq"]


class Turned(Optimizer):
    """Each state takes the place of another one, and the last pass needs an old one."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, a, b, size: PerTensor, *, lr):
        size = norm(grad) + size
        return param - lr * a * size, b + grad, a, size


def test_what_a_later_pass_needs_is_not_overwritten_before():
    found = cut_of(program_of(Turned))
    written: set[str] = set()
    for made in found.passes:
        if made is None:
            continue
        for value, name in made.reads:
            assert value != name or name not in written
        written |= {name for name, _ in made.writes}
    assert written == {"param", "a", "b"}


class Truth(Optimizer):
    """Keeps a truth, which as a number cannot be read back for one."""

    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, up, *, lr):
        up = grad > 0
        return where(up, param - lr * norm(where(up, grad, 0.0)), param), up


def test_a_truth_is_computed_again_and_not_read_back():
    found = cut_of(program_of(Truth))
    assert all(value == name for made in found.passes if made for value, name in made.reads)


def test_a_value_that_stays_as_it_is_is_not_written():
    class Anchored(Optimizer):
        lr: float = hyper(0.1, low=0)

        @staticmethod
        def update(param, grad, start="param", *, lr):
            return param - lr * (grad + 0.1 * (param - start)), start

    program = program_of(Anchored)
    assert [name for name, _ in whole(program).writes] == ["param"]
    assert cut_of(program).bytes == 16


class Staged(Optimizer):
    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, *, lr):
        direction = grad / norm(grad)
        return param - lr * direction / total(norm(direction * param))


def test_totals_divide_passes_into_stages():
    program = program_of(Staged)
    found = cut_of(program)
    assert program.stage_count == 2
    counts = [sum(made is not None for made in found.passes[a:b]) for a, b in pairwise(found.stages)]
    assert counts == [2, 1]
    for first, behind in pairwise(found.stages):  # each stage has small lines behind its last pass
        assert found.passes[behind - 1] is None
        assert all(found.passes[k] is not None for k in range(first, behind - 1))


def test_prodigy_is_one_pass():
    assert sum(made is not None for made in cut_of(program_of(Prodigy)).passes) == 1


def test_lines_between_passes_stand_behind_what_they_read():
    for cls, form in ((LAMB, "vector"), (NovoGrad, "vector"), (Adafactor, "wide"), (Staged, "vector")):
        program = program_of(cls, form)
        found, known = cut_of(program), set(program.inputs)
        own = {line.target for line in program.body if line.rank not in (1, ELEMENT)}
        for k, lines in enumerate(found.small):
            for line in lines:
                assert {name for name in line.reads if name in own} <= known
                known.add(line.target)
            if (made := found.passes[k]) is not None:
                assert {name for line in made.lines for name in line.reads if name in own} <= known
                known |= {line.target for line in made.ends}


class Rows(Optimizer):
    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, size: PerRow, exp_avg, *, lr):
        return param - lr * mean(exp_avg, axis=1), norm(grad, axis=1), exp_avg + grad


@pytest.mark.parametrize("form", ["wide", "square", "tall"])
def test_muon_moves_few_bytes_around_its_products(form):
    """28, and 4 where the last sum is taken by the pass behind: of the two terms that it reads, none is written."""
    found = cut_of(program_of(Muon, form))
    assert len(found.operands) == 1
    assert found.bytes == 24 + 4 * len(found.results)
    assert sum(made is not None for made in found.passes) == 2


def test_passes_say_what_they_cannot_do():
    program = program_of(Rows)
    assert obstacle(program, ("float32", "float32")) == ""
    assert "blocks" in obstacle(program, ("float32", "int8"))
    assert obstacle(program_of(LAMB), ("int8", "uint8")) == ""
