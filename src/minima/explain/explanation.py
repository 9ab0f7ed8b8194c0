"""The explanation of an optimizer: what its trace shows, what a step of it costs, and how long that takes here."""

import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from typing import Any, cast

import numpy as np

from minima.errors import sentence
from minima.explain import terminal
from minima.explain.page import Page
from minima.explain.sections import describe
from minima.explain.stopwatch import adder, fastest, stepper
from minima.optim.engines import choose, precision
from minima.optim.engines.passes import Cut, cut, obstacle
from minima.optim.engines.storage import BLOCK, Stored, allocate
from minima.optim.language.operations import OPERATIONS, row_of
from minima.optim.language.program import Program
from minima.optim.language.ranges import never_negative
from minima.optim.language.ranks import COLUMN, ELEMENT, MATRIX, ROW
from minima.optim.language.rule import PARAM
from minima.optim.language.symbols import FORMS
from minima.optim.language.trace import Trace

__all__ = ["Explanation", "Timing"]

DTYPES = ("float32", "float64", "float16")
STATE_DTYPES = (None, "bfloat16", "int8")
SIZES = (10_000, 1_000_000, 30_000_000, 124_000_000)
"""A small network, a medium one, and two that no cache holds; the last is GPT-2."""
MEASURED = 1_000_000
"""The largest number of parameters whose step is really taken."""
FOOTPRINT = 1 << 27
"""Bytes that the large step touches: several times what the caches of a few cores hold."""

_NORMS = ("norm", "norm0", "norm1")
"""What squares, too, what it adds up."""


@dataclass(frozen=True)
class Timing:
    """How long a step takes."""

    parameters: int
    seconds: float
    measured: bool
    """Whether the step was taken; else it is what a smaller one lets expect."""
    bound: str
    """What decides: the call, the caches, memory or arithmetic."""


