"""A layer beside PyTorch's of the same name: the same state, then values, gradients and buffers."""

import re
from functools import partial

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor


def case(name, *arguments, shape, **keywords):
    """A row of a table of layers: both take the same arguments."""
    return partial(getattr(nn, name), *arguments, **keywords), (name, arguments, keywords), shape


def name_of(case):
    return re.sub(r"\W+", "-", str(case[1])) + "x".join(map(str, case[2]))


def pair(make, theirs, dtype, training=True):
    """Our layer and PyTorch's, in the same state, which is drawn."""
    torch = pytest.importorskip("torch")
    kind, arguments, keywords = theirs
    other = getattr(torch.nn, kind)(*arguments, **keywords).to(getattr(torch, dtype)).train(training)
    layer = make()
    for path, owner in layer.named_modules():
        for name, held in [*owner.named_parameters(recurse=False), *owner.named_buffers(recurse=False)]:
            if held.dtype.kind == "f":  # to the dtype under test
                draws = np.random.default_rng(len(path) + len(name)).uniform(0.5, 1.5, held.shape)
                draws = draws / max(1, held.shape[-1] / 4) if len(held.shape) > 1 else draws
                setattr(owner, name, type(held)(draws, dtype=dtype))
    layer.train(training)
    other.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in layer.state_dict().items()})
    assert list(layer.state_dict()) == list(other.state_dict())
    return layer, other


def compare(make, theirs, shape, training, dtype, tolerance):
    torch = pytest.importorskip("torch")
    layer, other = pair(make, theirs, dtype, training)
    draws = np.random.default_rng(1)
    for _ in range(3):
        x = draws.normal(1, 2, shape).astype(dtype)
        ours, their = Tensor(x, dtype=dtype, requires_grad=True), torch.from_numpy(x).requires_grad_()
        y, z = layer(ours), other(their)
        assert y.dtype == np.dtype(dtype) and y.shape == tuple(z.shape)
        close(y, z, tolerance)
        g = draws.normal(size=y.shape).astype(dtype)
        y.backward(Tensor(g, dtype=dtype))
        z.backward(torch.from_numpy(g))
        close(ours.grad, their.grad, tolerance)
    close_states(layer, other, tolerance)


def close(mine, its, tolerance):
    np.testing.assert_allclose(mine.detach().numpy(), its.detach().numpy(), rtol=tolerance, atol=tolerance)


def close_states(layer, other, tolerance):
    """The gradients of all parameters, and all buffers."""
    for name, parameter in other.named_parameters():
        close(dict(layer.named_parameters())[name].grad, parameter.grad, tolerance)
    for name, buffer in other.named_buffers():
        mine = dict(layer.named_buffers())[name]
        close(mine, buffer, tolerance)
        assert str(mine.dtype) == str(buffer.dtype).removeprefix("torch.")
