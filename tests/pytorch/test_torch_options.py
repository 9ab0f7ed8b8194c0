"""What an optimizer is told besides hyperparameters, at first or in mid-run; the guard, and what a step measures."""

import copy
import math
import re

import numpy as np
import pytest
import torch
from tensors import EXACT, SETTINGS, arrays, assert_same, own, parameters, steps

from minima import Tensor, optim

HALF = [torch.bfloat16, torch.float16]


def made(cls=own.SGD, engine=None, *, values=(1.0, -2.0), dtype=torch.float32, **options):
    w = torch.tensor(values, dtype=dtype, requires_grad=True)
    w.grad = torch.ones_like(w)
    return w, cls([("w", w)], engine=engine, **options)


# Options in mid-run --------------------------------------------------------------------------------------------------

OPTIONS = [
    ("decay", "independent", "decoupled"),
    ("decay", "l2", "decoupled"),
    ("maximize", True, False),
    ("engine", "reference", "fused"),
    ("engine", "torch", "reference"),
]


@pytest.mark.parametrize("cls", [own.SGD, own.Adam, own.RMSProp], ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("name, later, first", OPTIONS, ids=str)
def test_an_option_that_is_assigned_counts_from_the_next_step_on(cls, name, later, first):
    kind = {"lr": 0.1, "weight_decay": 0.25}
    w, optimizer = made(cls, **kind, **({} if name == "engine" else {"engine": "fused"}) | {name: first})
    v, other = made(cls, **kind, **({} if name == "engine" else {"engine": "fused"}) | {name: later})
    optimizer.step()
    optimizer.step()
    with torch.no_grad():
        v.copy_(w)
    other.load_state_dict(optimizer.state_dict())
    setattr(other, name, later)  # decay and maximize are entries of groups, and so of state dicts
    setattr(optimizer, name, later)
    assert getattr(optimizer, name) == getattr(other, name) == later
    for _ in range(3):
        optimizer.step()
        other.step()
    assert_same(arrays(optimizer, [w]), arrays(other, [v]), **EXACT)


@pytest.mark.parametrize("name, value", [("decay", "l2"), ("maximize", True)])
def test_an_option_of_groups_reaches_all_of_them_and_those_to_come(name, value):
    v, w, u = (torch.ones(1, requires_grad=True) for _ in range(3))
    optimizer = own.SGD([{"params": [v], name: value}, {"params": [w]}], lr=0.5)
    assert [group[name] for group in optimizer.param_groups] == [value, optimizer.defaults[name]]
    setattr(optimizer, name, value)
    optimizer.add_param_group({"params": [u]})
    assert [group[name] for group in optimizer.param_groups] == [value] * 3 and optimizer.defaults[name] == value


def test_every_group_has_its_own_decay_and_direction(engine):
    params = [torch.full((2,), 2.0, requires_grad=True) for _ in range(4)]
    kinds = [{}, {"decay": "independent"}, {"decay": "l2"}, {"maximize": True}]
    optimizer = own.SGD(
        [{"params": [p]} | kind for p, kind in zip(params, kinds, strict=True)], lr=0.5, wd=0.25, engine=engine
    )
    for p in params:
        p.grad = torch.ones(2)
    optimizer.step()
    wanted = [2 * (1 - 0.125) - 0.5, 2 * 0.75 - 0.5, 2 - 0.5 * (1 + 0.5), 2 * (1 - 0.125) + 0.5]
    assert [p[0].item() for p in params] == wanted
    optimizer.param_groups[1]["decay"] = "decoupled"
    optimizer.param_groups[0]["maximize"] = True
    optimizer.step()
    assert [p[0].item() for p in params[:2]] == [wanted[0] * 0.875 + 0.5, wanted[1] * 0.875 - 0.5]


WRONG = [
    ("decay", "none", ValueError, "SGD: decay must be one of 'decoupled', 'independent', 'l2'; got 'none'"),
    ("maximize", 1, TypeError, "SGD: maximize must be one of False, True; got 1"),
    ("rounding", "up", ValueError, "SGD: rounding must be one of 'stochastic', 'nearest', 'master'; got 'up'"),
    ("seed", -1, ValueError, "SGD: seed must be an integer of at least 0; got -1"),
    ("engine", "cuda", ValueError, "SGD: engine must be one of 'fused', 'reference', 'torch'; got 'cuda'"),
    ("on_nonfinite", "Skip", ValueError, "SGD: on_nonfinite must be one of 'propagate', 'raise', 'skip'; got 'Skip'"),
    ("t", 1.5, TypeError, "SGD: t must be an integer in [0, 4611686018427387904); got 1.5"),
    (
        "state_dtype",
        "int8",
        AttributeError,
        "SGD: state_dtype cannot change once the optimizer is made: the state is kept in it; got 'int8'; "
        "make another optimizer",
    ),
]


@pytest.mark.parametrize("name, value, error, words", WRONG, ids=[row[0] for row in WRONG])
def test_what_is_no_value_of_an_option_is_refused_and_the_option_stays(name, value, error, words):
    _, optimizer = made()
    before = getattr(optimizer, name)
    with pytest.raises(error) as caught:
        setattr(optimizer, name, value)
    assert str(caught.value) == words and getattr(optimizer, name) == before
    optimizer.step()


@pytest.mark.parametrize("value, error", [("none", ValueError), (0, TypeError)])
def test_what_is_no_decay_of_a_group_is_refused_by_the_step(value, error):
    w, optimizer = made()
    optimizer.step()
    before = w.detach().clone()
    optimizer.param_groups[0]["decay"] = value
    with pytest.raises(error, match="^SGD: decay must be one of"):
        optimizer.step()
    assert torch.equal(w, before)


def test_an_engine_that_cannot_step_the_parameters_is_refused_when_it_is_assigned():
    w = torch.ones(2, device="meta", requires_grad=True)
    optimizer = own.SGD([w])
    with pytest.raises(ValueError, match="^SGD: engine 'fused' is for the CPU and NVIDIA GPUs; parameter 0 is on meta"):
        optimizer.engine = "fused"
    _, optimizer = made(state_dtype="int8", momentum=0.9)
    with pytest.raises(ValueError, match="^SGD: state_dtype 'int8' is for the fused and the reference engine"):
        optimizer.engine = "torch"


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_rounding_may_change_in_mid_run(dtype, engine):
    w, optimizer = made(engine=engine, values=[1.0] * 4000, dtype=dtype, lr=2.0**-13, rounding="nearest")
    for _ in range(4):
        optimizer.step()
    assert (w == 1).all() and "master" not in optimizer.state[w]  # the step is half a unit or less
    optimizer.rounding = "stochastic"
    for _ in range(16):
        optimizer.step()
    moved = 1 - w.detach().float()
    assert moved.mean().item() == pytest.approx(16 * 2.0**-13, rel=0.2) and moved.unique().numel() > 1
    optimizer.rounding = "master"
    start = w.detach().float()
    for _ in range(16):
        optimizer.step()
    assert torch.equal(optimizer.state[w]["master"], start - 16 * 2.0**-13)
    with torch.no_grad():
        w.fill_(4.0)  # others write
    optimizer.step()
    assert torch.equal(optimizer.state[w]["master"], torch.full((4000,), 4 - 2.0**-13))
    optimizer.rounding = "nearest"
    for _ in range(16):
        optimizer.step()
    assert (w == 4).all()
    optimizer.rounding = None
    assert optimizer.rounding is None
    optimizer.step()


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_master_copy_that_rested_knows_what_was_done_without_it(dtype, engine):
    w, optimizer = made(engine=engine, values=[1.0] * 8, dtype=dtype, lr=2.0**-4, rounding="master")
    optimizer.step()
    optimizer.rounding = "nearest"
    optimizer.step()
    optimizer.rounding = "master"
    optimizer.step()
    assert torch.equal(optimizer.state[w]["master"], torch.full((8,), 1 - 3 * 2.0**-4))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_master_copy_is_saved_and_loaded_whatever_the_rounding_is_by_then(dtype, engine):
    w, optimizer = made(engine=engine, values=[1.0] * 8, dtype=dtype, lr=2.0**-14, rounding="master")
    optimizer.step()
    optimizer.rounding = "nearest"
    saved = copy.deepcopy(optimizer.state_dict())
    for other in (optimizer, made(engine=engine, values=[1.0] * 8, dtype=dtype, lr=2.0**-14)[1]):
        other.load_state_dict(saved)
        other.rounding = "master"
        other.step()
        (kept,) = other.state.values()
        assert torch.equal(kept["master"], torch.full((8,), 1 - 2.0**-13))


def test_a_seed_may_change_in_mid_run(engine):
    found = []
    for later in (5, 5, 6):
        w, optimizer = made(engine=engine, values=[1.0] * 500, dtype=torch.bfloat16, lr=1e-3, seed=3)
        optimizer.step()
        optimizer.seed = later
        optimizer.step()
        found.append(w.detach().clone())
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])


