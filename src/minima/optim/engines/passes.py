"""A program cut into passes over memory: which arrays each pass reads and writes, and what happens between two of them.

A reduction is known when all elements have been seen: what depends on it waits for the next pass. So every value has a
*depth*, the number of reductions over elements before it, and can be had in the pass of that number at the earliest.
When an array gets its new value is a choice. Written at once, a later pass may read the new value there in place of
computing it again, but can no longer have the old one; and only what is kept as it was computed may be read back, since
a rounded value would give other bits. Every choice is tried, and the one that moves the fewest bytes is taken; of those
that move as few, the one with the fewest operations.

What there is of a tensor, its rows or its columns as a whole is computed between two passes, in *small* lines. Totals
over all parameters divide the passes into stages, between which others compute. So do products of matrices, with all
that lies between the first and the last of them: the pass before writes what they begin with into arrays of its own,
and the passes behind read what they end in.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

from minima.optim.engines.storage import BLOCK, BLOCKS, base
from minima.optim.language.operations import DECOMPOSITIONS, OPERATIONS, REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT, MATRIX, MODEL, NUMBER, TENSOR

__all__ = ["Cut", "Pass", "array_of", "bytes_of", "cut", "invariant", "obstacle", "products", "whole"]

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
    products: tuple[Instruction, ...] = ()
    """The products of matrices, and what lies between them."""
    operands: tuple[str, ...] = ()
    """The values for elements that products begin with, each of which has an array (`array_of`)."""
    results: tuple[str, ...] = ()
    """Those that they end in, and that passes read."""

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
    def writing(self) -> tuple[bool, ...]:
        """For each stage whether it writes to the parameter or its state; the last one does."""
        inner = {array_of(name) for name in (*self.operands, *self.results)}
        found: list[bool] = []
        for first, end in zip(self.stages, self.stages[1:], strict=False):
            made = [each for each in self.passes[first:end] if each is not None]
            found.append(any(name not in inner for each in made for name, _ in each.writes))
        return (*found[:-1], True)

    @property
    def bytes(self) -> float:
        """The bytes that all passes move for every element."""
        return sum(sum(moved.values()) for both in self.traffic for moved in both)


def bytes_of(kind: str) -> float:
    """The bytes of an element; of one in a block of codes with its share of the scale."""
    return _BYTES.get(base(kind), 1 + 4 / BLOCK)


def array_of(value: str) -> str:
    """What the array is called that takes a value to products of matrices, or from them."""
    return f"@{value}"


def whole(program: Program) -> Pass:
    """The one pass of a program that looks at nothing beyond one element."""
    reads = tuple((name, name) for name in program.inputs)
    new = zip(("param", *program.state), program.outputs, strict=True)
    return Pass(reads, program.body, (), tuple((name, value) for name, value in new if value != name))


@cache
def cut(program: Program, kinds: tuple[str, ...], compute: str) -> Cut:
    """Cut a program into passes.

    Args:
        program: The program.
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
        self.products = products(program)
        made = {line.target for line in self.products}
        self.inside = made
        """The values that products of matrices make, and what lies between them."""
        read = dict.fromkeys(name for line in self.products for name in line.reads if name not in made)
        self.operands = [name for name in read if program.rank(name) == ELEMENT]
        self.needs = list(read)
        rest = [name for line in program.body if line.target not in made for name in line.reads]
        used = dict.fromkeys([*rest, *program.outputs])
        self.results = [str(name) for name in used if name in made and program.rank(name) == ELEMENT]
        self.kinds |= {array_of(name): compute for name in (*self.operands, *self.results)}
        self.stage, self.stage_count = self._stages()
        self.begins = [0]
        """The first pass of each stage; the number of all passes."""
        self.depth = self._depths()
        self.ends = [line for line in program.body if self._is_end(line)]
        reductions = [self.depth[line.target] for line in self.ends]
        self.count = max([*reductions, *(self._depth_of(value) + 1 for value in self.new.values()), self.begins[-1]])
        self.begins.append(self.count)

    def _depth_of(self, value: Operand) -> int:
        return self.depth.get(value, 0) if isinstance(value, str) else 0

    def _stages(self) -> tuple[Mapping[str, int], int]:
        """The stage of each value, and how many there are."""
        if not self.products:
            return self.program.stages, self.program.stage_count
        stages: dict[str, int] = {}
        for line in self.program.body:
            stages[line.target] = int(any(name in self.inside or stages.get(name) for name in line.reads))
        return stages, 2

    def _is_end(self, line: Instruction) -> bool:
        """Whether a line reduces elements, so that it is known at the end of a pass."""
        is_reduction = line.operation in REDUCTIONS and self.program.rank(line.operands[0]) == ELEMENT
        return is_reduction and line.target not in self.inside

    def _depths(self) -> dict[str, int]:
        program, depth = self.program, dict[str, int]()
        for stage in range(self.stage_count):
            for line in program.body:
                if line.rank != MODEL and line.target not in self.inside and self.stage[line.target] == stage:
                    before = max((depth.get(name, 0) for name in line.reads), default=0)
                    depth[line.target] = max(self.begins[stage], before + self._is_end(line))
            if stage + 1 < self.stage_count:
                totals = (x for x in program.body if x.operation == "total" and self.stage[x.target] == stage + 1)
                known = [depth.get(name, 0) for total in totals for name in total.reads]
                known += [depth.get(name, 0) + (name in self.operands) for name in self.needs]
                self.begins.append(max([self.begins[stage], *known]))
                depth |= {name: self.begins[-1] for name in self.inside}
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
        writes: tuple[tuple[str, Operand], ...] = tuple(
            (name, self.new[name]) for name, place in when.items() if place == number
        )
        if self.products and number == self.begins[1] - 1:
            writes += tuple((array_of(name), name) for name in self.operands)
        there = {self.new[name]: name for name, place in when.items() if place < number and self._is_exact(name)}
        reads: dict[str, str] = {}
        wanted: set[str] = set()
        stack: list[Operand] = [*(line.operands[0] for line in ends), *(value for _, value in writes)]
        while stack:
            value = stack.pop()
            if not isinstance(value, str) or value in wanted or program.rank(value) != ELEMENT:
                continue
            if value in self.results:
                reads[value] = array_of(value)
            elif value in self.lines and value not in there:
                wanted.add(value)
                stack += self.lines[value].operands
            elif value in self.kinds and when.get(value, number) >= number:
                reads[value] = value
            elif value in there:
                reads[value] = there[value]
            else:
                return None
        order = {name: place for place, name in enumerate((*program.inputs, *map(array_of, self.results)))}
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
        many = self.count + self.stage_count
        small: list[list[Instruction]] = [[] for _ in range(many)]
        for line in program.body:
            if line.rank in (MODEL, ELEMENT) or line.rank >= MATRIX or line.target in self.inside or self._is_end(line):
                continue
            depth, stage = self.depth[line.target], self.stage[line.target]
            # What is known with the stage is computed at its beginning, all else behind a pass.
            small[depth + (stage if depth == begins[stage] else stage_of[depth - 1])].append(line)
        placed: list[Pass | None] = [None] * many
        for number, each in enumerate(passes):
            placed[number + stage_of[number]] = each
        stages = (*(begin + stage for stage, begin in enumerate(begins[:-1])), many)
        kinds = tuple((name, kind) for name, kind in self.kinds.items() if program.rank(name) in (ELEMENT, NUMBER))
        products = self.products, tuple(self.operands), tuple(self.results)
        return Cut(tuple(map(tuple, small)), tuple(placed), stages, kinds, *products)


