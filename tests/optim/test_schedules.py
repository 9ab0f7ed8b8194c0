"""Schedules: each against its formula, against PyTorch and Optax, and what they all promise."""

import copy
import json
import math
import pickle
import re
import sys
from dataclasses import FrozenInstanceError, dataclass, fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minima import Tensor
from minima.optim import SGD, schedules
from minima.optim.schedules import (
    Schedule,
    constant,
    cosine,
    exponential,
    from_dict,
    inverse_sqrt,
    join,
    linear,
    one_cycle,
    piecewise,
    polynomial,
    reduce_on_plateau,
    scale,
    step,
    warmup,
    wsd,
)

# The closed formulas, each written a second time, with branches and in plain numbers ---------------------------------


def warming(peak, warmup, s):
    return peak * (s + 1) / (warmup + 1)


def oracle_constant(s, peak, warmup):
    return warming(peak, warmup, s) if s < warmup else peak


def oracle_linear(s, peak, steps, warmup, end):
    if s < warmup:
        return warming(peak, warmup, s)
    return end if s >= steps else peak + (end - peak) * (s - warmup) / (steps - warmup)


def oracle_polynomial(s, peak, steps, power, warmup, end):
    if s < warmup:
        return warming(peak, warmup, s)
    if s >= steps:
        return end
    left = (steps - s) / (steps - warmup)
    return (peak - end) * left**power + end


def oracle_cosine(s, peak, steps, warmup, end, cycles, stretch):
    if s < warmup:
        return warming(peak, warmup, s)
    if s >= steps:
        return end
    whole = sum(stretch**k for k in range(cycles))
    bounds = [warmup + round((steps - warmup) * sum(stretch**j for j in range(k)) / whole) for k in range(cycles + 1)]
    cycle = max(k for k in range(cycles) if bounds[k] <= s)
    angle = math.pi * (s - bounds[cycle]) / (bounds[cycle + 1] - bounds[cycle])
    return end + (peak - end) * math.cos(angle / 2) ** 2


def oracle_step(s, peak, every, factor, warmup, end):
    if s < warmup:
        return warming(peak, warmup, s)
    value = peak
    for _ in range((int(s) - warmup) // every):
        value *= factor
    return max(value, end)


def oracle_exponential(s, peak, factor, every, warmup, end):
    if s < warmup:
        return warming(peak, warmup, s)
    if factor == 0:
        return peak if s == warmup else end
    return max(peak * math.exp(math.log(factor) * (s - warmup) / every), end)


def oracle_piecewise(s, values, at):
    return values[sum(s >= boundary for boundary in at)]


def oracle_inverse_sqrt(s, peak, warmup):
    if s < warmup:
        return warming(peak, warmup, s)
    return peak * math.sqrt(warmup + 1) / math.sqrt(s + 1)


def oracle_one_cycle(s, peak, steps, warmup, start, end):
    if s < warmup:
        return start + (peak - start) * math.sin(math.pi / 2 * s / warmup) ** 2
    done = min(1, (s - warmup) / (steps - warmup))
    return end + (peak - end) * math.cos(math.pi / 2 * done) ** 2


def oracle_wsd(s, peak, steps, decay, warmup, end, shape):
    if s < warmup:
        return warming(peak, warmup, s)
    if s <= steps - decay:
        return peak
    done = min(1, (s - steps + decay) / decay)
    return (
        peak
        - (peak - end)
        * {
            "linear": done,
            "cosine": math.sin(math.pi / 2 * done) ** 2,
            "sqrt": math.sqrt(done),
        }[shape]
    )


def oracle_scale(s, inner, by):
    return expected(inner, s) * by


def oracle_warmup(s, inner, steps):
    return (s + 1) / (steps + 1) * expected(inner, 0) if s < steps else expected(inner, s - steps)


def oracle_join(s, schedules, at):
    place = sum(s >= boundary for boundary in at)
    return expected(schedules[place], s - (0, *at)[place])


def arguments(schedule):
    return {field.name: getattr(schedule, field.name) for field in fields(schedule)}


def expected(schedule, s):
    return globals()[f"oracle_{type(schedule).__name__}"](s, **arguments(schedule))


# What is drawn -------------------------------------------------------------------------------------------------------

values = st.floats(1e-6, 10, allow_subnormal=False) | st.just(0.0)
factors = st.floats(0.01, 1) | st.just(0.0)
counts = st.integers(1, 60)


RUNS = ["linear", "polynomial", "cosine", "one_cycle", "wsd"]
LEAVES = [*RUNS, "constant", "step", "exponential", "piecewise", "inverse_sqrt"]


@st.composite
def leaves(draw, kinds):
    kind = draw(st.sampled_from(kinds))
    peak, end, warm = draw(values), draw(values), draw(st.integers(0, 20))
    steps = warm + draw(counts)
    run = {"steps": steps, "warmup": warm, "end": end}
    low = {"warmup": warm, "end": min(peak, end)}
    match kind:
        case "constant":
            return constant(peak, warmup=warm)
        case "linear":
            return linear(peak, **run)
        case "polynomial":
            return polynomial(peak, power=draw(st.just(0) | st.floats(0.25, 4)), **run)
        case "cosine":
            cycles, stretch = draw(st.integers(1, 3)), draw(st.sampled_from([1, 1.5, 2, 3]))
            return cosine(peak, **(run | {"steps": steps + 20}), cycles=cycles, stretch=stretch)
        case "step":
            return step(peak, every=draw(counts), factor=draw(factors), **low)
        case "exponential":
            return exponential(peak, every=draw(counts), factor=draw(factors), **low)
        case "piecewise":
            at = sorted(draw(st.sets(counts, max_size=4)))
            return piecewise([draw(values) for _ in range(len(at) + 1)], at=at)
        case "inverse_sqrt":
            return inverse_sqrt(peak, warmup=warm)
        case "one_cycle":
            return one_cycle(peak, start=draw(values), **run)
        case "wsd":
            shape = draw(st.sampled_from(["linear", "cosine", "sqrt"]))
            return wsd(peak, decay=draw(st.integers(1, steps - warm)), shape=shape, **run)


def composed(inner):
    return st.one_of(
        st.builds(scale, inner, values),
        st.builds(lambda one, steps: warmup(one, steps=steps), inner, counts),
        st.builds(lambda one, other, at: join([one, other], at=[at]), inner, inner, counts),
    )


drawn = st.recursive(leaves(LEAVES), composed, max_leaves=4)
runs = leaves(RUNS)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=1e-10, atol=1e-13)


