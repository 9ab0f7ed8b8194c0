"""The rules that look beyond one element, on every engine, against oracles of whole tensors."""

import numpy as np
import pytest
from beyond import APART, BEYOND, CASES, ORACLES, SHAPES, STEPS, outcomes, problem, taken
from rules import BUILT_IN, ENGINES, Case, able, another, bits
from rules import ORACLES as ELEMENTWISE

from minima import Tensor
from minima.optim import (
    ADOPT,
    ASGD,
    CAME,
    FTRL,
    LAMB,
    LARS,
    MADGRAD,
    SGD,
    SM3,
    AdaDelta,
    Adafactor,
    AdaGrad,
    Adam,
    Adan,
    DAdaptAdam,
    DAdaptSGD,
    DoG,
    DoWG,
    Lion,
    MoMo,
    MoMoAdam,
    Muon,
    NAdam,
    NAdamW,
    NovoGrad,
    Optimizer,
    PolyakSGD,
    Prodigy,
    RMSProp,
    Rprop,
    ScheduleFreeAdamW,
    ScheduleFreeSGD,
    SophiaG,
    StableAdamW,
    direction,
    hyper,
)
from minima.optim.language.symbols import reachable
from minima.optim.language.trace import trace

TOLERANCE = {"float64": 3e-14, "float32": 1e-5}
"""How far from the oracle, relative to the largest entry of the tensor, after 20 steps."""
DIFFERENCES = {(Adan, "exp_avg_diff"), (FTRL, "z"), (FTRL, "param")}
"""What is made of sums that may cancel in a small tensor: as of what all parameters share, its scale is the largest
entry of any tensor so far."""
LOST = {str(Case(Prodigy, {})), str(Case(DoG, {}))}

each_case = pytest.mark.parametrize("case", CASES, ids=str)


ALONE = [
    (case, ENGINES[name])
    for case in CASES
    for name in ENGINES
    if name == "reference" or not able(case.cls, ENGINES[name])
]
"""Every case on the engines that are not compared with the reference, step by step and bit by bit, in the next test."""


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize(("case", "engine"), ALONE, ids=str)
def test_parameters_and_state_follow_the_oracle_at_every_step(case, dtype, engine):
    if dtype == "float32" and str(case) in LOST:
        pytest.skip("steps of a millionth of the parameter are lost in float32, and the estimate is made of them")
    both = zip(taken(case, dtype, **engine), outcomes(case, dtype), strict=True)
    scales = {}
    for step, ((_, ours), wanted) in enumerate(both, start=1):
        for shape, found, exact in zip(SHAPES, ours, wanted, strict=True):
            for name, value in exact.items():
                assert found[name].shape == np.shape(value), (step, shape, name)
                largest = np.max(np.abs(value), initial=0.0)
                if (case.cls, name) in DIFFERENCES or name in case.cls.rule.shared:
                    largest = scales[name] = max(largest, scales.get(name, 0.0))
                off = np.max(np.abs(found[name] - value), initial=0.0)
                assert off <= TOLERANCE[dtype] * largest, (step, shape, name, off, largest)


def test_every_rule_has_an_oracle_and_six_cases():
    assert {*BUILT_IN} == {*BEYOND, *APART} | (ELEMENTWISE.keys() & {*BUILT_IN})
    for cls in BEYOND:
        assert cls in ORACLES and sum(case.cls is cls for case in CASES) >= 6
    assert STEPS >= 20


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("other", [name for name in ENGINES if name != "reference"])
@each_case
def test_every_engine_gives_the_bits_of_the_reference(case, other, dtype):
    if not able(case.cls, ENGINES[other]):
        pytest.skip("another engine multiplies matrices")
    both = zip(*(taken(case, dtype, engine=name) for name in ("reference", other)), strict=True)
    for (one, wanted), (two, found) in both:
        assert bits(one) == bits(two)
        assert [{name: x.shape for name, x in own.items()} for own in found] == [
            {name: x.shape for name, x in own.items()} for own in wanted
        ]


# The settings above reach what they are there for -----------------------------------------------------------------


def steps_of(case):
    """The parameters before and after each step, by the oracle."""
    before, rows = problem("float64")
    for row, after in zip(rows, outcomes(case, "float64"), strict=True):
        yield row, before, after
        before = [one["param"] for one in after]


