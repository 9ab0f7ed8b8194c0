"""The tests of minima.torch; conftest.py at the root skips them where PyTorch is missing."""

import pytest


@pytest.fixture(params=["fused", "reference", "torch"])
def engine(request):
    return request.param
