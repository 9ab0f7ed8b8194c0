"""What both benchmarks show: progress, tables, the machine, a file of numbers."""

import json
import time
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from minima.bench.machine import busy, sentences

__all__ = ["RESULTS", "add_options", "apart", "bars", "head", "table", "terminal", "verdict", "write"]

RESULTS = Path(__file__).parent / "results"


def add_options(parser: ArgumentParser, name: str, *, plot: bool = True) -> None:
    """The options that all benchmarks have; ``name`` names the files that they write."""
    parser.add_argument("--seconds", type=_seconds, metavar="S", help="of measuring, for each race")
    parser.add_argument("--quick", action="store_true", help="measure for a fifth of the time: a look, not a result")
    parser.add_argument(
        "--json", type=Path, default=RESULTS / f"{name}.json", metavar="FILE", help=f"default: results/{name}.json"
    )
    if not plot:
        return
    parser.add_argument(
        "--plot",
        type=_picture,
        nargs="?",
        const=RESULTS / f"{name}.png",
        metavar="FILE",
        help=f"draw a picture (.png, .svg or .pdf; without FILE: results/{name}.png)",
    )


def apart(options: Namespace, name: str) -> Namespace:
    """The options, with a file of its own for a quick look: it must not take the place of results."""
    if options.quick and options.json == RESULTS / f"{name}.json":
        options.json = RESULTS / f"{name}-quick.json"
    return options


def terminal() -> Console:
    """Where results go: a terminal, or in plain text a pipe or a file."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(width=170, highlight=False)


def bars(console: Console) -> Progress:
    """A bar for a run, on the terminal; none where nobody looks at one."""
    shown = console if console.is_terminal else Console(stderr=True)
    return Progress(
        TextColumn("{task.description:<56}"),
        BarColumn(bar_width=28),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
        console=shown,
        disable=not shown.is_terminal,
        transient=True,
        refresh_per_second=2,  # what is measured shares the machine with the bar
    )


def table() -> Table:
    """An empty table."""
    return Table(box=box.SIMPLE_HEAD, pad_edge=False)


def verdict(ratio: float, limit: float) -> str:
    """Whether a target is met, in a word and a colour."""
    return "[green]met[/]" if ratio <= limit else "[bold red]NOT MET[/]"


def head(console: Console, machine: dict[str, Any]) -> None:
    """The machine, and whether it is fit to measure on."""
    for line in sentences(machine):
        console.print(line, style="dim", soft_wrap=True)
    for line in busy(machine):
        console.print(line, style="yellow", soft_wrap=True)
    console.print()


def write(console: Console, content: dict[str, Any], numbers: Path, picture: Path | None) -> None:
    """What has to be known about the numbers; the numbers in a file, and a picture of them if one is wanted."""
    content = {"date": time.strftime("%Y-%m-%d %H:%M:%S%z")} | content
    numbers.parent.mkdir(parents=True, exist_ok=True)
    numbers.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    for note in content["notes"]:
        console.print(note, style="yellow", soft_wrap=True)
    console.print(f"Numbers written to {numbers}", style="dim", soft_wrap=True)
    if picture and content["measured"]:
        from pictures import draw  # loads Matplotlib

        picture.parent.mkdir(parents=True, exist_ok=True)
        draw(content, picture)
        console.print(f"Picture drawn in {picture}", style="dim", soft_wrap=True)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < 3600:
        raise ArgumentTypeError(f"must be a number above 0 and below 3600; got {text!r}")
    return value


def _picture(text: str) -> Path:
    path = Path(text)
    if path.suffix.lower() not in {".png", ".svg", ".pdf"}:
        raise ArgumentTypeError(f"must end in .png, .svg or .pdf; got {text!r}")
    return path