def test_updates_of_stable_adamw_are_shortened_in_some_steps_and_not_in_others():
    seen = set()
    for row, _, after in steps_of(Case(StableAdamW, {"lr": 0.02, "wd": 0.1})):
        for grad, one in zip(row, after, strict=True):
            seen.add(bool(np.mean(grad**2 / np.maximum(one["exp_avg_sq"], 1e-16)) > 1))
    assert seen == {False, True}


def test_updates_of_adafactor_are_shortened_in_some_steps_and_not_in_others():
    seen = set()
    for row, _, after in steps_of(Case(Adafactor, {})):
        for grad, one in zip(row, after, strict=True):
            if grad.ndim == 2:
                v = one["row_var"] * one["col_var"] / one["row_var"].mean()
                seen.add(bool(np.mean(grad**2 / v) > 1))
    assert seen == {False, True}


def walked(cls, before, after, row, t, beta1=0.9, beta2=0.999, eps=1e-8):
    """How long a step was, for a direction of length 1."""
    moved, grads = (np.concatenate([x.ravel() for x in part]) for part in (before, row))
    moved = moved - np.concatenate([one["param"].ravel() for one in after])
    if cls is PolyakSGD:
        return np.linalg.norm(moved) / np.linalg.norm(grads)
    exp_avg = np.concatenate([one["exp_avg"].ravel() for one in after])
    if cls is MoMo:
        return np.linalg.norm(moved) / np.linalg.norm(exp_avg)
    root = eps + np.sqrt(np.concatenate([one["exp_avg_sq"].ravel() for one in after]) / (1 - beta2**t))
    return np.linalg.norm(moved) / np.linalg.norm(exp_avg / root) * (1 - beta1**t)


@pytest.mark.parametrize(
    ("cls", "lr"),
    [(PolyakSGD, 0.002), (MoMo, 0.002), (MoMoAdam, 0.001)],
    ids=lambda part: getattr(part, "__name__", ""),
)
def test_the_loss_shortens_some_steps_and_not_others(cls, lr):
    steps = enumerate(steps_of(Case(cls, {"lr": lr})), start=1)
    found = [walked(cls, before, after, row, t) for t, (row, before, after) in steps]
    is_longest = np.isclose(found, lr, rtol=1e-9)
    assert is_longest.any() and not is_longest.all() and max(found) <= lr * (1 + 1e-9)


@pytest.mark.parametrize(
    ("case", "name"),
    [
        (Case(Prodigy, {"d0": 0.1, "d_coef": 0.5, "eps": 0.01, "beta1": 0.0}), "d"),
        (Case(DoG, {"reps_rel": 0.01, "lr": 0.5, "wd": 0.3}), "r"),
        (Case(DoWG, {"r0": 0.1, "lr": 0.5, "eps": 1.0}), "r"),
        (Case(DAdaptSGD, {"d0": 0.1, "lr": 0.02, "wd": 0.1}), "d"),
        (Case(DAdaptAdam, {"d0": 0.01, "lr": 0.5, "beta1": 0.5, "beta2": 0.9}), "d"),
    ],
    ids=str,
)
def test_an_estimate_stays_in_some_steps_and_grows_in_others(case, name):
    found = [after[0][name] for _, _, after in steps_of(case)]
    grown = np.diff([case.hypers.get("d0", found[0]), *found]) > 0
    assert grown.any() and not grown.all()


@pytest.mark.parametrize(
    ("cls", "hypers", "size"),
    [
        (Adafactor, {}, 1.0),
        (Adafactor, {"floors": True, "eps1": 1e-30}, 1.0),
        (SM3, {}, 1.0),
        (SM3, {}, 1e8),
        (CAME, {"lr": 0.01}, 1.0),
        (CAME, {"lr": 0.01}, 1e8),
    ],
    ids=str,
)
def test_rows_and_columns_without_gradients_stay_where_they_are(cls, hypers, size, engine):
    """However large the others are: the square of what stands for a row beside them would vanish in float32."""
    grads = [size * np.array([[0.0, 0.0, 0.0], [0.0, 0.5, -2.0]]), size * np.array([0.0, 3.0])]
    params = [Tensor(np.full(grad.shape, 0.5), dtype="float32", requires_grad=True) for grad in grads]
    optimizer = cls(params, **hypers, **engine)
    starts = [param.detach().numpy().astype("float64") for param in params]
    for wanted in ORACLES[cls](starts, [grads, grads], **hypers):
        for param, grad in zip(params, grads, strict=True):
            param.grad = Tensor(grad, dtype="float32")
        optimizer.step()
        for param, grad, exact in zip(params, grads, wanted, strict=True):
            found = param.detach().numpy()
            np.testing.assert_allclose(found, exact["param"], rtol=1e-6)
            assert np.array_equal(found == 0.5, grad == 0)


