"""A program on the leaves of a tree: the host part on scalars in float64, the body line by line on whole arrays.

What a device computes is what XLA makes of the lines: it fuses them, may take ``a * b + c`` in one rounding, and sums
in an order of its own. With ``hold``, products and roots are kept from that, and results have the bits of the
reference.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minima.jax.device import has_float64, widest
from minima.jax.leaves import alike
from minima.jax.scalars import Held, settled, single_line
from minima.jax.words import known, power_of_steps, reduced, word
from minima.jax.xla import jax, jnp
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Instruction, Operand, Program
from minima.optim.language.ranks import ELEMENT, MODEL, TENSOR, matrix_shape

__all__ = ["Hold", "Numbers", "Work", "advance", "holding", "host_part", "steps_alone", "subtracts"]

Hold = Callable[[Any], Any]
"""Keeps a result from being contracted with what is made of it."""


def holding(t: Any) -> Hold:
    """What keeps results as they are: xor with zeros of which XLA does not know that they are zeros."""

    def held(x: Any) -> Any:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        bits = jnp.uint64 if x.dtype == jnp.float64 else jnp.uint32
        zero = (t >> 31).astype(bits)
        return jax.lax.bitcast_convert_type(jax.lax.bitcast_convert_type(x, bits) ^ zero, x.dtype)

    return held


@dataclass(frozen=True)
class Numbers:
    """What the host part of a program hands over."""

    narrow: Mapping[str, Any]
    """Its scalars, in the precision of the parameters."""
    wide: Mapping[str, Any]
    """Its numbers in `widest`, for lines that compute with one of each tensor or of the model."""

    def read(self, program: Program, name: str, rank: int) -> Any:
        """A number as a line of this rank reads it; None where the name is none of these."""
        found = self.wide.get(name) if rank <= TENSOR else None
        return self.narrow.get(name) if found is None else found


def host_part(program: Program, numbers: Mapping[str, Any], dtype: Any, hold: Hold | None) -> Numbers:
    """Compute the host part, in float64, or as well as the device can.

    Lines of which all is known while JAX traces are computed then, with the bits of every other face. What is left,
    since ``t`` is traced, and what the state holds, XLA computes on scalars.

    Args:
        program: The program.
        numbers: Its ``hypers``: floats, or arrays in `widest`; ``t`` is whole.
        dtype: The precision of the parameters.
        hold: What keeps products as they are.
    """
    values = dict(numbers)
    for line in program.host:
        operands = [values[x] if isinstance(x, str) else x for x in line.operands]
        values[line.target] = _of_host(line, operands, hold)
    narrow = {name: _scalar(values[name], dtype) for name in program.scalars}
    return Numbers(narrow, {name: _scalar(values[name], widest()) for name in program.wide})


def _of_host(line: Instruction, operands: list[Any], hold: Hold | None) -> Any:
    if all(isinstance(x, float) for x in operands):
        return known(line.operation, operands)
    if line.operation == "mul" and any(isinstance(x, float) and not x for x in operands):
        return 0.0  # hyperparameters are finite
    if not has_float64():
        return single_line(line.operation, operands)
    operands = [settled(x) for x in operands]
    if line.operation == "pow" and line.operands[1] == "t" and hold is not None:
        return power_of_steps(jnp.asarray(operands[0], jnp.float64), operands[1])
    found = word(line.operation)(*(_float(x) for x in operands))
    return hold(found) if hold is not None and line.operation in ("mul", "sqrt") else found


def _float(x: Any) -> Any:
    """A number in float64; a truth as it is."""
    if isinstance(x, float):
        return np.float64(x)
    return x if x.dtype == np.bool_ else x.astype(np.float64)


def _scalar(x: Any, dtype: Any) -> Any:
    if isinstance(x, float):
        return np.asarray(x, dtype)[()]
    return x.held if isinstance(x, Held) and dtype == np.float32 else settled(x).astype(dtype)


@dataclass
class Work:
    """A leaf in the middle of a step."""

    program: Program
    param: Any
    """As it is computed with: real, and in the precision of the step."""
    grad: Any
    state: Mapping[str, Any]
    numbers: Numbers
    dtype: Any
    """What the parameter is kept in, real."""
    only_steps: bool = False
    """Whether `step` is asked for, and not the new parameter."""
    values: dict[str, Any] = field(default_factory=dict[str, Any])

    def __post_init__(self) -> None:
        program = self.program
        self.shape = matrix_shape(self.param.shape)
        arrays = {"param": self.param, "grad": self.grad, **self.state}
        for name, array in arrays.items():
            is_whole = program.by_rows and program.rank(name) == ELEMENT
            self.values[name] = array.reshape(self.shape) if is_whole else array
        self.values |= zip(program.shape, (widest()(size) for size in self.shape), strict=False)

    def run(self, stage: int, model: Mapping[str, Any], hold: Hold | None) -> None:
        """Run the lines of a stage, for which these numbers for the whole model are known."""
        self.values |= {name: model[name] for name in self.program.model if name in model}
        for line in self.program.body:
            if line.rank == MODEL or self.only_steps and line.target == self.program.outputs[0]:
                continue
            if self.program.stages[line.target] == stage:
                self.values[line.target] = self._computed(line, hold)

    def _computed(self, line: Instruction, hold: Hold | None) -> Any:
        dtype = self.param.dtype if line.rank > TENSOR else jnp.dtype(widest())
        operands = [self._read(x, line.rank, dtype) for x in line.operands]
        if line.operation in REDUCTIONS:
            return reduced(line.operation, operands[0], dtype if line.rank > TENSOR else self.param.dtype)
        if line.operation == "narrow":
            return operands[0].astype(self.param.dtype)
        if line.operation == "nearest":  # behind a barrier, or XLA would leave out the cast
            return jax.lax.optimization_barrier(operands[0].astype(self.dtype)).astype(self.param.dtype)
        if line.operation == "mul":
            for one, other in (operands, reversed(operands)):
                if _is_one(one, other.dtype):
                    return other
        found = word(line.operation)(*operands)
        return hold(found) if hold is not None and line.operation in ("mul", "sqrt", "matmul") else found

    def _read(self, operand: Operand, rank: int, dtype: Any) -> Any:
        if not isinstance(operand, str):
            return np.asarray(operand, dtype)[()]
        if operand in self.values:
            return self.values[operand]
        return self.numbers.read(self.program, operand, rank)

    def results(self) -> dict[str, Any]:
        """The new values of the parameter, unless it only steps, and of each state, in their shapes."""
        program, found = self.program, dict[str, Any]()
        for name, output in zip(("param", *program.state), program.outputs, strict=True):
            if program.rank(name) == MODEL or self.only_steps and name == "param":
                continue
            old = self.param if name == "param" else self.state[name]
            dtype = old.dtype if program.rank(name) == TENSOR else self.param.dtype
            value = self._read(output, program.rank(name), dtype)
            if program.by_rows and program.rank(name) == ELEMENT:
                value = alike(jnp.broadcast_to(value, self.shape).reshape(self.param.shape), old)
            found[name] = jnp.broadcast_to(value, old.shape) if value.shape != old.shape else value
        return found

    def step(self) -> Any:
        """What is subtracted from the parameter, if the program does nothing else to it; else None."""
        if (subtracted := subtracts(self.program)) is None:
            return None
        sign, operand = subtracted
        value = self._read(operand, ELEMENT, self.param.dtype)
        return jnp.broadcast_to(-value if sign < 0 else value, self.shape if self.program.by_rows else self.param.shape)


def _is_one(x: Any, dtype: Any) -> bool:
    return type(x) in (np.float32, np.float64) and x.dtype == dtype and bool(x == 1)


def subtracts(program: Program) -> tuple[int, Operand] | None:
    """What a program adds to the parameter (1) or subtracts from it (-1), if that does not depend on the parameter."""
    last = next((line for line in program.body if line.target == program.outputs[0]), None)
    if last is None or last.operation not in ("add", "sub") or last.operands[0] != "param":
        return None
    others = (x for line in program.body if line is not last for x in line.reads)
    return (
        None
        if "param" in {*others, last.operands[1], *program.outputs[1:]}
        else (
            -1 if last.operation == "sub" else 1,
            last.operands[1],
        )
    )


def steps_alone(program: Program) -> bool:
    """Whether all that a program computes is known without the new parameter, once `Work.step` is."""
    new, others = program.outputs[0], (x for line in program.body for x in line.reads)
    return subtracts(program) is not None and new not in {*others, *program.outputs[1:]}


def advance(works: Sequence[Work], shared: Mapping[str, Any], hold: Hold | None) -> dict[str, Any]:
    """Take a step of all leaves, between whose passes totals over them are added up; gives the new shared state."""
    leaders: dict[Program, Work] = {}
    for work in works:
        leaders.setdefault(work.program, work)
    models = {program: dict(shared) for program in leaders}
    totals: dict[float, Any] = {}
    for stage in range(max((program.stage_count for program in leaders), default=0)):
        for program, leader in leaders.items():
            _run_model(program, models[program], leader.numbers, totals)
        for work in works:
            work.run(stage, models[work.program], hold)
        totals |= _added(works, stage)
    found = dict(shared)
    for program, leader in leaders.items():
        _run_model(program, models[program], leader.numbers, totals)
        for name, output in zip(program.state, program.outputs[1:], strict=True):
            if program.rank(name) == MODEL and output != name:
                value = models[program].get(output) if isinstance(output, str) else widest()(output)
                found[name] = leader.numbers.read(program, str(output), MODEL) if value is None else value
    return found


def _run_model(program: Program, values: dict[str, Any], numbers: Numbers, totals: Mapping[float, Any]) -> None:
    """Run the lines for the whole model for which all is known by now."""

    def read(operand: Operand) -> Any:
        if not isinstance(operand, str):
            return widest()(operand)
        return values[operand] if operand in values else numbers.read(program, operand, MODEL)

    for line in program.body:
        if line.rank != MODEL or line.target in values:
            continue
        if line.operation == "total":
            if line.operands[1] in totals:
                values[line.target] = totals[float(line.operands[1])]
            continue
        operands = [read(operand) for operand in line.operands]
        if all(operand is not None for operand in operands):
            values[line.target] = word(line.operation)(*operands)


def _added(works: Sequence[Work], stage: int) -> dict[float, Any]:
    """The totals that can be had behind a stage: which of the rule they are, and the sum over all leaves."""
    found: dict[float, list[Any]] = {}
    for work in works:
        for line in work.program.body:
            if line.operation == "total" and work.program.stages[line.target] == stage + 1:
                term = work.values[str(line.operands[0])]
                found.setdefault(float(line.operands[1]), []).append(jnp.asarray(term, widest()))
    return {which: jnp.sum(jnp.stack(terms)) for which, terms in found.items()}
