"""Takes out of the built pages what no browser shows: the blank lines and indents that templates leave between tags."""

import re
from pathlib import Path

_AS_IT_IS = re.compile(r"(<(pre|script|style|textarea)\b.*?</\2>)", re.DOTALL | re.IGNORECASE)
"""Where blanks count."""
_BLANKS = re.compile(r"[ \t\r\n]{2,}")


def rewrite(site: Path) -> None:
    """Write every page of a site anew, leaner."""
    for page in site.rglob("*.html"):
        page.write_text(lean(page.read_text(encoding="utf-8")), encoding="utf-8")


def lean(html: str) -> str:
    """The same page with one blank, or one line break, where several follow each other; code stays as it is."""
    parts = _AS_IT_IS.split(html)
    texts, kept = parts[::3], [*parts[1::3], ""]
    return "".join(_BLANKS.sub(_one, text) + block for text, block in zip(texts, kept, strict=True))


def _one(blanks: re.Match[str]) -> str:
    return "\n" if "\n" in blanks[0] else " "
