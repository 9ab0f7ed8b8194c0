"""What a strict build of Zensical lets pass.

Gaps in navigation and reference, lost images and links, other hosts; code that a page cannot show; and what shuts
people out: pictures without words, headings that skip a level, colours that are too faint.
"""

import importlib
import re
from collections.abc import Iterable, Iterator, Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

HEAVIEST = 250_000
"""Bytes of HTML that a page may have, so that it opens at once on a phone too."""
WIDTH = 80
"""Columns of code that a page shows without scrolling."""
PAPERS = {"default": "#ffffff", "slate": "#0b0c0f"}
"""The background of text in each scheme of the theme."""


def problems(nav: list[Any], docs: Path, site: Path) -> Iterator[str]:
    """One line for each thing that is wrong with the pages or with the built site."""
    named = set(pages(nav))
    there = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if docs / "generated" not in page.parents}
    for page in sorted(named - there):
        yield f"zensical.toml: the navigation names docs/{page}, which is not there"
    for page in sorted(there - named):
        yield f"docs/{page}: the navigation in zensical.toml does not name it"

    for page in sorted(docs.rglob("*.md")):
        yield from wide(page.read_text(), f"docs/{page.relative_to(docs)}")

    built = {page: Page(page.read_text()) for page in sorted(site.rglob("*.html")) if page.name != "404.html"}
    for page, content in built.items():
        where = f"site/{page.relative_to(site)}"
        yield from (f"{where}: {complaint}" for complaint in content.complaints)
        if (size := page.stat().st_size) > HEAVIEST:
            yield f"{where}: has {size} bytes, and a page may have {HEAVIEST}; give a part of it a page of its own"
        for loads, target in content.targets:
            url = urlsplit(target)
            if url.scheme or url.netloc:
                if loads and url.scheme != "data":
                    yield f"{where}: loads {target} from another host; the site must work offline"
                continue
            file = (page.parent / unquote(url.path)).resolve() if url.path else page
            if file.is_dir():
                file /= "index.html"
            if not file.exists():
                yield f"{where}: {target} leads nowhere"
            elif url.fragment and file in built and unquote(url.fragment) not in built[file].anchors:
                yield f"{where}: {target}: there is no such place on that page"
    for page in sorted({*(docs / "api").glob("*.md")} - {docs / "api" / "index.md"}):
        module = importlib.import_module(f"minima.{page.stem}")
        documented = built[site / "api" / f"{page.stem}.html"].anchors
        for name in module.__all__:
            if (page.parent / f"{page.stem}.{name}.md").exists():  # a module with a page of its own
                continue
            places = module.__name__, getattr(getattr(module, name), "__module__", "")
            if documented.isdisjoint(f"{place}.{name}" for place in places):
                yield f"docs/api/{page.name}: {module.__name__}.{name} is public and not documented there"
    for sheet in sorted(site.rglob("*.css")):
        for target in re.findall(r"""(?:url\(|@import)\s*["']?(https?://[^"')]+)""", sheet.read_text()):
            yield f"site/{sheet.relative_to(site)}: loads {target} from another host; the site must work offline"


def wide(text: str, where: str) -> Iterator[str]:
    """The lines of code that are wider than a page; equations are set, and have no lines, and outputs are wrapped."""
    for kind, code in re.findall(r"^ *```(.*)\n((?:.*\n)*?) *```$", text, re.MULTILINE):
        for line in code.splitlines() if kind != "math" and ".output" not in kind else ():
            if len(line) > WIDTH:
                yield f"{where}: code has {len(line)} columns, and a page shows {WIDTH}: {line.strip()}"


def contrasts(sheet: str, inks: Mapping[str, Iterable[str]]) -> Iterator[str]:
    """The colours of a style sheet and of pictures that stand out too little from the paper of their scheme.

    The bound is that of WCAG 2.2, level AA, for text.
    """
    for scheme, paper in PAPERS.items():
        block = re.search(rf'^\[data-md-color-scheme="{scheme}"\] \{{(.*?)\}}', sheet, re.DOTALL | re.MULTILINE)
        named = re.findall(r"(--md-(?:typeset-a|accent-fg)-color): (#[0-9a-f]{6})", block[1] if block else "")
        if not named:
            yield f"minima.css: names no colours of links for the scheme {scheme}"
        for name, colour in [*named, *(("the text of pictures", colour) for colour in inks[scheme])]:
            if (found := contrast(colour, paper)) < 4.5:
                yield f"{name} {colour} has a contrast of {found:.1f} on {paper} ({scheme}), and needs 4.5"


def contrast(one: str, other: str) -> float:
    """The contrast of two colours, from 1 to 21, by WCAG 2.2."""
    low, high = sorted(map(_luminance, (one, other)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def pages(nav: Any) -> Iterator[str]:
    """The files that a navigation names, whatever its nesting."""
    if isinstance(nav, str):
        yield nav
        return
    for item in nav.values() if isinstance(nav, dict) else nav:
        yield from pages(item)


class Page(HTMLParser):
    """What of a page has to be checked.

    Its anchors; the targets that it names, each with whether the browser loads it by itself; and what is wrong with its
    pictures, headings and code.
    """

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"__skip"}
        self.targets: list[tuple[bool, str]] = []
        self.complaints: list[str] = []
        self._level = 0
        self._code: list[str] | None = None
        self.feed(html)
        if self._level == 0:
            self.complaints.append("has no heading")

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.targets.append((tag != "a", value))
        if tag == "img" and not dict(attrs).get("alt"):
            self.complaints.append(f"the picture {dict(attrs).get('src')} has no alternative text")
        if re.fullmatch("h[1-6]", tag):
            if int(tag[1]) > self._level + 1:
                self.complaints.append(f"a heading of level {tag[1]} follows one of level {self._level}")
            if tag == "h1" and self._level:
                self.complaints.append("has two headings of level 1")
            self._level = int(tag[1])
        if tag == "pre":
            self._code = []

    def handle_endtag(self, tag: str) -> None:
        if tag == "pre" and self._code is not None:
            code, self._code = "".join(self._code), None
            if "``" in code:
                self.complaints.append(f"a block of code holds the marks of a docstring: {code.strip()[:60]!r}")

    def handle_data(self, data: str) -> None:
        if self._code is not None:
            self._code.append(data)
