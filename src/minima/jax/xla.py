"""JAX, which has types in part only."""

from importlib import import_module
from typing import Any

import jax as _jax

__all__ = ["Array", "enable_x64", "jax", "jnp", "traced"]

jax: Any = _jax
jnp: Any = jax.numpy
Array: Any = jax.Array
"""An array of JAX, a traced one among them."""
enable_x64: Any = _jax.enable_x64 if hasattr(_jax, "enable_x64") else import_module("jax.experimental").enable_x64
"""A context in which float64 is what it says; JAX has had it under this name since 0.8."""


def traced(value: Any) -> bool:
    """Whether a value is known by its shape and dtype alone, since JAX traces."""
    return isinstance(value, jax.core.Tracer)
