"""What an optimizer knows as plain data, kept and loaded again: the run goes on with the bits it would have had."""

import json
import re

import numpy as np
import pytest
from rules import CASES, GRADIENTS, Everything, Lion, Turning, bits, give, parameters, split

from minima import Tensor
from minima.optim import SGD, AdaGrad, Adam, Optimizer, RMSProp, schedules

NAMES = ("scale", "bias", "none", "weight", "odd")
STORAGE = (None, "bfloat16", "int8")


def pairs(dtype="float32"):
    return list(zip(NAMES, parameters(dtype), strict=True))


def drive(optimizer, rows):
    """Steps through rows of gradients; every third step leaves the parameter 'weight' out."""
    by_name = dict(zip(NAMES, range(5), strict=True))
    for number, row in enumerate(rows):
        parts = split(row)
        order = [by_name[slot.key] for slot in optimizer._slots]
        give(optimizer.params, [None if place == 3 and number % 3 == 0 else parts[place] for place in order])
        optimizer.step()


def moved(optimizer, target):
    """Writes the parameters of one optimizer into those of another that has the same names."""
    values = {slot.key: slot.tensor.detach().numpy() for slot in optimizer._slots}
    for slot in target._slots:
        slot.tensor.data = values[slot.key].copy()


def through_json(state):
    """The state with all that is no array written to JSON and read again: it is plain."""
    arrays = state["state"]
    return json.loads(json.dumps({name: value for name, value in state.items() if name != "state"})) | {"state": arrays}


@pytest.mark.parametrize("state_dtype", STORAGE)
@pytest.mark.parametrize("case", CASES[::3], ids=str)
def test_a_run_that_was_kept_and_loaded_goes_on_with_the_same_bits(case, state_dtype, engine):
    whole = case.cls(pairs(), **case.hypers, state_dtype=state_dtype, **engine)
    drive(whole, GRADIENTS[:5])
    state = through_json(whole.state_dict())
    resumed = case.cls(pairs(), state_dtype=state_dtype, **engine)
    moved(whole, resumed)
    report = resumed.load_state_dict(state)
    assert report == ([], []) and bits(resumed) == bits(whole)
    for optimizer in (whole, resumed):
        drive(optimizer, GRADIENTS[5:])
    assert bits(resumed) == bits(whole) and resumed.defaults == whole.defaults and resumed.decay == whole.decay


def test_parameters_in_another_order_are_found_by_their_names(engine):
    whole = Adam(pairs(), lr=0.1, **engine)
    drive(whole, GRADIENTS[:4])
    resumed = Adam(pairs()[::-1], **engine)
    moved(whole, resumed)
    resumed.load_state_dict(whole.state_dict())
    for optimizer in (whole, resumed):
        drive(optimizer, GRADIENTS[4:])
    mine, theirs = whole.state_dict(), resumed.state_dict()
    assert mine["steps"] == theirs["steps"] and mine["state"].keys() == theirs["state"].keys()
    for name, tensor in zip(NAMES, whole.params, strict=True):
        assert tensor.tolist() == resumed.params[::-1][NAMES.index(name)].tolist()
        assert all((array == theirs["state"][name][key]).all() for key, array in mine["state"][name].items())


def test_parameters_without_names_are_found_by_their_positions():
    first, second = Adam(parameters("float32"), lr=0.1), Adam(parameters("float32"))
    give(first.params, split(GRADIENTS[0]))
    first.step()
    state = first.state_dict()
    assert list(state["steps"]) == ["0", "1", "2", "3", "4"]
    second.load_state_dict(state)
    assert second.exp_avg[3].tolist() == first.exp_avg[3].tolist() != 0 and second.steps == (1,) * 5


def test_a_state_dict_is_a_snapshot_and_loading_one_makes_no_alias():
    optimizer = Adam(pairs(), lr=0.1)
    drive(optimizer, GRADIENTS[:2])
    state = optimizer.state_dict()
    before = state["state"]["weight"]["exp_avg"].copy()
    other = Adam(pairs())
    other.load_state_dict(state)
    for each in (optimizer, other):
        drive(each, GRADIENTS[2:4])
    assert np.array_equal(state["state"]["weight"]["exp_avg"], before) and state["t"] == 2


