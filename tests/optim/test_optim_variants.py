"""The variants of a rule: what is switched off, which state rests, what is first, and copies in full precision."""

import numpy as np
import pytest
from rules import bits, give

from minima import Tensor
from minima.optim import SGD, AdaGrad, Adam, Formula, Optimizer, RMSProp, hyper, where
from minima.optim.engines import Stored
from minima.optim.engines.cpu.launch import Launch
from minima.optim.engines.reference import ReferenceKernel
from minima.optim.language.lowering import lower
from minima.optim.language.master import with_master
from minima.optim.language.program import compile_lines
from minima.optim.language.ranges import never_negative
from minima.optim.language.trace import trace


class Switched(Optimizer):
    """A push that may be off, and a second state that one variant alone keeps."""

    lr: float = hyper(0.1, low=0)
    push: float = hyper(0.5, low=0, switch=True)
    slow: bool = hyper(False)

    @staticmethod
    def update(param, grad, u, slowed, *, lr, push, slow):
        if push:
            u = u + push * grad
        if slow:
            slowed = 0.5 * slowed + 0.5 * grad
        return param - lr * (u + grad), u, slowed


class Warming(Optimizer):
    """A shorter first step."""

    lr: float = hyper(0.1, low=0)
    warm: float = hyper(1.0, low=0)

    @staticmethod
    def update(param, grad, *, lr, warm, first):
        return param - where(first, warm, lr) * grad


def variant(cls, **hypers):
    """The variant that an optimizer with these values takes."""
    options = {"decay": "decoupled", "maximize": False, "cautious": False}
    options |= {name: hypers.pop(name) for name in options if name in hypers}
    return cls._declaration.variant((cls._declaration.bind((), hypers) | options).__getitem__)


def program(cls, **hypers):
    return lower(trace(cls.rule, cls._declaration.coefficient, variant(cls, **hypers)))


def stepped(cls, engine, start, grads, **hypers):
    """The optimizer after these gradients."""
    w = Tensor(start, requires_grad=True)
    optimizer = cls([w], **hypers, **engine)
    for row in grads:
        give([w], [row])
        optimizer.step()
    return optimizer


# Which variant --------------------------------------------------------------------------------------------------------


def test_a_variant_names_the_choices_then_flags_left_out_numbers_and_those_that_are_off():
    assert variant(SGD) == (
        ("decay", "decoupled"),
        ("maximize", False),
        ("cautious", False),
        ("max_norm", None),
        ("ema_decay", None),
        ("momentum", 0.0),
        ("wd", 0.0),
        ("dampening", None),
        ("nesterov", False),
        ("dampen_first", True),
    )
    assert dict(variant(SGD, momentum=0.9, wd=0.1, dampening=0.0, decay="l2", maximize=True)) == {
        "decay": "l2",
        "maximize": True,
        "cautious": False,
        "max_norm": None,
        "ema_decay": None,
        "nesterov": False,
        "dampen_first": True,
    }
    assert dict(variant(Adam)) == {
        "decay": "decoupled",
        "maximize": False,
        "cautious": False,
        "max_norm": None,
        "ema_decay": None,
        "weight_decay": 0.0,
        "amsgrad": False,
        "eps_hat": False,
        "eps_root": None,
        "max_hat": False,
    }


def test_values_that_ask_for_the_same_terms_share_a_variant_and_a_program():
    assert variant(SGD, momentum=0.5) == variant(SGD, momentum=0.9, lr=7.0) and hash(variant(SGD)) == hash(
        variant(SGD, lr=0.5)
    )
    assert program(SGD, momentum=0.5) is program(SGD, momentum=0.9)
    assert variant(SGD, momentum=0) == variant(SGD, momentum=-0.0)
    assert variant(SGD, momentum=1e-300) != variant(SGD)


def test_what_is_no_number_is_never_off():
    choices = {"decay": "l2", "maximize": False, "cautious": False, "max_norm": None, "ema_decay": None}
    values = dict.fromkeys(SGD._declaration.hypers, np.zeros(1)) | choices
    assert SGD._declaration.variant(values.__getitem__) == (*choices.items(),)


def test_a_switch_reaches_a_rule_as_a_number_where_it_is_0_and_can_be_branched_on_where_it_is_not(engine):
    start, grads = (1.0, 2.0), [(1.0, -2.0)] * 2
    off = stepped(Switched, engine, start, grads, push=0.0)
    assert off.params[0].tolist() == pytest.approx([0.8, 2.4]) and off.u[0].tolist() == [0, 0]
    on = stepped(Switched, engine, start, grads)
    assert on.params[0].tolist() == pytest.approx([0.65, 2.7]) and on.u[0].tolist() == [1, -2]


