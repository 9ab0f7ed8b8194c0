"""Who gets which hyperparameters: names, patterns, functions of the step, and the ways of weight decay."""

import copy
import math
import pickle
import re

import numpy as np
import pytest
from rules import BUILT_IN, GRADIENTS, Everything, able, bits, drive, give, parameters, split

from minima import Tensor, nn
from minima.optim import SGD, Adam, Optimizer, RMSProp, hyper

# Names and patterns --------------------------------------------------------------------------------------------------


def network():
    return nn.Sequential(nn.Linear(2, 3), nn.ReLU(), nn.Linear(3, 1))


def named():
    """Parameters of the usual test, with names."""
    names = ("scale", "block.0.bias", "block.0.weight", "block.1.weight", "head.bias")
    return list(zip(names, parameters("float32"), strict=True))


def test_a_module_gives_its_parameters_with_their_names():
    model = network()
    for given in (model, model.named_parameters(), [{"params": model}], [{"params": model.named_parameters()}]):
        optimizer = Adam(given)
        assert all(a is b for a, b in zip(optimizer.params, model.parameters(), strict=True))
        assert list(optimizer.state_dict()["steps"]) == ["0.weight", "0.bias", "2.weight", "2.bias"]


PATTERNS = {"*.bias": {"wd": 0.0}, "block.*": {"lr": 0.5, "wd": 0.25}, "block.1.?eight": {"lr": 9.0}, "hea[d]*": {}}


def test_a_parameter_gets_what_the_first_pattern_that_matches_says(engine):
    pairs = named()
    optimizer = Adam(pairs, lr=0.1, wd=0.125, groups=PATTERNS, **engine)
    apart = [
        {"params": [pairs[0][1]]},
        {"params": [pairs[1][1], pairs[4][1]], "wd": 0.0},
        {"params": [pairs[2][1], pairs[3][1]], "lr": 0.5, "wd": 0.25},
    ]
    assert [
        [p is q for p, q in zip(group.params, entry["params"], strict=True)]
        for group, entry in zip(optimizer.param_groups, apart, strict=True)
    ] == [[True], [True, True], [True, True]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.1, 0.1, 0.5]
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.125, 0.0, 0.25]
    assert all(p is q for p, (_, q) in zip(optimizer.params, pairs, strict=True))  # positions stay as they were given
    copies = [tensor.detach().clone().requires_grad_() for _, tensor in pairs]
    replaced = {id(tensor): copy for (_, tensor), copy in zip(pairs, copies, strict=True)}
    for entry in apart:
        entry["params"] = [replaced[id(param)] for param in entry["params"]]
    other = Adam(apart, lr=0.1, wd=0.125, **engine)
    for row in GRADIENTS:
        for params, each in ((optimizer.params, optimizer), (copies, other)):
            give(params, split(row))
            each.step()
    for mine, its in zip(optimizer.params, copies, strict=True):
        assert mine.detach().numpy().tobytes() == its.detach().numpy().tobytes()


def test_patterns_that_leave_nobody_over_make_no_empty_group():
    optimizer = SGD(network(), groups={"0.*": {"lr": 0.5}, "*": {}})
    assert [len(group.params) for group in optimizer.param_groups] == [2, 2]
    alone = SGD(network(), lr=0.1, groups={"*": {"lr": 0.5}})
    assert (alone.lr, alone.param_groups[0]["lr"]) == (0.5, 0.5)


COMPLAINTS = [
    (ValueError, "SGD: groups: no parameter matches 'haed.*'; closest is 'head.bias'", {"haed.*": {"lr": 1}}),
    (TypeError, "SGD: groups must be a dict of patterns to hyperparameters; got ['*']", ["*"]),
    (TypeError, "SGD: groups must give each pattern a dict of hyperparameters; '*' does not; got 0.1", {"*": 0.1}),
    (ValueError, "SGD, groups['*']: lr must lie in [0, inf); got -1.0", {"*": {"lr": -1}}),
    (TypeError, "SGD: there is no hyperparameter 'rate'; there are ", {"*": {"rate": 1}}),
]


