"""Counts of steps: exact, each a tensor of its own, whatever PyTorch's defaults are."""

import copy
import io
import pickle
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from tensors import EXACT, SETTINGS, arrays, assert_same, own, parameters, steps

from minima.torch.counts import Counts

MOST = 2**53


def counts(*numbers):
    made = Counts("Adam.step", lambda i: f"parameter {i} ('p{i}')")
    made.add(len(numbers))
    for i, number in enumerate(numbers):
        made.replaced(i, number)
    return made


def test_a_count_is_shown_by_one_tensor_of_its_own():
    made = counts(3, 4)
    first, second = made.tensor(0), made.tensor(1)
    assert made.tensor(0) is first and first.item() == 3 and second.item() == 4
    assert (first.dtype, first.shape, first.device.type) == (torch.float64, (), "cpu")
    assert [x.untyped_storage().nbytes() for x in (first, second)] == [8, 8]
    assert torch.load(io.BytesIO(written(second)), weights_only=True) == 4


def written(tensor):
    file = io.BytesIO()
    torch.save(tensor, file)
    return file.getvalue()


def test_steps_are_counted_and_shown():
    made = counts(0, 5, 7)
    shown = [made.tensor(i) for i in range(3)]
    made.counter(np.array([0, 2]))()
    made.counter(np.array([2]))()
    made.counter(slice(None))()
    assert made.counts.tolist() == [x.item() for x in shown] == [2, 6, 10] and not made.heard()


def test_what_is_written_to_a_tensor_is_heard_and_taken():
    made = counts(1, 2, 3)
    made.tensor(1).fill_(9)
    assert made.heard()
    made.take()
    assert made.counts.tolist() == [1, 9, 3] and not made.heard()
    made.tensor(2).copy_(torch.tensor(-0.0))
    assert made.heard()
    made.take()
    assert made.counts.tolist() == [1, 9, 0] and not made.heard()


@pytest.mark.parametrize("wrong", [-1.0, 1.5, float("nan"), float("inf"), 1e30])
def test_what_is_no_count_is_refused_and_nothing_changes(wrong):
    made = counts(1, 2)
    made.tensor(0).fill_(5)
    made.tensor(1).fill_(wrong)
    words = (
        r"Adam.step: the state of parameter 1 \('p1'\) must have a whole number 'step' of at least 0; got .*; "
        "nothing was"
    )
    with pytest.raises(ValueError, match=words):
        made.take()
    assert made.counts.tolist() == [1, 2] and made.heard()
    for value in (wrong, torch.tensor(wrong), None, "3", torch.ones(2), torch.ones((), device="meta"), 1j):
        with pytest.raises(ValueError, match=words):
            made.replaced(1, value)
    assert made.counts.tolist() == [1, 2]


@pytest.mark.parametrize(
    "value",
    [6, 6.0, np.float32(6), np.int16(6), torch.tensor(6), torch.tensor([6.0]), torch.tensor(6, dtype=torch.bfloat16)],
    ids=repr,
)
def test_a_value_in_the_place_of_our_tensor_is_taken_and_our_tensor_comes_back(value):
    made = counts(1, 2)
    ours = made.tensor(1)
    assert made.replaced(1, value) is ours and ours.item() == 6 and made.counts.tolist() == [1, 6]


def test_parameters_that_are_added_leave_the_tensors_of_the_others_as_they_are():
    made = counts(1, 2)
    first = made.tensor(0)
    made.add(2)
    assert made.tensor(0) is first and not made.heard() and made.counts.tolist() == [1, 2, 0, 0]
    first.fill_(8)
    made.take()
    made.counter(slice(None))()
    assert made.counts.tolist() == [9, 3, 1, 1] and first.item() == 9


def test_what_was_written_before_parameters_are_added_is_heard_after():
    made = counts(1)
    made.tensor(0).fill_(8)
    made.add(1)
    assert made.heard()
    made.take()
    assert made.counts.tolist() == [8, 0]


@pytest.mark.parametrize("start", [2**24, MOST], ids=["float32", "float64"])
def test_counting_goes_on_where_floating_numbers_end(start):
    made = counts(start, 0)
    for _ in range(3):
        made.counter(slice(None))()
    made.tensor(1).fill_(7)
    made.take()
    assert made.counts.tolist() == [start + 3, 7]


def test_state_may_be_written_to_though_it_was_made_in_inference_mode(engine):
    w = torch.ones(3, requires_grad=True)
    w.grad = torch.ones(3)
    optimizer = own.Adam([w], lr=0.1, engine=engine)
    with torch.inference_mode():
        optimizer.step()
    optimizer.state[w]["exp_avg"].mul_(2)
    optimizer.state[w]["step"].fill_(7)
    optimizer.step()
    assert optimizer.state[w]["step"] == 8 and torch.allclose(optimizer.state[w]["exp_avg"], torch.tensor(0.28))


def test_a_tensor_may_be_written_to_though_it_was_made_in_inference_mode():
    with torch.inference_mode():
        made = counts(1)
        tensor = made.tensor(0)
    tensor.add_(1)
    assert made.heard() and not tensor.is_inference()


# PyTorch's defaults --------------------------------------------------------------------------------------------------


