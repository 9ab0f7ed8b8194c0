"""What only a browser sees of the built site: pages that a phone does not hold, and text that is too faint."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from check import PAPERS

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
_FAINT = """scheme => {
  document.body.dataset.mdColorScheme = scheme;
  const channels = text => text.match(/[\\d.]+/g).map(Number);
  const over = ([r, g, b, a = 1], below) => [r, g, b].map((it, i) => it * a + below[i] * (1 - a));
  const light = colour => {
    const [r, g, b] = colour.map(it => it / 255).map(it => it <= 0.04045 ? it / 12.92 : ((it + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const known = new Map([[null, { paper: [255, 255, 255], opacity: 1 }]]);
  const behind = it => {
    if (!known.has(it)) {
      const { paper, opacity } = behind(it.parentElement), style = getComputedStyle(it);
      known.set(it, { paper: over(channels(style.backgroundColor), paper), opacity: opacity * style.opacity });
    }
    return known.get(it);
  };
  const faint = {};
  for (const it of document.querySelectorAll("article *, header *, nav *, footer *")) {
    const text = [...it.childNodes].filter(node => node.nodeType === 3).map(node => node.data.trim()).join("");
    if (!text || it.closest("svg, math, .headerlink") || !it.checkVisibility({ visibilityProperty: true })) continue;
    const style = getComputedStyle(it), { paper, opacity } = behind(it);
    const [r, g, b, a = 1] = channels(style.color);
    const [low, high] = [light(over([r, g, b, a * opacity], paper)), light(paper)].sort((x, y) => x - y);
    const size = parseFloat(style.fontSize), large = size >= 24 || size >= 18.66 && style.fontWeight >= 700;
    const found = (high + 0.05) / (low + 0.05);
    if (opacity && found < (large ? 3 : 4.5)) {
      faint[`${style.color} on ${paper.map(Math.round)}`] ??= [found, text.slice(0, 30)];
    }
  }
  return faint;
}"""
"""The colours of text that stand out too little from what is behind it, by WCAG 2.2, level AA: each with an example."""


def problems(site: Path, chromium: str) -> Iterator[str]:
    """One line for each page that is wider than a phone, and for each colour of text that is too faint."""
    from playwright.sync_api import sync_playwright

    named = set[str]()
    with sync_playwright() as it:
        browser = it.chromium.launch(executable_path=chromium, args=_LAUNCHED)
        phone = browser.new_page(viewport={"width": WIDTH, "height": 740}, is_mobile=True, reduced_motion="reduce")
        for file in sorted({*site.rglob("*.html")} - {site / "404.html"}):  # which only a server shows
            where = f"site/{file.relative_to(site)}"
            phone.goto(file.as_uri())
            if found := phone.evaluate(_STICKS_OUT):
                shown = re.sub(r"\s+", " ", found)[:80]
                yield f"{where}: is wider than {WIDTH} pixels, because of {shown!r}"
            phone.add_style_tag(content="* { transition: none !important }")
            for scheme in PAPERS:
                for colours, (contrast, text) in phone.evaluate(_FAINT, scheme).items():
                    if colours not in named:
                        named.add(colours)
                        yield f"{where}: {text!r} has a contrast of {contrast:.2f}, {colours} ({scheme})"
        browser.close()


def browser() -> str | None:
    """The system's Chromium, where Playwright is there to drive it."""
    try:
        import playwright.sync_api  # noqa: F401 - whether it is there
    except ModuleNotFoundError:
        return None
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
