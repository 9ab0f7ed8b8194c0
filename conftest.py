"""Runs the Python blocks of README.md and of the pages in docs/ as tests; the blocks of a page share one namespace.

The doctests in src/ are pytest's own business (--doctest-modules in pyproject.toml). What is for PyTorch is left out
where that is missing.
"""

from importlib.util import find_spec

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    excludes=["docs/generated/*"],
).pytest()

if find_spec("torch") is None:
    collect_ignore_glob = ["src/minima/torch/*", "docs/pytorch.md"]
