"""What others change between two steps, or in the middle of one: it is noticed, and steps stay whole."""

import copy
import os
import signal
import subprocess
import sys
import threading

import pytest
import torch
from tensors import EXACT, SETTINGS, arrays, assert_same, own, parameters

from minima import torch as mt


def ones(*shape, **options):
    param = torch.ones(shape, requires_grad=True, **options)
    param.grad = torch.ones_like(param)
    return param


def give(params, seed):
    draw = torch.Generator().manual_seed(seed)
    for param in params:
        param.grad = torch.randn(param.shape, generator=draw).to(param.dtype)


# Groups and parameters -----------------------------------------------------------------------------------------------


def test_a_parameter_that_takes_the_place_of_another_is_stepped_as_new(engine):
    v, w, u = ones(2), ones(2), ones(3)
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()
    optimizer.step()
    before = w.detach().clone()
    optimizer.param_groups[0]["params"][1] = u
    optimizer.step()
    assert torch.equal(w, before) and optimizer.state[u]["step"] == 1 and optimizer.state[v]["step"] == 3
    other = own.Adam([z := ones(3)], lr=0.1, engine=engine)
    other.step()
    assert torch.equal(u, z) and optimizer.t == 3


@pytest.mark.parametrize("wrong", [None, iter(()), ones(2)], ids=["none", "an iterator", "a tensor"])
def test_what_is_no_list_of_parameters_is_refused_by_the_next_step(wrong, engine):
    optimizer = own.Adam([w := ones(2)], lr=0.1, engine=engine)
    optimizer.step()
    before = w.detach().clone()
    optimizer.param_groups[0]["params"] = wrong
    with pytest.raises(TypeError, match="Adam: a group must have 'params', a list of tensors; got"):
        optimizer.step()
    del optimizer.param_groups[0]["params"]
    with pytest.raises(TypeError, match="Adam: a group must have 'params', a list of tensors; got None"):
        optimizer.step()
    optimizer.param_groups[0]["params"] = [w]
    assert torch.equal(w, before)
    optimizer.step()
    assert optimizer.state[w]["step"] == 2


def test_what_is_no_state_is_refused_by_the_next_step(engine):
    optimizer = own.Adam([w := ones(2)], lr=0.1, engine=engine)
    optimizer.step()
    optimizer.state[w] = None
    with pytest.raises(TypeError, match="Adam: the state of parameter 0 must be a dict; got None"):
        optimizer.step()


def test_counts_that_were_set_before_the_first_step_outlast_a_new_group(engine):
    v, w = ones(2), ones(3)
    optimizer = own.Adam([v], lr=0.1, engine=engine)
    optimizer.set_steps(7)
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [w]})
    optimizer.step()
    assert optimizer.state[v]["step"] == 8 and optimizer.state[w]["step"] == 1


@pytest.mark.parametrize("params", [5, ["w"], [[]], ones(2), [ones(2)]], ids=["number", "name", "list", "one", "other"])
def test_steps_are_set_of_the_optimizer_s_own_parameters_only(params):
    optimizer = own.Adam([w := ones(2)], lr=0.1)
    optimizer.step()
    with pytest.raises(ValueError, match="Adam.set_steps: params must be parameters of this optimizer; nothing was ch"):
        optimizer.set_steps(7, params)
    assert optimizer.state[w]["step"] == 1
    optimizer.set_steps(7, [w])
    assert optimizer.state[w]["step"] == 7


def test_counts_go_with_a_state_that_was_cleared_beside_a_new_group(engine):
    v, w = ones(2), ones(3)
    optimizer = own.Adam([v], lr=0.1, engine=engine)
    optimizer.step()
    optimizer.state.clear()
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [w]})
    optimizer.step()
    assert optimizer.state[v]["step"] == 1 and torch.allclose(optimizer.state[v]["exp_avg"], torch.tensor(0.1))


