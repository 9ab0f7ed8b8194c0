"""PyTorch's Muon: ours takes its steps, products in bfloat16 among them, and either loads what the other saved."""

import copy
from dataclasses import replace

import pytest
import torch

from minima import optim
from minima import torch as mt
from minima.optim.engines.cpu.products import NumpyProducts
from minima.optim.language.program import Instruction
from minima.optim.language.ranks import MATRIX
from minima.torch import eager, host_products
from minima.torch.dialects import DIALECTS
from minima.torch.products import merged

SETTINGS = [
    {},
    {"lr": 0.02, "weight_decay": 0.0, "nesterov": False, "momentum": 0.5},
    {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    {"lr": 0.02, "adjust_lr_fn": "original", "eps": 10.0},
]


@pytest.fixture
def exact(monkeypatch):
    """PyTorch's Muon, and ours, with products in the precision of the parameters."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    plain = replace(DIALECTS["Muon"], fixed={**DIALECTS["Muon"].fixed, "in_bfloat16": False})
    monkeypatch.setattr(mt.Muon, "_dialect", plain)


def twins(options, **more):
    draw = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (3, 5), (4, 4)]
    params = [torch.randn(shape, generator=draw, dtype=torch.float64).requires_grad_() for shape in shapes]
    others = copy.deepcopy(params)
    return (others, torch.optim.Muon(others, **options)), (params, mt.Muon(params, **options, **more))


def together(*runs, steps=20, seed=0):
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for i, first in enumerate(runs[0][0]):
            grad = torch.randn(first.shape, generator=draw, dtype=first.dtype) * 2.0 ** (step % 7 - 2)
            for params, _ in runs:
                params[i].grad = None if (i + step) % 6 == 5 else grad.clone()
        for _, optimizer in runs:
            optimizer.step()


def assert_alike(theirs, ours):
    for one, other in zip(theirs[0], ours[0], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-11, atol=1e-13)
        kept, mine = theirs[1].state[one], ours[1].state[other]
        assert kept.keys() - {"step"} == mine.keys() - {"step"} == {"momentum_buffer"}
        torch.testing.assert_close(mine["momentum_buffer"], kept["momentum_buffer"], rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_ours_takes_the_steps_of_pytorch_s_and_keeps_its_state(options, engine, exact):
    theirs, ours = twins(options, engine=engine)
    together(theirs, ours)
    assert_alike(theirs, ours)
    assert theirs[1].param_groups[0].keys() == ours[1].param_groups[0].keys()


@pytest.fixture
def natively(monkeypatch):
    """Products of bfloat16 as devices take them that are fast at it."""
    for module in (host_products, eager):
        monkeypatch.setattr(module, "has_fast_bfloat16", lambda device: True)


@pytest.mark.parametrize("engine", [None, "torch"])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_products_in_bfloat16_are_those_of_pytorch(options, engine, natively):
    """All that may differ is an element that float32 rounds to the middle of two numbers of bfloat16."""
    theirs, ours = twins(options, engine=engine)
    together(theirs, ours)
    for one, other in zip(theirs[0], ours[0], strict=True):
        torch.testing.assert_close(other, one, rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_a_step_is_pytorch_s_within_what_bfloat16_can_tell(options, engine, dtype):
    draw = torch.Generator().manual_seed(0)
    shapes = [(6, 4), (3, 5), (4, 4), (70, 40), (50, 130)]
    params = [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes]
    others = copy.deepcopy(params)
    theirs, ours = (others, torch.optim.Muon(others, **options)), (params, mt.Muon(params, **options, engine=engine))
    before = [param.detach().clone() for param in others]
    together(theirs, ours, steps=3)
    for old, one, other in zip(before, *(run[0] for run in (theirs, ours)), strict=True):
        assert torch.linalg.norm(other - one) <= 0.02 * torch.linalg.norm(one - old)


def test_minima_s_muon_keeps_the_precision_of_parameters():
    draw = torch.Generator().manual_seed(0)
    start, grad = torch.randn(40, 70, generator=draw), torch.randn(40, 70, generator=draw)
    found = []
    for dtype, hypers in ((torch.float64, {}), (torch.float32, {}), (torch.float32, {"in_bfloat16": True})):
        param = start.to(dtype, copy=True).requires_grad_()
        param.grad = grad.to(dtype)
        mt.adapt(optim.Muon)([param], lr=0.02, **hypers).step()
        found.append(param.detach().double() - start.double())
    exact, single, coarse = found
    assert torch.linalg.norm(single - exact) <= 1e-4 * torch.linalg.norm(exact)
    assert torch.linalg.norm(coarse - exact) >= 1e-3 * torch.linalg.norm(exact)


@pytest.mark.parametrize("in_half", [False, True])
def test_a_round_of_the_iteration_is_three_products_and_what_is_rounded(in_half):
    def line(target, operation, *operands):
        return Instruction(target, operation, operands, MATRIX)

    lines = [
        line("x", "bfloat16", "grad"),
        line("y", "transpose", "x"),
        line("a1", "matmul", "x", "y"),
        line("a", "bfloat16", "a1"),
        line("a2", "mul", -4.775, "a"),
        line("a3", "matmul", "a", "a"),
        line("a4", "mul", 2.0315, "a3"),
        line("b1", "add", "a2", "a4"),
        line("b", "bfloat16", "b1"),
        line("x1", "matmul", "b", "x"),
        line("x2", "mul", 3.4445, "x"),
        line("new", "add", "x1", "x2"),
        line("kept", "matmul", "b", "x"),
        line("sum", "add", "kept", "x"),
    ]
    found = merged(lines, ["new", "kept", "sum"], in_half=in_half)
    text = [f"{x.target} = {x.operation}({', '.join(map(str, x.operands))})" for x in found.lines]
    end = ["new = addmm(b, x, x, 1.0, 3.4445)", "kept = matmul(b, x)", "sum = add(kept, x)"]
    start = ["x = bfloat16(grad)", "y = transpose(x)"]
    if in_half:
        assert text == [*start, "a = matmul(x, y)", "b = addmm(a, a, a, 2.0315, -4.775)", *end]
        assert found.halves == {"x", "y", "a", "b"}
    else:
        rounded = ["a1 = matmul(x, y)", "a = bfloat16(a1)", "b1 = addmm(a, a, a, 2.0315, -4.775)", "b = bfloat16(b1)"]
        assert text == [*start, *rounded, *end] and not found.halves


def test_no_product_is_left_to_numpy(monkeypatch):
    monkeypatch.setattr(NumpyProducts, "calls", None)
    params = [torch.ones(shape, requires_grad=True) for shape in ((6, 4), (3, 5), (4, 4))]
    for made in (mt.Muon, mt.adapt(optim.Muon)):
        optimizer = made(params)
        for param in params:
            param.grad = torch.ones_like(param)
        optimizer.step()
        assert optimizer.engines["cpu"].startswith("fused")


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_either_loads_what_the_other_saved(options, exact):
    for ours_first in (False, True):
        first, second = twins(options)[::-1] if ours_first else twins(options)
        together(first, second, steps=5)
        fresh = twins({})[0 if ours_first else 1]
        for mine, one in zip(fresh[0], first[0], strict=True):
            mine.data.copy_(one.detach())
        fresh[1].load_state_dict(copy.deepcopy(first[1].state_dict()))
        together(first, fresh, steps=10, seed=1)
        assert_alike(*((fresh, first) if ours_first else (first, fresh)))


@pytest.mark.parametrize(
    "wrong",
    [{"lr": -1.0}, {"momentum": -0.1}, {"weight_decay": -0.1}, {"adjust_lr_fn": "mine"}],
    ids=str,
)
def test_what_pytorch_refuses_is_refused(wrong):
    for made in (torch.optim.Muon, mt.Muon):
        with pytest.raises(ValueError):
            made([torch.ones(2, 2, requires_grad=True)], **wrong)


def test_what_is_no_matrix_is_refused_as_in_pytorch_and_other_numbers_of_the_iteration_by_ours_alone():
    for made in (torch.optim.Muon, mt.Muon):
        with pytest.raises(ValueError):
            made([torch.ones(2, requires_grad=True)])
    words = r"^Muon: ns_coefficients must be \(3.4445, -4.775, 2.0315\); got \(2, -1.5, 0.5\); the iteration has"
    with pytest.raises(ValueError, match=words):
        mt.Muon([torch.ones(2, 2, requires_grad=True)], ns_coefficients=(2, -1.5, 0.5))
