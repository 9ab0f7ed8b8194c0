"""Half precision: bfloat16 moves where torch.optim stands still, and float16 keeps its state in float32."""

import copy

import pytest
import torch
from both import DECAYING, NAMES, NUMBERS, Run, together

from minima import torch as mt

MOMENTUM = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5, "centered": True}}
"""What gives an optimizer all the state that it can have."""


def run(library, name, dtype, *, count=1, size=64, **options):
    """Steps along gradients of 1, from 1."""
    w = torch.ones(size, dtype=dtype, requires_grad=True)
    optimizer = getattr(library, name)([w], **options)
    for _ in range(count):
        w.grad = torch.ones_like(w)
        optimizer.step()
    return w.detach(), optimizer


def dtypes(optimizer):
    (kept,) = optimizer.state.values()
    return {key: value.dtype for key, value in kept.items() if key not in NUMBERS}


@pytest.mark.parametrize(
    ("dtype", "options", "kept"),
    [
        (torch.bfloat16, {}, torch.bfloat16),
        (torch.bfloat16, {"state_dtype": "float32"}, torch.float32),
        (torch.bfloat16, {"rounding": "nearest", "state_dtype": "float32"}, torch.float32),
        (torch.float16, {}, torch.float32),
        (torch.float32, {}, torch.float32),
        (torch.float32, {"state_dtype": "bfloat16"}, torch.bfloat16),
        (torch.float64, {}, torch.float64),
    ],
    ids=str,
)
@pytest.mark.parametrize("name", NAMES)
def test_state_is_kept_in(name, dtype, options, kept):
    more = MOMENTUM.get(name, {})
    _, theirs = run(torch.optim, name, torch.float32, **more)
    _, mine = run(mt, name, dtype, **more, **options)
    assert dtypes(mine) == dict.fromkeys(dtypes(theirs), kept)


def test_small_updates_move_a_bfloat16_parameter_where_they_are_lost_in_pytorch():
    """1,000 updates of 1e-4 from 1.0, of which each is far below half a unit in the last place."""
    options = {"lr": 1e-4, "count": 1000, "size": 4096}
    theirs, _ = run(torch.optim, "SGD", torch.bfloat16, **options)
    mine, _ = run(mt, "SGD", torch.bfloat16, **options)
    nearest, _ = run(mt, "SGD", torch.bfloat16, rounding="nearest", **options)
    assert torch.equal(theirs, torch.ones_like(theirs)) and torch.equal(nearest, theirs)
    assert abs(mine.double().mean() - 0.90) < 0.002
    assert 0.01 < mine.double().std() < 0.03  # elements round by themselves


@pytest.mark.parametrize("name", NAMES)
def test_a_bfloat16_parameter_follows_the_float32_one_on_average(name):
    options = {"lr": 1e-4, "count": 500, **MOMENTUM.get(name, {})}
    if name == "RMSprop":
        options = {"lr": 1e-5, "count": 500}
    if name == "Adadelta":
        options = {"lr": 0.01, "count": 500}
    if name == "Rprop":
        options |= {"step_sizes": (0.0, 1e-4)}
    exact, _ = run(torch.optim, name, torch.float32, size=1, **options)
    theirs, _ = run(torch.optim, name, torch.bfloat16, **options)
    mine, _ = run(mt, name, torch.bfloat16, size=4096, **options)
    way = 1 - exact.item()
    assert way > 0.004
    assert abs(1 - mine.double().mean() - way) < 0.05 * way
    assert (1 - theirs.double().mean() - way).abs() > 0.3 * way


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_rounding_to_the_nearest_is_the_float32_step_rounded(name, dtype):
    """With state in float32: torch.optim's step of a copy in float32, rounded to the nearest value."""
    draw = torch.Generator().manual_seed(0)
    start = torch.randn(300, generator=draw).to(dtype)
    half, wide = start.clone().requires_grad_(), start.float().requires_grad_()
    options = {"lr": 0.05, **MOMENTUM.get(name, {})} | ({"weight_decay": 0.1} if name in DECAYING else {})
    mine = getattr(mt, name)([half], rounding="nearest", state_dtype="float32", **options)
    theirs = getattr(torch.optim, name)([wide], foreach=False, **options)
    for _ in range(6):
        grad = torch.randn(300, generator=draw).to(dtype)
        half.grad, wide.grad = grad, grad.float()
        mine.step()
        theirs.step()
        wide.data.copy_(wide.detach().to(dtype))
        torch.testing.assert_close(half.float(), wide, rtol=torch.finfo(dtype).eps, atol=1e-6)
        assert (half.float() == wide).float().mean() > 0.98  # apart from ties and the last bit
        wide.data.copy_(half.detach())
        for key, value in theirs.state[wide].items():
            torch.testing.assert_close(mine.state[half][key], value, rtol=1e-5, atol=1e-6, check_dtype=False)


@pytest.mark.parametrize("name", NAMES)
def test_stochastic_rounding_is_repeated_by_its_seed(name):
    def end(seed):
        options = {"lr": 1e-3, "count": 20, "size": 512, "seed": seed, **MOMENTUM.get(name, {})}
        w, optimizer = run(mt, name, torch.bfloat16, **options)
        (kept,) = optimizer.state.values()
        return torch.cat([w, *(value for key, value in kept.items() if key not in NUMBERS)])

    assert torch.equal(end(0), end(0))
    assert not torch.equal(end(0), end(1))


@pytest.mark.parametrize("named", [False, True])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_checkpoints_in_half_precision_change_sides(name, dtype, named):
    """What is taken over is theirs to the bit in bfloat16; where ours keeps more bits, it goes on from theirs."""
    options = {"lr": 0.1, **MOMENTUM.get(name, {})}
    w, theirs = run(torch.optim, name, dtype, count=3, **options)
    own = w.clone().requires_grad_()
    mine = getattr(mt, name)([("w", own)] if named else [own])
    mine.load_state_dict(theirs.state_dict())
    (kept,), (had,) = mine.state.values(), theirs.state.values()
    wanted = torch.bfloat16 if dtype is torch.bfloat16 else torch.float32
    assert dtypes(mine) == dict.fromkeys(dtypes(theirs), wanted)
    for key, value in had.items():
        torch.testing.assert_close(kept[key], value, rtol=0, atol=0, check_dtype=False)
    back = getattr(torch.optim, name)([w.clone().requires_grad_()])
    back.load_state_dict(copy.deepcopy(mine.state_dict()))
    assert dtypes(back) == dtypes(theirs)
    # PyTorch itself casts the numbers of a parameter to its dtype when it loads them.
    torch.testing.assert_close(*({k: v for k, v in x.items() if k not in NUMBERS} for x in (*back.state.values(), had)))


@pytest.mark.parametrize("name", NAMES)
def test_a_stopped_run_in_bfloat16_goes_on_to_the_bit(name):
    draw = torch.Generator().manual_seed(1)
    params = [torch.randn(200, generator=draw).bfloat16().requires_grad_()]
    whole = Run(params, getattr(mt, name)(params, lr=0.01, **MOMENTUM.get(name, {})))
    together(whole, count=5)
    again = copy.deepcopy(params)
    resumed = Run(again, getattr(mt, name)(again))
    resumed.optimizer.load_state_dict(copy.deepcopy(whole.optimizer.state_dict()))
    together(whole, resumed, count=5, seed=1)
    assert torch.equal(*whole.params, *resumed.params)
