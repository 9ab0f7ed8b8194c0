"""Every mistake that a user can make, and the one sentence that comes of it."""

import cProfile
import math
import re
import sys

import numpy as np
import pytest

from minima import Tensor, nn
from minima.optim import SGD, AdaGrad, Adam, Optimizer, RMSProp, hyper, sqrt, where
from minima.optim.schedules import cosine


def tensor(*values):
    return Tensor(values or (1.0, 2.0), requires_grad=True)


def refused(error, words, call):
    """The call raises exactly this type of error with exactly these words."""
    with pytest.raises(error) as caught:
        call()
    assert caught.type is error
    assert str(caught.value) == words


def table(rows):
    """A parametrization over rows of (error, words, call), each named by its words."""
    return pytest.mark.parametrize(("error", "words", "call"), rows, ids=[row[1] for row in rows])


# Hyperparameters -----------------------------------------------------------------------------------------------------

ALL_HAVE = "; and for every rule decay, maximize, cautious, max_norm, ema_decay"
SGD_HAS = "there are lr, momentum, wd, dampening, nesterov, dampen_first (also as weight_decay)" + ALL_HAVE
WAYS = "decay must be one of 'decoupled', 'independent', 'l2'"
ADAM_HAS = "there are lr, beta1, beta2, eps, weight_decay, amsgrad, eps_hat, eps_root, max_hat (also as wd)" + ALL_HAVE

