"""Results that are kept under version control: one file a benchmark, in it an entry for each optimizer.

A run replaces the entries of what it has measured, after each of them, and leaves the others as they are: it may be
stopped at any time, and later runs may measure some optimizers alone.
"""

import json
import subprocess
import time
from pathlib import Path
from typing import Any

__all__ = ["commit", "opened", "save", "stamp"]

ROOT = Path(__file__).resolve().parents[1]
PASSING = ("load", "minima")
"""What the description of a machine may differ in from one run to the next."""


def commit() -> str:
    """The commit that is measured, with a plus where files differ from it; empty where there is no Git."""
    try:
        found = [
            subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
            for words in (
                ("rev-parse", "--short=10", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "--", "src"),
            )
        ]
    except (OSError, subprocess.CalledProcessError):
        return ""
    return found[0] + ("+" if found[1] else "")


def stamp() -> dict[str, str]:
    """When and what."""
    return {"date": time.strftime("%Y-%m-%d %H:%M:%S%z"), "commit": commit()}


def opened(path: Path, benchmark: str, machine: dict[str, Any]) -> dict[str, Any]:
    """The file as it is, or as it begins.

    Raises:
        ValueError: It holds something else, or was measured on another machine or with other versions.
    """
    if not path.exists():
        return {"benchmark": benchmark, "machine": machine, "rules": {}}
    hint = "name another file with --json, or delete this one and measure all"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        before, _ = content["machine"], content["rules"]
        is_ours = content["benchmark"] == benchmark
    except (ValueError, KeyError, TypeError):
        is_ours, before = False, {}
    if not is_ours:
        raise ValueError(f"{path} holds no results of this benchmark: {hint}")
    known = {name: x for name, x in machine.items() if x is not None}  # a library that takes no part has no version
    differ = [name for name, x in before.items() if name not in PASSING and x is not None and known.get(name, x) != x]
    if differ and content["rules"]:
        name = differ[0]
        raise ValueError(
            f"{path} was measured elsewhere ({name} {before.get(name)!r} there, {machine.get(name)!r} here): {hint}"
        )
    return content | {"machine": before | known}


def save(content: dict[str, Any], path: Path) -> None:
    """Write the file as a whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_suffix(".part")
    aside.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    aside.replace(path)
