"""Engines run programs over parameters; all of them do what the reference engine does."""

from minima.optim.engines.choice import choose
from minima.optim.engines.engine import Array, Arrays, Engine, Kernel, precision
from minima.optim.engines.storage import Stored, allocate

__all__ = ["Array", "Arrays", "Engine", "Kernel", "Stored", "allocate", "choose", "precision"]
