"""Groups and attributes in PyTorch's words: betas are a pair, groups are plain dicts, and what is misspelt is said."""

import copy
import pickle
import re
from functools import partial

import numpy as np
import pytest
import torch
from both import DECAYING, NAMES, SETTINGS, Run, assert_alike, assert_groups, grouped, plain, together, twins
from tensors import parameters
from torch import nn

from minima import optim
from minima import torch as mt
from minima.optim.rules import RULES

PAIRS = {
    "tuple": tuple,
    "list": list,
    "NumPy array": np.array,
    "tensor": lambda pair: torch.tensor(pair, dtype=torch.float64),
    "tensors": lambda pair: tuple(torch.tensor(beta, dtype=torch.float64) for beta in pair),
    "NumPy numbers": lambda pair: tuple(np.array(pair)),
}
"""Kinds of sequences of two numbers."""


def put(group, groups, betas):
    group["betas"] = betas


def updated(group, groups, betas):
    group.update(betas=betas)


def set_as_default(group, groups, betas):
    del group["betas"]
    group.setdefault("betas", betas)


def united(group, groups, betas):
    group |= {"betas": betas}


def replaced(group, groups, betas):
    groups[0] = {**group, "betas": betas}


WAYS = [put, updated, set_as_default, united, replaced]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("kind", PAIRS)
def test_betas_may_be_any_two_numbers_written_in_any_way(kind, way):
    theirs, mine = twins("Adam", {"lr": 0.1})
    together(theirs, mine, count=2)
    theirs.optimizer.param_groups[0]["betas"] = (0.5, 0.75)
    way(mine.optimizer.param_groups[0], mine.optimizer.param_groups, PAIRS[kind]((0.5, 0.75)))
    together(theirs, mine, count=3, seed=1)
    assert_alike(theirs, mine)


@pytest.mark.parametrize("kind", PAIRS)
def test_betas_of_a_constructor_or_a_group_may_be_any_two_numbers(kind):
    theirs, mine = twins("Adam", {"betas": (0.5, 0.75)}, special={"betas": (0.25, 0.5)})
    pairs = [PAIRS[kind](pair) for pair in ((0.5, 0.75), (0.25, 0.5))]
    made = mt.Adam(grouped(mine.params, {"betas": pairs[1]}), betas=pairs[0])
    assert [tuple(map(float, group["betas"])) for group in made.param_groups] == [(0.5, 0.75), (0.25, 0.5)]
    assert all(type(group["betas"]) is tuple for group in made.param_groups)
    runs = theirs, Run(mine.params, made)
    together(*runs, count=3)
    assert_alike(*runs)


@pytest.mark.parametrize(
    "wrong", [0.5, (0.5,), (0.5, 0.6, 0.7), "ab", (1.5, 0.5), (0.5, None), {0.5: 1, 0.6: 2}], ids=str
)
def test_betas_that_are_no_pair_of_numbers_are_one_sentence_and_change_nothing(wrong):
    _, mine = twins("Adam", {"lr": 0.1})
    together(mine, count=1)
    before = copy.deepcopy(mine.params)
    group = mine.optimizer.param_groups[0]
    kept, group["betas"] = group["betas"], wrong
    with pytest.raises((TypeError, ValueError), match="Adam.*beta") as caught:
        mine.optimizer.step()
    assert "\n" not in str(caught.value)
    assert all(map(torch.equal, mine.params, before)) and mine.optimizer.t == 1
    group["betas"] = kept
    mine.optimizer.step()
    with pytest.raises((TypeError, ValueError), match="Adam.*beta"):
        mt.Adam(parameters(), betas=wrong)


@pytest.mark.parametrize("name", NAMES)
def test_groups_are_plain_dicts_whose_keys_say_what_can_be_scheduled(name):
    (group,) = getattr(mt, name)(parameters()).param_groups
    (their,) = getattr(torch.optim, name)(parameters()).param_groups
    assert type(group) is dict
    assert [key for key in group if key in ("betas", "momentum")] == [
        key for key in their if key in ("betas", "momentum")
    ]
    assert {**group}.keys() == set(group) == their.keys()
    assert plain(copy.copy(group)) == plain(their)


