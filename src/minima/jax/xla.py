"""JAX, which has types in part only."""

from typing import Any

import jax as _jax

__all__ = ["Array", "jax", "jnp", "traced"]

jax: Any = _jax
jnp: Any = jax.numpy
Array: Any = jax.Array
"""An array of JAX, a traced one among them."""


def traced(value: Any) -> bool:
    """Whether a value is known by its shape and dtype alone, since JAX traces."""
    return isinstance(value, jax.core.Tracer)
