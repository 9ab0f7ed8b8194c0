"""The pair of functions that Optax calls a gradient transformation; Optax's own class where Optax is installed."""

from collections.abc import Callable
from typing import Any, NamedTuple

__all__ = ["PAIR"]


class Pair(NamedTuple):
    """What ``optax.GradientTransformationExtraArgs`` is, without Optax."""

    init: Callable[..., Any]
    update: Callable[..., tuple[Any, Any]]


try:
    from optax import GradientTransformationExtraArgs as PAIR  # pyright: ignore
except ImportError:
    PAIR = Pair
