"""Parameters in half precision, and state in fewer bits: nothing is lost that adds up."""

import numpy as np
import pytest
import torch
from tensors import EXACT, SETTINGS, arrays, assert_same, own, parameters, steps

from minima import Tensor, optim
from minima.optim.engines.storage import Stored
from minima.torch import rounding
from minima.torch.rounding import Noise, narrowed

HALF = [torch.bfloat16, torch.float16]


def descended(engine=None, dtype=torch.bfloat16, size=1000, lr=1e-3, count=500, **options):
    """Where parameters of 1 come to by steps of ``lr``."""
    w = torch.ones(size, dtype=dtype, requires_grad=True)
    optimizer = own.SGD([w], lr=lr, engine=engine, **options)
    for _ in range(count):
        w.grad = torch.ones(size, dtype=dtype)
        optimizer.step()
    return w.detach().float(), optimizer


def test_five_hundred_small_steps_take_a_bfloat16_parameter_to_a_half_by_default(engine):
    w, _ = descended(engine, size=20000)
    assert w.mean().item() == pytest.approx(0.5, abs=1e-3)
    assert (w - 0.5).abs().mean() < 0.05


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_master_copy_takes_every_element_to_a_half(engine, dtype):
    w, optimizer = descended(engine, dtype, 3, rounding="master")
    assert (w - 0.5).abs().max() < 2e-3
    (kept,) = optimizer.state.values()
    assert kept["master"].dtype == torch.float32
    assert (kept["master"] - 0.5).abs().max() < 1e-4 and torch.equal(kept["master"].to(dtype).float(), w)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_a_master_copy_follows_what_is_written_to_its_parameter(engine, dtype):
    w = torch.ones(4, dtype=dtype, requires_grad=True)
    optimizer = own.SGD([w], lr=2.0**-14, engine=engine, rounding="master")
    w.grad = torch.ones(4, dtype=dtype)
    optimizer.step()
    with torch.no_grad():
        w[2:] = torch.tensor([2.0, -3.0])
    optimizer.step()
    wanted = torch.tensor([1 - 2.0**-13, 1 - 2.0**-13, 2 - 2.0**-14, -3 - 2.0**-14])
    assert torch.equal(optimizer.state[w]["master"], wanted) and torch.equal(w.detach(), wanted.to(dtype))


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("rounding", ["stochastic", "nearest", "master", None])
def test_complex_numbers_in_half_precision_are_rounded_as_pairs(rounding, engine):
    found = []
    for kind in (torch.complex32, torch.float16):
        pairs = torch.stack([torch.linspace(0.5, 2, 40), torch.linspace(-2, -0.5, 40)], dim=-1).half()
        w = (torch.view_as_complex(pairs) if kind.is_complex else pairs).requires_grad_()
        optimizer = own.SGD([w], lr=2.0**-13, momentum=0.5, engine=engine, rounding=rounding)
        for _ in range(5):
            w.grad = torch.view_as_complex(torch.ones_like(pairs)) if kind.is_complex else torch.ones_like(pairs)
            optimizer.step()
        each = arrays(optimizer, [w])[0]
        found.append({name: torch.view_as_real(x) if x.is_complex() else x for name, x in each.items()})
    assert ("master" in found[0]) is (rounding == "master")
    assert_same(found[:1], found[1:], **EXACT)


def test_rounding_to_the_nearest_leaves_a_bfloat16_parameter_where_it_is(engine):
    w, _ = descended(engine, rounding="nearest", count=20)
    assert torch.equal(w, torch.ones(1000))


def test_steps_too_small_for_float16_add_up_where_rounding_is_stochastic(engine):
    assert torch.equal(descended(engine, torch.float16, lr=1e-4, count=20)[0], torch.ones(1000))
    w, _ = descended(engine, torch.float16, 20000, lr=1e-4, count=200, rounding="stochastic")
    assert w.mean().item() == pytest.approx(0.98, abs=1e-4)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("rounding", ["stochastic", "nearest", "master"])
