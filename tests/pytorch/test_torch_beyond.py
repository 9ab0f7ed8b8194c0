"""Rules that look beyond one element: every engine does what minima.optim does, with state of every size."""

import copy
import io
import pickle

import numpy as np
import pytest
import torch
from tensors import EXACT, arrays, assert_same, parameters, steps, told

from minima import Tensor, optim
from minima import torch as mt
from minima.optim import (
    Optimizer,
    PerColumn,
    PerRow,
    PerTensor,
    Shared,
    abs,
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


class Sides(Optimizer):
    """Every word along every axis, and sizes; state of every size, which begins in every way."""

    lr: float = hyper(0.01, low=0)
    d0: float = hyper(0.5, above=0)

    @staticmethod
    def update(
        param, grad, peak: PerRow, size: PerColumn = 0.25, much: PerTensor = "d0", d: Shared = "d0", start="param",
        *, lr, d0, t,
    ):  # fmt: skip
        rows, columns = param.shape
        peak = maximum(0.9 * peak + 0.1 * norm(grad, axis=1), max(abs(grad), axis=1))
        size = 0.9 * size + norm(grad, axis=0) / sqrt(rows) + maximum(max(grad, axis=0), 0)
        much = where(norm(grad) > 0, 0.5 * much + mean(abs(grad)) + max(peak) / (1 + sum(size)), much)
        lean = mean(grad, axis=1) + mean(grad, axis=0) + sum(grad, axis=0) / rows + sum(grad, axis=1) / columns
        step = grad / (peak + size + much) + 0.1 * lean * d + 0.01 * (param - start)
        return param - lr * step, peak, size, much, d + 0.1 * total(norm(step)) / (1 + t), start


class Whole(Optimizer):
    """Sums of whole tensors, which need no rows: on parameters of any layout."""

    lr: float = hyper(0.01, low=0)

    @staticmethod
    def update(param, grad, u, much: PerTensor, *, lr):
        much = maximum(much, max(abs(grad)))
        u = 0.9 * u + grad / (much + 1e-3)
        rows, columns = param.shape
        return param - lr * u * (norm(param) + abs(mean(u)) + sum(u) / (1 + rows * columns)), u, much


RULES = [
    (optim.LARS, {"weight_decay": 0.1}),
    (optim.LAMB, {"weight_decay": 0.1}),
    (optim.NovoGrad, {"weight_decay": 0.1}),
    (optim.StableAdamW, {"weight_decay": 0.1}),
    (optim.FTRL, {"lr": 0.1, "l1": 0.1, "weight_decay": 0.1}),
    (optim.MADGRAD, {"lr": 0.1, "weight_decay": 0.1}),
    (optim.Adan, {"weight_decay": 0.1}),
    (optim.ADOPT, {"weight_decay": 0.1}),
    (optim.MARS, {"weight_decay": 0.1, "gamma": 0.1, "optimize_1d": True}),
    (optim.Adafactor, {"lr": 0.01}),
    (optim.SM3, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.CAME, {"lr": 0.01, "weight_decay": 0.1}),
    (optim.PolyakSGD, {"bound": 0.5, "weight_decay": 0.1}),
    (optim.MoMo, {"lr": 0.02, "weight_decay": 0.1}),
    (optim.MoMoAdam, {"weight_decay": 0.1}),
    (optim.DoG, {"reps_rel": 0.1}),
    (optim.DoWG, {"r0": 0.1}),
    (optim.DAdaptSGD, {"d0": 1e-2}),
    (optim.DAdaptAdam, {"d0": 1e-2}),
    (optim.Prodigy, {"d0": 1e-2}),
    (optim.Muon, {"lr": 0.01}),
    (optim.ScheduleFreeSGD, {"lr": 0.02, "weight_decay": 0.1, "warmup_steps": 3}),
    (optim.ScheduleFreeAdamW, {"lr": 0.02, "weight_decay": 0.1, "warmup_steps": 3}),
    (Sides, {}),
    (Whole, {}),
    (optim.Adam, {"max_norm": 0.5}),
    (optim.LAMB, {"max_norm": 0.5, "cautious": True, "ema_decay": 0.9}),
]
PLAIN = [(3, 4), (5,), (), (1,), (2, 3, 4, 5), (6, 3), (70, 130)]
"""Shapes whose elements lie row after row."""
CLOSE = {torch.float64: {"rtol": 1e-11, "atol": 1e-13}, torch.float32: {"rtol": 2e-4, "atol": 2e-6}}
BY_ROWS = (optim.Adafactor, optim.SM3, optim.CAME, optim.Muon, Sides)


def name(value):
    return getattr(value, "__name__", str(value))


each = pytest.mark.parametrize("rule, hypers", RULES, ids=name)


def plain(dtype, seed=0):
    draw = torch.Generator().manual_seed(seed)
    return [torch.randn(shape, generator=draw).to(dtype).requires_grad_() for shape in PLAIN]


@each
@pytest.mark.parametrize("dtype", ["float32", "float64", "float16"])
def test_every_engine_steps_as_minima_optim_does(rule, hypers, dtype, engine):
    """Two groups; gradients that are missing now and then; a parameter that is frozen for a while."""
    params = plain(getattr(torch, dtype))
    others = [Tensor(param.detach().numpy().copy(), dtype=dtype, requires_grad=True) for param in params]
    special = (
        {"beta2": 0.9}
        if "beta2" in rule.hyperparameters and "d0" not in rule.hyperparameters
        else {"weight_decay": 0.1}
    )
    groups = [[{"params": x[:4]}, {"params": x[4:], **special}] for x in (params, others)]
    mine = mt.adapt(rule)(groups[0], engine=engine, **hypers)
    theirs = rule(groups[1], engine="reference", **hypers)
    draw = torch.Generator().manual_seed(3)
    for step in range(6):
        for i, (param, other) in enumerate(zip(params, others, strict=True)):
            grad = torch.randn(param.shape, generator=draw, dtype=torch.float64).to(param.dtype)
            missing = (i + step) % 5 == 0 or i == 5 and step in (2, 3)
            param.grad = None if missing else grad
            other.grad = None if missing else Tensor(grad.numpy().copy(), dtype=dtype)
        mine.step(**told(mine))
        theirs.step(**told(mine))
    exact = engine != "torch" and rule is not optim.Muon
    close = EXACT if exact else {"rtol": 1e-2, "atol": 1e-3} if dtype == "float16" else CLOSE[getattr(torch, dtype)]
    for i, (param, other) in enumerate(zip(params, others, strict=True)):
        torch.testing.assert_close(param.detach(), torch.from_numpy(other.detach().numpy().copy()), **close)
        kept = {entry: value for entry, value in mine.state[param].items() if entry not in ("step", "ema")}
        called = theirs.state_dict()["state"][str(i)].keys() - {"ema"}
        assert kept.keys() == {*called, *rule.rule.shared}
        for entry, value in kept.items():
            wanted = np.array(getattr(theirs, entry)[i].detach().numpy())
            torch.testing.assert_close(value, torch.from_numpy(wanted), **close, msg=lambda m, e=entry: f"{e}: {m}")


HALVES = [
    (torch.bfloat16, {}),
    (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}),
    (torch.bfloat16, {"rounding": "master"}),
    (torch.float16, {"rounding": "stochastic"}),
    (torch.float16, {"rounding": "master", "state_dtype": "bfloat16"}),
    (torch.float32, {"state_dtype": "bfloat16"}),
    (torch.float64, {"state_dtype": "bfloat16"}),
]


