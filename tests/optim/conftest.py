"""Fixtures of the optimizer tests: each engine and each dtype, from the table in rules.py."""

import pytest
from rules import DTYPES, ENGINES


@pytest.fixture(params=ENGINES.values(), ids=ENGINES.keys())
def engine(request):
    """What a constructor is given to run on this engine."""
    return request.param


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param
