"""Hyperparameters as functions of the step: groups show today's number, and who writes another takes over."""

import copy
import io
import math
import pickle

import pytest
import torch
from tensors import EXACT, own

from minima import Tensor, optim
from minima.optim.schedules import cosine, exponential, linear

lr_scheduler = torch.optim.lr_scheduler


def made(cls=own.SGD, engine=None, **options):
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    w.grad = torch.tensor([0.5, 1.0])
    return w, cls([("w", w)], engine=engine, **options)


def halved(t):
    """A function that pickle finds."""
    return 0.5**t


FUNCTIONS = {
    "schedule": cosine(0.5, steps=10, warmup=2),
    "function": halved,
    "lambda": lambda t: 1 / (1 + t),
}
each = pytest.mark.parametrize("name", FUNCTIONS)


@each
@pytest.mark.parametrize("cls", [own.SGD, own.Adam, own.RMSProp], ids=lambda cls: cls.__name__)
def test_a_function_of_the_step_does_what_writing_its_numbers_does(cls, name, engine):
    function = FUNCTIONS[name]
    (w, optimizer), (v, other) = made(cls, engine, lr=function), made(cls, engine, lr=0.0)
    for t in range(6):
        assert optimizer.t == t and optimizer.param_groups[0]["lr"] == function(t)
        other.param_groups[0]["lr"] = function(t)
        optimizer.step()
        other.step()
        torch.testing.assert_close(w, v, **EXACT)


def test_several_hyperparameters_of_several_groups_are_functions():
    v, w = (torch.ones(2, requires_grad=True) for _ in range(2))
    optimizer = own.SGD(
        [{"params": [v], "momentum": lambda t: 0.5 if t < 2 else 0.0}, {"params": [w], "lr": 0.25}],
        lr=linear(1.0, steps=4),
        weight_decay=lambda t: t / 8,
    )
    seen = []
    for _ in range(3):
        v.grad, w.grad = torch.ones(2), torch.ones(2)
        seen.append([(g["lr"], g["momentum"], g["weight_decay"]) for g in optimizer.param_groups])
        optimizer.step()
    assert seen == [[(1 - t / 4, 0.5 if t < 2 else 0.0, t / 8), (0.25, 0.0, t / 8)] for t in range(3)]
    other = Tensor([1.0, 1.0], requires_grad=True)
    theirs = optim.SGD([other], lr=0.25, wd=lambda t: t / 8)
    for _ in range(3):
        other.grad = Tensor([1.0, 1.0])
        theirs.step()
    assert w.tolist() == other.tolist()


def test_minima_s_own_tensors_take_the_same_steps():
    for cls in (own.SGD, own.Adam):
        w, optimizer = made(cls, lr=cosine(0.5, steps=5))
        other = Tensor(w.detach().numpy().copy(), requires_grad=True)
        theirs = cls.rule([other], lr=cosine(0.5, steps=5))
        for _ in range(5):
            other.grad = Tensor(w.grad.numpy().copy())
            optimizer.step()
            theirs.step()
        assert w.tolist() == other.tolist()


def test_who_writes_another_number_takes_over(engine):
    w, optimizer = made(engine=engine, lr=halved)
    group = optimizer.param_groups[0]
    optimizer.step()
    assert group["lr"] == 0.5
    group["lr"] = 0.125
    optimizer.step()
    optimizer.step()
    assert group["lr"] == 0.125 and w.tolist() == [1.0 - 0.5 - 2 * 0.0625, -2.0 - 1.0 - 2 * 0.125]
    group["lr"] = lambda t: float(t)
    optimizer.step()
    assert group["lr"] == 4.0 and w[1] == -3.25 - 3.0


def test_a_scheduler_takes_over():
    _, optimizer = made(lr=halved)
    optimizer.step()
    scheduler = lr_scheduler.StepLR(optimizer, 1, gamma=0.1)  # multiplies what stands there
    seen = []
    for _ in range(3):
        optimizer.step()
        scheduler.step()
        seen.append(optimizer.param_groups[0]["lr"])
    assert seen == pytest.approx([0.025, 0.0025, 0.00025])


def test_a_scheduler_may_multiply_a_schedule():
    _, optimizer = made(lr=0.5)
    scheduler = lr_scheduler.LambdaLR(optimizer, cosine(1.0, steps=4))
    for t in range(4):
        assert optimizer.param_groups[0]["lr"] == 0.5 * cosine(1.0, steps=4)(t)
        optimizer.step()
        scheduler.step()