HYPERS = [
    (ValueError, "Adam: beta2 must lie in [0, 1); got 1.5", lambda: Adam([tensor()], beta2=1.5)),
    (ValueError, "Adam: beta1 must lie in [0, 1); got 1.0", lambda: Adam([tensor()], beta1=1)),
    (ValueError, "Adam: lr must lie in [0, inf); got -0.1", lambda: Adam([tensor()], -0.1)),
    (ValueError, "Adam: eps must lie in [0, inf); got -1e-08", lambda: Adam([tensor()], eps=-1e-8)),
    (ValueError, "Adam: weight_decay must lie in [0, inf); got -1.0", lambda: Adam([tensor()], wd=-1)),
    (ValueError, "SGD: wd must lie in [0, inf); got -1.0", lambda: SGD([tensor()], weight_decay=-1)),
    (ValueError, "SGD: momentum must lie in [0, 1); got 1.0", lambda: SGD([tensor()], momentum=1.0)),
    (ValueError, "RMSProp: rho must lie in [0, 1); got -0.5", lambda: RMSProp([tensor()], rho=-0.5)),
    (ValueError, "AdaGrad: lr must lie in [0, inf); got nan", lambda: AdaGrad([tensor()], lr=math.nan)),
    (ValueError, "AdaGrad: lr must lie in [0, inf); got inf", lambda: AdaGrad([tensor()], lr=math.inf)),
    (ValueError, "AdaGrad: lr must lie in [0, inf); got -inf", lambda: AdaGrad([tensor()], lr=np.float32(-np.inf))),
    (ValueError, "SGD: lr must lie in [0, inf); got inf", lambda: SGD([tensor()], lr=10**400)),
    (ValueError, "SGD: dampening must be None or lie in [0, 1]; got 2.0", lambda: SGD([tensor()], dampening=2)),
    (TypeError, "Adam: lr must be a number in [0, inf); got True", lambda: Adam([tensor()], lr=True)),
    (TypeError, "Adam: lr must be a number in [0, inf); got '0.1'", lambda: Adam([tensor()], lr="0.1")),
    (
        TypeError,
        "Adam: lr must be a number in [0, inf), or a function of the step; "
        "got <class 'minima.optim.schedules.finite.cosine'>; call the class, as in cosine(0.1, steps=1000)",
        lambda: Adam([tensor()], lr=cosine),
    ),
    (AttributeError, "Adam: lr cannot be deleted; assign to it instead", lambda: delattr(Adam([tensor()]), "lr")),
    (
        AttributeError,
        "Adam: steps cannot be replaced; call set_steps",
        lambda: setattr(Adam([tensor()]), "steps", 3),
    ),
    (AttributeError, "Adam: wd cannot be deleted; assign to it instead", lambda: delattr(Adam([tensor()]), "wd")),
    (AttributeError, "Adam: t cannot be deleted; assign to it instead", lambda: delattr(Adam([tensor()]), "t")),
    (
        TypeError,
        "Adam.zero_grad: set_to_none must be True; got False; gradients become None",
        lambda: Adam([tensor()]).zero_grad(set_to_none=False),
    ),
    (TypeError, "Adam: lr must be a number in [0, inf); got None", lambda: Adam([tensor()], lr=None)),
    (TypeError, "Adam: lr must be a number in [0, inf); got 1j", lambda: Adam([tensor()], lr=1j)),
    (TypeError, "Adam: lr must be a number in [0, inf); got [0.1]", lambda: Adam([tensor()], lr=[0.1])),
    (
        TypeError,
        "Adam: lr must be a number in [0, inf); got array([0.1])",
        lambda: Adam([tensor()], lr=np.array([0.1])),
    ),
    (TypeError, "Adam: lr must be a number in [0, inf); got np.True_", lambda: Adam([tensor()], lr=np.True_)),
    (TypeError, "Adam: beta1 must be a number in [0, 1); got (0.9, 0.99)", lambda: Adam([tensor()], 0.1, (0.9, 0.99))),
    (TypeError, "SGD: dampening must be None or a number in [0, 1]; got '0'", lambda: SGD([tensor()], dampening="0")),
    (
        ValueError,
        "SGD, at step 0: dampening must lie in [0, 1]; got 2.0",
        lambda: SGD([tensor()], dampening=lambda step: 2),
    ),
    (
        TypeError,
        "SGD, at step 0: dampening must be a number in [0, 1]; got None",
        lambda: SGD([tensor()], dampening=lambda step: None),
    ),
    (
        TypeError,
        "SGD: max_norm must be None, a number in [0, inf), or a function of the step; "
        "got <class 'minima.optim.schedules.finite.cosine'>; call the class, as in cosine(0.1, steps=1000)",
        lambda: SGD([tensor()], max_norm=cosine),
    ),
    (TypeError, "SGD: nesterov must be True or False; got 1", lambda: SGD([tensor()], nesterov=1)),
    (TypeError, "SGD: nesterov must be True or False; got None", lambda: SGD([tensor()], nesterov=None)),
    (
        TypeError,
        f"SGD: there is no hyperparameter 'nestorov'; did you mean nesterov? {SGD_HAS}",
        lambda: SGD([tensor()], nestorov=True),
    ),
    (
        TypeError,
        f"Adam: there is no hyperparameter 'beta_2'; did you mean beta2? {ADAM_HAS}",
        lambda: Adam([tensor()], beta_2=0.9),
    ),
    (TypeError, f"Adam: there is no hyperparameter 'rho'; {ADAM_HAS}", lambda: Adam([tensor()], rho=0.9)),
    (TypeError, "Optimizer: there is no hyperparameter 'lr'; there are none", lambda: Optimizer([tensor()], lr=0.1)),
    (
        TypeError,
        "SGD: takes at most 4 positional arguments (params, lr, momentum, wd); got 5",
        lambda: SGD([tensor()], 0.1, 0.9, 0.0, 0.0),
    ),
    (TypeError, "Optimizer: takes at most 1 positional arguments (params); got 2", lambda: Optimizer([tensor()], 0.1)),
    (TypeError, "SGD: lr is given twice", lambda: SGD([tensor()], 0.1, lr=0.1)),
    (TypeError, "SGD: wd is given twice", lambda: SGD([tensor()], 0.1, 0.9, 0.1, weight_decay=0.1)),
    (
        TypeError,
        "SGD: wd is given twice; wd and weight_decay are the same argument",
        lambda: SGD([tensor()], wd=0.1, weight_decay=0.1),
    ),
    (
        TypeError,
        "Adam: weight_decay is given twice; wd and weight_decay are the same argument",
        lambda: Adam([{"params": [tensor()], "wd": 0.1, "weight_decay": 0.1}]),
    ),
    *(
        (TypeError, "SGD: decay is given twice; decay and decay_mode are the same argument", act)
        for act in (
            lambda: SGD([tensor()], decay="decoupled", decay_mode="l2"),
            lambda: SGD([{"params": [tensor()], "decay": "l2", "decay_mode": "l2"}]),
            lambda: SGD.formula(decay="l2", decay_mode="l2"),
            lambda: SGD.explain(decay="l2", decay_mode="l2"),
        )
    ),
    (ValueError, f"SGD: {WAYS}; got 'l3'", lambda: SGD([tensor()], decay_mode="l3")),
    (ValueError, f"SGD: {WAYS}; got 'l3'", lambda: setattr(SGD([tensor()]), "decay_mode", "l3")),
    (ValueError, f"SGD: {WAYS}; got 'l3'", lambda: SGD.formula(decay_mode="l3")),
    (TypeError, f"SGD: there is no hyperparameter 'rho'; {SGD_HAS}", lambda: SGD([{"params": [tensor()], "rho": 0.5}])),
    (ValueError, "SGD: lr must lie in [0, inf); got -1.0", lambda: SGD([{"params": [tensor()], "lr": -1}])),
    (ValueError, "SGD: lr must lie in [0, inf); got -1.0", lambda: setattr(SGD([tensor()]), "lr", -1)),
    (ValueError, "Adam: weight_decay must lie in [0, inf); got -1.0", lambda: setattr(Adam([tensor()]), "wd", -1)),
    (
        ValueError,
        "SGD: lr must lie in [0, inf); got nan",
        lambda: SGD([tensor()]).param_groups[0].__setitem__("lr", math.nan),
    ),
    (
        TypeError,
        f"SGD: there is no hyperparameter 'Lr'; did you mean lr? {SGD_HAS}",
        lambda: SGD([tensor()]).param_groups[0].__setitem__("Lr", 0.1),
    ),
    (
        TypeError,
        f"SGD: there is no hyperparameter 'nesterow'; did you mean nesterov? {SGD_HAS}",
        lambda: SGD.formula(nesterow=True),
    ),
    (
        TypeError,
        "hyper: a side has one bound: low or above, high or below; got two",
        lambda: hyper(0.5, low=0, above=0),
    ),
    (
        TypeError,
        "hyper: a side has one bound: low or above, high or below; got two",
        lambda: hyper(0.5, high=1, below=1),
    ),
    (TypeError, "hyper: low must be a number; got 'x'", lambda: hyper(0.5, low="x")),
    (TypeError, "hyper: high must be a number; got array([1., 1.])", lambda: hyper(0.5, high=np.ones(2))),
    (TypeError, "hyper: above must be a number; got nan", lambda: hyper(0.5, above=math.nan)),
    (TypeError, "hyper: below must be a number; got True", lambda: hyper(0.5, below=True)),
    (ValueError, "hyper: the bounds must leave room for a value; got '[2, 1]'", lambda: hyper(1.5, low=2, high=1)),
    (ValueError, "hyper: the bounds must leave room for a value; got '(1, 1]'", lambda: hyper(1, above=1, high=1)),
    (TypeError, "hyper: a flag has no bounds; leave them out", lambda: hyper(True, low=0)),
    (TypeError, "hyper: switch must be True or False; got 'x'", lambda: hyper(0.5, switch="x")),
    (TypeError, "hyper: kw_only must be True or False; got 1", lambda: hyper(0.5, kw_only=1)),
    (TypeError, "hyper: whole must be True or False; got 1", lambda: hyper(5, whole=1)),
    (
        TypeError,
        "SGD.load_state_dict: strict must be True or False; got 'no'",
        lambda: SGD([tensor()]).load_state_dict(SGD([tensor()]).state_dict(), strict="no"),
    ),
]


