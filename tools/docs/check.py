"""What a strict build of Zensical lets pass: gaps in navigation and reference, lost images and links, other hosts."""

import importlib
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


def problems(nav: list[Any], docs: Path, site: Path) -> Iterator[str]:
    """One line for each thing that is wrong with the pages or with the built site."""
    named = set(pages(nav))
    there = {page.relative_to(docs).as_posix() for page in docs.rglob("*.md") if docs / "generated" not in page.parents}
    for page in sorted(named - there):
        yield f"zensical.toml: the navigation names docs/{page}, which is not there"
    for page in sorted(there - named):
        yield f"docs/{page}: the navigation in zensical.toml does not name it"

    built = {page: Page(page.read_text()) for page in sorted(site.rglob("*.html")) if page.name != "404.html"}
    for page, content in built.items():
        where = f"site/{page.relative_to(site)}"
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
    for page in sorted((docs / "api").glob("*.md")):
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


def pages(nav: Any) -> Iterator[str]:
    """The files that a navigation names, whatever its nesting."""
    if isinstance(nav, str):
        yield nav
        return
    for item in nav.values() if isinstance(nav, dict) else nav:
        yield from pages(item)


class Page(HTMLParser):
    """The anchors of a page and the targets that it names, each with whether the browser loads it by itself."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.anchors: set[str] = {"__skip"}
        self.targets: list[tuple[bool, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name == "id" and value:
                self.anchors.add(value)
            if name in ("href", "src") and value:
                self.targets.append((tag != "a", value))
