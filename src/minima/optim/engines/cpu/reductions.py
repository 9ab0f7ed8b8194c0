"""The sums of `minima.optim.engines.reductions` in compiled code, with the same bits.

What is printed is, but for its language::

    def squares(job, me):
        addresses, sums = job.tables
        for chunk, array, start, count in each_chunk(job, me):
            sums[chunk] = of(addresses[array] + start, count)

    def of(values, count):
        lanes = [0.0] * LANES
        for i in range(count):
            lanes[i % LANES] += float64(values[i]) ** 2
        return the lanes, added by halves

    def totals(sums, firsts, arrays, results):  # of the chunks of each array, in the same order; overwrites the sums
        for array in range(arrays):
            results[array] = fold(sums[firsts[array]:firsts[array + 1]])

    def fold(mine):
        while len(mine) > 1:
            mine = [of(chunk) for each chunk of mine]
        return mine[0], or 0 if there is none
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import FLOATS, INT, VOID, Code, compiled, integer, ir, item, loop
from minima.optim.engines.cpu.once import once
from minima.optim.engines.cpu.pieces import Pieces, each_chunk
from minima.optim.engines.reductions import CHUNK, LANES

__all__ = ["SquareSums", "add_chunks", "combined", "first_of", "halved", "print_fold", "squares_source"]

WIDE = FLOATS["float64"]
_KINDS: dict[str, Any] = {**FLOATS, "bfloat16": ir.IntType(16)}
_BYTES = {"float16": 2, "bfloat16": 2, "float32": 4, "float64": 8}


class SquareSums:
    """Sums of squares of arrays of one kind, prepared for their sizes, to be taken again and again."""

    def __init__(
        self,
        sizes: Sequence[int],
        kind: str,
        threads: int | None = None,
        *,
        addresses: NDArray[np.int64] | None = None,
    ) -> None:
        """Prepare for entries that are ``float16``, ``bfloat16``, ``float32`` or ``float64``.

        ``addresses`` is a table of where the arrays are, for whoever has one already.
        """
        self._pieces = Pieces(sizes, threads)
        self._addresses = np.zeros(len(sizes), np.int64) if addresses is None else addresses
        self._sums = np.zeros(self._pieces.many)
        self._tables = np.array([table.ctypes.data for table in (self._addresses, self._sums)], np.int64)
        self._pieces.give(_compile_squares(kind).address, self._tables.ctypes.data)
        self._results = np.zeros(len(sizes))
        firsts = self._pieces.firsts.ctypes.data
        self._totals = self._sums.ctypes.data, firsts, len(sizes), self._results.ctypes.data
        self._add = _compile_totals().call

    def __call__(self, addresses: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float64]:
        """The sum of the squares of each array, given where its entries are: contiguous, and aligned."""
        self._addresses[:] = addresses
        return self.sums().copy()

    def sums(self) -> NDArray[np.float64]:
        """The same for the addresses that are in the table; valid until the next call."""
        self._pieces.run()
        self._add(*self._totals)
        return self._results


def add_chunks(sums: NDArray[np.float64], firsts: NDArray[np.int64]) -> NDArray[np.float64]:
    """For every array the sum of its chunks' sums, which are overwritten."""
    results = np.zeros(len(firsts) - 1)
    arguments = (sums.ctypes.data, firsts.ctypes.data, len(results), results.ctypes.data)
    _compile_totals().call(*arguments)
    return results


@once
def _compile_squares(kind: str) -> Code:
    return compiled(squares_source(kind), "squares", None, 2)


@once
def _compile_totals() -> Code:
    return compiled(_totals_source(), "totals", None, 4, lets_go=False)


def squares_source(kind: str) -> str:
    """What is compiled for arrays of a kind, in LLVM's language."""
    table, number = INT.as_pointer(), _KINDS[kind]
    module = ir.Module("squares")
    function = ir.Function(module, ir.FunctionType(VOID, [table, INT]), "squares")
    job, me = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    tables = builder.inttoptr(item(builder, job, integer(1)), table)
    addresses = builder.inttoptr(item(builder, tables, integer(0)), table)
    sums = builder.inttoptr(item(builder, tables, integer(1)), WIDE.as_pointer())
    of = _print_of(module, kind, square=True)
    with each_chunk(builder, job, me) as (chunk, array, start, count):
        values = builder.inttoptr(item(builder, addresses, array), number.as_pointer())
        builder.store(builder.call(of, [builder.gep(values, [start]), count]), builder.gep(sums, [chunk]))
    builder.ret_void()
    return str(module)


def _totals_source() -> str:
    table, doubles = INT.as_pointer(), WIDE.as_pointer()
    module = ir.Module("totals")
    function = ir.Function(module, ir.FunctionType(VOID, [doubles, table, INT, doubles]), "totals")
    sums, firsts, arrays, results = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    fold = print_fold(module)
    with loop(builder, arrays, "array") as array:
        first = item(builder, firsts, array)
        many = builder.sub(item(builder, firsts, array, 1), first)
        builder.store(builder.call(fold, [builder.gep(sums, [first]), many]), builder.gep(results, [array]))
    builder.ret_void()
    return str(module)


