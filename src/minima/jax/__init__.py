"""The optimizers of minima for JAX: every rule, a user's own too, as a gradient transformation as Optax has them."""

from minima.jax.adaptation import adapt
from minima.jax.state import State
from minima.jax.transformation import Transformation

__all__ = ["State", "Transformation", "adapt"]
