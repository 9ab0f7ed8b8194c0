"""What the record of `make conformance` says of other libraries: a table for each optimizer, and the page of all."""

import json
import sys
from functools import cache
from pathlib import Path
from typing import Any

from minima.optim.rules import RULES

sys.path.append(str(Path(__file__).parents[2] / "tests" / "optim"))  # the tables that the tests read
import apart
import elsewhere

RECORD = Path(__file__).parents[2] / "docs" / "optimizers" / "conformance.json"


@cache
def record() -> dict[str, Any]:
    return json.loads(RECORD.read_text())


@cache
def differences(kind: str) -> dict[tuple[str, str], float]:
    """How far apart two calls are, of those that are the ``"same"`` or ``"apart"``."""
    return {(entry["ours"], entry["theirs"]): entry["difference"] for entry in record()[kind]}


def others(name: str) -> str:
    """The calls of other libraries that make the same as ours, and those that do not, with the recorded differences."""
    same, different = _of(elsewhere.ROWS, name), _of(apart.APART, name)
    text = list[str]()
    if same:
        lines = [[row.library.title, f"{_code(row.theirs)}<br>{_code(row.ours)}", _off(row, "same")] for row in same]
        text += [_how(same), _table(["Library", "Its call, and the call in minima", "Difference"], lines)]
    if different:
        lines = [[_told(row), _off(row, "apart")] for row in different]
        head = ["The other call, the call in minima, and the reason", "Difference"]
        text += ["These calls look the same, but give different results:", _table(head, lines)]
    return "\n\n".join(text)


def written() -> str:
    """The page's tables: every rule by every library, and what looks the same without being it."""
    columns = list(dict.fromkeys(map(_column, elsewhere.ROWS)))
    rows = [
        [_linked(name), *(_cell(name, column) for column in columns)] for name in RULES if _of(elsewhere.ROWS, name)
    ]
    wrong = [[_linked(row.rule), _told(row), _off(row, "apart")] for name in RULES for row in _of(apart.APART, name)]
    versions = ", ".join(f"{title} {version}" for title, version in record()["versions"].items())
    return "\n\n".join(
        [
            f"Measured on {record()['date']}, with {versions}.",
            "## Same results { #same }",
            _table(["Optimizer", *(column.replace("_", "_<wbr>") for column in columns)], rows),
            "A cell shows the largest difference over all compared calls. Where it is above 1e-11, the library keeps a "
            "number in float32. The calls are listed on the pages of the optimizers.",
            "## Different results { #apart }",
            _table(["Optimizer", "The other call, the call in minima, and the reason", "Difference"], wrong),
        ]
    )


def _column(row: elsewhere.Row) -> str:
    """The column of a row's library; those that are about one algorithm share one."""
    return (
        "the authors' package"
        if row.library.title in ("prodigyopt", "schedulefree", "dadaptation")
        else row.library.title
    )


def _told(row: apart.Apart) -> str:
    return f"{_code(row.theirs)}<br>{_code(row.ours)}<br>{row.library.title} {row.why}."


def _of(rows: list[Any], name: str) -> list[Any]:
    """Those of an optimizer that are on record: the site is built between a new row and its first measurement too."""
    kind = "apart" if rows is apart.APART else "same"
    return [row for row in rows if row.rule == name and (row.ours, row.theirs) in differences(kind)]


def _how(rows: list[Any]) -> str:
    titles = dict.fromkeys(row.library.title for row in rows)
    versions = ", ".join(f"{title} {record()['versions'][title]}" for title in titles)
    return (
        "These calls give the same results, up to rounding. Both take twenty steps in float64 from the same "
        "parameters, with gradients that depend on the parameters. The difference is the largest one of a parameter "
        f"or of its state, relative to the largest entry, measured with {versions}. [One page](conformance.md) "
        "compares all optimizers."
    )


def _cell(name: str, column: str) -> str:
    found = [differences("same")[row.ours, row.theirs] for row in _of(elsewhere.ROWS, name) if _column(row) == column]
    return f"{max(found):.0g}" if found else ""


def _off(row: Any, kind: str) -> str:
    return f"{differences(kind)[row.ours, row.theirs]:.{0 if kind == 'same' else 1}g}"


def _code(call: str) -> str:
    return f"`{call.removeprefix('sklearn.neural_network.')}`".replace("|", r"\|")


def _linked(name: str) -> str:
    return f"[{name}]({name.lower()}.md)"


def _table(head: list[str], rows: list[list[str]]) -> str:
    marks = ["---:" if title == "Difference" else "---" for title in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, marks, *rows])