@table(HYPERS)
def test_a_wrong_hyperparameter_is_refused_in_one_sentence(error, words, call):
    refused(error, words, call)


def test_a_value_that_was_refused_changes_nothing():
    optimizer = SGD([tensor()], lr=0.5)
    for assign in (lambda: setattr(optimizer, "lr", -1), lambda: optimizer.param_groups[0].__setitem__("lr", "x")):
        with pytest.raises((TypeError, ValueError)):
            assign()
        assert optimizer.lr == optimizer.param_groups[0]["lr"] == 0.5


# Parameters ----------------------------------------------------------------------------------------------------------

A, B = tensor(), tensor(3.0)
ITERABLE = "SGD: params must be an iterable of Tensors"
MODULE_HINT = "pass a module, its parameters(), or for groups a list of dicts"
WRAP = "wrap it: Tensor(data, requires_grad=True)"
USED_UP = "params is empty; pass at least one Tensor (is a generator used up?)"
GIVEN_TWICE = "pass every Tensor once"


def read_only():
    array = np.ones(2, np.float32)
    array.flags.writeable = False
    return Tensor.from_numpy(array)


def used_up():
    generator = (p for p in [tensor()])
    list(generator)
    return generator


PARAMS = [
    (TypeError, f"{ITERABLE}; got one Tensor of shape (2,); put it into a list", lambda: SGD(tensor())),
    (ValueError, f"SGD: {USED_UP}", lambda: SGD(nn.Identity())),
    (TypeError, f"{ITERABLE}; got None; {MODULE_HINT}", lambda: SGD(None)),
    (TypeError, f"{ITERABLE}; got None; {MODULE_HINT}", lambda: SGD()),
    (TypeError, f"{ITERABLE}; got None; {MODULE_HINT}", lambda: SGD(lr=0.1)),
    (
        TypeError,
        f"{ITERABLE}; got <class 'minima.nn.layers.Linear'>; make an object of the class, and pass that",
        lambda: SGD(nn.Linear),
    ),
    (
        TypeError,
        "SGD (group 0): params must be an iterable of Tensors; got <class 'minima.nn.layers.Linear'>; "
        "make an object of the class, and pass that",
        lambda: SGD([{"params": nn.Linear}]),
    ),
    (TypeError, f"{ITERABLE}; got 0.1; {MODULE_HINT}", lambda: SGD(0.1)),
    (TypeError, f"{ITERABLE}; got 'weight'; {MODULE_HINT}", lambda: SGD("weight")),
    (TypeError, f"{ITERABLE}; got {{'weight': 1}}; {MODULE_HINT}", lambda: SGD({"weight": 1})),
    (ValueError, f"SGD: {USED_UP}", lambda: SGD([])),
    (ValueError, f"SGD: {USED_UP}", lambda: SGD(used_up())),
    (
        TypeError,
        f"SGD: parameter 1 must be a Tensor; got array([1., 2.]); {WRAP}",
        lambda: SGD([A, np.array([1.0, 2.0])]),
    ),
    (TypeError, f"SGD: parameter 0 must be a Tensor; got 1.0; {WRAP}", lambda: SGD([1.0])),
    (TypeError, f"SGD: parameter 0 must be a Tensor; got None; {WRAP}", lambda: SGD([None])),
    (TypeError, f"SGD: parameter 1 must be a Tensor; got None; {WRAP}", lambda: SGD([("a", A), ("b", None)])),
    (
        TypeError,
        "SGD: the name of parameter 0 must be a string; got 0",
        lambda: SGD([(0, A)]),
    ),
    (TypeError, "SGD: parameter 0 must be floating; got 'int64'", lambda: SGD([Tensor([1, 2])])),
    (TypeError, "SGD: parameter 1 must be floating; got 'bool'", lambda: SGD([A, Tensor([True])])),
    (TypeError, "SGD: parameter 0 ('mask') must be floating; got 'int64'", lambda: SGD([("mask", Tensor([1]))])),
    (ValueError, "SGD: parameter 1 is read-only; pass a copy of it", lambda: SGD([A, read_only()])),
    (ValueError, f"SGD: parameter 1 is parameter 0 again; {GIVEN_TWICE}", lambda: SGD([A, A])),
    (
        ValueError,
        f"SGD: parameter 2 ('tied') is parameter 0 ('embedding') again; {GIVEN_TWICE}",
        lambda: SGD([("embedding", A), ("b", B), ("tied", A)]),
    ),
    (
        ValueError,
        f"SGD: parameter 2 is parameter 0 again; {GIVEN_TWICE}",
        lambda: SGD([{"params": [A, B]}, {"params": [A]}]),
    ),
    (
        ValueError,
        f"SGD: parameter 1 is parameter 0 again; {GIVEN_TWICE}",
        lambda: SGD([A]).add_param_group({"params": [A]}),
    ),
    (
        ValueError,
        "SGD: parameter 0 is the result of an operation; pass the Tensors that it was computed from, or its detach()",
        lambda: SGD([A * 2]),
    ),
    (
        TypeError,
        f"{ITERABLE}, or of groups (dicts), not of both",
        lambda: SGD([{"params": [A]}, B]),
    ),
    (ValueError, "SGD: group 1 must have 'params'; got ['lr']", lambda: SGD([{"params": [A]}, {"lr": 0.1}])),
    (ValueError, "SGD: group 0 must have 'params'; got []", lambda: SGD([{}])),
    (ValueError, "SGD: group 0 must have 'params'; got ['param']", lambda: SGD([{"param": [A]}])),
    (
        TypeError,
        "SGD: engine is an option of the whole optimizer, and no hyperparameter; give it to the constructor",
        lambda: SGD([{"params": [A], "engine": "fused"}]),
    ),
    (ValueError, f"SGD (group 1): {USED_UP}", lambda: SGD([{"params": [A]}, {"params": []}])),
    (
        TypeError,
        f"SGD (group 0): params must be an iterable of Tensors; got None; {MODULE_HINT}",
        lambda: SGD([{"params": None}]),
    ),
    (TypeError, "SGD (group 0): groups do not nest", lambda: SGD([{"params": [{"params": [A]}, {"params": [B]}]}])),
    (TypeError, "SGD (group 0): groups do not nest", lambda: SGD([{"params": [{"params": [A], "lr": 0.1}]}])),
    (TypeError, "SGD (group 0): groups do not nest", lambda: SGD([{"params": [{"params": [A]}]}])),
    (
        TypeError,
        "SGD: a group must be a dict with 'params'; got 3",
        lambda: SGD([A]).add_param_group(3),
    ),
    (ValueError, "SGD: group 1 must have 'params'; got ['lr']", lambda: SGD([A]).add_param_group({"lr": 0.1})),
    (
        TypeError,
        "SGD: the params of a group cannot be replaced; add more with add_param_group",
        lambda: SGD([A]).param_groups[0].__setitem__("params", [B]),
    ),
]


