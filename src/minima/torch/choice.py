"""Which engine steps a parameter: the one asked for, or the fastest that works where the parameter is."""

from importlib.util import find_spec

import torch

from minima.errors import sentence

__all__ = ["ENGINES", "choose"]

ENGINES = ("fused", "reference", "torch")
"""Machine code, and NumPy, for parameters on the CPU; PyTorch's own operations for those on any device."""


def choose(who: str, engine: str | None, which: str, param: torch.Tensor) -> str:
    """The name of the engine that steps a parameter, which the message calls ``which``."""
    on_cpu = param.device.type == "cpu"
    if engine is None:
        return "fused" if on_cpu and find_spec("llvmlite") is not None else "torch"
    if engine != "torch" and not on_cpu:
        hint = "leave engine out"
        raise ValueError(sentence(who, f"engine {engine!r} is for the CPU; {which} is on {param.device}", hint=hint))
    if engine == "fused" and find_spec("llvmlite") is None:
        hint = "install llvmlite, or leave engine out to take what is there"
        raise ImportError(sentence(who, "the fused engine needs llvmlite, which cannot be imported", hint=hint))
    return engine
