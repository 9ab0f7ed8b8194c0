"""Options and choices of a group, set before a run and in the middle of one; rounding in half precision."""

import copy
import math
import pickle

import numpy as np
import pytest
from rules import ENGINES, GRADIENTS, Turning, bits, drive, give, parameters, split

from minima import Tensor
from minima.optim import SGD, AdaGrad, Adam, Optimizer, RMSProp, where


def tensor(values, dtype="float32"):
    return Tensor(np.asarray(values), dtype=dtype, requires_grad=True)


def values(optimizer):
    return optimizer.params[0].detach().numpy().astype("f8")


# Set in the middle of a run ------------------------------------------------------------------------------------------

LATER = [
    (SGD, {"momentum": 0.5}, {"decay": "l2", "wd": 0.25}),
    (SGD, {"momentum": 0.5, "wd": 0.25}, {"decay": "independent"}),
    (SGD, {"momentum": 0.5, "wd": 0.25}, {"wd": 0.0}),
    (SGD, {"momentum": 0.5}, {"maximize": True}),
    (SGD, {"momentum": 0.5}, {"nesterov": True}),
    (SGD, {"momentum": 0.5}, {"dampening": 0.25, "momentum": 0.75}),
    (Adam, {"lr": 0.1}, {"maximize": True, "decay": "l2", "wd": 0.5}),
    (Adam, {"lr": 0.1}, {"beta1": 0.0, "lr": lambda step: 0.1 / (1 + step)}),
    (AdaGrad, {"lr": 0.1}, {"lr_decay": 0.5, "eps_inside": False}),
    (RMSProp, {"lr": 0.1, "on_nonfinite": "skip"}, {"eps": lambda step: 0.01 * (1 + step), "rho": 0.0}),
    (SGD, {"lr": 0.01}, {"rounding": "stochastic"}),
    (Adam, {"lr": 0.01, "rounding": "stochastic"}, {"seed": 3}),
    (Adam, {"lr": 0.01, "rounding": "stochastic"}, {"rounding": "master"}),
    (Adam, {"lr": 0.01, "rounding": "master"}, {"rounding": "nearest"}),
]


@pytest.mark.parametrize("state_dtype", [None, "int8"])
@pytest.mark.parametrize(("cls", "before", "later"), LATER, ids=[f"{c.__name__} {[*a]} {[*b]}" for c, a, b in LATER])
def test_what_is_set_in_the_middle_of_a_run_counts_from_the_next_step_on(
    cls, before, later, state_dtype, dtype, engine
):
    """The run goes on as one that had it from the start, and was given the parameters and the state of this one."""
    optimizer = cls(parameters(dtype), **before, state_dtype=state_dtype, **engine)
    drive(optimizer, optimizer.params, GRADIENTS[:4])
    other = cls(parameters(dtype), **before | later, state_dtype=state_dtype, **engine)
    for mine, its in zip(optimizer.params, other.params, strict=True):
        its.data = mine.detach().numpy().copy()
    own = {name: entry for name, entry in other.state_dict().items() if name in ("defaults", "rounding", "seed")}
    other.load_state_dict(optimizer.state_dict() | own)
    for name, value in later.items():
        setattr(optimizer, name, value)
    for each in (optimizer, other):
        drive(each, each.params, GRADIENTS[4:])
    assert bits(optimizer) == bits(other)
    if dtype == "float16" or not {"rounding", "seed"} & {*later}:
        untouched = cls(parameters(dtype), **before, state_dtype=state_dtype, **engine)
        drive(untouched, untouched.params)
        assert bits(optimizer) != bits(untouched)


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
def test_the_engine_may_change_between_any_two_steps(state_dtype, dtype):
    runs = []
    for engines in (["reference"] * 9, ["fused", "reference", "fused"] * 3):
        optimizer = Adam(parameters(dtype), lr=0.1, rounding="stochastic", state_dtype=state_dtype)
        for engine, row in zip(engines, GRADIENTS, strict=True):
            optimizer.engine = engine
            drive(optimizer, optimizer.params, [row])
        runs.append(bits(optimizer))
    assert runs[0] == runs[1]