@table(PARAMS)
def test_wrong_parameters_are_refused_in_one_sentence(error, words, call):
    refused(error, words, call)


def test_modules_among_the_parameters_are_pointed_to_their_parameters():
    with pytest.raises(TypeError, match=r"^SGD: .*parameters\(\)"):
        SGD([nn.Linear(2, 2)])


def test_an_array_is_told_that_it_is_one_and_not_what_its_first_element_is():
    with pytest.raises(TypeError, match="^SGD: params must be an iterable of Tensors; got array"):
        SGD(np.ones(2))


STEPS = [
    (
        NotImplementedError,
        "Optimizer: step() is left to subclasses; use one of minima.optim's, such as Adam, or override step()",
        lambda: Optimizer([A]).step(),
    ),
    (
        TypeError,
        "Optimizer: an optimizer that overrides step() has no rule to read",
        lambda: Optimizer.formula(),
    ),
]


@table(STEPS)
def test_what_an_optimizer_without_a_rule_cannot_do_is_said_in_one_sentence(error, words, call):
    refused(error, words, call)


# Classes -------------------------------------------------------------------------------------------------------------


def rule(update, name="Mine", **hypers):
    """A class with this update, made the way that Python makes one."""
    return lambda: type(name, (Optimizer,), {"update": staticmethod(update), **(hypers or {"lr": hyper(0.1, low=0)})})