def test_state_is_written_into_the_arrays_that_are_there():
    optimizer = Adam(pairs(), lr=0.1)
    drive(optimizer, GRADIENTS[:2])
    state = optimizer.state_dict()
    view = optimizer.exp_avg[3]
    drive(optimizer, GRADIENTS[2:4])
    optimizer.load_state_dict(state)
    assert view.tolist() == state["state"]["weight"]["exp_avg"].tolist()


def test_the_state_of_every_storage_is_what_is_kept():
    for state_dtype, kinds in zip(STORAGE, (("float32",), ("uint16",), ("uint8", "float32")), strict=True):
        optimizer = RMSProp(pairs(), state_dtype=state_dtype)
        drive(optimizer, GRADIENTS[:1])
        entry = optimizer.state_dict()["state"]["odd"]
        assert list(entry) == ["cache", "cache.scale"][: len(kinds)]
        assert tuple(str(array.dtype) for array in entry.values()) == kinds


# Hyperparameters and groups ------------------------------------------------------------------------------------------


def test_hyperparameters_and_groups_are_loaded_with_what_they_inherit():
    groups = {"*ias": {"wd": 0.0, "lr": 0.5}, "w*": {"lr": 0.25}}
    saved = Adam(pairs(), lr=0.1, beta1=0.5, groups=groups).state_dict()
    assert saved["groups"] == [
        {"params": ["scale", "none", "odd"]},
        {"params": ["bias"], "weight_decay": 0.0, "lr": 0.5},
        {"params": ["weight"], "lr": 0.25},
    ]
    optimizer = Adam(pairs()[::-1], groups={"weight": {"eps": 1.0}, "bias": {}})
    optimizer.load_state_dict(saved)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.25, 0.5] and optimizer.beta1 == 0.5
    assert [group["eps"] for group in optimizer.param_groups] == [1e-8] * 3  # what a group had of its own is gone
    optimizer.lr = 0.75
    assert [group["lr"] for group in optimizer.param_groups] == [0.75, 0.25, 0.5]


def test_other_groups_are_refused_unless_told_otherwise():
    saved = Adam(pairs(), lr=0.1, groups={"bias": {"lr": 0.5}}).state_dict()
    optimizer = Adam(pairs(), lr=0.2, groups={"weight": {"lr": 0.75}})
    words = r"^Adam.load_state_dict: group 0 \(4 parameters\) must be a group of the state_dict too; make the optimizer"
    with pytest.raises(ValueError, match=words):
        optimizer.load_state_dict(saved)
    optimizer.load_state_dict(saved, strict=False)
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.75]


def test_a_part_of_the_parameters_takes_over_the_hyperparameters_of_its_group():
    saved = Adam(pairs(), lr=0.1, beta1=0.5, groups={"bias": {"lr": 0.5}}).state_dict()
    optimizer = Adam(pairs()[1:2])
    optimizer.load_state_dict(saved, strict=False)
    assert (optimizer.lr, optimizer.beta1, optimizer.param_groups[0]["lr"]) == (0.5, 0.5, 0.5)


def test_the_state_of_another_model_is_refused_by_the_names_of_its_parameters():
    others = [(f"other.{name}", tensor) for name, tensor in pairs()]
    with pytest.raises(ValueError) as caught:
        Adam(pairs()).load_state_dict(Adam(others).state_dict())
    assert all(f"'{name}/t'" in str(caught.value) and f"'other.{name}/t'" in str(caught.value) for name in NAMES)


def rate(step):
    return 1 / (1 + step)


class Remembering:
    """A function of the step that keeps its state to itself."""

    def __call__(self, step):
        return 0.5

    def state_dict(self):
        return {"k": 1}


def test_of_a_function_that_is_no_schedule_only_the_name_is_kept():
    saved = through_json(SGD(pairs(), lr=Remembering()).state_dict())
    assert saved["defaults"]["lr"] == {"function": "Remembering"}
    mine = Remembering()
    optimizer = SGD(pairs(), lr=mine)
    optimizer.load_state_dict(saved)
    assert optimizer.defaults["lr"] is mine


