"""The tests inside other libraries: offline, on one thread, and without the warnings of those libraries.

`make clients` runs them, in an environment that has the libraries; elsewhere each file is skipped and says why.
"""

import os
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false")
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:  # their warnings are theirs; what minima warns of is still an error
            item.add_marker(pytest.mark.filterwarnings("ignore"), append=False)
            item.add_marker(pytest.mark.filterwarnings(r"error:::minima\..*"))


@pytest.fixture(autouse=True)
def one_thread():
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    """Where the libraries write what nobody asked for."""
    monkeypatch.chdir(tmp_path)