WRONG = [
    ("engine", "fast", ValueError, "engine must be one of 'fused', 'reference'; got 'fast'"),
    ("engine", [], ValueError, "engine must be one of 'fused', 'reference'; got []"),
    ("on_nonfinite", "skpi", ValueError, "on_nonfinite must be one of 'propagate', 'raise', 'skip'; got 'skpi'"),
    ("rounding", "up", ValueError, "rounding must be one of 'stochastic', 'nearest', 'master'; got 'up'"),
    ("seed", -1, ValueError, "seed must be an integer of at least 0; got -1"),
    ("seed", 0.5, TypeError, "seed must be an integer of at least 0; got 0.5"),
    ("decay", "L2", ValueError, "decay must be one of 'decoupled', 'independent', 'l2'; got 'L2'"),
    ("maximize", 1, TypeError, "maximize must be one of False, True; got 1"),
    (
        "rounding",
        np.array(["up", "up"]),
        ValueError,
        "rounding must be one of 'stochastic', 'nearest', 'master'; got array(['up', 'up'], dtype='<U2')",
    ),
    ("on_nonfinite", [], ValueError, "on_nonfinite must be one of 'propagate', 'raise', 'skip'; got []"),
    ("state_dtype", np.ones(2), ValueError, "state_dtype must be None, 'bfloat16' or 'int8'; got array([1., 1.])"),
    ("state_dtype", "int4", ValueError, "state_dtype must be None, 'bfloat16' or 'int8'; got 'int4'"),
]


@pytest.mark.parametrize(("name", "value", "error", "words"), WRONG, ids=[f"{n}={v}" for n, v, *_ in WRONG])
def test_a_wrong_option_is_refused_in_one_sentence_where_it_is_given_and_where_it_is_assigned(
    name, value, error, words
):
    optimizer = SGD([tensor([1.0])], momentum=0.5)
    held = getattr(optimizer, name)
    for act in (lambda: SGD([tensor([1.0])], **{name: value}), lambda: setattr(optimizer, name, value)):
        with pytest.raises(error) as caught:
            act()
        assert str(caught.value) == f"SGD: {words}"
    assert getattr(optimizer, name) == held


@pytest.mark.parametrize(("name", "value"), [("t", -1), ("t", 1.5), ("t", 2**62), ("skipped", True)])
def test_a_count_that_is_none_is_refused_where_it_is_assigned(name, value):
    optimizer = SGD([tensor([1.0])])
    allowed = {"t": r"in \[0, 4611686018427387904\)", "skipped": "of at least 0"}[name]
    with pytest.raises((TypeError, ValueError), match=f"^SGD: {name} must be an integer {allowed}; got {value}"):
        setattr(optimizer, name, value)
    assert optimizer.t == optimizer.skipped == 0


def test_how_state_is_kept_cannot_change_but_may_be_said_again():
    optimizer = Adam([tensor([1.0])], state_dtype="int8")
    optimizer.state_dtype = "int8"
    for other in (None, "bfloat16"):
        with pytest.raises(AttributeError) as caught:
            optimizer.state_dtype = other
        assert str(caught.value) == (
            "Adam: state_dtype cannot change once the optimizer is made: the state is kept in it; "
            f"got {other!r}; make another optimizer"
        )
    assert optimizer.state_dtype == "int8"


# Choices of a group --------------------------------------------------------------------------------------------------


def test_to_maximize_is_to_step_against_the_negated_gradient(dtype, engine):
    for case in (SGD, Adam, RMSProp):
        up, down = (case(parameters(dtype), lr=0.1, wd=0.25, maximize=way, **engine) for way in (True, False))
        for row in GRADIENTS:
            drive(up, up.params, [-row])
            drive(down, down.params, [row])
        assert [entry for entry in bits(up)] == [entry for entry in bits(down)]


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
def test_each_group_may_decay_and_maximize_in_a_way_of_its_own(engine):
    ways = [{"decay": "l2"}, {"decay": "independent"}, {"maximize": True}, {}]
    optimizer = SGD([{"params": [tensor([1.0, -2.0])], **way} for way in ways], lr=0.5, wd=0.25, **engine)
    alone = [SGD([tensor([1.0, -2.0])], lr=0.5, wd=0.25, **way, **engine) for way in ways]

    def step():
        for each in (optimizer, *alone):
            give(each.params, [[0.5, 3.0]] * len(each.params))
            each.step()
        assert [p.tolist() for p in optimizer.params] == [each.params[0].tolist() for each in alone]

    step()
    optimizer.param_groups[0]["decay"] = alone[0].decay = "decoupled"
    optimizer.param_groups[3]["maximize"] = alone[3].maximize = True
    step()
    optimizer.decay = alone[2].decay = alone[3].decay = "l2"  # that of the groups without a way of their own
    step()
    assert [group["decay"] for group in optimizer.param_groups] == ["decoupled", "independent", "l2", "l2"]
    assert optimizer.defaults["decay"] == optimizer.decay == "l2"


