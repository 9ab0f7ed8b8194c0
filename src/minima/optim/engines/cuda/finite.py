"""A kernel that looks for infinities and NaN in tensors, on an NVIDIA GPU: by their exponents, so that it is exact.

What is printed is, but for its language::

    def finite(places, counts, firsts, many, found):
        piece = block of threads, which are a warp
        tensor = the last of many whose first piece is not behind this one
        start = PIECE * (piece - firsts[tensor])
        count = min(PIECE, counts[tensor] - start)
        if any element of places[tensor] from start to start + count has an exponent of ones:
            *found = 1
"""

from functools import reduce
from typing import Any

from minima.optim.engines.cpu.llvm import BIT, integer, ir, item, least, loop, when
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cuda.grid import EVERYONE, FOUND, WARP, emitted, intrinsic, register
from minima.optim.engines.cuda.groups import GROUP, WORD
from minima.optim.engines.cuda.lines import LinePrinter
from minima.optim.engines.cuda.shares import owner

__all__ = ["ARGUMENTS", "EXPONENTS", "PIECE", "finite_name", "finite_ptx"]

ARGUMENTS = ("places", "counts", "firsts", "many", FOUND)
"""What the kernel takes: tables of where each tensor is, how many elements it has, and which piece is its first; how
many tensors there are; and where a float32 is."""
PIECE = 8192
"""The elements of a piece, at most."""
EXPONENTS = {"float16": 0x7C00, "bfloat16": 0x7F80, "float32": 0x7F80_0000, "float64": 0x7FF0_0000_0000_0000}
"""The exponent of what is not finite, in the bits of an element."""
_WIDTHS = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}
_GROUP = 4 * GROUP
"""The bytes that a thread reads at once."""
_ONE = 0x3F80_0000
"""The bits of 1 in float32."""
_FLIGHT = 4
"""How many groups a thread asks for before it looks at the first."""


def finite_name(kind: str) -> str:
    """What a profiler calls the kernel."""
    return f"minima_finite_{kind}"


@once
def finite_ptx(kind: str) -> str:
    """The kernel in PTX, for elements of a kind."""
    return emitted(lambda: _Printer(kind).module)


class _Printer(LinePrinter):
    """Writes the kernel."""

    def __init__(self, kind: str) -> None:
        super().__init__(finite_name(kind), ARGUMENTS)
        self._exponent, self._width = EXPONENTS[kind], _WIDTHS[kind]
        builder, given = self.builder, self.given
        places, counts, firsts = (self.pointer(given[name]) for name in ARGUMENTS[:3])
        slot = builder.alloca(BIT)
        builder.store(integer(0, BIT), slot)
        piece, lane = register(builder, "ctaid.x"), register(builder, "tid.x")
        tensor = owner(builder, firsts, given["many"], piece, width=1)
        start = builder.mul(builder.sub(piece, item(builder, firsts, tensor)), integer(PIECE))
        count = least(builder, builder.sub(item(builder, counts, tensor), start), integer(PIECE))
        begin = builder.add(item(builder, places, tensor), builder.mul(start, integer(self._width)))

        def note(is_wild: Any) -> None:
            builder.store(builder.or_(builder.load(slot), is_wild), slot)

        is_aligned = builder.icmp_signed("==", builder.and_(begin, integer(_GROUP - 1)), integer(0))
        groups = builder.select(is_aligned, builder.udiv(count, integer(_GROUP // self._width)), integer(0))
        group = self.pointer(begin, ir.VectorType(WORD, GROUP))
        many = builder.and_(groups, integer(-_FLIGHT * WARP))
        for name, first, end, each in (("groups", integer(0), many, _FLIGHT), ("group", many, groups, 1)):
            with loop(builder, end, name, builder.add(first, lane), integer(each * WARP)) as place:
                mine = [builder.add(place, integer(i * WARP)) for i in range(each)]
                read = [builder.load(builder.gep(group, [at]), align=_GROUP) for at in mine]
                note(reduce(builder.or_, map(self._has_wild, read)))
        whole = builder.mul(groups, integer(_GROUP // self._width))
        element = self.pointer(begin, ir.IntType(8 * self._width))
        with loop(builder, count, "single", builder.add(whole, lane), integer(WARP)) as place:
            note(self._is_wild(item(builder, element, place), self._exponent))
        is_found = intrinsic(builder, "llvm.nvvm.vote.any.sync", EVERYONE, builder.load(slot))
        is_first = builder.icmp_signed("==", lane, integer(0))
        with when(builder, builder.and_(is_found, is_first), "found"):
            # Others may write the same at the same time, which is defined for such stores alone.
            builder.store_atomic(integer(_ONE, WORD), self.pointer(given[FOUND], WORD), "monotonic", 4)
        builder.ret_void()

    def _has_wild(self, group: Any) -> Any:
        """Whether an element among some words of 32 bits is not finite."""
        found: list[Any] = []
        for place in range(GROUP):
            word = self.builder.extract_element(group, integer(place, WORD))
            found += [self._is_wild(word, exponent) for exponent in self._exponents(place)]
        return reduce(self.builder.or_, found)

    def _exponents(self, place: int) -> list[int]:
        """The exponents that stand in a word of a group: two, one, or, in every second word, the upper part of one."""
        match self._width:
            case 2:
                return [self._exponent, self._exponent << 16]
            case 4:
                return [self._exponent]
            case _:
                return [self._exponent >> 32] * (place % 2)

    def _is_wild(self, word: Any, exponent: int) -> Any:
        mask = integer(exponent, word.type)
        return self.builder.icmp_unsigned("==", self.builder.and_(word, mask), mask)
