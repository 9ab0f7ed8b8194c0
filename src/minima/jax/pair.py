"""The pair of functions that Optax calls a gradient transformation; Optax's own class where Optax is installed."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["PAIR"]


class Pair(NamedTuple):
    """What ``optax.GradientTransformationExtraArgs`` is, without Optax."""

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


try:
    _pair: Any = import_module("optax").GradientTransformationExtraArgs
except ImportError:
    _pair = Pair
PAIR: Any = _pair
