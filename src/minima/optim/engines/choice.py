"""Which engine an optimizer gets: the one asked for, or the fastest that works here."""

import os
from functools import cache
from importlib.util import find_spec

from minima.errors import sentence
from minima.optim.engines.cpu.fused import Fused
from minima.optim.engines.engine import Engine
from minima.optim.engines.reference import Reference

__all__ = ["choose", "llvm_is_installed", "require_llvm"]

_VARIABLE = "MINIMA_ENGINE"
_ENGINES: dict[str, type[Engine]] = {"fused": Fused, "reference": Reference}


def choose(who: str, name: str | None) -> Engine:
    """The engine of that name; without one that of ``MINIMA_ENGINE``, else the fused one where LLVM is installed."""
    if name is None:
        who, name = _VARIABLE, os.environ.get(_VARIABLE) or None
    if name is None:
        return Fused() if llvm_is_installed() else Reference()
    if not isinstance(name, str) or name not in _ENGINES:  # pyright: ignore[reportUnnecessaryIsInstance] - users pass anything
        raise ValueError(sentence(who, f"engine must be one of {', '.join(map(repr, _ENGINES))}", got=name))
    if name == "fused":
        require_llvm(who)
    return _ENGINES[name]()


def require_llvm(who: str) -> None:
    """An ImportError unless LLVM is installed."""
    if not llvm_is_installed():
        hint = "install llvmlite, or leave engine out to take what is there"
        raise ImportError(sentence(who, "the fused engine needs llvmlite, which cannot be imported", hint=hint))


@cache
def llvm_is_installed() -> bool:
    """Whether the fused engine can work here."""
    return find_spec("llvmlite") is not None  # found, not imported: that is for the first step
