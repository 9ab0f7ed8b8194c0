"""What a rule decides by ``if``, of the step and of the shape: a program for each answer, chosen before each step."""

import numpy as np
import pytest
from rules import ENGINES

from minima import Tensor
from minima.optim import Optimizer, hyper, max, where

each_engine = pytest.mark.parametrize("engine", ENGINES)


class Seldom(Optimizer):
    """Begins with a look, adds up every few gradients, and stands still where there are many rows."""

    lr: float = hyper(0.5, low=0)
    interval: int = hyper(3, choices=range(1, 100))
    most: float = hyper(5, low=0)

    @staticmethod
    def update(param, grad, kept, peak, *, lr, interval, most, t, first):
        if first:
            return param, kept, max(grad)
        rows, _ = param.shape
        if rows > most:
            return param, kept, peak
        if t % interval == 0:
            kept = kept + grad
        return param - lr * grad, kept, peak


class ByWhere(Optimizer):
    """The same without a question of the step."""

    lr: float = hyper(0.5, low=0)
    interval: float = hyper(3, low=1)

    @staticmethod
    def update(param, grad, kept, peak, since, *, lr, interval, t, first):
        since = where(since == interval - 1, 0, since + 1)
        kept = where(since == 0, where(first, kept, kept + grad), kept)
        return where(first, param, param - lr * grad), kept, where(first, max(grad), peak), since


def trained(cls, engine, steps=20, **options):
    """Two parameters, the second of which misses every fifth gradient."""
    params = [Tensor(np.zeros(shape), dtype="float64", requires_grad=True) for shape in ((2, 3), (4,))]
    optimizer = cls(params, **ENGINES[engine], **options)
    rng = np.random.default_rng(0)
    for step in range(steps):
        for place, param in enumerate(params):
            grad = rng.normal(size=param.shape)
            param.grad = None if place and step % 5 == 4 else Tensor(grad, dtype="float64")
        optimizer.step()
    return optimizer


@each_engine
def test_every_parameter_takes_its_own_program_by_the_steps_that_it_has_taken(engine):
    found, wanted = trained(Seldom, engine), trained(ByWhere, engine)
    assert found.steps == wanted.steps == (20, 16)
    for place in (0, 1):
        assert np.array_equal(found.params[place].detach(), wanted.params[place].detach())
        for name in ("kept", "peak"):
            assert np.array_equal(getattr(found, name)[place], getattr(wanted, name)[place]), name


@each_engine
def test_programs_that_take_turns_are_planned_once(engine):
    optimizer = trained(Seldom, engine, steps=16)  # the gradients that are missing come round by then, too
    planned = optimizer._stepper.planned
    for _ in range(30):
        for param in optimizer.params:
            param.grad = Tensor(np.ones(param.shape), dtype="float64")
        optimizer.step()
    assert optimizer._stepper.planned <= planned + 4


def test_the_state_that_a_program_in_turn_needs_is_there_from_the_beginning_and_first_is_true_once():
    optimizer = trained(Seldom, "fused", steps=1)
    assert all(set(slot.state) == {"kept", "peak"} for slot in optimizer._slots)
    assert not any(slot.is_new for slot in optimizer._slots)


def test_state_that_a_parameter_of_this_shape_has_no_use_for_is_not_kept():
    params = [Tensor(np.zeros(shape), requires_grad=True) for shape in ((2, 3), (6, 2), (9,))]
    optimizer = Seldom([{"params": params[:2]}, {"params": params[2:], "most": 10}])
    assert [set(slot.state) for slot in optimizer._slots] == [{"kept", "peak"}, {"peak"}, {"kept", "peak"}]


@each_engine
def test_a_run_goes_on_from_its_state(engine):
    whole, part = trained(Seldom, engine, steps=9), trained(Seldom, engine, steps=4)
    other = Seldom(
        [Tensor(p.detach().numpy(), dtype="float64", requires_grad=True) for p in part.params], **ENGINES[engine]
    )
    other.load_state_dict(part.state_dict())
    rng = np.random.default_rng(0)
    for step in range(9):
        grads = [rng.normal(size=param.shape) for param in other.params]
        if step >= 4:
            for place, (param, grad) in enumerate(zip(other.params, grads, strict=True)):
                param.grad = None if place and step % 5 == 4 else Tensor(grad, dtype="float64")
            other.step()
    assert other.steps == whole.steps
    for place in (0, 1):
        assert np.array_equal(other.params[place].detach(), whole.params[place].detach())
        assert np.array_equal(other.kept[place], whole.kept[place])


def test_a_change_of_what_a_question_is_asked_of_takes_effect_with_the_next_step():
    optimizer = trained(Seldom, "fused", steps=2)
    before = optimizer.params[0].detach().numpy().copy()
    optimizer.most = 1.0
    for param in optimizer.params:
        param.grad = Tensor(np.ones(param.shape), dtype="float64")
    optimizer.step()
    assert np.array_equal(optimizer.params[0].detach(), before)


def test_in_8_bits_state_has_a_sign_if_any_of_the_programs_in_turn_may_give_it_one():
    class Late(Optimizer):
        @staticmethod
        def update(param, grad, kept, *, t):
            return param, kept + grad if t % 4 == 0 else kept + grad**2

    assert Late._variants.bounded(Late._variants.program(Late._declaration.complete({}))) == frozenset()


def test_what_runs_by_hand_asks_the_same_of_plain_numbers():
    settings = {"lr": 1.0, "interval": 2, "most": 5, "first": False}
    (odd, _, _), (even, _, _) = (Seldom.update(np.ones((2, 2)), 1.0, 0.0, 0.0, t=t, **settings) for t in (3, 4))
    assert np.array_equal(odd, even)
    assert [Seldom.update(np.ones((2, 2)), 1.0, 0.0, 0.0, t=t, **settings)[1] for t in (3, 4)] == [0.0, 1.0]


def test_a_formula_shows_the_usual_step():
    assert str(Seldom.formula(wd=0)) == "param = param - lr*grad"


def test_a_rule_that_asks_without_end_is_refused():
    with pytest.raises(TypeError) as raised:

        class Restless(Optimizer):
            @staticmethod
            def update(param, grad, *, t):
                for k in range(20):
                    if t % (k + 2) == 0:
                        param = param - grad
                return param

    words = (
        "Restless.update: must not branch on t, first and the shape in more than 64 ways; use where(condition, x, y)"
    )
    assert str(raised.value) == words
