"""A program cut into passes over memory: which arrays each pass reads and writes, and what happens between two of them.

A reduction is known when all elements have been seen: what depends on it waits for the next pass. So every value has a
*depth*, the number of reductions over elements before it, and can be had in the pass of that number at the earliest.
When an array gets its new value is a choice. Written at once, a later pass may read the new value there in place of
computing it again, but can no longer have the old one; and only what is kept as it was computed may be read back, since
a rounded value would give other bits. Every choice is tried, and the one that moves the fewest bytes is taken; of those
that move as few, the one with the fewest operations.

What there is of a tensor, its rows or its columns as a whole is computed between two passes, in *small* lines. Totals
over all parameters divide the passes into stages, between which others compute.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from minima.optim.engines.storage import BLOCK, BLOCKS, base
from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT, MATRIX, MODEL, NUMBER

__all__ = ["Cut", "Pass", "bytes_of", "cut", "invariant", "obstacle", "whole"]

_BYTES = {"float16": 2.0, "bfloat16": 2.0, "float32": 4.0, "float64": 8.0}


@dataclass(frozen=True)
class Pass:
    """One pass over the elements of a tensor."""

    reads: tuple[tuple[str, str], ...]
    """Every value that is read, and its array: the old value, which is called like the array, or the new one."""
    lines: tuple[Instruction, ...]
    """The lines for each element."""
    ends: tuple[Instruction, ...]
    """The reductions that are known at its end."""
    writes: tuple[tuple[str, Operand], ...]
    """Every array that gets its new value, and what that is called."""


@dataclass(frozen=True)
class Cut:
    """The passes of a program, and the small lines between them."""

    small: tuple[tuple[Instruction, ...], ...]
    """The small lines in front of each pass, and at the end of each stage."""
    passes: tuple[Pass | None, ...]
    """The pass behind each of ``small``; None at the end of a stage."""
    stages: tuple[int, ...]
    """With which of ``small`` each stage begins; and their number."""
    kinds: tuple[tuple[str, str], ...]
    """Every array of elements, and the kind in which it is kept."""

    @property
    def traffic(self) -> list[tuple[dict[str, float], dict[str, float]]]:
        """For each pass the bytes that it reads and writes for every element, by array."""
        kinds = dict(self.kinds)
        return [
            (
                {name: bytes_of(kinds[name]) for _, name in each.reads},
                {name: bytes_of(kinds[name]) for name, _ in each.writes},
            )
            for each in self.passes
            if each is not None
        ]

    @property
    def bytes(self) -> float:
        """The bytes that all passes move for every element."""
        return sum(sum(moved.values()) for both in self.traffic for moved in both)


def bytes_of(kind: str) -> float:
    """The bytes of an element; of one in a block of codes with its share of the scale."""
    return _BYTES.get(base(kind), 1 + 4 / BLOCK)


def whole(program: Program) -> Pass:
    """The one pass of a program that looks at nothing beyond one element."""
    reads = tuple((name, name) for name in program.inputs)
    new = zip(("param", *program.state), program.outputs, strict=True)
    return Pass(reads, program.body, (), tuple((name, value) for name, value in new if value != name))


@cache
def cut(program: Program, kinds: tuple[str, ...], compute: str) -> Cut:
    """Cut a program into passes.

    Args:
        program: The program, without products of matrices.
        kinds: The kinds in which the parameter and its state are kept, as ``kept`` of the program names it.
        compute: The precision of the loop.
    """
    return _Search(program, kinds, compute).best()


class _Search:
    def __init__(self, program: Program, kinds: tuple[str, ...], compute: str) -> None:
        self.program = program
        self.lines = {line.target: line for line in program.body}
        self.kinds = dict(zip(("param", *program.kept), kinds, strict=True))
        self.kinds["grad"] = base(self.kinds["param"])
        self.compute = compute
        new = dict(zip(("param", *program.state), program.outputs, strict=True))
        self.new = {name: value for name, value in new.items() if program.rank(name) == ELEMENT and value != name}
        """The arrays that change, and their new values."""
        self.begins = [0]
        """The first pass of each stage; the number of all passes."""
        self.depth = self._depths()
        self.ends = [line for line in program.body if _is_end(program, line)]
        reductions = [self.depth[line.target] for line in self.ends]
        self.count = max([*reductions, *(self._depth_of(value) + 1 for value in self.new.values()), self.begins[-1]])
        self.begins.append(self.count)

    def _depth_of(self, value: Operand) -> int:
        return self.depth.get(value, 0) if isinstance(value, str) else 0

    def _depths(self) -> dict[str, int]:
        program, depth = self.program, dict[str, int]()
        for stage in range(program.stage_count):
            for line in program.body:
                if line.rank != MODEL and program.stages[line.target] == stage:
                    before = max((depth.get(name, 0) for name in line.reads), default=0)
                    depth[line.target] = max(self.begins[stage], before + _is_end(program, line))
            if stage + 1 < program.stage_count:
                totals = (x for x in program.body if x.operation == "total" and program.stages[x.target] == stage + 1)
                known = (depth.get(name, 0) for total in totals for name in total.reads)
                self.begins.append(max([self.begins[stage], *known]))
        return depth

    def best(self) -> Cut:
        names = list(self.new)
        found: tuple[tuple[float, int], Sequence[Pass]] | None = None
        for choice in product(*(range(self._depth_of(self.new[name]), self.count) for name in names)):
            made = self._passes(dict(zip(names, choice, strict=True)))
            if made is None:
                continue
            moved = sum(
                bytes_of(self.kinds[name])
                for each in made
                for name in (*(array for _, array in each.reads), *(array for array, _ in each.writes))
            )
            cost = moved, sum(len(each.lines) for each in made)
            if found is None or cost < found[0]:
                found = cost, made
        assert found is not None  # to write everything in the last pass is always possible
        return self._arranged(found[1])

    def _passes(self, when: Mapping[str, int]) -> list[Pass] | None:
        """The passes for a choice of when arrays are written; None if one would need a value that is gone."""
        made: list[Pass] = []
        for number in range(self.count):
            each = self._pass(number, when)
            if each is None:
                return None
            made.append(each)
        return made

    def _pass(self, number: int, when: Mapping[str, int]) -> Pass | None:
        program = self.program
        ends = tuple(line for line in self.ends if self.depth[line.target] == number + 1)
        writes = tuple((name, self.new[name]) for name, place in when.items() if place == number)
        there = {self.new[name]: name for name, place in when.items() if place < number and self._is_exact(name)}
        reads: dict[str, str] = {}
        wanted: set[str] = set()
        stack: list[Operand] = [*(line.operands[0] for line in ends), *(value for _, value in writes)]
        while stack:
            value = stack.pop()
            if not isinstance(value, str) or value in wanted or program.rank(value) != ELEMENT:
                continue
            if value in self.lines and value not in there:
                wanted.add(value)
                stack += self.lines[value].operands
            elif value in self.kinds and when.get(value, number) >= number:
                reads[value] = value
            elif value in there:
                reads[value] = there[value]
            else:
                return None
        order = {name: place for place, name in enumerate(program.inputs)}
        pairs = sorted(reads.items(), key=lambda pair: order[pair[1]])
        return Pass(tuple(pairs), tuple(line for line in program.body if line.target in wanted), ends, writes)

    def _is_exact(self, name: str) -> bool:
        """Whether the new value of an array can be read back: a number, kept as it was computed."""
        line = self.lines.get(str(self.new[name]))
        is_truth = line is not None and line.operation in OPERATIONS and OPERATIONS[line.operation].is_truth
        return self.kinds[name] == self.compute and not is_truth

    def _arranged(self, passes: Sequence[Pass]) -> Cut:
        """The passes with the small lines around them: those of a stage, then the end of the stage."""
        program, begins = self.program, self.begins
        stage_of = [stage for stage in range(len(begins) - 1) for _ in range(begins[stage], begins[stage + 1])]
        many = self.count + program.stage_count
        small: list[list[Instruction]] = [[] for _ in range(many)]
        for line in program.body:
            if line.rank in (MODEL, ELEMENT, MATRIX) or _is_end(program, line):
                continue
            depth, stage = self.depth[line.target], program.stages[line.target]
            # What is known with the stage is computed at its beginning, all else behind a pass.
            small[depth + (stage if depth == begins[stage] else stage_of[depth - 1])].append(line)
        placed: list[Pass | None] = [None] * many
        for number, each in enumerate(passes):
            placed[number + stage_of[number]] = each
        stages = (*(begin + stage for stage, begin in enumerate(begins[:-1])), many)
        kinds = tuple((name, self.kinds[name]) for name in program.inputs if program.rank(name) == ELEMENT)
        return Cut(tuple(map(tuple, small)), tuple(placed), stages, kinds)


def _is_end(program: Program, line: Instruction) -> bool:
    """Whether a line reduces elements, so that it is known at the end of a pass."""
    return line.operation in REDUCTIONS and program.rank(line.operands[0]) == ELEMENT


def invariant(program: Program) -> Iterator[Instruction]:
    """The lines that compute with numbers of the host alone, which lines of any rank may read."""
    known: set[str] = set()
    for line in program.body:
        if line.rank == ELEMENT and all(name in known or program.rank(name) == NUMBER for name in line.reads):
            known.add(line.target)
            yield line


def obstacle(program: Program, kinds: Sequence[str]) -> str:
    """Why passes cannot do a program whose state is kept in these kinds; empty where they can."""
    if any(line.rank == MATRIX or line.operation in ("matmul", "transpose") for line in program.body):
        return "it multiplies matrices"
    if program.by_rows and any(kind in BLOCKS for kind in kinds):
        return "it tells rows and columns apart, and blocks of 8-bit state run across rows"
    return ""
