"""A program with a copy of the parameter in full precision: what the step computes with, and keeps."""

from dataclasses import replace
from functools import cache

from minima.optim.language.program import Instruction, Operand, Program

__all__ = ["with_master"]


@cache
def with_master(program: Program) -> Program:
    """The program that steps a copy, one more state, and writes it to the parameter as well."""
    taken = {*program.inputs, *program.scalars, *(line.target for line in program.body)}
    master = "master"
    while master in taken:
        master = f"{master}_"

    def renamed(operand: Operand) -> Operand:
        return master if operand == "param" else operand

    body = tuple(Instruction(x.target, x.operation, tuple(map(renamed, x.operands))) for x in program.body)
    outputs = tuple(map(renamed, program.outputs))
    return replace(program, inputs=(*program.inputs, master), body=body, outputs=(*outputs, outputs[0]))