def test_other_numbers_cannot_be_branched_on():
    def update(param, grad, *, lr):
        return param - lr * grad if lr else param

    with pytest.raises(TypeError, match=r"Mine\.update: update must not branch on a value"):
        type("Mine", (Optimizer,), {"lr": hyper(0.1), "update": staticmethod(update)})


def test_a_branch_that_only_the_variant_with_all_terms_takes_is_read_when_the_class_is_made():
    def update(param, grad, *, push):
        return (param - push * grad, grad) if push else param - grad

    with pytest.raises(TypeError, match=r"Mine\.update: must return as many values as it updates, 1 \(param\); got 2"):
        type("Mine", (Optimizer,), {"push": hyper(0.0, switch=True), "update": staticmethod(update)})


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (
            lambda: hyper(0.5, above=0, switch=True),
            ValueError,
            "hyper: a switch must allow 0, which is off; its range is (0, inf)",
        ),
        (lambda: hyper(True, switch=True), TypeError, "hyper: a flag is a switch already; leave switch out"),
        (
            lambda: type(
                "Mine", (Optimizer,), {"first": hyper(0.5), "update": staticmethod(lambda param, grad, *, first: param)}
            ),
            TypeError,
            "Mine.update: first says whether the state is new, and cannot be a hyperparameter; choose another name",
        ),
    ],
)
def test_a_switch_that_can_never_be_off_is_refused_and_so_is_a_hyperparameter_called_first(call, error, words):
    with pytest.raises(error) as caught:
        call()
    assert str(caught.value) == words


# Decay and maximize --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("decay", ["decoupled", "independent", "l2"])
def test_without_weight_decay_nothing_is_put_in_front_of_a_rule(decay, engine):
    assert program(SGD, decay=decay) == program(SGD)
    start = (-np.inf, np.inf, np.nan, 1.0)
    optimizer = stepped(SGD, engine, start, [(0.5, 0.5, 0.5, 0.5)], decay=decay, lr=1.0)
    np.testing.assert_array_equal(optimizer.params[0].detach().numpy(), [-np.inf, np.inf, np.nan, 0.5])


def test_decoupled_decay_follows_a_learning_rate_that_is_switched_off():
    def update(param, grad, *, lr):
        return param - lr * grad if lr else param + grad

    mine = type("Mine", (Optimizer,), {"lr": hyper(0.1, switch=True), "update": staticmethod(update)})
    assert "h0 = 0.0 * wd" in str(program(mine, lr=0.0, wd=0.5))


def test_to_maximize_negates_the_gradient_before_all_else():
    assert str(program(SGD, maximize=True)).splitlines()[2:4] == ["    negated = -grad", "    x1 = lr * negated"]
    body = [str(line) for line in program(SGD, maximize=True, wd=0.5, decay="l2").body]
    assert body[:3] == ["x0 = -grad", "x1 = wd * param", "decayed = x0 + x1"]
    complete = SGD._declaration.complete({"maximize": True})
    assert Formula(trace(SGD.rule, "wd", complete)).text.splitlines()[:2] == [
        "param = (1 - lr*wd)*param",
        "grad = -grad",
    ]
    made = program(SGD, maximize=True)
    body = compile_lines("body", (*made.inputs, *made.scalars), made.body, made.outputs, np.dtype("float64"))
    assert body(1.0, 3.0, 0.5) == (2.5,)


# First ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cls", "hypers", "scalars"),
    [
        (SGD, {"momentum": 0.75, "dampen_first": False}, {1.0: (0.75, 1.0, 0.5), 0.0: (0.75, 0.25, 0.5)}),
        (Warming, {"warm": 0.25}, {1.0: (0.25,), 0.0: (0.5,)}),
    ],
)
def test_a_host_says_by_a_number_whether_a_step_is_the_first(cls, hypers, scalars):
    made = program(cls, **hypers)
    values = cls._declaration.bind((), {"lr": 0.5, **hypers})
    assert "first" in made.hypers and "t" not in made.hypers
    for first, wanted in scalars.items():
        numbers = [np.float64(first if name == "first" else values[name]) for name in made.hypers]
        assert compile_lines("host", made.hypers, made.host, made.scalars)(*numbers) == wanted


def test_first_is_a_truth_for_a_rule_and_may_be_combined_with_others(engine):
    class Starting(Optimizer):
        @staticmethod
        def update(param, grad, seen, *, first):
            return where(first & (grad > 0), param - 1, where(~first, param + 10, param)), seen + first

    optimizer = stepped(Starting, engine, (0.0, 0.0), [(1.0, -1.0)] * 3)
    assert optimizer.params[0].tolist() == [19, 20] and optimizer.seen[0].tolist() == [1, 1]


