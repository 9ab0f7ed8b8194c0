"""Steps that a GPU counts: they have the bits of the host's, can be recorded by a CUDA graph, and leave themselves out."""

import pytest
import torch
from interpreted import Graph, Interpreted, pretend_counting
from tensors import EXACT, SETTINGS, arrays, assert_same, parameters, steps
from test_torch_cuda import FEW_SIZES, KINDS, Largest, name

from minima import torch as mt


@pytest.fixture
def gpu(monkeypatch):
    """A GPU that counts, within the context that it gives."""

    def within():
        context = monkeypatch.context()
        patched = context.__enter__()
        pretend_counting(patched)
        return context

    return within


def compared(monkeypatch, run):
    """What a run gives on the CPU, and on a GPU that counts."""
    found = []
    for is_there in (False, True):
        with monkeypatch.context() as patched:
            if is_there:
                pretend_counting(patched)
            before = Interpreted.launched
            found.append(run())
            assert (Interpreted.launched > before) is is_there
    return found


def of_all_shapes(cls, hypers, dtype, options):
    """Steps of parameters of all shapes and layouts, in two groups, some without gradients: each has its own count."""
    params = parameters(dtype)
    room = torch.zeros(90, dtype=dtype)
    params += [room[i : i + 21].detach().requires_grad_() for i in (1, 32)]  # from odd addresses
    groups = [{"params": params[::2]}, {"params": params[1::2], "lr": 0.02}]
    optimizer = cls(groups, capturable=True, **hypers, **options)
    steps(optimizer, params, 3)
    optimizer.param_groups[0]["lr"] = 0.3
    steps(optimizer, params, 2, seed=5)
    assert optimizer.t == 5
    return optimizer, params


def same(pair):
    assert_same(*(arrays(optimizer, params) for optimizer, params in pair), **EXACT)
    assert pair[0][0].steps == pair[1][0].steps


@pytest.mark.parametrize("cls, hypers", SETTINGS, ids=name)
def test_every_rule_has_the_bits_of_the_host(monkeypatch, cls, hypers):
    same(compared(monkeypatch, lambda: of_all_shapes(cls, {"lr": 0.1, **hypers}, torch.float32, {})))
