"""The command line: ``minima list``, ``minima explain``, ``minima bench``, ``minima demo``."""

from minima.cli.shell import main

__all__ = ["main"]
