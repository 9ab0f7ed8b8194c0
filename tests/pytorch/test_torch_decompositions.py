"""Rules that take matrices apart, inside PyTorch: by its own decompositions, or by NumPy's, to rounding the same."""

import numpy as np
import pytest
import torch

from minima import Tensor, optim
from minima.optim import ColumnsByColumns, Optimizer, RowsByRows, eigh, hyper, qr, sort_columns, sum
from minima.torch import adapt

SHAPES = ((3, 4), (4, 2), (2, 2, 3), (1, 3))


class Turning(Optimizer):
    """A root of what gradients have been, and a basis that follows it every third step."""

    lr: float = hyper(0.1, low=0)
    damping: float = hyper(0.5, above=0)

    @staticmethod
    def update(param, grad, left: RowsByRows = "damping", basis: ColumnsByColumns = 1.0, *, lr, damping, t):
        left = left + grad @ grad.T
        if t % 3 == 0:
            product = (grad.T @ grad) @ basis
            basis, _ = qr(sort_columns(basis + product, sum(basis * product, axis=0)))
        values, vectors = eigh(left)
        return param - lr * vectors * values**-0.5 @ vectors.T @ grad @ basis, left, basis


def gradients(steps=9):
    rng = np.random.default_rng(0)
    return [[rng.normal(size=shape) for shape in SHAPES] for _ in range(steps)]


def stepped(optimizer, params, rows):
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = torch.tensor(grad, dtype=param.dtype)
        optimizer.step()
    return optimizer


def parameters(dtype=torch.float64):
    return [torch.nn.Parameter(torch.full(shape, 0.5, dtype=dtype)) for shape in SHAPES]


def ours(rows):
    params = [Tensor(np.full(shape, 0.5), dtype="float64", requires_grad=True) for shape in SHAPES]
    optimizer = Turning(params)
    for row in rows:
        for param, grad in zip(params, row, strict=True):
            param.grad = Tensor(grad, dtype="float64")
        optimizer.step()
    return optimizer


@pytest.mark.parametrize("engine", [None, "torch", "reference"])
def test_engines_take_the_steps_of_minima_s_own_tensors(engine):
    params, rows = parameters(), gradients()
    optimizer, wanted = stepped(adapt(Turning)(params, engine=engine), params, rows), ours(rows)
    for place, param in enumerate(params):
        assert np.allclose(param.detach(), wanted.params[place].detach().numpy(), rtol=1e-9, atol=1e-9)
        for name in ("left", "basis"):
            found, own = optimizer.state[param][name], getattr(wanted, name)[place]
            assert found.shape == own.shape
            assert np.allclose(found, own.numpy(), rtol=1e-9, atol=1e-9), name


def test_without_an_engine_they_are_pytorch_s():
    optimizer = adapt(Turning)(parameters())
    words = "torch: it keeps matrices of rows by rows, or of columns by columns"
    assert optimizer.engines == {"cpu": words}


def test_state_begins_as_its_first_value_times_the_identity():
    params = parameters()
    optimizer = stepped(adapt(Turning)(params, damping=0.25, lr=0.0), params, [[np.zeros(x) for x in SHAPES]])
    assert torch.equal(optimizer.state[params[0]]["left"], 0.25 * torch.eye(3, dtype=torch.float64))
    assert torch.equal(optimizer.state[params[2]]["basis"], torch.eye(6, dtype=torch.float64))


def test_a_run_goes_on_from_its_state_dict():
    rows = gradients()
    whole, half = parameters(), parameters()
    stepped(adapt(Turning)(whole), whole, rows)
    before = stepped(adapt(Turning)(half), half, rows[:4])
    after = adapt(Turning)(half)
    after.load_state_dict(before.state_dict())
    stepped(after, half, rows[4:])
    assert all(torch.equal(x, y) for x, y in zip(whole, half, strict=True))


@pytest.mark.parametrize("options", [{}, {"state_dtype": "bfloat16"}, {"rounding": "master"}])
def test_of_parameters_in_half_precision_matrices_are_kept_in_float32(options):
    params = parameters(torch.bfloat16)
    optimizer = stepped(adapt(Turning)(params, **options), params, gradients())
    for param in params:
        assert param.isfinite().all()
        assert optimizer.state[param]["left"].dtype == torch.float32


def test_a_gradient_that_is_not_finite_goes_on_into_the_parameter():
    params = parameters()
    optimizer = adapt(Turning)(params)
    stepped(optimizer, params, [[np.full(shape, np.nan) for shape in SHAPES]] * 3)
    assert all(param.isnan().all() for param in params)


def test_a_parameter_that_is_complex_is_refused():
    w = torch.nn.Parameter(torch.ones(2, 2, dtype=torch.complex64))
    with pytest.raises(ValueError, match="tells rows and columns apart, and is for real parameters"):
        adapt(Turning)([w])


def test_soap_skips_what_it_has_no_room_for_and_takes_adam_s_steps_there():
    w, v = (torch.nn.Parameter(torch.ones(shape)) for shape in ((3, 2), (3, 4)))
    optimizer = adapt(optim.SOAP)([w, v], max_size=2)
    for _ in range(2):
        w.grad, v.grad = torch.ones(3, 2), torch.ones(3, 4)
        optimizer.step()
    assert set(optimizer.state[w]) == {"step", "exp_avg", "exp_avg_sq", "right", "q_right"}
    assert set(optimizer.state[v]) == {"step", "exp_avg", "exp_avg_sq"}
    assert optimizer.engines["cpu"].count("fused")