# What each computes --------------------------------------------------------------------------------------------------


@settings(max_examples=200, deadline=None)
@given(drawn)
def test_a_schedule_is_its_closed_formula(schedule):
    at = [*range(150), 10_000]
    found = [schedule(s) for s in at]
    assert {type(value) for value in found} == {float}
    close(found, [expected(schedule, s) for s in at])


@settings(max_examples=100, deadline=None)
@given(leaves(LEAVES))
def test_a_value_never_leaves_the_range_of_the_values_that_were_given(schedule):
    given_ = [value for name in ("peak", "start", "end") if (value := getattr(schedule, name, None)) is not None]
    given_ += getattr(schedule, "values", ())
    found = [schedule(s) for s in range(150)]
    assert min(found) >= 0 and max(found) <= max(given_) * (1 + 1e-15)


@settings(max_examples=100, deadline=None)
@given(runs, st.integers(0, 1000))
def test_peak_and_end_are_reached_exactly_and_the_end_is_kept(schedule, later):
    assert schedule(schedule.warmup) == schedule.peak
    assert schedule(schedule.steps + later) == schedule.end


@settings(max_examples=100, deadline=None)
@given(runs.filter(lambda one: one.end <= one.peak and getattr(one, "start", 0) <= one.peak))
def test_a_run_rises_to_its_peak_and_from_there_falls(schedule):
    if getattr(schedule, "cycles", 1) > 1:
        schedule = cosine(schedule.peak, steps=schedule.steps, warmup=schedule.warmup, end=schedule.end)
    found = [schedule(s) for s in range(schedule.steps + 3)]
    tolerance = 1e-15 * schedule.peak
    assert all(b >= a - tolerance for a, b in zip(found, found[1 : schedule.warmup + 1], strict=False))
    after = found[schedule.warmup :]
    assert all(b <= a + tolerance for a, b in zip(after, after[1:], strict=False))


SAME_AFTER_A_WARMUP = [
    (linear, {"steps": 40}),
    (polynomial, {"steps": 40, "power": 2}),
    (cosine, {"steps": 40, "cycles": 2}),
    (wsd, {"steps": 40, "decay": 10}),
    (step, {"every": 7}),
    (exponential, {"every": 7, "factor": 0.5}),
    (constant, {}),
]


@pytest.mark.parametrize(("kind", "settings"), SAME_AFTER_A_WARMUP, ids=lambda x: getattr(x, "__name__", ""))
def test_the_argument_warmup_is_the_schedule_warmup_in_front(kind, settings):
    longer = settings | ({"steps": 45} if "steps" in settings else {})
    inside, outside = kind(0.3, warmup=5, **longer), warmup(kind(0.3, **settings), steps=5)
    for s in range(60):
        close(inside(s), outside(s))


def test_step_0_is_no_step_of_length_0_and_neither_is_the_last_of_the_run():
    for schedule in (cosine(1e-3, steps=100, warmup=10), wsd(1e-3, steps=100, warmup=10, decay=20)):
        assert schedule(0) == 1e-3 / 11 and schedule(99) > 0 and schedule(100) == 0


def test_one_cycle_fills_in_what_is_left_out():
    assert one_cycle(0.1, steps=1000) == one_cycle(0.1, steps=1000, warmup=300, start=0.004, end=4e-7)
    assert one_cycle(0.1, steps=1000, start=0.01).end == 1e-6
    assert one_cycle(0.1, steps=2).warmup == 1
    assert one_cycle(0.1, steps=10, warmup=0)(0) == 0.1


def test_cycles_begin_at_whole_steps_each_longer_by_the_stretch():
    schedule = cosine(1.0, steps=71, warmup=1, cycles=3, stretch=2)
    assert [s for s in range(1, 71) if schedule(s) == 1.0] == [1, 11, 31]
    uneven = cosine(1.0, steps=10, cycles=3)
    assert [s for s in range(10) if uneven(s) == 1.0] == [0, 3, 7]
    cosine(1.0, steps=10_000, cycles=10, stretch=2)
    with pytest.raises(ValueError, match="every cycle must have a step, and 2000 do not fit"):
        cosine(1.0, steps=10_000, cycles=2000, stretch=2)


# How it may be called ------------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(drawn, st.sampled_from(["int64", "int32", "uint8", "float64"]), st.sampled_from([(6,), (2, 3), (1,), ()]))
def test_an_array_of_steps_gives_the_array_of_values(schedule, dtype, shape):
    at = (np.arange(6) * 37)[: math.prod(shape)].reshape(shape).astype(dtype)
    found = schedule(at)
    assert isinstance(found, np.ndarray) and found.shape == shape and found.dtype == np.float64
    close(found.ravel(), [schedule(int(s)) for s in at.ravel()])


