"""The pieces of the home page that come out of the code: numbers, the loop of a rule, the version."""

from pathlib import Path

import speed
from cards import Results

from minima import __version__
from minima.explain.listing import listing
from minima.optim import Lion


def write(generated: Path, results: Results) -> None:
    """The pieces that pages include."""
    (generated / "numbers.md").write_text(speed.numbers(results))
    (generated / "speed.md").write_text(speed.tables(results))
    (generated / "losses.md").write_text(speed.losses(results))
    (generated / "gpus.md").write_text(speed.gpus())
    (generated / "gpu-speed.md").write_text((speed.FOLDER / "gpu-speed.md").read_text(encoding="utf-8"))
    (generated / "loop.md").write_text(f"```python\n{loop()}\n```\n")
    version = f"This is version {__version__}. The [changelog](changelog.md) lists all changes.\n"
    (generated / "version.md").write_text(version)


def loop() -> str:
    """What `Lion.explain()` shows of the loop."""
    explained = Lion.explain()
    return listing(explained.program, "float32", explained.cut).rstrip()