def test_bounds_of_sm3_are_never_less_than_the_sums_of_adagrad(engine):
    starts, rows = problem("float64")
    sums = [0.0 * start for start in starts]
    for row, (optimizer, _) in zip(rows, taken(Case(SM3, {}), "float64", **engine), strict=True):
        sums = [known + grad**2 for known, grad in zip(sums, row, strict=True)]
        for place, known in enumerate(sums):
            if known.ndim < 2:
                np.testing.assert_allclose(optimizer.accumulator[place].numpy(), known, rtol=1e-14)
                continue
            matrix = known.reshape(len(known), -1)
            for bound in (optimizer.row_max[place].numpy(), optimizer.col_max[place].numpy()):
                assert (bound >= matrix * (1 - 1e-14)).all()


def test_the_bound_of_a_row_and_that_of_a_column_are_each_the_smaller_one_somewhere():
    seen = set()
    for _, _, after in steps_of(Case(SM3, {})):
        for one in after:
            if "row_max" in one:
                seen |= {*(one["row_max"] < one["col_max"]).ravel().tolist()}
    assert seen == {False, True}


@pytest.mark.parametrize("schedule", [True, False])
def test_the_product_of_nadam_remembers_what_beta1_was_in_each_step_of_its_parameter(schedule, engine):
    early, late = (Tensor([1.0, 2.0], dtype="float64", requires_grad=True) for _ in range(2))
    optimizer = NAdam([early, late], momentum_decay=0.5, schedule=schedule, **engine)
    momenta = []
    for step, beta1 in enumerate((0.9, 0.5, 0.5, 0.8), start=1):
        optimizer.beta1 = beta1
        early.grad, late.grad = Tensor([1.0, -1.0], dtype="float64"), None
        if step == 4:
            late.grad = Tensor([1.0, -1.0], dtype="float64")
        optimizer.step()
        momenta.append(beta1 * (1 - schedule * 0.5 * 0.96 ** (0.5 * step)))
    first = 0.8 * (1 - schedule * 0.5 * 0.96**0.5)
    np.testing.assert_allclose([entry.item() for entry in optimizer.mu_product], [np.prod(momenta), first], rtol=1e-15)


# What the rules say of themselves --------------------------------------------------------------------------------


def made(cls, shapes, **hypers):
    rng = np.random.default_rng(0)
    params = [Tensor(rng.normal(size=shape), dtype="float64", requires_grad=True) for shape in shapes]
    chosen = {"engine": hypers.pop("engine")} if "engine" in hypers else {}
    return params, cls(params, **hypers, **able(cls, chosen))


def stepped(optimizer, params, steps=1):
    for seed in range(steps):
        rng = np.random.default_rng(seed)
        for param in params:
            param.grad = Tensor(rng.normal(0.5, size=param.shape), dtype="float64")
        if optimizer.rule.estimate and not seed % 3:
            optimizer.update_estimate()
        optimizer.step(loss=2.0 + seed)
    return [param.detach().numpy().copy() for param in params]


def test_a_gradient_of_adan_is_compared_with_that_of_the_last_step_that_was_taken(engine):
    skipping, steady = (Tensor([1.0, 2.0], dtype="float64", requires_grad=True) for _ in range(2))
    (first, second), bad = np.array([[0.5, -1.0], [0.25, 2.0]]), Tensor([np.nan, 1.0], dtype="float64")
    one = Adan([skipping], on_nonfinite="skip", **engine)
    other = Adan([steady], **engine)
    for grad in (first, None, bad, second):
        skipping.grad = grad if grad is None or grad is bad else Tensor(grad, dtype="float64")
        one.step()
    for grad in (first, second):
        steady.grad = Tensor(grad, dtype="float64")
        other.step()
    assert bits(one)[1:] == bits(other)[1:]  # the counts, which are first, tell of the step that was skipped
    np.testing.assert_allclose(one.exp_avg_diff[0].numpy(), (1 - 0.92) * (second - first), rtol=1e-14)
    np.testing.assert_array_equal(one.prev_grad[0].numpy(), second)