def test_a_function_that_describes_nothing_of_itself_stays_that_of_the_optimizer():
    saved = through_json(SGD(pairs(), lr=rate).state_dict())
    assert saved["defaults"]["lr"] == {"function": "rate"}
    optimizer = SGD(pairs(), lr=rate)
    optimizer.load_state_dict(saved)
    assert optimizer.defaults["lr"] is rate
    with pytest.raises(
        ValueError, match="^SGD.load_state_dict: lr was the function rate, which no state_dict can hold"
    ):
        SGD(pairs(), lr=0.1).load_state_dict(saved)


# State that a variant of the rule does without ------------------------------------------------------------------------


@pytest.mark.parametrize("state_dtype", STORAGE)
@pytest.mark.parametrize("saved", [0.0, 0.5])
@pytest.mark.parametrize("present", [0.0, 0.5])
def test_momentum_s_average_is_loaded_where_it_was_kept_and_missed_nowhere(saved, present, state_dtype, engine):
    whole = SGD(pairs(), lr=0.1, momentum=saved, state_dtype=state_dtype, **engine)
    drive(whole, GRADIENTS[:4])
    state = whole.state_dict()
    assert all(([*entry] == []) == (saved == 0) for entry in state["state"].values())
    resumed = SGD(pairs(), momentum=present, state_dtype=state_dtype, **engine)
    drive(resumed, GRADIENTS[4:6])
    moved(whole, resumed)
    assert resumed.load_state_dict(state) == ([], []) and resumed.momentum == saved
    assert bits(resumed) == bits(whole)
    for momentum, rows in ((saved, GRADIENTS[4:6]), (0.75, GRADIENTS[6:])):
        for optimizer in (whole, resumed):
            optimizer.momentum = momentum
            drive(optimizer, rows)
        assert bits(resumed) == bits(whole)


def test_an_average_that_is_left_alone_is_kept_and_loaded_too(engine):
    whole = SGD(pairs(), lr=0.1, momentum=0.5, **engine)
    drive(whole, GRADIENTS[:2])
    whole.momentum = 0.0
    drive(whole, GRADIENTS[2:4])
    resumed = SGD(pairs(), **engine)
    moved(whole, resumed)
    assert resumed.load_state_dict(whole.state_dict()) == ([], [])
    for optimizer in (whole, resumed):
        optimizer.momentum = 0.5
        drive(optimizer, GRADIENTS[4:])
    assert bits(resumed) == bits(whole)


@pytest.mark.parametrize("saved", [False, True])
def test_state_in_8_bits_is_loaded_with_a_sign_or_without_as_it_was_kept(saved, engine):
    whole = Turning(pairs(), signed=saved, state_dtype="int8", **engine)
    resumed = Turning(pairs(), signed=not saved, state_dtype="int8", **engine)
    drive(whole, GRADIENTS[:3])
    moved(whole, resumed)
    assert resumed.load_state_dict(whole.state_dict()) == ([], []) and bits(resumed) == bits(whole)
    for optimizer in (whole, resumed):
        optimizer.signed = not saved
        drive(optimizer, GRADIENTS[3:])
    assert bits(resumed) == bits(whole)


def test_state_that_no_variant_does_without_must_be_there():
    state = Adam(pairs()).state_dict()
    del state["state"]["odd"]["exp_avg"]
    with pytest.raises(ValueError, match=r"missing 'odd/exp_avg'; nothing was loaded"):
        Adam(pairs()).load_state_dict(state)


def test_a_state_dict_of_an_earlier_version_is_loaded():
    """It had the way of decay beside the defaults, and no rounding, seed and maximize."""
    optimizer = SGD(pairs(), lr=0.1, momentum=0.5, decay="l2")
    drive(optimizer, GRADIENTS[:2])
    state = optimizer.state_dict()
    for name in ("rounding", "seed"):
        del state[name]
    for name in ("decay", "maximize", "cautious", "max_norm", "ema_decay"):
        del state["defaults"][name]
    resumed = SGD(pairs(), maximize=True, rounding="stochastic", seed=3, cautious=True, max_norm=2.0, ema_decay=0.5)
    resumed.load_state_dict(state | {"decay": "l2"})
    assert (resumed.decay, resumed.maximize, resumed.rounding, resumed.seed) == ("l2", False, "stochastic", 3)
    assert (resumed.cautious, resumed.max_norm, resumed.ema_decay) == (True, 2.0, 0.5)
    assert resumed.u[3].tolist() == optimizer.u[3].tolist()