def test_every_method_notices_groups_that_were_edited(engine):
    v, w, u = ones(2), ones(3), ones(4)
    optimizer = mt.Adam([v, w], lr=lambda t: 0.5 / (1 + t), engine=engine)
    optimizer.step()
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [optimizer.param_groups[0]["params"].pop()]})
    optimizer.param_groups[0]["params"].append(u)
    optimizer.set_steps(7, u)
    assert optimizer.steps == (1, 7, 1)
    optimizer.param_groups.reverse()
    assert ["functions" in group for group in optimizer.state_dict()["param_groups"]] == [False, True]
    optimizer.param_groups.reverse()
    other = copy.deepcopy(optimizer)
    other.t = optimizer.t = 4
    assert [group["lr"] for group in other.param_groups] == [group["lr"] for group in optimizer.param_groups]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.25]
    del optimizer.param_groups[1]
    optimizer.add_param_group({"params": [w], "lr": 0.125})
    optimizer.param_groups[0]["params"].remove(v)
    del optimizer.state[v]
    optimizer.load_state_dict(optimizer.state_dict())
    optimizer.step()
    assert optimizer.steps == (8, 2) and v not in optimizer.state


def test_counts_that_were_written_are_heard_before_others_are_set():
    v, w = ones(2), ones(2)
    optimizer = mt.Adam([v, w], lr=0.1)
    optimizer.step()
    optimizer.state[v]["step"].fill_(9)
    optimizer.set_steps(3, w)
    assert optimizer.steps == (9, 3)


@pytest.mark.parametrize("name, value", [("param_groups", None), ("param_groups", ()), ("state", None), ("state", [])])
def test_what_can_be_no_groups_or_no_state_is_refused_when_it_is_assigned(name, value):
    optimizer = mt.SGD([w := ones(2)], lr=0.5)
    with pytest.raises(TypeError, match=rf"^SGD: {name} must be a (list of groups|dict); got "):
        setattr(optimizer, name, value)
    optimizer.step()
    assert w[0] == 0.5
    optimizer.param_groups = [None]
    with pytest.raises(TypeError, match="^SGD: a group must be a dict with 'params'; got None$"):
        optimizer.step()


def test_a_group_that_is_refused_is_not_there_at_all(engine):
    v, w, u = ones(2), ones(3), ones(4)
    optimizer = mt.Adam([("v", v)], lr=0.1, engine=engine)
    optimizer.step()
    optimizer.state[w] = {"step": -1.0}
    with pytest.raises(ValueError, match=r"^Adam: the state of parameter 1 \('w'\) must have a whole number 'step'"):
        optimizer.add_param_group({"params": [("u", u), ("w", w)]})
    assert len(optimizer.param_groups) == 1 and optimizer.steps == (1,)
    optimizer.state[w]["step"] = 4
    for name, value in zip(("exp_avg", "exp_avg_sq"), torch.zeros(2, 3), strict=True):
        optimizer.state[w][name] = value
    optimizer.add_param_group({"params": [("u", u), ("w", w)]})
    optimizer.step()
    assert optimizer.steps == (2, 1, 5) and optimizer.state[w]["step"] == 5


def test_a_group_that_joins_is_seen_by_others_when_all_of_it_is_there(monkeypatch):
    v, w = ones(2), ones(3)
    optimizer = mt.SGD([v], lr=0.5)
    optimizer.add_param_group({"params": [ones(1)]})
    listed, seen = optimizer.param_groups, []
    inner = torch.optim.Optimizer.add_param_group

    def watching(self, group):
        inner(self, group)
        seen.append(optimizer.param_groups is listed and len(listed))

    monkeypatch.setattr(torch.optim.Optimizer, "add_param_group", watching)
    optimizer.add_param_group({"params": [w]})
    assert seen == [2] and optimizer.param_groups is listed and len(listed) == 3


