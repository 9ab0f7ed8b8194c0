"""The printer of the fused engine for NVIDIA GPUs: the kernel of the CPU, for a grid of threads.

What is printed for a program is, but for its language::

    def kernel(buffers, grads, rows, scalars, ts, shares, many):
        tensor, start, count = the chunk of this block of threads, by shares
        row = rows[tensor]
        update(start, count, ts[row], *(each array of the tensor, from start on), *scalars[row])

    def update(start, count, t, param, grad, *state, *scalars):
        whole = count rounded down to whole groups, if all arrays begin at a whole group, else 0
        for i in range(GROUP * thread, whole, GROUP * threads):
            read, compute and write elements i to i + GROUP, each array in one access
        for i in range(whole + thread, count, threads):
            read, compute and write element i

What happens to an element is printed by the code that prints it for the CPU, so that it has the same bits. State in
blocks of 8 bits is the work of one warp for each block: its threads keep the new values in registers, and exchange the
largest magnitudes to find the scale.
"""

import re
from collections.abc import Callable, Sequence
from functools import reduce
from typing import Any

from minima.optim.engines.cpu import coding
from minima.optim.engines.cpu.elements import Elements
from minima.optim.engines.cpu.llvm import (
    BIT,
    FLOATS,
    INT,
    VOID,
    binding,
    integer,
    ir,
    item,
    least,
    loop,
    optimised,
    when,
)
from minima.optim.engines.cpu.once import LOCK, once
from minima.optim.engines.cpu.printer import Printer
from minima.optim.engines.cuda.groups import GLOBAL, GROUP, WORD, Groups
from minima.optim.engines.cuda.shares import opaque, owner
from minima.optim.engines.cuda.words import unprinted
from minima.optim.engines.storage import BLOCK, LARGEST, largest_code
from minima.optim.language.program import Instruction, Program

__all__ = [
    "ARGUMENTS",
    "CHUNK",
    "EVERYONE",
    "FOUND",
    "THREADS",
    "WARP",
    "GridPrinter",
    "assembly",
    "emitted",
    "intrinsic",
    "is_zero",
    "kernel_name",
    "ptx",
    "register",
]

WARP = 32
THREADS = 128
"""The threads of a block."""
CHUNK = 2048
"""The elements of a block, at most: whole blocks of 8 bits, whole groups for every thread."""
ARGUMENTS = ("buffers", "grads", "rows", "scalars", "ts", "shares", "many")
"""What a kernel takes: the addresses of its tables, of which the last one has the size of each tensor beside its first
chunk; and how many tensors there are."""
FOUND = "found"
"""What a kernel takes besides that is guarded: where a float32 is, which is not 0 where the step is to be left out."""

_TRIPLE, _TARGET, _VERSION = "nvptx64-nvidia-cuda", "sm_70", "+ptx63"
"""The least that serves: the driver compiles it for the GPU that it finds, from Volta and CUDA 10.0 on.

Left to itself, LLVM names newer versions, which older drivers refuse."""
_REGISTERS = 96
"""Of a thread at most, where several states are in blocks: so many let one more block of threads run beside others.

8-bit AdamW on an H100: 0.88 ms in place of 0.99 for GPT-2 small."""
EVERYONE = integer(-1, WORD)
"""The threads of a warp that exchange values."""


@once
def ptx(program: Program, param: str, state: tuple[str, ...], compute: str, is_guarded: bool = False) -> str:
    """The kernel in PTX, for parameters of kind ``param``, state of these kinds, and a precision of the loop.

    One that is guarded is told on the GPU whether to do anything.
    """
    return assembly(program, lambda: GridPrinter(program, param, state, compute, is_guarded).module)


def assembly(program: Program, printed: Callable[[], Any]) -> str:
    """A module that is printed for a program, in PTX."""
    missing = unprinted(program)
    assert not missing, f"LLVM would end the process: {missing}"
    return emitted(printed)


def emitted(printed: Callable[[], Any]) -> str:
    """A module, in PTX."""
    with LOCK:
        machine, module = _machine(), printed()
        module.triple, module.data_layout = (
            _TRIPLE,
            str(machine.target_data),
        )  # else words of 8 bytes are read by halves
        return machine.emit_assembly(optimised(str(module), machine))


def kernel_name(program: Program) -> str:
    """What a profiler calls the kernel of a program."""
    return f"minima_{re.sub('[^A-Za-z0-9]', '_', program.name)}"


