"""Checkpoints: the whole state of a training run in one file, whole or not there at all."""

from minima.checkpoint.folder import Checkpoints
from minima.checkpoint.format import CheckpointError
from minima.checkpoint.run import load, save

__all__ = ["CheckpointError", "Checkpoints", "load", "save"]
