"""A kernel that writes the words it is launched with into a table on the GPU.

Words that go over this way are a part of the launch. A CUDA graph that records it needs no memory of the host, of which
it would read at each replay whatever stands there by then.
"""

from typing import Any

from minima.optim.engines.cpu.llvm import integer
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cuda.grid import emitted
from minima.optim.engines.cuda.lines import LinePrinter

__all__ = ["NOTE", "WORDS", "note_ptx"]

WORDS = 500
"""The words of 64 bits of a launch, one for the address that they go to apart; 4 KB is what a kernel can take."""
NOTE = "minima_note"
"""What a profiler calls the kernel, which takes one block of one thread."""


@once
def note_ptx() -> str:
    """The kernel in PTX: it takes an address and ``WORDS`` words."""

    def printed() -> Any:
        printer = LinePrinter(NOTE, map(str, range(1 + WORDS)))
        table, *words = printer.given.values()
        for place, word in enumerate(words):
            printer.builder.store(word, printer.builder.gep(printer.pointer(table), [integer(place)]))
        printer.builder.ret_void()
        return printer.module

    return emitted(printed)