EVERY_KIND = [
    constant(0.1, warmup=5),
    linear(0.1, steps=40, warmup=5, end=0.01),
    polynomial(0.1, steps=40, warmup=5, power=1.5),
    cosine(0.1, steps=40, warmup=5, cycles=3, stretch=1.5),
    step(0.1, every=7, warmup=5, end=0.001),
    exponential(0.1, every=7, factor=0.5, warmup=5),
    piecewise([0.1, 0.01, 0.2], at=[7, 21]),
    inverse_sqrt(0.1, warmup=5),
    one_cycle(0.1, steps=40),
    wsd(0.1, steps=40, decay=9, warmup=5, shape="cosine"),
    wsd(0.1, steps=40, decay=9, shape="sqrt"),
    0.5 * cosine(0.1, steps=40),
    warmup(piecewise([0.1, 0.2], at=[9]), steps=6),
    join([linear(0.0, end=0.1, steps=5), cosine(0.1, steps=20), constant(0.01)], at=[5, 20]),
    reduce_on_plateau(0.1, warmup=4),
    warmup(reduce_on_plateau(0.1, patience=2), steps=3),
]


def test_the_table_has_every_kind():
    public = {getattr(schedules, name) for name in schedules.__all__}
    kinds = {kind for kind in public if isinstance(kind, type) and kind is not Schedule}
    assert {type(one) for one in EVERY_KIND} == kinds and len(kinds) == 14


@pytest.mark.parametrize("schedule", EVERY_KIND[:-2], ids=repr)
def test_a_step_that_jax_traces_gives_the_same_value(schedule):
    jax, xla = pytest.importorskip("jax"), pytest.importorskip("minima.jax.xla")
    at = np.arange(48)
    wanted = [schedule(int(s)) for s in at]
    traced = jax.jit(schedule)
    np.testing.assert_allclose(traced(at), wanted, rtol=3e-6, atol=1e-8)
    one = traced(7)
    assert one.shape == () and one.dtype == "float32"
    np.testing.assert_allclose(one, schedule(7), rtol=3e-6)
    with xla.enable_x64(True):
        close(jax.jit(schedule)(at), wanted)


@pytest.mark.parametrize("schedule", EVERY_KIND[-2:], ids=repr)
def test_jax_does_not_compile_a_plateau_by_itself_and_so_keep_its_value(schedule):
    jax = pytest.importorskip("jax")
    np.testing.assert_allclose(schedule(jax.numpy.arange(9)), [schedule(s) for s in range(9)], rtol=1e-6)
    with pytest.raises(TypeError, match="unhashable"):
        jax.jit(schedule)(7)


@pytest.mark.parametrize("number", [np.int64(7), np.int8(7), np.uint32(7), np.float64(7), np.float32(7), 7.0])
def test_a_number_of_any_type_gives_a_float(number):
    for schedule in EVERY_KIND:
        assert schedule(number) == schedule(7) and type(schedule(number)) is float


def test_integers_of_few_bits_do_not_overflow():
    schedule = linear(1.0, steps=1000, warmup=200)
    close(schedule(np.array([0, 255], dtype="uint8")), [schedule(0), schedule(255)])


def test_a_step_between_two_steps_has_a_value_between_theirs():
    assert linear(1.0, steps=10)(2.5) == 0.75


@pytest.mark.parametrize(
    ("bad", "error", "message"),
    [
        (-1, ValueError, "cosine: step must be a number of at least 0; got -1"),
        (math.nan, ValueError, "cosine: step must be a number of at least 0; got nan"),
        ("1", TypeError, "cosine: step must be a number or an array; got '1'"),
        ([1, 2], TypeError, "cosine: step must be a number or an array; got [1, 2]"),
        (None, TypeError, "cosine: step must be a number or an array; got None"),
    ],
)
def test_a_bad_step_gets_one_sentence(bad, error, message):
    with pytest.raises(error, match=re.escape(message) + "$"):
        cosine(0.1, steps=10)(bad)


# Equality, words, files ----------------------------------------------------------------------------------------------


@settings(max_examples=100, deadline=None)
@given(drawn)
def test_a_schedule_comes_back_from_its_words_from_json_and_from_copies(schedule):
    back = [
        eval(repr(schedule), vars(schedules)),
        from_dict(json.loads(json.dumps(schedule.state_dict(), allow_nan=False))),
        pickle.loads(pickle.dumps(schedule)),
        copy.deepcopy(schedule),
    ]
    for other in back:
        assert other == schedule and hash(other) == hash(schedule) and repr(other) == repr(schedule)
        assert other(11) == schedule(11)


def test_schedules_with_another_argument_or_of_another_kind_are_not_equal():
    assert cosine(0.1, steps=10) == cosine(0.1, steps=10, warmup=0) != cosine(0.1, steps=10, warmup=1)
    assert linear(0.1, steps=10) != cosine(0.1, steps=10)
    assert len(set(EVERY_KIND[:-2])) == len(EVERY_KIND) - 2


def test_words_leave_out_what_is_the_default():
    assert repr(cosine(1e-3, steps=10_000, warmup=500)) == "cosine(0.001, steps=10000, warmup=500)"
    assert repr(join([constant(1), 0.5 * constant(2)], at=[3])) == (
        "join((constant(1.0), scale(constant(2.0), by=0.5)), at=(3,))"
    )


def test_a_state_names_the_schedule_and_every_argument():
    assert (2 * piecewise([1, 2], at=[3])).state_dict() == {
        "schedule": "scale",
        "inner": {"schedule": "piecewise", "values": [1.0, 2.0], "at": [3]},
        "by": 2.0,
    }


def test_a_schedule_does_not_change():
    schedule = cosine(0.1, steps=10)
    with pytest.raises(FrozenInstanceError):
        schedule.peak = 1.0
    at = [1, 2]
    held = piecewise([1, 2, 3], at=at)
    at[0] = 9
    assert held.at == (1, 2)