# Live state ----------------------------------------------------------------------------------------------------------


def test_plain_sgd_has_no_average_and_no_host_part():
    plain = program(SGD)
    assert plain.inputs == ("param", "grad") and plain.outputs == ("new_param",)
    assert plain.state == plain.numbers == plain.host == ()


def test_state_that_a_form_neither_changes_nor_reads_is_not_part_of_its_program():
    assert program(Switched).state == ("u",)
    slow = program(Switched, slow=True)
    assert slow.state == ("u", "slowed") and slow.numbers == (0, 1)
    # without the push, u is read, and never changed
    assert program(Switched, slow=True, push=0.0).state == ("u", "slowed")


def chain(param, grad, a, b, c, d, *, lr, deep):
    return param - lr * grad, b, c, c, d + deep * grad if deep else d


def test_state_that_is_needed_for_other_state_is_live():
    mine = type(
        "Mine", (Optimizer,), {"lr": hyper(0.1), "deep": hyper(0.0, switch=True), "update": staticmethod(chain)}
    )
    assert program(mine).state == ("a", "b", "c") and program(mine).numbers == (0, 1, 2)
    assert program(mine, deep=2.0).numbers == (0, 1, 2, 3)


class Second(Optimizer):
    """Keeps one of two states, in either place."""

    both: bool = hyper(False)

    @staticmethod
    def update(param, grad, early, late, *, both):
        return param - grad, 0.5 * early + grad if both else early, 0.5 * late + grad


@pytest.mark.parametrize("kind", ["bfloat16", "int8"])
def test_random_numbers_are_those_of_the_place_in_the_rule(kind, engine):
    values, grads = np.linspace(0.3, 0.7, 600), [np.linspace(-1, 2, 600)] * 3
    alone, beside = (
        stepped(Second, engine, values, grads, both=both, state_dtype=kind, wd=0.0) for both in (False, True)
    )
    assert program(Second).numbers == (1,)
    assert alone.late[0].numpy().tobytes() == beside.late[0].numpy().tobytes()
    assert (alone.early[0].numpy() == 0).all() and (beside.early[0].numpy() != beside.late[0].numpy()).any()


def test_engines_agree_on_a_program_that_leaves_state_alone():
    rng = np.random.default_rng(1)
    start, grads = rng.normal(size=100), rng.normal(size=(3, 100))
    for hypers in ({"push": 0.0}, {"slow": True, "wd": 0.1}, {"slow": True, "push": 0.0}):
        found = [stepped(Switched, {"engine": name}, start, grads, **hypers) for name in ("reference", "fused")]
        assert bits(found[0]) == bits(found[1])


def test_only_state_of_the_program_is_said_to_be_never_negative():
    def update(param, grad, size, other, *, keep):
        return param - grad, abs(grad), abs(grad) if keep else other

    mine = type("Mine", (Optimizer,), {"keep": hyper(False), "update": staticmethod(update)})
    answers = [
        never_negative(program(mine, keep=keep), mine.hyperparameters, mine.rule.state) for keep in (False, True)
    ]
    assert answers == [{"size"}, {"size", "other"}]


@pytest.mark.parametrize(
    ("cls", "wanted"),
    [
        (SGD, {"u"}),
        (AdaGrad, set()),
        (RMSProp, {"grad_avg", "momentum_buffer"}),
        (Adam, {"max_exp_avg_sq"}),
        (Switched, {"slowed"}),
        (Second, {"early"}),
    ],
)
def test_state_that_a_flag_a_0_or_a_left_out_number_switches_off_is_dispensable(cls, wanted):
    assert cls._variants.dispensable == wanted


def test_state_that_is_not_kept_reads_as_the_hyperparameter_that_it_would_begin_as(engine):
    def update(param, grad, kept="begin", *, keep):
        return param - grad, kept + grad if keep else kept

    hypers = {"begin": hyper(0.5), "keep": hyper(False)}
    mine = type("Mine", (Optimizer,), hypers | {"update": staticmethod(update)})
    optimizer = stepped(mine, engine, (1.0, 2.0), [(1.0, 1.0)], begin=4.0)
    assert optimizer.state_dict()["state"] == {"0": {}} and optimizer.kept[0].tolist() == [4.0, 4.0]
    optimizer.keep, optimizer.begin = True, 6.0
    give(optimizer.params, [(1.0, 2.0)])
    optimizer.step()
    assert optimizer.kept[0].tolist() == [7.0, 8.0]


