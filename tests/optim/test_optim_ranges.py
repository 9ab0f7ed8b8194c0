"""Which state can never become negative, read from the rule and kept without a sign in 8 bits; its random numbers."""

import numpy as np
import pytest
from rules import give

from minima import Tensor
from minima.optim import (
    FTRL,
    MADGRAD,
    SGD,
    Adan,
    Optimizer,
    Yogi,
    cbrt,
    clip,
    hyper,
    max,
    maximum,
    mean,
    norm,
    sqrt,
    sum,
    total,
    where,
)
from minima.optim.language.lowering import lower
from minima.optim.language.ranges import never_negative


def tensor(values):
    return Tensor(values, requires_grad=True)


SIGNS = [
    (lambda param, grad, s, *, a: (param, a * s + (1 - a) * grad**2), True),
    (lambda param, grad, s, *, a: (param, a * s + (1 - a) * grad), False),
    (lambda param, grad, s, *, a: (param, maximum(s, abs(grad))), True),
    (lambda param, grad, s, *, a: (param, maximum(s, grad)), True),  # for s starts at zero
    (lambda param, grad, s=-1.0, *, a: (param, maximum(s, grad)), False),
    (lambda param, grad, s, *, a: (param, sqrt(s + grad * grad)), True),
    (lambda param, grad, s, *, a: (param, s - grad**2), False),
    (lambda param, grad, s, *, a: (param, s - a), False),
    (lambda param, grad, s, *, a: (param, where(grad > 0, s + a, 0)), True),
    (lambda param, grad, s, *, a: (param, where(grad > 0, s, -a)), False),
    (lambda param, grad, s, *, a: (param, (2 - a) * s + grad**4), False),  # true, but not by intervals
    (lambda param, grad, s, *, a: (param, grad > 0), True),
    (lambda param, grad, s, *, a: (param, abs(grad) / (1 + s)), True),
    (lambda param, grad, s, *, a: (param, abs(grad) / (s - 1)), False),
    (lambda param, grad, s, *, a: (param, -abs(grad)), False),
    (lambda param, grad, s, *, a: (param, grad * param), False),
    (lambda param, grad, s, *, a: (param, a * s + norm(grad)), True),
    (lambda param, grad, s, *, a: (param, a * s + mean(grad**2)), True),
    (lambda param, grad, s, *, a: (param, s + sum(grad)), False),
    (lambda param, grad, s, *, a: (param, s + max(grad * grad)), True),
    (lambda param, grad, s, *, a: (param, s + max(grad)), False),
    (lambda param, grad, s, *, a: (param, s + total(grad**2)), True),
    (lambda param, grad, s, *, a: (param, s + total(grad)), False),
    (lambda param, grad, s, *, a: (param, cbrt(s + grad**2)), True),
    (lambda param, grad, s, *, a: (param, cbrt(grad)), False),
    (lambda param, grad, s, *, a: (param, clip(grad, 0, 1)), True),
    (lambda param, grad, s, *, a: (param, clip(grad, -1, 1)), False),
    (lambda param, grad, s="param", *, a: (param, maximum(s, 0)), False),  # a parameter may begin below zero
]
BY_ROWS = [
    (lambda param, grad, s, *, a: (param, s + mean(grad, axis=0)), False),
    (lambda param, grad, s, *, a: (param, s + sum(abs(grad), axis=1)), True),
    (lambda param, grad, s, *, a: (param, s + norm(grad, axis=1) * norm(grad, axis=0)), True),
]
"""Blocks of 8 bits run across rows, and so the fused engine leaves these to the reference engine."""


@pytest.mark.parametrize(("update", "bounded"), BY_ROWS, ids=range(len(BY_ROWS)))
def test_sums_of_rows_and_columns_tell_signs_too(update, bounded):
    test_only_state_that_cannot_become_negative_is_kept_without_a_sign(update, bounded, {})


@pytest.mark.parametrize(("update", "bounded"), SIGNS, ids=range(len(SIGNS)))
def test_only_state_that_cannot_become_negative_is_kept_without_a_sign(update, bounded, engine):
    namespace = {"update": staticmethod(update), "a": hyper(0.5, low=0, high=1)}
    w = tensor([1.0, -2.0, 3.0, -4.0])
    optimizer = type("Mine", (Optimizer,), namespace)([w], state_dtype="int8", **engine)
    assert (str(optimizer.state_dict()["state"]["0"]["s"].dtype) == "uint8") == bounded
    plain = type("Mine", (Optimizer,), namespace)([tensor([1.0, -2.0, 3.0, -4.0])], **engine)
    for one in (optimizer, plain):
        give(one.params, [[2.0, -1.0, -2.0, 1.0]])
        one.step()
    kept, exact = optimizer.s[0].numpy(), plain.s[0].numpy()
    assert (np.sign(kept) == np.sign(exact)).all()


@pytest.mark.parametrize(
    ("cls", "unsigned"),
    [(Yogi, {"exp_avg_sq"}), (Adan, {"exp_avg_sq"}), (MADGRAD, {"grad_sum_sq"}), (FTRL, {"grad_sum_sq"})],
)
def test_sums_and_averages_of_squares_of_the_rules_are_kept_without_a_sign(cls, unsigned):
    program = lower(cls._trace({}))
    assert never_negative(program, cls.hyperparameters, cls.rule.state) == unsigned


def test_what_products_of_matrices_give_may_be_negative_and_their_transposes_are_as_they_are():
    class Products(Optimizer):
        @staticmethod
        def update(param, grad, product, turned):
            return param, (grad**2 @ grad.T**2) @ grad**2, (grad.T**2).T + turned

    program = lower(Products._trace({}))
    assert never_negative(program, Products.hyperparameters, Products.rule.state) == {"turned"}


def test_numbers_of_rows_and_columns_are_never_negative():
    class Sized(Optimizer):
        @staticmethod
        def update(param, grad, s, d):
            rows, columns = param.shape
            return param, s + rows * columns, d + rows - columns

    assert never_negative(lower(Sized._trace({})), Sized.hyperparameters, Sized.rule.state) == {"s"}


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_two_steps_round_differently_and_two_states_too(kind, engine):
    kept = []
    w = tensor(np.zeros(512))
    optimizer = SGD([w], momentum=0.5, dampening=0.0, state_dtype=kind, **engine)
    for _ in range(2):
        give([w], [np.linspace(0.3, 0.7, 512)])
        optimizer.step()
        kept.append(optimizer.u[0].numpy().copy())
    assert (kept[0] != kept[1]).any()

    class Twice(Optimizer):
        @staticmethod
        def update(param, grad, first, second, third):
            return param, grad, grad, grad

    optimizer = Twice([w], state_dtype=kind, **engine)
    optimizer.step()
    first, second, third = (getattr(optimizer, name)[0].numpy() for name in ("first", "second", "third"))
    assert (first != second).any() and (second != third).any() and (first != third).any()