def test_patterns_may_set_the_way_of_decay():
    optimizer = SGD([("a.bias", tensor([1.0])), ("a.weight", tensor([1.0]))], wd=0.5, groups={"*bias": {"decay": "l2"}})
    assert [group["decay"] for group in optimizer.param_groups] == ["decoupled", "l2"]


# Half precision ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("engine", ENGINES.values(), ids=ENGINES)
@pytest.mark.parametrize(
    ("rounding", "low", "high"),
    [(None, 1.0, 1.0), ("nearest", 1.0, 1.0), ("stochastic", 1.0095, 1.0105), ("master", 1.0097, 1.0099)],
)
def test_steps_too_small_for_half_precision_add_up_unless_each_is_rounded_to_the_nearest(rounding, low, high, engine):
    """100 steps of 1e-4, where float16 has nothing between 1 and 1.00098."""
    optimizer = SGD([tensor(np.ones(4000), "float16")], lr=1e-4, rounding=rounding, **engine)
    give(optimizer.params, [-np.ones(4000)])
    for _ in range(100):
        optimizer.step()
    assert low <= values(optimizer).mean() <= high
    assert set(np.unique(values(optimizer))) <= {1 + k / 1024 for k in range(60)}


def test_a_parameter_in_half_precision_is_what_its_master_copy_rounds_to(engine):
    """The copy takes the steps that a parameter in single precision would take."""
    half = Adam(parameters("float16"), lr=0.013, wd=0.1, rounding="master", **engine)
    single = Adam(parameters("float32"), lr=0.013, wd=0.1, **engine)
    for mine, its in zip(half.params, single.params, strict=True):
        its.data = mine.detach().numpy().astype("f4")
    for row in GRADIENTS:
        parts = [part.astype("f2").astype("f4") for part in split(row)]
        for each in (half, single):
            give(each.params, parts)
            each.step()
        for mine, its, kept in zip(half.params, single.params, half.state_dict()["state"].values(), strict=True):
            assert np.array_equal(kept["master"], its.detach().numpy()) and kept["master"].dtype == "float32"
            assert np.array_equal(mine.detach().numpy(), kept["master"].astype("f2"))


def test_a_master_copy_notices_what_others_write_and_goes_on_from_there(engine):
    optimizer = SGD([tensor([1.0, 1.0, 1.0], "float16")], lr=1e-4, rounding="master", **engine)
    give(optimizer.params, [[-1.0] * 3])
    for _ in range(3):
        optimizer.step()
    optimizer.params[0].detach().numpy()[1] = 2.0
    optimizer.step()
    wanted = np.array([1 + 4e-4, 2 + 1e-4, 1 + 4e-4])
    assert optimizer.state_dict()["state"]["0"]["master"] == pytest.approx(wanted, abs=5e-7)
    assert values(optimizer).tolist() == [1.0, 2.0, 1.0]


def test_a_run_with_a_master_copy_is_kept_copied_and_loaded(engine):
    optimizer = Adam(parameters("float16"), lr=0.01, rounding="master", seed=7, **engine)
    drive(optimizer, optimizer.params, GRADIENTS[:4])
    loaded = Adam(parameters("float16"), **engine)
    for mine, its in zip(optimizer.params, loaded.params, strict=True):
        its.data = mine.detach().numpy().copy()
    loaded.load_state_dict(optimizer.state_dict())
    assert (loaded.rounding, loaded.seed) == ("master", 7)
    runs = [optimizer, loaded, copy.deepcopy(optimizer), pickle.loads(pickle.dumps(optimizer))]
    for each in runs:
        drive(each, each.params, GRADIENTS[4:])
        assert bits(each) == bits(optimizer)
        for mine, its in zip(*(o.state_dict()["state"].values() for o in (optimizer, each)), strict=True):
            assert np.array_equal(mine["master"], its["master"])


def test_a_state_dict_without_a_master_copy_gives_one_of_the_parameter_as_it_is(engine):
    plain = SGD([tensor([1.0], "float16")], lr=1e-4, **engine)
    optimizer = SGD([tensor([3.0], "float16")], lr=1e-4, rounding="master", **engine)
    optimizer.load_state_dict(plain.state_dict() | {"rounding": "master"})
    give(optimizer.params, [[-1.0]])
    optimizer.step()
    assert optimizer.state_dict()["state"]["0"]["master"] == pytest.approx([3.0001], abs=1e-6)


