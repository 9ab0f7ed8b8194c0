"""The tests of minima.torch; conftest.py at the root skips them where PyTorch is missing."""

import contextlib

import pytest


@pytest.fixture(params=["fused", "reference", "torch"])
def engine(request):
    return request.param


@pytest.fixture
def on_grid(monkeypatch):
    """Whoever makes a fused optimizer within gets the launch for GPUs, on the tensors of the CPU."""
    import torch  # which may be missing
    from interpreted import Interpreted, pretend

    from minima.torch import fused, grid

    streams = pretend(monkeypatch)

    def made(*what, threads, products):
        return grid.GridLaunch(*what, torch.device("cpu"))

    @contextlib.contextmanager
    def within():
        before = Interpreted.launched
        with monkeypatch.context() as patched:
            patched.setattr(fused, "Launch", made)
            patched.setattr(fused.Fused, "on_device", True)  # so that totals are added where they are
            yield streams
        assert Interpreted.launched > before

    return within
