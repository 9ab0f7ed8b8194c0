"""PyTorch's Muon: ours takes its steps but for its products in bfloat16, and either loads what the other saved."""

import copy

import pytest
import torch

from minima import torch as mt

SETTINGS = [
    {},
    {"lr": 0.02, "weight_decay": 0.0, "nesterov": False, "momentum": 0.5},
    {"lr": 0.02, "adjust_lr_fn": "match_rms_adamw", "ns_steps": 3},
    {"lr": 0.02, "adjust_lr_fn": "original", "eps": 10.0},
]


@pytest.fixture
def exact(monkeypatch):
    """PyTorch's Muon with products in the precision of the parameters."""
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())


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


@pytest.mark.parametrize("engine", [None, "reference"])
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_ours_takes_the_steps_of_pytorch_s_and_keeps_its_state(options, engine, exact):
    theirs, ours = twins(options, engine=engine)
    together(theirs, ours)
    assert_alike(theirs, ours)
    assert theirs[1].param_groups[0].keys() == ours[1].param_groups[0].keys()


@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_a_step_is_pytorch_s_within_what_bfloat16_can_tell(options):
    theirs, ours = twins(options)
    before = [param.detach().clone() for param in theirs[0]]
    together(theirs, ours, steps=1)
    for old, one, other in zip(before, *(run[0] for run in (theirs, ours)), strict=True):
        assert torch.linalg.norm(other - one) <= 0.05 * torch.linalg.norm(one - old)


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