def test_the_first_step_of_adopt_moves_no_parameter_nor_lets_it_decay(engine):
    params, optimizer = made(ADOPT, [(4, 5), (3,)], lr=0.02, weight_decay=0.5, **engine)
    before = [param.detach().numpy().copy() for param in params]
    assert all(map(np.array_equal, before, stepped(optimizer, params)))
    assert not any(map(np.array_equal, before, stepped(optimizer, params)))
    for place, param in enumerate(params):
        np.testing.assert_allclose(optimizer.exp_avg_sq[place].numpy(), param.grad.numpy() ** 2, rtol=1e-14)


def test_divided_gradients_of_adopt_are_bounded_in_some_steps_and_not_in_others():
    seen = set()
    starts, rows = problem("float64")
    roots = [0.0 * start for start in starts]
    for t, (row, after) in enumerate(zip(rows, outcomes(Case(ADOPT, {}), "float64"), strict=True)):
        for grad, root in zip(row, roots, strict=True):
            seen |= {*(np.abs(grad) > np.maximum(root, 1e-6) * t**0.25).ravel().tolist()} if t else set()
        roots = [np.sqrt(one["exp_avg_sq"]) for one in after]
    assert seen == {False, True}


def test_ftrl_makes_a_parameter_0_to_the_bit_while_z_is_within_the_absolute_penalty():
    seen = set()
    for _, before, after in steps_of(Case(FTRL, {"lr": 0.1, "l1": 5.0, "wd": 2.0})):
        for old, new in zip(before, after, strict=True):
            seen |= {*zip((old != 0).ravel().tolist(), (new["param"] != 0).ravel().tolist(), strict=True)}
    assert seen == {(False, False), (False, True), (True, False), (True, True)}


def test_ftrl_without_penalties_takes_the_steps_of_adagrad(engine):
    params, optimizer = made(FTRL, [(4, 5), (3,)], lr=0.1, initial=0.0, **engine)
    others, adagrad = made(AdaGrad, [(4, 5), (3,)], lr=0.1, eps=0.0, **engine)
    for mine, theirs in zip(stepped(optimizer, params, 12), stepped(adagrad, others, 12), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-11)


def test_gradients_that_come_while_lr_is_0_have_no_weight_in_madgrad(engine):
    params, optimizer = made(MADGRAD, [(4, 5), (3,)], lr=0.0, eps=0.1, **engine)
    before = [param.detach().numpy().copy() for param in params]
    for old, new in zip(before, stepped(optimizer, params, 3), strict=True):
        np.testing.assert_allclose(new, old, rtol=1e-15)
    assert not any(entry.numpy().any() for entry in (*optimizer.grad_sum, *optimizer.grad_sum_sq))
    optimizer.lr = 0.1
    stepped(optimizer, params)
    for param, entry in zip(params, optimizer.grad_sum, strict=True):
        np.testing.assert_allclose(entry.numpy(), (0.1 + 0.1) * 2 * param.grad.numpy(), rtol=1e-14)  # the 4th step


def test_a_first_step_of_lars_is_a_share_of_the_norm_of_a_tensor_that_is_not_left_out(engine):
    params, optimizer = made(LARS, [(4, 5), (3,)], lr=20.0, **engine)
    optimizer.add_param_group(
        {"params": [Tensor([0.5, -0.25], dtype="float64", requires_grad=True)], "adaptive": False}
    )
    before = [param.detach().numpy().copy() for param in optimizer.params]
    *scaled, (old, new) = zip(before, stepped(optimizer, optimizer.params), strict=True)
    for old_one, new_one in scaled:
        assert np.linalg.norm(new_one - old_one) == pytest.approx(20.0 * 1e-3 * np.linalg.norm(old_one), rel=1e-12)
    np.testing.assert_allclose(new, old - 20.0 * optimizer.params[-1].grad.numpy(), rtol=1e-14)


def test_a_step_of_lamb_is_a_share_of_the_norm_of_the_tensor(engine):
    params, optimizer = made(LAMB, [(4, 5), (3,)], lr=0.02, **engine)
    before = [param.detach().numpy().copy() for param in params]
    for old, new in zip(before, stepped(optimizer, params), strict=True):
        assert np.linalg.norm(new - old) == pytest.approx(0.02 * np.linalg.norm(old), rel=1e-12)


