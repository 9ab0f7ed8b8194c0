"""A program as a loop that people can read, with the rule's own words beside it."""

import re
from collections.abc import Mapping

from minima.optim.language.infix import ATOM, Written, literal, written
from minima.optim.language.program import Instruction, Operand, Program

__all__ = ["is_inverse", "listing"]

_MADE_UP = re.compile(r"[hx]\d+")
"""The names that lowering gives to values which have none in the rule."""
_WIDTH = 78
"""Columns; a remark that does not fit nobody would read."""


def listing(program: Program, dtype: str) -> str:
    """The host part, and the body as a loop over the elements; each line that has a name says what it amounts to."""
    known = {line.target: line for line in (*program.host, *program.body) if _MADE_UP.fullmatch(line.target)}
    host = [(str(line), _remark(line, known) if line.target in program.scalars else "") for line in program.host]
    body = [(f"    {line}", "" if line.target in known else _remark(line, known)) for line in program.body]
    column = max((len(line) for line, remark in (*host, *body) if remark), default=0) + 3

    stored = [name for name in program.inputs if name != "grad"]
    lines = ["# once per step, on the host, in float64", *_beside(host, column), ""] if host else []
    lines.append(f"# for every element, in {dtype}")
    lines += ["for i in range(n):", f"    {', '.join(program.inputs)} = read(i)", *_beside(body, column)]
    lines += [f"    {name}[i] = {_infix(value, {})[0]}" for name, value in zip(stored, program.outputs, strict=True)]
    return "\n".join(lines)


def is_inverse(line: Instruction) -> bool:
    """Whether this is one divided by something: what lowering makes of a division by a number of the host."""
    return line.operation == "div" and line.operands[0] == 1.0


def _beside(lines: list[tuple[str, str]], column: int) -> list[str]:
    fitting = _WIDTH - column - len("# ")
    return [f"{line:<{column}}# {remark}" if 0 < len(remark) <= fitting else line for line, remark in lines]


def _remark(line: Instruction, known: Mapping[str, Instruction]) -> str:
    """What a line amounts to, written with names of the rule only; nothing where the line itself says it."""
    if not any(operand in known for operand in line.operands):
        return ""
    return _infix(line.target, {**known, line.target: line})[0]


def _infix(operand: Operand, known: Mapping[str, Instruction]) -> Written:
    """A value as an expression in which known names are written out."""
    if not isinstance(operand, str):
        return literal(operand)
    if operand not in known:
        return operand, ATOM
    line = known[operand]
    operation, operands = line.operation, line.operands
    last = operands[-1]
    if operation == "mul" and operands[0] == last:  # lowering multiplies where the rule squares
        operation, operands = "pow", (last, 2.0)
    elif operation == "mul" and isinstance(last, str) and last in known and is_inverse(known[last]):
        operation, operands = "div", (operands[0], known[last].operands[1])
    return written(operation, [_infix(each, known) for each in operands])
