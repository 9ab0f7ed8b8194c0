"""The printer of the sums of squares: the compiled half of `minima.optim.engines.measure`.

What is printed is, but for its language::

    def squares(tables, many, grain):
        addresses, pieces, done, sums = tables
        for piece in turns(done, many, grain):
            array, start, count = pieces[piece]
            sums[piece] = of(addresses[array] + start, count)

    def of(values, count):
        lanes = [0.0] * LANES
        for i in range(count):
            lanes[i % LANES] += float64(values[i]) ** 2
        return the lanes, added by halves
"""

from collections.abc import Callable
from functools import cache
from typing import Any

from minima.optim.engines.cpu.llvm import FLOATS, INT, VOID, Code, compiled, integer, ir, loop, turns

__all__ = ["compile_squares", "squares_source"]

WIDE = FLOATS["float64"]


@cache
def compile_squares(dtype: str, lanes: int) -> Code:
    """The machine code for arrays of ``dtype``; ``lanes`` is a power of 2.

    It takes the address of the table of tables, the number of pieces, and how many of them a thread takes at a time.
    """
    return compiled(squares_source(dtype, lanes), "squares", None, 3)


def squares_source(dtype: str, lanes: int) -> str:
    """What is compiled, in LLVM's language."""
    table, number = INT.as_pointer(), FLOATS[dtype]
    module = ir.Module("squares")
    function = ir.Function(module, ir.FunctionType(VOID, [table, INT, INT]), "squares")
    tables, many, grain = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))

    def item(array: Any, index: Any, offset: int = 0) -> Any:
        return builder.load(builder.gep(array, [builder.add(index, integer(offset))]))

    kinds = [table, table, table, WIDE.as_pointer()]
    addresses, pieces, done, sums = (
        builder.inttoptr(item(tables, integer(place)), kind) for place, kind in enumerate(kinds)
    )
    of = _print_piece(module, number, lanes)
    with turns(builder, done, many, grain) as piece:
        array, start, count = (item(pieces, builder.mul(piece, integer(3)), place) for place in range(3))
        values = builder.inttoptr(item(addresses, array), number.as_pointer())
        builder.store(builder.call(of, [builder.gep(values, [start]), count]), builder.gep(sums, [piece]))
    builder.ret_void()
    return str(module)


def _print_piece(module: Any, number: Any, lanes: int) -> Any:
    row, sums = ir.VectorType(number, lanes), ir.VectorType(WIDE, lanes)
    function = ir.Function(module, ir.FunctionType(WIDE, [number.as_pointer(), INT]), "of")
    function.linkage = "internal"
    values, count = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    size = {"half": 2, "float": 4, "double": 8}[str(number)]
    kept, apart = builder.alloca(sums), builder.alloca(sums)
    builder.store(ir.Constant(sums, [0.0] * lanes), kept)

    def squared(value: Any, kind: Callable[[Any], Any]) -> Any:
        # From half precision by way of single, as machines do it: both steps are exact.
        steps = [FLOATS["float32"], WIDE] if number == FLOATS["float16"] else [WIDE]
        for wider in steps if number != WIDE else []:
            value = builder.fpext(value, kind(wider))
        return builder.fmul(value, value)

    rows = builder.udiv(count, integer(lanes))
    with loop(builder, rows, "row") as i:
        place = builder.gep(values, [builder.mul(i, integer(lanes))])
        whole = builder.load(builder.bitcast(place, row.as_pointer()), align=size)
        builder.store(builder.fadd(builder.load(kept), squared(whole, lambda kind: ir.VectorType(kind, lanes))), kept)
    builder.store(builder.load(kept), apart)  # lanes need addresses now; what was kept so far stays in registers
    lane = builder.bitcast(apart, WIDE.as_pointer())
    done = builder.mul(rows, integer(lanes))
    with loop(builder, builder.sub(count, done), "rest") as i:
        place = builder.gep(lane, [i])
        value = squared(builder.load(builder.gep(values, [builder.add(done, i)])), lambda kind: kind)
        builder.store(builder.fadd(builder.load(place), value), place)
    result = builder.load(apart)
    while lanes > 1:
        lanes //= 2
        halves = (
            ir.Constant(ir.VectorType(ir.IntType(32), lanes), list(range(first, first + lanes))) for first in (0, lanes)
        )
        low, high = (builder.shuffle_vector(result, result, half) for half in halves)
        result = builder.fadd(low, high)
    builder.ret(builder.extract_element(result, integer(0)))
    return function
