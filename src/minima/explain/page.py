"""A page: a title, a sentence, and sections of prose, code and tables; written plainly or in Markdown."""

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

__all__ = ["Block", "Code", "Page", "Section", "Table"]

WIDTH = 80
"""Columns of plain text, which goes into pipes and files, where nobody can be asked."""


@dataclass(frozen=True)
class Code:
    """Lines to be read as they stand."""

    text: str
    language: str = "python"
    latex: str = ""
    """The same for a notebook, which typesets it."""


@dataclass(frozen=True)
class Table:
    """A header and rows of cells."""

    header: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    numbers: range = range(0)
    """The columns that are set to the right."""

    def lines(self) -> Iterator[str]:
        """The rows as plain text, the header first."""
        everything = [self.header, *self.rows]
        widths = [max(map(len, column)) for column in zip(*everything, strict=True)]
        for row in everything:
            cells = [
                cell.rjust(width) if number in self.numbers else cell.ljust(width)
                for number, (cell, width) in enumerate(zip(row, widths, strict=True))
            ]
            yield "   ".join(cells).rstrip()


Block = str | Code | Table
"""What sections consist of; a string is a paragraph."""


@dataclass(frozen=True)
class Section:
    """A heading, and what stands below it."""

    heading: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Page:
    """All that is to be read, in no form yet."""

    title: str
    summary: str
    sections: Sequence[Section]

    def plain(self) -> str:
        """As text of 80 columns."""
        parts = [self.title]
        if self.summary:
            parts[0] += "\n" + textwrap.fill(self.summary, WIDTH)
        for section in self.sections:
            blocks = "\n\n".join(map(_plain, section.blocks))
            parts.append(f"{section.heading.upper()}\n{textwrap.indent(blocks, '  ')}")
        return "\n\n".join(parts)

    def markdown(self) -> str:
        """As Markdown, for a notebook."""
        parts = [f"## {self.title}", *filter(None, [self.summary])]
        for section in self.sections:
            parts += [f"### {section.heading}", *map(_markdown, section.blocks)]
        return "\n\n".join(parts)


def _plain(block: Block) -> str:
    if isinstance(block, str):
        return textwrap.fill(block, WIDTH - 2)
    return "\n".join(block.lines()) if isinstance(block, Table) else block.text


def _markdown(block: Block) -> str:
    if isinstance(block, str):
        return block
    if isinstance(block, Code):
        return f"$${block.latex}$$" if block.latex else f"```{block.language}\n{block.text}\n```"
    rule = ["---:" if number in block.numbers else "---" for number in range(len(block.header))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (block.header, rule, *block.rows))