def test_an_interrupt_while_a_group_joins_leaves_all_of_it_or_nothing(monkeypatch):
    from minima.optim.core.stepper import Stepper

    v, w, u = ones(2), ones(3), ones(4)
    optimizer = mt.Adam([v], lr=0.1)
    optimizer.step()
    inner = Stepper.add

    def interrupting(self, members, groups):
        inner(self, members, groups)
        signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Stepper, "add", interrupting)
    with pytest.raises(KeyboardInterrupt):
        optimizer.add_param_group({"params": [w, u]})
    monkeypatch.undo()
    held = optimizer._held
    assert len(held.slots) == len(held.stepper.members) == len(held.stepper.clock.counts) == 3
    optimizer.step()
    assert len(optimizer.param_groups) == 1 and optimizer.steps == (2,)
    optimizer.add_param_group({"params": [w, u]})
    optimizer.step()
    assert optimizer.steps == (3, 1, 1)


CALLS = {
    "made": lambda optimizer: type(optimizer)([dict(group) for group in optimizer.param_groups]),
    "copied": copy.deepcopy,
    "loaded": lambda optimizer: optimizer.load_state_dict(optimizer.state_dict()),
}


@pytest.mark.parametrize("how", CALLS)
def test_the_work_grows_with_the_number_of_groups_and_no_faster(how):
    def calls(many):
        params = [ones(1) for _ in range(many)]
        optimizer = mt.SGD([{"params": [param]} for param in params], lr=0.5, momentum=0.5)
        optimizer.step()
        number = 0

        def count(frame, event, argument):
            nonlocal number
            number += 1

        sys.setprofile(count)
        try:
            CALLS[how](optimizer)
        finally:
            sys.setprofile(None)
        return number

    assert calls(256) < 2.2 * calls(128)


CHANGES = {
    "appended": lambda group, param: group["params"].append(param),
    "a list of its own": lambda group, param: group.update(params=[*group["params"], param]),
    "removed and appended": lambda group, param: group["params"].__setitem__(slice(0, 1), [param]),
}


@pytest.mark.parametrize("how", CHANGES)
def test_the_list_of_a_group_may_change_in_any_way(how, engine):
    v, w, u = ones(2), ones(3), ones(4)
    optimizer = own.SGD([v, w], lr=0.5, momentum=0.5, dampening=0.0, engine=engine)
    optimizer.step()
    CHANGES[how](optimizer.param_groups[0], u)
    optimizer.step()
    assert (u == 0.5).all() and optimizer.state[u]["step"] == 1
    assert w[0] == 1 - 0.5 - 0.75 and v[0] == (0.5 if how == "removed and appended" else w[0])


def test_a_parameter_that_comes_back_goes_on_with_its_state(engine):
    v, w = ones(2), ones(2)
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()
    group = optimizer.param_groups[0]
    del group["params"][0]
    optimizer.step()
    group["params"].insert(0, v)
    optimizer.step()
    assert optimizer.state[v]["step"] == 2 and optimizer.state[w]["step"] == 3
    other = own.Adam([z := ones(2)], lr=0.1, engine=engine)
    other.step()
    other.step()
    assert torch.equal(v, z)


def test_groups_may_be_replaced_removed_and_reordered(engine):
    v, w = ones(2), ones(2)
    optimizer = own.SGD([{"params": [v]}, {"params": [w], "lr": 0.25}], lr=0.5, engine=engine)
    optimizer.step()
    optimizer.param_groups.reverse()
    optimizer.param_groups[0] = {**optimizer.param_groups[0], "lr": 0.125}
    optimizer.step()
    assert (v[0].item(), w[0].item()) == (0.0, 0.625)
    del optimizer.param_groups[1]
    optimizer.step()
    assert (v[0].item(), w[0].item()) == (0.0, 0.5)
    assert optimizer.state[w]["step"] == 3 and optimizer.state[v]["step"] == 2


REFUSED = [
    (
        lambda: torch.ones(2).to(torch.float8_e4m3fn).requires_grad_(),
        TypeError,
        "SGD: parameter 1 must have 16 bits at least; got 'torch.float8_e4m3fn'; keep a wider copy, and step that",
    ),
    (lambda: "w", TypeError, "a group: parameter 1 must be a tensor; got 'w'"),
    (None, ValueError, "SGD: parameter 1 is parameter 0 again; pass every tensor once"),
]


