"""Checks for the processes of `benchmarks/gpu.py`."""

import os
import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[2] / "benchmarks"))
from gpu_checking import check, say  # noqa: E402

broken: list[str] = []
"""What stays with a process."""


def three(rule: str) -> None:
    for number in range(3):
        with check("stubs", f"{rule} {number}") as faults:
            faults += ["as it should"] * (rule == "last" and number == 1) + broken


def dying() -> None:
    say("stubs", True, "nobody hears of this one")
    os._exit(3)


def raising() -> None:
    broken.append("a fault of another task")
    raise ValueError("before any check")
