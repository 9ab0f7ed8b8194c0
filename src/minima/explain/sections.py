"""The words of an explanation."""

from typing import TYPE_CHECKING

from minima.explain.listing import is_inverse, listing
from minima.explain.page import Block, Code, Page, Section, Table
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.formula import Formula
from minima.optim.language.ranks import COLUMN, COLUMNS_BY_COLUMNS, ELEMENT, MODEL, ROW, ROWS_BY_ROWS, TENSOR

if TYPE_CHECKING:
    from minima.explain.explanation import Explanation

__all__ = ["describe"]


def describe(explanation: "Explanation", source: str) -> Page:
    """The page of an explanation; ``source`` is empty, or says what to show of it: ``"update"`` or ``"module"``."""
    optimizer = explanation.optimizer
    title = optimizer.__name__ + "".join(f", {name}={value!r}" for name, value in explanation.flags.items())
    summary = (optimizer.__doc__ or "").strip().split("\n\n")[0]
    sections = [
        Section("Equations", [_equations(explanation)]),
        Section("Hyperparameters", _hyperparameters(explanation)),
        Section("The loop", _loop(explanation, source)),
        Section("Memory, in bytes per parameter", _memory(explanation)),
        Section("Time, on this machine", _time(explanation)),
    ]
    if source:
        sections.append(Section("The source, in LLVM's language", [_source(explanation, source)]))
    return Page(title, " ".join(summary.split()), sections)


def _equations(explanation: "Explanation") -> Block:
    formula = Formula(explanation.trace)
    return Code(formula.text, latex=formula.typeset)


def _hyperparameters(explanation: "Explanation") -> list[Block]:
    declared = explanation.optimizer.hyperparameters.values()
    rows = [(each.name, _number(each.default), each.range) for each in declared]
    blocks: list[Block] = [Table(("name", "default", "range"), rows)]
    if off := explanation.off:
        are, terms = ("are", "their terms are") if len(off) > 1 else ("is", "its term is")
        blocks.append(f"While {' and '.join(off)} {are} 0, {terms} omitted.")
    return blocks


def _loop(explanation: "Explanation", source: str) -> list[Block]:
    program = explanation.program
    host, body = len(program.host), len(program.body)
    loop = "loop" if program.is_plain else "body"
    told = f"The rule, traced with symbols, has {host + body} operations."
    if host:
        depend, they_are = ("depends", "it is") if host == 1 else ("depend", "they are")
        told += (
            f" {host} of them {depend} only on hyperparameters and t: {they_are} computed once per step, and the "
            f"{loop} gets the results as numbers. The other {body} {'are' if body > 1 else 'is'} the {loop}."
        )
    if any(is_inverse(line) and line.target in program.scalars for line in program.host):
        told += f" Where the rule divides by such a number, the {loop} multiplies by its inverse."
    blocks: list[Block] = [told]
    if not program.is_plain:
        blocks.append(_passes(explanation))
    blocks.append(Code(listing(program, explanation.compute, explanation.cut)))
    if explanation.engine == "fused" and not source:
        blocks.append("LLVM compiles the loop; --source, in Python .source, shows it in LLVM's language.")
    return blocks


def _passes(explanation: "Explanation") -> str:
    """What looks beyond one element, and how often a step goes through memory for it."""
    program, cut = explanation.program, explanation.cut
    if cut is None:
        return (
            f"The fused engine cannot run it: {explanation.obstacle}. The reference engine runs it, with one operation "
            "on whole arrays after another."
        )
    count = sum(each is not None for each in cut.passes)
    told = "A reduction over all elements, such as a norm, is known only at the end of a pass over memory"
    if count > 1:
        moved = [_number(sum(sum(side.values()) for side in both)) for both in cut.traffic]
        told += (
            f", and operations that need it are in the next pass. A step takes {count} passes, which move "
            f"{', '.join(moved[:-1])} and {moved[-1]} bytes per parameter."
        )
    else:
        told += ". No operation of this step needs it: one pass is enough."
    if cut.products:
        told += " Matrix products, and operations between them, are computed between two passes, by BLAS."
    if program.stage_count > 1:
        told += " Totals over all parameters are computed between two passes."
    elif program.totalled:
        told += " Totals over all parameters are computed at the end of the step."
    return told