@pytest.mark.parametrize("by", [0.5, np.float64(0.5), np.float32(0.5)])
def test_multiplying_scales(by):
    schedule = linear(0.1, steps=10)
    assert by * schedule == schedule * by == scale(schedule, 0.5)


@pytest.mark.parametrize(
    ("state", "error", "message"),
    [
        (None, TypeError, "from_dict: state must be a dict that names a schedule under 'schedule'; got None"),
        ({"peak": 1}, TypeError, "from_dict: state must be a dict that names a schedule under 'schedule'; got {'peak"),
        ({"schedule": "cosin"}, ValueError, "from_dict: schedule must be one of 'constant', 'cosine', "),
        ({"schedule": ["cosine"]}, ValueError, "from_dict: schedule must be one of 'constant', 'cosine', "),
        ({"schedule": "linear", "peak": 1}, TypeError, "linear: steps is missing; got {'schedule': 'linear', 'peak'"),
        (
            {"schedule": "constant", "peak": 1, "warm": 2},
            TypeError,
            "constant: there is no argument 'warm'; it takes peak, warmup",
        ),
        (
            {"schedule": "scale", "by": 1, "inner": {"schedule": "linear", "peak": 1, "steps": 0}},
            ValueError,
            "linear: steps must be an integer of at least 1; got 0",
        ),
    ],
)
def test_a_state_that_is_none_gets_one_sentence(state, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        from_dict(state)


BAD_ARGUMENTS = [
    (lambda: constant(-1), ValueError, "constant: peak must be a number of at least 0; got -1"),
    (lambda: constant(math.inf), ValueError, "constant: peak must be a number of at least 0; got inf"),
    (lambda: constant("much"), TypeError, "constant: peak must be a number of at least 0; got 'much'"),
    (lambda: linear(1, steps=10.0), TypeError, "linear: steps must be an integer of at least 1; got 10.0"),
    (lambda: linear(1, steps=10, end=-1), ValueError, "linear: end must be a number of at least 0; got -1"),
    (lambda: linear(1, steps=10, end=None), TypeError, "linear: end must be a number of at least 0; got None"),
    (lambda: linear(1, steps=5, warmup=5), ValueError, "linear: warmup must be less than steps, which is 5; got 5"),
    (lambda: linear(1, steps=5, warmup=-1), ValueError, "linear: warmup must be an integer of at least 0; got -1"),
    (lambda: polynomial(1, steps=5, power=-1), ValueError, "polynomial: power must be a number of at least 0; got -1"),
    (lambda: cosine(1, steps=5, cycles=0), ValueError, "cosine: cycles must be an integer of at least 1; got 0"),
    (lambda: cosine(1, steps=5, stretch=0.5), ValueError, "cosine: stretch must be a number of at least 1; got 0.5"),
    (
        lambda: cosine(1, steps=5, cycles=6),
        ValueError,
        "cosine: every cycle must have a step, and 6 do not fit; take more steps, fewer cycles or less stretch",
    ),
    (lambda: step(1, every=0), ValueError, "step: every must be an integer of at least 1; got 0"),
    (lambda: step(1, every=2, factor=2), ValueError, "step: factor must be a number in [0, 1]; got 2"),
    (lambda: step(1, every=2, end=3), ValueError, "step: end must not exceed peak, which is 1; got 3.0"),
    (
        lambda: exponential(1, factor=0.5, end=3),
        ValueError,
        "exponential: end must not exceed peak, which is 1; got 3.0",
    ),
    (lambda: piecewise(1, at=[2]), TypeError, "piecewise: values must be a list; got 1"),
    (lambda: piecewise([1, -2], at=[2]), ValueError, "piecewise: values[1] must be a number of at least 0; got -2"),
    (lambda: piecewise([1, 2], at=[0]), ValueError, "piecewise: at[0] must be an integer of at least 1; got 0"),
    (lambda: piecewise([1, 2], at=3), TypeError, "piecewise: at must be a list; got 3"),
    (lambda: piecewise([1, 2, 3], at=[4, 4]), ValueError, "piecewise: at must be steps in rising order; got [4, 4]"),
    (
        lambda: piecewise([1, 2, 3], at=[4]),
        ValueError,
        "piecewise: at must have one entry less than values, which has 3; got [4]",
    ),
    (lambda: one_cycle("x", steps=9), TypeError, "one_cycle: peak must be a number of at least 0; got 'x'"),
    (lambda: one_cycle(1, steps=9, start=-1), ValueError, "one_cycle: start must be a number of at least 0; got -1"),
    (lambda: wsd(1, steps=9, decay=0), ValueError, "wsd: decay must be an integer of at least 1; got 0"),
    (
        lambda: wsd(1, steps=9, decay=8, warmup=2),
        ValueError,
        "wsd: decay must fit between the warmup and the end, into 7 steps; got 8",
    ),
    (
        lambda: wsd(1, steps=9, decay=1, shape="flat"),
        ValueError,
        "wsd: shape must be one of 'linear', 'cosine', 'sqrt'; got 'flat'",
    ),
    (lambda: constant(1) * -1, ValueError, "scale: by must be a number of at least 0; got -1"),
    (
        lambda: warmup(0.1, steps=3),
        TypeError,
        "warmup: inner must be a schedule or a function of the step; got 0.1; for a number, give constant(number)",
    ),
    (
        lambda: join([constant(1), 2], at=[3]),
        TypeError,
        "join: schedules[1] must be a schedule or a function of the step; got 2; for a number, give constant(number)",
    ),
    (
        lambda: join([constant(1)], at=[3]),
        ValueError,
        "join: at must have one entry less than schedules, which has 1; got [3]",
    ),
    (
        lambda: (0.5 * constant).state_dict(),
        TypeError,
        "unsupported operand",
    ),
    (lambda: reduce_on_plateau(1, mode="low"), ValueError, "reduce_on_plateau: mode must be one of 'min', 'max'; got"),
    (
        lambda: reduce_on_plateau(1, threshold_mode="x"),
        ValueError,
        "reduce_on_plateau: threshold_mode must be one of 'rel', 'abs'; got 'x'",
    ),
    (
        lambda: reduce_on_plateau(1, patience=-1),
        ValueError,
        "reduce_on_plateau: patience must be an integer of at least 0; got -1",
    ),
    (
        lambda: reduce_on_plateau(1, end=2),
        ValueError,
        "reduce_on_plateau: end must not exceed peak, which is 1; got 2.0",
    ),
    (
        lambda: reduce_on_plateau(1).observe("1"),
        TypeError,
        "reduce_on_plateau.observe: metric must be a number; got '1'",
    ),
    (
        lambda: reduce_on_plateau(1).observe(True),
        TypeError,
        "reduce_on_plateau.observe: metric must be a number; got True",
    ),
    (
        lambda: reduce_on_plateau(1).observe(np.ones(2)),
        TypeError,
        "reduce_on_plateau.observe: metric must be a number; got array([1., 1.])",
    ),
    (lambda: one_cycle(1, steps=1), ValueError, "one_cycle: steps must be an integer of at least 2; got 1"),
    (
        lambda: reduce_on_plateau(1).observe("bad"),
        TypeError,
        "reduce_on_plateau.observe: metric must be a number; got 'bad'",
    ),
    (lambda: constant(1).plot(0), ValueError, "constant.plot: steps must be an integer of at least 1; got 0"),
]


@pytest.mark.parametrize(("make", "error", "message"), BAD_ARGUMENTS, ids=[row[2] for row in BAD_ARGUMENTS])
def test_a_bad_argument_gets_one_sentence(make, error, message):
    with pytest.raises(error, match="^" + re.escape(message)):
        make()


# Ones of one's own ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class zigzag(Schedule):
    peak: float
    steps: int
    note: str = "mine"

    @property
    def span(self):
        return self.steps

    def formula(self, step):
        return self.peak * (step % 2)


def test_a_schedule_of_ones_own_is_checked_saved_and_combined_like_ours():
    schedule = join([zigzag(0.1, steps=4), 2 * zigzag(0.1, 8)], at=[4])
    assert [schedule(s) for s in range(6)] == [0, 0.1, 0, 0.1, 0, 0.2]
    assert from_dict(schedule.state_dict()) == schedule and schedule.span == 12
    with pytest.raises(ValueError, match=r"zigzag: peak must be a number of at least 0; got -1$"):
        zigzag(-1, 3)


def defined_in(module, factor, name="twin"):
    """A schedule of that name, as a module would define it."""
    body = {"__module__": module, "__qualname__": name, "__annotations__": {"peak": float}}
    body |= {"span": 3, "formula": lambda self, step: factor * self.peak}
    return dataclass(frozen=True)(type(name, (Schedule,), body))


def test_schedules_of_one_name_out_of_two_modules_are_told_apart():
    kinds = [defined_in("one.module", 2), defined_in("another", 3)]
    for kind in kinds:
        state = json.loads(json.dumps((0.5 * kind(0.1)).state_dict()))
        back = from_dict(state)
        assert type(back.inner) is kind and state["inner"]["schedule"] == f"{kind.__module__}.twin"
    with pytest.raises(ValueError) as caught:
        from_dict({"schedule": "twin", "peak": 0.1})
    words = "from_dict: schedule must say which one is meant, 'another.twin' or 'one.module.twin'; got 'twin'"
    assert str(caught.value) == words


def test_a_schedule_of_a_module_that_is_not_there_is_not_mistaken_for_one_of_the_same_name():
    defined_in("present", 2, "lonely")
    with pytest.raises(ValueError, match="^from_dict: schedule must be one of .*; got 'absent.lonely'$"):
        from_dict({"schedule": "absent.lonely", "peak": 0.1})
    assert from_dict({"schedule": "lonely", "peak": 0.1})(0) == 0.2


def test_a_schedule_of_a_script_is_found_by_whoever_imports_the_script_and_the_other_way_round():
    imported, run = defined_in("script", 2, "imported"), defined_in("__main__", 3, "run")
    assert type(from_dict({"schedule": "__main__.imported", "peak": 0.1})) is imported
    assert type(from_dict({"schedule": "script.run", "peak": 0.1})) is run


def test_a_class_that_is_defined_again_takes_the_place_of_the_first():
    first, second = defined_in("notebook", 2, "cell"), defined_in("notebook", 3, "cell")
    assert type(from_dict(first(0.1).state_dict())) is second


def test_a_function_may_be_a_part_is_asked_for_whole_steps_and_cannot_be_saved():
    asked = []

    def own(step):
        asked.append(step)
        return 0.25

    schedule = warmup(0.5 * join([constant(1), own], at=[10]), steps=4)
    assert schedule(15) == 0.125 and asked == [1] and type(asked[0]) is int
    assert schedule.span == 4 + 10 + 100
    with pytest.raises(TypeError, match=r"^join: a function cannot be saved; got <function .*derive it from Schedule$"):
        schedule.state_dict()


def test_names_of_ours_are_taken_and_a_schedule_must_be_a_dataclass_to_be_saved():
    with pytest.raises(TypeError, match="^Schedule: the name of a schedule of minima is taken; got 'cosine'$"):
        type("cosine", (Schedule,), {"__module__": "elsewhere"})

    class plain(Schedule):
        span = 3

        def formula(self, step):
            return 1.0

    assert plain()(3) == 1.0 and repr(plain()) == "plain()"
    with pytest.raises(TypeError, match="^plain: a schedule that is saved must be a dataclass$"):
        plain().state_dict()
    with pytest.raises(ValueError, match="^from_dict: schedule must be one of"):
        from_dict({"schedule": "plain"})


# Beside PyTorch ------------------------------------------------------------------------------------------------------


def pytorch(name, lr, steps, key="lr", **settings):
    """What a scheduler of PyTorch sets before each step."""
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=lr, momentum=0.9)
    scheduler = getattr(torch.optim.lr_scheduler, name)(optimizer, **settings)
    found = []
    for _ in range(steps):
        found.append(optimizer.param_groups[0][key])
        optimizer.step()
        scheduler.step()
    return found