def test_state_that_only_two_options_together_switch_off_is_dispensable():
    def update(param, grad, kept, *, slow, fast):
        if slow and fast:
            raise ValueError("one of them")
        return param - grad, grad if slow or not fast else kept

    hypers = {"slow": hyper(False), "fast": hyper(False)}
    mine = type("Mine", (Optimizer,), hypers | {"update": staticmethod(update)})
    assert mine._variants.dispensable == {"kept"}


@pytest.mark.parametrize(
    ("cls", "hypers"),
    [(Adam, {"amsgrad": True}), (RMSProp, {"momentum": 0.5, "centered": True}), (SGD, {"momentum": 0.5})],
)
def test_options_that_come_and_go_take_their_state_with_them_through_a_state_dict(cls, hypers, engine):
    start, grads = (1.0, -2.0), [(0.5, -3.0), (1.0, 0.25)]
    plain, full = stepped(cls, engine, start, grads), stepped(cls, engine, start, grads, **hypers)
    kept = [plain.state_dict()["state"]["0"], full.state_dict()["state"]["0"]]
    assert [*kept[1]] == [*cls.rule.state] and kept[0].keys() == cls.rule.state.keys() - cls._variants.dispensable
    for source, other in ((plain, full), (full, plain)):
        w = Tensor(source.params[0].detach().numpy().copy(), requires_grad=True)
        resumed = cls([w], **(hypers if other is full else {}), **engine)
        give([w], [grads[0]])
        resumed.step()
        w.data = source.params[0]
        assert resumed.load_state_dict(source.state_dict()) == ([], [])
        for name, value in hypers.items():
            assert getattr(resumed, name) == getattr(source, name) and (getattr(source, name) == value) == (
                source is full
            )
        for optimizer in (resumed, source):
            give(optimizer.params, [grads[1]])
            optimizer.step()
        assert bits(resumed) == bits(source)


# A copy in full precision --------------------------------------------------------------------------------------------

KINDS = {"float16": np.float16, "bfloat16_nearest": np.uint16}


def masters(kind, start, grads, written=None):
    """The copy and the parameter after steps of plain SGD with lr = 1 on both engines; ``written`` before the last."""
    made = with_master(program(SGD))
    single = np.dtype("float32")
    for engine in ("reference", "fused"):
        param = Stored(kind, -1, start.shape, single, (np.zeros(start.shape, KINDS[kind]),))
        grad = Stored(kind, -1, start.shape, single, (np.zeros(start.shape, KINDS[kind]),))
        param.write(start, 0)
        copy = param.read().astype(np.float32)
        for step, row in enumerate(grads):
            if written is not None and step == len(grads) - 1:
                param.write(written, 0)
            grad.write(row, 0)
            if engine == "reference":
                kept = Stored("float32", 0, start.shape, single, (copy,))
                kernel = ReferenceKernel(made, lambda param=param: [param], lambda: None, lambda kept=kept: [(kept,)])
                kernel.arrange([0])
                kernel.load([grad.arrays[0]])
                kernel.begin([(1.0,)], [step + 1])
                kernel.run()
            else:
                launch = Launch(made, kind, ("float32",), single, [start.shape])
                launch.buffers[:] = [[param.arrays[0].ctypes.data, copy.ctypes.data]]
                launch.grads[:] = [grad.arrays[0].ctypes.data]
                launch.begin([(1.0,)], [step + 1])
                launch.run()
        yield copy, param.read()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_keeps_what_the_parameter_is_too_coarse_for(kind):
    for copy, param in masters(kind, np.ones(100), [np.full(100, 2.0**-14)] * 3):
        assert (copy == 1 - 3 * 2.0**-14).all() and (param == 1).all()


@pytest.mark.parametrize("kind", KINDS)
def test_a_copy_gives_way_to_what_others_have_written_to_the_parameter(kind):
    start = np.array([1.0, 2.0, -3.0, 4.0])
    written = np.array([1.0, 8.0, np.nan, np.inf])
    for copy, _ in masters(kind, start, [np.full(4, 2.0**-14)] * 3, written):
        np.testing.assert_array_equal(copy, [1 - 3 * 2.0**-14, np.float32(8 - 2.0**-14), np.nan, np.inf])


@pytest.mark.parametrize("kind", KINDS)
def test_engines_round_a_copy_alike(kind):
    rng = np.random.default_rng(2)
    start = np.concatenate([rng.normal(size=300) * 10.0 ** rng.integers(-8, 5, 300), [0.0, -0.0, np.inf, np.nan, 6e-8]])
    one, other = masters(kind, start, rng.normal(size=(4, start.size)) * 1e-3)
    for mine, theirs in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, theirs)