class Explanation:
    """What an optimizer computes, keeps, costs and is compiled to.

    ``print`` writes it as text of 80 columns, a notebook as Markdown, ``rich.print`` and ``show()`` in colour.
    ``source`` and ``module`` are the code that is compiled. Times are measured when they, or the text, are first asked
    for.
    """

    def __init__(
        self,
        optimizer: type[Any],
        trace: Trace,
        flags: Mapping[str, Any],
        *,
        dtype: str,
        state_dtype: str | None,
        decay: str,
        parameters: int | None,
    ) -> None:
        """Explain an optimizer class by the trace that its rule has for these flags."""
        self.who = f"{optimizer.__name__}.explain"
        for name, value, allowed in (("dtype", dtype, DTYPES), ("state_dtype", state_dtype, STATE_DTYPES)):
            if not isinstance(cast(Any, value), str | None) or value not in allowed:
                one_of = f"{', '.join(map(repr, allowed[:-1]))} or {allowed[-1]!r}"
                raise ValueError(sentence(self.who, f"{name} must be {one_of}", got=value))
        size: Any = 1 if parameters is None else parameters
        is_whole = isinstance(size, int | np.integer) and not isinstance(size, bool)
        if not is_whole or size < 1:
            error = ValueError if is_whole else TypeError
            raise error(sentence(self.who, "parameters must be a whole number, at least 1", got=parameters))
        self.optimizer = optimizer
        self.trace = trace
        form = trace.form if trace.asked else FORMS[0]
        self.program: Program = optimizer._variants.program(trace.variant, form=form)
        """What the rule does to one element, as the engines get it."""
        values = {name: declared.default for name, declared in optimizer.hyperparameters.items()} | dict(flags)
        first = {name: trace.first[name] for name in self.program.state}
        self.first = {name: x if x == PARAM else float(values.get(x, x)) for name, x in first.items()}
        """What each entry of each state that is kept is at first; ``"param"`` where it is a copy of the parameter."""
        self.off = [name for name, value in trace.variant if isinstance(value, float)]
        """The hyperparameters that are 0, and have switched their terms off."""
        self.flags = dict(flags) | ({} if decay == "decoupled" else {"decay": decay})
        """What is not as it is by default."""
        self.compute = precision(np.dtype(dtype)).name
        """The precision of the loop."""
        self._dtype = np.dtype(dtype)
        self._state_dtype = state_dtype
        self._sizes = sorted({*SIZES, parameters or SIZES[0]})

    # What it does ----------------------------------------------------------------------------------------------------

    @cached_property
    def cut(self) -> Cut | None:
        """The passes over memory of which a step consists; None if the fused engine cannot run it."""
        kinds = tuple(self.kinds[name] for name in ("param", *self.program.kept))
        return None if self.obstacle else cut(self.program, kinds, self.compute)

    @cached_property
    def obstacle(self) -> str:
        """Why the fused engine cannot run it; empty where it can."""
        return obstacle(self.program, tuple(self.kinds[name] for name in self.program.kept))

    @cached_property
    def products(self) -> int:
        """Products of matrices in a step."""
        return sum(line.operation == "matmul" for line in self.program.body)

    @cached_property
    def operations(self) -> dict[str, int]:
        """Operations for each element, by kind, in all passes; without products of matrices."""
        if self.cut is None or self.program.is_plain:
            lines = list(self.program.body)
        else:
            lines = [line for each in self.cut.passes if each for line in (*each.lines, *each.ends)]
        counts: Counter[str] = Counter()
        for line in lines:
            if line.rank == ELEMENT or any(self.program.rank(operand) == ELEMENT for operand in line.operands):
                counts[row_of(line.operation).cost] += line.operation not in ("matmul", "transpose")
                counts["mul"] += line.operation in _NORMS
        kinds = dict.fromkeys(row.cost for row in OPERATIONS.values())
        return {kind: counts[kind] for kind in kinds if counts[kind]}

    @property
    def source(self) -> str:
        """The functions that do the work, one for each pass, as the fused engine gives them to LLVM."""
        names = (
            ["update"]
            if self.program.is_plain
            else re.findall(r'^define internal void @"(pass_\d+)"', self.module, re.M)
        )
        return "\n\n".join(self._function(name) for name in names)

    def _function(self, name: str) -> str:
        start = self.module.index(f'define internal void @"{name}"')
        return self.module[start : self.module.index("\n}", start) + 2]

    @cached_property
    def module(self) -> str:
        """All that the fused engine gives to LLVM for this rule."""
        if find_spec("llvmlite") is None:
            raise ImportError(sentence(self.who, "the source is written by llvmlite", hint="install llvmlite"))
        if self.obstacle:
            rule = f"there is no source, for the fused engine cannot run this: {self.obstacle}"
            raise NotImplementedError(sentence(self.who, rule))
        from minima.optim.engines.cpu.kernel import kernel_source  # loads LLVM

        states = tuple(self.kinds[name] for name in self.program.kept)
        return kernel_source(self.program, self._dtype.name, states, self.compute).strip()

    # What it keeps and moves -----------------------------------------------------------------------------------------

    @cached_property
    def kinds(self) -> dict[str, str]:
        """In which form each array is kept."""
        states = {name: self._blocks[name].kind if name in self._blocks else self._kind(name) for name in self.first}
        return {"param": self._dtype.name, "grad": self._dtype.name, **states}

    def _kind(self, name: str) -> str:
        """The dtype of state of which there are few: by rows or columns as computed, else in float64."""
        rank = self.program.rank(name)
        return self.compute if rank in (ROW, COLUMN) or rank >= MATRIX else "float64"

    @cached_property
    def state(self) -> dict[str, float]:
        """Bytes that each state takes for each element; of what there is one for many elements, none.

        Of rows by rows, and of columns by columns, there are as many as elements where a matrix is square.
        """
        square = float(np.dtype(self.compute).itemsize)
        others = {name: square if self.program.rank(name) >= MATRIX else 0.0 for name in self.first}
        return others | {name: block.nbytes / BLOCK for name, block in self._blocks.items()}

    @cached_property
    def traffic(self) -> dict[str, tuple[float, float]]:
        """Bytes that a step reads and writes for each element, by array, in all passes.

        What runs as operations on whole arrays is counted as if it were one pass.
        """
        own = float(self._dtype.itemsize)
        if self.cut is None or self.program.is_plain:
            changed = zip(self.program.state, self.program.outputs[1:], strict=True)
            written = {name for name, value in changed if value != name}
            states = {name: (size, size if name in written else 0.0) for name, size in self.state.items()}
            return {"param": (own, own), "grad": (own, 0.0), **states}
        moved = {name: (0.0, 0.0) for name in self.kinds}
        for both in self.cut.traffic:
            for name, (read, written) in moved.items():
                moved[name] = read + both[0].get(name, 0.0), written + both[1].get(name, 0.0)
        return moved

    @property
    def bytes_moved(self) -> float:
        """Bytes that a step moves for each element."""
        return sum(map(sum, self.traffic.values()))

    @cached_property
    def _blocks(self) -> dict[str, Stored]:
        """A block of each state of the parameter's size, as optimizers keep it."""
        unsigned = never_negative(self.program, self.optimizer._declaration.numbers, self.trace.first)
        unsigned = {*unsigned} - {*self.optimizer.rule.estimated}
        shape, dtype = (BLOCK,), np.dtype(self.compute)
        blocks: dict[str, Stored] = {}
        for number, (name, value) in zip(self.program.numbers, self.first.items(), strict=True):
            if self.program.rank(name) == ELEMENT:
                first = 0.0 if isinstance(value, str) else value
                signed = name not in unsigned
                # An average of parameters is kept as they are, and so are other weights.
                kept = None if number < 0 or name in self.optimizer.rule.exact else self._state_dtype
                blocks[name] = allocate(kept, number, shape, dtype, first, signed=signed)
        return blocks

    # How long it takes -----------------------------------------------------------------------------------------------

    @property
    def engine(self) -> str:
        """The engine that optimizers get here."""
        return "reference" if self.obstacle else choose(self.who, None).name

    @cached_property
    def call(self) -> float:
        """Seconds that the step of a single parameter takes."""
        return fastest(self._stepper(1))[0]

    @property
    def bandwidth(self) -> float:
        """Bytes per second that memory gives to a large step: of a rule that only adds, or of this if it is faster."""
        return self._speeds[0]

    @property
    def speed(self) -> float:
        """Bytes per second that a large step of this rule moves."""
        return self._speeds[1]

    @property
    def waits_for_memory(self) -> bool:
        """Whether a large step is about as fast as one that only adds."""
        return self.speed > 0.75 * self.bandwidth

    @cached_property
    def timings(self) -> list[Timing]:
        """The time of a step, from few parameters to many."""
        return [self._timing(size) for size in self._sizes]

    def _timing(self, size: int) -> Timing:
        if self.products:
            return self._timing_of_products(size)
        work = size * self.bytes_moved / self.speed
        measured = size <= MEASURED
        seconds = fastest(self._stepper(size))[0] if measured else self.call + work
        if seconds < 2 * self.call:
            bound = "the call"
        elif not self.waits_for_memory:
            bound = "arithmetic"
        else:
            bound = "the caches" if seconds - self.call < 0.8 * work else "memory"
        return Timing(size, seconds, measured, bound)

    def _timing_of_products(self, size: int) -> Timing:
        """Of matrices with about as many rows as columns, of which products take the power 3/2 of their size."""
        measured = size <= MEASURED
        if size < MEASURED:
            seconds = fastest(self._stepper(size))[0]
        else:
            seconds = self._largest * (size / MEASURED) ** 1.5
        return Timing(size, seconds, measured, "the call" if seconds < 2 * self.call else "products of matrices")

    @cached_property
    def _largest(self) -> float:
        return fastest(self._stepper(MEASURED))[0]

    @cached_property
    def _speeds(self) -> tuple[float, float]:
        states, dtype = len(self._blocks), self._dtype
        size = FOOTPRINT // (dtype.itemsize * (2 + states))
        plain = stepper(adder(states), {}, dtype.name, (size,))
        adding, own = fastest(plain, self._stepper(size))
        moved = 3 * dtype.itemsize + 2 * states * np.dtype(self.compute).itemsize
        speed = self.bytes_moved * size / own
        return max(moved * size / adding, speed), speed  # on a busy machine, either may have had the better moments

    def _stepper(self, size: int) -> Callable[[], None]:
        options = {**self.flags, "state_dtype": self._state_dtype}
        return stepper(self.optimizer, options, self._dtype.name, self._shape(size))

    def _shape(self, size: int) -> tuple[int, ...]:
        """The shape of a parameter of about this size, as this variant of the rule is for."""
        is_matrix = any(line.rank >= MATRIX for line in self.program.body)  # which may be of rows by rows
        if not is_matrix and (not self.trace.asked or self.trace.form == FORMS[0]):
            return (size,)
        rows = 1 << (size.bit_length() - 1) // 2
        return rows, size // rows

    # How it is read --------------------------------------------------------------------------------------------------

    def page(self, source: str = "") -> Page:
        """All of it; with ``source="update"`` or ``"module"``, the code that is compiled, too."""
        return describe(self, source)

    def show(self, source: str = "") -> None:
        """Print it: in colour where the output is a terminal and rich is installed, else as plain text."""
        terminal.show(self.page(source))

    def __str__(self) -> str:
        return self.page().plain()

    __repr__ = __str__

    def _repr_markdown_(self) -> str:  # notebooks show this
        return self.page().markdown()

    def __rich__(self) -> Any:  # rich prints this
        return terminal.render(self.page())
