"""Equations in the pages: LaTeX between dollar signs or in a ``math`` fence becomes MathML, which browsers draw.

Zensical loads this as a Python-Markdown extension (see zensical.toml). LaTeX that cannot be converted stops the build.
"""

from typing import Any

from markdown import Markdown
from markdown.extensions import Extension
from markdown.inlinepatterns import InlineProcessor
from math_core import LatexToMathML

# A dollar sign opens only before a non-space and closes only after one, so that "$5 or $6" stays text.
_INLINE = r"(?<![\\$])\$(?![\s$])([^$\n]+?)(?<![\s\\])\$(?!\d)"
_convert = LatexToMathML().convert_with_local_state


def block(source: str, language: str, css_class: str, options: dict[str, Any], md: Markdown, **kwargs: Any) -> str:
    """What a ``math`` fence becomes; the signature is the one that pymdownx.superfences asks for."""
    return f'<div class="equation">{_convert(source.strip(), displaystyle=True)}</div>'


class _Inline(InlineProcessor):
    def handleMatch(self, m: Any, data: str) -> tuple[str, int, int]:  # the name that Markdown calls
        return self.md.htmlStash.store(_convert(m[1], displaystyle=False)), m.start(0), m.end(0)


class _MathML(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # the name that Markdown calls
        # After code spans (190), in which a dollar sign is a dollar sign, and before escapes (180): LaTeX has its own.
        md.inlinePatterns.register(_Inline(_INLINE, md), "mathml", 185)


def makeExtension(**kwargs: Any) -> Extension:  # the name that Markdown calls
    return _MathML(**kwargs)
