"""Every option of torch.optim's algorithms does in ours what it does there: in all dtypes, groups and engines."""

import copy
import inspect
import math

import pytest
import torch
from both import DECAYING, DIFFERENCES, DTYPES, NAMES, ROUNDING, SETTINGS, Run, assert_alike, together, twins

from minima import torch as mt

KNOWN = {name: inspect.signature(getattr(torch.optim, name)).parameters for name in NAMES}
SWITCHES = [{"foreach": True}, {"fused": True}, {"foreach": False, "differentiable": False}, {"capturable": True}]


@pytest.mark.parametrize("special", [False, True], ids=["alike", "with groups that differ"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_every_option_does_what_it_does_in_pytorch(name, options, dtype, special):
    theirs, mine = twins(name, options, dtype, DIFFERENCES[name] if special else None)
    for seed in range(4):
        together(theirs, mine, count=5, seed=seed)
        assert_alike(theirs, mine)


@pytest.fixture
def precise():
    """PyTorch keeps ASGD's rate and share, and NAdam's product of momenta, in the default dtype."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("name", ["NAdam", "RAdam", "Adamax"])
def test_thirty_steps_are_pytorch_s_to_rounding_where_it_keeps_its_numbers_in_float64(name, engine, precise):
    options = {"lr": 0.1, "betas": (0.8, 0.95), "weight_decay": 0.1}
    theirs, mine = twins(name, options, special=DIFFERENCES[name], **({} if engine is None else {"engine": engine}))
    together(theirs, mine, count=30)
    assert_alike(theirs, mine)


@pytest.mark.parametrize("special", [None, DIFFERENCES["ASGD"]], ids=["alike", "with groups that differ"])
@pytest.mark.parametrize("options", [options for name, options in SETTINGS if name == "ASGD"], ids=str)
def test_where_pytorch_keeps_its_rate_in_float64_asgd_is_the_same_to_rounding(options, special, precise):
    theirs, mine = twins("ASGD", options, special=special)
    for seed in range(6):
        together(theirs, mine, count=5, seed=seed)
        for param, own in zip(theirs.params, mine.params, strict=True):
            kept, found = theirs.optimizer.state[param], mine.optimizer.state[own]
            for there, here in ((param, own), *((kept[key], found[key]) for key in kept.keys() - {"step"})):
                torch.testing.assert_close(here, there, **ROUNDING[torch.float64])


@pytest.mark.parametrize("engine", ["reference", "torch"])
@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_every_engine_does_what_pytorch_does(name, options, engine):
    theirs, mine = twins(name, options, special=DIFFERENCES[name], engine=engine)
    for seed in range(4):
        together(theirs, mine, count=5, seed=seed)
        assert_alike(theirs, mine)


@pytest.mark.parametrize(
    ("name", "switch"), [(name, each) for name in NAMES for each in SWITCHES if each.keys() <= {*KNOWN[name]}], ids=str
)
def test_switches_that_change_no_result_are_taken(name, switch):
    options = {"lr": 0.1} | ({"weight_decay": 0.1} if name in DECAYING else {})
    theirs, _ = twins(name, options)  # torch.optim's fused steps misread channels-last tensors
    _, mine = twins(name, options, special=switch)
    again = getattr(mt, name)(mine.params, **switch)
    assert {key: again.defaults[key] for key in switch} == switch
    together(theirs, mine, count=7)
    assert_alike(theirs, mine)


@pytest.mark.parametrize("name", [name for name in NAMES if "differentiable" in KNOWN[name]])
def test_what_cannot_be_had_is_refused(name, switch="differentiable"):
    w = torch.ones(1, requires_grad=True)
    for params, options in (([w], {switch: True}), ([{"params": [w], switch: True}], {})):
        with pytest.raises(ValueError, match=f"{name}: {switch} must be False; got True"):
            getattr(mt, name)(params, **options)


WITH_BETAS = [name for name in NAMES if "betas" in KNOWN[name]]
BAD = [
    *((name, {"lr": wrong}) for name in NAMES for wrong in (-0.1, -1e-8)),
    *((name, {"lr": math.nan}) for name in NAMES if name != "SGD"),
    *((name, {"weight_decay": -0.1}) for name in DECAYING),
    *((name, {"eps": wrong}) for name in NAMES if "eps" in KNOWN[name] for wrong in (-1e-8, math.nan)),
    *((name, {"betas": betas}) for name in WITH_BETAS for betas in ((1.0, 0.5), (0.5, 1.0), (-0.1, 0.5))),
    ("SGD", {"momentum": -0.1}),
    ("SGD", {"nesterov": True}),
    ("SGD", {"nesterov": True, "momentum": 0.9, "dampening": 0.3}),
    ("RMSprop", {"momentum": -0.1}),
    ("RMSprop", {"alpha": -0.1}),
    ("Adagrad", {"lr_decay": -0.1}),
    ("NAdam", {"momentum_decay": -0.1}),
    *(("Rprop", {"etas": etas}) for etas in ((0.0, 1.2), (1.0, 1.2), (0.5, 1.0))),
    ("Adagrad", {"initial_accumulator_value": -0.1}),
]
"""Settings that torch.optim refuses, each with the same kind of error."""


@pytest.mark.parametrize(("name", "options"), BAD, ids=str)
def test_what_pytorch_refuses_is_refused(name, options):
    for optim in (torch.optim, mt):
        with pytest.raises(ValueError):
            getattr(optim, name)([torch.ones(1, requires_grad=True)], **options)


@pytest.mark.parametrize("name", NAMES)
def test_a_word_that_no_constructor_has_is_a_type_error(name):
    for optim in (torch.optim, mt):
        with pytest.raises(TypeError, match="learning_rate"):
            getattr(optim, name)([torch.ones(1, requires_grad=True)], learning_rate=0.1)


@pytest.mark.parametrize("name", DECAYING)
def test_without_weight_decay_a_mask_of_infinities_stays(name, engine):
    found = []
    for optim, options in ((torch.optim, {}), (mt, {"engine": engine})):
        w = torch.tensor([-torch.inf, torch.inf, 1.0], requires_grad=True)
        optimizer = getattr(optim, name)([w], lr=0.1, weight_decay=0.0, **options)
        for weight_decay in (0.0, 0.0, 0.1, 0.0):
            optimizer.param_groups[0]["weight_decay"] = weight_decay
            w.grad = torch.tensor([0.0, 0.0, 1.0])
            optimizer.step()
            found.append(w.detach().clone())
    torch.testing.assert_close(
        torch.stack(found[4:]), torch.stack(found[:4]), equal_nan=True, **ROUNDING[torch.float32]
    )
    assert found[5][:2].tolist() == [-torch.inf, torch.inf]


@pytest.mark.parametrize("name", NAMES)
def test_a_closure_is_called_and_its_loss_returned(name):
    found = []
    for optim in (torch.optim, mt):
        w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
        optimizer, losses = getattr(optim, name)([w], lr=0.1), []

        def closure(w=w, optimizer=optimizer):
            optimizer.zero_grad()
            loss = w.square().sum()
            loss.backward()
            return loss

        losses += [optimizer.step(closure).item() for _ in range(5)]
        found.append([*losses, *w.tolist()])
    torch.testing.assert_close(*map(torch.tensor, found))


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_defaults_make_the_same_algorithm_again(name, options):
    theirs, mine = twins(name, options)
    first = type(mine.optimizer)(mine.params, **mine.optimizer.defaults)
    again = copy.deepcopy(mine.params)
    second = type(first)(again, **first.defaults)
    runs = [theirs, Run(mine.params, first), Run(again, second)]
    together(*runs, count=8)
    assert_alike(*runs)


@pytest.mark.parametrize("decay", ["decoupled", "independent", "l2"])
@pytest.mark.parametrize("name", DECAYING)
def test_defaults_say_how_weights_decay(name, decay):
    _, mine = twins(name, {"lr": 0.1, "weight_decay": 0.25}, decay=decay)
    params = copy.deepcopy(mine.params)
    again = Run(params, type(mine.optimizer)(params, **mine.optimizer.defaults))
    together(mine, again, count=3)
    assert_alike(mine, again)


SWITCHED = [
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True}, "nesterov", [True, False, True]),
    ("SGD", {"lr": 0.1, "momentum": 0.5}, "nesterov", [False, True]),
    ("SGD", {"lr": 0.1, "momentum": 0.5, "nesterov": True}, "dampening", [0, 0.5, 0.5]),
    ("Adam", {"lr": 0.1, "amsgrad": True}, "amsgrad", [True, False, False, True, True]),
    ("Adam", {"lr": 0.1, "weight_decay": 0.5}, "decoupled_weight_decay", [False, True, False]),
    ("AdamW", {"lr": 0.1, "weight_decay": 0.5}, "decoupled_weight_decay", [True, False, True]),
    ("RMSprop", {"lr": 0.1, "eps": 1e-2, "centered": True}, "centered", [True, False, False, True]),
    ("NAdam", {"lr": 0.1, "weight_decay": 0.5}, "decoupled_weight_decay", [False, True, False]),
    ("NAdam", {"lr": 0.1}, "betas", [(0.9, 0.999), (0.5, 0.9), (0.8, 0.9)]),
    ("NAdam", {"lr": 0.1}, "momentum_decay", [0.004, 1.0, 0.1]),
    ("RAdam", {"lr": 0.1, "weight_decay": 0.5}, "decoupled_weight_decay", [False, True, False]),
    ("RAdam", {"lr": 0.1}, "betas", [(0.9, 0.999), (0.9, 0.6), (0.8, 0.9)]),
    *((name, {"lr": 0.1}, "maximize", [False, True, False]) for name in NAMES),
]


@pytest.mark.parametrize(("name", "options", "flag", "values"), SWITCHED, ids=str)
def test_what_is_switched_in_a_group_acts_from_the_next_step_on(name, options, flag, values):
    runs = twins(name, options)
    for step, value in enumerate(values):
        for run in runs:
            run.optimizer.param_groups[1][flag] = value
        together(*runs, count=2, seed=step)
        assert_alike(*runs)


def test_what_cannot_be_had_is_refused_in_a_group_too_before_anything_is_changed(switch="differentiable"):
    _, mine = twins("Adam", {"lr": 0.1})
    together(mine, count=1)
    before = copy.deepcopy(mine.params)
    mine.optimizer.param_groups[1][switch] = True
    with pytest.raises(ValueError, match=f"Adam.*{switch} must be False; got True"):
        mine.optimizer.step()
    assert all(map(torch.equal, mine.params, before)) and mine.optimizer.t == 1
