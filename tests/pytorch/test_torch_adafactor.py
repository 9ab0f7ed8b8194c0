"""PyTorch's Adafactor, whose state is for rows and columns: ours takes its steps, and either loads what it saved."""

import copy

import pytest
import torch

from minima import torch as mt

SHAPES = [(6, 4), (3, 5), (4, 4), (7,), (), (1, 6)]
SETTINGS = [
    {},
    {"lr": 0.5, "weight_decay": 0.1},
    {"lr": 0.02, "beta2_decay": -0.5, "eps": (1e-3, 0.5), "d": 2.0},
    {"lr": 0.02, "eps": (None, 1e-2), "maximize": True},
    {"lr": torch.tensor(0.02, dtype=torch.float64), "foreach": True},
]
CLOSE = {torch.float64: {"rtol": 1e-11, "atol": 1e-13}, torch.float32: {"rtol": 5e-5, "atol": 1e-6}}


def parameters(dtype):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in SHAPES]


def grouped(params):
    return [{"params": params[:3]}, {"params": params[3:], "lr": 0.1, "weight_decay": 0.2}]


def together(*runs, steps=20, seed=0):
    """Each run is a list of parameters and an optimizer; some gradients are None, and some are zeros."""
    draw = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for i, first in enumerate(runs[0][0]):
            grad = torch.randn(first.shape, generator=draw, dtype=first.dtype) * 2.0 ** (step % 7 - 2)
            for params, _ in runs:
                params[i].grad = None if (i + step) % 6 == 5 else grad.clone() * ((i + step) % 9 != 3)
        for _, optimizer in runs:
            optimizer.step()


def assert_alike(theirs, ours):
    for one, other in zip(theirs[0], ours[0], strict=True):
        close = CLOSE[one.dtype]
        torch.testing.assert_close(other, one, **close)
        kept, mine = theirs[1].state[one], ours[1].state[other]
        assert kept.keys() == mine.keys()
        for name, value in kept.items():
            torch.testing.assert_close(mine[name], value, check_dtype=name != "step", **close)


def twins(options, dtype, **more):
    params = parameters(dtype)
    others = copy.deepcopy(params)
    return (others, torch.optim.Adafactor(grouped(others), **options)), (
        params,
        mt.Adafactor(grouped(params), **options, **more),
    )


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_ours_takes_the_steps_of_pytorch_s_and_keeps_its_state(options, dtype, engine):
    theirs, ours = twins(options, dtype, engine=engine)
    for seed in range(2):
        together(theirs, ours, seed=seed)
        assert_alike(theirs, ours)
    assert theirs[1].param_groups[1].keys() == ours[1].param_groups[1].keys()


@pytest.mark.parametrize("options", SETTINGS[:4], ids=str)
def test_either_loads_what_the_other_saved(options):
    for first, second in (twins(options, torch.float64), twins(options, torch.float64)[::-1]):
        together(first, second, steps=5)
        later = twins({}, torch.float64)
        second = next(run for run in later if type(run[1]) is type(second[1]))
        for mine, one in zip(second[0], first[0], strict=True):
            mine.data.copy_(one.detach())
        second[1].load_state_dict(copy.deepcopy(first[1].state_dict()))
        together(first, second, steps=10, seed=1)
        assert_alike(*((first, second) if isinstance(first[1], torch.optim.Adafactor) else (second, first)))


def test_a_matrix_has_rows_and_columns_and_a_vector_its_variance():
    _, (params, optimizer) = twins({}, torch.float32)
    together((params, optimizer), steps=1)
    shapes = [{name: tuple(x.shape) for name, x in optimizer.state[p].items()} for p in (params[0], params[3])]
    assert shapes == [{"step": (), "row_var": (6, 1), "col_var": (1, 4)}, {"step": (), "variance": (7,)}]


def test_what_is_no_matrix_to_pytorch_is_refused_by_name():
    conv = torch.zeros(4, 3, 2, 2, requires_grad=True)
    words = "^Adafactor: parameter 0 must have at most two axes, of more PyTorch factors the last two; adapt"
    with pytest.raises(ValueError, match=words):
        mt.Adafactor([conv])
    mt.adapt(mt.Adafactor.rule)([conv])
    with pytest.raises(ValueError, match="^Adafactor: parameter 0 must be real"):
        mt.Adafactor([torch.zeros(2, dtype=torch.complex64, requires_grad=True)])


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"beta2_decay": 0.1}, {"eps": (-1.0, 1e-3)}, {"eps": (None, -1.0)}, {"d": 0.5}], ids=str
)
def test_what_pytorch_refuses_is_refused(wrong):
    for made in (torch.optim.Adafactor, mt.Adafactor):
        with pytest.raises(ValueError):
            made([torch.ones(2, 2, requires_grad=True)], **wrong)


def test_eps_of_a_group_with_several_dtypes_must_be_given():
    params = [torch.ones(2, 2, dtype=dtype, requires_grad=True) for dtype in (torch.float32, torch.float64)]
    words = "^Adafactor: eps must be given where a group has parameters of several dtypes; got "
    with pytest.raises(ValueError, match=words):
        mt.Adafactor(params)
    mt.Adafactor(params, eps=(1e-7, 1e-3))