def test_the_first_step_of_novograd_has_the_length_of_the_learning_rate(engine):
    params, optimizer = made(NovoGrad, [(4, 5), (3,)], lr=0.02, eps=0.0, **engine)
    before = [param.detach().numpy().copy() for param in params]
    for old, new in zip(before, stepped(optimizer, params), strict=True):
        assert np.linalg.norm(new - old) == pytest.approx(0.02, rel=1e-12)
    assert optimizer.exp_norm_sq[0].shape == () and optimizer.exp_norm_sq[0].dtype == "float64"


def test_adafactor_keeps_one_number_for_each_row_and_each_column(engine):
    params, optimizer = made(Adafactor, [(6, 4), (5, 2, 3), (7,)], **engine)
    stepped(optimizer, params)
    assert [optimizer.row_var[i].shape for i in (0, 1)] == [(6, 1), (5, 1)]
    assert [optimizer.col_var[i].shape for i in (0, 1)] == [(1, 4), (1, 6)]
    kept = optimizer.state_dict()["state"]
    assert [sorted(kept[key]) for key in "012"] == [["col_var", "row_var"], ["col_var", "row_var"], ["variance"]]


def test_there_is_one_estimate_of_prodigy_for_all_parameters(engine):
    params, optimizer = made(Prodigy, [(6, 4), (7,)], d0=0.01, **engine)
    start = [param.detach().numpy().copy() for param in params]
    for _ in range(12):
        stepped(optimizer, params)  # the same gradient each time
    assert optimizer.d[0].item() == optimizer.d[1].item() > 0.01
    assert all(np.array_equal(kept.numpy(), old) for kept, old in zip(optimizer.start, start, strict=True))


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("cls", [DoG, DoWG, DAdaptSGD, Prodigy])
def test_the_start_is_kept_as_it_was_whatever_else_is_kept_in_fewer_bits(cls, state_dtype, engine):
    params, optimizer = made(cls, [(6, 4), (300,)], state_dtype=state_dtype, **engine)
    start = [param.detach().numpy().copy() for param in params]
    stepped(optimizer, params, 2)
    assert all(np.array_equal(kept.numpy(), old) for kept, old in zip(optimizer.start, start, strict=True))


def test_the_distance_of_dog_is_none_before_it_has_walked(engine):
    params, optimizer = made(DoG, [(6, 4), (7,)], reps_rel=1e-12, state_dtype="int8", **engine)
    first = 1e-12 * (1 + np.linalg.norm(np.concatenate([param.detach().numpy().ravel() for param in params])))
    for _ in range(2):
        stepped(optimizer, params)
        assert optimizer.r[0].item() == pytest.approx(first, rel=0.5)


@pytest.mark.parametrize(("cls", "hypers"), [(DoG, {"reps_rel": 0.1}), (DoWG, {"r0": 0.1})])
def test_a_rate_of_its_own_lets_a_group_take_its_own_share_of_the_one_step(cls, hypers, engine):
    params, optimizer = made(cls, [(6, 4), (7,)], lr=0.5, **hypers, **engine)
    optimizer.add_param_group({"params": [Tensor(np.zeros(3), dtype="float64", requires_grad=True)], "lr": 2.0})
    before = [param.detach().numpy().copy() for param in optimizer.params]
    after = stepped(optimizer, optimizer.params)
    moved = [(new - old) / param.grad.numpy() for old, new, param in zip(before, after, optimizer.params, strict=True)]
    np.testing.assert_allclose(moved[0], moved[1].mean(), rtol=1e-9)
    np.testing.assert_allclose(moved[2], 4 * moved[1].mean(), rtol=1e-9)


def test_steps_of_d_adaptation_are_scaled_by_the_norm_of_the_first_gradients(engine):
    params, optimizer = made(DAdaptSGD, [(6, 4), (7,)], momentum=0.0, d0=0.25, **engine)
    before = [param.detach().numpy().copy() for param in params]
    after = stepped(optimizer, params)
    walked = np.concatenate([(new - old).ravel() for old, new in zip(before, after, strict=True)])
    assert np.linalg.norm(walked) == pytest.approx(0.25, rel=1e-12)
    for _ in range(2):
        stepped(optimizer, params)  # the same gradient each time
    assert optimizer.d[0].item() == pytest.approx(0.5, rel=1e-12)


