"""L-BFGS beside PyTorch's own: numbers, state and state dicts, and what only this one does."""

import copy
import inspect
import io
import pickle
import re

import numpy as np
import pytest
import torch

import minima.torch as mt

START = [-1.2, 1.0, -0.5, 0.8, 1.3]
WOLFE = {"line_search_fn": "strong_wolfe"}
NAMES = ["d", "t", "old_dirs", "old_stps", "ro", "H_diag", "prev_flat_grad", "prev_loss"]


def rosenbrock(params):
    x = torch.cat([p.reshape(-1) for p in params])
    return (100 * (x[1:] - x[:-1] ** 2) ** 2 + (1 - x[:-1]) ** 2).sum()


def tensors(*shapes, dtype=torch.float64, start=START):
    parts = torch.tensor(start, dtype=dtype).split([int(np.prod(shape)) for shape in shapes])
    return [part.reshape(shape).clone().requires_grad_() for part, shape in zip(parts, shapes, strict=True)]


def closure_of(optimizer, params, loss=rosenbrock, calls=None):
    def closure():
        optimizer.zero_grad()
        value = loss(params)
        value.backward()
        if calls is not None:
            calls.append(value.item())
        return value

    return closure


def pair(make, loss=rosenbrock, **given):
    """PyTorch's optimizer and ours, each with parameters and a closure of its own."""
    found = []
    for cls in (torch.optim.LBFGS, mt.LBFGS):
        params = make()
        optimizer = cls(params, **given)
        found.append((optimizer, params, closure_of(optimizer, params, loss)))
    return found


def assert_alike(theirs, mine, rtol=1e-9, atol=1e-11):
    for p, q in zip(theirs.param_groups[0]["params"], mine.param_groups[0]["params"], strict=True):
        torch.testing.assert_close(q, p, rtol=rtol, atol=atol)
    state, own = (next(iter(each.state.values()), {}) for each in (theirs, mine))
    assert state.keys() - {"al"} == own.keys()  # which is scratch
    for name in ("func_evals", "n_iter"):
        assert state[name] == own[name] == getattr(mine, name)
    for name in NAMES if "d" in state else ():
        if name == "t" and own["t"] == 0:  # it stopped before it moved, where PyTorch says how far it would have
            continue
        his, its = (each[name] if isinstance(each[name], list) else [each[name]] for each in (state, own))
        for a, b in zip(his, its, strict=True):
            a, b = (torch.as_tensor(each, dtype=torch.float64) for each in (a, b))
            torch.testing.assert_close(b, a, rtol=10 * rtol, atol=10 * atol)


SETTINGS = {
    "by default, with a search": ({**WOLFE}, 6, 1e-9),
    "a history that drops pairs": ({**WOLFE, "max_iter": 4, "history_size": 10}, 10, 1e-9),
    "a history of one": ({**WOLFE, "max_iter": 3, "history_size": 1}, 12, 1e-9),
    "a first step too far": ({**WOLFE, "lr": 50.0, "max_iter": 5}, 6, 1e-9),
    "few evaluations": ({**WOLFE, "max_eval": 3}, 12, 1e-9),
    "one evaluation": ({**WOLFE, "max_iter": 2, "max_eval": 1}, 8, 1e-9),
    "coarse changes": ({**WOLFE, "tolerance_change": 1e-2}, 8, 1e-9),
    "a coarse gradient": ({**WOLFE, "tolerance_grad": 5.0}, 8, 1e-9),
    "without a search": ({"lr": 0.02, "max_iter": 3}, 4, 1e-15),
    "without a search, in one call": ({"lr": 0.02, "max_iter": 30, "history_size": 5}, 2, 1e-9),
    "a learning rate in a tensor": ({"lr": torch.tensor(0.02), "max_iter": 3}, 4, 1e-8),
}