def remembering():
    """An update that steps by the gradient of its first call for ever."""
    kept = []

    def update(param, grad, *, lr):
        kept.append(grad)
        return param - lr * kept[0]

    return update


def branching(param, grad, *, lr):
    return param if grad > 0 else param - lr * grad


def and_or(param, grad, *, lr):
    return param - lr * (grad > 0 and grad < 1)


def builtin_max(param, grad, *, lr):
    return max(param, lr * grad)


def chained(param, grad, *, lr):
    return where(0 < grad < 1, param, lr)


def on_host(param, grad, *, lr):
    return param - grad if lr > 0 else param


BRANCH = (
    "Mine.update: update must not branch on a value ('if', 'and', 'or', 'min', 'max'); "
    "use where(condition, x, y), minimum(x, y) or maximum(x, y)"
)
MATH = (
    "Mine.update: update must not turn a value into a Python number, as functions of math do; "
    "use sqrt, cbrt, exp, log, abs, sign of minima.optim"
)
NUMPY = (
    "Mine.update: update must not call NumPy's {0}: a rule runs on arrays of any kind; "
    "write {0}({1}), with {0} of minima.optim"
)
TRUTHS = "Mine.update: update must use &, | and ~ between comparisons only; write (x > 0) & (y > 0)"
CONDITION = "Mine.update: where must be given a comparison as its condition; write where(x != 0, ...)"
ONLY = "Mine.update: update may compute with its arguments and with numbers only; got"


def not_static():
    class Mine(Optimizer):
        lr: float = hyper(0.1, low=0)

        def update(self, param, grad, *, lr):
            return param - lr * grad


def a_classmethod():
    class Mine(Optimizer):
        lr: float = hyper(0.1, low=0)

        @classmethod
        def update(cls, param, grad, *, lr):
            return param - lr * grad


def attribute(name):
    return f"Mine.update: {name} is an attribute of every optimizer; choose another name"


def with_state(name):
    namespace = {}
    exec(f"def update(param, grad, {name}, *, lr): return param - lr * grad, {name}", namespace)
    return rule(namespace["update"])


LEAVE_OUT = (
    "which is not declared; leave it out, as decay is put in front of every rule; or declare {} to place it yourself"
)

