"""The host part of a program, made into a Python function: what is computed once a step, in float64.

Python's own floats are several times faster than NumPy's, and have the same bits, but complain where IEEE 754 has an
answer (1 / 0, an overflow). Then NumPy is asked.
"""

import math
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import numpy as np

from minima.optim.language.program import Operand, Program

__all__ = ["HostPart", "host_part"]

HostPart = Callable[[Mapping[str, Any], int, bool], tuple[float, ...]]
"""Takes the hyperparameters by name, ``t`` and ``first``; gives the scalars of the program, in their order."""


@cache
def host_part(program: Program) -> HostPart:
    """The host part of a program."""
    exact = _compiled(program, _EXACT)

    def rescue(numbers: Mapping[str, Any], t: int, first: bool) -> tuple[float, ...]:
        wide = {name: np.float64(value) for name, value in numbers.items()}
        with np.errstate(all="ignore"):  # infinity and NaN are for the user to see in the result
            return tuple(map(float, exact(wide, t, first)))

    return _compiled(program, _FAST, rescue)


def _compiled(
    program: Program, functions: Mapping[str, Any], rescue: Callable[..., tuple[float, ...]] | None = None
) -> Callable[..., tuple[float, ...]]:
    """The host part on numbers for which the functions are; with ``rescue`` for where they complain."""

    def text(operand: Operand) -> str:  # a hyperparameter may be called like a function
        return f"its_{operand}" if isinstance(operand, str) else f"number({operand!r})"

    given = {"t": "number(t)", "first": "number(first)"}
    lines = [f"{text(name)} = {given.get(name, f'numbers[{name!r}]')}" for name in program.hypers]
    lines += [f"{text(x.target)} = {_PYTHON[x.operation].format(*map(text, x.operands))}" for x in program.host]
    lines.append(f"return ({''.join(f'{text(name)}, ' for name in program.scalars)})")
    if rescue is not None:
        errors = "(ZeroDivisionError, OverflowError, ValueError)"
        lines = ["try:", *(f"    {line}" for line in lines), f"except {errors}:"]
        lines.append("    return rescue(numbers, t, first)")
    namespace: dict[str, Any] = {**functions, "inf": math.inf, "nan": math.nan, "rescue": rescue}
    exec("def host(numbers, t, first):\n" + "".join(f"    {line}\n" for line in lines), namespace)
    return namespace["host"]


_PYTHON = {
    **{name: f"{{}} {sign} {{}}" for name, sign in zip(("add", "sub", "mul", "div"), "+-*/", strict=True)},
    **dict(lt="{} < {}", le="{} <= {}", gt="{} > {}", ge="{} >= {}", eq="{} == {}", ne="{} != {}"),
    **{"and": "({} and {})", "or": "({} or {})", "not": "(not {})", "neg": "-{}"},
    **{name: f"{name}({{}})" for name in ("sqrt", "exp", "log", "abs", "sign")},
    "pow": "power({}, {})",
    "maximum": "({0} if {0} >= {1} or {0} != {0} else {1})",
    "minimum": "({0} if {0} <= {1} or {0} != {0} else {1})",
    "where": "({1} if {0} else {2})",
}
"""How Python writes each operation on two numbers."""


def _sign(x: float) -> float:
    return 1.0 if x > 0 else -1.0 if x < 0 else x if x != x else 0.0


_FAST = {"number": float, "sqrt": math.sqrt, "exp": math.exp, "log": math.log, "power": math.pow, "sign": _sign}
_EXACT = {"number": np.float64, "sqrt": np.sqrt, "exp": np.exp, "log": np.log, "power": np.power, "sign": np.sign}
