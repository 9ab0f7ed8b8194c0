"""A program as loops that people can read, with the rule's own words beside them."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence

from minima.optim.engines.passes import Cut, Pass, array_of, whole
from minima.optim.language.infix import ATOM, Written, literal, written
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import COLUMN, ELEMENT, MODEL, ROW, TENSOR

__all__ = ["is_inverse", "listing"]

_MADE_UP = re.compile(r"[hx]\d+")
"""The names that lowering gives to values which have none in the rule."""
_WIDTH = 78
"""Columns; a remark that does not fit nobody would read."""
_RANKS = {MODEL: "all parameters together", TENSOR: "every tensor", ROW: "every row", COLUMN: "every column"}
_WIDE = (MODEL, TENSOR)
"""What is computed in float64."""

Lines = list[tuple[str, str]]
"""Lines, each with what is remarked beside it."""


def listing(program: Program, dtype: str, cut: Cut | None = None) -> str:
    """The host part, and the body as loops over the elements; each line that has a name says what it amounts to.

    Args:
        program: The program.
        dtype: The precision of the loops.
        cut: The passes of a program that looks beyond one element; without them, its lines are operations on whole
            arrays.
    """
    return _Listing(program, dtype).text(cut)


def is_inverse(line: Instruction) -> bool:
    """Whether this is one divided by something: what lowering makes of a division by a number of the host."""
    return line.operation == "div" and line.operands[0] == 1.0


class _Listing:
    def __init__(self, program: Program, dtype: str) -> None:
        self.program = program
        self.dtype = dtype
        everything = (*program.host, *program.body)
        self.known = {line.target: line for line in everything if _MADE_UP.fullmatch(line.target)}
        stored = zip(("param", *program.state), program.outputs, strict=True)
        self.stored = [(name, value) for name, value in stored if name == "param" or value != name]

    def text(self, cut: Cut | None) -> str:
        parts: list[Lines] = []
        if self.program.host:
            read = {*self.program.scalars, *self.program.wide}
            host = [(str(line), self._remark(line) if line.target in read else "") for line in self.program.host]
            parts.append([("# once per step, on the host, in float64", ""), *host])
        if self.program.is_plain:
            parts.append(self._loop(whole(self.program)))
        else:
            parts += self._passes(cut) if cut else [*self._whole_arrays()]
        column = max((len(line) for part in parts for line, remark in part if remark), default=0) + 3
        return "\n\n".join("\n".join(_beside(part, column)) for part in parts)

    def _passes(self, cut: Cut) -> Iterator[Lines]:
        """A loop for each pass, and between them what is computed for tensors, rows, columns and all parameters."""
        for stage, (begin, end) in enumerate(zip(cut.stages, cut.stages[1:], strict=False)):
            together = [x for x in self.program.body if x.rank == MODEL and self.program.stages[x.target] == stage]
            if together:
                yield [*self._grouped(together)]
            for small, each in zip(cut.small[begin:end], cut.passes[begin:end], strict=True):
                if small:
                    yield [*self._grouped(small)]
                if each:
                    yield self._loop(each)
                if each and any(name in map(array_of, cut.operands) for name, _ in each.writes):
                    heading = f"# products of matrices, one parameter after another, in {self.dtype}"
                    yield [(heading, ""), *map(self._line, cut.products)]
        last = len(cut.stages) - 1
        after = [x for x in self.program.body if x.rank == MODEL and self.program.stages[x.target] >= last]
        if after:
            yield [*self._grouped(after)]
        if kept := [(name, value) for name, value in self.stored if self.program.rank(name) != ELEMENT]:
            yield [("# kept", ""), *((f"{name} = {_infix(value, {})[0]}", "") for name, value in kept)]

    def _whole_arrays(self) -> Iterator[Lines]:
        """One operation after another."""
        yield [("# one after another, each for a whole parameter", ""), *map(self._line, self.program.body)]
        yield [("# kept", ""), *((f"{name}[...] = {_infix(value, {})[0]}", "") for name, value in self.stored)]

    def _loop(self, each: Pass) -> Lines:
        lines: Lines = [(f"# for every element, in {self.dtype}", ""), ("for i in range(n):", "")]
        lines.append((f"    {', '.join(value for value, _ in each.reads)} = read(i)", ""))
        lines += [(f"    {line}", remark) for line, remark in map(self._line, each.lines)]
        for name, value in each.writes:
            written_to = value if name == array_of(str(value)) else name
            lines.append((f"    {written_to}[i] = {_infix(value, {})[0]}", ""))
        return lines + [self._line(line) for line in each.ends]

    def _grouped(self, lines: Iterable[Instruction]) -> Iterator[tuple[str, str]]:
        """Lines, with a heading wherever they are for something else than those before."""
        before = None
        for line in lines:
            if line.rank != before:
                before = line.rank
                yield f"# for {_RANKS[line.rank]}, in {'float64' if line.rank in _WIDE else self.dtype}", ""
            yield self._line(line)

    def _line(self, line: Instruction) -> tuple[str, str]:
        return str(line), "" if line.target in self.known else self._remark(line)

    def _remark(self, line: Instruction) -> str:
        """What a line amounts to, written with names of the rule only; nothing where the line itself says it."""
        if not any(operand in self.known for operand in line.operands):
            return ""
        return _infix(line.target, {**self.known, line.target: line})[0]


def _beside(lines: Sequence[tuple[str, str]], column: int) -> list[str]:
    fitting = _WIDTH - column - len("# ")
    return [f"{line:<{column}}# {remark}" if 0 < len(remark) <= fitting else line for line, remark in lines]


def _infix(operand: Operand, known: Mapping[str, Instruction]) -> Written:
    """A value as an expression in which known names are written out."""
    if not isinstance(operand, str):
        return literal(operand)
    if operand not in known:
        return operand, ATOM
    line = known[operand]
    operation, operands = line.operation, line.operands
    if operation == "narrow":  # the same number
        return _infix(operands[0], known)
    last = _definition(operands[-1], known)
    if operation == "mul" and operands[0] == operands[-1]:  # lowering multiplies where the rule squares
        operation, operands = "pow", (operands[-1], 2.0)
    elif operation == "mul" and last is not None and is_inverse(last):
        operation, operands = "div", (operands[0], last.operands[1])
    elif operation == "total":
        operands = operands[:1]
    return written(operation, [_infix(each, known) for each in operands])


def _definition(operand: Operand, known: Mapping[str, Instruction]) -> Instruction | None:
    """The line that a known name stands for, in whatever precision it is read."""
    line = known.get(operand) if isinstance(operand, str) else None
    return _definition(line.operands[0], known) if line is not None and line.operation == "narrow" else line