def test_a_step_of_muon_is_about_as_long_in_all_directions(engine):
    (param,), optimizer = made(Muon, [(12, 5)], lr=1.0, weight_decay=0.0, scale=None, **engine)
    before = param.detach().numpy().copy()
    (after,) = stepped(optimizer, [param])
    values = np.linalg.svd(before - after, compute_uv=False)
    assert 0.6 < values.min() and values.max() < 1.25


@pytest.mark.parametrize(("form", "side"), [("wide", "r"), ("square", "r"), ("tall", "c")])
def test_muon_multiplies_squares_of_the_smaller_side(form, side):
    traced = trace(Muon.rule, "weight_decay", Muon._declaration.complete({}), form)
    products = [node for node in reachable(traced.outputs.values()) if node.operation == "matmul"]
    squares = [node for node in products if node.axes[0] == node.axes[1]]
    assert len(products) == 15 and len(squares) == 10 and {node.axes for node in squares} == {(side, side)}


def test_muon_is_adamw_where_there_is_no_matrix(engine):
    hypers = {"weight_decay": 0.1, **engine}
    params, optimizer = made(Muon, [(6, 4), (7,)], matrix=False, adam_lr=0.02, **hypers)
    others, adam = made(Adam, [(6, 4), (7,)], lr=0.02, **hypers)
    for mine, theirs in zip(stepped(optimizer, params, 5), stepped(adam, others, 5), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-14)


REACHED = {
    (LARS, "sum_of_norms"): {"weight_decay": 0.1},
    (Adan, "proximal"): {"lr": 0.02, "weight_decay": 0.1},
    (Adafactor, "momentum"): {"momentum": 0.9},
    (Adafactor, "eps1"): {"floors": True, "eps1": 1e-3},
    (Adafactor, "eps2"): {"eps2": 10.0},
    (Adafactor, "floors"): {"eps1": 1e-3},
    (Adafactor, "lr"): {"lr": 0.02},
    (Adafactor, "scale_decay"): {"weight_decay": 0.1},
    (Adafactor, "relative_step"): {"lr": 0.5},
    (NAdamW, "momentum_decay"): {"schedule": True},
    (SophiaG, "eps"): {"rho": 1.0},
    (SophiaG, "beta1"): {"rho": 1.0, "beta2": 0.5},
    (SophiaG, "beta2"): {"rho": 1.0, "beta2": 0.7},
    (SophiaG, "batch_size"): {"rho": 1.0, "beta2": 0.5},
    (SophiaG, "estimator"): {"rho": 1.0, "beta2": 0.5},
    (SM3, "eps"): {"eps": 1e-3},
    (SM3, "beta"): {"lr": 0.02, "beta": 0.9},
    (CAME, "eps1"): {"eps1": 1e-3},
    (CAME, "eps2"): {"eps2": 1e-3},
    (DAdaptAdam, "eps"): {"eps": 0.1, "d0": 0.01},
    (DAdaptAdam, "lr"): {"d0": 0.1},
    (DAdaptAdam, "weight_decay"): {"d0": 0.1},
    (DAdaptAdam, "d0"): {"d0": 0.1},
    (DAdaptSGD, "lr"): {"d0": 0.1},
    (DAdaptSGD, "d0"): {"d0": 0.1},
    **{(cls, name): {"lr": 10.0} for cls in (PolyakSGD, MoMo, MoMoAdam) for name in ("bound", "c", "eps", "beta2")},
    (PolyakSGD, "positive"): {"bound": 5.0},
    (DoG, "lr"): {"reps_rel": 0.1},
    (DoG, "reps_rel"): {"reps_rel": 0.1},
    (DoWG, "r0"): {"r0": 0.1},
    (Prodigy, "d0"): {"d0": 0.1},
    (Prodigy, "d_coef"): {"d0": 1e-3, "d_coef": 2.0},
    (Prodigy, "safeguard_warmup"): {"d0": 1e-4, "lr": 0.5},
    (Prodigy, "weight_decay"): {"d0": 0.1},
}
"""Settings in which a hyperparameter matters, where it does not by default."""


UNDIRECTED = (ASGD, FTRL, MADGRAD, AdaDelta, AdaGrad, DoG, DoWG, DAdaptSGD, Muon, PolyakSGD, Rprop)
UNDIRECTED += (ScheduleFreeSGD, ScheduleFreeAdamW)
"""The rules that do not say which value is their direction."""
EVERY = [(cls, name) for cls in BEYOND for name in cls.hyperparameters]