@pytest.mark.parametrize("other", ["fused", "torch"])
def test_every_engine_rounds_to_the_same_bits(dtype, rounding, other):
    special = [
        0.0,
        -0.0,
        1e-7,
        -3e-8,
        6e-5,
        6.2e-5,
        65504.0,
        -65504.0,
        1e-30,
        float("inf"),
        -float("inf"),
        float("nan"),
    ]
    found = []
    for engine in (other, "reference"):
        w = torch.cat([torch.tensor(special), torch.logspace(-9, 5, 4096), -torch.logspace(-9, 5, 4096)]).to(dtype)
        w = torch.stack([w, w], dim=1).T.requires_grad_()  # the order of memory is not that of indices
        optimizer = own.SGD([w], lr=0.013, engine=engine, rounding=rounding, seed=5)
        for step in range(3):
            w.grad = (torch.linspace(-1, 1, w.shape[1]).expand_as(w) * 3.0**step).to(dtype)
            optimizer.step()
        found.append(arrays(optimizer, [w]))
    assert_same(*found, **EXACT)


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_stochastic_rounding_keeps_the_expectation_and_goes_to_a_neighbour(dtype):
    value = torch.tensor([1.0017, -0.0301, 3.3e-6 if dtype is torch.float16 else 3.3e-20])
    w = torch.zeros(60000, 3, dtype=dtype)
    (found,) = narrowed([value.expand_as(w).contiguous()], [w], [1], -1, Noise(w.device))
    found = found.float()
    for i in range(3):
        kept = found[:, i].unique()
        assert len(kept) == 2 and kept[0] < value[i] < kept[1]
        share = (value[i] - kept[0]) / (kept[1] - kept[0])
        assert (found[:, i] == kept[1]).float().mean().item() == pytest.approx(share.item(), abs=0.01)
    exact = torch.tensor([1.0, -0.5, 0.0]).expand_as(w).contiguous()
    assert torch.equal(narrowed([exact], [w], [1], -1, Noise(w.device))[0].float(), exact)


@pytest.mark.parametrize("dtype", HALF, ids=str)
@pytest.mark.parametrize("number", [-1, 0, 1, 2])
@pytest.mark.parametrize("together", [7, 100, 10_000])
def test_tensors_that_are_rounded_together_are_what_numpy_makes_of_each(dtype, number, together, monkeypatch):
    monkeypatch.setattr(rounding, "ON_CPU", together)
    draw = torch.Generator().manual_seed(0)
    sizes, ts = [1, 250, 0, 99, 100, 640], [3, 3, 3, 2**31, 3, 2**31]
    values = [torch.randn(size, generator=draw) * 10.0 ** torch.arange(size).remainder(9).sub(6) for size in sizes]
    likes = [torch.empty(size, dtype=dtype) for size in sizes]
    found = narrowed(values, likes, ts, number, Noise(torch.device("cpu")))
    for x, value, like, t in zip(found, values, likes, ts, strict=True):
        kind = "bfloat16" if dtype == torch.bfloat16 else "float16_stochastic"
        array = np.zeros(len(value), np.uint16 if dtype == torch.bfloat16 else np.float16)
        Stored(kind, number, value.shape, np.dtype(np.float32), (array,)).write(value.numpy(), t)
        assert x.dtype == like.dtype and x.shape == like.shape
        np.testing.assert_array_equal(x.view(torch.int16).numpy(), array.view(np.int16))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_no_bits_of_nan_are_rounded_to_a_number(dtype):
    bits = [0x7FFFFFFF, 0x7FC00000, 0x7F800001, 0x7F80FFFF, 0x7FFF0001]
    nans = torch.tensor([*bits, *(x - 2**31 for x in bits)], dtype=torch.int32).repeat(100).view(torch.float32)
    (found,) = narrowed([nans], [torch.empty(1000, dtype=dtype)], [1], 0, Noise(nans.device))
    assert found.isnan().all()


def test_a_seed_repeats_a_run_and_another_seed_does_not(engine):
    def run(seed):
        return descended(engine, count=30, seed=seed)[0]

    assert torch.equal(run(1), run(1))
    assert not torch.equal(run(1), run(2)) and not torch.equal(run(0), run(1))


