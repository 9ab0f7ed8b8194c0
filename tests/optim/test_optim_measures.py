"""What a step measures on its way, and that measuring changes nothing."""

import math

import numpy as np
import pytest
from rules import CASES, DTYPES, GRADIENTS, bits, give, parameters, split

from minima import Tensor
from minima.optim import SGD, Adam

EPS = {"float64": 1e-12, "float32": 1e-5, "float16": 2e-3}


def norm(values):
    return math.hypot(*np.ravel(values).tolist())


STATE_DTYPES = (None, "bfloat16", "int8")
MEASURED = [case for case in CASES[::4] if case.hypers.get("eps") != 0]
SQUARES = [
    (case, DTYPES[row], STATE_DTYPES[(row + number) % 3]) for number, case in enumerate(MEASURED) for row in range(3)
]
"""Every case with every dtype and every kind of state, and those two with each other: norms are taken of the gradient
and the parameter, and meet a kind of state through the bits of the step alone."""


@pytest.mark.parametrize(("case", "dtype", "state_dtype"), SQUARES, ids=str)
def test_a_measured_step_does_the_same_and_says_how_large_everything_was(case, state_dtype, dtype, engine):
    params, others = parameters(dtype), parameters(dtype)
    names = ["scale", "bias", "none", "weight", "odd"]
    optimizer = case.cls(zip(names, params, strict=True), **case.hypers, state_dtype=state_dtype, **engine)
    plain = case.cls(others, **case.hypers, state_dtype=state_dtype, **engine)
    for number, row in enumerate(GRADIENTS[:6]):
        parts: list = split(row)
        if number % 3 == 2:
            parts[3] = None
        give(others, parts)
        plain.step()
        give(params, parts)
        before = [param.detach().numpy().astype("f8") for param in params]
        held = optimizer.measures
        assert optimizer.step(measure=number not in (0, 4)) is None  # without at first, and in between
        assert bits(optimizer) == bits(plain)
        measures = optimizer.measures
        if number in (0, 4):
            assert measures is held
            continue
        given = [name for name, part in zip(names, parts, strict=True) if part is not None]
        assert list(measures) == given and len(measures) == len(given)
        for name, param, old, part in zip(names, params, before, parts, strict=True):
            if part is None:
                continue
            new = param.detach().numpy().astype("f8")
            found, scale = measures[name], norm(old) + norm(new)
            # What is measured is not yet rounded: to half a unit, which for the smallest numbers is no share of them.
            half = norm(np.full(old.shape, float(np.finfo(dtype).smallest_subnormal) / 2))
            assert found.grad == pytest.approx(norm(part.astype(dtype).astype("f8")), rel=1e-6)
            assert found.param == pytest.approx(norm(old), rel=1e-6)
            assert found.update == pytest.approx(norm(new - old), abs=scale * EPS[dtype] + half)
            assert found.ratio == found.update / found.param if found.param else math.isnan(found.ratio)
        for kind in ("grad", "update", "param"):
            total = norm([getattr(measure, kind) for measure in measures.values()])
            assert getattr(measures.total, kind) == pytest.approx(total)


def test_large_arrays_are_measured_in_pieces_by_all_threads():
    rng = np.random.default_rng(0)
    sizes = (200_001, 3, 70_000)
    params = [Tensor(rng.normal(size=size), dtype="float32", requires_grad=True) for size in sizes]
    optimizer = SGD(params, lr=1.0)
    for _ in range(2):
        grads = [rng.normal(size=size).astype("f4") for size in sizes]
        old = [param.detach().numpy().astype("f8") for param in params]
        give(params, grads)
        optimizer.step(measure=True)
        found = optimizer.measures
        for name, grad, before in zip("012", grads, old, strict=True):
            assert found[name].grad == pytest.approx(float(np.linalg.norm(grad.astype("f8"))), rel=1e-9)
            assert found[name].update == pytest.approx(float(np.linalg.norm(grad.astype("f8"))), rel=1e-5)
            assert found[name].param == pytest.approx(float(np.linalg.norm(before)), rel=1e-9)


def test_a_step_that_is_skipped_or_moves_nobody_measures_nothing():
    w = Tensor([1.0], requires_grad=True)
    optimizer = Adam([w], on_nonfinite="skip")
    w.grad = Tensor([math.inf])
    optimizer.step(measure=True)
    assert optimizer.measures is None
    w.grad = None
    optimizer.step(measure=True)
    assert len(optimizer.measures) == 0


def test_measures_are_printed_as_a_table():
    w, b = Tensor([3.0, 4.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    w.grad, b.grad = Tensor([0.6, 0.8]), Tensor([1.0])
    optimizer = SGD([("layer.weight", w), ("b", b)], lr=0.5)
    optimizer.step(measure=True)
    lines = repr(optimizer.measures).splitlines()
    assert len(set(map(len, lines))) == 1
    assert lines[0].split() == ["parameter", "grad", "update", "param", "ratio"]
    assert lines[1].split() == ["layer.weight", "1.000e+00", "5.000e-01", "5.000e+00", "1.000e-01"]