@each
@pytest.mark.parametrize("dtype, options", HALVES, ids=str)
def test_parameters_and_state_in_half_precision_do_the_same_on_every_engine(rule, hypers, dtype, options):
    found = []
    for engine in ("reference", "fused", "torch"):
        params = plain(dtype)
        optimizer = mt.adapt(rule)(params, engine=engine, **hypers, **options)
        steps(optimizer, params, 4)
        found.append(arrays(optimizer, params))
    assert_same(found[1], found[0], **({"rtol": 2e-2, "atol": 2e-2} if rule is optim.Muon else EXACT))
    assert_same(found[2], found[0], rtol=2e-2, atol=2e-2)


@each
def test_state_in_8_bits_does_the_same_on_every_engine_that_has_it(rule, hypers):
    found = []
    for engine in ("reference", None):
        params = plain(torch.float32)
        optimizer = mt.adapt(rule)(params, engine=engine, state_dtype="int8", **hypers)
        steps(optimizer, params, 4)
        found.append(arrays(optimizer, params))
    assert_same(found[1], found[0], **EXACT)
    assert "torch" not in optimizer.engines["cpu"]
    assert ("reference" in optimizer.engines["cpu"]) == (rule in BY_ROWS and rule is not optim.Adafactor)


@each
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_layouts_of_memory_do_not_count(rule, hypers, dtype):
    """Channels that come last, and gaps: in whatever order sums are added up then."""
    found = []
    for change in (lambda x: x, torch.Tensor.contiguous):
        params = [change(param.detach()).requires_grad_() for param in parameters(dtype)]
        optimizer = mt.adapt(rule)(params, **hypers)
        steps(optimizer, params, 5)
        found.append(arrays(optimizer, params))
    assert_same(*found, **CLOSE[dtype])


