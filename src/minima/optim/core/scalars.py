"""The host part of a program, made into a Python function: what is computed once a step, in float64.

Python's own floats are several times faster than NumPy's, and have the same bits, but complain where IEEE 754 has an
answer (1 / 0, an overflow). Then NumPy is asked.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from minima.optim.language.operations import OPERATIONS
from minima.optim.language.program import Instruction, Operand, Program

__all__ = ["HostPart", "host_part"]

HostPart = Callable[[Mapping[str, Any], int, bool], tuple[float, ...]]
"""Takes the hyperparameters by name, ``t`` and ``first``; gives the scalars of the program, and its wide numbers."""


@cache
def host_part(program: Program) -> HostPart:
    """The host part of a program."""
    exact = _compiled(program, np.float64, {name: row.numpy for name, row in OPERATIONS.items()})

    def rescue(numbers: Mapping[str, Any], t: int, first: bool) -> tuple[float, ...]:
        wide = {name: np.float64(value) for name, value in numbers.items()}
        with np.errstate(all="ignore"):  # infinity and NaN are for the user to see in the result
            return tuple(map(float, exact(wide, t, first)))

    return _compiled(program, float, {name: row.number for name, row in OPERATIONS.items()}, rescue)


def _compiled(
    program: Program,
    number: type,
    functions: Mapping[str, Any],
    rescue: Callable[..., tuple[float, ...]] | None = None,
) -> Callable[..., tuple[float, ...]]:
    """The host part on one kind of number; with ``rescue`` for where its functions complain."""

    def text(operand: Operand) -> str:  # a hyperparameter may be called like a function
        return f"its_{operand}" if isinstance(operand, str) else f"number({operand!r})"

    def result(line: Instruction) -> str:
        row, operands = OPERATIONS[line.operation], [text(operand) for operand in line.operands]
        if row.number is None:  # an operator of Python's
            return row.text.format(*operands)
        return f"call_{line.operation}({', '.join(operands)})"

    given = {"t": "number(t)", "first": "number(first)"}
    lines = [f"{text(name)} = {given.get(name, f'numbers[{name!r}]')}" for name in program.hypers]
    lines += [f"{text(line.target)} = {result(line)}" for line in program.host]
    lines.append(f"return ({''.join(f'{text(name)}, ' for name in (*program.scalars, *program.wide))})")
    if rescue is not None:
        errors = "(ZeroDivisionError, OverflowError, ValueError)"
        lines = ["try:", *(f"    {line}" for line in lines), f"except {errors}:"]
        lines.append("    return rescue(numbers, t, first)")
    namespace: dict[str, Any] = {f"call_{name}": function for name, function in functions.items()}
    namespace |= {"number": number, "inf": math.inf, "nan": math.nan, "rescue": rescue}
    exec("def host(numbers, t, first):\n" + "".join(f"    {line}\n" for line in lines), namespace)
    return namespace["host"]
