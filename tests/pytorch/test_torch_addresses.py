"""Addresses of parameters, gradients and states are collected anew in each step, by compiled code or in Python."""

import gc
import sys
import weakref

import numpy as np
import pytest
import torch
from tensors import own

from minima.torch import addresses
from minima.torch.addresses import Addresses, Collector, Standing

NAMES = ["exp_avg", "exp_avg_sq"]
SHAPES = [(2, 3), (4,), (), (0, 2)]


@pytest.fixture(params=["compiled", "python"], autouse=True)
def code(request, monkeypatch):
    if request.param == "python":
        monkeypatch.setattr(addresses, "_code", lambda: None)
    else:
        assert addresses._code() is not None


class Case:
    """Parameters with all that belongs to them, and what collects their addresses."""

    def __init__(self, dtype=torch.float32, state=torch.float32):
        self.params = [torch.nn.Parameter(torch.ones(shape, dtype=dtype)) for shape in SHAPES]
        for param in self.params:
            param.grad = torch.zeros_like(param)
        self.states = [{"step": 0, **{name: torch.zeros(shape, dtype=state) for name in NAMES}} for shape in SHAPES]
        samples = [param.detach() for param in self.params] * 2
        samples += [kept[name] for name in NAMES for kept in self.states]
        self.table = np.zeros(4 * len(SHAPES), np.int64)
        self.collect = Collector(
            self.params, self.states, NAMES, Addresses(samples, self.table, range(len(self.table)))
        )

    def addresses(self):
        states = [kept[name] for name in NAMES for kept in self.states]
        return [x.data_ptr() for x in (*self.params, *(param.grad for param in self.params), *states)]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("state", [torch.float32, torch.bfloat16, torch.int8, torch.uint8], ids=str)
def test_every_address_goes_to_its_place(dtype, state):
    case = Case(dtype, state)
    assert case.collect() and case.table.tolist() == case.addresses()


def test_what_was_exchanged_is_found_where_it_now_is():
    case = Case()
    assert case.collect()
    case.params[1].grad = torch.zeros(4)
    case.states[0]["exp_avg"] = torch.zeros(2, 3)
    case.params[0].data = torch.zeros(2, 3)
    assert case.collect() and case.table.tolist() == case.addresses()


def free(tensor):
    tensor.untyped_storage().resize_(0)


def shorten(tensor):
    tensor.untyped_storage().resize_(tensor.nbytes - 1)


def no_gradient(case):
    case.params[1].grad = None


def other_shape(case):
    case.states[1]["exp_avg"] = torch.zeros(5)


def other_dtype(case):
    case.params[0].data = torch.zeros(2, 3, dtype=torch.float64)


def no_tensor(case):
    case.states[0]["exp_avg"] = 3


def missing(case):
    del case.states[2]["exp_avg_sq"]


def no_dict(case):
    case.collect._states[0] = torch.zeros(2)


MISFITS = [
    no_gradient,
    other_shape,
    other_dtype,
    no_tensor,
    missing,
    no_dict,
    lambda case: free(case.params[0]),
    lambda case: free(case.params[1].grad),
    lambda case: free(case.states[1]["exp_avg_sq"]),
    lambda case: shorten(case.params[0]),
    lambda case: shorten(case.params[1].grad),
    lambda case: shorten(case.states[1]["exp_avg_sq"]),
    lambda case: case.states[0].update(exp_avg=torch.zeros(3, 2).T),
    lambda case: case.states[0].update(exp_avg=torch.zeros(2, 3, device="meta")),
]


@pytest.mark.parametrize("change", MISFITS, ids=lambda change: change.__name__)
def test_what_is_not_as_it_was_is_noticed_and_no_gradient_held(change):
    case = Case()
    assert case.collect()
    change(case)
    assert not case.collect()
    assert case.collect.grads == [None] * len(SHAPES)


def test_a_tensor_may_begin_and_end_in_the_middle_of_its_storage():
    case = Case()
    whole = torch.zeros(12)
    case.params[1].grad, case.states[1]["exp_avg"] = whole[3:7], whole[8:]
    assert case.collect() and case.table.tolist() == case.addresses()
    whole.untyped_storage().resize_(47)
    assert not case.collect()
    case.states[1]["exp_avg"] = torch.zeros(4)
    assert case.collect()


def test_an_error_while_asking_is_nothing_but_a_no():
    class Param(torch.nn.Parameter):
        @property
        def grad(self):
            raise KeyError("grad")

    case = Case()
    case.collect._params[1] = Param(torch.ones(4))
    assert not case.collect()
    assert not case.collect()  # nothing of it was left behind


def test_gradients_are_held_until_they_are_let_go():
    case = Case()
    assert case.collect() and [x is p.grad for x, p in zip(case.collect.grads, case.params, strict=True)] == [True] * 4
    held = weakref.ref(case.params[0].grad)
    case.params[0].grad = None
    assert held() is not None
    case.collect.let_go()
    assert held() is None


def test_references_are_given_back():
    case = Case()
    case.collect()
    watched = [*case.params, *(param.grad for param in case.params), *(kept[n] for kept in case.states for n in NAMES)]
    case.collect.let_go()
    before = [sys.getrefcount(x) for x in (*watched, None, *NAMES, "grad")]
    for _ in range(1000):
        assert case.collect()
        case.collect.let_go()
        case.params[0].grad, grad = None, case.params[0].grad
        assert not case.collect()
        case.params[0].grad = grad
    after = [sys.getrefcount(x) for x in (*watched, None, *NAMES, "grad")]
    assert all(abs(x - y) < 100 for x, y in zip(after, before, strict=True))


def test_what_an_optimizer_knew_goes_with_it():
    w = torch.ones(3, requires_grad=True)
    optimizer = own.Adam([w])
    w.grad = torch.ones(3)
    optimizer.step()
    optimizer.step()
    gone = [weakref.ref(w), *map(weakref.ref, (optimizer.state[w][name] for name in NAMES))]
    w.optimizer = optimizer  # a cycle
    del w, optimizer
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


@pytest.mark.parametrize("compiled", [True, False])
def test_tensors_stand_while_they_and_their_memory_are_where_they_were(compiled):
    states = [{"step": torch.zeros(())} for _ in range(3)]
    stand = Standing([kept["step"] for kept in states], states, "step", compiled=compiled)
    assert stand() and stand()
    first, second = states[0]["step"], states[1]["step"]
    first.fill_(1)
    assert stand()
    states[0]["step"] = first.clone()
    assert not stand()
    del states[0]["step"]
    assert not stand()
    states[0]["step"] = first
    assert stand()
    second.share_memory_()
    assert not stand()