PYTORCH = [
    (constant(0.3), "ConstantLR", {"factor": 1.0}, 20),
    (linear(0.3, steps=12, end=0.03), "LinearLR", {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 12}, 20),
    (constant(0.3, warmup=9), "LinearLR", {"start_factor": 0.1, "total_iters": 9}, 20),
    (cosine(0.3, steps=30, end=0.01), "CosineAnnealingLR", {"T_max": 30, "eta_min": 0.01}, 31),
    (
        cosine(0.3, steps=70, cycles=3, stretch=2, end=0.01),
        "CosineAnnealingWarmRestarts",
        {"T_0": 10, "T_mult": 2, "eta_min": 0.01},
        70,
    ),
    (cosine(0.3, steps=30, cycles=3), "CosineAnnealingWarmRestarts", {"T_0": 10}, 30),
    (exponential(0.3, factor=0.9), "ExponentialLR", {"gamma": 0.9}, 40),
    (step(0.3, every=7), "StepLR", {"step_size": 7}, 40),
    (piecewise([0.3, 0.03, 0.003], at=[5, 12]), "MultiStepLR", {"milestones": [5, 12]}, 20),
    (polynomial(0.3, steps=12, power=2), "PolynomialLR", {"total_iters": 12, "power": 2}, 20),
    # PyTorch reaches peak and end one step before ours.
    (one_cycle(0.3, steps=39, warmup=11), "OneCycleLR", {"max_lr": 0.3, "total_steps": 40, "pct_start": 0.3}, 40),
]


