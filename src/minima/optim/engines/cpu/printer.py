"""The printer of the fused engine: a program as one loop over elements, in LLVM's language.

What is printed for a program is, but for its language::

    def kernel(job, me):
        buffers, grads, rows, scalars, ts = job.tables
        for chunk, tensor, start, count in each_chunk(job, me):
            row = rows[tensor]
            update(start, count, ts[row], *(each array of the tensor, from start on), *scalars[row])

    def update(start, count, t, param, grad, *state, *scalars):
        for i in range(count):
            read param, grad and state; one line for each instruction of the program; write param and state

State in blocks of 8 bits takes two loops for each block: its scale is known only when all its values are. A program
that looks beyond one element takes several such loops (`minima.optim.engines.cpu.phases`). One that ends in sums runs
over rows of 32 elements, which it adds in the order of `minima.optim.engines.reductions`.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from minima.optim.engines.cpu import coding
from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import (
    FLOATS,
    INT,
    VOID,
    counting_loop,
    integer,
    ir,
    item,
    least,
    loop,
    prefetch,
    shares,
    when,
)
from minima.optim.engines.cpu.pieces import each_chunk
from minima.optim.engines.cpu.pool import TABLES
from minima.optim.engines.cpu.reductions import combined
from minima.optim.engines.passes import Pass, whole
from minima.optim.engines.reductions import LANES
from minima.optim.engines.storage import BLOCK, BLOCKS, LARGEST, base, largest_code
from minima.optim.language.program import Instruction, Program

__all__ = ["DOUBLES", "WIDE", "Printer"]

WIDE = FLOATS["float64"]
DOUBLES = WIDE.as_pointer()
_AT_ONCE = 8
"""Elements that a loop with sums does at once. LLVM would do four, as many doubles as a register has, and have half of
each register of float32 empty: square roots and quotients would take twice as long."""
_STRIP = 64
"""Elements between two requests for what comes next."""
_AHEAD = 2048
"""Bytes that a loop asks for before it reads them: a step of Lion takes 0.87 of the time, one of LAMB 0.88, and one of
Adam 0.92."""


class Printer:
    """Writes the two functions that a kernel consists of.

    How elements are spread, over a loop here, is apart from what happens to one: `_print_kernel`, `_print_elements`
    and `_print_blocks` are other ones where a grid of threads takes the place of the loop.
    """

    space = 0
    """LLVM's number for the memory that arrays are in."""

    def __init__(self, program: Program, param: str, state: tuple[str, ...], compute: str) -> None:
        """Print a program.

        Args:
            program: The program.
            param: The kind in which parameters are kept: their dtype, which gradients have too, and how it is rounded
                to.
            state: For all ``kept`` state of the program, the kind in which it is kept.
            compute: The precision of the loop.
        """
        self.program = program
        self.mine: Pass = whole(program)
        """The pass that is being printed."""
        self.lanes: dict[str, Any] = {}
        """The running sums of each reduction that the pass ends in; the largest values, of a maximum."""
        self.lane: Any = None
        """Which of them an element goes to."""
        self.bands: dict[str, Any] = {}
        """The sums so far of each column, where the pass adds down columns."""
        self.number = FLOATS[compute]
        self.module: Any = ir.Module(program.name)
        self.kinds = dict(zip(("param", "grad", *program.kept), (param, base(param), *state), strict=True))
        """Every array's kind of storage."""
        self.numbers = dict(zip(("param", *program.state), (-1, *program.numbers), strict=True))
        """Which state of its rule each is; random numbers depend on it."""
        self.blocks = [name for name, kind in self.kinds.items() if kind in BLOCKS]
        """The arrays in blocks that the pass reads or writes."""
        self.columns: list[tuple[str, Any, int]] = []
        """Every buffer in memory: whose it is, the type of its entries, and how many elements share one."""
        for name, kind in self.kinds.items():
            self.columns.append((name, FLOATS.get(base(kind)) or coding.CODES[base(kind)], 1))
            if name in self.blocks:
                self.columns.append((f"{name}.scale", self.number, BLOCK))
        self._print()

    def _print(self) -> None:
        self._print_kernel(self._print_update())

    def _print_kernel(self, update: Any) -> None:
        table = INT.as_pointer()
        function = ir.Function(self.module, ir.FunctionType(VOID, [table, INT]), "kernel")
        job, me = function.args
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        tables = builder.inttoptr(item(builder, job, integer(TABLES)), table)
        kinds = [table, table, table, self.number.as_pointer(), table]
        places = [item(builder, tables, integer(place)) for place in range(len(kinds))]
        buffers, grads, rows, scalars, ts = map(builder.inttoptr, places, kinds)
        with each_chunk(builder, job, me) as (_, tensor, start, count):
            row, arguments = self._print_arguments(builder, (buffers, grads, rows, scalars), tensor, start)
            builder.call(update, [start, count, item(builder, ts, row), *arguments])
        builder.ret_void()

    def _print_arguments(
        self, builder: Any, tables: tuple[Any, Any, Any, Any], tensor: Any, start: Any
    ) -> tuple[Any, list[Any]]:
        """The row of a tensor; and what ``update`` gets of it: its arrays, from an element on, and its scalars."""
        buffers, grads, rows, scalars = tables
        row, width = item(builder, rows, tensor), len(self.program.scalars)
        line = builder.mul(tensor, integer(len(self.columns) - 1))
        addresses = [item(builder, buffers, line, place) for place in range(len(self.columns) - 1)]
        addresses.insert(1, item(builder, grads, tensor))
        arrays = [
            builder.gep(builder.inttoptr(address, kind.as_pointer(self.space)), [builder.udiv(start, integer(shared))])
            for address, (_, kind, shared) in zip(addresses, self.columns, strict=True)
        ]
        values = [item(builder, scalars, builder.mul(row, integer(width)), place) for place in range(width)]
        return row, [*arrays, *values]

    def _print_update(self) -> Any:
        pointers = [kind.as_pointer(self.space) for _, kind, _ in self.columns]
        arguments = [INT, INT, INT, *pointers, *[self.number] * len(self.program.scalars)]
        function = ir.Function(self.module, ir.FunctionType(VOID, arguments), "update")
        function.linkage = "internal"
        start, count, t, *rest = function.args
        start.name, count.name, t.name = "start", "count", "t"
        arrays = {name: array for (name, _, _), array in zip(self.columns, rest, strict=False)}
        for name, array in arrays.items():
            array.name = name
            array.add_attribute("noalias")  # no two arrays of a step overlap, unless the user made them so
        scalars = dict(zip(self.program.scalars, rest[len(arrays) :], strict=False))
        for name, scalar in scalars.items():
            scalar.name = name
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        self._print_loop(Elements(builder, self.number), arrays, scalars, start, count, t)
        builder.ret_void()
        return function

    def _print_loop(
        self, elements: Elements, arrays: dict[str, Any], values: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        """The pass over so many elements, the first of which has index ``start`` in its tensor."""
        if not self.blocks:
            self._print_elements(elements, arrays, values, start, count, t)
        else:
            self._print_blocks(elements, arrays, values, start, count, t)

    def _print_elements(
        self, elements: Elements, arrays: dict[str, Any], scalars: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        def update(i: Any, chance: Any) -> None:
            self._print_element(elements, arrays, scalars, i, chance)

        self._print_each(elements.builder, start, count, t, update, [arrays[name] for _, name in self.mine.reads])

    def _print_each(
        self,
        builder: Any,
        start: Any,
        count: Any,
        t: Any,
        body: Callable[[Any, Any], object],
        read: Sequence[Any],
    ) -> None:
        """A loop over so many elements, the first of which has index ``start`` in its tensor.

        ``body`` gets the number of an element, from 0 up, and what its random numbers are made of. The loop goes by
        strips, so that it asks early for what it will ``read``; where it ends in sums, by the rows that these are of.
        """

        def strip(first: Any, many: Any, width: int) -> None:
            counter = coding.noise_counter(builder, builder.add(start, first), t)
            with counting_loop(builder, many, "i", counter=counter, width=width) as (self.lane, chance):
                body(builder.add(first, self.lane), chance)

        def ask(first: Any, many: int) -> None:
            for array in read:
                prefetch(builder, array, first, many, _AHEAD)

        if self.lanes:
            rows = builder.udiv(count, integer(LANES))
            with loop(builder, rows, "row") as number:
                first = builder.mul(number, integer(LANES))
                ask(first, LANES)
                strip(first, integer(LANES), _AT_ONCE)
            done = builder.mul(rows, integer(LANES))
            strip(done, builder.sub(count, done), 1)
            return
        with loop(builder, shares(builder, count, _STRIP), "strip") as number:
            first = builder.mul(number, integer(_STRIP))
            ask(first, _STRIP)
            strip(first, least(builder, builder.sub(count, first), integer(_STRIP)), _AT_ONCE if self.bands else 0)

    def _print_element(
        self, elements: Elements, arrays: dict[str, Any], values: dict[str, Any], i: Any, chance: Any
    ) -> dict[str, Any]:
        """All that happens to element ``i``, except that the new values of state in blocks are returned, not stored.

        ``chance`` is what random numbers are made of.
        """
        builder = elements.builder
        kept: dict[str, Any] = {}

        def read(name: str) -> Any:
            return builder.load(builder.gep(arrays[name], [i]), name=name)

        def write(name: str, value: Any) -> None:
            if name in self.blocks:
                kept[name] = value
            else:
                builder.store(value, builder.gep(arrays[name], [i]))

        def add(line: Instruction, value: Any) -> None:
            largest = line.operation.startswith("max")
            wide = self._term(builder, line, value)
            in_band = line.target in self.bands
            sums, which = (self.bands, i) if in_band else (self.lanes, self.lane)
            place = builder.gep(sums[line.target], [which])
            builder.store(combined(builder, builder.load(place), wide, largest=largest), place)

        self._print_body(elements, values, chance, read, write, add)
        return kept

    def _print_body(
        self,
        elements: Elements,
        values: dict[str, Any],
        chance: Any,
        read: Callable[[str], Any],
        write: Callable[[str, Any], None],
        add: Callable[[Instruction, Any], None] | None = None,
    ) -> None:
        """The pass on one element.

        ``read`` gives what is kept of an input, ``write`` takes what is to be kept, ``add`` the terms of reductions.
        New values of state in blocks are as computed: narrowing them takes the scale of their block.
        """
        builder, values = elements.builder, dict(values)
        for value, name in self.mine.reads:
            values[value] = self._widen(elements, name, read(name), values)
        self._print_lines(elements, self.mine.lines, values)
        for line in self.mine.ends:
            assert add is not None
            add(line, elements.as_number(self._operand(elements, line.operands[0], values)))
        for name, output in self.mine.writes:
            value = elements.as_number(self._operand(elements, output, values))
            if name not in self.blocks:
                noise = partial(coding.noise, builder, chance, self.numbers[name])
                value = coding.narrow(elements, self.kinds[name], value, noise)
            write(name, value)

    def _term(self, builder: Any, line: Instruction, value: Any) -> Any:
        """What a reduction adds up, for a number in the precision of the loop."""
        wide = value if value.type == WIDE else builder.fpext(value, WIDE)
        return builder.fmul(wide, wide) if line.operation.startswith("norm") else wide

    def _print_lines(self, elements: Elements, lines: Iterable[Instruction], values: dict[str, Any]) -> None:
        """Lines that compute with ``values``, to which they add theirs."""
        for line in lines:
            operands = [self._operand(elements, operand, values) for operand in line.operands]
            if line.operation == "nearest":
                value = coding.nearest(elements, base(self.kinds["param"]), *operands)
            else:
                value = elements.operation(line.operation, operands)
            values[line.target] = value
            if isinstance(value, ir.Instruction):
                value.name = line.target

    def _print_blocks(
        self, elements: Elements, arrays: dict[str, Any], scalars: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        builder = elements.builder
        word, bits = ir.IntType(32), ir.IntType(32 if self.number == FLOATS["float32"] else 64)
        largest = LARGEST["float32" if self.number == FLOATS["float32"] else "float64"]
        written = [name for name in self.blocks if name in dict(self.mine.writes)]
        fresh = {name: builder.alloca(self.number, BLOCK, name=f"new_{name}") for name in written}
        peaks = {name: builder.alloca(bits, name=f"peak_{name}") for name in written}
        with loop(builder, shares(builder, count, BLOCK), "block") as block:
            first = builder.mul(block, integer(BLOCK))
            size = least(builder, builder.sub(count, first), integer(BLOCK))
            values, scales = dict(scalars), {}
            for name in self.blocks:
                scales[name] = builder.gep(arrays[f"{name}.scale"], [block])
                scale = builder.load(scales[name])
                values[f"{name}.unit"], values[f"{name}.edge"] = coding.unit(elements, self.kinds[name], scale)
            for name in written:
                builder.store(integer(0, bits), peaks[name])
            begin = builder.add(start, first)

            def update(i: Any, chance: Any, first: Any = first, values: dict[str, Any] = values) -> None:
                kept = self._print_element(elements, arrays, values, builder.add(first, i), chance)
                for name, value in kept.items():
                    builder.store(value, builder.gep(fresh[name], [i]))
                    # Magnitudes compare like the integers of their bits, and NaN is above them all.
                    magnitude = builder.bitcast(elements.function("llvm.fabs", value), bits)
                    peak = builder.load(peaks[name])
                    larger = builder.select(builder.icmp_signed(">", magnitude, peak), magnitude, peak)
                    builder.store(larger, peaks[name])

            read = [builder.gep(arrays[name], [first]) for _, name in self.mine.reads]
            self._print_each(builder, begin, size, t, update, read)
            inverses: dict[str, Any] = {}
            wild: dict[str, Any] = {}
            most: dict[str, Any] = {}
            for name in written:
                top = largest_code(self.kinds[name])
                peak, holds_wild = self._print_finite_peak(builder, fresh[name], peaks[name], size)
                scale = elements.operation("minimum", [builder.bitcast(peak, self.number), elements.constant(largest)])
                negative = builder.or_(builder.bitcast(scale, bits), integer(-1 << (bits.width - 1), bits))
                signed = builder.select(holds_wild, builder.bitcast(negative, self.number), scale)
                builder.store(signed, scales[name])
                inverses[name] = coding.inverse(elements, scale)
                wild[name] = holds_wild
                most[name] = builder.select(holds_wild, integer(top - 1, word), integer(top, word))
            counter = coding.noise_counter(builder, begin, t)
            with counting_loop(builder, size, "j", counter=counter) as (j, chance):
                place = builder.add(first, j)
                for name in written:
                    noise = coding.noise(builder, chance, self.numbers[name])
                    value = builder.load(builder.gep(fresh[name], [j]))
                    code = coding.encode(elements, self.kinds[name], value, inverses[name], most[name], noise)
                    builder.store(code, builder.gep(arrays[name], [place]))
            for name in written:
                with when(builder, wild[name], "has_wild"), loop(builder, size, "l") as j:
                    value = builder.load(builder.gep(fresh[name], [j]))
                    magnitude = elements.function("llvm.fabs", value)
                    infinity = elements.constant(float("inf"))
                    with when(builder, builder.fcmp_unordered(">=", magnitude, infinity), "is_wild"):
                        code = coding.edge_code(elements, self.kinds[name], value)
                        builder.store(code, builder.gep(arrays[name], [builder.add(first, j)]))

    def _print_finite_peak(self, builder: Any, values: Any, peak: Any, size: Any) -> tuple[Any, Any]:
        """The largest finite magnitude of a block, in its bits, and whether there is one that is not finite.

        ``peak`` holds the largest of all, which is it, as a rule.
        """
        bits = peak.type.pointee
        infinite = integer(0x7F800000 if bits.width == 32 else 0x7FF << 52, bits)
        holds_wild = builder.icmp_signed(">=", builder.load(peak), infinite)
        with when(builder, holds_wild, "wild"):
            builder.store(integer(0, bits), peak)
            with loop(builder, size, "k") as k:
                word = builder.load(builder.gep(builder.bitcast(values, peak.type), [k]))
                word = builder.and_(word, integer((1 << (bits.width - 1)) - 1, bits))
                word = builder.select(builder.icmp_signed("<", word, infinite), word, integer(0, bits))
                larger = builder.icmp_signed(">", word, builder.load(peak))
                builder.store(builder.select(larger, word, builder.load(peak)), peak)
        return builder.load(peak), holds_wild

    def _widen(self, elements: Elements, name: str, raw: Any, values: dict[str, Any]) -> Any:
        kind = self.kinds[name]
        if name in self.blocks:
            return coding.decode(elements, kind, raw, values[f"{name}.unit"], values[f"{name}.edge"])
        return coding.widen(elements, base(kind), raw)

    def _operand(self, elements: Elements, operand: str | float, values: dict[str, Any]) -> Any:
        return values[operand] if isinstance(operand, str) else elements.constant(operand)