@pytest.mark.parametrize(("cls", "name"), EVERY, ids=lambda part: getattr(part, "__name__", part))
def test_every_hyperparameter_can_be_assigned_and_is_used_from_then_on(cls, name, engine):
    common = REACHED.get((cls, name), {"lr": 0.02, **({"d0": 0.1} if "d0" in cls.hyperparameters else {})})
    value = 5.0 if name == "warmup_steps" else another(cls.hyperparameters[name])
    found = []
    for assigned, given in (({name: value}, {}), ({}, {name: value}), ({}, {})):
        params, optimizer = made(cls, [(6, 4), (7,)], **(common | given), **engine)
        for word, number in assigned.items():
            setattr(optimizer, word, number)
            assert getattr(optimizer, word) == optimizer.param_groups[0][word] == number
        found.append(np.concatenate([x.ravel() for x in stepped(optimizer, params, 15)]))
    if name not in cls.rule.state.values():  # with which state begins, when that is made
        assert np.array_equal(found[0], found[1])
    assert not np.array_equal(found[1], found[2])


# Steps that are cautious -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cls", [cls for cls in BUILT_IN if cls not in (Adafactor, *UNDIRECTED)])
def test_no_entry_of_a_cautious_step_goes_against_its_gradient(cls, engine):
    momentum = {"momentum": 0.9} if cls in (SGD, RMSProp) else {}
    hypers = {"wd": 0.0, **momentum, **({"d0": 0.1} if "d0" in cls.hyperparameters else {"lr": 0.02})}
    starts, rows = problem("float64")
    against = {}
    for cautious in (False, True):
        before, found = starts, 0
        case = Case(cls, {**hypers, "cautious": cautious})
        for row, (_, after) in zip(rows, taken(case, "float64", **engine), strict=True):
            moved = [one["param"] - old for one, old in zip(after, before, strict=True)]
            found += sum(int((step * grad > 0).sum()) for step, grad in zip(moved, row, strict=True))
            before = [one["param"] for one in after]
        against[cautious] = found
    assert against[True] == 0 < against[False]


@pytest.mark.parametrize("cls", UNDIRECTED)
def test_a_rule_that_names_no_direction_refuses_to_be_cautious(cls, engine):
    name = cls.__name__
    words = f"^{name}: cautious=True is for rules that say which value is their direction, and {name} does not; "
    words += "leave cautious out$"
    with pytest.raises(ValueError, match=words):
        stepped(*made(cls, [(3, 2)], cautious=True, **engine)[::-1])
    params, optimizer = made(cls, [(3, 2)], **engine)
    before = params[0].detach().numpy().copy()
    optimizer.cautious = True
    with pytest.raises(ValueError, match=words):
        stepped(optimizer, params)
    assert np.array_equal(params[0].detach().numpy(), before)


def test_a_rule_that_has_a_direction_in_other_settings_says_so():
    words = "^Adafactor: cautious=True needs a direction, which Adafactor does not have without momentum$"
    with pytest.raises(ValueError, match=words):
        stepped(*made(Adafactor, [(3, 2)], cautious=True)[::-1])


class Sometimes(Optimizer):
    lr: float = hyper(0.1, low=0)
    scale: float = hyper(None)
    momentum: float = hyper(0.0, low=0, switch=True)
    plain: bool = hyper(False)
    wrapped: bool = hyper(True)

    @staticmethod
    def update(param, grad, *, lr, scale, momentum, plain, wrapped):
        step = grad if scale is None else scale * grad
        if momentum:
            return param - lr * direction(momentum * step)
        if plain and wrapped:
            return param - lr * direction(step)
        return param - lr * step


class Never(Optimizer):
    lr: float = hyper(0.1, low=0)

    @staticmethod
    def update(param, grad, *, lr):
        return param - lr * grad


@pytest.mark.parametrize(
    ("cls", "options", "words"),
    [
        (Sometimes, {}, "needs a direction, which Sometimes does not have without momentum or without plain"),
        (
            Sometimes,
            {"wrapped": False, "scale": 2.0},
            "needs a direction, which Sometimes does not have without momentum",
        ),
        (
            Never,
            {},
            "is for rules that say which value is their direction, and Never does not; "
            r"write param - lr \* direction\(...\) in its update",
        ),
    ],
)
def test_a_rule_without_a_direction_says_which_settings_give_it_one(cls, options, words):
    with pytest.raises(ValueError, match=f"^{cls.__name__}: cautious=True {words}$"):
        stepped(*made(cls, [(3, 2)], cautious=True, **options)[::-1])


