"""What has been run on which GPU: the table that `benchmarks/gpu.py` writes, a row for each GPU and version."""

import subprocess
from collections.abc import Collection, Sequence
from pathlib import Path

import torch
from gpu_checking import found, passed
from gpu_times import speed

import minima

__all__ = ["KEY", "TABLE", "have_been_run", "rows", "version", "write"]

TABLE = Path(__file__).parent / "results" / "gpus.md"
HEAD = """# What has been run on which GPU

Written by `benchmarks/gpu.py`: how many checks of each part passed, and AdamW on GPT-2 small. A row without a
version of minima is older than that column."""
KEY = "GPU", "PyTorch", "version of minima"
"""The columns that say whose a row is; where the version is empty, nobody knows it."""


def version() -> str:
    """The version of minima, with the commit where git knows it; a plus says that something was changed since."""
    command = ["git", "describe", "--always", "--exclude=*", "--dirty=+"]
    try:
        said = subprocess.run(command, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        said = ""
    return f"{minima.__version__} {said}".strip()


def rows(path: Path) -> list[dict[str, str]]:
    """The rows of the table, by their columns."""
    found: list[dict[str, str]] = []
    columns: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if cells[0] == "GPU":
            columns = cells
        elif len(cells) == len(columns) and not set(cells[0]) <= {"-"}:
            found.append(dict(zip(columns, cells, strict=True)))
    return found


def have_been_run(path: Path, parts: Sequence[str]) -> set[str]:
    """Those of some parts of which a row of the table says that all checks have passed."""

    def has_passed(said: str) -> bool:
        good, _, many = said.partition(" of ")
        return good == many and good not in ("", "0")

    return {part for row in rows(path) for part in parts if has_passed(row.get(part, ""))}


def write(path: Path, parts: Sequence[str], ended: Collection[str]) -> None:
    """Put the row of this GPU and this version of minima into the table: what is known of the parts that have ended.

    Where a part was not run now, what stands there stays. What is known of another version stays in a row of its own.
    """
    key = dict(zip(KEY, (torch.cuda.get_device_name(), torch.__version__, version()), strict=True))
    before, mine = list[dict[str, str]](), dict[str, str]()
    for row in rows(path):
        if all(row.get(column, "") == key[column] for column in KEY):
            mine = row
        else:
            before.append(row)
    now = {
        part: f"{passed.get(part, 0)} of {passed.get(part, 0) + len(found[part])}" for part in parts if part in ended
    }
    columns = [*KEY, *parts, "minima", "PyTorch fused", "targets"]
    written = sorted([row.get(column, "") for column in columns] for row in (*before, {**mine, **key, **now, **speed}))
    lines = [
        HEAD,
        "",
        *(f"| {' | '.join(cells)} |" for cells in (columns, ["---"] * len(columns), *written)),
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