def register(builder: Any, name: str) -> Any:
    """A number that a thread knows: which it is, and how many there are."""
    return builder.zext(intrinsic(builder, f"llvm.nvvm.read.ptx.sreg.{name}"), INT)


def is_zero(builder: Any, address: Any) -> Any:
    """Whether the float32 at an address is 0."""
    single = FLOATS["float32"]
    return builder.fcmp_ordered("==", builder.load(builder.inttoptr(address, single.as_pointer(GLOBAL))), single(0.0))


def intrinsic(builder: Any, name: str, *args: Any, result: Any = None) -> Any:
    """A function of LLVM's for NVIDIA GPUs; it results in what its last argument is, or in 32 bits, if not said."""
    function = builder.module.globals.get(name)
    if function is None:
        result = (args[-1].type if args else WORD) if result is None else result
        function = ir.Function(builder.module, ir.FunctionType(result, [arg.type for arg in args]), name)
    return builder.call(function, args)


@once
def _machine() -> Any:
    binding.initialize_all_targets()
    binding.initialize_all_asmprinters()
    return binding.Target.from_triple(_TRIPLE).create_target_machine(cpu=_TARGET, features=_VERSION, opt=3)


class GridPrinter(Printer):
    """Writes the two functions for a grid."""

    space = GLOBAL
    is_by_warp = False
    """Whether a pass over some elements is the work of one warp, and not of a block of threads."""
    counts: Any = None
    """Whether the element that is being printed is one of its own, and not the last one again; None where all are."""

    def __init__(
        self, program: Program, param: str, state: tuple[str, ...], compute: str, is_guarded: bool = False
    ) -> None:
        """As for the CPU; and whether to do nothing where that is asked for on the GPU."""
        self._is_guarded = is_guarded
        super().__init__(program, param, state, compute)

    def _print_kernel(self, update: Any) -> None:
        update.attributes.add("alwaysinline")
        table = INT.as_pointer(GLOBAL)
        kinds = [table, table, table, self.number.as_pointer(GLOBAL), table, table]
        function, builder, (*given, tensors) = self.begun(kernel_name(self.program), len(ARGUMENTS))
        if len(self.blocks) > 1 and self.number == FLOATS["float32"]:
            most = self.module.add_metadata([function, "maxnreg", integer(_REGISTERS, WORD)])
            self.module.add_named_metadata("nvvm.annotations", most)
        buffers, grads, rows, scalars, ts, shares = map(builder.inttoptr, given, kinds)
        chunk = register(builder, "ctaid.x")
        tensor = owner(builder, shares, tensors, chunk)
        line = builder.mul(tensor, integer(2))
        first, size = (item(builder, shares, line, place) for place in range(2))
        start = opaque(builder, builder.mul(builder.sub(chunk, first), integer(CHUNK)))
        count = least(builder, builder.sub(size, start), integer(CHUNK))
        row, arguments = self._print_arguments(builder, (buffers, grads, rows, scalars), tensor, start)
        builder.call(update, [start, count, item(builder, ts, row), *arguments])
        builder.ret_void()

    def begun(self, name: str, arguments: int, *, writes: bool = True) -> tuple[Any, Any, list[Any]]:
        """Begin a kernel that takes so many words: the function, what builds it, and the words.

        ``writes`` is whether there is anything to guard.
        """
        is_guarded = self._is_guarded and writes
        kind = ir.FunctionType(VOID, [INT] * (arguments + is_guarded))
        function = ir.Function(self.module, kind, name)
        function.calling_convention = "ptx_kernel"
        builder = ir.IRBuilder(function.append_basic_block("entry"))
        if is_guarded:
            taken, left_out = (function.append_basic_block(name) for name in ("taken", "left_out"))
            builder.cbranch(is_zero(builder, function.args[-1]), taken, left_out)
            builder.position_at_end(left_out)
            builder.ret_void()
            builder.position_at_end(taken)
        return function, builder, list(function.args[:arguments])

    def _print_elements(
        self, elements: Elements, arrays: dict[str, Any], scalars: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        builder, groups = elements.builder, Groups(elements.builder, self._entries(arrays))
        me, many = register(builder, "tid.x"), register(builder, "ntid.x")
        whole = builder.select(groups.are_aligned(), builder.and_(count, integer(-GROUP)), integer(0))
        first, step = (builder.mul(x, integer(GROUP)) for x in (me, many))
        with loop(builder, whole, "group", first, step) as place:
            read = {name: groups.entries(groups.load(name, place)) for _, name in self.mine.reads}
            chance, following = coding.noise_counter(builder, builder.add(start, place), t)
            written: list[dict[str, Any]] = []
            for i in range(GROUP):
                written.append(self._print_one(elements, read, i, scalars, chance))
                chance = builder.add(chance, following)
            for name, _ in self.mine.writes:
                groups.store(name, place, groups.joined(name, [new[name] for new in written]))
        with loop(builder, count, "single", builder.add(whole, me), many) as place:
            chance, _ = coding.noise_counter(builder, builder.add(start, place), t)
            self._print_element(elements, arrays, scalars, place, chance)

    def _print_one(
        self, elements: Elements, read: dict[str, list[Any]], i: int, values: dict[str, Any], chance: Any
    ) -> dict[str, Any]:
        """What is to be kept of one of the elements that were read together."""
        written: dict[str, Any] = {}
        self._print_body(elements, values, chance, lambda name: read[name][i], written.__setitem__, self._add)
        return written

    def _add(self, line: Instruction, value: Any) -> None:
        """Add a term to the sum that a thread has of a reduction, where the element counts."""
        raise NotImplementedError  # a program that looks at one element alone has none

    def _entries(self, arrays: dict[str, Any]) -> dict[str, tuple[Any, Any]]:
        """The arrays of which every element has an entry, each with the type of its entries."""
        return {name: (arrays[name], kind) for name, kind, shared in self.columns if shared == 1 and name in arrays}

    # State in blocks -------------------------------------------------------------------------------------------------

    def _print_blocks(
        self, elements: Elements, arrays: dict[str, Any], scalars: dict[str, Any], start: Any, count: Any, t: Any
    ) -> None:
        builder, groups = elements.builder, Groups(elements.builder, self._entries(arrays))
        me, many = register(builder, "tid.x"), register(builder, "ntid.x")
        warp, lane = builder.udiv(me, integer(WARP)), builder.and_(me, integer(WARP - 1))
        aligned, warps = groups.are_aligned(), builder.udiv(many, integer(WARP))
        if self.is_by_warp:
            aligned, warp, warps = integer(0, BIT), integer(0), integer(1)
        blocks = builder.udiv(builder.add(count, integer(BLOCK - 1)), integer(BLOCK))
        with loop(builder, blocks, "block", warp, warps) as block:
            first = builder.mul(block, integer(BLOCK))
            left = builder.sub(count, first)
            is_full = builder.icmp_signed(">=", left, integer(BLOCK))
            last = builder.sub(builder.select(is_full, integer(BLOCK), left), integer(1))
            grouped = builder.and_(aligned, is_full)
            firsts = [
                builder.add(builder.mul(lane, integer(GROUP)), integer(turn)) for turn in range(0, BLOCK, WARP * GROUP)
            ]
            places = [builder.add(place, integer(i)) for place in firsts for i in range(GROUP)]
            if self.is_by_warp:  # as sums are added: each element by the thread of its number
                places = [builder.add(lane, integer(turn)) for turn in range(0, BLOCK, WARP)]
            read = self._read_block(builder, arrays, groups, grouped, first, last, firsts, places)
            values = dict(scalars)
            scales = {name: builder.gep(arrays[f"{name}.scale"], [block]) for name in self.blocks}
            for name, scale in scales.items():
                old = coding.unit(elements, self.kinds[name], builder.load(scale))
                values[f"{name}.unit"], values[f"{name}.edge"] = old
            origin = builder.add(start, first)
            chances = [coding.noise_counter(builder, builder.add(origin, place), t)[0] for place in places]
            written: list[dict[str, Any]] = []
            for i, (place, chance) in enumerate(zip(places, chances, strict=True)):
                self.counts = builder.icmp_signed("<=", place, last)
                written.append(self._print_one(elements, read, i, values, chance))
            self.counts = None
            # Each array is written as soon as it can be: the fewer registers, the more warps.
            for name, _ in self.mine.writes:
                if name in scales:
                    self._print_codes(elements, name, scales[name], lane, written, chances)
                news = [new[name] for new in written]
                with builder.if_else(grouped) as (together, apart):
                    with together:
                        for i, place in enumerate(firsts):
                            group = groups.joined(name, news[i * GROUP : (i + 1) * GROUP])
                            groups.store(name, builder.add(first, place), group)
                    with apart:
                        for new, place in zip(news, places, strict=True):
                            with when(builder, builder.icmp_signed("<=", place, last), "inside"):
                                builder.store(new, builder.gep(arrays[name], [builder.add(first, place)]))

    def _read_block(
        self,
        builder: Any,
        arrays: dict[str, Any],
        groups: Groups,
        grouped: Any,
        first: Any,
        last: Any,
        firsts: Sequence[Any],
        places: Sequence[Any],
    ) -> dict[str, list[Any]]:
        """What a thread reads of a block; in place of what is beyond the end, the last element again."""
        names = [name for _, name in self.mine.reads]
        with builder.if_else(grouped) as (together, apart):
            with together:
                wholes = {name: [groups.load(name, builder.add(first, place)) for place in firsts] for name in names}
                behind_wholes = builder.block
            with apart:
                near = [builder.select(builder.icmp_signed("<", place, last), place, last) for place in places]
                singles: dict[str, list[Any]] = {}
                for name in names:
                    each = [builder.load(builder.gep(arrays[name], [builder.add(first, place)])) for place in near]
                    parts = [each[i : i + GROUP] for i in range(0, len(each), GROUP)]
                    singles[name] = [groups.joined(name, part) for part in parts]
                behind_singles = builder.block
        either = {name: [builder.phi(whole.type) for whole in wholes[name]] for name in names}
        for name, phis in either.items():
            for phi, whole, single in zip(phis, wholes[name], singles[name], strict=True):
                phi.add_incoming(whole, behind_wholes)
                phi.add_incoming(single, behind_singles)
        return {name: [entry for group in phis for entry in groups.entries(group)] for name, phis in either.items()}

    def _print_codes(
        self, elements: Elements, name: str, place: Any, lane: Any, written: list[dict[str, Any]], chances: list[Any]
    ) -> None:
        """Put the codes of a state in the place of its new values, and write the scale of the block."""
        builder, kind = elements.builder, self.kinds[name]
        is_single = self.number == FLOATS["float32"]
        bits = ir.IntType(32 if is_single else 64)
        values = [new[name] for new in written]
        infinity = elements.constant(float("inf"))
        magnitudes = [elements.function("llvm.fabs", value) for value in values]
        # Not by their bits: PTX leaves it open whether the magnitude of NaN has a sign.
        wild = [builder.fcmp_unordered(">=", magnitude, infinity) for magnitude in magnitudes]
        # Finite magnitudes compare like the integers of their bits.
        words = [
            builder.select(is_wild, integer(0, bits), builder.bitcast(magnitude, bits))
            for is_wild, magnitude in zip(wild, magnitudes, strict=True)
        ]
        holds_wild = intrinsic(builder, "llvm.nvvm.vote.any.sync", EVERYONE, reduce(builder.or_, wild))
        largest = elements.constant(LARGEST["float32" if is_single else "float64"])
        peak = builder.bitcast(self._highest(builder, words), self.number)
        scale = elements.operation("minimum", [peak, largest])
        negative = builder.or_(builder.bitcast(scale, bits), integer(-1 << (bits.width - 1), bits))
        signed = builder.select(holds_wild, builder.bitcast(negative, self.number), scale)
        with when(builder, builder.icmp_signed("==", lane, integer(0)), "first_lane"):
            builder.store(signed, place)
        inverse, top = coding.inverse(elements, scale), largest_code(kind)
        most = builder.select(holds_wild, integer(top - 1, WORD), integer(top, WORD))
        for new, value, is_wild, chance in zip(written, values, wild, chances, strict=True):
            noise = coding.noise(builder, chance, self.numbers[name])
            code = coding.encode(elements, kind, value, inverse, most, noise)
            new[name] = builder.select(is_wild, coding.edge_code(elements, kind, value), code)

    def _highest(self, builder: Any, words: Sequence[Any]) -> Any:
        """The highest of the words of all threads of the warp."""

        def higher(x: Any, y: Any) -> Any:
            return builder.select(builder.icmp_signed(">", x, y), x, y)

        highest = reduce(higher, words)
        distance = WARP // 2
        while distance:
            highest = higher(highest, self._exchanged(builder, highest, distance))
            distance //= 2
        return highest

    def _exchanged(self, builder: Any, word: Any, distance: int) -> Any:
        """The word of the thread whose number differs in one bit."""
        if word.type.width == 64:
            halves = builder.trunc(word, WORD), builder.trunc(builder.lshr(word, integer(32)), WORD)
            low, high = (builder.zext(self._exchanged(builder, half, distance), INT) for half in halves)
            return builder.or_(low, builder.shl(high, integer(32)))
        arguments = word, integer(distance, WORD), integer(WARP - 1, WORD)
        return intrinsic(builder, "llvm.nvvm.shfl.sync.bfly.i32", EVERYONE, *arguments)
