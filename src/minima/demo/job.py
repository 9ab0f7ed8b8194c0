"""The job behind ``minima demo``: progress while it runs, then a table and a picture."""

import sys
from collections.abc import Sequence

from rich import box
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from minima.axes import picture
from minima.demo.data import load
from minima.demo.picture import draw
from minima.demo.training import OPTIMIZERS, History, train
from minima.errors import sentence

__all__ = ["run"]


def run(
    *,
    epochs: int,
    batch_size: int,
    seed: int,
    optimizers: Sequence[str],
    rates: Sequence[tuple[str, float]],
    output: str,
) -> int:
    """Train, print and draw; the exit status."""
    console = Console()
    try:
        chosen = _rates(optimizers, rates)
        path = picture("minima demo", "--output", output)
        split = load(seed)
    except (TypeError, ValueError, OSError) as error:
        print(error, file=sys.stderr)
        return 2
    histories: list[History] = []
    status = 0
    with _progress(console) as progress:
        tasks = {
            name: progress.add_task(OPTIMIZERS[name].kind.__name__, total=epochs, start=False, shown="")
            for name in chosen
        }

        def report(name: str, history: History) -> None:
            shown = f"loss {history.train_loss[-1]:.4f}   accuracy {history.valid_accuracy[-1]:6.1%}"
            progress.update(tasks[name], advance=1, shown=shown)

        try:
            for name, lr in chosen.items():
                progress.start_task(tasks[name])
                histories.append(train(name, lr, split, epochs=epochs, batch_size=batch_size, seed=seed, report=report))
        except KeyboardInterrupt:
            status = 130
    if histories:
        console.print(_table(histories))
        draw(histories, path)
        console.print(f"Curves drawn in {path}", highlight=False, soft_wrap=True)
    if status:
        print(
            "minima demo: stopped; what was finished is shown" if histories else "minima demo: stopped", file=sys.stderr
        )
    return status


def _rates(optimizers: Sequence[str], given: Sequence[tuple[str, float]]) -> dict[str, float]:
    """The learning rate of every optimizer that is to be run; each was checked by its optimizer's declaration."""
    names = list(dict.fromkeys(optimizers)) or list(OPTIMIZERS)
    rates = {name: OPTIMIZERS[name].lr for name in names}
    for name, rate in given:
        if name not in rates:
            raise ValueError(sentence("minima demo", f"--lr takes one of {', '.join(names)}", got=name))
        rates[name] = float(OPTIMIZERS[name].kind.hyperparameters["lr"].check("minima demo", rate) or 0.0)
    return rates


def _progress(console: Console) -> Progress:
    return Progress(
        TextColumn("{task.description:<8}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TextColumn("{task.fields[shown]}"),
        TimeElapsedColumn(),
        console=console,
        disable=not console.is_terminal,  # into a pipe or a file goes the table alone
    )


def _table(histories: Sequence[History]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, title="After the last epoch", title_justify="left")
    table.add_column("optimizer")
    for column in ("lr", "training loss", "validation loss", "accuracy", "time", "steps/s"):
        table.add_column(column, justify="right")
    for history in histories:
        table.add_row(
            history.name,
            f"{history.lr:g}",
            f"{history.train_loss[-1]:.4f}",
            f"{history.valid_loss[-1]:.4f}",
            f"{history.valid_accuracy[-1]:.1%}",
            f"{history.seconds:.2f} s",
            f"{history.steps / history.seconds:,.0f}",
        )
    return table