@pytest.mark.parametrize("rule, hypers", [x for x in RULES if x[0] not in BY_ROWS and x[0] is not Whole], ids=name)
@pytest.mark.parametrize(
    "dtype, close", [(torch.complex64, CLOSE[torch.float32]), (torch.complex128, CLOSE[torch.float64])]
)
def test_complex_numbers_count_as_pairs(rule, hypers, dtype, close, engine):
    found = []
    for kind, by in ((dtype, engine), (dtype.to_real(), "reference")):
        params = [torch.view_as_real(x.detach()) if kind != dtype else x.detach() for x in parameters(dtype)]
        params = [param.requires_grad_() for param in params]
        optimizer = mt.adapt(rule)(params, engine=by, **hypers)
        draw = torch.Generator().manual_seed(1)
        for _ in range(4):
            for param, like in zip(params, parameters(dtype), strict=True):
                grad = torch.randn(like.shape, generator=draw, dtype=dtype)
                param.grad = grad if kind == dtype else torch.view_as_real(grad)
            optimizer.step(**told(optimizer))
        found.append(
            [
                {key: torch.view_as_real(x) if x.is_complex() else x for key, x in each.items()}
                for each in arrays(optimizer, params)
            ]
        )
    assert_same(*found, **close)


# State ---------------------------------------------------------------------------------------------------------------


def stepped(rule, hypers=None, count=3, dtype=torch.float32, **options):
    params = plain(dtype)
    optimizer = mt.adapt(rule)(params, **(hypers or {}), **options)
    steps(optimizer, params, count)
    return params, optimizer


def test_state_has_the_size_that_the_rule_says():
    params, optimizer = stepped(Sides)
    for shape, (rows, columns) in {0: (3, 4), 1: (5, 1), 2: (1, 1), 4: (2, 60)}.items():
        kept = optimizer.state[params[shape]]
        assert kept["peak"].shape == (rows, 1) and kept["size"].shape == (1, columns)
        assert kept["much"].shape == kept["d"].shape == () and kept["much"].dtype == kept["d"].dtype == torch.float64
        assert kept["start"].shape == params[shape].shape
        assert len({id(optimizer.state[param]["d"]) for param in params}) == 1


def test_what_a_form_does_not_need_is_not_kept():
    params, optimizer = stepped(optim.Adafactor)
    keys = [set(optimizer.state[param]) - {"step"} for param in params]
    assert keys[0] == keys[4] and keys[1] == keys[2] and not keys[0] <= keys[1] and not keys[1] <= keys[0]


@pytest.mark.parametrize("options", [{"state_dtype": "int8"}, {"state_dtype": "bfloat16"}, {}], ids=str)
def test_state_begins_as_the_parameter_and_is_kept_as_it_is_computed(options):
    before = [param.detach().clone() for param in plain(torch.float32)]
    params, optimizer = stepped(Sides, {"lr": 0.1}, 1, **options)
    for i, (param, old) in enumerate(zip(params, before, strict=True)):
        if i % 5:  # others had no gradient
            assert torch.equal(optimizer.state[param]["start"], old)
            assert not torch.equal(param.detach(), old)


