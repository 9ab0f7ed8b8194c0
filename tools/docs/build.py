"""Write the generated pieces of the documentation, build the site with Zensical, and refuse what is wrong with it."""

import logging
import shutil
import sys
import tomllib
from pathlib import Path

import check
import curves
import decay
import pictures
import pieces
import rates
from zensical import build

ROOT = Path(__file__).resolve().parents[2]
GENERATED = ROOT / "docs" / "generated"
SITE = ROOT / "site"


class Complaints(logging.Handler):
    """Keeps what is said about the source, such as a documented parameter that does not exist; it stops no build."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def main() -> None:
    complaints = Complaints()
    logging.getLogger().addHandler(complaints)
    # A warning is given once: a page that comes out of the cache is silent about what is wrong with it.
    for stale in (GENERATED, SITE, ROOT / ".cache"):
        shutil.rmtree(stale, ignore_errors=True)
    GENERATED.mkdir()
    pieces.write(GENERATED)
    pictures.draw(GENERATED)
    decay.draw(GENERATED)
    curves.draw(GENERATED)
    rates.draw(GENERATED)
    try:
        build(str(ROOT / "zensical.toml"), {"clean": True, "strict": True})
    except RuntimeError as error:
        sys.exit(f"docs: {error}")
    nav = tomllib.loads((ROOT / "zensical.toml").read_text())["project"]["nav"]
    found = complaints.lines + list(check.problems(nav, ROOT / "docs", SITE))
    print(*found, sep="\n", end="\n" if found else "", file=sys.stderr)
    if found:
        sys.exit("docs: the site is built, and wrong in what stands above")
    print(f"docs: open {SITE / 'index.html'}, or serve it with its search: python -m http.server -d site")


if __name__ == "__main__":
    main()