def test_rounding_is_for_half_precision_alone(engine):
    for dtype in ("float32", "float64"):
        runs = []
        for rounding in (None, "stochastic", "master"):
            optimizer = Adam(parameters(dtype), lr=0.1, rounding=rounding, **engine)
            drive(optimizer, optimizer.params)
            runs.append(bits(optimizer))
            assert all([*entry] == ["exp_avg", "exp_avg_sq"] for entry in optimizer.state_dict()["state"].values())
        assert runs[0] == runs[1] == runs[2]


def test_a_seed_repeats_a_run_and_others_have_other_random_numbers():
    def run(seed, engine):
        params = [tensor(np.ones(300), "float16"), tensor(np.ones(300), "float16")]
        optimizer = SGD(params, lr=0.013, momentum=0.5, rounding="stochastic", state_dtype="int8", seed=seed, **engine)
        steps = []
        for _ in range(4):
            give(params, [np.linspace(0.1, 1, 300)] * 2)
            optimizer.step()
            steps.append(values(optimizer).tobytes())
        return steps

    seeds = [0, 1, 2, 2**40, 2**70 + 1]
    runs = [run(seed, ENGINES["reference"]) for seed in seeds]
    assert runs == [run(seed, ENGINES["fused"]) for seed in seeds]
    assert len({steps[-1] for steps in runs}) == len(seeds)


def test_the_steps_of_a_seed_are_not_those_of_the_next_one_step_later(engine):
    """With gradients of zero nothing but the random numbers moves a parameter that is between two of its values."""

    def noise(seed):
        w = tensor(np.ones(500), "float16")
        optimizer = SGD([w], lr=0.0, wd=0.0, rounding="stochastic", seed=seed, **engine)
        kept = []
        for _ in range(5):
            w.data = np.ones(500)
            optimizer.lr = 5e-4
            give([w], [np.ones(500)])
            optimizer.step()
            kept.append(values(optimizer).tobytes())
        return kept

    seen = [step for seed in range(4) for step in noise(seed)]
    assert len(set(seen)) == len(seen)


# A term that 0 switches off ------------------------------------------------------------------------------------------


def u(optimizer):
    return optimizer.u[0].numpy().tolist()


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
def test_momentum_of_zero_keeps_no_average_and_leaves_one_that_is_there_alone(state_dtype, engine):
    w = tensor([0.0, 0.0])
    optimizer = SGD([w], lr=1.0, state_dtype=state_dtype, **engine)

    def step(grad):
        give([w], [[grad, -grad]])
        optimizer.step()

    step(8.0)
    assert optimizer.state_dict()["state"] == {"0": {}} and u(optimizer) == [0.0, 0.0]
    optimizer.momentum = 0.5
    step(1.0)  # from zero
    assert u(optimizer) == [0.5, -0.5] and w.tolist() == [-8.5, 8.5]
    optimizer.momentum = 0.0
    step(8.0)
    assert u(optimizer) == [0.5, -0.5] and w.tolist() == [-16.5, 16.5]
    optimizer.momentum = 0.5
    step(0.5)
    assert u(optimizer) == [0.5, -0.5] and w.tolist() == [-17.0, 17.0]


def test_an_average_that_is_switched_on_without_dampening_the_first_starts_as_the_gradient(engine):
    w = tensor([0.0])
    optimizer = SGD([w], lr=1.0, dampen_first=False, **engine)
    for momentum, grad, wanted in ((0.0, 8.0, 0.0), (0.5, 4.0, 4.0), (0.0, 1.0, 4.0), (0.5, 2.0, 3.0)):
        optimizer.momentum = momentum
        give([w], [[grad]])
        optimizer.step()
        assert u(optimizer) == [wanted]
    assert optimizer.steps == (4,)


def test_a_function_may_switch_momentum_off_and_on(engine):
    scheduled, assigned = (SGD([tensor([0.0])], lr=1.0, **engine) for _ in range(2))
    scheduled.momentum = lambda step: 0.5 * (step % 3 > 0)
    for step in range(7):
        assigned.momentum = 0.5 * (step % 3 > 0)
        for each in (scheduled, assigned):
            give(each.params, [[1.0 + step]])
            each.step()
        assert bits(scheduled) == bits(assigned)


def test_a_coefficient_of_zero_times_what_is_infinite_is_nothing(engine):
    for hypers in ({"decay": "l2"}, {"decay": "decoupled"}, {"decay": "independent"}, {"lr": 0.5}):
        w = tensor([math.inf, 1.0])
        optimizer = SGD([w], **hypers, **engine)
        give([w], [[1.0, 1.0]])
        optimizer.step()
        assert w.tolist()[0] == math.inf
    w = tensor([1.0])
    optimizer = SGD([w], lr=0.5, **engine)
    for grad, wanted in ((math.inf, -math.inf), (1.0, 0.5)):
        give([w], [[grad]])
        optimizer.step()
        assert w.tolist() == [wanted]
        w.data = [1.0]