CLASSES = [
    (TypeError, "Mine: update must be a @staticmethod: a pure function of its arguments", not_static),
    (TypeError, "Mine: update must be a @staticmethod: a pure function of its arguments", a_classmethod),
    (TypeError, "Mine: update must be a @staticmethod: a pure function of its arguments", rule(None)),
    (
        TypeError,
        "Mine: update must be a @staticmethod: a pure function of its arguments",
        lambda: type("Mine", (Adam,), {"update": None}),
    ),
    (
        TypeError,
        "Mine.update: update must not compute with an integer beyond all floats; write math.inf",
        rule(lambda param, grad, *, lr: param - lr * grad * 10**400),
    ),
    (
        TypeError,
        "Mine.update: update must not use a value that was kept from an earlier call; "
        "what one step hands to the next is state: name it after grad in the signature",
        rule(remembering()),
    ),
    (
        ValueError,
        "Mine.update: state u must not start as NaN",
        rule(lambda param, grad, u=math.nan, *, lr: (param, u)),
    ),
    (
        ValueError,
        f"Mine.update: state u must start as a number that a float can be; got 1{76 * '0'}...",
        rule(lambda param, grad, u=10**400, *, lr: (param, u)),
    ),
    (
        TypeError,
        "Mine.update: the first two arguments must be param, grad; got (grad, param)",
        rule(lambda grad, param, *, lr: param),
    ),
    (
        TypeError,
        "Mine.update: the first two arguments must be param, grad; got (param)",
        rule(lambda param, *, lr: param),
    ),
    (TypeError, "Mine.update: the first two arguments must be param, grad; got ()", rule(lambda *, lr: lr)),
    (
        TypeError,
        "Mine.update: every argument must be named, *state is not",
        rule(lambda param, grad, *state, lr: param),
    ),
    (
        TypeError,
        "Mine.update: every argument must be named, **hypers is not",
        rule(lambda param, grad, **hypers: param),
    ),
    (
        TypeError,
        "Mine.update: takes gamma, which is not a hyperparameter; declare it in the class: gamma: float = hyper(...)",
        rule(lambda param, grad, *, lr, gamma: param - lr * gamma * grad),
    ),
    (
        TypeError,
        "Mine.update: must take the declared hyperparameter lr; "
        "add it after the * in the signature: update(param, grad, ..., *, lr)",
        rule(lambda param, grad: param - grad),
    ),
    (
        TypeError,
        "Mine.update: must return as many values as it updates, 2 (param, u); got 1",
        rule(lambda param, grad, u, *, lr: param - lr * u),
    ),
    (
        TypeError,
        "Mine.update: must return as many values as it updates, 1 (param); got 2",
        rule(lambda param, grad, *, lr: (param - lr * grad, grad)),
    ),
    (
        TypeError,
        "Mine.update: state u must start as a number; got None",
        rule(lambda param, grad, u=None, *, lr: (param, u)),
    ),
    (
        TypeError,
        "Mine.update: state u must start as a number; got True",
        rule(lambda param, grad, u=True, *, lr: (param, u)),
    ),
    (
        TypeError,
        "Mine.update: state u starts as 'start', which is not a hyperparameter; "
        "declare it in the class: start: float = hyper(...)",
        rule(lambda param, grad, u="start", *, lr: (param, u)),
    ),
    *(
        (
            TypeError,
            "Mine.update: state u starts as start, which must always be a number; "
            "declare it without a flag, None or a switch",
            rule(lambda param, grad, u="start", *, start: (param - grad, u), start=declared),
        )
        for declared in (hyper(True), hyper(None, low=0), hyper(0.5, low=0, switch=True))
    ),
    (
        ValueError,
        "Mine, default of lr: lr must lie in [0, inf); got -1.0",
        rule(lambda param, grad, *, lr: param - lr * grad, lr=hyper(-1.0, low=0)),
    ),
    (
        TypeError,
        "Mine, default of lr: lr must be a number in [0, inf); got '0.1'",
        rule(lambda param, grad, *, lr: param - lr * grad, lr=hyper("0.1", low=0)),
    ),
    (
        TypeError,
        "Mine: wd and weight_decay are two names of the same hyperparameter; declare one",
        rule(lambda param, grad, *, lr: param, lr=hyper(0.1), wd=hyper(0.0), weight_decay=hyper(0.0)),
    ),
    (
        TypeError,
        f"Mine.update: must not take wd, {LEAVE_OUT.format('wd')}",
        rule(lambda param, grad, *, lr, wd: param - lr * wd * param),
    ),
    (
        TypeError,
        f"Mine.update: must not take weight_decay, {LEAVE_OUT.format('weight_decay')}",
        rule(lambda param, grad, *, lr, weight_decay: param),
    ),
    (TypeError, attribute("step"), with_state("step")),
    (TypeError, attribute("t"), with_state("t")),
    (TypeError, attribute("params"), with_state("params")),
    (TypeError, attribute("param_groups"), with_state("param_groups")),
    (TypeError, attribute("defaults"), with_state("defaults")),
    (TypeError, attribute("steps"), with_state("steps")),
    (TypeError, attribute("zero_grad"), with_state("zero_grad")),
    (TypeError, attribute("t"), rule(lambda param, grad, *, t: param - t * grad, t=hyper(0.1))),
    (
        TypeError,
        attribute("rule"),
        rule(lambda param, grad, *, rule: param - rule * grad, rule=hyper(0.1)),
    ),
    (TypeError, BRANCH, rule(branching)),
    (TypeError, BRANCH, rule(and_or)),
    (TypeError, BRANCH, rule(builtin_max)),
    (TypeError, BRANCH, rule(chained)),
    (TypeError, BRANCH, rule(on_host)),
    (TypeError, MATH, rule(lambda param, grad, *, lr: param - lr * math.sqrt(grad))),
    (TypeError, MATH, rule(lambda param, grad, *, lr: param - math.exp(lr) * grad)),
    (TypeError, MATH, rule(lambda param, grad, *, lr: param - lr * float(grad))),
    (TypeError, NUMPY.format("sqrt", "x"), rule(lambda param, grad, *, lr: param - lr * np.sqrt(grad))),
    (TypeError, NUMPY.format("maximum", "x, y"), rule(lambda param, grad, *, lr: np.maximum(param, lr * grad))),
    (
        TypeError,
        NUMPY.format("where", "condition, x, y"),
        rule(lambda param, grad, *, lr: np.where(grad > 0, param, lr)),
    ),
    (TypeError, TRUTHS, rule(lambda param, grad, *, lr: param - lr * ~grad)),
    (TypeError, TRUTHS, rule(lambda param, grad, *, lr: where(grad & param, param, lr))),
    (TypeError, TRUTHS, rule(lambda param, grad, *, lr: where((grad > 0) | 1.0, param, lr))),
    (TypeError, TRUTHS, rule(lambda param, grad, *, lr: where(~where(grad > 0, param > 0, lr), param, lr))),
    (TypeError, TRUTHS, rule(lambda param, grad, *, lr: where(~where(grad > 0, lr, param > 0), param, lr))),
    (TypeError, CONDITION, rule(lambda param, grad, *, lr: where(grad, param, lr))),
    (TypeError, CONDITION, rule(lambda param, grad, *, lr: where(lr, param, grad))),
    (TypeError, f"{ONLY} None", rule(lambda param, grad, *, lr: None)),
    (TypeError, f"{ONLY} array([1.])", rule(lambda param, grad, *, lr: param - np.array([1.0]))),
    (TypeError, f"{ONLY} '1'", rule(lambda param, grad, *, lr: where(grad > 0, param, "1"))),
]