@pytest.mark.parametrize(("given", "calls", "rtol"), SETTINGS.values(), ids=SETTINGS)
def test_numbers_state_and_counts_are_pytorch_s(given, calls, rtol):
    (theirs, _, ask), (mine, _, own) = pair(lambda: tensors((2,), (1, 2), (1,)), **given)
    for _ in range(calls):
        first, same = theirs.step(ask), mine.step(own)
        assert isinstance(same, torch.Tensor) and same.item() == pytest.approx(first.item(), rel=1e-8, abs=1e-18)
        assert_alike(theirs, mine, rtol, rtol / 100)


@pytest.mark.parametrize("line_search_fn", [None, "strong_wolfe"])
@pytest.mark.parametrize("kind", [torch.float32, torch.complex64, torch.complex128, "several"])
def test_every_dtype_is_stepped_as_pytorch_does(kind, line_search_fn):
    def make():
        if kind == "several":
            return [*tensors((2,), dtype=torch.float32, start=START[:2]), *tensors((3,), start=START[2:])]
        if kind.is_complex:
            return tensors((2, 1), dtype=kind, start=[1 + 2j, -1 + 0.5j])
        return tensors((2,), (3,), dtype=kind)

    def loss(params):
        if kind != "several" and kind.is_complex:
            (z,) = params
            return ((z - (0.3 - 1j)).abs() ** 2 * torch.tensor([[1.0], [30.0]])).sum() + (z**2).abs().sum()
        return rosenbrock([p.double() for p in params])

    (theirs, _, ask), (mine, params, own) = pair(make, loss, lr=0.02, max_iter=3, line_search_fn=line_search_fn)
    for _ in range(4):
        theirs.step(ask), mine.step(own)
        tolerance = 1e-9 if kind == torch.complex128 else 1e-3
        assert_alike(theirs, mine, tolerance, tolerance)
    real = torch.float64 if kind in ("several", torch.complex128) else torch.float32
    assert mine.state[params[0]]["d"].dtype == real and len(mine.state) == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(dtype):
    params = tensors((2,), dtype=dtype, start=[3.0, -4.0])
    optimizer = mt.LBFGS(params, **WOLFE)
    optimizer.step(
        closure_of(optimizer, params, lambda params: (params[0].float() ** 2 * torch.tensor([1.0, 50.0])).sum())
    )
    assert optimizer.state[params[0]]["d"].dtype == torch.float32 and params[0].dtype == dtype
    assert params[0].abs().max() < 0.02
    theirs = torch.optim.LBFGS(tensors((2,), dtype=dtype, start=[3.0, -4.0]))
    theirs.load_state_dict(optimizer.state_dict())
    assert theirs.state_dict()["state"][0]["d"].dtype == dtype  # as PyTorch keeps it
    optimizer.load_state_dict(theirs.state_dict())
    assert optimizer.state[params[0]]["d"].dtype == torch.float32


def test_a_parameter_without_a_gradient_counts_as_zeros_and_gradients_may_be_sparse():
    def make():
        return [*tensors((5, 1)), *tensors((2,), start=[7.0, 7.0])]

    def loss(params):
        looked_up = torch.nn.functional.embedding(torch.tensor([0, 3, 3]), params[0], sparse=True)
        return (looked_up**2).sum() + (looked_up.sum() - 1) ** 4

    (theirs, _, ask), (mine, params, own) = pair(make, loss, **WOLFE, max_iter=5)
    for _ in range(3):
        theirs.step(ask), mine.step(own)
        assert_alike(theirs, mine)
    assert params[1].tolist() == [7.0, 7.0] and params[1].grad is None


def test_memory_of_any_strides_is_written_in_place():
    base = torch.zeros(4, 6, dtype=torch.float64)
    param = base.t()[1:4, ::2].requires_grad_()
    optimizer = mt.LBFGS([param], **WOLFE)
    address, version = param.data_ptr(), param._version
    goal = torch.arange(6.0, dtype=torch.float64).reshape(3, 2)
    optimizer.step(closure_of(optimizer, [param], lambda params: ((params[0] - goal) ** 2).sum()))
    assert param.data_ptr() == address and param._version > version
    torch.testing.assert_close(base.t()[1:4, ::2], goal)
    assert base.sum() == goal.sum()


