"""How the state of a parameter, or the parameter itself, is kept in memory: as it is computed, or in fewer bits.

Arithmetic never happens in these forms: an engine widens the state, updates it, and narrows it again.

*Narrowing is stochastic.* A running average moves by a thousandth of itself in a step, but bfloat16 and 8 bits resolve
about a hundredth: rounded to the nearest value, such an average would stand still for ever. So the value is rounded up
with the probability that keeps the expectation. The random numbers are a hash of the element's index and of the step,
hence the same on every engine, for any number of threads, and after a resumption.

The same holds for parameters in half precision, which a step of a thousandth would never move. Of these, the kinds
``bfloat16`` and ``float16_stochastic`` are narrowed so; ``bfloat16_nearest`` and ``float16`` to the nearest value.

*8 bits* are codes in blocks of 256 elements, with one scale for each block, the largest magnitude in it. The codes are
spaced by a power law, because entries of one block differ by orders of magnitude: ``sign * (|code| / 127)**2`` for
signed state, which reaches down to 6e-5 of the scale, and ``(code / 255)**4`` for state that is never negative, down to
2e-10: its square root stands in the denominator of a step, so that an entry must neither vanish (one that is not zero
never gets the code of zero) nor lose its order of magnitude. Linear codes fail there (Li, Chen and Zhu, *Memory
Efficient Optimizers with 4-bit States*, NeurIPS 2023, on the zero point); the dynamic code of Dettmers et al., *8-bit
Optimizers via Block-wise Quantization*, ICLR 2022, has a similar range, but needs a search in a table for every entry.

*What one large entry does to its neighbours* is bounded: next to a largest magnitude ``s``, an entry ``x`` of signed
state is kept to ``2 * sqrt(x * s) / 127 + s / 127**2``, and state that is never negative is kept as ``s / 255**4`` at
least. For Adam at its default betas this means: next to a gradient that is a thousand times as large or more, steps of
about ``lr`` may become up to 21 times as large, while the first moment remembers it, some ten steps for each order of
magnitude; next to one that is more than ``255**2`` = 65,025 times as large they become smaller, until the second moment
has forgotten it. No step becomes infinite or NaN. A magnitude above ``LARGEST`` (2**126 in float32) is kept as that.

*Entries that are not finite* do not count for the scale, and so leave their neighbours as they are. In a block that has
such, the sign of the scale is negative, and the largest code, which finite entries then share with nobody, stands for
an infinity of the entry's sign; NaN is kept as a positive one.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "BLOCK",
    "BLOCKS",
    "LARGEST",
    "SIGNED",
    "UNSIGNED",
    "Array",
    "Stored",
    "allocate",
    "base",
    "is_stochastic",
    "largest_code",
    "power_unit",
    "rounding",
    "shift",
]

BLOCK = 256
"""Elements that share a scale."""
SIGNED = 127
"""The largest code of signed state; values go with the square of the code."""
UNSIGNED = 255
"""The largest code of state that is never negative; values go with the fourth power of the code."""

LARGEST = {"float32": 2.0**126, "float64": 2.0**1022}
"""The largest scale: twice that, the sum of two of its kind, and its inverse are numbers with all their bits."""

Array = NDArray[Any]

_BFLOAT16 = ("bfloat16", "bfloat16_nearest")
BLOCKS = ("int8", "uint8")
"""The kinds that are kept in blocks of codes, with a scale each: with a sign, and never negative."""


def base(kind: str) -> str:
    """What is in memory, whatever way it is rounded to: ``bfloat16`` of ``bfloat16_nearest``."""
    return kind.partition("_")[0]


def is_stochastic(kind: str) -> bool:
    """Whether narrowing to this kind takes random numbers."""
    return kind in ("bfloat16", "float16_stochastic", *BLOCKS)


@dataclass(frozen=True, eq=False)
class Stored:
    """One state of one parameter, or the parameter, as it is kept."""

    kind: str
    """A NumPy dtype's name for what is kept as it is; ``bfloat16``, ``bfloat16_nearest``, ``float16_stochastic``;
    ``int8`` or ``uint8`` for blocks."""
    number: int
    """Which state of its rule it is, -1 for a parameter; gives it random numbers of its own."""
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    """The precision in which it is computed."""
    arrays: tuple[Array, ...]
    """The values in the parameter's shape; or, flat, the bits of bfloat16, or the codes and the scales."""

    @property
    def nbytes(self) -> int:
        """Bytes in memory."""
        return sum(array.nbytes for array in self.arrays)

    @property
    def is_intact(self) -> bool:
        """Whether its arrays have the shapes that they were made with, and can be written to."""
        size = math.prod(self.shape)
        codes = (size,) if self.kind in BLOCKS or base(self.kind) == "bfloat16" else self.shape
        shapes = [codes, (-(-size // BLOCK),)]
        return all(x.shape == s and x.flags.writeable for x, s in zip(self.arrays, shapes, strict=False))

    def read(self) -> Array:
        """The values in ``dtype``: the array itself where it is kept as computed, else a new one."""
        first = self.arrays[0]
        if self.kind in _BFLOAT16:
            wide = (first.astype(np.uint32) << np.uint32(16)).view(np.float32).astype(self.dtype)
        elif self.kind in BLOCKS:
            code, scale = first.astype(self.dtype), np.repeat(self.arrays[1], BLOCK)[: first.size]
            power = code * np.abs(code) if self.kind == "int8" else (code * code) * (code * code)
            wide = power * (np.abs(scale) * self.dtype.type(power_unit(self.kind)))
            wild = np.signbit(scale) & (np.abs(code) >= largest_code(self.kind))
            wide = np.where(wild, np.copysign(self.dtype.type(np.inf), code), wide)
        else:
            return first.astype(self.dtype, copy=False)
        return wide.reshape(self.shape)

    def write(self, values: Any, t: int) -> None:
        """Keep these values, computed in step ``t``."""
        self.put(self.coded(values, t))

    def put(self, codes: tuple[Any, ...]) -> None:
        """Keep values that are `coded`, which takes no memory."""
        for array, new in zip(self.arrays, codes, strict=True):
            np.copyto(array, new, casting="same_kind")

    def coded(self, values: Any, t: int) -> tuple[Any, ...]:
        """Values that were computed in step ``t`` as they are kept, for each array."""
        if self.kind not in (*_BFLOAT16, *BLOCKS, "float16_stochastic"):
            return (values,)
        flat = np.ravel(np.broadcast_to(np.asarray(values, self.dtype), self.shape))
        if self.kind == "bfloat16_nearest":
            lowest = flat.astype(np.float32).view(np.uint32) >> np.uint32(16) & np.uint32(1)
            return (self._in_bfloat16(flat, np.uint32(0x7FFF) + lowest),)  # of two that are as near, the even one
        noise = _noise(flat.size, t, self.number)
        if self.kind == "bfloat16":
            return (self._in_bfloat16(flat, noise),)
        if self.kind == "float16_stochastic":
            return (_to_float16(flat, noise).reshape(self.shape),)
        return self._in_blocks(flat, noise)

    def _in_bfloat16(self, flat: Array, noise: NDArray[np.uint32]) -> Array:
        single = flat.astype(np.float32)
        bits = (single.view(np.uint32) + noise) >> np.uint32(16)
        return np.where(np.isnan(single), np.uint32(0x7FC0), bits).astype(np.uint16)

    def _in_blocks(self, flat: Array, noise: Array) -> tuple[Array, Array]:
        codes, scales = self.arrays
        size = np.abs(flat)
        wild = ~np.isfinite(flat)
        padded = np.zeros(scales.size * BLOCK, self.dtype)
        padded[: flat.size] = np.where(wild, 0, size)
        peaks = np.minimum(padded.reshape(-1, BLOCK).max(axis=1), self.dtype.type(LARGEST[self.dtype.name]))
        whole = peaks >= np.finfo(self.dtype).tiny  # else: all zero, or as good as zero
        inverse = np.where(whole, 1 / np.where(whole, peaks, 1), 0).astype(self.dtype)
        share = np.where(wild, 0, size) * np.repeat(inverse, BLOCK)[: flat.size]
        root = np.sqrt(share) if self.kind == "int8" else np.sqrt(np.sqrt(share))
        top = largest_code(self.kind)
        fixed = (root * self.dtype.type(top * 2.0**16)).astype(np.int32)  # 16 bits behind the point
        holds_wild = np.logical_or.reduceat(wild, range(0, wild.size, BLOCK)) if wild.size else np.zeros(0, bool)
        most = np.repeat(top - holds_wild.astype(np.int32), BLOCK)[: flat.size]
        code = np.minimum((fixed + noise.astype(np.int32)) >> 16, most)
        code = np.where(wild, top, code if self.kind == "int8" else np.maximum(code, share > 0))
        code = np.where(flat < 0, -code, code) if self.kind == "int8" else code
        return code.astype(codes.dtype), np.copysign(peaks, np.where(holds_wild, -1, 1))


def allocate(
    state_dtype: str | None, number: int, shape: tuple[int, ...], dtype: np.dtype[Any], first: float, *, signed: bool
) -> Stored:
    """State ``number`` of a parameter of this shape, computed in ``dtype``, whose entries are ``first`` at first."""
    size = math.prod(shape)
    if state_dtype is None:
        # np.zeros costs nothing until it is written to, np.full does
        array: Array = np.full(shape, first, dtype) if first else np.zeros(shape, dtype)
        return Stored(dtype.name, number, shape, dtype, (array,))
    if state_dtype == "bfloat16":
        stored = Stored("bfloat16", number, shape, dtype, (np.zeros(size, np.uint16),))
    else:
        codes: Array = np.zeros(size, np.int8 if signed else np.uint8)
        stored = Stored(codes.dtype.name, number, shape, dtype, (codes, np.zeros(-(-size // BLOCK), dtype)))
    if first:
        stored.write(first, 0)
    return stored


@cache
def rounding(kind: str, dtype: np.dtype[Any]) -> Callable[[Array], Array]:
    """What rounds values of ``dtype`` to the nearest that a parameter of this kind can hold, and reads them again."""

    def nearest(values: Array) -> Array:
        array: Array = (
            np.zeros(values.size, np.uint16) if base(kind) == "bfloat16" else np.zeros(values.shape, base(kind))
        )
        stored = Stored("bfloat16_nearest" if kind in _BFLOAT16 else base(kind), -1, values.shape, dtype, (array,))
        stored.write(values, 0)
        return stored.read()

    return nearest


def _to_float16(single: Array, noise: NDArray[np.uint32]) -> Array:
    """float16 of float32: what does not fit is rounded up with the probability that it stands for."""
    bits = (single.view(np.uint32) + (noise >> np.uint32(3))) & np.uint32(0xFFFFE000)  # 13 bits do not fit
    # Below its smallest normal number, float16 has a fixed point.
    fixed = np.floor(np.abs(single) * np.float32(2.0**24) + noise * np.float32(2.0**-16)) * np.float32(2.0**-24)
    small = np.abs(single) < np.float32(2.0**-14)
    kept = np.where(small, np.copysign(fixed, single), np.where(np.isfinite(single), bits.view(np.float32), single))
    with np.errstate(over="ignore"):
        return kept.astype(np.float16)


def largest_code(kind: str) -> int:
    """The largest code."""
    return SIGNED if kind == "int8" else UNSIGNED


def power_unit(kind: str) -> float:
    """What a power of the codes is multiplied with, besides the scale."""
    return SIGNED**-2 if kind == "int8" else UNSIGNED**-4


def shift(first: int) -> int:
    """What is added to ``t`` for an array that begins at this index of a larger one: it rounds as that one does."""
    return first * 0x9E3779B1 * pow(0x85EBCA77, -1, 2**32) % 2**32


def _noise(size: int, t: int, number: int) -> NDArray[np.uint32]:
    """Random numbers below 2**16: a hash of each element's index, of the step, and of the state's number."""
    seed = (t * 0x85EBCA77 + (number // 2) * 0xC2B2AE3D) & 0xFFFFFFFF
    x = np.arange(size, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(seed)
    # Two rounds of multiply and shift, with the constants of "lowbias32" (Wellons, 2018), chosen for their low bias.
    x = (x ^ (x >> np.uint32(16))) * np.uint32(0x7FEB352D)
    x = (x ^ (x >> np.uint32(15))) * np.uint32(0x846CA68B)
    x = x ^ (x >> np.uint32(16))
    return x >> np.uint32(16) if number % 2 else x & np.uint32(0xFFFF)
