"""The machine that was measured, and the versions of all that took part."""

import importlib
import os
import platform
import sys
from importlib.metadata import PackageNotFoundError, version
from types import ModuleType
from typing import Any

import numpy as np

import minima
from minima.optim.engines.cpu.threads import thread_count

__all__ = ["available_memory", "busy", "describe", "library", "sentences"]

OTHERS = ("torch", "timm", "pytorch_optimizer", "prodigyopt", "schedulefree", "jax", "optax")
"""The libraries that are measured beside."""


def library(name: str) -> ModuleType | None:
    """The module, or None where it is not installed."""
    # A benchmark of the CPU: without this, JAX takes a GPU where there is one.
    os.environ.setdefault("JAX_PLATFORMS", "cpu")
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def describe() -> dict[str, Any]:
    """The machine, in numbers and names; libraries that were not loaded took no part."""
    blas = np.show_config(mode="dicts")["Build Dependencies"]["blas"]  # pyright: ignore - NumPy leaves it untyped
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    found: dict[str, Any] = {
        "cpu": _cpu(),
        "cores": cores,
        "memory_gib": round(_memory("MemTotal") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "numpy": f"{np.__version__} ({blas['name']} {blas['version']})",
        "minima": minima.__version__,
        "minima threads": thread_count(),
    }
    for name in OTHERS:
        if sys.modules.get(name):
            found[name] = _version(name)
    if torch := sys.modules.get("torch"):
        found["torch threads"] = torch.get_num_threads()
    return found


def sentences(machine: dict[str, Any]) -> list[str]:
    """The same in words, for a table's head or a picture's foot."""
    versions = ["python", "numpy", *OTHERS, "minima"]
    names = {"python": "Python", "numpy": "NumPy", "torch": "PyTorch", "jax": "JAX"}
    threads = f"minima {machine['minima threads']}"
    if "torch threads" in machine:
        threads += f", PyTorch {machine['torch threads']} (its default)"
    if "jax" in machine:
        threads += ", JAX its own pool"
    return [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['memory_gib']:g} GiB, {machine['system']}",
        ", ".join(f"{names.get(name, name)} {machine[name]}" for name in versions if name in machine),
        f"Threads: {threads}",
    ]


def busy(machine: dict[str, Any]) -> list[str]:
    """A line that warns of a machine with other work, if it has any."""
    load = machine["load"] or 0
    return [f"The machine is busy (load {load}): do not trust these numbers."] if load > 0.5 else []


def available_memory() -> int:
    """The bytes that can still be had without swapping; a large number where the system does not tell."""
    return _memory("MemAvailable") or 1 << 62


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "?"


def _cpu() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as lines:
            return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _memory(entry: str) -> int:
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024 * int(line.split()[1]) for line in lines if line.startswith(entry))
    except (OSError, StopIteration):
        return 0