@cache
def products(program: Program) -> tuple[Instruction, ...]:
    """The products of matrices, and all lines between the first and the last of them.

    So is what only scales the first operand by what a reduction has found, which would take a pass of its own; what is
    computed from other operands alone; and what makes one array of several results.
    """
    rank, body = program.rank, program.body
    inner = {line.target for line in body if line.operation in ("matmul", "transpose") or line.rank >= MATRIX}
    inner |= {line.target for line in body if any(rank(name) >= MATRIX for name in line.reads)}
    behind, before = set(inner), set(inner)
    for line in body:
        if any(name in behind for name in line.reads):
            behind.add(line.target)
    for line in reversed(body):
        if line.target in before:
            before.update(line.reads)
    found = behind & before
    depth: dict[str, int] = {}
    scaled: set[str] = set()
    for line in body:
        is_end = line.operation in REDUCTIONS and rank(line.operands[0]) == ELEMENT
        depth[line.target] = is_end + max((depth.get(name, 0) for name in line.reads), default=0)
        arrays = {name for name in line.reads if rank(name) == ELEMENT}
        if len(arrays) == 1 and all(name in scaled or depth.get(name, 0) < depth[line.target] for name in arrays):
            scaled.add(line.target)
    kept = set(program.outputs) | {name for line in body if line.target not in before for name in line.reads}
    for line in reversed(body):
        arrays = {name for name in line.reads if rank(name) == ELEMENT}
        if line.rank != ELEMENT or line.target not in before - found - kept:
            continue
        if any(rank(name) not in (NUMBER, TENSOR, ELEMENT) for name in line.reads):
            continue
        if not all(other.target in found for other in body if line.target in other.reads):
            continue
        there = {name for other in body if other.target in found for name in other.reads}
        if line.target in scaled or arrays <= there:
            found.add(line.target)
    return tuple(line for line in body if line.target in found | _joining(program, found))


