"""Before its first step an optimizer is stepped by zeros by `torch.distributed.checkpoint`, which wants its state."""

import copy
import pickle

import pytest
import torch
from torch.distributed.checkpoint.state_dict import (
    StateDictOptions,
    get_optimizer_state_dict,
    set_optimizer_state_dict,
)

from minima import torch as mt

NAMES = [*mt._NAMES, "LBFGS"]
FIRST = ["ADOPT", "Adan", "MARS", "NovoGrad", "SOAP"]
"""The rules that ask whether a step is the first one."""


def fresh(name, **options):
    torch.manual_seed(0)
    model = torch.nn.Linear(3, 2, bias=False, dtype=torch.float64)
    return model, getattr(mt, name)(model.parameters(), **options)


def train(model, optimizer, count=2):
    def closure():
        optimizer.zero_grad()
        loss = (model(torch.ones(1, 3, dtype=torch.float64)) ** 2).sum()
        loss.backward()
        return loss

    for _ in range(count):
        optimizer.step(closure)
    return model.weight.detach().clone()


@pytest.mark.parametrize("name", NAMES)
def test_to_have_its_state_made_changes_nothing(name):
    (model, optimizer), (other, untouched) = fresh(name), fresh(name)
    hook = (lambda *_: None) if name == "LBFGS" else lambda *_: pytest.fail("there is no step")
    handle = optimizer.register_step_pre_hook(hook)  # PyTorch sees to those of LBFGS
    before, lr = model.weight.detach().clone(), optimizer.param_groups[0].get("lr")
    found = get_optimizer_state_dict(model, optimizer)
    assert torch.equal(model.weight, before) and model.weight.grad is None
    assert optimizer.param_groups[0].get("lr") == lr
    if name == "LBFGS":
        assert found["state"] == {"weight": {"func_evals": 0, "n_iter": 0}}
    else:
        assert optimizer.t == 0 and optimizer.steps == (0,)
    handle.remove()
    assert torch.equal(train(model, optimizer), train(other, untouched))
    if name != "LBFGS":  # which adds what it learns
        now = get_optimizer_state_dict(other, untouched)["state"]
        assert {key: kept.keys() for key, kept in found["state"].items()} == {key: now[key].keys() for key in now}


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_checkpoint_of_a_run_goes_into_a_fresh_optimizer_and_on_to_the_bits(name, flat):
    if flat and name == "LBFGS":
        pytest.skip("PyTorch flattens no lists")
    options = StateDictOptions(flatten_optimizer_state_dict=flat)
    model, optimizer = fresh(name)
    train(model, optimizer)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer, options=options))
    other, resumed = fresh(name)
    other.load_state_dict(model.state_dict())
    set_optimizer_state_dict(other, resumed, saved, options=options)
    assert torch.equal(other.weight, model.weight)
    assert torch.equal(train(other, resumed), train(model, optimizer))


@pytest.mark.parametrize("name", FIRST)
@pytest.mark.parametrize("way", ["state dict", "copy", "pickle"])
def test_state_with_which_no_step_was_taken_is_new_wherever_it_goes(name, way):
    (model, optimizer), (other, untouched) = fresh(name), fresh(name)
    saved = copy.deepcopy(get_optimizer_state_dict(model, optimizer))
    if way == "state dict":
        model, optimizer = fresh(name)
        set_optimizer_state_dict(model, optimizer, saved)
    else:
        copied = copy.deepcopy if way == "copy" else lambda pair: pickle.loads(pickle.dumps(pair))
        model, optimizer = copied((model, optimizer))
    assert torch.equal(train(model, optimizer), train(other, untouched))


@pytest.mark.parametrize("name", ["LBFGS", "MoMo"])
def test_without_a_checkpoint_that_asks_a_step_by_zeros_is_a_step_like_any(name):
    model, optimizer = fresh(name, lr=0.0)
    before, model.weight.grad = model.weight.detach().clone(), torch.zeros_like(model.weight)
    with pytest.raises(TypeError, match=rf"^{name}.step: .*(closure must be|needs the loss)"):
        optimizer.step()
    assert torch.equal(model.weight, before)


def test_a_parameter_that_is_frozen_gets_no_state():
    model, optimizer = fresh("Adam")
    model.weight.requires_grad_(False)
    get_optimizer_state_dict(model, optimizer)
    assert not optimizer.state


@pytest.mark.parametrize("loop", ["Lookahead", "SAM"])
def test_a_loop_has_its_state_made_and_changes_nothing(loop):
    pairs = [(model, getattr(mt, loop)(optimizer)) for model, optimizer in (fresh("Adan"), fresh("Adan"))]
    (model, optimizer), (other, untouched) = pairs
    get_optimizer_state_dict(model, optimizer)
    assert torch.equal(model.weight, other.weight) and optimizer.steps == (0,)
    assert torch.equal(train(model, optimizer, 7), train(other, untouched, 7))


def test_parameters_do_not_shrink_by_decay_that_knows_no_learning_rate():
    model, optimizer = fresh("Lion", decay="independent", weight_decay=0.5)
    before = model.weight.detach().clone()
    get_optimizer_state_dict(model, optimizer)
    assert torch.equal(model.weight, before)
