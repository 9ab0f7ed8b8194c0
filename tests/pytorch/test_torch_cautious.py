"""Cautious steps inside PyTorch: an option of every class, which groups mention only where it is needed."""

import copy

import pytest
import torch
from tensors import own

from minima import torch as mt

CLASSES = [mt.SGD, mt.Adam, mt.AdamW, mt.RMSprop, own.Adam, mt.Lion]
each = pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__module__ + cls.__name__)


def made(cls, **options):
    draw = torch.Generator().manual_seed(0)
    params = [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in ((6, 4), (7,))]
    momentum = {"momentum": 0.9} if cls in (mt.SGD, mt.RMSprop) else {}
    return params, cls(params, lr=0.02, **momentum, **options)


def stepped(run, steps=5, seed=1):
    params, optimizer = run
    draw = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        for param in params:
            param.grad = torch.randn(param.shape, generator=draw, dtype=param.dtype)
        optimizer.step()
    return [param.detach().clone() for param in params]


@each
@pytest.mark.parametrize("engine", ["reference", "fused", "torch"])
def test_no_entry_of_a_step_goes_against_its_gradient(cls, engine):
    for cautious in (False, True):
        params, optimizer = made(cls, cautious=cautious, engine=engine, weight_decay=0.0)
        before = stepped((params, optimizer))
        after = stepped((params, optimizer), steps=1, seed=9)
        moved = [(new - old) * param.grad for old, new, param in zip(before, after, params, strict=True)]
        assert any(bool((part > 1e-15).any()) for part in moved) is not cautious


@pytest.mark.parametrize("cls", [mt.SGD, mt.Adam, mt.AdamW, mt.RMSprop], ids=lambda cls: cls.__name__)
def test_groups_and_state_dicts_of_pytorch_s_algorithms_mention_it_only_where_it_is_needed(cls):
    theirs = getattr(torch.optim, cls.__name__)
    for run in (made(cls), made(cls, cautious=False)):
        stepped(run, steps=1)
        assert run[1].param_groups[0].keys() == made(theirs)[1].param_groups[0].keys()
        params, other = made(theirs)
        other.load_state_dict(copy.deepcopy(run[1].state_dict()))
        stepped((params, other), steps=1)
    run = made(cls, cautious=True)
    stepped(run, steps=1)
    assert run[1].param_groups[0]["cautious"] is run[1].cautious is True
    params, other = made(theirs)
    other.load_state_dict(copy.deepcopy(run[1].state_dict()))
    with pytest.raises((TypeError, ValueError)):  # it could not go on with that
        stepped((params, other), steps=1)


@each
def test_a_state_dict_says_whether_steps_are_cautious(cls):
    run = made(cls, cautious=True)
    stepped(run)
    again = made(cls)
    for mine, param in zip(again[0], run[0], strict=True):
        mine.data.copy_(param.detach())
    again[1].load_state_dict(copy.deepcopy(run[1].state_dict()))
    assert again[1].cautious is True
    assert all(map(torch.equal, stepped(run, seed=3), stepped(again, seed=3)))
    plain = made(cls)
    stepped(plain, steps=1)
    again[1].load_state_dict(plain[1].state_dict())
    assert again[1].cautious is False


@each
def test_it_may_be_assigned_and_a_group_may_have_its_own(cls):
    params, optimizer = made(cls)
    optimizer.cautious = True
    late = torch.ones(3, dtype=torch.float64, requires_grad=True)
    optimizer.add_param_group({"params": [late], "cautious": False})
    twin, given = made(cls, cautious=True)
    for first, second in zip(stepped((params, optimizer)), stepped((twin, given)), strict=True):
        assert torch.equal(first, second)
    with pytest.raises(AttributeError, match="cautious differs between groups: 0 has True, 1 has False"):
        optimizer.cautious  # noqa: B018
    optimizer.cautious = False
    assert optimizer.cautious is False


def test_a_rule_that_names_no_direction_refuses_it():
    with pytest.raises(
        ValueError, match="cautious=True is for rules that say which value is their direction, and AdaGrad"
    ):
        stepped(made(mt.Adagrad, cautious=True))


def test_what_says_why_a_step_cannot_be_cautious_names_no_argument_that_is_not_there():
    words = "^Adafactor: cautious=True needs a direction, which Adafactor does not have without momentum$"
    with pytest.raises(ValueError, match=words):
        stepped(made(mt.Adafactor, cautious=True))
    words = "^Muon: cautious=True is for rules that .*, and Muon does not; leave cautious out$"
    with pytest.raises(ValueError, match=words):
        mt.Muon([torch.ones(2, 3, requires_grad=True)], cautious=True)