def _memory(explanation: "Explanation") -> list[Block]:
    rows = [
        (
            name,
            explanation.kinds[name] + _SCOPES.get(explanation.program.rank(name), ""),
            _first(explanation.first[name]) if name in explanation.first else "",
            *(_number(side) if side else "" for side in sides),
        )
        for name, sides in explanation.traffic.items()
    ]
    state, moved = sum(explanation.state.values()), explanation.bytes_moved
    operations = ", ".join(f"{count} {kind}" for kind, count in explanation.operations.items())
    told = f"The state takes {_number(state)} bytes. " if state else "It keeps no state. "
    if len([size for size in explanation.state.values() if not size]):
        few = "State with one number for many elements takes about 0 bytes. "
        told = f"{told if state else ''}{few}"
    told += f"A step moves {_number(moved)} bytes, for {sum(explanation.operations.values())} operations: {operations}."
    if explanation.products:
        told += f" In addition there are {explanation.products} matrix products."
    blocks: list[Block] = [Table(("array", "kept as", "at first", "read", "written"), rows, range(2, 5)), told]
    if any(kind in BLOCKS for kind in explanation.kinds.values()):
        blocks.append(
            "8 bits are codes in blocks of 256, with one scale for each block. Nonnegative state needs no sign: uint8."
        )
    return blocks


def _time(explanation: "Explanation") -> list[Block]:
    state = sum(explanation.state.values())
    rows = [
        (
            _count(timing.parameters),
            _unit(timing.parameters * state, _BYTES),
            _unit(timing.parameters * explanation.bytes_moved, _BYTES),
            _unit(timing.seconds, _SECONDS),
            "measured" if timing.measured else "expected",
            timing.bound,
        )
        for timing in explanation.timings
    ]
    name, call = explanation.optimizer.__name__, _unit(explanation.call, _SECONDS)
    told = f"A step of a single parameter takes {call}: for small networks, the time of the call dominates. "
    if explanation.engine == "fused":
        threads = thread_count()
        told += (
            f"For large networks memory dominates: it has {_rate(explanation.bandwidth)} here with {threads} "
            f"thread{'s' if threads > 1 else ''}, and {name} uses {_rate(explanation.speed)}. "
        )
        kept = {kind for name, kind in explanation.kinds.items() if explanation.program.rank(name) == ELEMENT}
        converting = ", conversions included," if kept != {explanation.compute} else ""
        told += (
            "Its arithmetic takes less time than memory."
            if explanation.waits_for_memory
            else f"Its arithmetic{converting} takes longer than memory."
        )
    else:
        why = f"cannot run it: {explanation.obstacle}" if explanation.obstacle else "needs llvmlite"
        told += f"The engine is NumPy's, one pass over memory for every operation; the fused one {why}."
    return [told, Table(("parameters", "state", "moved", "time", "", "bound by"), rows, range(4))]


def _source(explanation: "Explanation", source: str) -> Block:
    try:
        return Code(explanation.module if source == "module" else explanation.source, "llvm")
    except (ImportError, NotImplementedError) as error:
        return str(error)


_SCOPES = {
    ROW: " per row",
    COLUMN: " per column",
    ROWS_BY_ROWS: " rows x rows",
    COLUMNS_BY_COLUMNS: " columns x columns",
    TENSOR: " per tensor",
    MODEL: " for all",
}
_BYTES = ((1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1.0, "B"))
_SECONDS = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))
_COUNTS = ((10**9, "billion"), (10**6, "million"), (10**3, "thousand"))


def _unit(value: float, units: tuple[tuple[float, str], ...]) -> str:
    """Three digits and a unit."""
    scale, name = next(((scale, name) for scale, name in units if value >= scale), units[-1])
    share = value / scale
    return f"{share:.3g} {name}" if share < 1000 else f"{share:,.0f} {name}"


def _rate(value: float) -> str:
    return f"{value / 1e9:.1f} GB/s"


def _count(value: int) -> str:
    scale, name = next(((scale, name) for scale, name in _COUNTS if value >= scale), (1, ""))
    return f"{value / scale:g} {name}".strip() if value * 10 % scale == 0 else f"{value:,}"


def _first(value: float | str) -> str:
    return value if isinstance(value, str) else _number(value)


def _number(value: float | bool | None) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
