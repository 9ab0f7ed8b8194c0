"""PyTorch's Adafactor, whose state is for rows and columns: ours takes its steps, and either loads what it saved."""

import copy

import pytest
import torch

from minima import torch as mt

SHAPES = [(6, 4), (3, 5), (4, 4), (7,), (), (1, 6)]
DEEP = [(4, 3, 2, 2), (2, 3, 4), (5, 1, 1, 3), (2, 3, 1, 1, 2)]
"""Many matrices, of the last two axes: kernels of convolutions among them."""
SETTINGS = [
    {},
    {"lr": 0.5, "weight_decay": 0.1},
    {"lr": 0.02, "beta2_decay": -0.5, "eps": (1e-3, 0.5), "d": 2.0},
    {"lr": 0.02, "eps": (None, 1e-2), "maximize": True},
    {"lr": torch.tensor(0.02, dtype=torch.float64), "foreach": True},
]
CLOSE = {torch.float64: {"rtol": 1e-11, "atol": 1e-13}, torch.float32: {"rtol": 5e-5, "atol": 1e-6}}


def parameters(dtype, shapes=(*SHAPES, *DEEP)):
    draw = torch.Generator().manual_seed(0)
    return [torch.randn(shape, generator=draw, dtype=dtype).requires_grad_() for shape in shapes]


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


def twins(options, dtype, shapes=(*SHAPES, *DEEP), **more):
    params = parameters(dtype, shapes)
    others = copy.deepcopy(params)
    return (others, torch.optim.Adafactor(grouped(others), **options)), (
        params,
        mt.Adafactor(grouped(params), **options, **more),
    )


@pytest.mark.parametrize("engine", [None, "reference", "torch"])
@pytest.mark.parametrize("dtype", CLOSE, ids=str)
@pytest.mark.parametrize("options", SETTINGS, ids=str)
def test_ours_takes_the_steps_of_pytorch_s_and_keeps_its_state(options, dtype, engine):
    theirs, ours = twins(options, dtype, SHAPES if engine == "reference" else (*SHAPES, *DEEP), engine=engine)
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


def test_bfloat16_is_pytorch_s_within_its_rounding():
    theirs, ours = twins({"lr": 0.02}, torch.bfloat16, rounding="nearest")
    together(theirs, ours)
    for one, other in zip(theirs[0], ours[0], strict=True):
        assert torch.linalg.norm((other - one).float()) <= 0.05 * torch.linalg.norm(one.float())
        for name, value in theirs[1].state[one].items():
            assert ours[1].state[other][name].shape == value.shape


def test_more_than_two_axes_are_many_matrices_here_and_one_elsewhere():
    conv = torch.ones(4, 3, 2, 5, requires_grad=True)
    conv.grad = torch.ones_like(conv)
    found = []
    for made in (mt.Adafactor([conv]), mt.adapt(mt.Adafactor.rule)([conv])):
        made.step()
        found.append({name: tuple(x.shape) for name, x in made.state[conv].items()})
        assert made.engines["cpu"].startswith("torch: it has more than" if len(found) == 1 else "fused: ")
    assert found == [
        {"step": (), "row_var": (4, 3, 2, 1), "col_var": (4, 3, 1, 5)},
        {"step": (), "row_var": (4, 1), "col_var": (1, 30)},
    ]
    message = (
        "^Adafactor: engine 'fused' cannot step parameter 0: it has more than two axes, and compiled code and NumPy"
    )
    with pytest.raises(ValueError, match=message):
        mt.Adafactor([conv], engine="fused")
    with pytest.raises(ValueError, match="^Adafactor: parameter 0 must be real"):
        mt.Adafactor([torch.zeros(2, dtype=torch.complex64, requires_grad=True)])


def test_kernels_that_lie_channels_last_are_stepped_as_others():
    last = []
    for form in (torch.contiguous_format, torch.channels_last):
        draw = torch.Generator().manual_seed(0)
        conv = torch.randn(4, 3, 5, 2, generator=draw).to(memory_format=form).requires_grad_()
        optimizer = mt.Adafactor([conv])
        for _ in range(3):
            conv.grad = torch.randn(conv.shape, generator=draw).to(memory_format=form)
            optimizer.step()
        assert conv.is_contiguous(memory_format=form)
        last.append(conv.detach())
    torch.testing.assert_close(*last)


def test_a_measured_step_of_many_matrices_reports_norms_of_the_whole():
    conv = torch.full((2, 3, 4, 5), 2.0, requires_grad=True)
    conv.grad = torch.ones_like(conv)
    optimizer = mt.Adafactor([conv], max_norm=1.0)
    optimizer.step(measure=True)
    (measure,) = optimizer.measures.values()
    assert measure.grad == pytest.approx(120**0.5) and measure.param == pytest.approx(2 * 120**0.5)


@pytest.mark.parametrize(
    "wrong", [{"lr": -1.0}, {"beta2_decay": 0.1}, {"eps": (-1.0, 1e-3)}, {"eps": (None, -1.0)}, {"d": 0.5}], ids=str
)
def test_what_pytorch_refuses_is_refused(wrong):
    for made in (torch.optim.Adafactor, mt.Adafactor):
        with pytest.raises(ValueError):
            made([torch.ones(2, 2, requires_grad=True)], **wrong)


def test_eps_follows_the_dtype_of_each_parameter_and_when_that_changes():
    """Gradients far below all floors: the update is what the gradient is of the floor, one in 10,000."""

    def step(optimizer, params):
        before = [param.detach().double().clone() for param in params]
        for param in params:
            param.grad = torch.full_like(param, 1e-4 * torch.finfo(param.dtype).eps)
        optimizer.step()
        return [(param.detach().double() - old).mean().item() for param, old in zip(params, before, strict=True)]

    def zeros(*dtypes):
        return [torch.zeros(4, 4, dtype=dtype, requires_grad=True) for dtype in dtypes]

    wanted = pytest.approx(-1e-2 * 1e-3 * 1e-4, rel=1e-2)  # lr, the size that a parameter counts as, the update
    for dtype in (torch.float32, torch.float64, torch.bfloat16):
        params = zeros(dtype)
        assert step(torch.optim.Adafactor(params), params) == [wanted]
    params = zeros(torch.float32, torch.float64, torch.bfloat16)
    optimizer = mt.Adafactor(params, rounding="nearest")
    assert step(optimizer, params) == [wanted] * 3
    for param in params:
        param.data, param.grad = param.data.to(torch.bfloat16), None
    assert step(optimizer, params) == [wanted] * 3
    optimizer = mt.Adafactor(params, max_norm=1.0, rounding="nearest")
    assert step(optimizer, params) == [wanted] * 3
