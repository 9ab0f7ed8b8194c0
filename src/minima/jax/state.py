"""What a transformation knows between steps."""

from typing import Any, NamedTuple

__all__ = ["State"]


class State(NamedTuple):
    """The state of a transformation, a tree of arrays."""

    t: Any
    """The number of steps that have been taken, int32; what functions of the step are asked with. There is one for all
    leaves."""
    hypers: dict[str, Any]
    """The hyperparameters that may be read and set between steps, as float32; those of a pattern's own under it."""
    slots: dict[str, Any]
    """The state of the rule by name, each entry in the structure of the parameters, with None where a leaf has none;
    ``"master"`` among them where half-precision parameters have a copy, and ``"ema"`` where there is an average."""
    shared: dict[str, Any]
    """The state that all parameters share, by name."""