OPTIONS = [{}, {"state_dtype": "bfloat16"}, {"state_dtype": "int8"}, {"rounding": "master"}]


def through_a_file(optimizer):
    file = io.BytesIO()
    torch.save(optimizer.state_dict(), file)
    file.seek(0)
    return torch.load(file, weights_only=True)


RESUMED = [
    (*row, options, (torch.float32, torch.bfloat16)[(number + place) % 2])
    for number, row in enumerate(RULES)
    for place, options in enumerate(OPTIONS)
]
"""Every rule with every option and both dtypes, and every option with both: a state dict is made of each entry's own
dtype, whatever the rule."""


@pytest.mark.parametrize("rule, hypers, options, dtype", RESUMED, ids=name)
def test_a_resumed_run_is_the_run_that_was_never_stopped(rule, hypers, options, dtype):
    params, optimizer = stepped(rule, hypers, dtype=dtype, **options)
    others = [param.detach().clone().requires_grad_() for param in params]
    other = mt.adapt(rule)(others, **hypers, **options)
    other.load_state_dict(through_a_file(optimizer))
    for model, by in ((params, optimizer), (others, other)):
        steps(by, model, 4, seed=2)
    assert_same(arrays(other, others), arrays(optimizer, params), **EXACT)


@pytest.mark.parametrize("way", [copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x))])
def test_copies_go_on_alike_and_share_among_themselves(way):
    params, optimizer = stepped(optim.Prodigy, {"d0": 1e-2})
    other = way(optimizer)
    others = other.param_groups[0]["params"]
    for model, by in ((params, optimizer), (others, other)):
        steps(by, model, 3, seed=2)
    assert_same(arrays(other, others), arrays(optimizer, params), **EXACT)
    shared = {id(x["d"]) for by in (optimizer, other) for x in by.state.values()}
    assert len(shared) == 2


def test_what_all_share_goes_on_from_what_others_write():
    found = []
    for change in ("in place", "everywhere", "in a state dict"):
        params, optimizer = stepped(optim.Prodigy, {"d0": 1e-2})
        if change == "in place":
            optimizer.state[params[0]]["d"].fill_(0.5)
        elif change == "everywhere":
            for kept in optimizer.state.values():
                kept["d"] = torch.tensor(0.5)
        else:
            state_dict = optimizer.state_dict()
            for kept in state_dict["state"].values():
                kept["d"] = torch.tensor(0.5, dtype=torch.float64)
            optimizer.load_state_dict(state_dict)
        steps(optimizer, params, 2)
        found.append(arrays(optimizer, params))
        assert optimizer.state[params[0]]["d"] >= 0.5 and optimizer.state[params[0]]["d"].dtype == torch.float64
    assert_same(found[1], found[0], **EXACT)
    assert_same(found[2], found[0], **EXACT)


def test_what_all_share_must_be_the_same_for_all():
    params, optimizer = stepped(optim.Prodigy, {"d0": 1e-2})
    state_dict, before = copy.deepcopy(optimizer.state_dict()), arrays(optimizer, params)
    optimizer.state[params[0]]["d"] = torch.tensor(0.5, dtype=torch.float64)
    for param in params:
        param.grad = torch.ones_like(param)
    rule = "the state 'd' must be the same for all parameters, which share it"
    with pytest.raises(ValueError, match=f"^Prodigy.step: {rule}; write to the tensor that is there; nothing was"):
        optimizer.step()
    assert torch.equal(params[0].detach(), before[0]["param"])
    state_dict["state"][1]["d"] = torch.tensor(0.5)
    with pytest.raises(ValueError, match=rf"^Prodigy.load_state_dict: {rule}; got \[.*, 0.5\]; nothing was loaded$"):
        optimizer.load_state_dict(state_dict)


def test_what_all_share_must_be_the_same_in_new_state_of_a_parameter_that_is_idle():
    params, optimizer = stepped(optim.Prodigy, {"d0": 1e-2})
    params[1].grad = None
    for _ in range(2):
        optimizer.step()
    optimizer.state[params[1]] = {**optimizer.state[params[1]], "d": torch.tensor(0.5, dtype=torch.float64)}
    with pytest.raises(ValueError, match="the state 'd' must be the same for all parameters"):
        optimizer.step()


