"""Marks the columns of tables that hold phrases and sentences, which the style sheet keeps wide enough to be read.

A head without words is taken out. Zensical loads this as a Python-Markdown extension (see zensical.toml).
"""

from typing import Any
from xml.etree.ElementTree import Element

from markdown import Markdown
from markdown.extensions import Extension
from markdown.treeprocessors import Treeprocessor

PHRASE, SENTENCE = 20, 48
"""Characters from which on the longest cell of a column makes it one of phrases, or of sentences."""


def _length(cell: Element) -> int:
    return len("".join(cell.itertext()))


class _Columns(Treeprocessor):
    def run(self, root: Element) -> None:
        for table in root.iter("table"):
            for column in zip(*([*row] for row in table.iter("tr")), strict=True):
                longest = max(map(_length, column))
                if longest >= PHRASE:
                    for cell in column:
                        cell.set("class", "sentence" if longest >= SENTENCE else "phrase")
            head = table.find("thead")
            if head is not None and not any(map(_length, head.iter("th"))):
                table.remove(head)


class _Tables(Extension):
    def extendMarkdown(self, md: Markdown) -> None:  # the name that Markdown calls
        # After the inline patterns (20): links and code count by what they show.
        md.treeprocessors.register(_Columns(md), "columns", 5)


def makeExtension(**kwargs: Any) -> Extension:  # the name that Markdown calls
    return _Tables(**kwargs)
