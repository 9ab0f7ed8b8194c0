"""What a rule may not say: each is answered when the class is made, in one sentence that says what to write instead."""

import math

import numpy as np
import pytest
from rules import BUILT_IN, WHOLE

from minima.optim import Optimizer, hyper, maximum, sqrt, where

WORDS = "sqrt, exp, log, abs, sign, maximum, minimum, where of minima.optim"
EACH = f"write what happens to each element, with operators and {WORDS}"
KIND = "a rule runs on arrays of any kind"
NUMBER = (
    "update must not turn a value into a Python number, as functions of math do; "
    "use sqrt, exp, log, abs, sign of minima.optim"
)
PLACE = "update must not change a value in place (+=, -=, *=, /=), which may be the caller's array; write x = x + y"
OTHER = "update must not use //, %, ^, << and >>; use +, -, *, /, ** and comparisons"
JAX = f"update must not call functions of JAX: {KIND}; use operators and {WORDS}"
ONE = "update sees one element of an array, which"
BRANCH = (
    "update must not branch on a value ('if', 'and', 'or', 'min', 'max'); "
    "use where(condition, x, y), minimum(x, y) or maximum(x, y)"
)


def instead(what, hint):
    return f"update must not {what}: {KIND}; write {hint}"


def adds_in_place(param, grad, *, lr):
    grad += lr * param
    return param - grad


def scales_a_number_in_place(param, grad, *, lr):
    lr *= 2
    return param - lr * grad


def loops(param, grad, *, lr):
    for each in grad:
        param = param - lr * each
    return param


def assigns(param, grad, *, lr):
    grad[0] = lr
    return param - grad


REFUSED = [
    (
        lambda param, grad, *, lr: param - lr * np.sqrt(grad),
        instead("call NumPy's sqrt", "sqrt(x), with sqrt of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: np.where(grad > 0, param, lr),
        instead("call NumPy's where", "where(condition, x, y), with where of minima.optim"),
    ),
    (
        lambda param, grad, *, lr: np.clip(grad, -1, lr),
        instead("call NumPy's clip", "maximum(minimum(x, high), low), with both of minima.optim"),
    ),
    (lambda param, grad, *, lr: param - np.sum(grad), f"update must not call NumPy's sum: {KIND}; {EACH}"),
    (lambda param, grad, *, lr: param - np.linalg.norm(grad), f"update must not call NumPy's norm: {KIND}; {EACH}"),
    (lambda param, grad, *, lr: np.ones(2) @ grad, instead("call NumPy's matmul", "x * y for the product of elements")),
    (
        lambda param, grad, *, lr: np.asarray(grad),
        f"update must not make an array of a value, as functions of NumPy do; use operators and {WORDS}",
    ),
    (lambda param, grad, *, lr: param - math.sqrt(grad), NUMBER),
    (lambda param, grad, *, lr: param - math.floor(grad), NUMBER),
    (lambda param, grad, *, lr: param - round(grad), NUMBER),
    (lambda param, grad, *, lr: param * int(lr), NUMBER),
    (lambda param, grad, *, lr: [param][lr], NUMBER),
    (lambda param, grad, *, lr: param - grad.norm(), f"{ONE} has no .norm; {EACH}"),
    (lambda param, grad, *, lr: (param**2).sum(), f"{ONE} has no .sum; {EACH}"),
    (lambda param, grad, *, lr: param / grad.shape[0], f"{ONE} has no .shape; {EACH}"),
    (lambda param, grad, *, lr: param - lr * grad.item(), instead("use .item", "x itself")),
    (lambda param, grad, *, lr: param - lr * grad.sqrt(), instead("use .sqrt", "sqrt(x), with sqrt of minima.optim")),
    (lambda param, grad, *, lr: param.mul_(lr), instead("use .mul_", "x * y")),
    (
        lambda param, grad, *, lr: param - lr * grad[0],
        f"{ONE} cannot be indexed; write where(condition, x, y) to choose by value",
    ),
    (assigns, f"{ONE} cannot be assigned to by index; write x = where(condition, new, x)"),
    (lambda param, grad, *, lr: param / len(grad), f"{ONE} has no length; write what happens to each element"),
    (loops, f"{ONE} cannot be iterated over; write what happens to each element, without the loop"),
    (
        lambda param, grad, *, lr: param - sum(grad),
        f"{ONE} cannot be iterated over; write what happens to each element, without the loop",
    ),
    (lambda param, grad, *, lr: param * (0 in grad), f"{ONE} contains nothing; compare with =="),
    (
        lambda param, grad, *, lr: param @ grad,
        "update sees one element of an array, of which @ makes no product of matrices; "
        "write x * y for the product of elements",
    ),
    (adds_in_place, PLACE),
    (scales_a_number_in_place, PLACE),
    (lambda param, grad, *, lr: param // lr, OTHER),
    (lambda param, grad, *, lr: param - 5 % grad, OTHER),
    (lambda param, grad, *, lr: param - (grad ^ 1), OTHER),
    (lambda param, grad, *, lr: divmod(param, lr)[0], OTHER),
    (
        lambda param, grad, *, lr: param if lr else grad,
        f"{BRANCH}; if 0 is to switch a term off, declare lr with hyper(..., switch=True)",
    ),
    (lambda param, grad, *, lr: param if lr > 0 else grad, BRANCH),
]


def refuse(update):
    """The words in which a class with this update is refused."""
    with pytest.raises(TypeError) as caught:
        type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})
    return str(caught.value)


