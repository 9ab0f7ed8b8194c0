"""Loops in checkpoints of torch.distributed.checkpoint, which keep the state of parameters, and groups, and no more."""

import copy

import pytest
import torch
import torch.distributed.checkpoint as dcp
from torch import nn
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from minima import torch as mt

pytestmark = pytest.mark.filterwarnings("ignore:torch.distributed is disabled")
LOOPS = {
    "Lookahead": lambda inside: mt.Lookahead(inside, k=3, alpha=0.6),
    "ASAM": lambda inside: mt.SAM(inside, rho=0.5, adaptive=True, eta=0.1),
    "SAM in Lookahead": lambda inside: mt.Lookahead(mt.SAM(inside, rho=0.3), k=3),
    "Lookahead in SAM": lambda inside: mt.SAM(mt.Lookahead(inside, k=3), rho=0.3),
    "Lookahead in Lookahead": lambda inside: mt.Lookahead(mt.Lookahead(inside, k=2, alpha=0.8), k=4, alpha=0.3),
}
each_loop = pytest.mark.parametrize("make", LOOPS.values(), ids=LOOPS)


def fresh(make, seed, named=False, changed=False):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 1))
    params = list(model.named_parameters() if named else model.parameters())
    optimizer = make(mt.Adam([{"params": params[:1]}, {"params": params[1:], "lr": 0.02}], lr=0.05))
    if changed:  # hyperparameters of the loops are loaded, too
        for name, value in (("k", 7), ("alpha", 0.9), ("rho", 0.01)):
            if hasattr(type(optimizer), name):
                setattr(optimizer, name, value)
    return model, optimizer


def train(model, optimizer, steps=5):
    x = torch.arange(48.0).reshape(8, 6).sin()

    def closure():
        optimizer.zero_grad()
        loss = ((model(x) - x.sum(1, keepdim=True).cos()) ** 2).mean()
        loss.backward()
        return loss

    for _ in range(steps):
        optimizer.step(closure)


@each_loop
@pytest.mark.parametrize("named", [False, True])
def test_a_checkpoint_resumes_to_the_bits(make, named, tmp_path):
    model, optimizer = fresh(make, 0, named)
    train(model, optimizer)
    state = {"model": model.state_dict(), "optimizer": get_optimizer_state_dict(model, optimizer)}
    dcp.save(state, checkpoint_id=tmp_path)
    train(model, optimizer)
    other, resumed = fresh(make, 1, named, changed=True)
    state = {"model": other.state_dict(), "optimizer": get_optimizer_state_dict(other, resumed)}
    dcp.load(state, checkpoint_id=tmp_path)
    other.load_state_dict(state["model"])
    set_optimizer_state_dict(other, resumed, state["optimizer"])
    train(other, resumed)
    for mine, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
    mine, theirs = optimizer.state_dict(), resumed.state_dict()
    assert theirs["param_groups"] == mine["param_groups"]
    torch.testing.assert_close(theirs["state"], mine["state"], rtol=0, atol=0)


def test_slow_weights_are_in_the_state_of_their_parameter_and_loops_in_every_group():
    model, optimizer = fresh(LOOPS["Lookahead in Lookahead"], 0)
    train(model, optimizer)
    state, params = optimizer.state_dict(), list(model.parameters())
    assert state.keys() == {"state", "param_groups"}
    outer, inner = ({"loop": "Lookahead", "k": k, "alpha": alpha} for k, alpha in ((4, 0.3), (2, 0.8)))
    assert [group["loops"] for group in state["param_groups"]] == [[outer, inner]] * 2
    for place, kept in state["state"].items():
        assert torch.equal(kept["lookahead.1"], optimizer.slow[place])
        assert torch.equal(kept["lookahead.0"], optimizer.optimizer.slow[place])
        assert kept.keys() - optimizer.state[params[place]].keys() == {"lookahead.0", "lookahead.1"}


@pytest.mark.parametrize("name", ["Lookahead", "ASAM"])
def test_one_that_has_lost_its_loops_is_refused_and_changes_nothing(name):
    model, optimizer = fresh(LOOPS[name], 0)
    train(model, optimizer)
    flat = StateDictOptions(flatten_optimizer_state_dict=True)  # which keeps the entries of the optimizer inside alone
    given, before = get_optimizer_state_dict(model, optimizer, options=flat), copy.deepcopy(optimizer.state_dict())
    cls = type(optimizer).__name__
    with pytest.raises(ValueError, match=rf"^{cls}.load_state_dict: .*; got 'that of an optimizer without a loop'"):
        set_optimizer_state_dict(model, optimizer, given, options=flat)
    assert str(optimizer.state_dict()) == str(before)
    with pytest.raises(ValueError, match=rf"^Adam.load_state_dict: .* without a loop .*; got \['{cls}'\]"):
        optimizer.optimizer.load_state_dict(before)


def test_sam_needs_no_closure_where_all_gradients_are_zero_and_only_there():
    params = [torch.tensor([1.0, -2.0], requires_grad=True), torch.tensor([3.0], requires_grad=True)]
    optimizer = mt.SAM(mt.Adam(params, lr=0.1, weight_decay=0.5))
    with pytest.raises(TypeError, match=r"SAM.step: needs a closure"):  # there are no gradients
        optimizer.step()
    params[0].grad = torch.zeros(2)
    params[1].grad = torch.tensor([1e-30])
    with pytest.raises(TypeError, match=r"SAM.step: needs a closure"):
        optimizer.step()
    assert not optimizer.state
    params[1].grad.zero_()
    others = [param.detach().clone().requires_grad_() for param in params]
    plain = mt.Adam(others, lr=0.1, weight_decay=0.5)
    for other in others:
        other.grad = torch.zeros_like(other)
    optimizer.step()
    plain.step()
    assert all(torch.equal(param, other) for param, other in zip(params, others, strict=True)) and optimizer.t == 1