# What does not fit ---------------------------------------------------------------------------------------------------


def broken(change):
    optimizer = Adam(pairs(), lr=0.5)
    drive(optimizer, GRADIENTS[:2])
    state = optimizer.state_dict()
    change(state)
    return state


def remove(*path):
    def change(state):
        for name in path[:-1]:
            state = state[name]
        del state[path[-1]]

    return change


def put(value, *path):
    def change(state):
        for name in path[:-1]:
            state = state[name]
        state[path[-1]] = value

    return change


def both(*changes):
    return lambda state: [change(state) for change in changes]


WHO = "Adam.load_state_dict: "
FIT = f"{WHO}state_dict must fit the optimizer: "
MISFITS = [
    (
        f"{WHO}state_dict must be what an optimizer's state_dict() gave; got ['algorithm', 'rounding'",
        remove("state_dtype"),
    ),
    (f"{WHO}state_dict must be that of an optimizer with algorithm 'Adam'; got 'SGD'", put("SGD", "algorithm")),
    (f"{WHO}state_dict must be that of an optimizer with state_dtype None; got 'int8'", put("int8", "state_dtype")),
    (f"{WHO}decay must be one of 'decoupled', 'independent', 'l2'; got 'L1'", put("L1", "defaults", "decay")),
    (f"{WHO}t must be an integer in [0, 4611686018427387904); got -1", put(-1, "t")),
    (f"{WHO}t must be an integer in [0, 4611686018427387904); got 4611", put(2**62, "t")),
    (f"{WHO}seed must be an integer of at least 0; got -1", put(-1, "seed")),
    (f"{WHO}'new' must be a list of names of parameters; got 3", put(3, "new")),
    (f"{WHO}'new' must be a list of names of parameters; got [[0]]", put([[0]], "new")),
    (f"{WHO}rounding must be one of 'stochastic', 'nearest', 'master'; got 'up'", put("up", "rounding")),
    (f"{WHO}maximize must be one of False, True; got 1", put(1, "defaults", "maximize")),
    (f"{WHO}steps of 'odd' must be an integer in [0, 4611686018427387904); got 1.5", put(1.5, "steps", "odd")),
    (f"{WHO}steps of 'odd' must be an integer in [0, 4611686018427387904); got 4611", put(2**62, "steps", "odd")),
    (f"{WHO}lr must lie in [0, inf); got -1.0", put(-1, "defaults", "lr")),
    ("Adam: there is no hyperparameter 'rho'", put(0.5, "defaults", "rho")),
    (f"{WHO}hyperparameters must be a dict; got 3", put(3, "defaults")),
    (
        f"{WHO}defaults must hold every hyperparameter; beta2, eps is missing; nothing was loaded",
        both(remove("defaults", "beta2"), remove("defaults", "eps")),
    ),
    (f"{WHO}weight_decay is given twice", put(0.5, "defaults", "wd")),
    (f"{WHO}groups must be a list of dicts with 'params'; got 3", put(3, "groups")),
    (f"{WHO}'state' and 'steps' must be dicts by the names of parameters; got 3", put(3, "state")),
    (f"{WHO}'state' and 'steps' must be dicts by the names of parameters; got None", put(None, "steps")),
    ("from_dict: schedule must be one of ", put({"schedule": "nosuch"}, "defaults", "lr")),
    ("from_dict: schedule must be one of ", put({"schedule": [1]}, "defaults", "lr")),
    (
        f"{FIT}missing 'bias/exp_avg', 'bias/exp_avg_sq', 'bias/t', unexpected 'more/exp_avg', 'more/t'",
        both(
            remove("state", "bias"),
            put({"exp_avg": np.zeros(1)}, "state", "more"),
            remove("steps", "bias"),
            put(3, "steps", "more"),
        ),
    ),
    (f"{FIT}'odd/exp_avg' has shape (4,) where (5,) is needed", put(np.zeros(4, "f4"), "state", "odd", "exp_avg")),
    (f"{FIT}'odd/exp_avg' is float64 where float32 is needed", put(np.zeros(5), "state", "odd", "exp_avg")),
    (f"{FIT}'odd/exp_avg' cannot be read as an array", put([[1], [1, 2]], "state", "odd", "exp_avg")),
]


