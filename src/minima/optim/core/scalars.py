"""The host part of a program, made into a Python function: what is computed once a step, in float64.

Python's own floats are several times faster than NumPy's, and have the same bits, but complain where IEEE 754 has an
answer (1 / 0, an overflow). Then NumPy is asked.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

import numpy as np

from minima.optim.language.elementary import powers
from minima.optim.language.operations import OPERATIONS, Operation
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.rule import GIVEN

__all__ = ["HostPart", "host_part", "numbers_function"]

HostPart = Callable[[Mapping[str, Any], int, bool, float], tuple[float, ...]]
"""Takes the hyperparameters by name, ``t``, ``first`` and ``loss``; gives the scalars of the program, and its wide
numbers."""


@cache
def host_part(program: Program, functions: tuple[tuple[str, Callable[..., float]], ...] = ()) -> HostPart:
    """The host part of a program; with functions that compute some operations, by their names, in less time."""
    compute = numbers_function(program.hypers, program.host, (*program.scalars, *program.wide), dict(functions))
    given = {name: f"numbers[{name!r}]" for name in program.hypers} | {name: f"float({name})" for name in GIVEN}
    source = f"lambda numbers, {', '.join(GIVEN)}: compute({', '.join(given[name] for name in program.hypers)})"
    return eval(source, {"compute": compute})


def numbers_function(
    arguments: Sequence[str],
    lines: Sequence[Instruction],
    results: Sequence[Operand],
    functions: Mapping[str, Callable[..., float]] = MappingProxyType({}),
) -> Callable[..., tuple[float, ...]]:
    """Some lines as a function of numbers, one for each of the arguments, that gives these results."""
    exact = _compiled(arguments, lines, results, np.float64, {name: _exact(row) for name, row in OPERATIONS.items()})

    def rescue(*numbers: Any) -> tuple[float, ...]:
        with np.errstate(all="ignore"):  # infinity and NaN are for the user to see in the result
            return tuple(map(float, exact(*map(np.float64, numbers))))

    known = {name: functions.get(name, row.number) for name, row in OPERATIONS.items()}
    return _compiled(arguments, lines, results, float, known, rescue)


def _exact(row: Operation) -> Callable[..., Any]:
    """An operation on numbers of NumPy. What has a definition never complains: it is the same here."""
    number = row.number
    if row.definition is None or number is None:
        return row.numpy
    return lambda *args: np.float64(number(*args))


def _compiled(
    arguments: Sequence[str],
    lines: Sequence[Instruction],
    results: Sequence[Operand],
    number: type,
    functions: Mapping[str, Any],
    rescue: Callable[..., tuple[float, ...]] | None = None,
) -> Callable[..., tuple[float, ...]]:
    """Lines on one kind of number; with ``rescue`` for where its functions complain."""

    def text(operand: Operand) -> str:  # a hyperparameter may be called like a function
        if isinstance(operand, str):
            return f"its_{operand}"
        return f"{float(operand)!r}" if number is float else f"number({operand!r})"

    def result(line: Instruction) -> str:
        row, operands = OPERATIONS[line.operation], [text(operand) for operand in line.operands]
        if line in of_steps:  # as `power_of_floats` does, in a third of the time
            return (
                f"powers({operands[0]}, whole >> 6)[whole & 63] if {operands[0]} else call_pow({', '.join(operands)})"
            )
        if row.number is None:  # an operator of Python's
            return row.text.format(*operands)
        return f"call_{line.operation}({', '.join(operands)})"

    of_steps = [line for line in lines if line.operation == "pow" and line.operands[1] == "t"] if rescue else []
    given = ", ".join(map(text, arguments))
    written = [f"whole = int({text('t')})"] if of_steps else []
    written += [f"{text(line.target)} = {result(line)}" for line in lines]
    written.append(f"return ({''.join(f'{text(each)}, ' for each in results)})")
    if rescue is not None:
        errors = "(ZeroDivisionError, OverflowError, ValueError)"
        written = ["try:", *(f"    {line}" for line in written), f"except {errors}:", f"    return rescue({given})"]
    namespace: dict[str, Any] = {f"call_{name}": function for name, function in functions.items()}
    namespace |= {"number": number, "inf": math.inf, "nan": math.nan, "rescue": rescue, "powers": powers}
    exec(f"def compute({given}):\n" + "".join(f"    {line}\n" for line in written), namespace)
    return namespace["compute"]