def _joining(program: Program, found: Collection[str]) -> set[str]:
    """The lines behind products that make one array of several, and round it: as few as leave the fewest to passes."""
    best, inside, many = set[str](), set(found), len(_left(program, found))
    for line in program.body:
        arrays = [name for name in line.reads if program.rank(name) != NUMBER]
        if line.rank != ELEMENT or line.target in inside or not arrays or not all(name in inside for name in arrays):
            continue
        inside.add(line.target)
        left = len(_left(program, inside))
        if left < many or line.operation == "bfloat16" and left == many and inside == {*found, *best, line.target}:
            best, many = inside - {*found}, left
    return best


def _left(program: Program, found: Collection[str]) -> set[Operand]:
    """The arrays of some lines that others read."""
    read = {name for line in program.body if line.target not in found for name in line.reads}
    return {name for name in (*read, *program.outputs) if name in found and program.rank(name) == ELEMENT}


def invariant(program: Program) -> Iterator[Instruction]:
    """The lines that compute with numbers of the host alone, which lines of any rank may read."""
    known: set[str] = set()
    for line in program.body:
        if line.rank == ELEMENT and all(name in known or program.rank(name) == NUMBER for name in line.reads):
            known.add(line.target)
            yield line


def obstacle(program: Program, kinds: Sequence[str]) -> str:
    """Why passes cannot do a program whose state is kept in these kinds; empty where they can."""
    lines = products(program)
    made = {line.target for line in lines}
    if lines and program.totalled:
        return "it multiplies matrices, and computes with totals over all parameters"
    if any(program.rank(name) >= MATRIX for name in program.kept):
        return "it keeps matrices of rows by rows, or of columns by columns"
    if any(line.operation in DECOMPOSITIONS for line in program.body):
        return "it takes matrices apart, or sorts their columns"
    if any(line.rank >= MATRIX and line.operation in REDUCTIONS for line in lines):
        return "it looks along an axis of what products of matrices make"
    if any(
        0 < program.rank(name) < MATRIX and program.rank(name) not in _TAKEN
        for line in lines
        for name in (line.target, *line.reads)
    ):
        return "it computes with numbers of rows, of columns or of the whole model between products of matrices"
    if any(name in made for name in (*program.reports, *program.totalled)):
        return "it reports what it computes between products of matrices"
    if program.by_rows and any(kind in BLOCKS for kind in kinds):
        return "it tells rows and columns apart, and blocks of 8-bit state run across rows"
    return ""


_TAKEN = (TENSOR, ELEMENT)
"""The ranks of what products of matrices, and lines between them, may compute with."""
