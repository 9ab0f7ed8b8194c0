"""A program: what a rule does to one element, as a straight line of single operations.

It has two parts. The *host* part depends on hyperparameters and ``t`` alone (``1 - beta1**t``); it is computed in
float64, once per step, and hands *scalars* to the *body*, which is computed for every element in the precision of the
parameter. A program is a value: two programs that say the same are equal, so that engines may keep what they make of
one.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from minima.optim.language.operations import OPERATIONS

__all__ = ["Instruction", "Operand", "Program"]

Operand = str | float
"""The name of a value, or a literal."""


@dataclass(frozen=True)
class Instruction:
    """One operation: ``target = operation(operands)``."""

    target: str
    operation: str
    operands: tuple[Operand, ...]

    def __str__(self) -> str:
        return f"{self.target} = {OPERATIONS[self.operation].text.format(*map(_text, self.operands))}"


@dataclass(frozen=True)
class Program:
    """A rule, traced: inputs, the host part, the scalars that it hands over, the body, and what the body results in."""

    name: str
    inputs: tuple[str, ...]
    """The arrays that the body reads: ``param, grad`` and the state that this variant of the rule needs."""
    hypers: tuple[str, ...]
    """The numbers that the host part reads: hyperparameters, ``t``, and ``first`` as 1 or 0."""
    host: tuple[Instruction, ...]
    scalars: tuple[str, ...]
    """The numbers that the body reads: hyperparameters themselves, or results of the host part."""
    body: tuple[Instruction, ...]
    outputs: tuple[Operand, ...]
    """The new values of ``param`` and of each state, in the order of ``inputs``."""
    numbers: tuple[int, ...]
    """For each state which of its rule it is, as the random numbers of stochastic rounding depend on that."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: everything that engines keep is found by the program, in every planning."""
        return hash((self.name, self.inputs, self.hypers, self.host, self.body, self.outputs))

    def __str__(self) -> str:
        lines = [f"{self.name}: {', '.join(self.inputs)}; {', '.join(self.hypers)}"]
        lines += ["once per step, in float64:", *(f"    {line}" for line in self.host)] if self.host else []
        lines += ["for each element, in the precision of the parameter:", *(f"    {line}" for line in self.body)]
        stored = (n for n in self.inputs if n != "grad")
        lines += ["stored:", *(f"    {n} <- {_text(value)}" for n, value in zip(stored, self.outputs, strict=True))]
        return "\n".join(lines)

    @property
    def state(self) -> tuple[str, ...]:
        """The names of the state."""
        return self.inputs[2:]

    def body_function(
        self, dtype: np.dtype[Any], nearest: Callable[[Any], Any] | None = None
    ) -> Callable[..., tuple[Any, ...]]:
        """The body, compiled for NumPy and one precision: takes ``inputs``, then ``scalars``; gives ``outputs``.

        ``nearest`` gives a value as the parameter is kept.
        """
        return compile_lines("body", (*self.inputs, *self.scalars), self.body, self.outputs, dtype, nearest)


@cache
def compile_lines(
    name: str,
    arguments: tuple[str, ...],
    lines: tuple[Instruction, ...],
    results: tuple[Operand, ...],
    dtype: np.dtype[Any] | None = None,
    nearest: Callable[[Any], Any] | None = None,
) -> Callable[..., tuple[Any, ...]]:
    """A Python function of one line per instruction, on NumPy's own operators and functions."""
    renamed = (Instruction(f"its_{x.target}", x.operation, tuple(map(_its, x.operands))) for x in lines)
    body = "".join(f"    {line}\n" for line in renamed)
    returned = "".join(f"{_text(_its(value))}, " for value in results)
    source = f"def {name}({', '.join(map(str, map(_its, arguments)))}):\n{body}    return ({returned})\n"
    namespace: dict[str, Any] = {word: operation.numpy for word, operation in OPERATIONS.items()}
    namespace |= {"inf": np.inf, "nan": np.nan}  # what literals are called
    if dtype is not None:
        namespace |= {"where": partial(_where, dtype), "nearest": nearest}
    exec(source, namespace)
    return namespace[name]


def _its(operand: Operand) -> Operand:
    """What a value is called where functions have names too, which a user may have given to a hyperparameter."""
    return f"its_{operand}" if isinstance(operand, str) else operand


def _where(dtype: np.dtype[Any], condition: Any, x: Any, y: Any) -> Any:
    """NumPy's ``where`` in one precision; between two literals it would choose in float64."""
    return np.where(condition, np.asarray(x, dtype), np.asarray(y, dtype))


def _text(operand: Operand) -> str:
    return operand if isinstance(operand, str) else f"({operand!r})" if operand < 0 else repr(operand)
