"""The main job: train one network on real data with every optimizer, and show how it went."""

from minima.demo.job import run

__all__ = ["run"]