@pytest.mark.parametrize("make, error, words", REFUSED, ids=[row[2] for row in REFUSED])
def test_what_is_no_parameter_is_refused_by_the_next_step(make, error, words):
    v = ones(2)
    optimizer = own.SGD([v], lr=0.5)
    optimizer.step()
    optimizer.param_groups[0]["params"].append(v if make is None else make())
    for _ in range(2):
        with pytest.raises(error) as caught:
            optimizer.step()
        assert str(caught.value) == words and v[0] == 0.5
    del optimizer.param_groups[0]["params"][1]
    optimizer.step()
    assert v[0] == 0.0


def test_a_group_whose_params_are_no_list_or_more_than_their_names_is_refused(engine):
    w, u = ones(2), ones(2)
    optimizer = own.SGD([("w", w)], lr=0.5, engine=engine)
    optimizer.step()
    group = optimizer.param_groups[0]
    group["params"].append(u)
    with pytest.raises(ValueError, match="^a group: param_names must name all 2 parameters; got 1$"):
        optimizer.step()
    group["param_names"].append("u")
    optimizer.step()
    assert (w[0].item(), u[0].item()) == (0.0, 0.5)
    group["params"] = w
    with pytest.raises(TypeError, match="^SGD: a group must have 'params', a list of tensors; got "):
        optimizer.step()


def test_data_that_is_assigned_is_what_the_next_step_goes_on_from(engine):
    w = ones(2)
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    optimizer.step()
    w.data = torch.full((4,), 2.0)
    w.grad = None
    w.grad = torch.ones(4)
    optimizer.step()
    assert w.tolist() == [1.5] * 4
    w.data = w.data.double()
    w.grad = None
    w.grad = torch.ones(4, dtype=torch.float64)
    optimizer.step()
    assert w.dtype == torch.float64 and w.tolist() == [1.0] * 4


def test_state_that_is_replaced_is_what_the_next_step_goes_on_from(engine):
    w = ones(2)
    optimizer = own.SGD([w], lr=0.5, momentum=0.5, dampening=0.0, engine=engine)
    optimizer.step()
    optimizer.state[w] = {"step": 4, "u": torch.full((2,), 4.0)}
    optimizer.step()
    assert w[0] == 0.5 - 0.5 * 3.0 and optimizer.state[w]["step"] == 5
    optimizer.state[w]["u"] = torch.zeros(2)
    optimizer.step()
    assert w[0] == -1.0 - 0.5 and optimizer.state[w]["u"][0] == 1.0
    optimizer.state.clear()
    optimizer.step()
    assert w[0] == -2.0 and optimizer.state[w]["step"] == 1


# Variants -------------------------------------------------------------------------------------------------------------

PATTERN = [0.9, 0.9, 0.0, 0.0, 0.9, 0.0, 0.5, 0.5]


SWITCHED = [{}, {"nesterov": True}, {"dampening": 0.5}, {"weight_decay": 0.1}]


def test_a_state_that_takes_the_place_of_all_is_what_the_next_step_goes_on_from(engine):
    v, w = ones(2), ones(3)
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()
    kept = copy.deepcopy(optimizer.state[w])
    optimizer.step()
    optimizer.state = {w: kept}
    optimizer.step()
    assert {param: entry["step"] for param, entry in optimizer.state.items()} == {v: 1, w: 2}
    assert torch.allclose(optimizer.state[v]["exp_avg"], torch.tensor(0.1))
    assert torch.allclose(kept["exp_avg"], torch.tensor(0.19)) and optimizer.t == 3


UNFIT = {
    "of one element": (torch.zeros(1), "shape"),
    "of another shape": (torch.zeros(2), "shape"),
    "integers": (torch.zeros(3, 4, dtype=torch.int64), "torch.float32"),
    "sparse": (torch.zeros(3, 4).to_sparse(), "sparse"),
    "expanded": (torch.zeros(1).expand(3, 4), "a place in memory"),
    "of NumPy": (torch.zeros(3, 4).numpy(), "a tensor 'exp_avg'"),
    "a number": (0.0, "a tensor 'exp_avg'"),
}