@table(CLASSES)
def test_a_wrong_rule_is_refused_when_its_class_is_made(error, words, call):
    refused(error, words, call)


@pytest.mark.parametrize("name", ["wd", "weight_decay"])
def test_state_may_not_be_called_as_weight_decay_is(name):
    with pytest.raises(TypeError, match=f"^Mine.update: .*{name}"):
        with_state(name)()


def test_a_rule_that_fails_by_itself_shows_its_own_error():
    with pytest.raises(ZeroDivisionError, match=re.escape("division by zero")):
        rule(lambda param, grad, *, lr: param - lr * grad * (1 / 0))()


def test_the_tracer_s_watch_is_gone_after_a_class_was_refused():
    before = sys.getprofile()
    with pytest.raises(TypeError):
        rule(branching)()
    assert sys.getprofile() is before


def test_a_program_can_be_profiled():
    w = tensor(1.0)
    profiler = cProfile.Profile()
    profiler.enable()
    before = sys.getprofile()
    try:
        optimizer = rule(lambda param, grad, *, lr: param - lr * grad)()([w], lr=0.5)
        assert sys.getprofile() is before
        w.grad = tensor(1.0)
        optimizer.step()
    finally:
        profiler.disable()
    assert w.item() == 0.5
    assert "step" in {entry.code.co_name for entry in profiler.getstats() if not isinstance(entry.code, str)}


def test_a_class_may_narrow_an_algorithm_by_new_defaults():
    class Careful(Adam):
        lr: float = hyper(1e-3, low=0, high=0.1)

    assert Careful([tensor()]).lr == 1e-3 and list(Careful.hyperparameters) == list(Adam.hyperparameters)
    refused(ValueError, "Careful: lr must lie in [0, 0.1]; got 0.5", lambda: Careful([tensor()], lr=0.5))


def test_root_of_a_plain_number_is_computed_while_tracing():
    class Mine(Optimizer):
        lr: float = hyper(1.0, low=0)

        @staticmethod
        def update(param, grad, *, lr):
            return param - lr * sqrt(4.0) * grad

    w = tensor(1.0)
    w.grad = Tensor([1.0])
    Mine([w]).step()
    assert w.tolist() == [-1.0]


# Names that are nearly right -----------------------------------------------------------------------------------------

