"""Numbers of a step that stand in the state; and, on a device without float64, what becomes of ``1 - beta**t``.

Whatever is known while JAX traces is still computed in float64, on the host. Of what is left, one
thing does not bear float32: ``1 - beta**t``, which is off by 2e-5 with a beta of 0.999, and by 1e-3 with 0.99999. As
``-expm1(t * log(beta))``, with the logarithm of the host, it is off by 3.7e-7 at most.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minima.jax.device import widest
from minima.jax.words import known, word
from minima.jax.xla import jax, jnp, traced

__all__ = ["Held", "Power", "settled", "single_line"]


@dataclass(frozen=True)
class Held:
    """A number in float32 that stands in the state, of which the host knows more while nobody sets another."""

    given: float
    """What it was given as."""
    held: Any
    same: Any
    """Whether the state holds that, rounded."""

    def settled(self) -> Any:
        """The number, as wide as can be."""
        return jnp.where(self.same, widest()(self.given), self.held.astype(widest()))

    def log(self) -> Any:
        """Its logarithm."""
        return jnp.where(self.same, _log(self.given), _log(self.held))


# Steps under explicit axes take their numbers as a tree.
jax.tree_util.register_dataclass(Held, data_fields=["held", "same"], meta_fields=["given"])


@dataclass(frozen=True)
class Power:
    """A power with an exponent that JAX traces, by its logarithm in float32."""

    log: Any

    def settled(self) -> Any:
        """The power."""
        return jnp.exp(self.log)

    def less_than_1(self) -> Any:
        """What 1 is more."""
        return -jnp.expm1(self.log)


def settled(x: Any) -> Any:
    """A number, as an array or a float."""
    return x.settled() if isinstance(x, Held | Power) else x


def single_line(operation: str, operands: Sequence[Any]) -> Any:
    """A line of the host part, of which not all is known, in float32."""
    held = [x for x in operands if isinstance(x, Held)]
    if held and all(isinstance(x, float) or isinstance(x, Held) and x.same is held[0].same for x in operands):
        given = known(operation, [x.given if isinstance(x, Held) else x for x in operands])
        return Held(given, _computed(operation, [x.held if isinstance(x, Held) else x for x in operands]), held[0].same)
    first, *others = operands
    if operation == "pow" and not isinstance(others[0], float | Held):
        return Power(settled(others[0]).astype(np.float32) * (first.log() if isinstance(first, Held) else _log(first)))
    if operation == "sub" and isinstance(others[0], Power) and isinstance(first, float) and first == 1.0:
        return others[0].less_than_1()
    return _computed(operation, [settled(x) for x in operands])


def _computed(operation: str, operands: Sequence[Any]) -> Any:
    return word(operation)(*(np.float32(x) if isinstance(x, float) else _single(x) for x in operands))


def _single(x: Any) -> Any:
    return x if x.dtype == np.bool_ else x.astype(np.float32)


def _log(x: Any) -> Any:
    """The logarithm of a number, from the host where that knows it; of an array, exact near 1."""
    if not traced(x):
        return np.float32(math.log(float(x)) if float(x) > 0 else -math.inf)
    x = settled(x).astype(np.float32)
    return jnp.where(x > 0.5, jnp.log1p(x - 1), jnp.log(x))
