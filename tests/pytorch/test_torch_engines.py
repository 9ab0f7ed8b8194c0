"""Every engine steps tensors as minima.optim steps arrays: every rule, dtype and layout."""

import numpy as np
import pytest
import torch
from tensors import EXACT, MINE, ROUNDING, SETTINGS, arrays, assert_same, own, parameters, steps

from minima import Tensor
from minima import torch as mt
from minima.optim import Optimizer, hyper, where
from minima.torch import addresses

KINDS = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.complex64, torch.complex128]


def name(value):
    return getattr(value, "__name__", str(value))


def own_words(cls, hypers):
    """The hyperparameters of a class under the names that its rule has for them."""
    dialect = cls._dialect
    group = cls([torch.ones(1)], **hypers).param_groups[0]
    told = [dialect.said(x.name, group[x.name]) for x in dialect.table if x.name != "decoupled_weight_decay"]
    said = {name: value for each in told for name, value in each.items()}
    return {**dialect.fixed, **said, "decay": dialect.way(group)}


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=name)
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_a_step_is_that_of_minima_optim_to_the_last_bit(cls, hypers, dtype):
    params = parameters(getattr(torch, dtype))
    others = [Tensor(param.detach().numpy().copy(), dtype=dtype, requires_grad=True) for param in params]
    mine = cls(params, lr=0.1, **hypers)
    theirs = cls.rule(others, **own_words(cls, {"lr": 0.1} | hypers))
    for seed in range(6):
        for i, (param, other) in enumerate(zip(params, others, strict=True)):
            grad = None if (i + seed) % 4 == 0 else torch.randn(param.shape, dtype=torch.float64).to(param.dtype)
            param.grad, other.grad = grad, None if grad is None else Tensor(grad.numpy().copy(), dtype=dtype)
        mine.step()
        theirs.step()
    for i, (param, other) in enumerate(zip(params, others, strict=True)):
        np.testing.assert_array_equal(param.detach().numpy(), other.detach().numpy())
        assert int(mine.state[param]["step"]) == theirs.steps[i]
        kept = mine.state[param].keys() - {"step"}
        called = {cls._dialect.state.get(entry, entry): entry for entry in theirs.state_dict()["state"][str(i)]}
        assert kept == called.keys() and (kept or cls is own.SGD and not hypers)
        for entry in kept:
            np.testing.assert_array_equal(
                mine.state[param][entry].numpy(), getattr(theirs, called[entry])[i].detach().numpy()
            )


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=name)
@pytest.mark.parametrize("dtype", KINDS, ids=str)
@pytest.mark.parametrize("other", ["fused", "torch"])
def test_every_engine_does_what_the_reference_does(cls, hypers, dtype, other):
    found = []
    for engine in (other, "reference"):
        params = parameters(dtype)
        optimizer = cls(params, lr=0.1, engine=engine, **hypers)
        steps(optimizer, params, 8)
        found.append(arrays(optimizer, params))
    exact = other == "fused"
    half = dtype in (torch.float16, torch.bfloat16) and not exact
    rounding = ROUNDING | {"atol": 1e-6} if hypers.get("centered") else ROUNDING  # its parameters move by several units
    assert_same(*found, **(EXACT if exact else {"rtol": 1e-2, "atol": 1e-3} if half else rounding))


@pytest.mark.parametrize("cls", MINE, ids=name)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_a_gradient_that_is_not_finite_does_the_same_on_every_engine(cls, value):
    found = []
    for engine in ("fused", "torch", "reference"):
        param = torch.ones(3, requires_grad=True)
        optimizer = cls([param], lr=0.1, engine=engine)
        for _ in range(2):
            param.grad = torch.tensor([value, 1.0, 0.0])
            optimizer.step()
        found.append(arrays(optimizer, [param]))
    assert_same(found[0], found[2], **EXACT)
    assert_same(found[1], found[2], **ROUNDING)


def test_the_step_may_choose_between_tensors(engine):
    class Turn(Optimizer):
        lr: float = hyper(0.5, low=0)

        @staticmethod
        def update(param, grad, last, *, lr, t):
            last = where(t > 2, grad, last + 2 * grad)
            return param - lr * where(t > 1, last, abs(grad)), last

    w = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = mt.adapt(Turn)([w], engine=engine)
    for wanted, last in (([0.5, 1.5], [2, -2]), ([-1.5, 3.5], [4, -4]), ([-2.0, 4.0], [1, -1])):
        w.grad = torch.tensor([1.0, -1.0])
        optimizer.step()
        assert w.tolist() == wanted and optimizer.state[w]["last"].tolist() == last


class Turns(Optimizer):
    """Hands on what it was given: two states that change places."""

    @staticmethod
    def update(param, grad, first=1.0, second=2.0):
        return param - first, second, first


def test_a_rule_sees_all_values_as_they_were_before_the_step(engine):
    w = torch.tensor([10.0, 20.0], requires_grad=True)
    optimizer = mt.adapt(Turns)([w], engine=engine)
    w.grad = torch.ones(2)
    for param, first, second in (([9.0, 19.0], 2.0, 1.0), ([7.0, 17.0], 1.0, 2.0)):
        optimizer.step()
        assert w.tolist() == param
        assert optimizer.state[w]["first"].tolist() == [first] * 2
        assert optimizer.state[w]["second"].tolist() == [second] * 2