@pytest.mark.parametrize("junk", ["x", torch.ones(3), 1j, [], torch.ones((), dtype=torch.complex64)], ids=str)
def test_what_all_share_must_be_a_number(junk):
    params, optimizer = stepped(optim.Prodigy)
    before = [param.detach().clone() for param in params]
    for param in params:
        optimizer.state[param]["d"] = junk
    rule = (
        r"^Prodigy.step: the state 'd' of parameter 0 must be a tensor of a single number; got .*; nothing was changed$"
    )
    with pytest.raises(ValueError, match=rule):
        optimizer.step()
    assert all(map(torch.equal, params, before))


@pytest.mark.parametrize("everywhere", [False, True])
@pytest.mark.parametrize("replans", [False, True])
@pytest.mark.parametrize("value", ["gone", None])
def test_what_all_share_is_put_back_where_it_is_missing(everywhere, replans, value):
    params, optimizer = stepped(optim.Prodigy)
    shared = optimizer.state[params[0]]["d"]
    for param in params if everywhere else params[:1]:
        optimizer.state[param]["d"] = None
        if value == "gone":
            del optimizer.state[param]["d"]
    if replans:
        optimizer.max_norm = 1e9
    for param in params:
        param.grad = torch.ones_like(param)
    optimizer.step()
    assert all(optimizer.state[param]["d"] is shared for param in params)
    optimizer.load_state_dict(optimizer.state_dict())


def test_what_all_share_begins_anew_with_the_state():
    params, optimizer = stepped(optim.Prodigy, {"d0": 1e-2}, 4)
    optimizer.state[params[0]]["d"].fill_(0.7)
    optimizer.state.clear()
    steps(optimizer, params, 1)
    assert 0 < float(optimizer.state[params[1]]["d"]) < 0.1
    late = torch.ones(3, requires_grad=True)
    optimizer.add_param_group({"params": [late]})
    steps(optimizer, [*params, late], 2)
    assert optimizer.state[late]["d"] is optimizer.state[params[0]]["d"]


@pytest.mark.parametrize(
    "entry, value, message",
    [
        ("peak", torch.zeros(3), r"must have 'peak' of shape \(3, 1\); got \(3,\)"),
        ("size", torch.zeros(4, 1), r"must have 'size' of shape \(1, 4\); got \(4, 1\)"),
        ("much", torch.zeros(1), r"must have 'much' of shape \(\); got \(1,\)"),
        ("d", torch.zeros(3, 4), r"must have 'd' of shape \(\); got \(3, 4\)"),
        ("much", torch.zeros((), dtype=torch.int32), r"must have 'much' in torch.float64; got torch.int32"),
        ("peak", None, r"must have a tensor 'peak'; got None"),
        ("d", None, r"must have a tensor 'd'; got None"),
        ("velocity", torch.zeros(3, 4), r""),
    ],
)
def test_state_that_does_not_fit_is_refused_in_one_sentence(entry, value, message):
    params, optimizer = stepped(Sides)
    state_dict = copy.deepcopy(optimizer.state_dict())
    kept = state_dict["state"][0]
    if value is None:
        del kept[entry]
    else:
        kept[entry] = value
    if message:
        with pytest.raises(ValueError, match=rf"^Sides.load_state_dict: the state of parameter 0 {message}"):
            optimizer.load_state_dict(state_dict)
    else:  # a wrapper's own
        optimizer.load_state_dict(state_dict)
        assert optimizer.state[params[0]][entry].shape == (3, 4)


def test_a_matrix_does_not_take_the_state_of_a_vector():
    params, optimizer = stepped(optim.Adafactor)
    state_dict = copy.deepcopy(optimizer.state_dict())
    state_dict["state"][0], state_dict["state"][1] = state_dict["state"][1], state_dict["state"][0]
    with pytest.raises(ValueError, match=r"^Adafactor.load_state_dict: the state of parameter 0 must"):
        optimizer.load_state_dict(state_dict)


# Who steps what ------------------------------------------------------------------------------------------------------


def channels_last():
    return torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last).requires_grad_()