@pytest.mark.parametrize(("error", "words", "groups"), COMPLAINTS, ids=[words for _, words, _ in COMPLAINTS])
def test_wrong_patterns_are_refused_in_one_sentence(error, words, groups):
    with pytest.raises(error, match=f"^{re.escape(words)}"):
        SGD(named(), groups=groups)


def test_a_pattern_may_match_in_one_of_several_groups_only():
    pairs = named()
    optimizer = Adam(
        [{"params": pairs[:3], "lr": 0.5}, {"params": [tensor for _, tensor in pairs[3:4]]}, {"params": pairs[4:]}],
        groups={"scale": {"wd": 0.25}, "head.*": {"lr": 0.75}},
    )
    assert [(len(g.params), g["lr"], g["wd"]) for g in optimizer.param_groups] == [
        (2, 0.5, 0.0),
        (1, 0.5, 0.25),
        (1, 1e-5, 0.0),
        (1, 0.75, 0.0),
    ]
    with pytest.raises(ValueError, match="^Adam: groups: no parameter matches 'hed'; closest is 'head.bias'$"):
        Adam([{"params": pairs[:4]}, {"params": pairs[4:]}], groups={"hed": {"lr": 0.75}})


def test_patterns_need_names_and_names_must_differ():
    with pytest.raises(ValueError, match=r"^Adam: groups needs parameters with names; pass the model, or its"):
        Adam(parameters("float32"), groups={"*": {}})
    a, b = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    with pytest.raises(ValueError, match=r"^Adam: parameter 1 \('w'\) has the name of parameter 0 \('w'\)"):
        Adam([("w", a), ("w", b)])
    with pytest.raises(ValueError, match=r"^Adam: parameter 1 has the name of parameter 0 \('1'\); names must differ"):
        Adam([("1", a), b])


# Functions of the step -----------------------------------------------------------------------------------------------


def rate(step):
    return 0.1 / (1 + step)


@pytest.mark.parametrize("cls", BUILT_IN)
def test_a_function_of_the_step_does_what_assigning_its_values_does(cls, engine):
    first, second = parameters("float32"), parameters("float32")
    scheduled = cls(first, lr=rate, wd=lambda step: 0.01 * step, **able(cls, engine))
    assigned = cls(second, lr=rate(0), **able(cls, engine))
    for step, row in enumerate(GRADIENTS):
        assert (scheduled.lr, scheduled.current("lr"), scheduled.current("weight_decay")) == (
            rate(step),
            rate(step),
            0.01 * step,
        )
        assert scheduled.param_groups[0]["lr"] == rate(step)
        assigned.lr, assigned.wd = rate(step), 0.01 * step
        for params, optimizer in ((first, scheduled), (second, assigned)):
            give(params, split(row))
            optimizer.step(loss=1.5)
    assert bits(scheduled) == bits(assigned)
    scheduled.lr = 0.5
    assert scheduled.lr == 0.5 == scheduled.defaults["lr"]


NUMBERS = [
    (cls, name, declared)
    for cls in (*BUILT_IN, Everything)
    for name, declared in cls.hyperparameters.items()
    if not declared.is_flag and not declared.choices
]


@pytest.mark.parametrize(
    ("cls", "name", "declared"), NUMBERS, ids=[f"{cls.__name__}-{name}" for cls, name, _ in NUMBERS]
)
def test_every_number_may_be_a_function_of_the_step(cls, name, declared, engine):
    low = max(declared.low, 0.0)
    high = min(declared.high, low + 1)
    numbers = [low + share * (high - low) for share in (0.5, 0.25, 0.75, 0.5)]
    if declared.allows(low):
        numbers[1] = low  # which may switch off a term
    scheduled = cls(parameters("float32"), **{name: lambda step: numbers[step]}, **able(cls, engine))
    assigned = cls(parameters("float32"), **{name: numbers[0]}, **able(cls, engine))
    for row, number in zip(GRADIENTS, numbers, strict=False):
        assert getattr(scheduled, name) == scheduled.param_groups[0][name] == number
        setattr(assigned, name, number)
        for optimizer in (scheduled, assigned):
            drive(optimizer, optimizer.params, [row])
        assert bits(scheduled) == bits(assigned)


