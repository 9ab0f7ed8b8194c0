"""State that is not ours, as wrappers keep it with parameters or beside them: it stays through step, save and load."""

import copy

import pytest
import torch
from tensors import EXACT, own

OURS = [own.SGD, own.Adam]
each = pytest.mark.parametrize("cls", OURS, ids=lambda cls: cls.__name__)


def made(cls, **options):
    w = torch.tensor([1.0, 2.0], requires_grad=True)
    w.grad = torch.ones(2)
    return w, cls([w], lr=0.1, **options)


@each
@pytest.mark.parametrize("options", [{}, {"state_dtype": "int8"}], ids=str)
def test_an_entry_before_the_first_step_stays_and_is_no_state_of_ours(cls, options):
    w, optimizer = made(cls, **options)
    v, other = made(cls, **options)
    slow = w.detach().clone()
    optimizer.state[w]["slow"] = slow
    for each in (optimizer, other):
        each.step()
    assert optimizer.state[w]["slow"] is slow
    torch.testing.assert_close(w, v, **EXACT)
    assert optimizer.state[w].keys() - other.state[v].keys() == {"slow"}


@each
@pytest.mark.parametrize("stepped", [False, True])
def test_an_entry_of_others_is_saved_and_loaded(cls, stepped):
    w, optimizer = made(cls)
    v, other = made(cls)
    if stepped:
        optimizer.step()
    mine = {"slow": w.detach().clone(), "best": {"step": torch.tensor(3.0), "loss": [0.5]}, "word": "x"}
    optimizer.state[w].update(mine)
    other.load_state_dict(copy.deepcopy(optimizer.state_dict()))
    other.load_state_dict(optimizer.state_dict())
    found = other.state[v]
    assert (found["best"], found["word"], found.keys()) == (mine["best"], "x", optimizer.state[w].keys())
    assert torch.equal(found["slow"], mine["slow"]) and found["slow"].data_ptr() != mine["slow"].data_ptr()
    assert found["best"]["loss"] is not mine["best"]["loss"]
    optimizer.step()
    other.step()
    assert other.state[v]["step"] == optimizer.state[w]["step"] == 1 + stepped


def test_tensors_of_others_are_cast_as_pytorch_s_optimizers_cast_them():
    found = []
    for cls in (torch.optim.Adam, own.Adam):
        w, optimizer = made(cls)
        optimizer.step()
        optimizer.state[w]["kept"] = {"a": torch.ones(2), "n": [torch.ones(1, dtype=torch.int64)]}
        v = torch.ones(2, dtype=torch.bfloat16, requires_grad=True)
        other = cls([v])
        other.load_state_dict(optimizer.state_dict())
        found.append(other.state[v]["kept"])
    assert found[0]["a"].dtype == found[1]["a"].dtype == torch.bfloat16
    assert found[0]["n"][0].dtype == found[1]["n"][0].dtype


@each
@pytest.mark.parametrize("kept", [{"a": 1}, {"step": 3}, {"step": torch.tensor(3)}, 5], ids=str)
def test_state_beside_the_parameters_is_saved_and_loaded(cls, kept):
    w, optimizer = made(cls)
    optimizer.state["extra"] = kept
    optimizer.step()
    optimizer.step()
    _, other = made(cls)
    other.load_state_dict(optimizer.state_dict())
    assert other.state["extra"] == kept and (kept == 5 or other.state["extra"] is not kept)
    other.step()
    assert optimizer.state[w]["step"] == 2


@each
def test_a_count_may_be_a_plain_number(cls):
    w, optimizer = made(cls)
    optimizer.step()
    optimizer.state[w]["step"] = 7
    assert optimizer.state_dict()["state"][0]["step"] == 7
    optimizer.step()
    assert optimizer.state[w]["step"] == 8
