"""Takes out of the built pages what no browser shows.

That is: the blank lines and indents that templates leave between tags, and the contents of the page where the theme
writes them a second time, into the navigation, for an option that is not ours.
"""

import re
from pathlib import Path

_AS_IT_IS = re.compile(r"(<(pre|script|style|textarea)\b.*?</\2>)", re.DOTALL | re.IGNORECASE)
"""Where blanks count."""
_BLANKS = re.compile(r"[ \t\r\n]{2,}")
_CONTENTS = '<nav class="md-nav md-nav--secondary"'


def rewrite(site: Path) -> None:
    """Write every page of a site anew, leaner."""
    for page in site.rglob("*.html"):
        page.write_text(lean(page.read_text(encoding="utf-8")), encoding="utf-8")


def lean(html: str) -> str:
    """The same page without hidden contents, and with one blank or line break where several follow; code stays."""
    if html.count(_CONTENTS) == 2:
        first = html.index(_CONTENTS)
        html = html[:first] + html[first + _length(html[first:]) :]
    parts = _AS_IT_IS.split(html)
    texts, kept = parts[::3], [*parts[1::3], ""]
    return "".join(_BLANKS.sub(_one, text) + block for text, block in zip(texts, kept, strict=True))


def _one(blanks: re.Match[str]) -> str:
    return "\n" if "\n" in blanks[0] else " "


def _length(html: str) -> int:
    """Where the element ends that a text begins with: a `nav`, in which others may stand."""
    depth = 0
    for tag in re.finditer(r"<nav\b|</nav>", html):
        depth += 1 if tag[0] == "<nav" else -1
        if depth == 0:
            return tag.end()
    raise ValueError("lean: a nav must end; got one that does not")