def test_each_group_may_have_a_function_of_its_own_and_all_follow_the_steps_of_the_optimizer():
    optimizer = SGD(named(), lr=rate, groups={"*.bias": {"lr": lambda step: 2.0 + step}, "block.*": {"lr": 0.25}})
    seen = []
    for _ in range(3):
        seen.append([group["lr"] for group in optimizer.param_groups])
        optimizer.step()  # no gradient at all: the optimizer counts, the parameters do not
    assert seen == [[rate(0), 2.0, 0.25], [rate(1), 3.0, 0.25], [rate(2), 4.0, 0.25]]


def test_a_function_may_give_any_kind_of_number_and_an_array_without_axes():
    for value in (1, np.float32(1), np.array(1.0), Tensor(1.0).numpy()):
        assert SGD(parameters("float32"), lr=lambda step, value=value: value).lr == 1.0
        assert type(SGD(parameters("float32"), lr=lambda step, value=value: value).lr) is float


def test_a_function_that_leaves_the_range_stops_the_step_before_anything_changes(engine):
    pairs = named()
    optimizer = Adam(
        pairs, lr=0.1, groups={"*.bias": {"lr": lambda step: 0.1 if step < 2 else math.nan}}, state_dtype=None, **engine
    )
    for row in GRADIENTS[:2]:
        give(optimizer.params, split(row))
        optimizer.step()
    before = bits(optimizer)
    give(optimizer.params, split(GRADIENTS[2]))
    with pytest.raises(ValueError, match=r"^Adam, at step 2: lr must lie in \[0, inf\); got nan$"):
        optimizer.step()
    assert bits(optimizer) == before


def test_a_function_is_tried_where_it_is_given():
    with pytest.raises(ValueError, match=r"^SGD, at step 0: lr must lie in \[0, inf\); got -1.0$"):
        SGD(parameters("float32"), lr=lambda step: -1.0)
    optimizer = SGD(parameters("float32"))
    with pytest.raises(TypeError, match=r"^SGD, at step 0: momentum must be a number in \[0, 1\); got None$"):
        optimizer.momentum = lambda step: None
    with pytest.raises(TypeError, match=r"^SGD: nesterov must be True or False; got <function"):
        optimizer.nesterov = lambda step: True


def test_an_optional_number_may_be_a_function_without_a_new_program_for_every_value():
    optimizer = SGD(parameters("float32"), momentum=0.5, dampening=lambda step: 0.1 * step)
    plans = set()
    for row in GRADIENTS[:4]:
        give(optimizer.params, split(row))
        optimizer.step()
        plans.add(id(optimizer._stepper._plan))
    assert len(plans) == 1


def test_an_optimizer_with_functions_is_copied_and_pickled():
    optimizer = SGD(parameters("float32"), lr=rate)
    optimizer.step()
    for other in (copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))):
        assert other.lr == rate(1)
        other.step()
        assert (other.lr, optimizer.lr) == (rate(2), rate(1))


# Weight decay --------------------------------------------------------------------------------------------------------


class Jump(Optimizer):
    """A rule without a learning rate."""

    size: float = hyper(0.5, low=0)

    @staticmethod
    def update(param, grad, *, size):
        return param - size * grad