MISSES = {
    "wd": "weight_decay",
    "weight-decay": "weight_decay",
    "learning_rate": "lr",
    "beta1": "betas",
    "Lr": "lr",
    "max_imize": "maximize",
}


@pytest.mark.parametrize("way", ["assigned", "given"])
@pytest.mark.parametrize("wrong", MISSES)
def test_a_near_miss_in_a_group_is_one_sentence_that_says_what_was_meant(wrong, way):
    params = parameters()
    if way == "given":
        if wrong in ("wd", "beta1"):
            return  # what constructors take
        with pytest.raises(TypeError, match=f"Adam.*{wrong}.*{MISSES[wrong]}") as caught:
            mt.Adam([{"params": params, wrong: 0.5}])
    else:
        run = Run(params, mt.Adam(params))
        together(run, count=1)
        run.optimizer.param_groups[0][wrong] = 0.5
        before = copy.deepcopy(params)
        with pytest.raises(TypeError, match=f"Adam.*{wrong}.*{MISSES[wrong]}") as caught:
            run.optimizer.step()
        assert all(map(torch.equal, params, before)) and run.optimizer.t == 1
        del run.optimizer.param_groups[0][wrong]
        run.optimizer.step()
    assert "\n" not in str(caught.value)


def test_what_schedulers_and_others_keep_in_groups_stays_there():
    params = parameters()
    theirs = {"initial_lr": 0.1, "max_momentum": 0.9, "swa_lr": 0.1, "lr_scale": 0.5, "name": "head", 3: "three"}
    optimizer = mt.Adam([{"params": params, **theirs}])
    optimizer.param_groups[0]["lr_mult"] = 2.0
    together(Run(params, optimizer), count=2)
    assert {**theirs, "lr_mult": 2.0}.items() <= optimizer.param_groups[0].items()


# Attributes ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        *((name, "lr", 0.5) for name in NAMES),
        *((name, "weight_decay", 0.25) for name in DECAYING),
        ("Adam", "betas", (0.5, 0.75)),
        ("SGD", "momentum", 0.5),
        ("RMSprop", "alpha", 0.5),
        ("Adagrad", "lr_decay", 0.5),
        ("Adam", "lr", torch.tensor(0.5, dtype=torch.float64)),
    ],
)
def test_an_assigned_hyperparameter_reaches_all_groups(name, key, value):
    theirs, mine = twins(name, {})
    setattr(mine.optimizer, key, value)
    assert getattr(mine.optimizer, key) == value
    for group in theirs.optimizer.param_groups:
        group[key] = value
    assert_groups(theirs.optimizer, mine.optimizer)
    together(theirs, mine, count=3)
    assert_alike(theirs, mine)


def test_groups_that_differ_have_no_single_value():
    _, mine = twins("Adam", {"lr": 0.5}, special={"lr": 0.25})
    for act in (lambda: mine.optimizer.lr, lambda: setattr(mine.optimizer, "lr", 1.0)):
        with pytest.raises((AttributeError, ValueError), match=r"Adam.*lr.*0\.5.*0\.25.*param_groups") as caught:
            act()
        assert "\n" not in str(caught.value)
    assert [group["lr"] for group in mine.optimizer.param_groups] == [0.5, 0.25]
    assert mine.optimizer.eps == 1e-8


def test_an_assigned_hyperparameter_is_checked_before_anything_is_changed():
    _, mine = twins("Adam", {"lr": 0.5})
    before = [plain(group) for group in mine.optimizer.param_groups]
    for key, wrong in (("lr", -1.0), ("betas", (0.5, 1.5)), ("betas", 0.5), ("eps", "small")):
        with pytest.raises((TypeError, ValueError), match="^Adam"):
            setattr(mine.optimizer, key, wrong)
    assert [plain(group) for group in mine.optimizer.param_groups] == before


