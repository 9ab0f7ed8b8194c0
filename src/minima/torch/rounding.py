"""How numbers in float32 are written to half precision, on any device: what ``optim.engines.storage`` defines."""

import torch

from minima.torch.memory import dense

__all__ = ["narrowed"]


def narrowed(values: torch.Tensor, like: torch.Tensor, rounding: str, t: int) -> torch.Tensor:
    """The values of a parameter after step ``t``, in the dtype of ``like``, which is the parameter."""
    if rounding != "stochastic" or values.dtype == like.dtype:
        return values.to(like.dtype)
    noise = _noise(like.numel(), t, like.device).as_strided(like.shape, dense(like).stride())
    bits = values.view(torch.int32)
    if like.dtype == torch.bfloat16:
        kept = ((bits + noise) & -0x10000).view(torch.float32)
        return torch.where(values.isnan(), values, kept).to(like.dtype)
    normal = ((bits + (noise >> 3)) & -0x2000).view(torch.float32)  # 13 bits do not fit
    size = values.abs()
    # Below its smallest normal number, float16 has a fixed point.
    fixed = (size * 2.0**24 + noise.float() * 2.0**-16).floor() * 2.0**-24
    kept = torch.where(size < 2.0**-14, fixed.copysign(values), torch.where(values.isfinite(), normal, values))
    return kept.to(like.dtype)


def _noise(size: int, t: int, device: torch.device) -> torch.Tensor:
    """Random numbers below 2**16: a hash of each element's place in memory, and of the step."""
    # The numbers of ``storage`` for number -1, a parameter; a product of 32-bit integers keeps its lower half.
    x = torch.arange(size, dtype=torch.int32, device=device) * _signed(0x9E3779B1)
    x = x + _signed(t * 0x85EBCA77 - 0xC2B2AE3D)
    x = (x ^ ((x >> 16) & 0xFFFF)) * _signed(0x7FEB352D)
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    x = x ^ ((x >> 16) & 0xFFFF)
    return (x >> 16) & 0xFFFF


def _signed(number: int) -> int:
    """The lower 32 bits of a number, as those of a signed one."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000
