"""README.md shows the source as it is."""

import inspect
from pathlib import Path

from minima.optim import RMSProp

README = (Path(__file__).parent.parent / "README.md").read_text(encoding="utf-8")


def test_readme_shows_rmsprop_as_it_stands_in_the_source():
    source = inspect.getsource(RMSProp)
    shown = README.split("class RMSProp(Optimizer):\n")[1].split("```")[0]
    for line in shown.splitlines():
        assert line.strip() in source
    assert inspect.getsource(RMSProp.update) in shown
