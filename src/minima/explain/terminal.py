"""A page in a terminal: in colour and as wide as that is, by rich where it is installed."""

import sys
from importlib.util import find_spec
from typing import TYPE_CHECKING

from minima.explain.page import Block, Code, Page, Section

if TYPE_CHECKING:
    from rich.console import RenderableType

__all__ = ["render", "show"]


def show(page: Page | Section) -> None:
    """Print a page, or a section of one: in colour if the output is a terminal and rich is installed, else plainly."""
    if sys.stdout.isatty() and find_spec("rich") is not None:
        from rich.console import Console

        Console().print(render(page))
    else:
        print(page.plain())


def render(page: Page | Section) -> "RenderableType":
    """A page, or a section of one, as rich prints it."""
    from rich.console import Group
    from rich.padding import Padding
    from rich.text import Text

    if isinstance(page, Section):
        blocks = (Padding(_block(block), (min(number, 1), 0, 0, 2)) for number, block in enumerate(page.blocks))
        return Group(Text(f"\n{page.heading.upper()}", "bold"), *blocks)
    title = [Text(page.title, "bold green"), *([Text(page.summary)] if page.summary else [])]
    return Group(*title, *map(render, page.sections))


def _block(block: Block) -> "RenderableType":
    from rich.syntax import Syntax
    from rich.table import Table
    from rich.text import Text

    if isinstance(block, str):
        return Text(block)
    if isinstance(block, Code):  # in the terminal's own colours
        return Syntax(block.text, block.language, theme="ansi_dark", background_color="default", word_wrap=True)
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="dim")
    table.show_header = bool(block.header)
    for number, name in enumerate(block.header or ("",) * len(block.rows[0])):
        table.add_column(name, justify="right" if number in block.numbers else "left")
    for row in block.rows:
        table.add_row(*map(Text, row))
    return table
