"""Runs the Python blocks of README.md and of the pages in docs/ as tests; the blocks of a page share one namespace.

The doctests in src/ are pytest's own business (--doctest-modules in pyproject.toml). What is for PyTorch or JAX is
skipped where that is missing.
"""

import os
import re
import sys
from collections.abc import Iterable
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from unittest import SkipTest

import pytest
from sybil import Document, Example, Region, Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

FOLDERS = {
    "torch": ["src/minima/torch", "tests/pytorch", "tests/clients"],
    "jax": ["src/minima/jax", "tests/jax"],
    "optax": [],
    "flax": [],
    "equinox": [],
    "rich": ["src/minima/demo"],
    "matplotlib": [],
    "sklearn": [],
}
"""The libraries that may be missing, and the folders where nothing works without them."""
os.environ.setdefault("XLA_FLAGS", "--xla_force_host_platform_device_count=8")  # what is sharded is tested on one CPU
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # PyTorch's threads sleep, and leave the core to the other process
MISSING = [name for name in FOLDERS if find_spec(name) is None]
sys.modules.update(dict.fromkeys(MISSING))  # else the folder tests/jax, which pytest puts on the path, passes for JAX
IMPORT = re.compile(r"^ *(?:import|from) (?:minima\.)?(\w+)", re.MULTILINE)


def python_blocks(document: Document) -> Iterable[Region]:
    """The blocks of a page; one that imports what is missing is skipped, and so is what comes after and may need it."""
    lost = ""
    for region in PythonCodeBlockParser()(document):
        imports = IMPORT.findall(document.text[region.start : region.end])
        lost = lost or next((name for name in imports if name in MISSING), "")
        if lost:
            region.evaluator = skipping(lost)
        yield region


def skipping(name: str):
    def skip(example: Example) -> None:
        raise SkipTest(f"could not import {name!r}")

    return skip


pytest_collect_file = Sybil(
    parsers=[python_blocks, SkipParser()],
    patterns=["*.md"],
).pytest()


class Skipped(pytest.Dir):
    def collect(self):
        pytest.skip(f"could not import {self.missing!r}")


def pytest_collect_directory(path: Path, parent: pytest.Collector):
    for name in MISSING:
        if path in [parent.config.rootpath / folder for folder in FOLDERS[name]]:
            folder = Skipped.from_parent(parent, path=path)
            folder.missing = name
            return folder
    return None


@pytest.hookimpl(optionalhook=True)  # where pytest-xdist is installed
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Files stay whole, since the blocks of a page build on each other, unless another --dist is asked for."""
    from xdist.scheduler import LoadFileScheduling

    return LoadFileScheduling(config, log) if config.getvalue("dist") == "load" else None
