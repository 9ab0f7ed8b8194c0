"""Opens every page of the built site on a phone, and says which of them cannot be read without moving it sideways."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

WIDTH = 360
"""Pixels of the narrowest phones that are sold."""
_LAUNCHED = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
_STICKS_OUT = """() => {
  const width = document.documentElement.clientWidth;
  if (document.documentElement.scrollWidth <= width) return null;
  const reaches = it => it.getBoundingClientRect().left + Math.max(it.offsetWidth ?? 0, it.scrollWidth) > width + 1;
  const out = [...document.body.querySelectorAll("*")].filter(reaches);
  return (out.find(it => !out.some(other => it !== other && it.contains(other))) ?? document.body).outerHTML;
}"""
"""The innermost part that makes a page wider than its window; null where nothing does."""


def problems(site: Path, chromium: str) -> Iterator[str]:
    """One line for each page that is wider than a phone."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as it:
        browser = it.chromium.launch(executable_path=chromium, args=_LAUNCHED)
        page = browser.new_page(viewport={"width": WIDTH, "height": 740}, is_mobile=True, reduced_motion="reduce")
        for file in sorted({*site.rglob("*.html")} - {site / "404.html"}):  # which only a server shows
            page.goto(file.as_uri(), wait_until="load")
            if found := page.evaluate(_STICKS_OUT):
                shown = re.sub(r"\s+", " ", found)[:80]
                yield f"site/{file.relative_to(site)}: is wider than {WIDTH} pixels, because of {shown!r}"
        browser.close()


def browser() -> str | None:
    """The system's Chromium, where Playwright is there to drive it."""
    try:
        import playwright.sync_api  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        return None
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