# State dicts ---------------------------------------------------------------------------------------------------------


def through_a_file(state_dict):
    file = io.BytesIO()
    torch.save(state_dict, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


@pytest.mark.parametrize("calls", [0, 1, 4])
@pytest.mark.parametrize("given", [{**WOLFE, "max_iter": 4, "history_size": 6}, {"lr": 0.02, "max_iter": 3}])
def test_either_loads_what_the_other_saves_and_goes_on_alike(given, calls):
    (theirs, params, ask), (mine, own_params, own) = pair(lambda: tensors((2, 1), (3,)), **given)
    for _ in range(calls):
        theirs.step(ask), mine.step(own)
    back, his_params = None, [p.detach().clone().requires_grad_() for p in own_params]
    back = torch.optim.LBFGS(his_params)
    back.load_state_dict(through_a_file(mine.state_dict()))
    forth = mt.LBFGS(copies := [p.detach().clone().requires_grad_() for p in params])
    forth.load_state_dict(through_a_file(theirs.state_dict()))
    assert (
        theirs.state_dict()["param_groups"] == forth.state_dict()["param_groups"] == mine.state_dict()["param_groups"]
    )
    for _ in range(3):
        theirs.step(ask), mine.step(own)
        back.step(closure_of(back, his_params)), forth.step(closure_of(forth, copies))
    assert_alike(theirs, forth), assert_alike(back, mine), assert_alike(theirs, mine)


def test_what_is_loaded_is_copied():
    found = []
    for cls in (torch.optim.LBFGS, mt.LBFGS):
        optimizer = cls(params := tensors((5,)), **WOLFE, max_iter=3)
        optimizer.step(closure_of(optimizer, params))
        other = mt.LBFGS(tensors((5,)))
        other.load_state_dict(optimizer.state_dict())
        found.append((optimizer, params, other, repr(other.state_dict())))
    for optimizer, params, other, before in found:
        for name in ("d", "prev_flat_grad", "old_dirs"):
            for tensor in torch.atleast_2d(*optimizer.state[params[0]][name]):
                tensor.zero_()
        assert repr(other.state_dict()) == before


def through_pickle(optimizer, params):
    return pickle.loads(pickle.dumps((optimizer, params)))


def through_deepcopy(optimizer, params):
    return copy.deepcopy((optimizer, params))


def through_a_state_dict(optimizer, params):
    params = [p.detach().clone().requires_grad_() for p in params]
    other = mt.LBFGS(params, on_nonfinite=optimizer.on_nonfinite)
    other.load_state_dict(optimizer.state_dict())
    other.skipped = optimizer.skipped
    return other, params


@pytest.mark.parametrize("calls", [0, 2])
@pytest.mark.parametrize("through", [through_pickle, through_deepcopy, through_a_state_dict])
def test_a_copy_goes_on_with_the_same_bits_and_shares_nothing(through, calls):
    params = tensors((2, 1), (3,))
    optimizer = mt.LBFGS(params, **WOLFE, max_iter=4, on_nonfinite="raise")
    optimizer.skipped = 3
    for _ in range(calls):
        optimizer.step(closure_of(optimizer, params))
    other, copies = through(optimizer, params)
    before = repr(optimizer.state_dict()), repr(params)
    for _ in range(2):
        other.step(closure_of(other, copies))
    assert (repr(optimizer.state_dict()), repr(params)) == before
    for _ in range(2):
        optimizer.step(closure_of(optimizer, params))
    assert all(torch.equal(p, q) for p, q in zip(params, copies, strict=True))
    assert repr(optimizer.state_dict()) == repr(other.state_dict())
    assert (other.on_nonfinite, other.skipped) == ("raise", 3)


def test_parameters_are_found_by_name_in_whatever_order():
    a, b = tensors((2,), (3,))
    optimizer = mt.LBFGS([("a", a), ("b", b)], **WOLFE, max_iter=4)
    for _ in range(2):
        optimizer.step(closure_of(optimizer, [a, b]))
    c, d = (p.detach().clone().requires_grad_() for p in (a, b))
    other = mt.LBFGS([("b", d), ("a", c)])
    other.load_state_dict(optimizer.state_dict())
    for _ in range(2):
        optimizer.step(closure_of(optimizer, [a, b])), other.step(closure_of(other, [c, d]))
    torch.testing.assert_close((c, d), (a, b), rtol=1e-10, atol=0)
    with pytest.raises(
        ValueError, match=r"^LBFGS.load_state_dict: the parameters of state_dict must be named x, y; got"
    ):
        mt.LBFGS([("x", a), ("y", b)]).load_state_dict(optimizer.state_dict())


def with_group(state_dict, **changes):
    return {**state_dict, "param_groups": [state_dict["param_groups"][0] | changes]}


def with_state(state_dict, **changes):
    kept = {name: value for name, value in {**state_dict["state"][0], **changes}.items() if value is not None}
    return {**state_dict, "state": {0: kept}}


REFUSED = {
    "'d' must be of vectors of length 5; got 3": lambda it: with_state(it, d=3),
    "'old_stps' must be of vectors of length 5; got (4,)": lambda it: with_state(it, old_stps=[torch.ones(4)]),
    "old_dirs, old_stps, ro must be of one length; got ": lambda it: with_state(it, ro=[]),
    "the state must be that of an L-BFGS; got ": lambda it: with_state(it, H_diag=None),
    "n_iter must be an integer of at least 0; got -1": lambda it: with_state(it, n_iter=-1),
    "state_dict must have 1 parameters; got 2": lambda it: with_group(it, params=[0, 1]),
    "only the first parameter of an L-BFGS has state; got [1]": lambda it: {**it, "state": {**it["state"], 1: {}}},
    "state_dict must be that of an L-BFGS, with one group": lambda it: {**it, "param_groups": [{"params": [0]}]},
    "lr must lie in [0, inf); got -1.0": lambda it: with_group(it, lr=-1.0),
}


@pytest.mark.parametrize("words", REFUSED)
def test_a_state_dict_that_does_not_fit_is_refused_and_nothing_lost(words):
    found = []
    for calls in (2, 1):
        params = tensors((5,))
        optimizer = mt.LBFGS(params, **WOLFE, max_iter=2)
        for _ in range(calls):
            optimizer.step(closure_of(optimizer, params))
        found.append(optimizer)
    before = repr(found[1].state_dict())
    with pytest.raises(ValueError, match=f"^LBFGS.load_state_dict: {re.escape(words)}"):
        found[1].load_state_dict(REFUSED[words](found[0].state_dict()))
    assert repr(found[1].state_dict()) == before
    found[1].load_state_dict(found[0].state_dict())


def test_that_of_another_algorithm_is_refused():
    (w,) = tensors((5,))
    adam = torch.optim.Adam([w])
    with pytest.raises(
        ValueError, match="^LBFGS.load_state_dict: state_dict must be that of an L-BFGS, with one group;"
    ):
        mt.LBFGS([w]).load_state_dict(adam.state_dict())


# Like other optimizers -----------------------------------------------------------------------------------------------


def test_it_is_one_of_pytorch_s_with_its_arguments():
    assert issubclass(mt.LBFGS, torch.optim.Optimizer) and "LBFGS" in mt.__all__
    theirs, mine = (inspect.signature(each.LBFGS).parameters for each in (torch.optim, mt))
    assert [*mine] == [*theirs, "on_nonfinite"]
    assert all(mine[name].default == theirs[name].default for name in theirs)
    (w,) = tensors((5,))
    assert repr(mt.LBFGS([w])) == repr(torch.optim.LBFGS([w]))
    assert mt.LBFGS([w]).param_groups == torch.optim.LBFGS([w]).param_groups
    model = torch.nn.Linear(2, 1)
    assert mt.LBFGS(model).param_groups[0]["param_names"] == ["weight", "bias"]


def test_schedulers_and_hooks_of_pytorch_see_it():
    params, heard = tensors((5,)), []
    optimizer = mt.LBFGS(params, lr=0.02, max_iter=2, max_eval=9)
    optimizer.register_step_pre_hook(lambda *_: heard.append("before"))
    optimizer.register_step_post_hook(lambda *_: heard.append("after"))
    optimizer.register_load_state_dict_pre_hook(lambda *_: heard.append("load"))
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 1, gamma=0.5)
    for lr in (0.02, 0.01):
        assert optimizer.lr == lr
        optimizer.step(closure_of(optimizer, params))
        assert optimizer.state[params[0]]["t"] == lr
        scheduler.step()
    optimizer.load_state_dict(optimizer.state_dict())
    assert heard == ["before", "after"] * 2 + ["load"] and optimizer.param_groups[0]["initial_lr"] == 0.02


