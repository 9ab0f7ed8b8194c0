"""Checks for the processes of `benchmarks/gpu.py`, without PyTorch, so that a process starts at once."""

import os

from gpu_checking import check, say


def three(rule: str) -> None:
    for number in range(3):
        with check("stubs", f"{rule} {number}") as faults:
            faults += ["as it should"] * (number == 1)


def dying() -> None:
    say("stubs", True, "nobody hears of this one")
    os._exit(3)


def raising() -> None:
    raise ValueError("before any check")
