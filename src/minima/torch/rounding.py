"""How numbers are written to half precision, on any device: what ``optim.engines.storage`` defines."""

import torch

from minima.torch.memory import dense

__all__ = ["narrowed"]


def narrowed(values: torch.Tensor, like: torch.Tensor, rounding: str, t: int, number: int = -1) -> torch.Tensor:
    """The values of a tensor after step ``t``, in the dtype of ``like``, which is the tensor.

    Args:
        values: What was computed.
        like: The parameter, or its state.
        rounding: ``nearest`` or ``stochastic``.
        t: What the random numbers depend on, besides the place of each element in memory.
        number: Which state of its rule it is, -1 for the parameter; gives it random numbers of its own.
    """
    if rounding != "stochastic" or values.dtype == like.dtype:
        return values.to(like.dtype)
    values = values.float()  # of state in bfloat16, they may be in float64
    noise = _noise(like.numel(), t, number, like.device).as_strided(like.shape, dense(like).stride())
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


def _noise(size: int, t: int, number: int, device: torch.device) -> torch.Tensor:
    """Random numbers below 2**16: a hash of each element's place in memory, of the step, and of the state's number."""
    # The numbers of ``storage``; a product of 32-bit integers keeps its lower half.
    x = torch.arange(size, dtype=torch.int32, device=device) * _signed(0x9E3779B1)
    x = x + _signed(t * 0x85EBCA77 + (number // 2) * 0xC2B2AE3D)
    x = (x ^ ((x >> 16) & 0xFFFF)) * _signed(0x7FEB352D)
    x = (x ^ ((x >> 15) & 0x1FFFF)) * _signed(0x846CA68B)
    x = x ^ ((x >> 16) & 0xFFFF)
    return (x >> 16) & 0xFFFF if number % 2 else x & 0xFFFF


def _signed(number: int) -> int:
    """The lower 32 bits of a number, as those of a signed one."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000
