"""README.md shows the source as it is."""

import inspect
from pathlib import Path

from minima.optim import Lion

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_readme_shows_lion_as_it_stands_in_the_source():
    source = inspect.getsource(Lion)
    shown = README.split("class Lion(Optimizer):\n")[1].split("```")[0]
    for line in shown.splitlines():
        assert line.strip() in source
    assert inspect.getsource(Lion.update) in shown
