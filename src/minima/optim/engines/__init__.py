"""Engines run programs over parameters; all of them do what the reference engine does."""

from minima.optim.engines.engine import Array, Engine, Kernel, precision
from minima.optim.engines.reference import Reference

__all__ = ["Array", "Engine", "Kernel", "Reference", "precision"]
