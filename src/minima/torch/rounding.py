"""How numbers are written to half precision, on any device: what ``optim.engines.storage`` defines.

Lists of tensors are rounded together, in pieces of memory: the calls do not grow with the number of tensors, nor what
they need besides the result with the number of elements.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch

from minima.optim.engines.storage import shift
from minima.torch.lists import copy, on_lists
from minima.torch.memory import dense

__all__ = ["Noise", "narrowed"]

_torch: Any = torch

ON_CPU, ON_DEVICE = 2**18, 2**22
"""Elements in a piece: on the CPU it stays in a cache, and a GPU is busy for as long as a call takes."""


class Noise:
    """The random numbers of a step, and memory to round in that is taken once."""

    def __init__(self, device: torch.device) -> None:
        self.together = ON_CPU if device.type == "cpu" else ON_DEVICE
        """How many elements are rounded together."""
        self._none = torch.empty(0, dtype=torch.int32, device=device)
        self._rooms: dict[str, torch.Tensor] = {}
        self._seed = 0
        self._hash = self._none

    def room(self, name: str, size: int) -> torch.Tensor:
        """Memory for some 32-bit integers."""
        if self._rooms.get(name, self._none).numel() < size:
            self._rooms[name] = self._none.new_empty(size)
        return self._rooms[name][:size]

    def of(self, size: int, t: int, number: int) -> torch.Tensor:
        """For each of some elements one below 2**16: a hash of its place, of the step, and of the state's number.

        They are there until the next ones are asked for.
        """
        seed = _signed(t * 0x85EBCA77 + (number // 2) * 0xC2B2AE3D)
        if seed != self._seed or self._hash.numel() < size:
            self._seed, self._hash = seed, self._hashed(size, seed)
        x = self._hash[:size]
        high = _torch.bitwise_right_shift(x, 16, out=self.room("half", size))
        return (high if number % 2 else high.bitwise_xor_(x)).bitwise_and_(0xFFFF)

    def _hashed(self, size: int, seed: int) -> torch.Tensor:
        """What the random numbers of two states are made of."""
        # The numbers of ``storage``; a product of 32-bit integers keeps its lower half.
        if self._rooms.get("places", self._none).numel() < size:
            _torch.arange(size, out=self.room("places", size), device=self._none.device).mul_(_signed(0x9E3779B1))
        x = _torch.add(self.room("places", size), seed, out=self.room("hash", size))
        high = self.room("half", size)
        x ^= _torch.bitwise_right_shift(x, 16, out=high).bitwise_and_(0xFFFF)
        x *= _signed(0x7FEB352D)
        x ^= _torch.bitwise_right_shift(x, 15, out=high).bitwise_and_(0x1FFFF)
        x *= _signed(0x846CA68B)
        return x


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
    room = torch.empty(sum(x.numel() for x in flat), dtype=likes[0].dtype, device=likes[0].device)
    found = _split(room, flat)
    is_bfloat16 = room.dtype == torch.bfloat16
    targets = _split(room.view(torch.int16), flat) if is_bfloat16 else found
    for piece in _pieces(flat, targets, ts, noise.together):
        numbers = noise.room("numbers", sum(part.values.numel() for part in piece)).view(torch.float32)
        given = [part.values for part in piece]
        copy(_split(numbers, given), given)
        bits = (_to_bfloat16 if is_bfloat16 else _to_float16)(numbers, piece, number, noise)
        copy([part.target for part in piece], _split(bits, given))
    return [x.as_strided(like.shape, stride) for x, like, stride in zip(found, likes, strides, strict=True)]


class _Part(NamedTuple):
    """Some elements of a tensor."""

    values: torch.Tensor
    target: torch.Tensor
    t: int
    """What their random numbers depend on."""


def _in_order(x: torch.Tensor, shape: torch.Size, stride: tuple[int, ...]) -> torch.Tensor:
    """The elements of a tensor in the order of memory of another one, flat."""
    if x.shape != shape or x.stride() != stride:
        x = torch.empty_strided(shape, stride, dtype=x.dtype, device=x.device).copy_(x)
    return x.as_strided((x.numel(),), (1,))


def _pieces(
    tensors: Sequence[torch.Tensor], targets: Sequence[torch.Tensor], ts: Sequence[int], most: int
) -> Iterator[list[_Part]]:
    """As many elements as go together; those whose random numbers are the same follow one another."""
    piece, held = list[_Part](), 0
    for first in range(0, max((x.numel() for x in tensors), default=0), most):
        for x, target, t in zip(tensors, targets, ts, strict=True):
            size = min(x.numel() - first, most)
            if size <= 0:
                continue
            if held + size > most:
                yield piece
                piece, held = [], 0
            if size < x.numel():
                x, target = x[first : first + size], target[first : first + size]
            piece.append(_Part(x, target, t + shift(first)))
            held += size
    if piece:
        yield piece


def _to_bfloat16(numbers: torch.Tensor, piece: Sequence[_Part], number: int, noise: Noise) -> torch.Tensor:
    """The bits of numbers in bfloat16, as integers."""
    bits = numbers.mul_(1.0).view(torch.int32)  # a signalling NaN becomes a quiet one, whose upper bits say so
    size = _torch.bitwise_and(bits, 0x7FFFFFFF, out=noise.room("size", bits.numel()))
    size.clamp_max_(0x7FFF0000)  # to NaN nothing may be carried over; to compare and to choose takes longer
    _add_noise(size, piece, number, noise)
    bits.bitwise_and_(-0x80000000).bitwise_or_(size)
    return bits.bitwise_right_shift_(16)


def _to_float16(numbers: torch.Tensor, piece: Sequence[_Part], number: int, noise: Noise) -> torch.Tensor:
    """Numbers in float16."""
    drawn = noise.room("size", numbers.numel()).zero_()
    _add_noise(drawn, piece, number, noise)
    normal = ((numbers.view(torch.int32) + (drawn >> 3)) & -0x2000).view(torch.float32)  # 13 bits do not fit
    size = numbers.abs()
    # Below its smallest normal number, float16 has a fixed point.
    fixed = (size * 2.0**24 + drawn.float() * 2.0**-16).floor() * 2.0**-24
    normal = torch.where(numbers.isfinite(), normal, numbers)
    return torch.where(size < 2.0**-14, fixed.copysign(numbers), normal).to(torch.float16)


def _add_noise(flat: torch.Tensor, piece: Sequence[_Part], number: int, noise: Noise) -> None:
    """Add random numbers to those of some tensors: together to all that depend on the same."""
    parts = _split(flat, [part.values for part in piece])
    for t in dict.fromkeys(part.t for part in piece):
        mine = [x for x, part in zip(parts, piece, strict=True) if part.t == t]
        drawn = noise.of(max(x.numel() for x in mine), t, number)
        on_lists("add", [mine, [drawn[: x.numel()] for x in mine]], mine)


def _split(flat: torch.Tensor, like: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A flat tensor as one for each of these."""
    return list(_torch.split(flat, [x.numel() for x in like]))


def _signed(number: int) -> int:
    """The lower 32 bits of a number, as those of a signed one."""
    return ((number + 0x80000000) & 0xFFFFFFFF) - 0x80000000
