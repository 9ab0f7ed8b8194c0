"""The imperative style: a subclass that overrides ``step`` and writes to ``p.data``, beside the built-in rules."""

import inspect

import numpy as np
import pytest
from rules import GRADIENTS, drive, joined, parameters

from minima import Tensor, init
from minima.optim import SGD, Adam, Optimizer, RMSProp, hyper


class HandSGD(Optimizer):
    def __init__(self, params, lr=0.01, momentum=0.0, wd=0.0):
        super().__init__(params)
        self.lr = lr
        self.momentum = momentum
        self.wd = wd
        self.u = [init.zeros(*p.shape) for p in self.params]

    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            grad = Tensor(p.grad, dtype="float32")
            self.u[i] = self.momentum * self.u[i] + (1 - self.momentum) * grad
            p.data *= 1 - self.lr * self.wd
            p.data = p.data - self.lr * self.u[i]


class HandRMSProp(Optimizer):
    def __init__(self, params, lr=0.001, wd=0.0, eps=1e-7, rho=0.9):
        super().__init__(params)
        self.lr, self.wd, self.eps, self.rho = lr, wd, eps, rho
        self.cache = [init.zeros(*p.shape) for p in self.params]

    def step(self):
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            self.cache[i] = self.rho * self.cache[i] + (1 - self.rho) * p.grad.data**2
            p.data = (1 - self.lr * self.wd) * p.data
            p.data = p.data - self.lr / (self.cache[i] + self.eps) ** 0.5 * p.grad.data


class HandAdam(Optimizer):
    def __init__(self, params, lr=1e-5, beta1=0.9, beta2=0.999, eps=1e-8, weight_decay=0.0):
        super().__init__(params)
        self.lr, self.beta1, self.beta2, self.eps, self.weight_decay = lr, beta1, beta2, eps, weight_decay
        self.exp_avg = [init.zeros(*p.shape) for p in self.params]
        self.exp_avg_sq = [init.zeros(*p.shape) for p in self.params]
        self.t = 0

    def step(self):
        self.t += 1
        for i, p in enumerate(self.params):
            if p.grad is None:
                continue
            p.data *= 1 - self.lr * self.weight_decay
            self.exp_avg[i] = self.beta1 * self.exp_avg[i] + (1 - self.beta1) * p.grad.data
            self.exp_avg_sq[i] = self.beta2 * self.exp_avg_sq[i] + (1 - self.beta2) * p.grad.data**2
            m_hat = self.exp_avg[i] / (1 - self.beta1**self.t)
            v_hat = self.exp_avg_sq[i] / (1 - self.beta2**self.t)
            p.data = p.data - self.lr * m_hat / (v_hat**0.5 + self.eps)


PAIRS = [
    (HandSGD, SGD, {"lr": 0.1, "momentum": 0.9, "wd": 0.1}),
    (HandSGD, SGD, {"momentum": 0.5}),
    (HandRMSProp, RMSProp, {"lr": 0.1, "wd": 0.1, "rho": 0.8}),
    (HandAdam, Adam, {"lr": 0.1, "weight_decay": 0.1}),
    (HandAdam, Adam, {"lr": 0.1, "beta1": 0.5, "beta2": 0.9, "eps": 1e-3}),
]


@pytest.mark.parametrize(
    ("hand", "rule", "hypers"), PAIRS, ids=[f"{rule.__name__}{hypers}" for _, rule, hypers in PAIRS]
)
def test_an_algorithm_written_by_hand_does_what_the_rule_does(hand, rule, hypers):
    ours, theirs = parameters("float32"), parameters("float32")
    by_hand, built_in = hand(ours, **hypers), rule(theirs, **hypers)
    for row in GRADIENTS:
        drive(by_hand, ours, [row])
        drive(built_in, theirs, [row])
        scale = np.abs(GRADIENTS).max(axis=0) + 100
        assert (np.abs(joined(ours) - joined(theirs)) <= 1e-6 * scale).all()
        for name in built_in.state_dict()["state"]["0"]:  # SGD without momentum keeps none
            assert joined(getattr(by_hand, name)) == pytest.approx(joined(getattr(built_in, name)), rel=1e-5, abs=1e-6)
        assert by_hand.t == built_in.t


@pytest.mark.parametrize("cls", [HandSGD, HandRMSProp, HandAdam])
def test_a_step_by_hand_writes_into_the_parameter_s_own_memory_and_records_nothing(cls):
    w = Tensor([1.0, 2.0], requires_grad=True)
    memory, alias = w.buffer, w.detach()
    optimizer = cls([w], lr=0.1)
    for _ in range(2):
        (w * w).sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        assert w.grad is None
    assert w.buffer is memory and alias.tolist() == w.tolist() != [1.0, 2.0]
    assert w.is_leaf and w.requires_grad


def test_parameters_without_a_gradient_can_be_skipped_by_hand():
    a, b = Tensor([1.0], requires_grad=True), Tensor([1.0], requires_grad=True)
    optimizer = HandSGD([a, b], lr=0.5)
    (a * a).sum().backward()
    optimizer.step()
    assert (a.item(), b.item()) == (0.0, 1.0)


