"""What minima makes of a rule, and what a step of it costs: ``Adam.explain()``, ``minima explain Adam``."""

from minima.explain.explanation import Explanation

__all__ = ["Explanation"]