@pytest.mark.parametrize(("ours", "name", "settings", "steps"), PYTORCH, ids=[row[1] for row in PYTORCH])
def test_the_same_schedule_in_pytorch_has_the_same_values(ours, name, settings, steps):
    close([ours(s) for s in range(steps)], pytorch(name, 0.3, steps, **settings))


def test_the_momentum_of_one_cycle_in_pytorch_is_one_cycle_upside_down():
    ours = one_cycle(0.85, start=0.95, end=0.95, steps=39, warmup=11)
    theirs = pytorch("OneCycleLR", 0.3, 40, key="momentum", max_lr=0.3, total_steps=40)
    close([ours(s) for s in range(40)], theirs)


def test_a_sequence_in_pytorch_is_a_join():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    rates = torch.optim.lr_scheduler
    parts = [rates.LinearLR(optimizer, 0.1, total_iters=9), rates.ExponentialLR(optimizer, 0.9)]
    sequence = rates.SequentialLR(optimizer, parts, milestones=[9])
    ours = join([linear(0.03, end=0.3, steps=9), exponential(0.3, factor=0.9)], at=[9])
    for s in range(30):
        close(ours(s), optimizer.param_groups[0]["lr"])
        optimizer.step()
        sequence.step()


# Beside Optax --------------------------------------------------------------------------------------------------------

OPTAX = {
    "constant": (constant(0.3), lambda optax: optax.constant_schedule(0.3)),
    "linear": (linear(0.3, steps=12, end=0.5), lambda optax: optax.linear_schedule(0.3, 0.5, 12)),
    "cosine": (cosine(0.3, steps=12, end=0.03), lambda optax: optax.cosine_decay_schedule(0.3, 12, alpha=0.1)),
    "warm-up and cosine": (
        cosine(0.3, steps=30, warmup=5, end=0.03),
        lambda optax: optax.warmup_cosine_decay_schedule(0.05, 0.3, 5, 30, 0.03),
    ),
    "warm-up from 0 and cosine": (
        join([linear(0.0, end=0.3, steps=5), cosine(0.3, steps=25)], at=[5]),
        lambda optax: optax.warmup_cosine_decay_schedule(0.0, 0.3, 5, 30),
    ),
    "exponential": (
        exponential(0.3, factor=0.5, every=7, end=0.05),
        lambda optax: optax.exponential_decay(0.3, 7, 0.5, end_value=0.05),
    ),
    "staircase": (
        step(0.3, factor=0.5, every=7, end=0.05),
        lambda optax: optax.exponential_decay(0.3, 7, 0.5, end_value=0.05, staircase=True),
    ),
    "warm-up and exponential": (
        exponential(0.3, factor=0.5, every=7, warmup=5),
        lambda optax: optax.warmup_exponential_decay_schedule(0.05, 0.3, 5, 7, 0.5),
    ),
    "piecewise": (
        piecewise([0.3, 0.03, 0.06], at=[8, 20]),
        lambda optax: optax.piecewise_constant_schedule(0.3, {8: 0.1, 20: 2.0}),
    ),
    "polynomial": (
        polynomial(0.3, steps=12, power=3, end=0.1),
        lambda optax: optax.polynomial_schedule(0.3, 0.1, 3, 12),
    ),
    "one cycle": (one_cycle(0.3, steps=40), lambda optax: optax.cosine_onecycle_schedule(40, 0.3)),
    "restarts": (
        join([cosine(0.3, steps=10, warmup=2), cosine(0.2, steps=20, warmup=4, end=0.01)], at=[10]),
        lambda optax: optax.sgdr_schedule(
            [
                {"init_value": 0.1, "peak_value": 0.3, "warmup_steps": 2, "decay_steps": 10},
                {"init_value": 0.04, "peak_value": 0.2, "warmup_steps": 4, "decay_steps": 20, "end_value": 0.01},
            ]
        ),
    ),
    "join": (
        join([constant(0.3), cosine(0.3, steps=9), constant(0.1)], at=[4, 15]),
        lambda optax: optax.join_schedules(
            [optax.constant_schedule(0.3), optax.cosine_decay_schedule(0.3, 9), optax.constant_schedule(0.1)], [4, 15]
        ),
    ),
    "warm-up, stable, decay": (
        wsd(0.3, steps=30, warmup=5, decay=10, end=0.1),
        lambda optax: optax.join_schedules(
            [optax.linear_schedule(0.05, 0.3, 5), optax.linear_schedule(0.3, 0.1, 10, 15)], [5]
        ),
    ),
}


