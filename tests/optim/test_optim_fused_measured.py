"""What steps measure on their way: the reference's bits, on any number of threads, and nothing else changes."""

import math

import numpy as np
import pytest
from rules import arrays, give

from minima import Tensor
from minima.optim import SGD, Adam
from minima.optim.core.scalars import host_part
from minima.optim.engines.cpu.fused import Fused
from minima.optim.engines.reductions import square_sum
from minima.optim.engines.reference import Reference
from minima.optim.engines.storage import allocate
from minima.optim.language.lowering import lower

SIZES = [(), 0, 31, (7, 9), 255, 256, 257, 4096, 4097, (301, 70), 200_003]


def stepped(engine, state_dtype, dtype, *, measured=True):
    """The arrays and the measures after two steps."""
    rng = np.random.default_rng(0)
    program = lower(Adam._trace({}))
    program = program.measured() if measured else program
    params = [np.asarray(rng.normal(size=size)).astype(dtype) for size in SIZES]
    compute = np.promote_types(dtype, np.float32)
    states = [tuple(allocate(state_dtype, n, p.shape, compute, 0.0, signed=n == 0) for n in range(2)) for p in params]
    rows = [i % 3 for i in range(len(params))]
    kernel = engine.prepare(program, dtype, arrays(params), states)
    kernel.arrange(rows)
    host = host_part(program)
    for t in (1, 2):
        grads = [np.asarray(rng.normal(size=size) * 10.0 ** rng.integers(-3, 3, size)).astype(dtype) for size in SIZES]
        assert kernel.load(grads)
        values = {"lr": 0.1, "beta1": 0.9, "beta2": 0.999, "eps": 1e-8}
        numbers = {name: values.get(name, 0.01) for name in program.hypers}
        kernel.begin([host(numbers, t, False, math.nan)] * 3, [t] * 3)
        kernel.run()
    kept = [array for state in states for stored in state for array in stored.arrays]
    return [*params, *kept], kernel.reports, grads


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("threads", [1, 2, 5])
def test_measures_have_the_references_bits(threads, state_dtype, dtype, monkeypatch):
    monkeypatch.setenv("MINIMA_NUM_THREADS", str(threads))
    arrays, measures, grads = stepped(Fused(), state_dtype, dtype)
    wanted_arrays, wanted, _ = stepped(Reference(), state_dtype, dtype)
    assert measures.tolist() == wanted.tolist()
    assert measures[:, 0].tolist() == [math.sqrt(square_sum(grad)) for grad in grads]
    unmeasured = stepped(Fused(), state_dtype, dtype, measured=False)[0]
    for ours, theirs, plain in zip(arrays, wanted_arrays, unmeasured, strict=True):
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours, plain)


def test_scalars_that_are_infinite_in_the_precision_of_the_loop_are_so():
    w = Tensor(np.zeros(3), requires_grad=True)
    optimizer = SGD([w], lr=1e300, engine="fused")
    give([w], [[1.0, 1.0, 1.0]])
    optimizer.step()
    assert (w.detach().numpy() == -np.inf).all()


@pytest.mark.parametrize("bad", [None, np.nan, np.inf, -np.inf])
def test_gradients_that_are_not_finite_are_found_and_large_ones_are_not_taken_for_such(bad, dtype):
    program = lower(Adam._trace({}))
    for engine in (Fused(), Reference()):
        params = [np.zeros(size, dtype) for size in SIZES]
        compute = np.promote_types(dtype, np.float32)
        states = [tuple(allocate(None, 0, p.shape, compute, 0.0, signed=True) for _ in program.state) for p in params]
        kernel = engine.prepare(program, dtype, arrays(params), states)
        grads = [np.full(size, np.finfo(dtype).max) for size in SIZES]
        grads = [grad.astype(dtype) for grad in grads]
        if bad is not None:
            grads[8][4000] = grads[10][-1] = bad
        assert kernel.load(grads)
        wrong = [place for place, fine in enumerate(kernel.finite()) if not fine]
        assert wrong == ([] if bad is None else [8, 10])
