"""Formulas evaluated in blocks: as PyTorch's at every boundary and in every order of memory."""

import numpy as np
import pytest

import minima.autograd as ag
from minima.autograd import Tensor
from minima.autograd.operations.blocks import BLOCK, in_blocks

torch = pytest.importorskip("torch")
F = torch.nn.functional

FUNCTIONS = {
    "gelu": (ag.gelu, F.gelu),
    "gelu tanh": (lambda x: ag.gelu(x, "tanh"), lambda x: F.gelu(x, approximate="tanh")),
    "silu": (ag.silu, F.silu),
    "softplus": (lambda x: x.softplus(2, 5), lambda x: F.softplus(x, 2, 5)),
}
LAYOUTS = {
    "rows": lambda x: x,
    "columns": lambda x: x.T,
    "swapped axes": lambda x: x.reshape(3, -1, 7).swapaxes(0, 1),
    "with gaps": lambda x: x[:, ::2],
    "backwards": lambda x: x[::-1],
    "repeated": lambda x: np.broadcast_to(x[:, :1], x.shape),
}


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_values_and_derivatives_of_many_elements_are_those_of_torch(name, layout):
    ours, theirs = FUNCTIONS[name]
    array = LAYOUTS[layout](np.random.default_rng(0).normal(0, 3, (21, BLOCK // 3 + 1)))
    x, y = Tensor.from_numpy(array), torch.tensor(array.copy(), requires_grad=True)
    x.requires_grad = True
    result, expected = ours(x), theirs(y)
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), rtol=1e-12, atol=1e-14)
    g = np.random.default_rng(1).standard_normal(array.shape)
    result.backward(Tensor(g, dtype="float64"))
    expected.backward(torch.from_numpy(g))
    np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("size", [2 * BLOCK, 2 * BLOCK + 1, 3 * BLOCK - 1, 3 * BLOCK])
def test_the_result_of_each_element_is_that_of_the_formula_in_the_order_of_the_input(size):
    x = np.random.default_rng(0).standard_normal((2, size), dtype="float32").T

    def formula(xp, x, *, shift):
        return x + shift, x > 0

    moved, positive = in_blocks(formula)(np, x, shift=1)
    np.testing.assert_array_equal(moved, x + 1)
    np.testing.assert_array_equal(positive, x > 0)
    assert moved.strides == x.strides and moved.dtype == "float32" and positive.dtype == bool