@pytest.mark.parametrize("name", OPTAX)
def test_the_same_schedule_in_optax_has_the_same_values(name):
    optax = pytest.importorskip("optax")
    jax, xla = pytest.importorskip("jax"), pytest.importorskip("minima.jax.xla")
    ours, theirs = OPTAX[name]
    with xla.enable_x64(True):
        at = np.arange(50)
        close(ours(at), np.broadcast_to(jax.vmap(theirs(optax))(at.astype(float)), at.shape))


def test_optax_takes_a_schedule_of_ours_and_an_optimizer_of_ours_takes_one_of_optax():
    optax = pytest.importorskip("optax")
    jax = pytest.importorskip("jax")
    transformation = optax.sgd(cosine(0.3, steps=10, warmup=2))
    state = transformation.init(jax.numpy.zeros(3))
    update = jax.jit(transformation.update)
    for s in range(12):
        updates, state = update(jax.numpy.ones(3), state)
        np.testing.assert_allclose(updates, -cosine(0.3, steps=10, warmup=2)(s), rtol=1e-5, atol=1e-8)
    theirs = optax.warmup_cosine_decay_schedule(0.1, 0.3, 2, 10)
    ours = cosine(0.3, steps=10, warmup=2)
    np.testing.assert_allclose(walk(SGD([ones()], lr=theirs), 10), [ours(s) for s in range(10)], rtol=1e-5)


# The one that looks at results ---------------------------------------------------------------------------------------

metrics = st.lists(st.sampled_from([-2.0, -1.0, 0.0, 0.5, 0.95, 1.0, 1.05, 2.0, math.nan]), max_size=40)
plateaus = st.fixed_dictionaries(
    {
        "mode": st.sampled_from(["min", "max"]),
        "factor": st.sampled_from([0.1, 0.5]),
        "patience": st.integers(0, 3),
        "threshold": st.sampled_from([0.0, 1e-4, 0.1]),
        "threshold_mode": st.sampled_from(["rel", "abs"]),
        "cooldown": st.integers(0, 3),
    }
)


@settings(max_examples=200, deadline=None)
@given(plateaus, st.sampled_from([0.0, 0.02]), metrics)
def test_a_plateau_reduces_when_pytorch_does(settings, end, seen):
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer, min_lr=end, eps=0.0, **settings)
    ours = reduce_on_plateau(0.3, end=end, **settings)
    for metric in seen:
        if settings["threshold_mode"] == "rel":  # of which PyTorch takes less than nothing where it is below 0
            metric = abs(metric)
        ours.observe(metric)
        theirs.step(metric)
        assert ours(step=3) == optimizer.param_groups[0]["lr"]
        assert (ours.bad, ours.cooling) == (theirs.num_bad_epochs, theirs.cooldown_counter)


@settings(max_examples=100, deadline=None)
@given(plateaus, metrics)
def test_a_metric_that_falls_and_its_negative_that_rises_make_one_plateau(settings, seen):
    other = {"min": "max", "max": "min"}[settings["mode"]]
    one, mirrored = reduce_on_plateau(0.3, **settings), reduce_on_plateau(0.3, **(settings | {"mode": other}))
    for metric in seen:
        one.observe(metric)
        mirrored.observe(-metric)
        assert (one.value, one.bad, one.cooling) == (mirrored.value, mirrored.bad, mirrored.cooling)


@pytest.mark.parametrize(("mode", "metric"), [("min", -1.0), ("max", -1.0), ("min", 1.0), ("max", 1.0), ("min", 0.0)])
def test_a_metric_that_stands_still_is_no_improvement_whatever_its_sign(mode, metric):
    plateau = reduce_on_plateau(0.4, factor=0.5, mode=mode, patience=2)
    for _ in range(4):
        plateau.observe(metric)
    assert plateau.best == metric and plateau.value == 0.2


def test_the_defaults_of_a_plateau_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    for name in ("mode", "factor", "patience", "threshold", "threshold_mode", "cooldown"):
        assert getattr(reduce_on_plateau(0.3), name) == getattr(theirs, name), name


@settings(max_examples=100, deadline=None)
@given(plateaus, metrics, metrics)
def test_a_plateau_that_is_resumed_goes_on_as_the_one_that_was_not(settings, before, after):
    straight = reduce_on_plateau(0.3, **settings)
    for metric in before:
        straight.observe(metric)
    state = json.loads(json.dumps(straight.state_dict(), allow_nan=False))
    loaded = reduce_on_plateau(7.0)
    loaded.load_state_dict(state)
    others = [from_dict(state), loaded, eval(repr(straight), vars(schedules)), copy.deepcopy(straight)]
    assert others == [straight] * 4
    for metric in after:
        for one in (straight, *others):
            one.observe(metric)
    assert others == [straight] * 4 and {one(0) for one in others} == {straight(0)}


@pytest.mark.parametrize("metric", [np.array([3.0]), np.float32(3), Tensor([3.0]), 3], ids=repr)
def test_a_metric_may_be_an_array_of_one_element(metric):
    plateau = reduce_on_plateau(0.1)
    plateau.observe(metric)
    assert plateau.best == 3.0