@pytest.mark.parametrize(("update", "words"), REFUSED, ids=[words for _, words in REFUSED])
def test_what_a_rule_cannot_say_is_answered_by_what_to_write_instead(update, words):
    assert refuse(update) == f"Mine.update: {words}"


def test_functions_of_pytorch_are_refused_in_one_sentence():
    torch = pytest.importorskip("torch")
    root = instead("call PyTorch's sqrt", "sqrt(x), with sqrt of minima.optim")
    assert refuse(lambda param, grad, *, lr: param - lr * torch.sqrt(grad)) == f"Mine.update: {root}"
    words = f"Mine.update: update must not call PyTorch's stack: {KIND}; {EACH}"
    assert refuse(lambda param, grad, *, lr: torch.stack([param, grad])) == words
    only = "Mine.update: update may compute with its arguments and with numbers only; got tensor([1.])"
    assert refuse(lambda param, grad, *, lr: param - grad * torch.ones(1)) == only
    assert refuse(lambda param, grad, *, lr: param - torch.ones(1) * grad) == only


def test_functions_of_jax_are_refused_in_one_sentence():
    numpy = pytest.importorskip("jax").numpy
    for update in (
        lambda param, grad, *, lr: param - lr * numpy.sqrt(grad),
        lambda param, grad, *, lr: numpy.where(grad > 0, param, lr),
        lambda param, grad, *, lr: param - numpy.linalg.norm(grad),
    ):
        assert refuse(update) == f"Mine.update: {JAX}"


# The order of results ------------------------------------------------------------------------------------------------


def moments(param, grad, m, v):
    m = 0.9 * m + 0.1 * grad
    v = 0.99 * v + 0.01 * grad**2
    return param - m / sqrt(v), m, v


def test_results_in_each_other_s_place_are_refused():
    def crossed(param, grad, m, v, *, lr):
        param, m, v = moments(param, grad, m, v)
        return param, v, m

    def first_last(param, grad, m, v, *, lr):
        param, m, v = moments(param, grad, m, v)
        return m, v, param

    order = "the order is param, m, v, as in the signature"
    assert refuse(crossed) == f"Mine.update: returns v in the place of m; {order}"
    assert refuse(first_last) == f"Mine.update: returns m in the place of param; {order}"


def lagging(param, grad, last, before, *, lr):
    last = 0.5 * last + grad
    return param - lr * before, grad, last


def exchanging(param, grad, a=1.0, b=2.0, *, lr):
    return param - lr * a, b, a


def one_for_all(param, grad, a, b, *, lr):
    a = b = 0.5 * b + grad
    return param - lr * a, b, a


def own_names(param, grad, m, v, *, lr):
    new_m, new_v = 0.9 * m + grad, 0.9 * v + grad**2
    return param - lr * new_m, maximum(new_v, new_m), where(new_v > 0, new_m, 0)


def remembering(param, grad, before, *, lr):
    return param - lr * (grad + before), param


def becomes_state(param, grad, z, *, lr):
    z = z - lr * grad
    return z, z


@pytest.mark.parametrize("update", [lagging, exchanging, one_for_all, own_names, remembering, becomes_state])
def test_what_may_be_meant_so_is_taken(update):
    type("Mine", (Optimizer,), {"update": staticmethod(update), "lr": hyper(0.1, low=0)})


def test_the_rules_of_minima_change_no_value_in_place():
    grad, state = np.ones(3), np.zeros(3)
    for cls in BUILT_IN:
        hypers = {name: declared.default for name, declared in cls.hyperparameters.items()}
        hypers |= {"t": 1, "first": True, **WHOLE.get(cls, {})}
        states = [state] * len(cls.rule.state)
        cls.update(np.ones(3), grad, *states, **{name: hypers[name] for name in cls.rule.keywords})
        assert (grad == 1).all() and (state == 0).all()
