"""State in fewer bits: what it holds, what it costs, and that every engine does the same with it."""

import copy

import numpy as np
import pytest
from rules import BUILT_IN, CASES, GRADIENTS, Everything, Lion, drive, give, parameters

from minima import Tensor
from minima.optim import FTRL, LAMB, SGD, AdaGrad, Adam, Exact, Optimizer, RMSProp, SimplifiedAdEMAMix, hyper, sqrt
from minima.optim.engines import allocate
from minima.optim.engines.storage import LARGEST, _noise
from minima.optim.language.lowering import lower
from minima.optim.language.ranges import never_negative

STORAGE = ("bfloat16", "int8")
FLOAT = np.dtype("float32")


def fresh(values, dtype="float32"):
    return Tensor(np.asarray(values), dtype=dtype, requires_grad=True)


def arrays(optimizer):
    """Parameters, codes and scales, as they are in memory."""
    kept = optimizer.state_dict()["state"].values()
    return [param.detach().numpy() for param in optimizer.params] + [array for each in kept for array in each.values()]


def stepped(cls, hypers, dtype, engine, state_dtype, sizes):
    """An optimizer after a few steps with gradients of all magnitudes."""
    rng = np.random.default_rng(1)
    params = [fresh(rng.normal(size=size), dtype) for size in sizes]
    optimizer = cls(params, engine=engine, state_dtype=state_dtype, **hypers)
    for _ in range(4):
        give(params, [rng.normal(size=p.shape) * 10.0 ** rng.integers(-5, 3, size=p.shape) for p in params])
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("state_dtype", [None, *STORAGE])
@pytest.mark.parametrize("case", [case for case in CASES if case.cls is not Everything][::2], ids=str)
def test_engines_give_the_same_bits_and_keep_the_same_codes(case, dtype, state_dtype):
    sizes = [(), (0,), (3, 5), 255, 256, 257, (70, 300)]
    one, other = (
        stepped(case.cls, case.hypers, dtype, engine, state_dtype, sizes) for engine in ("reference", "fused")
    )
    for ours, theirs in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("state_dtype", [None, *STORAGE])