@pytest.mark.parametrize(
    ("wrong", "meant"), [("learning_rate", "lr"), ("beta1", "betas"), ("weight_deacy", "weight_decay")]
)
def test_a_misspelt_attribute_is_refused(wrong, meant):
    _, mine = twins("Adam", {})
    with pytest.raises(AttributeError, match=f"^Adam.*{wrong}.*{meant}"):
        setattr(mine.optimizer, wrong, 0.5)


# Constructors --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", DECAYING)
def test_wd_is_the_constructor_s_other_word_for_weight_decay(name):
    theirs, mine = twins(name, {"weight_decay": 0.25})
    spelt = getattr(mt, name)(mine.params, wd=0.25)
    assert spelt.defaults == theirs.optimizer.defaults
    assert "wd" not in spelt.param_groups[0]
    with pytest.raises(TypeError, match=f"^{name}.*(wd|weight_decay).*twice"):
        getattr(mt, name)(mine.params, wd=0.25, weight_decay=0.25)


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_a_model_may_be_given_for_its_parameters(name, named):
    model = nn.Sequential(nn.Linear(2, 3), nn.Linear(3, 1))
    optimizer = getattr(mt, name)(model, lr=0.5, **({"groups": {"*.bias": {"lr": 0.25}}} if named else {}))
    listed = [param for group in optimizer.param_groups for param in group["params"]]
    assert {id(param) for param in listed} == {id(param) for param in model.parameters()}
    assert [group["lr"] for group in optimizer.param_groups] == ([0.5, 0.25] if named else [0.5])


@pytest.mark.parametrize("decay", ["decoupled", "independent"])
@pytest.mark.parametrize("name", DECAYING)
def test_decay_chooses_how_weights_decay(name, decay):
    """Decoupled decay is that of torch.optim without decay, whose parameters shrink before each step."""
    more = {"momentum": 0.9} if name == "SGD" else {}
    theirs, _ = twins(name, {"lr": 0.1, "weight_decay": 0.0, **more})
    _, mine = twins(name, {"lr": 0.1, "weight_decay": 0.25, **more}, decay=decay)
    draw = torch.Generator().manual_seed(0)
    for _ in range(5):
        for param, own in zip(theirs.params, mine.params, strict=True):
            param.grad = torch.randn(param.shape, generator=draw, dtype=param.dtype)
            own.grad = param.grad.clone()
            with torch.no_grad():
                param.mul_(1 - (0.1 if decay == "decoupled" else 1.0) * 0.25)
        theirs.optimizer.step()
        mine.optimizer.step()
    assert_alike(theirs, mine)


@pytest.mark.parametrize("name", DECAYING)
def test_decay_l2_is_a_penalty(name):
    theirs, _ = twins("Adam" if name == "AdamW" else name, {"lr": 0.1, "weight_decay": 0.25})
    _, mine = twins(name, {"lr": 0.1, "weight_decay": 0.25}, decay="l2")
    together(theirs, mine, count=5)
    assert_alike(theirs, mine)


@pytest.mark.parametrize("name", ["Adam", "AdamW"])
def test_decay_and_pytorch_s_flag_are_not_given_together(name):
    with pytest.raises(TypeError, match=f"^{name}.*decay.*decoupled_weight_decay"):
        getattr(mt, name)(parameters(), decay="l2", decoupled_weight_decay=True)


def test_an_adapted_rule_is_minima_s_own_definition_in_pytorch_s_habits():
    w = torch.tensor([1.0, -2.0], dtype=torch.float64, requires_grad=True)
    momentum = mt.adapt(optim.SGD)([w], lr=0.5, momentum=0.75, weight_decay=0.25)
    (group,) = momentum.param_groups
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.5, 0.75, 0.25) and "wd" not in group
    w.grad = torch.tensor([1.0, 2.0], dtype=torch.float64)
    momentum.step()
    assert w.tolist() == [(1 - 0.125) * 1.0 - 0.5 * 0.25, (1 - 0.125) * -2.0 - 0.5 * 0.5]
    assert momentum.state[w]["u"].tolist() == [0.25, 0.5]
    adam = mt.adapt(optim.Adam)([w])
    assert adam.param_groups[0]["lr"] == 1e-5 and adam.param_groups[0]["betas"] == (0.9, 0.999)
    assert "cache" in stepped(mt.adapt(optim.RMSProp)([w])).state[w]
    assert "cache" in stepped(mt.adapt(optim.AdaGrad)([w])).state[w]