def test_assigning_t_moves_the_functions(engine):
    w, optimizer = made(engine=engine, lr=lambda t: float(t == 7))
    optimizer.step()
    assert w[0] == 1.0 and optimizer.param_groups[0]["lr"] == 0.0
    optimizer.t = 7
    assert optimizer.param_groups[0]["lr"] == 1.0
    optimizer.step()
    assert w[0] == 0.5 and optimizer.t == 8 and optimizer.state[w]["step"] == 2
    optimizer.set_steps(5)
    assert optimizer.state[w]["step"] == 5 and optimizer.t == 8
    with pytest.raises(
        (TypeError, ValueError), match=r"^SGD: t must be an integer in \[0, 4611686018427387904\); got -1$"
    ):
        optimizer.t = -1


def test_a_step_without_gradients_counts_for_functions_and_a_skipped_one_does_not():
    w, optimizer = made(lr=halved, on_nonfinite="skip")
    w.grad = None
    optimizer.step()
    assert optimizer.t == 1 and optimizer.param_groups[0]["lr"] == 0.5
    w.grad = torch.tensor([math.nan, 1.0])
    optimizer.step()
    assert (optimizer.t, optimizer.skipped, optimizer.param_groups[0]["lr"]) == (1, 1, 0.5)


@pytest.mark.parametrize("value", [-1.0, math.nan, "0.1", None], ids=str)
def test_a_function_that_gives_what_is_no_rate_stops_the_step_that_needs_it(engine, value):
    w, optimizer = made(engine=engine, lr=lambda t: 0.5 if t < 2 else value)
    optimizer.step()
    optimizer.step()
    before = w.detach().clone()
    assert optimizer.t == 2 and w.tolist() == [0.5, -3.0]
    for _ in range(2):
        with pytest.raises((TypeError, ValueError), match=r"^SGD, at step 2: lr must "):
            optimizer.step()
    assert torch.equal(w, before) and optimizer.t == 2
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    assert w[0] == 0.375


def test_what_a_function_raises_is_raised_by_the_step_that_needs_its_number(engine):
    w, optimizer = made(engine=engine, lr=[0.5, 0.25, 0.125].__getitem__)
    shown = []
    for _ in range(3):
        shown.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    assert shown == [0.5, 0.25, 0.125] and w[0] == 1 - 0.875 / 2
    optimizer.t = 5
    assert optimizer.t == 5
    with pytest.raises(IndexError):
        optimizer.step()
    assert optimizer.t == 5 and w[0] == 1 - 0.875 / 2
    optimizer.t = 0
    assert optimizer.param_groups[0]["lr"] == 0.5
    optimizer.step()
    assert w[0] == 1 - 0.875 / 2 - 0.25


def test_a_step_at_a_rate_of_zero_in_between_leaves_a_function_in_charge(engine):
    w, optimizer = made(engine=engine, lr=halved)
    group = optimizer.param_groups[0]
    optimizer.step()
    before, kept = w.tolist(), group["lr"]
    group["lr"] = 0.0
    optimizer.step()
    assert w.tolist() == before and group["lr"] == 0.0 and "functions" not in optimizer.state_dict()["param_groups"][0]
    group["lr"] = kept
    optimizer.step()
    assert w[0] == before[0] - 0.5 * 0.25 and group["lr"] == 0.125


# State dicts ---------------------------------------------------------------------------------------------------------


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def run(optimizer, w, count):
    seen = []
    for _ in range(count):
        seen.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
    return seen, w.tolist()


def test_a_state_dict_says_which_hyperparameters_are_functions():
    _, optimizer = made(lr=exponential(0.5, factor=0.5), wd=halved)
    (group,) = optimizer.state_dict()["param_groups"]
    assert group["functions"]["lr"] == exponential(0.5, factor=0.5).state_dict()
    assert (
        group["functions"]["weight_decay"] == {"function": "halved"}
        and group["functions"]["t"] == 0
        and group["lr"] == 0.5
    )
    assert "functions" not in optimizer.param_groups[0]
    assert "functions" not in made()[1].state_dict()["param_groups"][0]


@pytest.mark.parametrize("present", ["number", "another schedule", "the same"])
def test_a_schedule_is_restored_whatever_stood_there(present):
    schedule = cosine(0.5, steps=8)
    w, optimizer = made(own.Adam, lr=schedule)
    run(optimizer, w, 3)
    v, other = made(
        own.Adam, lr={"number": 0.1, "another schedule": linear(0.3, steps=3), "the same": schedule}[present]
    )
    with torch.no_grad():
        v.copy_(w)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert run(other, v, 4) == run(optimizer, w, 4)


