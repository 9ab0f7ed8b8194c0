"""A step that runs out of memory changes nothing: neither parameters, nor their state, nor counts."""

import numpy as np
import pytest
from rules import Turning, bits, give

from minima import Tensor
from minima.optim import SGD, Adam, Optimizer, hyper, sqrt, total
from minima.optim.engines import Stored, storage

BATCHES = {
    "two dtypes": (SGD, {"momentum": 0.5}, {}),
    "weight decay": (Adam, {}, {"weight_decay": 0.1}),
    "totals": (SGD, {"momentum": 0.5, "max_norm": 1.0}, {}),
}
"""Optimizers of two batches, and what groups differ in."""


class Failing:
    """A function that runs out of memory in a call, of which the first is 0."""

    def __init__(self, function, number):
        self.function, self.left = function, number

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left == -1:
            raise MemoryError
        return self.function(*args, **kwargs)


def tensors():
    values = np.linspace(-2, 2, 300, dtype="float32").reshape(30, 10)
    return [Tensor(values, requires_grad=True), Tensor(values, dtype="float64", requires_grad=True)]


def of_two(cls, differs, **options):
    first, second = params = tensors()
    give(params, [np.linspace(1, 3, 300).reshape(30, 10)] * 2)
    return cls([{"params": [first], **differs}, {"params": [second]}], **options)


def kernels(optimizer):
    (plan,) = optimizer._stepper._plans.values()
    return [batch.kernel for batch in plan._batches]


def whole(optimizer):
    return bits(optimizer), optimizer.t, optimizer.steps


@pytest.mark.parametrize("name", BATCHES)
def test_a_step_in_which_a_batch_cannot_get_ready_changes_nothing(monkeypatch, engine, name):
    cls, options, differs = BATCHES[name]
    optimizer, never = (of_two(cls, differs, **options, **engine) for _ in range(2))
    optimizer.step(), never.step()
    before = whole(optimizer)
    for kernel in kernels(optimizer):
        for method in ("begin", *(["proceed"] if "max_norm" in options else [])):
            with monkeypatch.context() as patch:
                patch.setattr(kernel, method, Failing(getattr(kernel, method), 0))
                with pytest.raises(MemoryError):
                    optimizer.step()
            assert whole(optimizer) == before
    optimizer.step(), never.step()
    assert whole(optimizer) == whole(never)


class Partly(Optimizer):
    """A rule that computes with a total where a group says so."""

    scaled: bool = hyper(False)

    @staticmethod
    def update(param, grad, *, scaled):
        return param - (grad / sqrt(total(grad**2)) if scaled else grad)


def test_batches_without_totals_wait_for_those_that_have_some(monkeypatch, engine):
    optimizer = of_two(Partly, {"scaled": True}, **engine)
    optimizer.step()
    before = whole(optimizer)
    scaled = kernels(optimizer)[0]
    with monkeypatch.context() as patch:
        patch.setattr(scaled, "proceed", Failing(scaled.proceed, 0))
        with pytest.raises(MemoryError):
            optimizer.step()
    assert whole(optimizer) == before
    optimizer.step()
    grad = np.linspace(1, 3, 300).reshape(30, 10)
    steps = grad / np.linalg.norm(grad), grad
    for param, start, step in zip(optimizer.params, tensors(), steps, strict=True):
        np.testing.assert_allclose(param.detach().numpy(), start.detach().numpy() - 2 * step, rtol=0, atol=5e-7)


@pytest.mark.parametrize("name", ["read", "coded", "put"])
def test_state_in_another_form_takes_the_place_of_the_old_one_when_it_is_whole(monkeypatch, engine, name):
    optimizer, never = (of_two(Turning, {}, lr=0.1, state_dtype="int8", **engine) for _ in range(2))
    optimizer.step(), never.step()
    before = whole(optimizer)
    for each in (optimizer, never):
        each.signed = True
    with monkeypatch.context() as patch:
        patch.setattr(Stored, name, out_of_memory)
        with pytest.raises(MemoryError):
            optimizer.step()
    assert whole(optimizer) == before
    optimizer.step(), never.step()
    assert whole(optimizer) == whole(never)


def out_of_memory(*args):
    raise MemoryError


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
def test_the_reference_codes_all_before_it_keeps_any(monkeypatch, state_dtype):
    optimizer, never = (of_two(Adam, {}, state_dtype=state_dtype, engine="reference") for _ in range(2))
    optimizer.step(), never.step()
    before = whole(optimizer)
    for number in range(4):
        with monkeypatch.context() as patch:
            patch.setattr(storage, "_noise", Failing(storage._noise, number))
            with pytest.raises(MemoryError):
                optimizer.step()
        assert whole(optimizer) == before
    optimizer.step(), never.step()
    assert whole(optimizer) == whole(never)