def stepped(optimizer):
    optimizer.step()
    return optimizer


# What is said about an algorithm -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "flags", "equations"),
    [
        ("SGD", {}, ["momentum_buffer = momentum*momentum_buffer + ", "param = param - lr*momentum_buffer"]),
        ("SGD", {"nesterov": True}, ["step = momentum*momentum_buffer + grad", "param = param - lr*step"]),
        ("Adam", {}, ["grad = grad + weight_decay*param", "exp_avg_sq = beta2*exp_avg_sq + (1 - beta2)*grad**2"]),
        ("Adam", {"decoupled_weight_decay": True}, ["param = (1 - lr*weight_decay)*param"]),
        ("AdamW", {"amsgrad": True}, ["max_exp_avg_sq = maximum(max_exp_avg_sq, exp_avg_sq)"]),
        (
            "RMSprop",
            {"centered": True},
            ["square_avg = alpha*square_avg + (1 - alpha)*grad**2", "grad_avg = alpha*grad_avg"],
        ),
        ("RMSprop", {"momentum": 0.9}, ["momentum_buffer = momentum*momentum_buffer"]),
        ("Adadelta", {}, ["square_avg = rho*square_avg", "acc_delta = rho*acc_delta + (1 - rho)*delta**2"]),
        ("ASGD", {}, ["param = (1 - lambd*eta)*param - eta*grad", "ax = param + (1 - mu)*(ax - param)"]),
        ("Rprop", {}, ["agreement = grad*prev", "prev = where(agreement < 0, 0, grad)"]),
        ("Adagrad", {}, ["sum = sum + grad**2", "lr = lr/(1 + lr_decay*(t - 1))"]),
    ],
    ids=str,
)
def test_a_class_says_its_formula_in_pytorch_s_words(name, flags, equations):
    formula = str(getattr(mt, name).formula(**flags))
    for equation in equations:
        assert equation in formula
    if flags:
        assert formula != str(getattr(mt, name).formula())


FOREIGN = r"\b(cache|rho|u|wd|initial|dampen_first|eps_inside|eps_hat)\b|1e-05"
"""What only minima's own definitions say."""


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("SGD", ["lr", "momentum", "dampening", "weight_decay", "nesterov", "momentum_buffer"]),
        ("Adam", ["lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad", "exp_avg", "exp_avg_sq"]),
        ("AdamW", ["lr", "beta1", "beta2", "eps", "weight_decay", "amsgrad", "exp_avg", "exp_avg_sq"]),
        ("RMSprop", ["lr", "alpha", "eps", "weight_decay", "momentum", "centered", "square_avg"]),
        ("Adagrad", ["lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps", "sum"]),
        ("ASGD", ["lr", "lambd", "alpha", "t0", "weight_decay", "ax", "eta", "mu"]),
        ("Adadelta", ["lr", "rho", "eps", "weight_decay", "square_avg", "acc_delta"]),
    ],
)
def test_a_class_explains_itself_in_pytorch_s_words(name, words):
    text = str(getattr(mt, name).explain(**({"momentum": 0.9} if name == "SGD" else {})))
    assert re.split(r"[,\n]", text)[0] == name
    assert not [word for word in words if not re.search(rf"\b{word}\b", text)]
    assert not {*re.findall(FOREIGN, text)} - {*words}


def test_a_flag_that_no_constructor_has_is_refused_by_formula():
    with pytest.raises(TypeError, match="^Adam.*nesterov"):
        mt.Adam.formula(nesterov=True)


# Copies --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "through", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))], ids=["deepcopy", "pickle"]
)
@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_copies_go_on_alike(name, options, through):
    theirs, mine = twins(name, options, special={"lr": 0.05})
    together(theirs, mine, count=5)
    for run in (theirs, mine):
        for param in run.params:
            param.grad = None
    params, optimizer = through((mine.params, mine.optimizer))
    copied = Run(params, optimizer)
    assert_groups(theirs.optimizer, optimizer)
    assert optimizer.defaults == theirs.optimizer.defaults
    together(theirs, mine, copied, count=5, seed=1)
    assert_alike(theirs, mine, copied)