@pytest.mark.parametrize("seed", [0, 7])
def test_random_numbers_are_those_of_minima_s_own_tensors(seed):
    values = np.linspace(-1, 1, 500, dtype=np.float16)
    w, optimizer = made(values=values.tolist(), dtype=torch.float16, lr=1e-3, rounding="stochastic", seed=seed)
    other = Tensor(values.copy(), dtype="float16", requires_grad=True)
    theirs = optim.SGD([other], lr=1e-3, rounding="stochastic", seed=seed)
    for _ in range(5):
        other.grad = Tensor(np.ones(500), dtype="float16")
        optimizer.step()
        theirs.step()
    np.testing.assert_array_equal(w.detach().numpy(), other.detach().numpy())


# The guard -----------------------------------------------------------------------------------------------------------

BAD = [math.nan, math.inf, -math.inf]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF, torch.complex64], ids=str)
@pytest.mark.parametrize("value", BAD)
def test_a_gradient_that_is_not_finite_is_skipped_or_raised_for_all_parameters(engine, dtype, value):
    v, w = (torch.ones(3, dtype=dtype, requires_grad=True) for _ in range(2))
    optimizer = own.Adam([("v", v), ("w", w)], lr=0.1, engine=engine, on_nonfinite="skip")
    for p in (v, w):
        p.grad = torch.ones_like(p)
    optimizer.step()
    before = copy.deepcopy(arrays(optimizer, [v, w]))
    w.grad[1] = value
    optimizer.step()
    optimizer.step()
    assert (optimizer.t, optimizer.skipped) == (1, 2)
    optimizer.on_nonfinite = "raise"
    with pytest.raises(FloatingPointError) as caught:
        optimizer.step()
    words = "Adam.step: gradient of parameter 1 ('w') is not finite; nothing was changed"
    assert str(caught.value) == words and (optimizer.t, optimizer.skipped) == (1, 2)
    assert_same(arrays(optimizer, [v, w]), before, **EXACT)
    optimizer.on_nonfinite = "propagate"
    optimizer.step()
    assert not w.isfinite().all() and v.isfinite().all() and optimizer.t == 2