def test_bits_do_not_depend_on_chunks_and_threads(state_dtype):
    one, other = (stepped(Adam, {"lr": 0.1}, "float32", e, state_dtype, [(300_001,)]) for e in ("reference", "fused"))
    for ours, theirs in zip(arrays(one), arrays(other), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("number", [0, 1, 2])
@pytest.mark.parametrize(("state_dtype", "signed"), [("bfloat16", True), ("int8", True), ("int8", False)])
def test_narrowing_hits_a_value_nearby_and_the_value_itself_on_average(state_dtype, signed, number):
    rng = np.random.default_rng(2)
    value = rng.lognormal(sigma=2, size=1000).astype(FLOAT)
    value[::100] = value.max()
    if signed:
        value *= rng.choice([-1, 1], size=value.size)
    stored = allocate(state_dtype, number, value.shape, FLOAT, 0.0, signed=signed)
    seen = []
    for t in range(400):
        stored.write(value, t)
        seen.append(stored.read())
    scale = np.repeat([np.abs(block).max() for block in np.split(value, range(256, 1000, 256))], [256, 256, 256, 232])
    # One unit of the code, at most: 2**-7 of a bfloat16, and the slope of the power law between two codes of 8 bits.
    share = np.abs(value) / scale
    unit = {"bfloat16": 2.0**-7 * share, "int8": 3 * np.sqrt(share) / 127 + 2 / 127**2}[state_dtype]
    if not signed:
        unit = 6 * share**0.75 / 255 + 1e-4 * share**0.5 + 1 / 255**4
    assert np.all(np.abs(np.array(seen) - value) <= unit * scale)
    assert np.all(np.abs(np.mean(seen, axis=0) - value) <= 0.25 * unit * scale)
    assert np.abs(np.mean(seen, axis=0) - value).sum() < 0.02 * np.abs(value).sum()


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("state_dtype", STORAGE)
def test_a_running_average_does_not_stand_still(state_dtype, engine):
    """Rounded to the nearest value it would: it moves by a thousandth in a step."""
    w = fresh(np.ones(2048))
    optimizer = Adam([w], lr=0.0, beta2=0.999, state_dtype=state_dtype, engine=engine)
    rng = np.random.default_rng(3)
    first = rng.uniform(0.5, 1.5, size=2048)
    give([w], [first])
    optimizer.step()
    start = optimizer.exp_avg_sq[0].numpy().copy()
    give([w], [np.zeros(2048)])
    for _ in range(700):
        optimizer.step()
    assert np.mean(optimizer.exp_avg_sq[0].numpy() / start) == pytest.approx(0.999**700, rel=0.1)


@pytest.mark.parametrize("engine", ["reference", "fused"])
def test_what_is_never_negative_does_not_vanish_in_a_block_with_large_entries(engine):
    w = fresh(np.zeros(256))
    optimizer = RMSProp([w], lr=1.0, rho=0.5, eps=0.0, state_dtype="int8", engine=engine)
    grad = np.full(256, 1e-4)
    grad[0] = 1e4
    for _ in range(20):
        give([w], [grad])
        optimizer.step()
        assert (optimizer.cache[0].numpy() > 0).all()
    assert np.isfinite(w.detach().numpy()).all()


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("state_dtype", STORAGE)
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_gradient_that_is_not_finite_shows_and_reaches_no_neighbour(bad, state_dtype, engine):
    w = fresh(np.ones(600))
    optimizer = SGD([w], lr=0.1, momentum=0.5, state_dtype=state_dtype, engine=engine)
    grad = np.ones(600)
    grad[300] = bad
    for _ in range(2):
        give([w], [grad])
        optimizer.step()
    values = w.detach().numpy()
    assert not np.isfinite(values[300])
    others = np.arange(600) != 300
    kept = optimizer.u[0].numpy()
    assert not np.isfinite(kept[300])
    np.testing.assert_allclose(kept[others], 0.75, rtol=0.04)
    np.testing.assert_allclose(values[others], 1 - 0.1 * (0.5 + 0.75), rtol=0.04)


FAR = [np.finfo(FLOAT).max, 1.5 * 2.0**126, 2.0**126, 1e30, np.inf, -np.inf, np.nan, -1e30, 1e-40]


def promised(size, peak, *, signed):
    """How far from an entry of this size what is kept of it may lie, where the block has such a peak."""
    if signed:
        return 3 * np.sqrt(size.astype("float64") * peak) / 127 + peak / 127**2
    return 6 * (size.astype("float64") ** 3 * peak) ** 0.25 / 255 + 0.02 * size + peak / 255**4


@pytest.mark.parametrize("signed", [True, False])
@pytest.mark.parametrize("far", FAR)
@pytest.mark.parametrize("rest", [0.0, -0.0, 1e-42, 1e-10, 1.0])
def test_next_to_an_extreme_entry_others_are_kept_to_the_unit_that_is_promised(far, rest, signed):
    values = np.full(600, rest, FLOAT)
    values[300] = far if signed else abs(far)
    values[299] *= -1 if signed else 1
    stored = allocate("int8", 0, values.shape, FLOAT, 0.0, signed=signed)
    for t in range(5):
        with np.errstate(all="raise", under="ignore", invalid="raise"):
            stored.write(values, t)
            kept = stored.read()
        finite = np.isfinite(values)
        size = np.abs(values[finite])
        unit = promised(size, size.max(), signed=signed)
        unit += 3e-38 + np.where(size > LARGEST["float32"], size - LARGEST["float32"], 0)
        assert np.isfinite(kept[finite]).all() and (np.abs(kept[finite] - values[finite]) <= unit).all()
        if np.isnan(far):
            assert kept[300] == np.inf
        elif not finite[300]:
            assert kept[300] == values[300]


@pytest.mark.parametrize("cls", [SGD, Adam, RMSProp])
@pytest.mark.parametrize("far", [6e4, 1e15, 1e19, 1e25, 3e38])
def test_a_huge_gradient_moves_its_neighbours_no_further_than_is_promised(cls, far, dtype):
    found, eps = [], np.finfo(dtype).eps
    for engine in ("reference", "fused"):
        hypers = {"momentum": 0.9} if cls is SGD else {}
        w = fresh(np.ones(600), dtype)
        optimizer = cls([w], lr=0.1, state_dtype="int8", engine=engine, **hypers)
        u, off = np.zeros(600), np.zeros(600)  # SGD's average, and how far that which is kept may be from it
        for step in range(20):
            before = np.delete(w.detach().numpy().astype("float64"), 300)
            grad = np.ones(600)
            grad[300] = far if step == 2 else 1.0
            with np.errstate(over="ignore"):
                give([w], [grad.astype(dtype)])
            optimizer.step()
            moved = np.abs(np.delete(w.detach().numpy(), 300) - before)
            assert np.isfinite(moved).all()
            if cls is Adam:
                assert (moved <= 21 * 0.1).all()
            elif cls is RMSProp:
                assert (moved <= 0.1 / np.sqrt(0.1) * 1.01).all()
            else:
                u, off = 0.9 * u + 0.1 * w.grad.numpy().astype("float64"), 0.9 * off
                most = np.delete(0.1 * (u + off), 300)
                assert (moved <= 1.001 * most + eps * (np.abs(before) + most)).all()
                block, finite = slice(256, 512), np.isfinite(u)
                off[block] += promised(u[block] + off[block], (u + off)[block][finite[block]].max(), signed=True)
        found.append(arrays(optimizer))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("cls", [SGD, Adam, RMSProp])
def test_engines_agree_on_extremes_to_the_bit(cls, dtype):
    rng = np.random.default_rng(0)
    top = float(np.finfo(dtype).max)
    extremes = np.array([np.nan, np.inf, -np.inf, top, -top, top / 3, 1e-300, 5e-324, 0.0, -0.0, 1.0])
    found = []
    for engine in ("reference", "fused"):
        rng = np.random.default_rng(0)
        w = fresh(np.ones(900), dtype)
        optimizer = cls([w], lr=0.1, state_dtype="int8", engine=engine, **({"momentum": 0.9} if cls is SGD else {}))
        for _ in range(4):
            grad = rng.normal(size=900)
            where = rng.random(900) < 0.02
            grad[where] = rng.choice(extremes, size=where.sum())
            with np.errstate(over="ignore"):
                give([w], [grad.astype(dtype)])
            optimizer.step()
        found.append(arrays(optimizer))
    for ours, theirs in zip(*found, strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("state_dtype", STORAGE)
def test_zeros_stay_zeros(state_dtype, engine):
    w = fresh(np.ones(300))
    optimizer = Adam([w], lr=0.1, state_dtype=state_dtype, engine=engine)
    give([w], [np.zeros(300)])
    optimizer.step()
    assert (w.detach().numpy() == 1).all() and not optimizer.exp_avg[0].numpy().any()


@pytest.mark.parametrize(("state_dtype", "per_block", "per_entry"), [(None, 0, 4), ("bfloat16", 0, 2), ("int8", 4, 1)])
@pytest.mark.parametrize("size", [0, 1, 256, 257, 10_000])
def test_state_takes_the_bytes_that_it_is_said_to_take(size, state_dtype, per_block, per_entry):
    optimizer = Adam([fresh(np.zeros(size))], state_dtype=state_dtype)
    (kept,) = optimizer.state_dict()["state"].values()
    names = ("exp_avg", "exp_avg_sq")
    assert [kept[name].nbytes + (kept[f"{name}.scale"].nbytes if per_block else 0) for name in names] == [
        per_entry * size + per_block * -(-size // 256)
    ] * 2


@pytest.mark.parametrize("state_dtype", STORAGE)
def test_a_copy_of_an_optimizer_goes_on_with_the_same_bits(state_dtype):
    first = stepped(Adam, {"lr": 0.1}, "float32", None, state_dtype, [(300,), (7,)])
    second = copy.deepcopy(first)
    for optimizer in (first, second):
        give(optimizer.params, [np.ones(300), np.ones(7)])
        optimizer.step()
    for ours, theirs in zip(arrays(first), arrays(second), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("state_dtype", STORAGE)
@pytest.mark.parametrize("cls", BUILT_IN)
def test_parameters_follow_those_with_state_as_it_is_computed(cls, state_dtype):
    exact, coarse = parameters("float32"), parameters("float32")
    rows = np.random.default_rng(4).normal(size=(60, GRADIENTS.shape[1]))
    # A share of the parameter's size, of which some are large; and sums that are never divided by their weights.
    lr = 0.001 if cls in (LAMB, SimplifiedAdEMAMix) else 0.01
    drive(cls(exact, lr=lr), exact, rows)
    drive(cls(coarse, lr=lr, state_dtype=state_dtype), coarse, rows)
    for ours, theirs in zip(exact, coarse, strict=True):
        np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), atol=0.05)


def summing(param, grad, z: Exact, seen: "Exact" = 0.5, size=0.0, *, lr):
    return param - lr * z / seen, z + grad, seen + abs(grad), size + grad


@pytest.mark.parametrize("state_dtype", STORAGE)
def test_state_that_a_rule_needs_exact_is_kept_as_it_is_computed(state_dtype, engine):
    cls = type("Mine", (Optimizer,), {"lr": hyper(0.1, low=0), "update": staticmethod(summing)})
    plain, coarse = fresh(np.ones(300)), fresh(np.ones(300))
    optimizers = [cls([plain], **engine), cls([coarse], state_dtype=state_dtype, **engine)]
    rng = np.random.default_rng(7)
    for _ in range(20):
        grad = rng.normal(size=300)
        for w, optimizer in zip((plain, coarse), optimizers, strict=True):
            give([w], [grad])
            optimizer.step()
    np.testing.assert_array_equal(plain.detach().numpy(), coarse.detach().numpy())
    for name in ("z", "seen"):
        np.testing.assert_array_equal(*(getattr(optimizer, name)[0].numpy() for optimizer in optimizers))
    assert (optimizers[0].size[0].numpy() != optimizers[1].size[0].numpy()).any()
    kept = cls.explain(state_dtype=state_dtype).state
    assert kept["z"] == kept["seen"] == 4 and kept["size"] < 2.1


def test_parameters_of_ftrl_are_those_of_state_as_it_is_computed_to_the_bit():
    """They are made of their state, and would be off by percents."""
    for state_dtype in STORAGE:
        exact, coarse = parameters("float32"), parameters("float32")
        drive(FTRL(exact, lr=0.01), exact, GRADIENTS)
        drive(FTRL(coarse, lr=0.01, state_dtype=state_dtype), coarse, GRADIENTS)
        for ours, theirs in zip(exact, coarse, strict=True):
            np.testing.assert_array_equal(ours.detach().numpy(), theirs.detach().numpy())


class FirstState(Optimizer):
    """A state that does not start at zero, and one that may become negative though it starts above."""

    lr: float = hyper(default=0.1, low=0)

    @staticmethod
    def update(param, grad, cache=0.25, drift=1.0, *, lr):
        return param - lr * grad / sqrt(cache), cache + grad**2, drift - grad


@pytest.mark.parametrize("engine", ["reference", "fused"])
@pytest.mark.parametrize("state_dtype", STORAGE)
def test_a_first_value_is_kept_exactly(state_dtype, engine):
    optimizer = FirstState([fresh(np.zeros(300))], state_dtype=state_dtype, engine=engine)
    assert np.allclose(optimizer.cache[0].numpy(), 0.25, rtol=1e-6)
    assert np.allclose(optimizer.drift[0].numpy(), 1.0, rtol=1e-6)
    (kept,) = optimizer.state_dict()["state"].values()
    assert [str(kept[name].dtype) for name in ("cache", "drift")] == (
        ["uint8", "int8"] if state_dtype == "int8" else ["uint16"] * 2
    )


@pytest.mark.parametrize(
    ("cls", "wanted"),
    [
        (SGD, set()),
        (RMSProp, {"cache"}),
        (Adam, {"exp_avg_sq"}),
        (Lion, set()),
        (FirstState, {"cache"}),
        (AdaGrad, {"cache"}),
        (Everything, {"peak"}),
    ],
)
def test_which_state_is_never_negative_is_known_from_the_rule(cls, wanted):
    program = lower(cls._trace({}))
    assert never_negative(program, cls.hyperparameters, cls.rule.state) == wanted


@pytest.mark.parametrize("options", [{"amsgrad": True, **more} for more in ({}, {"eps_hat": True}, {"max_hat": True})])
def test_the_largest_average_of_squares_is_never_negative(options):
    program = lower(Adam._trace(options))
    assert never_negative(program, Adam.hyperparameters, Adam.rule.state) == {"exp_avg_sq", "max_exp_avg_sq"}


def test_state_that_begins_as_a_hyperparameter_is_never_negative_if_that_cannot_be():
    answers = []
    for low in (0, -1):
        cls = type("Mine", (Optimizer,), {"start": hyper(0.5, low=low), "update": staticmethod(starting)})
        answers.append(never_negative(lower(cls._trace({})), cls.hyperparameters, cls.rule.state))
    assert answers == [{"size"}, set()]


def starting(param, grad, size="start"):
    return param - grad / size, size + abs(grad)


@pytest.mark.parametrize(("kind", "rel"), [(None, 0), ("bfloat16", 2**-7), ("int8", 0)])
def test_state_that_begins_as_a_hyperparameter_is_kept_in_fewer_bits_too(kind, rel, engine):
    cls = type("Mine", (Optimizer,), {"start": hyper(0.5, low=0), "update": staticmethod(starting)})
    w = fresh(np.ones(300))
    optimizer = cls([w], start=0.3, state_dtype=kind, **engine)
    assert optimizer.size[0].numpy() == pytest.approx(np.full(300, np.float32(0.3)), rel=rel)


def test_state_in_fewer_bits_is_shown_widened_and_state_as_computed_in_its_own_memory():
    plain, coarse = (SGD([fresh([1.0])], momentum=0.5, state_dtype=kind) for kind in (None, "bfloat16"))
    plain.u[0].data = Tensor([2.0])
    assert plain.u[0].item() == 2.0
    coarse.u[0].data = Tensor([2.0])
    assert coarse.u[0].item() == 0.0 and coarse.u[0].dtype == "float32"


@pytest.mark.parametrize("bad", ["float16", "int4", 8, True])
def test_an_unknown_storage_is_refused_in_one_sentence(bad):
    with pytest.raises(ValueError) as caught:
        Adam([fresh([1.0])], state_dtype=bad)
    assert str(caught.value) == f"Adam: state_dtype must be None, 'bfloat16' or 'int8'; got {bad!r}"


def test_random_numbers_are_uniform_and_independent_over_elements_steps_and_states():
    draws = np.array([[_noise(2048, t, number) for number in (0, 1, 2)] for t in range(1, 601)]) / 2.0**16 - 0.5
    count = np.sqrt(12 * len(draws))
    assert np.abs(draws.mean(axis=0) * count).max() < 5.5  # no element is favoured
    assert np.std(draws.mean(axis=0) * count) == pytest.approx(1, abs=0.1)
    pairs = {
        "steps": (draws[1:], draws[:-1]),
        "elements": (draws[..., 1:], draws[..., :-1]),
        "states": (draws[:, 1:], draws[:, :-1]),
    }
    for name, (one, other) in pairs.items():
        assert abs(np.mean(one * other) * 12) * np.sqrt(one.size) < 5, name