@pytest.mark.parametrize("unfit", UNFIT)
def test_state_that_does_not_fit_is_refused_in_mid_run_and_nothing_changes(unfit, engine):
    v, w = ones(3, 4), ones(3, 4)
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()
    optimizer.step()
    value, words = UNFIT[unfit]
    optimizer.state[w]["exp_avg"] = value
    before = [x.clone() for x in (v, w, optimizer.state[v]["exp_avg"], optimizer.state[w]["exp_avg_sq"])]
    with pytest.raises((TypeError, ValueError), match=f"parameter 1 .*{words}"):
        optimizer.step()
    after = [v, w, optimizer.state[v]["exp_avg"], optimizer.state[w]["exp_avg_sq"]]
    assert all(map(torch.equal, after, before)) and optimizer.state[v]["step"] == 2


def test_state_in_other_numbers_or_another_layout_is_made_to_fit_in_mid_run(engine):
    found = []
    for change in (torch.clone, torch.Tensor.double, lambda x: x.t().contiguous().t()):
        w = ones(3, 4)
        optimizer = own.Adam([w], lr=0.1, engine=engine)
        for step in range(4):
            give([w], step)
            optimizer.step()
            if step == 1:
                optimizer.state[w]["exp_avg"] = change(optimizer.state[w]["exp_avg"])
        found.append(arrays(optimizer, [w]))
    assert_same(found[1], found[0], **EXACT)
    assert_same(found[2], found[0], **EXACT)


def test_a_parameter_may_change_its_layout_in_mid_run(engine):
    found = []
    for change in (torch.clone, lambda x: x.t().contiguous().t()):
        w = ones(3, 3)
        optimizer = own.Adam([w], lr=0.1, engine=engine)
        for step in range(4):
            give([w], step)
            w.grad = torch.empty_like(w).copy_(w.grad)
            optimizer.step()
            if step == 1:
                w.grad, w.data = None, change(w.data)
        found.append(arrays(optimizer, [w]))
    assert_same(found[1], found[0], **EXACT)


def test_a_parameter_of_another_shape_is_refused_with_its_old_state(engine):
    w = ones(3)
    optimizer = own.Adam([w], lr=0.1, engine=engine)
    optimizer.step()
    w.grad, w.data = None, torch.ones(4)
    w.grad = torch.ones(4)
    with pytest.raises(ValueError, match=r"the state of parameter 0 must have 'exp_avg' of shape \(4,\)"):
        optimizer.step()
    assert torch.equal(w, torch.ones(4))


@pytest.mark.parametrize("start", [0, 2], ids=["on first", "off first"])
@pytest.mark.parametrize("options", SWITCHED, ids=str)
def test_momentum_may_be_switched_off_and_on_as_in_pytorch(start, options, engine):
    ours, theirs = (torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True) for _ in range(2))
    pattern = PATTERN[start:]
    if options.get("nesterov"):
        pattern = [momentum or 0.1 for momentum in pattern]  # they refuse it without
    kind = {"lr": 0.1, "momentum": pattern[0], **options}
    pairs = [(ours, mt.SGD([ours], engine=engine, **kind)), (theirs, torch.optim.SGD([theirs], **kind))]
    for number, momentum in enumerate(pattern):
        for param, optimizer in pairs:
            optimizer.param_groups[0]["momentum"] = momentum
            param.grad = torch.tensor([1.0 + number, -1.0], dtype=torch.float64)
            optimizer.step()
        torch.testing.assert_close(ours, theirs, rtol=1e-13, atol=0)
    assert "momentum_buffer" in pairs[0][1].state[ours]