def test_settings_are_attributes_and_checked_when_they_are_assigned_and_in_the_step():
    params = tensors((5,))
    optimizer = mt.LBFGS(params)
    optimizer.max_iter = 3
    assert optimizer.param_groups[0]["max_iter"] == 3 and optimizer.max_eval == 25
    with pytest.raises(ValueError, match=r"^LBFGS: history_size must lie in \[1, inf\); got 0.0$"):
        optimizer.history_size = 0
    optimizer.param_groups[0]["lr"] = -1.0
    with pytest.raises(ValueError, match=r"^LBFGS.step: lr must lie in \[0, inf\); got -1.0$"):
        optimizer.step(closure_of(optimizer, params))
    assert params[0].tolist() == START
    with pytest.raises(AttributeError, match="^'LBFGS' object has no attribute 'momentum'$"):
        optimizer.momentum  # noqa: B018


def test_what_has_no_sense_says_so():
    optimizer = mt.LBFGS(tensors((5,)))
    optimizer.train(), optimizer.eval()
    for ask in (mt.LBFGS.formula, mt.LBFGS.explain):
        with pytest.raises(TypeError, match="^LBFGS: it is a loop around steps, and has no rule to read; help"):
            ask()
    with pytest.raises(TypeError, match="^LBFGS.averaged: an optimizer without a rule keeps no averages; use torch"):
        optimizer.averaged()