@pytest.mark.parametrize("size", [1, 7, 300_000])
def test_the_guard_finds_one_bad_element_wherever_it_is(engine, size):
    w, optimizer = made(engine=engine, values=[1.0] * size, on_nonfinite="raise")
    optimizer.step()
    for place in {0, size // 2, size - 1}:
        w.grad = torch.ones(size)
        w.grad[place] = math.nan
        with pytest.raises(FloatingPointError):
            optimizer.step()
    w.grad = torch.full((size,), 3e38)  # large, and finite
    optimizer.step()
    assert optimizer.t == 2


LOSSES = [math.nan, math.inf, torch.tensor(math.nan), torch.tensor([math.inf]), np.float32(math.nan)]


@pytest.mark.parametrize("loss", LOSSES, ids=repr)
def test_a_loss_that_is_not_finite_counts_like_such_a_gradient(engine, loss):
    w, optimizer = made(engine=engine, on_nonfinite="skip")
    before = w.detach().clone()
    assert optimizer.step(loss=loss) is loss and optimizer.step(lambda: loss) is loss
    assert torch.equal(w, before) and (optimizer.t, optimizer.skipped) == (0, 2)
    optimizer.on_nonfinite = "raise"
    with pytest.raises(FloatingPointError, match="^SGD.step: loss is (nan|inf); nothing was changed$"):
        optimizer.step(loss=loss)
    optimizer.on_nonfinite = "propagate"
    assert optimizer.step(loss=loss) is loss and not torch.equal(w, before)


@pytest.mark.parametrize("loss", [0.5, torch.tensor(0.5), torch.tensor([0.5], requires_grad=True)], ids=repr)
def test_a_finite_loss_is_given_back(engine, loss):
    for guard in ("propagate", "raise", "skip"):
        _, optimizer = made(engine=engine, on_nonfinite=guard)
        assert optimizer.step(loss=loss) is loss and optimizer.t == 1
        assert optimizer.step(lambda: loss, loss=math.nan) is loss and optimizer.t == 2


@pytest.mark.parametrize("loss", ["0.5", torch.ones(2), [1.0], object()], ids=["text", "tensor", "list", "object"])
def test_what_is_no_loss_is_refused_where_it_is_looked_at(loss):
    w, optimizer = made(on_nonfinite="raise")
    rule = "SGD.step: loss must be a number, or a tensor of one; got "
    with pytest.raises(TypeError, match=f"^{re.escape(rule)}.*nothing was changed$"):
        optimizer.step(loss=loss)
    assert w.tolist() == [1.0, -2.0]
    optimizer.on_nonfinite = "propagate"
    assert optimizer.step(loss=loss) is loss


# Measures ------------------------------------------------------------------------------------------------------------


def norm(values):
    return float(torch.linalg.vector_norm(torch.view_as_real(values) if values.is_complex() else values.double()))


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.complex64], ids=str)
def test_a_measured_step_does_the_same_and_says_how_large_everything_was(cls, hypers, dtype, engine):
    params, others = parameters(dtype), parameters(dtype)
    optimizer = cls([(f"p{i}", p) for i, p in enumerate(params)], lr=0.1, engine=engine, **hypers)
    plain = cls(others, lr=0.1, engine=engine, **hypers)
    assert optimizer.measures is None
    draw = torch.Generator().manual_seed(0)
    for step in range(4):
        before = [p.detach().clone() for p in params]
        for i, (p, other) in enumerate(zip(params, others, strict=True)):
            grad = torch.randn(p.shape, generator=draw, dtype=torch.float64).to(p.dtype)
            p.grad, other.grad = (None, None) if (step + i) % 5 == 4 else (grad, grad.clone())
        optimizer.step(measure=True)
        plain.step()
        assert_same(arrays(optimizer, params), arrays(plain, others), **EXACT)
        moving = [
            (f"p{i}", p, old) for i, (p, old) in enumerate(zip(params, before, strict=True)) if p.grad is not None
        ]
        assert list(optimizer.measures) == [name for name, _, _ in moving]
        for name, p, old in moving:
            found, now = optimizer.measures[name], p.detach()
            scale = (norm(old) + norm(now)) * (1e-12 if dtype == torch.float64 else 1e-6)
            assert found.grad == pytest.approx(norm(p.grad), rel=1e-6)
            assert found.param == pytest.approx(norm(old), rel=1e-6)
            wide = torch.complex128 if dtype.is_complex else torch.float64
            assert found.update == pytest.approx(norm(now.to(wide) - old.to(wide)), abs=scale)
    total = math.hypot(*(measure.grad for measure in optimizer.measures.values()))
    assert optimizer.measures.total.grad == pytest.approx(total)
    held = optimizer.measures
    optimizer.step()
    assert optimizer.measures is held


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, *HALF], ids=str)
def test_engines_measure_alike(cls, hypers, dtype):
    found = []
    for name in ("fused", "reference", "torch"):
        params = parameters(dtype)
        optimizer = cls(params, lr=0.1, engine=name, rounding="nearest", **hypers)
        steps(optimizer, params, 3, all_of_them=True)
        optimizer.step(measure=True)
        rows = [(m.grad, m.update, m.param) for m in optimizer.measures.values()]
        found.append(torch.tensor(rows, dtype=torch.float64))
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=2e-5 if dtype != torch.float64 else 1e-12, atol=1e-9)