def test_no_state_is_kept_that_no_step_needed(engine):
    w = ones(2)
    optimizer = own.SGD([w], lr=0.5, engine=engine)
    optimizer.step()
    assert optimizer.state[w].keys() == {"step"}
    optimizer.param_groups[0]["momentum"] = 0.5
    optimizer.step()
    assert optimizer.state[w].keys() == {"step", "u"}
    optimizer.param_groups[0]["momentum"] = 0.0
    optimizer.load_state_dict(optimizer.state_dict())
    assert optimizer.state[w].keys() == {"step", "u"}


# Several sets of gradients -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_two_sets_of_gradients_in_turn_are_two_optimizers(cls, hypers, engine):
    params, others = parameters(), parameters()
    whole = cls(params, lr=0.1, engine=engine, **hypers)
    apart = [cls(others[:4], lr=0.1, engine=engine, **hypers), cls(others[4:], lr=0.1, engine=engine, **hypers)]
    halves = [(params[:4], others[:4]), (params[4:], others[4:])]
    planned = []
    for step in range(8):
        whole.zero_grad()
        mine, theirs = halves[step % 2]
        give(mine, step)
        give(theirs, step)
        whole.step()
        apart[step % 2].step()
        planned.append(whole._held.stepper.planned)
    assert_same(
        arrays(whole, params),
        arrays(apart[0], others[:4]) + arrays(apart[1], others[4:]),
        **EXACT,
    )
    assert planned == [1] + [2] * 7  # both plans are made once


# Steps that end half way ---------------------------------------------------------------------------------------------


def watch_runs(optimizer, before):
    """Call ``before`` with the number of each run of a kernel."""
    (plan,) = optimizer._held.stepper._plans.values()
    for number, batch in enumerate(plan._batches):

        def run(number=number, inner=batch.kernel.run):
            before(number)
            inner()

        batch.kernel.run = run


def test_a_step_that_fails_half_way_leaves_what_it_stepped_counted(engine):
    v, w = ones(2), ones(2, dtype=torch.float64)  # two dtypes are two batches
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()

    def fail(number):
        if number == 1:
            raise MemoryError

    before = copy.deepcopy(arrays(optimizer, [v, w]))
    watch_runs(optimizer, fail)
    with pytest.raises(MemoryError):
        optimizer.step()
    assert optimizer.state[v]["step"] == 2 and optimizer.state[w]["step"] == 1 and optimizer.t == 2
    assert_same(arrays(optimizer, [v, w])[1:], before[1:], **EXACT)
    assert not torch.equal(v, before[0]["param"])


@pytest.mark.parametrize("fails", [0, 1], ids=["the first batch", "the second batch"])
def test_a_step_with_totals_that_fails_counts_what_was_written_and_else_nothing(monkeypatch, engine, fails):
    v, w = ones(2), ones(2, dtype=torch.float64)
    optimizer = own.SGD([v, w], lr=0.5, momentum=0.0, max_norm=1.0, engine=engine)
    optimizer.step()
    before, versions = v.detach().clone(), (v._version, w._version)
    (plan,) = optimizer._held.stepper._plans.values()
    with monkeypatch.context() as patch:
        kernel = plan._batches[fails].kernel
        stages = iter([kernel.run, lambda: torch.empty(2**62)])
        patch.setattr(kernel, "run", lambda: next(stages)())
        with pytest.raises(RuntimeError):
            optimizer.step()
    assert optimizer.t == 1 + fails and optimizer.steps == (1 + fails, 1)
    assert torch.equal(v, before) is (v._version == versions[0]) is (fails == 0) and w._version == versions[1]
    optimizer.step()
    assert optimizer.t == 2 + fails and optimizer.steps == (2 + fails, 2)


@pytest.mark.parametrize("first", [0, 1])
def test_an_interrupt_leaves_a_whole_step(engine, first):
    v, w = ones(2), ones(2, dtype=torch.float64)
    optimizer = own.Adam([v, w], lr=0.1, engine=engine)
    optimizer.step()

    def interrupt(number):
        if number == first:
            signal.raise_signal(signal.SIGINT)

    watch_runs(optimizer, interrupt)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert optimizer.state[v]["step"] == optimizer.state[w]["step"] == optimizer.t == 2
    other = own.Adam([u := ones(2)], lr=0.1, engine=engine)
    other.step()
    other.step()
    assert torch.equal(u, v)