def test_a_plain_function_goes_on_where_the_optimizer_has_it():
    w, optimizer = made(own.Adam, lr=halved)
    run(optimizer, w, 3)
    v, other = made(own.Adam, lr=halved)
    with torch.no_grad():
        v.copy_(w)
    other.load_state_dict(through_a_file(optimizer.state_dict()))
    assert run(other, v, 4) == run(optimizer, w, 4)


def test_a_plain_function_that_the_optimizer_has_not_is_refused_and_nothing_is_loaded():
    w, optimizer = made(own.Adam, lr=halved)
    run(optimizer, w, 3)
    v, other = made(own.Adam, lr=0.25)
    rule = "^Adam.load_state_dict: lr was the function halved, which no state_dict can hold; give the optimizer that"
    with pytest.raises(ValueError, match=rule):
        other.load_state_dict(optimizer.state_dict())
    assert other.param_groups[0]["lr"] == 0.25 and not other.state[v]


WRONG = [
    (3, ValueError, "the entry 'functions' of a group must be as state_dict\\(\\) made it; got 3; nothing was loaded"),
    ({"lr": 3}, ValueError, "the entry 'functions' of a group must be as state_dict"),
    ({"t": -1, "lr": {"function": "halved"}}, ValueError, "t must be an integer of at least 0; got -1"),
    ({"rate": {"function": "halved"}}, TypeError, "there is no hyperparameter 'rate'"),
    ({"lr": {"schedule": "odd"}}, Exception, "schedule"),
]


@pytest.mark.parametrize("functions, error, words", WRONG, ids=[str(row[0]) for row in WRONG])
def test_what_says_nothing_of_functions_is_refused_and_nothing_is_loaded(functions, error, words):
    w, optimizer = made(lr=halved)
    run(optimizer, w, 2)
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0] |= {"functions": functions, "weight_decay": 0.5}
    with pytest.raises(error, match=words):
        optimizer.load_state_dict(state_dict)
    assert optimizer.t == 2 and optimizer.param_groups[0]["weight_decay"] == 0.0
    assert run(optimizer, w, 1)[0] == [0.25]


def test_numbers_of_a_state_dict_take_the_place_of_functions():
    _, optimizer = made(lr=0.25)
    w, other = made(lr=halved)
    other.load_state_dict(optimizer.state_dict())
    assert run(other, w, 3)[0] == [0.25] * 3


def test_a_run_with_schedules_resumes_to_the_bits():
    def make():
        return made(own.Adam, lr=cosine(0.5, steps=8), weight_decay=halved)

    (w, whole), (v, half), (u, resumed) = make(), make(), make()
    run(whole, w, 7)
    run(half, v, 3)
    with torch.no_grad():
        u.copy_(v)
    resumed.load_state_dict(through_a_file(half.state_dict()))
    run(resumed, u, 4)
    assert torch.equal(u, w) and resumed.param_groups[0]["lr"] == whole.param_groups[0]["lr"]


# Copies --------------------------------------------------------------------------------------------------------------

COPIES = {"deepcopy": copy.deepcopy, "pickle": lambda x: pickle.loads(pickle.dumps(x))}


@pytest.mark.parametrize("how", COPIES)
@pytest.mark.parametrize("name", ["schedule", "function"])
def test_a_copy_in_mid_run_knows_functions_counts_and_options(how, name, engine):
    w, optimizer = made(own.Adam, engine, lr=FUNCTIONS[name], on_nonfinite="skip", seed=3, weight_decay=lambda_free)
    run(optimizer, w, 3)
    w.grad = torch.full((2,), math.inf)
    optimizer.step()
    other = COPIES[how](optimizer)
    (v,) = other.param_groups[0]["params"]
    assert (other.t, other.skipped, other.on_nonfinite, other.seed) == (3, 1, "skip", 3)
    w.grad, v.grad = torch.ones(2), torch.ones(2)
    assert run(other, v, 4) == run(optimizer, w, 4)
    other.param_groups[0]["lr"] = 0.0
    assert optimizer.param_groups[0]["lr"] != 0.0
    optimizer.step()
    assert other.t == optimizer.t - 1 and other.state[v]["step"] == optimizer.state[w]["step"] - 1


def lambda_free(t):
    """A second function that pickle finds."""
    return 0.125 * t
