"""Groups of neighbouring elements, which a thread of an NVIDIA GPU reads and writes in one access."""

from collections.abc import Sequence
from typing import Any

from minima.optim.engines.cpu.llvm import FLOATS, INT, integer, ir

__all__ = ["GLOBAL", "GROUP", "WORD", "Groups"]

GROUP = 4
"""Neighbouring elements that a thread reads at once: 16 bytes of float32."""
GLOBAL = 1
"""LLVM's number for the memory of a GPU."""
WORD = ir.IntType(32)


class Groups:
    """Reads and writes neighbouring elements of arrays in one access."""

    def __init__(self, builder: Any, arrays: dict[str, tuple[Any, Any]]) -> None:
        """Arrays, each with the type of its entries."""
        self._builder = builder
        self._arrays = arrays

    def are_aligned(self) -> Any:
        """Whether all arrays begin at whole groups."""
        builder, ends = self._builder, integer(0)
        for name, (array, _) in self._arrays.items():
            ends = builder.or_(ends, builder.and_(builder.ptrtoint(array, INT), integer(self._size(name) - 1)))
        return builder.icmp_signed("==", ends, integer(0))

    def load(self, name: str, place: Any) -> Any:
        return self._builder.load(self._pointer(name, place), align=self._size(name))

    def store(self, name: str, place: Any, group: Any) -> None:
        self._builder.store(group, self._pointer(name, place), align=self._size(name))

    def entries(self, group: Any) -> list[Any]:
        return [self._builder.extract_element(group, integer(i, WORD)) for i in range(GROUP)]

    def joined(self, name: str, entries: Sequence[Any]) -> Any:
        group = ir.Constant(self._kind(name), ir.Undefined)
        for i, entry in enumerate(entries):
            group = self._builder.insert_element(group, entry, integer(i, WORD))
        return group

    def _kind(self, name: str) -> Any:
        return ir.VectorType(self._arrays[name][1], GROUP)

    def _pointer(self, name: str, place: Any) -> Any:
        array, _ = self._arrays[name]
        builder = self._builder
        return builder.bitcast(builder.gep(array, [place]), self._kind(name).as_pointer(GLOBAL))

    def _size(self, name: str) -> int:
        """The bytes of a group."""
        kind = self._arrays[name][1]
        widths = {FLOATS["float16"]: 16, FLOATS["float32"]: 32, FLOATS["float64"]: 64}
        return GROUP * (kind.width if isinstance(kind, ir.IntType) else widths[kind]) // 8