def test_an_interrupt_while_parameters_with_gaps_are_written_back_leaves_a_whole_step(monkeypatch):
    from minima.torch import fused

    v, w = (torch.zeros(4)[::2].requires_grad_() for _ in range(2))
    v.grad, w.grad = ones(2).detach(), ones(2).detach()
    optimizer = own.SGD([v, w], lr=1.0, engine="fused")
    optimizer.step()
    copied, local = [], fused.local

    def interrupting(tensor):
        copied.append(tensor)
        if len(copied) == 4:  # both were read, and one is written
            signal.raise_signal(signal.SIGINT)
        return local(tensor)

    monkeypatch.setattr(fused, "local", interrupting)
    with pytest.raises(KeyboardInterrupt):
        optimizer.step()
    assert v.tolist() == w.tolist() == [-2.0, -2.0] and optimizer.t == 2


@pytest.mark.parametrize("moving", [2, 1])
def test_an_interrupt_while_steps_are_counted_leaves_them_shown(moving):
    params = [ones(2), ones(2), ones(2)]
    optimizer = own.SGD(params, lr=1.0)
    optimizer.step()
    params[moving].grad = None  # the first two stand side by side, or the two at the ends are counted

    def trace(frame, event, argument):
        nonlocal lines
        if event == "line" and frame.f_code.co_name == "count":
            lines -= 1
            if lines == 0:
                signal.raise_signal(signal.SIGINT)
        return trace

    for line in range(1, 4):
        lines, before = line, sys.gettrace()
        sys.settrace(trace)
        try:
            with pytest.raises(KeyboardInterrupt):
                optimizer.step()
        finally:
            sys.settrace(before)
        for param in params:
            t = 1 if param.grad is None else line + 1
            assert optimizer.state[param]["step"] == t == 1 - param[0].item(), line


