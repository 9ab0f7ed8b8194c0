"""How numbers are written to half precision, on any device: what ``optim.engines.storage`` defines.

Lists of tensors are rounded together, in pieces of memory: the calls do not grow with the number of tensors, nor what
they need besides the result with the number of elements.
"""

from collections.abc import Iterator, Sequence

import torch

from minima.optim.engines.storage import shift
from minima.torch.lists import copy, on_lists
from minima.torch.memory import dense

__all__ = ["Noise", "converted", "narrowed"]

ON_CPU, ON_DEVICE = 2**18, 2**22
"""Elements in a piece: on the CPU it stays in a cache, and a GPU is busy for as long as a call takes."""


class Noise:
    """The random numbers of a step."""

    def __init__(self, device: torch.device) -> None:
        self.together = ON_CPU if device.type == "cpu" else ON_DEVICE
        """How many elements are rounded together."""
        self._device = device
        self._seed = 0
        self._hash = torch.empty(0, dtype=torch.int32, device=device)

    def of(self, size: int, t: int, number: int) -> torch.Tensor:
        """For each of some elements one below 2**16: a hash of its place, of the step, and of the state's number."""
        seed = _signed(t * 0x85EBCA77 + (number // 2) * 0xC2B2AE3D)
        if seed != self._seed or self._hash.numel() < size:
            self._seed, self._hash = seed, _hash(size, seed, self._device)
        x = self._hash[:size]
        high = x >> 16
        return (high if number % 2 else high.bitwise_xor_(x)).bitwise_and_(0xFFFF)


def converted(tensors: Sequence[torch.Tensor], dtype: torch.dtype) -> list[torch.Tensor]:
    """Tensors in another dtype, rounded to nearest; themselves where they have it."""
    if all(x.dtype == dtype for x in tensors):
        return list(tensors)
    found = [torch.empty_like(x, dtype=dtype) for x in tensors]
    copy(found, tensors)
    return found


def narrowed(
    values: Sequence[torch.Tensor], likes: Sequence[torch.Tensor], ts: Sequence[int], number: int, noise: Noise
) -> list[torch.Tensor]:
    """The values of tensors after a step, rounded stochastically to the dtype of ``likes``, which are the tensors.

    Args:
        values: What was computed.
        likes: The parameters, or one state of each.
        ts: What the random numbers of each depend on, besides the place of each element in memory.
        number: Which state of its rule it is, -1 for the parameter; gives it random numbers of its own.
        noise: The random numbers.
    """
    strides = [dense(like).stride() for like in likes]
    flat = [_in_order(x, like.shape, stride) for x, like, stride in zip(values, likes, strides, strict=True)]
    found = torch.empty(sum(x.numel() for x in flat), dtype=likes[0].dtype, device=likes[0].device)
    done = 0
    for piece in _pieces(flat, ts, noise.together):
        sizes = [x.numel() for x, _ in piece]
        most: dict[int, int] = {}
        for size, (_, t) in zip(sizes, piece, strict=True):
            most[t] = max(size, most.get(t, 0))
        drawn = {t: noise.of(size, t, number) for t, size in most.items()}
        numbers = torch.cat([x for x, _ in piece]).float()  # of state in bfloat16, they may be in float64
        target = found[done : done + numbers.numel()]
        (_to_bfloat16 if target.dtype == torch.bfloat16 else _to_float16)(
            numbers, [drawn[t][:size] for size, (_, t) in zip(sizes, piece, strict=True)], target
        )
        done += numbers.numel()
    parts = found.split([x.numel() for x in flat])
    return [x.as_strided(like.shape, stride) for x, like, stride in zip(parts, likes, strides, strict=True)]


def _in_order(x: torch.Tensor, shape: torch.Size, stride: tuple[int, ...]) -> torch.Tensor:
    """The elements of a tensor in the order of memory of another one, flat."""
    if x.shape != shape or x.stride() != stride:
        x = torch.empty_strided(shape, stride, dtype=x.dtype, device=x.device).copy_(x)
    return x.as_strided((x.numel(),), (1,))


def _pieces(
    tensors: Sequence[torch.Tensor], ts: Sequence[int], most: int
) -> Iterator[Sequence[tuple[torch.Tensor, int]]]:
    """Flat tensors, or slices of them, with what the random numbers of each depend on: as many as go together."""
    piece, held = list[tuple[torch.Tensor, int]](), 0
    for x, t in zip(tensors, ts, strict=True):
        for first in range(0, x.numel(), most):
            part = x[first : first + most]
            if held + part.numel() > most:
                yield piece
                piece, held = [], 0
            piece.append((part, t + shift(first)))
            held += part.numel()
    if piece:
        yield piece


def _to_bfloat16(numbers: torch.Tensor, noise: list[torch.Tensor], target: torch.Tensor) -> None:
    bits = numbers.view(torch.int32)
    bits.masked_fill_(numbers.isnan(), 0x7FC00000)
    parts = list(bits.split([x.numel() for x in noise]))
    on_lists("add", [parts, noise], parts)
    target.view(torch.int16).copy_(bits.bitwise_right_shift_(16))


def _to_float16(numbers: torch.Tensor, noise: list[torch.Tensor], target: torch.Tensor) -> None:
    drawn = torch.cat(noise)
    normal = ((numbers.view(torch.int32) + (drawn >> 3)) & -0x2000).view(torch.float32)  # 13 bits do not fit
    size = numbers.abs()
    # Below its smallest normal number, float16 has a fixed point.
    fixed = (size * 2.0**24 + drawn.float() * 2.0**-16).floor() * 2.0**-24
    normal = torch.where(numbers.isfinite(), normal, numbers)
    target.copy_(torch.where(size < 2.0**-14, fixed.copysign(numbers), normal))


def _hash(size: int, seed: int, device: torch.device) -> torch.Tensor:
    """What the random numbers of two states are the halves of, but for a last step."""
    # The numbers of ``storage``; a product of 32-bit integers keeps its lower half.
    x = torch.arange(size, dtype=torch.int32, device=device).mul_(_signed(0x9E3779B1)).add_(seed)
    x ^= (x >> 16).bitwise_and_(0xFFFF)
    x *= _signed(0x7FEB352D)
    x ^= (x >> 15).bitwise_and_(0x1FFFF)
    x *= _signed(0x846CA68B)
    return x


def _signed(number: int) -> int:
    """The lower 32 bits of a number, as those of a signed one."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000
