"""A GPU for tests, in NumPy: runs a kernel in PTX on the memory of this process, all threads side by side.

It is strict: an access must be aligned and inside of what was allowed, no two threads may write to one place at once,
whole warps must exchange values. Those threads go on that stand at the least place in the code, so that threads that
part meet again; where a warp exchanges values, or a block meets, they wait for the others. Threads that stand together
have their registers side by side, without those of others: nothing is computed for who does not take part.
"""

import ctypes
import re
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
from ptx_instructions import LINES, STEPS, WARP, names

MEETINGS = ("shfl", "vote", "bar")
LEAVING = ("bra", "ret")
_LINE = re.compile(r"(?:@(!?)(%p\d+)\s+)?([\w.]+)\s*(.*);")
_OPERAND = re.compile(r"\{[^}]*\}|\[[^\]]*\]|[^,\s]+")


class Memory:
    """The memory of this process."""

    FIRST = 4096

    def __init__(self):
        room = (ctypes.c_uint8 * (2**47 - self.FIRST)).from_address(self.FIRST)
        self._bytes = np.ctypeslib.as_array(room)
        self._entries, self._arrays, self._ranges = {}, [], []
        self.allow_only([])

    def allow(self, array):
        """Let kernels read and write an array; its address."""
        address = array.ctypes.data
        self._arrays.append(array)
        self._ranges.append((address, address + array.nbytes))
        self.allow_only(self._ranges)
        return address

    def allow_only(self, ranges):
        """Let kernels read and write what is from one address to in front of another, and nothing else."""
        begins, ends = np.array([(-(2**63), -(2**63)), *sorted(ranges)], np.int64).T
        self._begins, self._ends = begins.copy(), np.maximum.accumulate(ends)  # one may be within another

    def at(self, addresses, dtype, many):
        """All memory as entries of a dtype, and where in it groups of so many entries are."""
        size = dtype.itemsize
        assert not (addresses & size * many - 1).any(), "an access is not aligned"
        ends = self._ends[self._begins.searchsorted(addresses, side="right") - 1]
        assert (addresses + size * many <= ends).all(), "an access is outside of all arrays"
        if dtype not in self._entries:
            self._entries[dtype] = self._bytes[: self._bytes.size // size * size].view(dtype)
        return self._entries[dtype], addresses - self.FIRST >> size.bit_length() - 1


@lru_cache(LINES)
class Instruction:
    """A line of the code, read, once for all kernels that have it."""

    def __init__(self, line):
        packed = re.fullmatch(r"\{ \.reg \.b\d+ tmp; (.*;) \}", line)  # of which one half goes nowhere
        negated, self.guard, operation, rest = _LINE.fullmatch(packed.group(1) if packed else line).groups()
        self.is_negated = negated == "!"
        self.name, *words = operation.split(".")
        operands = _OPERAND.findall(rest)
        assert self.guard is None or self.name in LEAVING, f"a guard of {self.name}"
        registers = names(rest)
        count = 0 if self.name in ("st", *LEAVING) or not registers else operands[0].count("%")
        self.sets, self.reads = registers[:count], registers[count:]
        if self.guard:
            self.reads.append(self.guard)
        self.target = operands[0] if self.name == "bra" else None
        self.meets = None
        """Of what threads have to meet in front of it."""
        if self.name in MEETINGS:
            self.meets = "block" if words + operands == ["sync", "0"] else "warp"
        self.step = STEPS[self.name](words, *operands) if self.name not in LEAVING else None


class Block:
    """Lines that threads run together: some may have to wait in front of it, and to part behind it."""

    def __init__(self, lines, behind, labels, end):
        last = lines[-1]
        self.meets = lines[0].meets
        self.steps = [line.step for line in lines if line.step]
        self.leads = [behind]
        """Where it leads; if to two places, to the first those who have a guard set, or who have not."""
        self.guard, self.is_negated = last.guard, last.is_negated
        if last.name in LEAVING:
            target = labels[last.target] if last.target else end
            self.leads = [target, behind] if last.guard else [target]
        self.reads, self.sets = set(), set()
        """The registers that it reads before it sets them, and those that it sets."""
        for line in lines:
            self.reads.update(name for name in line.reads if name not in self.sets)
            self.sets.update(line.sets)


class Kernel:
    """A kernel: the only one of a text, or that of a name."""

    def __init__(self, text, name=None):
        self.name = re.search(r"\.entry (\w+)", text).group(1) if name is None else name
        self.apart = None
        """Which of some warps goes first, as far as it can, such as ``max``: who has to wait for another and does not
        is seen. None lets all go side by side."""
        self.blocks, self.needs, self.end = _read(text, self.name)

    def launch(self, blocks, threads, arguments, memory):
        """Run it to its end."""
        _Run(self, threads).go(Threads.all(blocks, threads, arguments, memory))


@lru_cache(64)
def _read(text, name):
    """The blocks of a kernel by where they begin; the registers that are read from there on before set; its end."""
    text = text[re.search(rf"\.entry {name}\b", text).start() :]
    code, labels = [], {}
    for line in text[text.index("\n{") + 2 : text.index("\n}")].splitlines():
        line = line.partition("//")[0].strip()
        if not line or line.startswith("."):
            continue
        if line.endswith(":"):
            labels[line[:-1]] = len(code)
        else:
            code.append(Instruction(line))
    end = len(code)
    starts = {0, end, *labels.values()}
    starts |= {i for i, line in enumerate(code) if line.name in MEETINGS}
    starts |= {i + 1 for i, line in enumerate(code) if line.name in LEAVING}
    blocks = {i: Block(code[i:j], j, labels, end) for i, j in pairwise(sorted(starts))}
    needs, before = dict.fromkeys(starts, set()), None
    while needs != before:
        before = dict(needs)
        for i, block in reversed(blocks.items()):
            later = set().union(*(needs[place] for place in block.leads))
            needs[i] = block.reads | later - block.sets
    return blocks, needs, end


@dataclass
class Threads:
    """Threads that stand at one place: their numbers, ascending, and what is in the registers that they need."""

    numbers: np.ndarray
    registers: dict[str, np.ndarray]
    arguments: list
    memory: Memory

    @classmethod
    def all(cls, blocks, threads, arguments, memory):
        """All threads of so many blocks."""
        numbers = np.arange(blocks * threads, dtype=np.uint32)
        registers = {"%ctaid.x": numbers // threads, "%tid.x": numbers % threads, "%ntid.x": numbers * 0 + threads}
        return cls(numbers, registers, arguments, memory)

    def only(self, some, needs):
        """Some of them."""
        if some.all():
            return self
        registers = {name: self.registers[name][some] for name in needs & self.registers.keys()}
        return replace(self, numbers=self.numbers[some], registers=registers)

    def joined(self, other, needs):
        """They and others; where only some have set a register, others have 0 in it."""
        numbers = np.concatenate([self.numbers, other.numbers])
        order = np.argsort(numbers)

        def both(name):
            mine, others = self.registers.get(name), other.registers.get(name)
            if mine is None:
                mine = np.zeros(self.numbers.size, others.dtype)
            if others is None:
                others = np.zeros(other.numbers.size, mine.dtype)
            return np.concatenate([mine, others])[order]

        registers = {name: both(name) for name in needs & (self.registers.keys() | other.registers.keys())}
        return replace(self, numbers=numbers[order], registers=registers)


class _Run:
    """Threads on their way through a kernel."""

    def __init__(self, kernel, threads):
        self.kernel, self.many = kernel, {"block": threads, "warp": WARP}
        self.standing, self.waiting = {}, {}
        """By turn and place who can go on, and by place who waits for others."""

    def go(self, threads):
        self._stand(0, threads)
        with np.errstate(all="ignore"):
            while self.standing:
                turn = (self.kernel.apart or min)(turn for turn, _ in self.standing)
                place = min(place for mine, place in self.standing if mine == turn)
                threads, block = self.standing.pop((turn, place)), self.kernel.blocks[place]
                if block.meets:
                    threads = self._meet(place, threads)
                if threads.numbers.size:
                    for step in block.steps:
                        step(threads)
                    self._leave(block, threads)
        assert not self.waiting, "a part of a warp, or of a block, waits for the others for ever"

    def _meet(self, place, threads):
        """Those of whose warp, or block, all are there; the others wait."""
        needs, many = self.kernel.needs[place], self.many[self.kernel.blocks[place].meets]
        if place in self.waiting:
            threads = threads.joined(self.waiting.pop(place), needs)
        groups = threads.numbers // many
        are_there = np.bincount(groups)[groups] == many
        if not are_there.all():
            self.waiting[place] = threads.only(~are_there, needs)
        return threads.only(are_there, needs)

    def _leave(self, block, threads):
        """Let threads stand where they get to behind a block."""
        if len(block.leads) == 1:
            self._stand(block.leads[0], threads)
        else:
            takes = threads.registers[block.guard] ^ block.is_negated
            for place, some in zip(block.leads, (takes, ~takes), strict=True):
                if some.any():
                    self._stand(place, threads.only(some, self.kernel.needs[place]))

    def _stand(self, place, threads):
        """Let threads stand at a place, with those who are there."""
        if place == self.kernel.end:
            return
        needs, turns = self.kernel.needs[place], np.unique(threads.numbers // WARP) if self.kernel.apart else [0]
        for turn in turns:
            mine = threads if len(turns) == 1 else threads.only(threads.numbers // WARP == turn, needs)
            there = self.standing.get((turn, place))
            self.standing[turn, place] = mine if there is None else mine.joined(there, needs)