INTERRUPTED = """
import signal, sys
import torch
from minima.torch import SGD
engine = sys.argv[1]
w, v = torch.zeros(400_000, requires_grad=True), torch.zeros(400_000, dtype=torch.float64, requires_grad=True)
w.grad, v.grad = torch.ones_like(w), torch.ones_like(v)
optimizer = SGD([w, v], lr=1.0, engine=engine)
optimizer.step()
signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGINT))
for attempt in range(20):
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.002 + 0.0003 * attempt)
        while True:
            optimizer.step()
    except KeyboardInterrupt:
        pass
values = set(w.tolist()) | set(v.tolist())
print(len(values), {-float(optimizer.state[p]["step"]) for p in (w, v)} == values, -values.pop() == optimizer.t)
"""


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="the platform has no timer that interrupts")
def test_interrupts_at_any_time_leave_whole_steps(engine):
    done = subprocess.run([sys.executable, "-c", INTERRUPTED, engine], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["1", "True", "True"], done.stderr


# Threads -------------------------------------------------------------------------------------------------------------

FIRST_STEPS = """
import sys, threading
import torch
from minima.torch import SGD, Adam, Adagrad, RMSprop
engine = sys.argv[1]
barrier, ends = threading.Barrier(8), []
def work(cls):
    w = torch.ones(50_000, requires_grad=True)
    w.grad = torch.ones(50_000)
    optimizer = cls([w], lr=0.1, engine=engine, on_nonfinite="raise")
    barrier.wait()
    for _ in range(5):
        optimizer.step()
    w = w.detach()
    ends.append((cls.__name__, float(w.min()), float(w.max())))
threads = [threading.Thread(target=work, args=[cls]) for cls in (SGD, Adam, Adagrad, RMSprop) for _ in range(2)]
for thread in threads: thread.start()
for thread in threads: thread.join()
for name, low, high in sorted(ends): print(name, low, high)
"""


def test_optimizers_in_several_threads_step_from_the_first_step_on(engine):
    done = subprocess.run([sys.executable, "-c", FIRST_STEPS, engine], capture_output=True, text=True, timeout=120)
    ends = [line.split() for line in done.stdout.splitlines()]
    assert [name for name, _, _ in ends] == [x for x in ("Adagrad", "Adam", "RMSprop", "SGD") for _ in range(2)], done
    assert ends[0::2] == ends[1::2] and all(float(low) == float(high) < 1 for _, low, high in ends), done


@pytest.mark.parametrize("edited", [False, True], ids=["as it was", "edited"])
def test_a_step_that_is_refused_to_another_thread_changes_no_count(monkeypatch, engine, edited):
    from minima.torch import counts

    v, w, u = ones(2), ones(2), ones(2)
    optimizer = mt.SGD([v, w], lr=0.5, engine=engine)
    optimizer.step()
    if edited:  # what is held is renewed within the step
        optimizer.param_groups[0] = {**optimizer.param_groups[0]}
    raised, threads = [], []

    def other():
        optimizer.param_groups.append({**optimizer.param_groups[0], "params": [u]})
        try:
            optimizer.step()
        except RuntimeError as error:
            raised.append(str(error))
        del optimizer.param_groups[1]

    class Between:
        """NumPy; while counts are shown and not yet counted, another thread tries to step."""

        def __getattr__(self, name):
            return getattr(inner, name)

        def add(self, x, y, out):
            inner.add(x, y, out)
            if not threads:
                threads.append(threading.Thread(target=other))
                threads[0].start()
                threads[0].join()

    inner = counts.np
    monkeypatch.setattr(counts, "np", Between())
    optimizer.step()
    assert raised == ["SGD.step: another thread is stepping this optimizer; let one thread step it at a time"]
    assert optimizer.steps == (2, 2) and optimizer.state[v]["step"] == 2 and v[0] == 0.0 and u[0] == 1.0
    optimizer.param_groups.append({**optimizer.param_groups[0], "params": [u]})
    optimizer.step()
    assert optimizer.steps == (3, 3, 1)


def test_one_optimizer_in_two_threads_is_right_or_refused_in_one_sentence(engine):
    w = ones(20_000)
    optimizer = own.SGD([w], lr=2.0**-10, engine=engine)
    optimizer.step()
    taken, refused, strange = [1], [], []
    barrier = threading.Barrier(2)

    def work():
        barrier.wait()
        for _ in range(40):
            try:
                optimizer.step()
                taken.append(1)
            except RuntimeError as error:
                refused.append(str(error))
            except Exception as error:
                strange.append(error)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not strange and len(taken) + len(refused) == 81
    assert len({*refused}) <= 1 and all(text.startswith("SGD.step: another ") for text in refused)
    assert optimizer.t == len(taken) == optimizer.state[w]["step"]
    assert w.unique().tolist() == [1 - len(taken) * 2.0**-10]


THREADS = """
import hashlib, os
import torch
from minima.torch import Adam, fused
launch, seen, bits = fused.Launch, [], set()
def watched(*args, **kwargs):
    seen.append(kwargs["threads"])
    return launch(*args, **kwargs)
def step():
    w = torch.linspace(-1, 1, 300_000, requires_grad=True)
    w.grad = torch.linspace(2, -2, 300_000)
    Adam([w], lr=0.1, engine="fused").step()
    bits.add(hashlib.sha256(w.detach().numpy().tobytes()).hexdigest())
fused.Launch = watched
step()  # by OMP_NUM_THREADS, which PyTorch has read
torch.set_num_threads(2)
step()
os.environ["OMP_NUM_THREADS"] = "5"  # too late for PyTorch
step()
os.environ["MINIMA_NUM_THREADS"] = "3"
step()
print(*seen, len(bits))
"""


def test_the_number_of_threads_is_pytorch_s_unless_minima_s_own_is_set():
    variables = {name: x for name, x in os.environ.items() if name != "MINIMA_NUM_THREADS"} | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", THREADS], capture_output=True, text=True, env=variables)
    assert done.stdout.split() == ["1", "2", "2", "3", "1"], done.stderr