@pytest.mark.parametrize("name", NAMES)
def test_a_class_is_found_again_by_its_name(name):
    cls = getattr(mt, name)
    assert cls.__name__ == cls.__qualname__ == name and cls.__module__ == mt.__name__
    assert pickle.loads(pickle.dumps(cls)) is cls and copy.deepcopy(cls) is cls
    assert issubclass(cls, torch.optim.Optimizer)


@pytest.mark.parametrize("name", NAMES)
def test_a_group_that_is_added_later_is_as_in_pytorch(name):
    theirs, mine = twins(name, {"lr": 0.1} | ({"weight_decay": 0.25} if name in DECAYING else {}))
    together(theirs, mine, count=2)
    more = torch.arange(3.0, dtype=torch.float64).requires_grad_()
    for run in (theirs, mine):
        run.params.append(more.detach().clone().requires_grad_())
        group = {"params": run.params[-1], "lr": 0.5, "maximize": True}
        if name != "Adagrad":  # torch.optim's makes no state for parameters that come later, and fails
            run.optimizer.add_param_group(group)
    if name == "Adagrad":
        return
    assert_groups(theirs.optimizer, mine.optimizer)
    together(theirs, mine, count=4, seed=1)
    assert_alike(theirs, mine)


@pytest.mark.parametrize("make", [mt.Adam, mt.adapt(optim.Adam)], ids=["PyTorch's", "minima's"])
@pytest.mark.parametrize(
    ("word", "meant"), [("max_grad_norm", "max_norm"), ("clipnorm", "max_norm"), ("use_ema", "ema_decay"),
                        ("ema", "ema_decay"), ("caution", "cautious")]
)  # fmt: skip
def test_what_other_libraries_call_an_option_is_understood(make, word, meant):
    words = rf"^Adam: there is no hyperparameter '{word}'; did you mean {meant}\? there are lr, .*; and for every rule "
    with pytest.raises(TypeError, match=words + "decay, maximize, cautious, max_norm, ema_decay$"):
        make([torch.ones(1, requires_grad=True)], **{word: 1.0})


CLASSES = [getattr(mt, name) for name in mt.__all__ if isinstance(getattr(mt, name), type)]
CLASSES = [cls for cls in CLASSES if issubclass(cls, mt.Optimizer) and cls is not mt.Optimizer]
CLASSES += [mt.adapt(getattr(optim, name)) for name in RULES]


@pytest.mark.parametrize("cls", dict.fromkeys(CLASSES), ids=lambda cls: f"{cls.__module__}.{cls.__name__}")
def test_every_class_gives_its_formula_and_explains_itself(cls):
    text = cls.formula().text
    assert "param = " in text and cls.explain().bytes_moved > 0
    if cls is mt.Muon:
        assert "maximum(1, " in text and "momentum_buffer" in text
        assert text == mt.Muon.formula(adjust_lr_fn="original").text
        assert text != mt.Muon.formula(adjust_lr_fn="match_rms_adamw").text


@pytest.mark.parametrize("kind", [tuple, list, np.array, partial(torch.tensor, dtype=torch.float64)])
def test_the_numbers_of_muon_s_iteration_may_come_in_any_sequence(kind):
    optimizer = mt.Muon([torch.ones(2, 2, requires_grad=True)], ns_coefficients=kind([3.4445, -4.775, 2.0315]))
    assert optimizer.t == 0


def test_only_what_pytorch_derives_may_be_none():
    w = torch.ones(2, 2, requires_grad=True)
    with pytest.raises(TypeError, match="^Adafactor: eps2 must be a number"):
        mt.Adafactor([w], eps=(None, None))
    optimizer = mt.Adafactor([w], eps=(None, 1e-3))
    optimizer.param_groups[0]["eps"] = (None, None)
    w.grad = torch.ones(2, 2)
    with pytest.raises(TypeError, match="^Adafactor: eps2 must be a number"):
        optimizer.step()