def test_measures_are_those_of_minima_s_own_tensors():
    w, optimizer = made(own.Adam, lr=0.1)
    other = Tensor(w.detach().numpy().copy(), requires_grad=True)
    theirs = optim.Adam([("w", other)], lr=0.1)
    other.grad = Tensor(w.grad.numpy().copy())
    optimizer.step(measure=True)
    theirs.step(measure=True)
    assert dict(optimizer.measures) == dict(theirs.measures)


def test_a_step_that_is_skipped_measures_nothing(engine):
    w, optimizer = made(engine=engine, on_nonfinite="skip")
    optimizer.step(measure=True)
    held = optimizer.measures
    w.grad[0] = math.nan
    optimizer.step(measure=True)
    assert optimizer.measures is held and optimizer.skipped == 1


def test_a_step_without_gradients_measures_no_parameter(engine):
    w, optimizer = made(engine=engine)
    w.grad = None
    optimizer.step(measure=True)
    assert len(optimizer.measures) == 0 and optimizer.t == 1


# Hooks ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [1, "update", None])
def test_what_is_not_true_or_false_does_not_measure(value, engine):
    param, optimizer = made(engine=engine)
    optimizer.step()
    before = param.detach().clone()
    with pytest.raises(TypeError, match="step: measure must be True or False; got"):
        optimizer.step(measure=value)
    assert torch.equal(param, before) and optimizer.t == 1


def test_hooks_see_the_arguments_as_they_were_given():
    _, optimizer = made()
    seen = []
    optimizer.register_step_pre_hook(lambda o, args, kwargs: seen.append((args[1:], kwargs)))
    optimizer.register_step_post_hook(lambda o, args, kwargs: seen.append((args[1:], kwargs)))

    def closure():
        return 0.5

    assert optimizer.step() is None and seen == [((), {})] * 2
    assert optimizer.step(closure) == 0.5 and seen[2:] == [((closure,), {})] * 2 and optimizer.measures is None
    assert optimizer.step(loss=0.25, measure=True) == 0.25
    assert seen[4:] == [((), {"loss": 0.25, "measure": True})] * 2 and optimizer.measures is not None


def test_an_option_that_is_refused_stays_what_it_was():
    optimizer = own.SGD([torch.ones(2, device="meta", requires_grad=True)])
    with pytest.raises(ValueError, match="^SGD: engine 'fused' is for the CPU and NVIDIA GPUs; parameter 0 is on meta"):
        optimizer.engine = "fused"
    assert optimizer.engine is None
    optimizer.add_param_group({"params": [torch.ones(2, device="meta", requires_grad=True)]})
    assert len(optimizer.param_groups) == 2