NEARLY = [
    (SGD, "lrr", "lr"),
    (SGD, "learning_rate", "lr"),
    (SGD, "weight_deacy", "weight_decay"),
    (SGD, "maximise", "maximize"),
    (SGD, "rouding", "rounding"),
    (SGD, "on_nonfinit", "on_nonfinite"),
    (Adam, "state_dtyp", "state_dtype"),
    (Adam, "betas", "beta1"),
    (Adam, "epsilon", "eps"),
    (RMSProp, "alpha", "rho"),
]


@pytest.mark.parametrize(("cls", "name", "meant"), NEARLY, ids=[f"{cls.__name__}.{name}" for cls, name, _ in NEARLY])
def test_a_name_that_is_nearly_right_is_refused_with_the_one_that_was_meant(cls, name, meant):
    words = f"{cls.__name__}: there is no hyperparameter {name!r}; did you mean {meant}?"
    with pytest.raises(TypeError, match=f"^{re.escape(words)} there are lr, "):
        cls([tensor()], **{name: 0.5})
    with pytest.raises(TypeError, match=f"^{re.escape(words)} there are lr, "):
        cls([{"params": [tensor()], name: 0.5}])
    optimizer = cls([tensor()])
    refused(AttributeError, words, lambda: setattr(optimizer, name, 0.5))


def test_other_attributes_are_the_user_s_own():
    optimizer = Adam([tensor()])
    for name in ("scheduler", "note", "lr_max", "group", "tt", "_lr"):
        setattr(optimizer, name, 5)
        assert getattr(optimizer, name) == 5

    class ByHand(Optimizer):
        def __init__(self, params):
            super().__init__(params)
            self.lrs, self.decays, self.engines, self.beta = [0.1], 0.5, [], 0.9

        def step(self):
            pass

    assert ByHand([tensor()]).lrs == [0.1]


@pytest.mark.parametrize("name", ["params", "param_groups", "groups", "exp_avg", "exp_avg_sq"])
def test_what_no_step_would_look_at_again_cannot_be_replaced(name):
    optimizer = Adam([tensor()])
    before = getattr(optimizer, name)
    with pytest.raises(AttributeError, match=f"^Adam: {name} cannot be replaced; "):
        setattr(optimizer, name, [tensor(3.0)])
    assert getattr(optimizer, name) is before


@pytest.mark.parametrize("name", ["lr", "lrr", "params", "note"])
def test_a_group_takes_entries_and_no_attributes(name):
    (group,) = Adam([tensor()]).param_groups
    with pytest.raises(AttributeError, match=re.escape(f"write group[{name!r}] = 0.5")):
        setattr(group, name, 0.5)


def test_parameters_and_groups_are_added_by_the_optimizer_alone():
    optimizer = Adam([tensor()])
    for given in (optimizer.params, optimizer.param_groups, optimizer.param_groups[0]["params"]):
        assert isinstance(given, tuple)


# Tensors of others ---------------------------------------------------------------------------------------------------


def test_tensors_and_modules_of_pytorch_are_for_minima_torch():
    torch = pytest.importorskip("torch")
    module = torch.nn.Linear(2, 1)
    weight = module.weight
    for give in (lambda: [weight], lambda: module, module.parameters, module.named_parameters, lambda: [module]):
        for params in (give(), [{"params": give()}]):
            with pytest.raises(TypeError) as caught:
                SGD(params)
            words = str(caught.value)
            assert words.startswith("SGD: parameter 0 must be a Tensor; got ") and "\n" not in words
            assert words.endswith("; the optimizers of minima.torch step tensors of PyTorch")


def test_a_closure_that_is_none_is_refused():
    w = tensor()
    optimizer = SGD([w], lr=0.5)
    w.grad = Tensor([1.0, 1.0])
    for bad in (0.5, Tensor(0.5), True):
        with pytest.raises(TypeError, match=r"^SGD\.step: closure must be a function that returns the loss; got .*"):
            optimizer.step(bad)
    assert w.tolist() == [1.0, 2.0] and optimizer.t == 0


ELSEWHERE = {
    "max_norm": ("max_grad_norm", "clip_norm", "clipnorm", "global_clipnorm", "gradient_clip"),
    "ema_decay": ("ema", "use_ema", "ema_momentum"),
    "cautious": ("caution",),
}


@pytest.mark.parametrize(("meant", "word"), [(meant, word) for meant, words in ELSEWHERE.items() for word in words])
def test_what_other_libraries_call_an_option_is_understood(meant, word):
    words = f"^{re.escape(f'Adam: there is no hyperparameter {word!r}; did you mean {meant}? {ADAM_HAS}')}$"
    with pytest.raises(TypeError, match=words):
        Adam([tensor()], **{word: 1.0})
