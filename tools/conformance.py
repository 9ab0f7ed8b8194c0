"""Run every rule beside other libraries and record how far apart they are: `make conformance`.

The calls stand in tests/optim/elsewhere.py, those that make the same as ours, and in apart.py beside it, those that do
not. What is measured goes into docs/optimizers/conformance.json, from which the site makes its page. The tests of the
tables see where the record is not of these, and measure again what their environment has.
"""

import json
import sys
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track

sys.path.append(str(Path(__file__).parents[1] / "tests" / "optim"))  # where the tables are
from apart import APART
from elsewhere import LIBRARIES, ROWS, Row, difference

RECORD = Path(__file__).parents[1] / "docs" / "optimizers" / "conformance.json"


def main() -> None:
    console = Console(stderr=True)
    with suppress(ImportError):
        _let_torchvision_load()
    if missing := [name for name, library in LIBRARIES.items() if not all(map(_is_there, library.needs))]:
        sys.exit(f"conformance: needs {', '.join(missing)}; make conformance installs all in .venv-conformance")
    same = [_measured(row) for row in track(ROWS, "The same elsewhere", console=console)]
    apart = [_measured(row) for row in track(APART, "Different elsewhere", console=console)]
    record = {
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {library.title: version(library.package) for library in LIBRARIES.values()},
        "same": same,
        "apart": apart,
    }
    wrong = [row for row, entry in zip(ROWS, same, strict=True) if not entry["difference"] <= row.off]
    wrong += [row for row, entry in zip(APART, apart, strict=True) if not entry["difference"] > 1e-9]
    for row in wrong:
        console.print(f"[bold]not as the table says:[/] {row.ours} beside {row.theirs}: {difference(row):.1e}")
    if wrong:
        sys.exit("conformance: nothing was recorded")
    RECORD.write_text(json.dumps(record, indent=1) + "\n")
    console.print(f"conformance: {len(same)} calls are the same, {len(apart)} are not; see {RECORD.name}")


def _measured(row: Row) -> dict[str, Any]:
    return {"ours": row.ours, "theirs": row.theirs, "difference": float(f"{difference(row):.3g}")}


def _is_there(module: str) -> bool:
    try:
        import_module(module)
    except ImportError:
        return False
    return True


def _let_torchvision_load() -> None:
    """Declare what torchvision's compiled part, made for CUDA alone, does not declare where PyTorch is for the CPU.

    timm's optimizers do not call it, but timm cannot be imported without it.
    """
    torch: Any = import_module("torch")
    try:
        import_module("torchvision")
    except RuntimeError:
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
        declare: Callable[[str, str], None] = torch.library.define
        for name in ("nms", "qnms"):
            declare(f"torchvision::{name}", "(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")


if __name__ == "__main__":
    main()
