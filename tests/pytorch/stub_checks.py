"""Checks for the processes of `benchmarks/gpu.py`."""

import os

broken: list[str] = []
"""What stays with a process."""


def three(rule: str) -> None:
    from gpu_checking import check  # which the processes find, and who collects tests may not

    for number in range(3):
        with check("stubs", f"{rule} {number}") as faults:
            faults += ["as it should"] * (rule == "last" and number == 1) + broken


def dying() -> None:
    from gpu_checking import say

    say("stubs", True, "nobody hears of this one")
    os._exit(3)


def raising() -> None:
    broken.append("a fault of another task")
    raise ValueError("before any check")