def test_t_counts_the_steps_whether_or_not_the_subclass_counts_them_itself():
    class Passing(HandSGD):
        def step(self):
            super().step()

    class Idle(Optimizer):
        def step(self):
            pass

    for cls in (HandSGD, HandAdam, Idle, Passing):
        optimizer = cls([Tensor([1.0])])
        for t in range(1, 4):
            optimizer.step()
            assert optimizer.t == t, cls
    assert HandSGD.step.__name__ == "step"


def test_a_subclass_may_add_to_the_step_of_a_rule():
    class Clipped(SGD):
        def step(self):
            """Step, then keep the parameters within one."""
            super().step()
            for p in self.params:
                p.data = p.data.clip(-1, 1)

    w = Tensor([0.9, 5.0], requires_grad=True)
    w.grad = Tensor([1.0, 1.0])
    optimizer = Clipped([w], lr=0.5)
    optimizer.step()
    assert w.tolist() == pytest.approx([0.4, 1.0]) and (optimizer.t, optimizer.steps) == (1, (1,))
    assert Clipped.step.__doc__ == "Step, then keep the parameters within one."


def test_a_step_by_hand_that_fails_does_not_count():
    class Failing(Optimizer):
        def step(self):
            raise RuntimeError("by design")

    optimizer = Failing([Tensor([1.0])])
    with pytest.raises(RuntimeError, match="by design"):
        optimizer.step()
    assert optimizer.t == 0


def test_a_step_by_hand_may_take_arguments_and_return_something():
    class Closing(Optimizer):
        def step(self, closure, scale=1):
            return closure() * scale

    assert Closing([Tensor([1.0])]).step(lambda: 2, scale=3) == 6


def test_a_class_with_a_constructor_of_its_own_shows_that_one_s_signature():
    assert str(inspect.signature(HandSGD)) == "(params, lr=0.01, momentum=0.0, wd=0.0)"


def test_a_constructor_that_forgets_that_of_optimizer_is_told_so():
    class Forgetful(Optimizer):
        def __init__(self, params, lr=0.01):
            self.held = list(params)

        def step(self):
            pass

    class ForgetfulRule(SGD):
        def __init__(self, params):
            pass

    class Inherits(Forgetful):
        pass

    for cls in (Forgetful, ForgetfulRule, Inherits):
        with pytest.raises(TypeError) as caught:
            cls([Tensor([1.0])])
        words = "__init__ must call that of Optimizer; write super().__init__(params) in it, first of all"
        assert str(caught.value) == f"{cls.__name__}: {words}"


def test_a_hyperparameter_is_there_once_the_constructor_was_called():
    class Hasty(SGD):
        def __init__(self, params, lr):
            self.lr = lr
            super().__init__(params)

    words = "^Hasty: lr is a hyperparameter, and there once the constructor was called; call super().__init__ first$"
    with pytest.raises(AttributeError, match=words.replace("()", r"\(\)")):
        Hasty([Tensor([1.0])], 0.1)


def test_an_attribute_of_ones_own_may_be_deleted():
    optimizer = HandSGD([Tensor([1.0])])
    del optimizer.momentum
    assert not hasattr(optimizer, "momentum")


def test_hyperparameters_may_be_declared_in_the_imperative_style_too():
    class Declared(Optimizer):
        lr: float = hyper(0.5, low=0)

        def step(self):
            for p in self.params:
                p.data = p.data - self.lr * p.grad.data

    w = Tensor([1.0], requires_grad=True)
    w.grad = Tensor([1.0])
    Declared([w]).step()
    assert w.tolist() == [0.5]
    with pytest.raises(ValueError, match=r"^Declared: lr must lie in \[0, inf\); got -1.0$"):
        Declared([w], lr=-1)
    with pytest.raises(TypeError, match="^Declared: there is no hyperparameter 'wd'; there are lr$"):
        Declared([w], wd=0.1)


def test_groups_and_names_are_read_for_a_subclass_by_hand_too():
    a, b = Tensor([1.0]), Tensor([2.0])
    assert [id(p) for p in HandSGD([{"params": [a]}, {"params": [("b", b)]}]).params] == [id(a), id(b)]
    with pytest.raises(ValueError, match="^HandSGD: params is empty"):
        HandSGD([])


@pytest.mark.parametrize(
    "option",
    [{"on_nonfinite": "skip"}, {"decay": "l2"}, {"state_dtype": "int8"}, {"rounding": "master"}, {"seed": 1}],
    ids=str,
)
def test_a_keyword_that_would_do_nothing_for_a_step_by_hand_is_refused(option):
    class ByHand(Optimizer):
        def step(self):
            pass

    words = "^ByHand: state_dtype, decay, maximize, cautious, max_norm, ema_decay, rounding, seed, on_nonfinite are for"
    with pytest.raises(TypeError, match=words):
        ByHand([Tensor([1.0])], **option)