def test_a_rule_without_a_learning_rate_decays_by_the_coefficient_itself(engine):
    for decay, wanted in (("decoupled", 0.75 - 0.5), ("independent", 0.75 - 0.5), ("l2", 1 - 0.5 * 1.25)):
        w = Tensor([1.0], requires_grad=True)
        w.grad = Tensor([1.0])
        Jump([w], wd=0.25, decay=decay, **engine).step()
        assert w.tolist() == [wanted]


def test_the_way_of_decay_can_be_changed_between_steps(engine):
    w = Tensor([1.0], requires_grad=True)
    optimizer = SGD([w], lr=0.5, wd=0.5, **engine)
    for decay, wanted in (("decoupled", 0.75), ("independent", 0.375), ("l2", 0.28125)):
        optimizer.decay = decay
        w.grad = Tensor([0.0])
        optimizer.step()
        assert w.tolist() == [wanted]
    with pytest.raises(ValueError, match="^SGD: decay must be one of 'decoupled', 'independent', 'l2'; got 'none'"):
        optimizer.decay = "none"
    assert optimizer.decay == "l2"


def test_decay_mode_is_another_name_of_decay_everywhere():
    def made(name, way, other):
        groups = {"*.bias": {name: other}}
        return SGD([{"params": named(), name: way}], lr=0.1, wd=0.5, groups=groups), {name: way}

    (here, given), (there, also) = made("decay_mode", "l2", "independent"), made("decay", "l2", "independent")
    assert [dict(x) for x in map(without, here.param_groups)] == [dict(x) for x in map(without, there.param_groups)]
    assert [group["decay_mode"] for group in here.param_groups] == ["l2", "independent"]
    here = SGD(named(), **given)
    assert here.decay == here.decay_mode == "l2" and "decay_mode='l2'" not in repr(here)
    here.decay_mode = "independent"
    assert here.decay == "independent" and here.state_dict()["defaults"]["decay"] == "independent"
    here.param_groups[0]["decay_mode"] = "l2"
    assert here.decay == "l2" and SGD(named(), **also).decay_mode == "l2"
    assert SGD.formula(decay_mode="l2").text == SGD.formula(decay="l2").text
    assert str(SGD.explain(decay_mode="l2")).startswith("SGD, decay='l2'\n")


def without(group):
    """A group without its parameters."""
    return {name: value for name, value in group.items() if name != "params"}


def test_decay_mode_may_be_a_hyperparameter_of_a_rule():
    class Moody(Optimizer):
        decay_mode: float = hyper(default=0.5, low=0)

        @staticmethod
        def update(param, grad, *, decay_mode):
            return param - decay_mode * grad

    optimizer = Moody(named(), decay_mode=0.25, decay="l2")
    assert (optimizer.decay_mode, optimizer.decay) == (0.25, "l2")


def test_the_formula_shows_the_way_of_decay():
    assert RMSProp.formula(decay="l2").text.splitlines() == [
        "grad = grad + wd*param",
        "cache = rho*cache + (1 - rho)*grad**2",
        "param = param - lr/sqrt(cache + eps)*grad",
    ]
    assert RMSProp.formula(decay="independent").text.splitlines()[0] == "param = (1 - wd)*param"
    pytest.importorskip("sympy")
    assert r"\tilde{g}_t &= g_{t} + \lambda \theta_{t-1} \\" in RMSProp.formula(decay="l2").latex


def test_wrong_options_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="^Adam: decay must be one of 'decoupled', 'independent', 'l2'; got 'L2'$"):
        Adam(parameters("float32"), decay="L2")
    with pytest.raises(
        ValueError, match="^Adam: on_nonfinite must be one of 'propagate', 'raise', 'skip'; got 'stop'$"
    ):
        Adam(parameters("float32"), on_nonfinite="stop")


def test_a_plain_drive_is_the_same_with_and_without_names():
    first, second = parameters("float32"), parameters("float32")
    one, other = Adam(first, lr=0.1), Adam([(f"p{n}", p) for n, p in enumerate(second)], lr=0.1)
    drive(one, first)
    drive(other, second)
    assert bits(one) == bits(other)