def test_gradients_may_lie_in_any_layout(engine):
    found = []
    for change in (
        lambda g: g,
        lambda g: torch.stack([g, g], dim=-1)[..., 0],
        lambda g: g.T.contiguous().T if g.dim() == 2 else g,
    ):
        params = parameters()
        optimizer = own.Adam(params, lr=0.1, engine=engine)
        draw = torch.Generator().manual_seed(3)
        for _ in range(3):
            for param in params:
                param.grad = change(torch.randn(param.shape, generator=draw))
            optimizer.step()
        found.append(arrays(optimizer, params))
    assert_same(found[1], found[0], **EXACT)
    assert_same(found[2], found[0], **EXACT)


def test_a_negated_view_of_one_element_counts_as_what_it_is(engine):
    w = torch.ones(1, requires_grad=True)
    optimizer = own.SGD([w], lr=1.0, engine=engine)
    for _ in range(2):
        w.grad = torch.zeros(1, dtype=torch.complex64).add(2j).conj().imag
        assert w.grad.is_neg() and w.grad.item() == -2
        optimizer.step()
    assert w.item() == 5.0


def test_a_step_writes_into_the_memory_of_the_parameter(engine):
    w = torch.ones(4, requires_grad=True)
    alias, address = w.detach().view(2, 2), w.data_ptr()
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    w.grad = torch.ones(4)
    optimizer.step()
    assert alias.tolist() == [[0.5, 0.5], [0.5, 0.5]] and w.data_ptr() == address


def test_autograd_knows_that_a_step_wrote(engine):
    w = torch.ones(2, requires_grad=True)
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    loss = (w**2).sum()
    w.grad = torch.ones(2)
    optimizer.step()
    with pytest.raises(RuntimeError, match="modified by an inplace operation"):
        loss.backward()


@pytest.mark.parametrize("new", [lambda w: w.double(), lambda w: w.flip(0).clone(), lambda w: w.bfloat16()])
def test_a_parameter_whose_memory_was_exchanged_is_stepped_where_it_now_is(engine, new):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    optimizer = own.SGD([w], lr=0.5, momentum=0.5, dampening=0, engine=engine)
    for _ in range(2):
        w.grad = torch.ones_like(w)
        optimizer.step()
    old, values = w.data, new(w.data)
    before, wanted = old.clone(), values.clone()
    w.grad = None
    w.data = values
    w.grad = torch.ones_like(w)
    optimizer.step()
    assert torch.equal(old, before)
    assert torch.equal(w.detach(), wanted - 0.5 * 1.75)


def test_state_that_someone_took_away_begins_anew(engine):
    w = torch.ones(2, requires_grad=True)
    for forget in (lambda o: o.state.clear(), lambda o: o.state[w].clear(), lambda o: o.state.pop(w)):
        optimizer = own.SGD([w], lr=0.5, momentum=0.5, dampening=0, engine=engine)
        for _ in range(2):
            w.grad = torch.ones(2)
            optimizer.step()
        assert optimizer.state[w]["u"].tolist() == [1.5, 1.5]
        forget(optimizer)
        optimizer.step()
        assert optimizer.state[w]["u"].tolist() == [1.0, 1.0] and optimizer.state[w]["step"] == 1


def test_addresses_are_the_same_where_python_has_to_ask(monkeypatch):
    found = []
    for asks in (False, True):
        if asks:
            monkeypatch.setattr(addresses, "_code", lambda: None)
        params = parameters()
        optimizer = own.Adam(params, lr=0.1, engine="fused")
        steps(optimizer, params, 6)
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)


SAMPLE = torch.zeros(2, 3)
MISFITS = [
    None,
    torch.zeros(3, 2),
    torch.zeros(3, 2).T,
    torch.zeros(2, 3, 1),
    torch.zeros(6),
    torch.zeros(2, 3, dtype=torch.float64),
    torch.zeros(2, 3, dtype=torch.int32),
    torch.zeros(2, 3, device="meta"),
    torch.zeros(2, 3).to_sparse(),
    torch.zeros(2, 6)[:, ::2],
    torch._efficientzerotensor((2, 3)),
    torch.frombuffer(bytearray(25), dtype=torch.float32, offset=1, count=6).view(2, 3),
]


@pytest.mark.parametrize("asks", [False, True])
def test_only_a_tensor_as_the_sample_gives_its_address(monkeypatch, asks):
    if asks:
        monkeypatch.setattr(addresses, "_code", lambda: None)
    else:
        assert addresses._code() is not None
    table = np.zeros(3, np.int64)
    ask = addresses.Addresses([SAMPLE, torch.zeros(1, 4), torch.zeros(0, 2)], table, [2, 0, 1])
    good = [torch.zeros(2, 3), torch.zeros(4, 1).T[:1], torch.zeros(0, 2)]
    assert ask(good) and table.tolist() == [good[1].data_ptr(), good[2].data_ptr(), good[0].data_ptr()]
    for misfit in MISFITS:
        assert not ask([misfit, *good[1:]]), misfit
