"""Norms of many elements, a slice of the groups at a time: against PyTorch, and in any order of memory."""

import numpy as np
import pytest
from beside_torch import case, compare, name_of

from minima import nn
from minima.autograd import Tensor

MANY = [
    case("LayerNorm", 300, shape=(700, 300)),
    case("LayerNorm", (30, 20), bias=False, shape=(9, 40, 30, 20)),
    case("LayerNorm", (3, 90000), shape=(3, 90000)),
    case("RMSNorm", 300, shape=(2, 350, 300)),
    case("RMSNorm", 300, elementwise_affine=False, shape=(700, 300)),
    case("GroupNorm", 3, 12, shape=(40, 12, 21, 20)),
    case("GroupNorm", 4, 8, affine=False, shape=(2, 8, 15000)),
    case("BatchNorm1d", 300, shape=(700, 300)),
    case("BatchNorm1d", 7, affine=False, shape=(70, 7, 400)),
    case("BatchNorm2d", 33, shape=(20, 33, 18, 17)),
]


@pytest.mark.parametrize(("make", "theirs", "shape"), MANY, ids=map(name_of, MANY))
def test_norms_of_many_elements_are_those_of_torch(make, theirs, shape):
    """They go over a slice of the groups at a time."""
    compare(make, theirs, shape, True, "float64", 1e-9)


@pytest.mark.parametrize("order", [(1, 0, 2, 3), (3, 2, 1, 0), (0, 2, 3, 1)])
@pytest.mark.parametrize("name", ["BatchNorm2d", "GroupNorm", "LayerNorm", "RMSNorm"])
def test_norms_do_not_depend_on_the_order_of_memory(name, order):
    arguments = {"BatchNorm2d": (16,), "GroupNorm": (4, 16)}.get(name, ((16, 30, 9),))
    layer, draws = getattr(nn, name)(*arguments, dtype="float64"), np.random.default_rng(0)
    x, g = draws.normal(size=(40, 16, 30, 9)), draws.normal(size=(40, 16, 30, 9))
    back = np.argsort(order)
    other = np.ascontiguousarray(x.transpose(order)).transpose(back)
    results = []
    for array in (x, other):
        tensor = Tensor.from_numpy(array)
        tensor.requires_grad = True
        y = layer(tensor)
        layer.zero_grad()
        y.backward(g)
        results.append([y.detach().numpy(), tensor.grad.numpy(), *(p.grad.numpy() for p in layer.parameters())])
    for mine, its in zip(*results, strict=True):
        np.testing.assert_allclose(mine, its, rtol=1e-10, atol=1e-12)