@pytest.mark.parametrize("dtype", HALF, ids=str)
def test_state_of_half_precision_parameters_is_kept_in_float32(dtype, engine):
    w = torch.ones(3, dtype=dtype, requires_grad=True)
    optimizer = own.Adam([w], lr=0.1, engine=engine, state_dtype="float32" if dtype == torch.bfloat16 else None)
    w.grad = torch.full((3,), 1e-3, dtype=dtype)
    optimizer.step()
    assert optimizer.state[w]["exp_avg_sq"].dtype == torch.float32
    assert 0 < optimizer.state[w]["exp_avg_sq"].max() < 2e-9


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_state_of_bfloat16_parameters_is_bfloat16_with_the_expected_values(cls, hypers, engine):
    w = torch.full((20_000,), 3.0, dtype=torch.bfloat16, requires_grad=True)
    wide = torch.full((20_000,), 3.0, requires_grad=True)
    narrow, exact = cls([w], lr=0.0, engine=engine, **hypers), cls([wide], lr=0.0, engine=engine, **hypers)
    for _ in range(20):
        w.grad, wide.grad = torch.full_like(w, 2.0**-7), torch.full_like(wide, 2.0**-7)
        narrow.step()
        exact.step()
    for name in exact.state[wide].keys() - {"step"}:
        kept, wanted = narrow.state[w][name], exact.state[wide][name]
        assert kept.dtype == torch.bfloat16
        torch.testing.assert_close(kept.double().mean(), wanted.double().mean(), rtol=2e-3, atol=0)


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("dtype", ["float32", "float64", "bfloat16"])
@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=lambda value: getattr(value, "__name__", ""))
def test_state_in_fewer_bits_has_the_same_bits_on_the_fused_and_the_reference_engine(cls, hypers, dtype, state_dtype):
    found = []
    for engine in ("fused", "reference"):
        params = [
            *parameters(getattr(torch, dtype)),
            torch.linspace(-1, 1, 600).to(getattr(torch, dtype)).requires_grad_(),
        ]
        optimizer = cls(params, lr=0.1, engine=engine, state_dtype=state_dtype, **hypers)
        steps(optimizer, params, 5)
        found.append(arrays(optimizer, params))
    assert_same(*found, **EXACT)
    wide = parameters()
    steps(optimizer := cls(wide, lr=0.1, **hypers), wide, 5)
    states = arrays(optimizer, wide)[5].keys() - {"param", "step"}
    assert bool(states) is (cls is not own.SGD or bool(hypers))  # without momentum there is none
    codes = {f"{name}_codes" for name in states} if state_dtype == "int8" else states
    scales = {f"{name}_scale" for name in states} if state_dtype == "int8" else set()
    kept = {name: tensor for name, tensor in found[0][5].items() if name not in ("param", "step")}
    assert kept.keys() == codes | scales
    for name in codes:
        assert kept[name].shape == params[5].shape and kept[name].stride() == params[5].stride()
        assert kept[name].element_size() == {"bfloat16": 2, "int8": 1}[state_dtype]


@pytest.mark.parametrize("state_dtype", ["bfloat16", "int8"])
@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128], ids=str)
def test_state_in_fewer_bits_is_refused_for_complex_parameters(dtype, state_dtype, engine):
    """One entry for each number would be half the room that its two parts take."""
    if engine == "torch" and state_dtype == "int8":
        pytest.skip("the engine has it for no parameter")
    params = [torch.ones(2, requires_grad=True), torch.ones(3, dtype=dtype, requires_grad=True)]
    words = (
        f"^Adam: state_dtype '{state_dtype}' is for real parameters; parameter {{}} is complex; leave state_dtype out,"
    )
    with pytest.raises(ValueError, match=words.format(1)):
        own.Adam(params, engine=engine, state_dtype=state_dtype)
    optimizer = own.Adam(params[:1], engine=engine, state_dtype=state_dtype)
    with pytest.raises(ValueError, match=words.format(0)):
        optimizer.add_param_group({"params": params[1:]})
    assert len(optimizer.param_groups) == 1
    pairs = torch.view_as_real(params[1].detach()).requires_grad_()  # as the message has it
    own.Adam([pairs], engine=engine, state_dtype=state_dtype)


def test_state_in_fewer_bits_is_that_of_minima_optim():
    values = np.linspace(-1, 1, 600, dtype=np.float32)
    for state_dtype in ("bfloat16", "int8"):
        w, other = torch.tensor(values, requires_grad=True), Tensor(values.copy(), requires_grad=True)
        mine = own.Adam([w], lr=0.1, state_dtype=state_dtype)
        theirs = optim.Adam([other], lr=0.1, state_dtype=state_dtype)
        for step in range(5):
            grad = np.sin(values * 7 + step)
            w.grad, other.grad = torch.tensor(grad), Tensor(grad)
            mine.step()
            theirs.step()
        np.testing.assert_array_equal(w.detach().numpy(), other.detach().numpy())
