"""Which tensor a block of threads works on, or a warp: shares of work are numbered, tensor after tensor.

The table of a launch has a row for each tensor, the number of its first share and another number, and a last one with
how many shares there are. A kernel looks up the row of a share by halves: a table with a row for each share would take
memory, and a wait for it.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.llvm import INT, integer, ir, item
from minima.optim.engines.cuda.groups import GLOBAL, WORD

__all__ = ["dealt", "opaque", "owner"]


def dealt(counts: NDArray[np.int64], others: NDArray[np.int64]) -> NDArray[np.int64]:
    """The table for tensors of so many shares, each with another number."""
    table = np.zeros((len(counts) + 1, 2), np.int64)
    np.cumsum(counts, out=table[1:, 0])
    table[:-1, 1] = others
    return table


def owner(builder: Any, table: Any, many: Any, share: Any, width: int = 2) -> Any:
    """The row of a share, of so many rows: the last one that begins at it or in front of it.

    Every warp looks, so this is done with words of 32 bits, which is half the work. Rows are so many numbers wide.
    """
    before, share = builder.block, builder.trunc(share, WORD)
    firsts = builder.bitcast(table, WORD.as_pointer(GLOBAL))
    test, again, done = (builder.append_basic_block(name) for name in ("test", "again", "done"))
    high_word = builder.trunc(many, WORD)
    builder.branch(test)
    builder.position_at_end(test)
    low, high = builder.phi(WORD), builder.phi(WORD)
    low.add_incoming(integer(0, WORD), before)
    high.add_incoming(high_word, before)
    apart = builder.sub(high, low)
    builder.cbranch(builder.icmp_unsigned(">", apart, integer(1, WORD)), again, done)
    builder.position_at_end(again)
    middle = builder.add(low, builder.lshr(apart, integer(1, WORD)))
    place = builder.mul(builder.zext(middle, INT), integer(2 * width))  # of numbers of two words each
    first = item(builder, firsts, place)
    is_behind = builder.icmp_unsigned("<", share, first)
    low.add_incoming(builder.select(is_behind, low, middle), again)
    high.add_incoming(builder.select(is_behind, middle, high), again)
    builder.branch(test)
    builder.position_at_end(done)
    return builder.zext(low, INT)


def opaque(builder: Any, number: Any) -> Any:
    """The same number, of which LLVM does not know how it is made up.

    Else it would take the parts of an address into the loops behind it, which cost a third of the registers.
    """
    copy = ir.InlineAsm(ir.FunctionType(INT, [INT]), "mov.b64 $0, $1;", "=l,l")
    return builder.call(copy, [number])
