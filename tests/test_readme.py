"""README.md and the docs show the source as it is, and all of them the same."""

import ast
import inspect
import re
from pathlib import Path

import pytest

from minima.optim import Lion

ROOT = Path(__file__).parent.parent
PAGES = ["README.md", "docs/index.md", "docs/how-it-works.md"]


def shown(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    (block,) = re.findall(r"```python\n([^`]*class Lion\(Optimizer\):\n[^`]*)```", text)
    return block


@pytest.mark.parametrize("page", [page for page in PAGES if (ROOT / page).exists()])
def test_a_page_shows_lion_as_it_stands_in_the_source(page):
    (definition,) = (node for node in ast.parse(shown(page)).body if isinstance(node, ast.ClassDef))
    (source,) = ast.parse(inspect.getsource(Lion)).body
    source.body = source.body[1:]  # the docstring
    assert ast.dump(definition) == ast.dump(source)
    assert inspect.getsource(Lion.update) in shown(page)
    assert shown(page) == shown("README.md")