def test_a_state_is_of_the_moment_when_it_was_taken():
    plateau = reduce_on_plateau(0.3, patience=0)
    state = plateau.state_dict()
    for metric in (1.0, 1.0):
        plateau.observe(metric)
    assert state["value"] == 0.3 and plateau(0) == 0.03


@pytest.mark.parametrize("mode", ["min", "max"])
@pytest.mark.parametrize("metric", [math.inf, -math.inf, math.nan])
def test_what_is_not_finite_is_never_an_improvement(mode, metric):
    plateau = reduce_on_plateau(0.3, mode=mode, patience=5)
    for seen in (metric, 1.0, metric):
        plateau.observe(seen)
    assert plateau.best == 1.0 and plateau.bad == 1


@pytest.mark.parametrize(
    ("state", "error"),
    [
        ({"schedule": "constant", "peak": 1}, ValueError),
        ({"schedule": "reduce_on_plateau", "peak": 0.5, "bad": -1}, ValueError),
        ({"schedule": "reduce_on_plateau", "peak": 0.5, "best": math.inf}, ValueError),
        ({"schedule": "reduce_on_plateau", "peak": 0.5, "worst": 1}, TypeError),
        ({}, TypeError),
    ],
)
def test_a_bad_state_changes_nothing(state, error):
    plateau = reduce_on_plateau(0.3, patience=1)
    plateau.observe(1.0)
    before = plateau.state_dict()
    with pytest.raises(error):
        plateau.load_state_dict(state)
    assert plateau.state_dict() == before


def test_a_plateau_may_be_a_part_of_a_schedule():
    plateau = reduce_on_plateau(0.4, factor=0.5, patience=0)
    schedule = warmup(0.5 * plateau, steps=3)
    assert schedule(1) == 0.1
    for metric in (np.float32(1.0), np.array([1.0])[0]):
        plateau.observe(metric)
    assert schedule(1) == 0.05 and schedule(9) == 0.1
    assert from_dict(schedule.state_dict())(9) == 0.1


# In an optimizer -----------------------------------------------------------------------------------------------------


def ones():
    return Tensor(np.ones(3), requires_grad=True)


def walk(optimizer, steps):
    """The learning rates of some steps."""
    rates = []
    for _ in range(steps):
        rates.append(optimizer.lr)
        optimizer.params[0].grad = Tensor(np.ones(3), dtype="float64")
        optimizer.step()
    return rates


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=repr)
def test_an_optimizer_takes_saves_and_resumes_a_schedule(schedule):
    first = SGD([ones()], lr=schedule)
    assert walk(first, 8) == [schedule(s) for s in range(8)]
    second = SGD([ones()], lr=0.1)
    second.load_state_dict(first.state_dict())
    assert second.defaults["lr"] == schedule
    assert walk(second, 8) == walk(first, 8) == [schedule(s) for s in range(8, 16)]


def test_an_optimizer_resumes_the_plateau_that_somebody_else_holds():
    saved, held = (reduce_on_plateau(0.4, factor=0.5, patience=0, warmup=1) for _ in range(2))
    for metric in (1.0, 1.0):
        saved.observe(metric)
    optimizer = SGD([ones()], lr=held)
    optimizer.load_state_dict(SGD([ones()], lr=saved).state_dict())
    assert held == saved and walk(optimizer, 2) == [0.1, 0.2]
    held.observe(1.0)
    assert optimizer.lr == 0.1


# Pictures ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("schedule", EVERY_KIND, ids=repr)
def test_a_picture_shows_the_values(schedule):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    axes = figure.subplots()
    assert schedule.plot(ax=axes) is axes
    (line,) = axes.lines
    shown, drawn = line.get_data()
    assert list(shown) == list(range(schedule.span + 1)) and line.get_label() == repr(schedule)
    close(drawn, [schedule(int(s)) for s in shown])


def test_a_picture_shows_a_jump_upright_and_a_stair_level():
    figure = pytest.importorskip("matplotlib.figure").Figure()
    for schedule in (step(0.1, every=2), piecewise([0.2, 0.1], at=[1]), cosine(0.1, steps=9, cycles=3)):
        (line,) = schedule.plot(ax=figure.subplots()).lines
        assert line.get_drawstyle() == "steps-post"


@pytest.mark.parametrize("plot", [linear(0.1, steps=3).plot, piecewise([1, 2], at=[3]).plot])
def test_a_picture_without_matplotlib_says_what_to_install(plot, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError) as caught:
        plot()
    who = type(plot.__self__).__name__
    assert str(caught.value) == f"{who}.plot: a picture needs Matplotlib; pip install matplotlib"


def test_a_picture_shows_enough_to_see_the_shape():
    spans = [11, 40, 40, 40, 33, 52, 28, 60, 40, 40, 40, 40, 24, 21, 9, 4]
    assert [schedule.span for schedule in EVERY_KIND] == spans
    assert exponential(0.1, factor=0.0).span == exponential(0.1, factor=1.0).span == 1
    assert join([linear(1, steps=7)] * 4, at=[1, 2, 5]).span == 12
    assert piecewise([1.0], at=[]).span == 1 and join([linear(1, steps=7)], at=[]).span == 7


def test_a_picture_of_many_steps_shows_a_thousand_of_them_in_a_figure_of_its_own():
    pyplot = pytest.importorskip("matplotlib.pyplot")
    pyplot.switch_backend("Agg")
    axes = cosine(0.1, steps=10).plot(1_000_000)
    shown = axes.lines[0].get_xdata()
    assert len(shown) == 1001 and shown[0] == 0 and shown[-1] == 1_000_000
    pyplot.close(axes.figure)