def test_state_in_8_bits_that_may_become_negative_keeps_its_value_and_is_stepped_in_every_form(engine):
    w = tensor([1.0] * 4)
    optimizer = Turning([w], state_dtype="int8", **engine)
    for signed, grad, wanted in ((False, -1.0, 1.0), (True, -2.0, -1.0), (False, 2.0, 1.0), (True, 1.0, 2.0)):
        optimizer.signed = signed
        give([w], [[grad] * 4])
        optimizer.step()
        assert optimizer.total[0].numpy() == pytest.approx(wanted, rel=1e-6)


# What a guard skips --------------------------------------------------------------------------------------------------


class Counting(Optimizer):
    """Counts the steps that it was told were the first."""

    @staticmethod
    def update(param, grad, firsts, *, first, t):
        return param - where(first, 100, 1) * grad, firsts + where(first, t, 0)


def test_first_is_the_first_step_that_is_taken_for_each_parameter(dtype, engine):
    a, b = tensor([0.0], dtype), tensor([0.0], dtype)
    optimizer = Counting([a, b], on_nonfinite="skip", **engine)
    for grads in ([[math.nan], None], [[1.0], None], [[1.0], [math.inf]], [[1.0], [1.0]], [None, [1.0]]):
        give([a, b], grads)
        optimizer.step()
    assert (a.tolist(), b.tolist()) == ([-101.0], [-101.0])
    assert [entry.tolist() for entry in optimizer.firsts] == [[1.0], [1.0]]
    assert (optimizer.t, optimizer.skipped, optimizer.steps) == (3, 2, (2, 2))
    other = Counting([tensor([0.0], dtype), tensor([0.0], dtype)], **engine)
    other.load_state_dict(optimizer.state_dict())
    give(other.params, [[1.0], [1.0]])
    other.step()
    assert [entry.tolist() for entry in other.firsts] == [[1.0], [1.0]]


@pytest.mark.parametrize(
    "bad", [math.nan, math.inf, Tensor(math.nan), Tensor([-math.inf]), np.float32("nan")], ids=repr
)
def test_a_loss_that_is_not_finite_counts_like_such_a_gradient(bad, engine):
    w = tensor([1.0])
    optimizer = SGD([w], lr=0.5, **engine)
    give([w], [[1.0]])
    optimizer.on_nonfinite = "skip"
    assert optimizer.step(loss=bad) is bad and optimizer.step(lambda: bad, loss=0.0) is bad
    assert (w.tolist(), optimizer.t, optimizer.skipped) == ([1.0], 0, 2)
    optimizer.on_nonfinite = "raise"
    with pytest.raises(FloatingPointError, match=r"^SGD\.step: loss is (nan|-?inf); nothing was changed$"):
        optimizer.step(loss=bad)
    optimizer.on_nonfinite = "propagate"
    assert optimizer.step(loss=bad) is bad
    assert (w.tolist(), optimizer.t) == ([0.5], 1)


@pytest.mark.parametrize("loss", [0.5, 3, Tensor(0.5), np.float64(0.5), None], ids=repr)
def test_a_loss_that_is_finite_is_handed_back(loss, engine):
    w = tensor([1.0])
    optimizer = SGD([w], lr=0.5, on_nonfinite="raise", **engine)
    give([w], [[1.0]])
    assert optimizer.step(loss=loss) is loss and optimizer.step(lambda: loss) is loss
    assert (w.tolist(), optimizer.t) == ([0.0], 2)


@pytest.mark.parametrize("loss", ["0.5", (0.5, 1), Tensor([1.0, 2.0]), [0.5]], ids=repr)
def test_a_loss_that_is_no_number_is_refused_where_a_guard_has_to_look_at_it(loss):
    w = tensor([1.0])
    optimizer = SGD([w], lr=0.5, on_nonfinite="skip")
    give([w], [[1.0]])
    with pytest.raises(TypeError, match=r"^SGD\.step: loss must be a number, or a Tensor of one; got "):
        optimizer.step(loss=loss)
    assert w.tolist() == [1.0] and optimizer.t == 0
    optimizer.on_nonfinite = "propagate"
    assert optimizer.step(loss=loss) is loss and optimizer.t == 1
