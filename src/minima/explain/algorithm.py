"""The page of what is no rule: the algorithm as its docstring has it, and what its constructor takes."""

import inspect
from itertools import takewhile
from textwrap import dedent
from typing import Any

from minima.explain.page import Code, Page, Section, Table

__all__ = ["algorithm"]

_BEGIN = "\n\n::\n\n"
"""What stands in front of the equations in a docstring."""


def algorithm(cls: type[Any]) -> Page:
    """What there is to read of a loop around steps, which has no program, and so neither memory nor time to show."""
    source = next(base for base in cls.__mro__ if _BEGIN in (inspect.getdoc(base) or ""))
    summary, _, rest = (inspect.getdoc(source) or "").partition(_BEGIN)
    lines = takewhile(lambda line: not line or line.startswith(" "), rest.splitlines())
    _, *arguments = inspect.signature(cls).parameters.values()
    rows = [(each.name, repr(each.default)) for each in arguments]
    more = (
        f"It is a loop around steps, and no rule that becomes a program. help(minima.optim.{source.__name__}) says all."
    )
    return Page(
        cls.__name__,
        " ".join(summary.split()),
        [
            Section("Equations", [Code(dedent("\n".join(lines)).strip())]),
            Section("Arguments", [Table(("name", "default"), rows)]),
            Section("More", [more]),
        ],
    )