@contextmanager
def defaults(dtype=torch.float32, device="cpu"):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def run(cls, hypers, **options):
    params = parameters()
    optimizer = cls(params, lr=0.1, **hypers, **options)
    grads = parameters(seed=3)
    return params, optimizer, grads


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("others", [{"dtype": torch.bfloat16}, {"dtype": torch.float64}, {"device": "meta"}], ids=str)
def test_the_defaults_of_pytorch_change_nothing(cls, hypers, others, engine):
    found = []
    for changed in ({}, others):
        params, optimizer, grads = run(cls, hypers, engine=engine)
        with defaults(**changed):
            for _ in range(3):
                for param, grad in zip(params, grads, strict=True):
                    param.grad = grad.detach()
                optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
            optimizer.step()
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


@pytest.mark.parametrize(
    "options", [{"state_dtype": "int8"}, {"state_dtype": "bfloat16"}, {"rounding": "master"}], ids=str
)
def test_the_defaults_of_pytorch_change_no_state_in_fewer_bits(options):
    found = []
    for changed in ({}, {"dtype": torch.float16, "device": "meta"}):
        params = parameters(torch.bfloat16)
        optimizer = own.Adam(params, lr=0.1, **options)
        for param in params:
            param.grad = param.detach().clone()
        with defaults(**changed):
            optimizer.step()
            optimizer.step()
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


def test_a_count_in_the_state_goes_on_beyond_what_float32_can_say():
    params = parameters()[:1]
    optimizer = own.Adam(params)
    steps(optimizer, params, 1, all_of_them=True)
    state = optimizer.state_dict()
    state["state"][0]["step"] = 2**24
    optimizer.load_state_dict(state)
    steps(optimizer, params, 3, all_of_them=True)
    assert optimizer.state[params[0]]["step"] == 2**24 + 3


def test_steps_are_set_of_one_parameter_as_of_many():
    params = parameters()[:2]
    optimizer = own.Adam(params)
    optimizer.set_steps(3, params[1])
    assert optimizer.steps == (0, 3)
    steps(optimizer, params, 1, all_of_them=True)
    assert optimizer.steps == (1, 4) and optimizer.state[params[1]]["step"] == 4


def test_the_number_of_skipped_steps_may_be_assigned():
    optimizer = own.Adam(parameters()[:1])
    optimizer.skipped = 4
    assert optimizer.skipped == 4
    with pytest.raises(ValueError, match="^Adam: skipped must be an integer of at least 0; got -1$"):
        optimizer.skipped = -1
    assert optimizer.skipped == 4


def test_an_optimizer_without_parameters_loads_as_any():
    optimizer = own.Adam([{"params": []}], lr=0.5)
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0]["lr"] = 0.25
    optimizer.load_state_dict(state_dict)
    optimizer.step()
    assert optimizer.param_groups[0]["lr"] == 0.25 and optimizer.steps == () and optimizer.t == 1


@pytest.mark.parametrize("how", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"])
def test_measures_go_with_a_copy(how):
    params = parameters()[:2]
    optimizer = own.Adam([("w", params[0]), ("b", params[1])])
    assert how(optimizer).measures is None
    params[0].grad, params[1].grad = torch.ones(3, 4), torch.ones(5)
    optimizer.step(measure=True)
    other = how(optimizer)
    assert dict(other.measures) == dict(optimizer.measures) and other.measures["b"].grad == 5**0.5


# Counts in other memory ----------------------------------------------------------------------------------------------


def assign(count, number):
    count.data = torch.tensor(number, dtype=torch.float32)


def into_another_storage(count, number):
    count.set_(torch.tensor([number], dtype=torch.float64).untyped_storage(), 0, (), ())


def share(count, number):
    count.share_memory_().fill_(number)


@pytest.mark.parametrize("move", [assign, into_another_storage, share], ids=lambda f: f.__name__)
@pytest.mark.parametrize("number", [1.0, 7.0])
def test_a_count_that_was_moved_is_heard_and_taken_back(move, number, engine):
    params = parameters()[:2]
    optimizer = own.Adam(params, engine=engine)
    steps(optimizer, params, 1, all_of_them=True)
    count = optimizer.state[params[1]]["step"]
    move(count, number)
    assert optimizer.steps == (1, number)
    steps(optimizer, params, 1, all_of_them=True)
    move(count, number)
    steps(optimizer, params, 2, all_of_them=True)
    assert optimizer.state[params[1]]["step"] is count and count == number + 2 and optimizer.steps == (4, number + 2)
    move(count, 3.0)
    assert [kept["step"] for kept in optimizer.state_dict()["state"].values()] == [4, 3]
    assert count.dtype == torch.float64 and not count.is_shared()


@pytest.mark.parametrize("move", [assign, into_another_storage, share], ids=lambda f: f.__name__)
def test_what_is_no_count_in_other_memory_is_refused_and_nothing_changes(move, engine):
    params = parameters()[:2]
    optimizer = own.Adam([("w", params[0]), ("b", params[1])], engine=engine)
    steps(optimizer, params, 1, all_of_them=True)
    before = arrays(optimizer, params)
    count = optimizer.state[params[1]]["step"]
    move(count, 1.5)
    for _ in range(2):
        with pytest.raises(
            ValueError, match=r"^Adam: the state of parameter 1 \('b'\) must have a whole number 'step'"
        ):
            optimizer.step()
    count.fill_(1)
    assert_same(arrays(optimizer, params), before, **EXACT)
    steps(optimizer, params, 1, all_of_them=True)
    assert optimizer.steps == (2, 2)
