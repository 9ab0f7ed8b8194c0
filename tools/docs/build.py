"""Write the pages that come out of the code, build the site with Zensical, and refuse what is wrong with it.

The site is built from build/docs: the pages of docs/, and those that are generated.
"""

import logging
import re
import shutil
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import cards
import check
import commands
import curves
import decay
import drawn
import factories
import home
import lean
import notebooks
import optimizers
import pictures
import race
import race_page
import rates
import reference
import rendered
import speed
from zensical import build

import minima

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "build" / "docs"
GENERATED = DOCS / "generated"
SITE = ROOT / "site"
CONFIG = ROOT / ".zensical.toml"
"""zensical.toml with the pages of the optimizers in its navigation; beside it, because its paths begin where it is."""


class Complaints(logging.Handler):
    """Keeps what is said about the source, such as a documented parameter that does not exist; it stops no build."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def sources(part: ModuleType) -> list[Path]:
    """What the pictures of a part depend on: its own lines, the library, and the runs that parts share."""
    return [Path(str(part.__file__)), Path(str(pictures.__file__)), *drawn.SOURCE]


def main() -> None:
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    # A warning is given once: a page that comes out of the cache is silent about what is wrong with it.
    for stale in (DOCS, SITE, ROOT / ".cache"):
        shutil.rmtree(stale, ignore_errors=True)
    # Earlier versions wrote into docs/generated.
    shutil.copytree(ROOT / "docs", DOCS, ignore=shutil.ignore_patterns("generated", "ruff.toml"))
    changes = (ROOT / "CHANGELOG.md").read_text()
    (DOCS / "changelog.md").write_text(re.sub(r"^## \[(.+)\]", r"## \1", changes, flags=re.MULTILINE))
    GENERATED.mkdir()
    results, names = cards.read(), [cls.__name__ for cls in optimizers.OPTIMIZERS]
    optimizers.write(DOCS, GENERATED, results)
    factories.write(GENERATED)
    commands.write(GENERATED)
    home.write(GENERATED, results)
    drawn.keep("paths", GENERATED, sources(pictures), lambda folder: pictures.draw(folder, names))
    cards_of = [*names, "LBFGS"]
    shown = [Path(cards.__file__), *sorted(cards.FOLDER.glob("*.json")), *drawn.SOURCE]
    drawn.keep("cards", GENERATED, shown, lambda folder: cards.draw(folder, cards_of, results))
    measured = [Path(speed.__file__), Path(cards.__file__), *sorted(cards.FOLDER.glob("*.json"))]
    drawn.keep("speed", GENERATED, measured, lambda folder: speed.draw(folder, results))
    for part in (decay, curves, rates):
        drawn.keep(part.__name__, GENERATED, sources(part), part.draw)
    drawn.keep("race", GENERATED, [*sources(race_page), Path(str(race.__file__))], race_page.draw)
    notebooks.write(DOCS, GENERATED, DOCS / "notebooks")
    pages = "".join(f'{{ "{cls.__name__}" = "{optimizers.page(cls)}" }},\n' for cls in optimizers.OPTIMIZERS)
    config = (ROOT / "zensical.toml").read_text().replace('"optimizers/*.md",\n', pages)
    CONFIG.write_text(config.replace("VERSION", minima.__version__))
    nav = tomllib.loads(CONFIG.read_text())["project"]["nav"]
    reference.write(DOCS, GENERATED, list(check.pages(nav)))
    try:
        build(str(CONFIG), {"clean": True, "strict": True})
    except RuntimeError as error:
        sys.exit(f"docs: {error}")
    lean.rewrite(SITE)
    found = complaints.lines + list(check.problems(nav, DOCS, SITE))
    inks = {"default": drawn.SCHEMES["light"][1:], "slate": drawn.SCHEMES["dark"][1:]}
    found += check.contrasts((ROOT / "docs" / "assets" / "minima.css").read_text(), inks)
    if chromium := rendered.browser():
        found += rendered.problems(SITE, chromium)
    else:
        print("docs: nobody has looked whether the pages fit a phone, which takes Playwright and Chromium")
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    if found:
        sys.exit("docs: the site is built, and wrong in what stands above")
    print(f"docs: open {SITE / 'index.html'}, or serve it with its search: python -m http.server -d site")


if __name__ == "__main__":
    main()