def print_fold(module: Any, *, largest: bool = False) -> Any:
    """A function in a module: the sum of so many doubles, or the largest one, in the order of the definition.

    It overwrites them.
    """
    of = _print_of(module, "float64", square=False, largest=largest)
    function = ir.Function(module, ir.FunctionType(WIDE, [WIDE.as_pointer(), INT]), f"fold_{of.name}")
    function.linkage = "internal"
    for attribute in ("noinline", "optsize"):
        function.attributes.add(attribute)
    values, count = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    entry = builder.block
    test, again, done, some, none = map(builder.append_basic_block, ("test", "again", "done", "some", "none"))
    builder.branch(test)
    builder.position_at_end(test)
    many = builder.phi(INT)
    many.add_incoming(count, entry)
    builder.cbranch(builder.icmp_signed(">", many, integer(1)), again, done)
    builder.position_at_end(again)
    chunks = builder.udiv(builder.add(many, integer(CHUNK - 1)), integer(CHUNK))
    with loop(builder, chunks, "chunk") as chunk:
        start = builder.mul(chunk, integer(CHUNK))
        left = builder.sub(many, start)
        size = builder.select(builder.icmp_signed("<", left, integer(CHUNK)), left, integer(CHUNK))
        builder.store(builder.call(of, [builder.gep(values, [start]), size]), builder.gep(values, [chunk]))
    many.add_incoming(chunks, builder.block)
    builder.branch(test)
    builder.position_at_end(done)
    builder.cbranch(builder.icmp_signed("==", many, integer(1)), some, none)
    builder.position_at_end(some)
    builder.ret(builder.load(values))
    builder.position_at_end(none)
    builder.ret(ir.Constant(WIDE, first_of(largest=largest)))
    return function


def _print_of(module: Any, kind: str, *, square: bool, largest: bool = False) -> Any:
    number, size = _KINDS[kind], _BYTES[kind]
    row, sums = ir.VectorType(number, LANES), ir.VectorType(WIDE, LANES)
    function = ir.Function(module, ir.FunctionType(WIDE, [number.as_pointer(), INT]), "largest" if largest else "of")
    function.linkage = "internal"
    values, count = function.args
    builder = ir.IRBuilder(function.append_basic_block("entry"))
    kept, apart = builder.alloca(sums), builder.alloca(sums)
    builder.store(ir.Constant(sums, [first_of(largest=largest)] * LANES), kept)

    def term(value: Any, shaped: Callable[[Any], Any]) -> Any:
        if kind == "bfloat16":
            word = shaped(ir.IntType(32))
            sixteen = ir.Constant(word, [16] * LANES if isinstance(word, ir.VectorType) else 16)
            value = builder.bitcast(builder.shl(builder.zext(value, word), sixteen), shaped(FLOATS["float32"]))
        # From half precision by way of single, as machines do it: both steps are exact.
        steps = {"float16": [FLOATS["float32"], WIDE], "bfloat16": [WIDE], "float32": [WIDE], "float64": []}
        for wider in steps[kind]:
            value = builder.fpext(value, shaped(wider))
        return builder.fmul(value, value) if square else value

    rows = builder.udiv(count, integer(LANES))
    with loop(builder, rows, "row") as i:
        place = builder.gep(values, [builder.mul(i, integer(LANES))])
        whole = builder.load(builder.bitcast(place, row.as_pointer()), align=size)
        more = term(whole, lambda single: ir.VectorType(single, LANES))
        builder.store(combined(builder, builder.load(kept), more, largest=largest), kept)
    builder.store(builder.load(kept), apart)  # lanes need addresses now; what was kept so far stays in registers
    lane = builder.bitcast(apart, WIDE.as_pointer())
    done = builder.mul(rows, integer(LANES))
    with loop(builder, builder.sub(count, done), "rest") as i:
        place = builder.gep(lane, [i])
        value = term(builder.load(builder.gep(values, [builder.add(done, i)])), lambda single: single)
        builder.store(combined(builder, builder.load(place), value, largest=largest), place)
    builder.ret(halved(builder, builder.load(apart), largest=largest))
    return function


def first_of(*, largest: bool) -> float:
    """What a sum, or the search for the largest number, begins with."""
    return -math.inf if largest else 0.0


def combined(builder: Any, so_far: Any, more: Any, *, largest: bool) -> Any:
    """The sum of two doubles, or of two vectors of such; or the larger one."""
    return Elements(builder, so_far.type).operation("maximum" if largest else "add", [so_far, more])


def halved(builder: Any, lanes: Any, *, largest: bool = False) -> Any:
    """The sum of the running sums in a vector, added by halves; or the largest one."""
    many = LANES
    while many > 1:
        many //= 2
        low, high = (
            builder.shuffle_vector(
                lanes, lanes, ir.Constant(ir.VectorType(ir.IntType(32), many), list(range(first, first + many)))
            )
            for first in (0, many)
        )
        lanes = combined(builder, low, high, largest=largest)
    return builder.extract_element(lanes, integer(0))
