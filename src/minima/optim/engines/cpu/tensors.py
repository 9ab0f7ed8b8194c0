"""A tensor, as the functions of a program of several passes see it: what the tables of a launch say of it."""

from collections.abc import Callable
from typing import Any

from minima.optim.engines.cpu.layout import PLACES
from minima.optim.engines.cpu.llvm import FLOATS, INT, integer, ir, item
from minima.optim.language.ranks import ELEMENT, ROW

__all__ = ["Tensor"]

WIDE = FLOATS["float64"]


class Tensor:
    """A tensor, in a function that works on it.

    What the tables say of it is read at the beginning of the function, as far as it is needed: whoever asks for it may
    stand in a loop.
    """

    def __init__(
        self, builder: Any, address: Callable[[Any, str], Any], number: Any, precision: Any, space: int = 0
    ) -> None:
        """Begin the body of a function.

        Args:
            builder: It stands in the entry of the function.
            address: With a builder, the address of a table.
            number: Which tensor it is.
            precision: The precision of the loop.
            space: LLVM's number for the memory that tables are in.
        """
        self.builder = builder
        self.number = number
        """Which one it is."""
        entry = builder.block
        self._early = ir.IRBuilder(entry)
        self._body = entry.parent.append_basic_block("body")
        builder.position_at_end(self._body)
        self._find, self._space = address, space
        self._known: dict[str, Any] = {}
        self._kinds: dict[str, Any] = dict.fromkeys(("wide", "model", "values", "sums"), WIDE)
        self._kinds |= dict.fromkeys(("scalars", "scratch"), precision)

    def slot(self, kind: Any) -> Any:
        """A place for a number."""
        return self._early.alloca(kind)

    def end(self) -> None:
        """Print the end of the function."""
        self._early.branch(self._body)
        self.builder.ret_void()

    def table(self, name: str) -> Any:
        if name not in self._known:
            kind = self._kinds.get(name, INT).as_pointer(self._space)
            self._known[name] = self._early.inttoptr(self._find(self._early, name), kind)
        return self._known[name]

    def place(self, name: str) -> Any:
        """One of ``PLACES``."""
        key = f"place {name}"
        if key not in self._known:
            table = self.table("places")
            line = self._early.mul(self.number, integer(len(PLACES)))
            self._known[key] = item(self._early, table, line, PLACES.index(name))
        return self._known[key]

    @property
    def row(self) -> Any:
        """Which row of scalars is its own."""
        if "row" not in self._known:
            self._known["row"] = item(self._early, self.table("rows"), self.number)
        return self._known["row"]

    def count(self, rank: int) -> Any:
        """How many there are of a value."""
        if rank != ELEMENT:
            return self.place("rows" if rank == ROW else "columns")
        if "count" not in self._known:
            self._known["count"] = self._early.mul(self.place("rows"), self.place("columns"))
        return self._known["count"]