@pytest.mark.parametrize("given", [lambda lr: 1.0, lambda lr: lr, lambda lr: 2 * lr], ids=["literal", "lr", "2 lr"])
def test_a_number_is_no_direction(given):
    words = r"^Mine.update: direction must be given an array, and is given a number; write param - lr"
    with pytest.raises(TypeError, match=words):

        class Mine(Optimizer):
            lr: float = hyper(0.1, low=0)

            @staticmethod
            def update(param, grad, *, lr):
                return param - direction(given(lr)) * grad

    assert direction(2.0) == 2.0  # by hand rules run on numbers too


@pytest.mark.parametrize("cls", [SGD, RMSProp])
def test_without_momentum_there_is_nothing_to_be_cautious_of(cls, engine):
    found = []
    for cautious in (False, True):
        params, optimizer = made(cls, [(6, 4), (7,)], lr=0.02, cautious=cautious, **engine)
        found.append(stepped(optimizer, params, 5))
    assert all(map(np.array_equal, *found))


def test_cautious_steps_look_at_the_gradient_that_is_climbed_or_has_decay_in_it(engine):
    for option in ({"maximize": True}, {"decay": "l2", "wd": 0.5}):
        params, optimizer = made(Lion, [(6, 4), (7,)], lr=0.02, cautious=True, **option, **engine)
        stepped(optimizer, params, 5)
        before = [param.detach().numpy().copy() for param in params]
        after = stepped(optimizer, params)
        for old, new, param in zip(before, after, params, strict=True):
            grad = -param.grad.numpy() if "maximize" in option else param.grad.numpy() + 0.5 * old
            assert ((new - old) * grad <= 0).all() and (new != old).any()


# Matrices that may be none ------------------------------------------------------------------------------------------


def named(*names):
    return [(name, Tensor(np.ones((3, 2)), requires_grad=True)) for name in names]


@pytest.mark.parametrize(
    "name",
    [
        "embed.weight",
        "model.tok_embeddings.weight",
        "transformer.wte.weight",
        "lm_head.weight",
        "head.weight",
        "output.weight",
        "shared.weight",
        "classifier.weight",
        "module.fc.weight",
    ],
)
def test_muon_warns_once_of_a_matrix_whose_name_tells_of_an_embedding_or_a_head(name):
    words = rf"^Muon: parameter 1 \('{name}'\) may not be meant to have matrix=True, by its name; say groups="
    with pytest.warns(UserWarning, match=words) as caught:
        optimizer = Muon(named("layers.0.weight", name))
    assert len(caught) == 1 and caught[0].filename == __file__
    optimizer.add_param_group({"params": named("other_head.weight")})  # somebody was warned


def test_muon_warns_of_all_such_matrices_at_once_and_says_what_to_write():
    params = named("embed.weight", "layers.0.weight", "head.weight")
    with pytest.warns(UserWarning) as caught:
        Muon(params)
    assert [str(warning.message) for warning in caught] == [
        "Muon: parameter 0 ('embed.weight'), parameter 2 ('head.weight') may not be meant to have matrix=True, by "
        "their names; say groups={'embed.weight': {'matrix': False}, 'head.weight': {'matrix': False}}, or matrix=True"
    ]
    Muon(params, groups={"embed.weight": {"matrix": False}, "head.weight": {"matrix": False}})


@pytest.mark.parametrize("options", [{"matrix": True}, {"groups": {"embed.*": {"matrix": False}}}], ids=str)
def test_muon_warns_of_nothing_where_it_was_told(options):
    Muon(named("layers.0.weight", "embed.weight"), **options)
    Muon([{"params": named("embed.weight"), "matrix": True}])


def test_muon_warns_of_no_vector_and_of_no_other_name():
    Muon(
        [
            *named("header.weight", "layers.0.attention.weight", "thread.weight"),
            *named("bert.layer.0.output.dense.weight", "blocks.0.mlp.fc.weight", "classifier.1.weight"),
            ("head.bias", Tensor(np.ones(3), requires_grad=True)),
        ]
    )
