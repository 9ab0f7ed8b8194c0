"""The reference of the command line, out of the parsers themselves."""

import argparse
from pathlib import Path

from minima.cli.parser import Parser, build

__all__ = ["reference", "write"]

SHAPE = """## minima {name}

{about}

```text
{usage}
```

{table}

{example}
"""


def write(folder: Path) -> None:
    """Write commands.md, which command-line.md includes."""
    (folder / "commands.md").write_text(reference(), encoding="utf-8")


def reference() -> str:
    """A section for each command: what it does, its usage, what it takes, an example."""
    return "\n".join(_section(name, parser) for name, parser in build()[1].items())


def _section(name: str, parser: Parser) -> str:
    parser.formatter_class = lambda prog: argparse.HelpFormatter(prog, width=80)
    rows = [f"| `{_spelled(action)}` | {_help(action, parser)} |" for action in parser._actions]
    example = (parser.epilog or "").removeprefix("Example: ")
    return SHAPE.format(
        name=name,
        about=parser.description,
        usage=parser.format_usage().removeprefix("usage: ").replace("\n       ", "\n").strip(),
        table="\n".join(["| | |", "| --- | --- |", *rows]),
        example=f"```console\n$ {example}\n```",
    )


def _spelled(action: argparse.Action) -> str:
    value = "" if action.nargs == 0 else str(action.metavar or action.dest.upper())
    if not action.option_strings:
        return str(action.metavar or action.dest)
    return ", ".join(f"{option} {value}".strip() for option in action.option_strings)


def _help(action: argparse.Action, parser: Parser) -> str:
    said = (action.help or "") % {"default": action.default, "prog": parser.prog}
    return f"{said[:1].upper()}{said[1:]}.".replace("|", "\\|")
