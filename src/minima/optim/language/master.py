"""A program with a copy of the parameter in full precision: what the step computes with, and keeps."""

from dataclasses import replace
from functools import cache

from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT

__all__ = ["with_master"]


@cache
def with_master(program: Program) -> Program:
    """The program that steps a copy, one more state, and writes it to the parameter as well.

    The copy is of use for as long as the parameter is what it was rounded to. Where it is not, someone has written to
    the parameter since the last step, and the step goes on from there.
    """
    taken = {*program.inputs, *program.scalars, *program.wide, *program.shape, *(line.target for line in program.body)}

    def unused(name: str) -> str:
        while name in taken:
            name = f"{name}_"
        return name

    master, kept, untouched, current = map(unused, ("master", "kept", "untouched", "current"))

    def renamed(operand: Operand) -> Operand:
        return current if operand == "param" else operand

    body = (
        Instruction(kept, "nearest", (master,)),
        Instruction(untouched, "eq", (kept, "param")),
        Instruction(current, "where", (untouched, master, "param")),
        *(replace(x, operands=tuple(map(renamed, x.operands))) for x in program.body),
    )
    outputs = tuple(map(renamed, program.outputs))
    return replace(
        program,
        inputs=(*program.inputs, master),
        body=body,
        outputs=(*outputs, outputs[0]),
        numbers=(*program.numbers, -1),  # as the parameter
        ranks=(*program.ranks, ELEMENT) if program.ranks else (),
    )