@pytest.mark.parametrize(("words", "change"), MISFITS, ids=[words for words, _ in MISFITS])
def test_what_does_not_fit_is_refused_in_one_sentence_and_changes_nothing(words, change):
    optimizer = Adam(pairs(), lr=0.1)
    drive(optimizer, GRADIENTS[:3])
    before = bits(optimizer), dict(optimizer.defaults)
    with pytest.raises((TypeError, ValueError), match=f"^{re.escape(words)}"):
        optimizer.load_state_dict(broken(change))
    assert (bits(optimizer), optimizer.defaults) == before


def test_without_strictness_what_has_no_counterpart_stays_and_is_reported():
    state = broken(both(remove("state", "bias"), remove("steps", "bias"), put({"u": np.zeros(1)}, "state", "more")))
    optimizer = Adam(pairs())
    drive(optimizer, GRADIENTS[:3])
    kept = optimizer.exp_avg[1].tolist()
    report = optimizer.load_state_dict(state, strict=False)
    assert sorted(report.missing_keys) == ["bias/exp_avg", "bias/exp_avg_sq", "bias/t"]
    assert report.unexpected_keys == ["more/u"]
    assert optimizer.exp_avg[1].tolist() == kept and optimizer.steps == (2, 3, 2, 1, 2)


def test_an_imperative_optimizer_keeps_its_hyperparameters_and_its_count():
    class Plain(Optimizer):
        lr: float = 0.1

        def step(self):
            for p in self.params:
                p.data = p.data - self.lr * p.grad.data

    optimizer = Plain([Tensor([1.0], requires_grad=True)])
    optimizer.params[0].grad = Tensor([1.0])
    optimizer.step()
    other = Plain([Tensor([1.0], requires_grad=True)])
    other.load_state_dict(optimizer.state_dict())
    assert other.t == 1


@pytest.mark.parametrize("cls", [Lion, Everything])
def test_a_user_s_rule_has_all_of_it(cls):
    optimizer = cls(pairs())
    drive(optimizer, GRADIENTS[:3])
    other = cls(pairs())
    moved(optimizer, other)
    other.load_state_dict(optimizer.state_dict())
    assert bits(other) == bits(optimizer)


# Schedules -----------------------------------------------------------------------------------------------------------


def test_schedules_are_kept_as_they_describe_themselves_and_come_back_equal():
    lr = schedules.cosine(0.1, steps=20, warmup=3)
    optimizer = Adam(pairs(), lr=lr, groups={"bias": {"lr": 0.5 * lr}})
    drive(optimizer, GRADIENTS[:4])
    other = Adam(pairs(), groups={"bias": {}})
    moved(optimizer, other)
    other.load_state_dict(through_json(optimizer.state_dict()))
    assert other.defaults["lr"] == lr and other.lr == lr(4) and other.param_groups[1]["lr"] == 0.5 * lr(4)
    for each in (optimizer, other):
        drive(each, GRADIENTS[4:])
    assert bits(optimizer) == bits(other)


def test_a_schedule_that_remembers_is_loaded_into_the_one_that_is_there():
    first = schedules.reduce_on_plateau(0.1, factor=0.5, patience=0)
    optimizer = SGD(pairs(), lr=first)
    for metric in (1.0, 2.0, 3.0):
        first.observe(metric)
    state = through_json(optimizer.state_dict())
    mine = schedules.reduce_on_plateau(0.1, factor=0.5, patience=0)
    other = SGD(pairs(), lr=mine)
    other.load_state_dict(state)
    assert other.defaults["lr"] is mine and other.lr == optimizer.lr == 0.025
    mine.observe(4.0)
    assert other.lr == 0.0125 and optimizer.lr == 0.025