BAD = {
    "max_iter": (2.5, TypeError, "LBFGS: max_iter must be a whole number in [0, inf); got 2.5"),
    "lr": (lambda t: 0.1, TypeError, "LBFGS: lr must be a number, and no function of the step; got "),
    "line_search_fn": ("wolfe", ValueError, "LBFGS: line_search_fn must be None or 'strong_wolfe'; got 'wolfe'"),
    "on_nonfinite": ("no", ValueError, "LBFGS: on_nonfinite must be one of 'skip', 'raise', 'propagate'; got 'no'"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_setting_that_is_not_allowed_is_refused_in_a_sentence(name):
    value, error, words = BAD[name]
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        mt.LBFGS(tensors((5,)), **{name: value})


def test_parameters_that_make_no_vector_are_refused():
    a, b = tensors((2,), (3,))
    for groups in ([{"params": [a]}, {"params": [b]}], [{"params": [a]}, {"params": [b], "lr": 0.5}]):
        with pytest.raises(ValueError, match="^LBFGS: all parameters are one vector, and must be one group; "):
            mt.LBFGS(groups)
    optimizer = mt.LBFGS([{"params": [a], "lr": 0.5}])
    assert optimizer.lr == 0.5
    with pytest.raises(ValueError, match="^LBFGS: all parameters are one vector, and must be one group; "):
        optimizer.add_param_group({"params": [b]})
    with pytest.raises(ValueError, match="^LBFGS: lr must lie in"):
        mt.LBFGS([{"params": [a], "lr": -0.5}])
    with pytest.raises(TypeError, match="^LBFGS: params must be a model or an iterable of tensors; got 3"):
        mt.LBFGS(3)
    with pytest.raises(TypeError, match="^LBFGS: parameter 1 must be floating or complex, of 16 bits or more; got "):
        mt.LBFGS([a, torch.ones(2, dtype=torch.int64)])


@pytest.mark.parametrize("closure", [None, 3.0])
def test_a_step_needs_a_closure_that_gives_the_loss_and_gradients(closure):
    params = tensors((5,))
    optimizer = mt.LBFGS(params)
    with pytest.raises(TypeError, match=f"^LBFGS.step: closure must be a function .*; got {closure}; write step"):
        optimizer.step(closure)
    with pytest.raises(ValueError, match="^LBFGS.step: closure must compute gradients, and no parameter has one; call"):
        optimizer.step(lambda: torch.tensor(1.0))
    with pytest.raises(TypeError, match="^LBFGS.step: closure must return the loss, a number or a tensor of one; got "):
        optimizer.step(lambda: torch.ones(2))
    assert params[0].tolist() == START


# What goes wrong -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("given", [{**WOLFE, "max_iter": 10}, {"lr": 0.02, "max_iter": 10}])
def test_a_closure_that_raises_leaves_the_last_step_that_was_finished(given):
    for at in range(1, 10):
        params = tensors((2,), (3,))
        optimizer, places = mt.LBFGS(params, **given), []
        inner = closure_of(optimizer, params)

        def closure(at=at, params=params, places=places, inner=inner):
            places.append([p.tolist() for p in params])
            if len(places) == at:
                raise RuntimeError("no more")
            return inner()

        with pytest.raises(RuntimeError, match="^no more$"):
            optimizer.step(closure)
        assert [p.tolist() for p in params] in places and optimizer.func_evals == at - 1
        theirs = torch.optim.LBFGS(
            copies := tensors((2,), (3,)), **{**given, "max_iter": optimizer.n_iter, "max_eval": 99}
        )
        theirs.step(closure_of(theirs, copies))
        torch.testing.assert_close(params, copies, rtol=1e-9, atol=0)
        before = rosenbrock(params).item()
        optimizer.step(inner)
        assert rosenbrock(params).item() < before


def walled(params):
    """A valley with the edge of the world beside it."""
    loss = rosenbrock(params)
    return loss if max(p.abs().max() for p in params) < 1.5 else loss * float("nan")


def test_a_search_comes_back_from_what_is_not_finite():
    params = tensors((2,), (3,))
    optimizer = mt.LBFGS(params, lr=100.0, **WOLFE, max_iter=60, max_eval=600)
    optimizer.step(closure_of(optimizer, params, walled))
    torch.testing.assert_close(params, [torch.ones_like(p) for p in params], rtol=0, atol=1e-4)
    assert optimizer.skipped == 0


def test_without_a_search_a_step_into_what_is_not_finite_is_taken_back():
    params = tensors((5,))
    optimizer = mt.LBFGS(params, lr=0.02, max_iter=3)
    optimizer.step(closure_of(optimizer, params))
    before, optimizer.lr = params[0].tolist(), 1e4
    optimizer.step(closure_of(optimizer, params, walled))
    assert params[0].tolist() == before and optimizer.n_iter == 0
    assert optimizer.state[params[0]].keys() == {"func_evals", "n_iter"}
    optimizer.step(closure_of(optimizer, params, lambda params: rosenbrock(params) * float("inf")))
    assert params[0].tolist() == before and optimizer.skipped == 1
    optimizer.on_nonfinite = "raise"
    with pytest.raises(FloatingPointError, match="^LBFGS.step: loss is inf; nothing was changed$"):
        optimizer.step(closure_of(optimizer, params, lambda params: rosenbrock(params) * float("inf")))
    theirs = torch.optim.LBFGS(copies := tensors((5,)), lr=0.02)
    mine = mt.LBFGS(params := tensors((5,)), lr=0.02, on_nonfinite="propagate")
    for each, its in ((theirs, copies), (mine, params)):
        each.step(closure_of(each, its, lambda its: rosenbrock(its) * float("nan")))
    assert copies[0].isnan().all() and params[0].isnan().all()
