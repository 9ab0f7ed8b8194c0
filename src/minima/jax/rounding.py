"""How numbers are written to fewer bits: what `minima.optim.engines.storage` defines, as pure functions of JAX."""

from typing import Any

import numpy as np

from minima.jax.xla import jax, jnp

__all__ = ["narrowed"]

_U = np.uint32


def narrowed(values: Any, dtype: Any, rounding: str, t: Any, number: int) -> Any:
    """Values in another dtype.

    Args:
        values: Real ones, as they were computed.
        dtype: What they are kept in.
        rounding: ``"stochastic"``, or else to the nearest.
        t: What random numbers depend on: the step, and the seed.
        number: Which state it is, -1 for a parameter: random numbers depend on it too.
    """
    if values.dtype == dtype:
        return values
    if rounding != "stochastic" or dtype not in (jnp.bfloat16, jnp.float16):
        return values.astype(dtype)
    values = values.astype(jnp.float32)
    noise = _noise(values.shape, t, number)
    bits = jax.lax.bitcast_convert_type(values, jnp.uint32)
    if dtype == jnp.bfloat16:
        kept = jax.lax.bitcast_convert_type((bits + noise) & _U(0xFFFF0000), jnp.float32)
        return jnp.where(jnp.isnan(values), values, kept).astype(dtype)
    normal = jax.lax.bitcast_convert_type((bits + (noise >> _U(3))) & _U(0xFFFFE000), jnp.float32)
    size = jnp.abs(values)
    # Below its smallest normal number, float16 has a fixed point.
    fixed = jnp.floor(size * _f32(2.0**24) + noise.astype(jnp.float32) * _f32(2.0**-16)) * _f32(2.0**-24)
    whole = jnp.where(jnp.isfinite(values), normal, values)
    return jnp.where(size < _f32(2.0**-14), jnp.copysign(fixed, values), whole).astype(dtype)


def _f32(number: float) -> Any:
    return np.float32(number)


def _noise(shape: tuple[int, ...], t: Any, number: int) -> Any:
    """A hash of each element's place and of the step: the same in every face, and for any number of devices."""
    place, stride = jnp.zeros(shape, jnp.uint32), 1
    for axis in reversed(range(len(shape))):  # no reshape of a flat count: it is sharded as the parameter is
        place = place + jax.lax.broadcasted_iota(jnp.uint32, shape, axis) * _U(stride & 0xFFFFFFFF)
        stride *= shape[axis]
    seed = jnp.asarray(t).astype(jnp.uint32) * _U(0x85EBCA77) + _U((number // 2) * 0xC2B2AE3D & 0xFFFFFFFF)
    x = place * _U(0x9E3779B1) + seed
    x = (x ^ (x >> _U(16))) * _U(0x7FEB352D)
    x = (x ^ (x >> _U(15))) * _U(0x846CA68B)
    x = x ^ (x >> _U(16))
    return x >> _U(16) if number % 2 else x & _U(0xFFFF)