@pytest.mark.parametrize(
    "around",
    [
        lambda inner: 0.5 * inner,
        lambda inner: schedules.warmup(inner, steps=2),
        lambda inner: schedules.join([schedules.constant(0.3), schedules.warmup(0.5 * inner, steps=3)], at=[4]),
    ],
)
def test_a_schedule_that_remembers_inside_of_another_is_loaded_into_the_one_that_is_there(around):
    first, mine = (schedules.reduce_on_plateau(0.1, factor=0.5, patience=0) for _ in range(2))
    optimizer, other = SGD(pairs(), lr=around(first)), SGD(pairs(), lr=around(mine))
    for metric in (1.0, 2.0):
        first.observe(metric)
    other.load_state_dict(through_json(optimizer.state_dict()))
    assert mine == first and other.defaults["lr"] == optimizer.defaults["lr"]
    mine.observe(3.0)
    other.t = optimizer.t = 20
    assert other.lr == optimizer.lr / 2


def test_a_schedule_of_another_build_takes_the_place_of_the_one_that_is_there():
    saved = SGD(pairs(), lr=schedules.join([schedules.constant(0.1), schedules.constant(0.2)], at=[4])).state_dict()
    other = SGD(pairs(), lr=schedules.join([schedules.constant(0.3)], at=[]))
    other.load_state_dict(saved)
    assert other.defaults["lr"].state_dict() == saved["defaults"]["lr"]


def test_an_unknown_schedule_is_refused():
    state = Adam(pairs()).state_dict()
    state["defaults"]["lr"] = {"schedule": "zigzag"}
    with pytest.raises((TypeError, ValueError), match="zigzag"):
        Adam(pairs()).load_state_dict(state)


def test_state_that_no_step_has_used_is_new_after_loading_too(engine):
    def begun():
        w = Tensor([1.0, 2.0], requires_grad=True)
        optimizer = SGD([w], lr=1.0, dampen_first=False, on_nonfinite="skip", **engine)
        give(optimizer.params, [[1.0, 1.0]])
        optimizer.step()
        return optimizer

    def used_later(optimizer):
        optimizer.momentum = 0.5
        give(optimizer.params, [[np.nan, 1.0]])
        optimizer.step()  # makes an average, and is skipped

    def counted_anew(optimizer):
        optimizer.momentum = 0.5
        optimizer.step()
        optimizer.set_steps(0)

    for act in (used_later, counted_anew):
        optimizer, other = begun(), begun()
        act(optimizer)
        other.params[0].data = optimizer.params[0]
        other.load_state_dict(optimizer.state_dict())
        for each in (optimizer, other):
            give(each.params, [[1.0, 1.0]])
            each.step()
        assert bits(optimizer) == bits(other)


def test_options_that_a_state_dict_does_not_know_are_what_they_are_by_default():
    for made, options in (
        (lambda p: Adam(p, lr=0.1), {"amsgrad", "eps_hat", "eps_root", "max_hat"}),
        (lambda p: RMSProp(p, lr=0.1), {"momentum", "centered", "eps_inside"}),
        (lambda p: AdaGrad(p, lr=0.1), {"initial", "eps_inside", "lr_decay"}),
    ):
        optimizer, other = made(pairs()), made(pairs())
        drive(optimizer, GRADIENTS[:3])
        state = optimizer.state_dict()
        assert options <= state["defaults"].keys()
        for name in options:
            del state["defaults"][name]
        other.load_state_dict(state)
        assert other.defaults == optimizer.defaults
        moved(optimizer, other)
        drive(optimizer, GRADIENTS[3:6])
        drive(other, GRADIENTS[3:6])
        assert bits(other) == bits(optimizer)


def test_a_number_that_was_none_in_earlier_versions_is_what_it_is_by_default():
    optimizer = AdaGrad(pairs(), initial=0.5)
    state = optimizer.state_dict()
    state["defaults"]["initial"] = None
    optimizer.load_state_dict(state)
    assert optimizer.initial == 0.0
