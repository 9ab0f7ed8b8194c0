"""What the device computes with: float64 where it has that, else float32."""

import os
from contextlib import AbstractContextManager, nullcontext
from functools import cache
from typing import Any

import numpy as np

from minima.errors import sentence
from minima.jax.xla import enable_x64, jax, jnp

__all__ = ["has_float64", "widely", "widest"]

_VARIABLE = "MINIMA_JAX_FLOAT64"
_WITH = ("cpu", "gpu", "cuda", "rocm", "tpu")
"""Platforms of which it is known; a TPU computes float64 by XLA's own emulation."""


def has_float64() -> bool:
    """Whether numbers are computed in float64: what the environment says, or else whether the device can.

    The device is the one that JAX computes on by default. ``MINIMA_JAX_FLOAT64=0`` chooses float32, for one that is
    not, and 1 float64.

    Raises:
        ValueError: The environment says something else.
    """
    said = os.environ.get(_VARIABLE, "")
    if said not in ("", "0", "1"):
        hint = "unset it, and the device decides"
        raise ValueError(sentence("minima.jax", f"{_VARIABLE} must be 0 or 1", got=said, hint=hint))
    return said == "1" if said else _computes(_platform())


def _platform() -> str:
    device: Any = jax.config.jax_default_device
    return device if isinstance(device, str) else getattr(device, "platform", None) or jax.default_backend()


@cache
def _computes(platform: str) -> bool:
    """Whether a platform computes in float64, which those that nobody knows are tried for."""
    if platform in _WITH:
        return True
    try:
        with jax.ensure_compile_time_eval(), enable_x64(True):
            return float(jnp.asarray(1.0, jnp.float64) + 2.0**-40) == 1 + 2.0**-40
    except Exception:  # each has its own kind of complaint
        return False


def widest() -> Any:
    """The precision of the numbers of a step."""
    return np.float64 if has_float64() else np.float32


def widely() -> AbstractContextManager[Any]:
    """Within, JAX has that precision."""
    return enable_x64(True) if has_float64() else nullcontext()
