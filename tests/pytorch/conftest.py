"""The tests of minima.torch; none of them where PyTorch is missing."""

from importlib.util import find_spec

import pytest

if find_spec("torch") is None:
    collect_ignore_glob = ["*"]


@pytest.fixture(params=["fused", "reference", "torch"])
def engine(request):
    return request.param