def test_rows_that_are_none_in_memory_are_stepped_by_pytorch_s_operations_and_engines_say_so():
    w, v = channels_last(), torch.ones(3, 4, requires_grad=True)
    few = "fused: compiled code, in as few passes over memory as can be"
    torch_ = "torch: its memory is not row after row"
    assert mt.adapt(optim.Adafactor)([v, w]).engines == {"cpu": f"{few}; {torch_}"}
    assert mt.LAMB([v, w]).engines == {"cpu": few}
    for engine in ("fused", "reference"):
        message = (
            f"^Adafactor: engine '{engine}' cannot step parameter 0: its memory is not row after row; leave engine out$"
        )
        with pytest.raises(ValueError, match=message):
            mt.adapt(optim.Adafactor)([w], engine=engine)
    with pytest.raises(ValueError, match="^Adafactor: state_dict?|state_dtype 'int8' is for .* not row after row"):
        mt.adapt(Sides)([w], state_dtype="int8")


def test_products_of_matrices_are_taken_between_compiled_passes():
    few = "fused: compiled code, in as few passes over memory as can be"
    assert mt.adapt(optim.Muon)([torch.ones(3, 4)]).engines == {"cpu": few}


class Mixed(Optimizer):
    """Numbers of rows between two products, which passes cannot have."""

    lr: float = hyper(0.01, low=0)

    @staticmethod
    def update(param, grad, *, lr):
        x = grad / (norm(grad, axis=1) + 1)
        x = (x @ x.T) @ x
        x = x / (1 + norm(x, axis=1))
        return param - lr * (x @ x.T) @ x


def test_what_compiled_code_cannot_multiply_pytorch_does():
    reason = "it computes with numbers of rows, of columns or of the whole model between products of matrices"
    assert mt.adapt(Mixed)([torch.ones(3, 4)]).engines == {"cpu": f"torch: {reason}"}
    with pytest.raises(
        ValueError, match=f"^Mixed: engine 'fused' cannot step parameter 0: {reason}; leave engine out$"
    ):
        mt.adapt(Mixed)([torch.ones(3, 4)], engine="fused")
    found = []
    for engine in (None, "reference"):
        params = [x for x in plain(torch.float64) if x.ndim == 2]
        optimizer = mt.adapt(Mixed)(params, engine=engine)
        steps(optimizer, params, 3)
        found.append(arrays(optimizer, params))
    assert_same(*found, **CLOSE[torch.float64])


def test_complex_matrices_have_no_rows():
    message = "^Adafactor: Adafactor tells rows and columns apart, and is for real parameters; parameter 0 is complex"
    with pytest.raises(ValueError, match=message):
        mt.adapt(optim.Adafactor)([torch.ones(3, 4, dtype=torch.complex64)])


@each
def test_a_measured_step_does_the_same(rule, hypers, engine):
    found = []
    for measure in (False, True):
        params = plain(torch.float32)
        optimizer = mt.adapt(rule)(params, engine=engine, **hypers)
        steps(optimizer, params, 2)
        before = [param.detach().double() for param in params]
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step(measure=measure, **told(optimizer))
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)
    for (_, measure), param, old in zip(optimizer.measures.items(), params, before, strict=True):
        assert measure.param == pytest.approx(float(old.norm()), rel=1e-6)
        assert measure.grad == pytest.approx(param.numel() ** 0.5)
        assert measure.update == pytest.approx(float((param.detach().double() - old).norm()), rel=1e-2, abs=1e-7)


@pytest.mark.parametrize("first", [True, False])
def test_a_rule_with_a_flag_runs_on_tensors_by_hand(first):
    given = [np.linspace(-1, 1, 6).reshape(2, 3), np.linspace(2, 3, 6).reshape(2, 3), np.full((2, 3), 0.5), 4.0]
    hypers = {"lr": 0.1, "beta1": 0.9, "beta2": 0.5, "eps": 1e-8, "weight_decay": 0.1}
    hypers |= {"grad_averaging": False, "first": first}
    found = optim.NovoGrad.update(*map(torch.as_tensor, given), **hypers)
    for ours, numpys in zip(found, optim.NovoGrad.update(*given, **hypers), strict=True):
        np.testing.assert_allclose(np.asarray(ours), numpys, rtol=1e-14)
