"""How many threads a step may use."""

import os

from minima.errors import sentence

__all__ = ["core_count", "thread_count"]

_VARIABLE = "MINIMA_NUM_THREADS"


def thread_count(otherwise: int | None = None) -> int:
    """How many threads may work on a step, as the environment says now.

    ``MINIMA_NUM_THREADS`` decides; else ``otherwise``, which is what a library around minima goes by; else
    ``OMP_NUM_THREADS``; else the number of cores that this process may use.
    """
    text = os.environ.get(_VARIABLE, "").strip()
    if text:
        if not _is_count(text):
            raise ValueError(sentence(_VARIABLE, "must be a whole number, at least 1", got=text))
        return int(text)
    if otherwise is not None:
        return otherwise
    # One number for each level of nested parallelism; what OpenMP does not understand, it ignores.
    first = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    return int(first) if _is_count(first) else core_count()


def core_count() -> int:
    """The cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) > 0
