"""A program: what a rule does to one parameter, as a straight line of single operations.

It has two parts. The *host* part depends on hyperparameters and ``t`` alone (``1 - beta1**t``); it is computed in
float64, once per step, and hands numbers to the *body*. Every line of the body has a rank (`ranks`): for elements, rows
and columns it is computed in the precision of the parameter, for a whole tensor and the whole model in float64. How
lines are cut into passes over memory is up to the engine. A program is a value: two programs that say the same are
equal, so that engines may keep what they make of one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache, cached_property, partial
from typing import Any

import numpy as np

from minima.optim.language.operations import DECOMPOSITIONS, OPERATIONS, REDUCTIONS, row_of
from minima.optim.language.ranks import COLUMN, ELEMENT, MATRIX, MODEL, ROW, TENSOR

__all__ = ["Instruction", "Operand", "Program"]

Operand = str | float
"""The name of a value, or a literal."""


@dataclass(frozen=True)
class Instruction:
    """One operation: ``target = operation(operands)``."""

    target: str
    operation: str
    operands: tuple[Operand, ...]
    rank: int = ELEMENT
    """How many there are of the result (`ranks`)."""

    def __str__(self) -> str:
        return f"{self.target} = {row_of(self.operation).text.format(*map(_text, self.operands))}"

    @property
    def reads(self) -> Iterator[str]:
        """The values that it computes with."""
        return (operand for operand in self.operands if isinstance(operand, str))


@dataclass(frozen=True)
class Program:
    """A rule, traced: inputs, the host part, the scalars that it hands over, the body, and what the body results in."""

    name: str
    inputs: tuple[str, ...]
    """The arrays that the body reads: ``param, grad`` and the state that this variant of the rule needs."""
    hypers: tuple[str, ...]
    """The numbers that the host part reads: hyperparameters, ``t``, ``first`` as 1 or 0, and ``loss``."""
    host: tuple[Instruction, ...]
    scalars: tuple[str, ...]
    """The numbers that the body reads: hyperparameters themselves, or results of the host part."""
    body: tuple[Instruction, ...]
    outputs: tuple[Operand, ...]
    """The new values of ``param`` and of each state, in the order of ``inputs``."""
    numbers: tuple[int, ...]
    """For each state which of its rule it is, as the random numbers of stochastic rounding depend on that."""
    wide: tuple[str, ...] = ()
    """The numbers of the host part that lines for tensors and for the model read, in float64."""
    ranks: tuple[int, ...] = ()
    """For each of ``inputs`` how many there are of it; empty where all have the size of the parameter."""
    shape: tuple[str, ...] = ()
    """What lines call the numbers of rows and of columns, if they read one of them."""
    reports: tuple[str, ...] = ()
    """Numbers for each tensor that are handed to whoever asked for them, such as the norm of the gradient."""

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        """Computed once: everything that engines keep is found by the program, in every planning."""
        return hash((self.name, self.inputs, self.hypers, self.host, self.body, self.outputs, self.reports))

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

    @cached_property
    def kept(self) -> tuple[str, ...]:
        """The state that there is of each parameter: all but what they share."""
        return tuple(name for name in self.state if self.rank(name) != MODEL)

    @cached_property
    def _rank(self) -> dict[str, int]:
        known: dict[str, int] = dict.fromkeys(self.inputs, ELEMENT) | dict(zip(self.inputs, self.ranks, strict=False))
        return known | dict.fromkeys(self.shape, TENSOR) | {line.target: line.rank for line in self.body}

    def rank(self, operand: Operand) -> int:
        """How many there are of a value: 0, as of a number, for a literal and for what the host part hands over."""
        return self._rank.get(operand, 0) if isinstance(operand, str) else 0

    @cached_property
    def is_plain(self) -> bool:
        """Whether nothing in it looks beyond one element."""
        return all(rank == ELEMENT for rank in self._rank.values()) and not self.reports

    @cached_property
    def by_rows(self) -> bool:
        """Whether it tells rows and columns apart; else a tensor is one row of entries in the order of memory."""
        return any(rank in (ROW, COLUMN) or rank >= MATRIX for rank in self._rank.values())

    @cached_property
    def stages(self) -> dict[str, int]:
        """For every value how many totals over all parameters must be known before it can be computed."""
        stages: dict[str, int] = {}
        for line in self.body:
            stage = max((stages.get(name, 0) for name in line.reads), default=0)
            stages[line.target] = stage + (line.operation == "total")
        return stages

    @cached_property
    def stage_count(self) -> int:
        """In how many stages it is run: between two of them, totals over all parameters are computed."""
        return 1 + max((self.stages[line.target] for line in self.body if line.rank != MODEL), default=0)

    @cached_property
    def totalled(self) -> tuple[str, ...]:
        """The numbers for each tensor that are added up over all parameters."""
        names = dict.fromkeys(name for line in self.body if line.operation == "total" for name in line.reads)
        return tuple(names)

    @cached_property
    def model(self) -> tuple[str, ...]:
        """The numbers for the whole model that lines of other ranks read, shared state among them."""
        found: dict[str, None] = {}
        for line in self.body:
            if line.rank != MODEL:
                found |= dict.fromkeys(name for name in line.reads if self.rank(name) == MODEL)
        outputs = zip(("param", *self.state), self.outputs, strict=True)
        found |= {x: None for name, x in outputs if self.rank(x) == MODEL and self.rank(name) != MODEL}  # pyright: ignore
        return tuple(found)

    def measured(self) -> "Program":
        """The same program, which also reports the norms of the gradient, of the update, and of the parameter."""
        moved, *norms = map(self._unused, ("moved", "grad_norm", "update_norm", "param_norm"))
        lines = [Instruction(moved, "sub", (self.outputs[0], "param"))]
        for name, operand in zip(norms, ("grad", moved, "param"), strict=True):
            lines.append(Instruction(name, "norm", (operand,), TENSOR))
        return replace(self, body=(*self.body, *lines), reports=tuple(norms))

    def scaled(self) -> "Program":
        """The same program for gradients that are too large, as after the backward pass of a scaled loss: as many times
        as the last of its ``hypers`` says."""
        scale, unscale, unscaled = map(self._unused, ("grad_scale", "unscale", "unscaled"))

        def read(operand: Operand) -> Operand:
            return unscaled if operand == "grad" else operand

        lines = (replace(line, operands=tuple(map(read, line.operands))) for line in self.body)
        return replace(
            self,
            hypers=(*self.hypers, scale),
            host=(*self.host, Instruction(unscale, "div", (1.0, scale))),
            scalars=(*self.scalars, unscale),
            body=(Instruction(unscaled, "mul", ("grad", unscale)), *lines),
            outputs=tuple(map(read, self.outputs)),
        )

    def _unused(self, name: str) -> str:
        """A name that nothing has here."""
        taken = {*self.inputs, *self.hypers, *self.scalars, *self.wide, *self.shape, *self._rank}
        taken |= {line.target for line in self.host}
        while name in taken:
            name = f"{name}_"
        return name


@cache
def compile_lines(
    name: str,
    arguments: tuple[str, ...],
    lines: tuple[Instruction, ...],
    results: tuple[Operand, ...],
    dtype: np.dtype[Any] | None = None,
) -> Callable[..., tuple[Any, ...]]:
    """A Python function of one line per instruction, on NumPy's own operators and functions where it has them.

    It takes the arguments, and the words that NumPy has not as a mapping, ``words``. Without a ``dtype``, that of lines
    for elements, rows and columns, everything is computed in float64.
    """
    renamed = (replace(x, target=f"its_{x.target}", operands=tuple(map(_its, x.operands))) for x in lines)
    body = "".join(f"    {_called(line)}\n" for line in renamed)
    returned = "".join(f"{_text(_its(value))}, " for value in results)
    given = ", ".join([*map(str, map(_its, arguments)), "words={}"])
    source = f"def {name}({given}):\n{body}    return ({returned})\n"
    namespace: dict[str, Any] = {word: operation.numpy for word, operation in OPERATIONS.items()}
    namespace |= {"inf": np.inf, "nan": np.nan}  # what literals are called
    wide = np.dtype(np.float64)
    namespace |= {"wide_where": partial(_where, wide), "where": partial(_where, dtype or wide)}
    exec(source, namespace)
    return namespace[name]


def _called(line: Instruction) -> str:
    """An instruction in Python: NumPy chooses between literals in float64, and its powers are not ours."""
    text = str(line)
    if line.operation == "pow":
        return f"{line.target} = pow({', '.join(map(_text, line.operands))})"
    if line.operation == "where":
        return text.replace("= where(", "= wide_where(") if line.rank <= TENSOR else text
    if line.operation in ("nearest", "narrow", *REDUCTIONS, *DECOMPOSITIONS):
        word = f"words[{line.operation!r}]"
        operands = line.operands if line.operation in DECOMPOSITIONS else line.operands[:1]
        return f"{line.target} = {word}({', '.join(map(_text, operands))})"
    return text


def _its(operand: Operand) -> Operand:
    """What a value is called where functions have names too, which a user may have given to a hyperparameter."""
    return f"its_{operand}" if isinstance(operand, str) else operand


def _where(dtype: np.dtype[Any], condition: Any, x: Any, y: Any) -> Any:
    """NumPy's ``where`` in one precision; between two literals it would choose in float64."""
    return np.where(condition, np.asarray(x, dtype), np.asarray(y, dtype))


def _text(operand: Operand) -> str:
    text = operand if isinstance(operand, str) else repr(operand)
    return f"({text})" if text.startswith("-") else text
