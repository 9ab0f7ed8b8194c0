"""The words of an explanation."""

from typing import TYPE_CHECKING

from minima.explain.listing import is_inverse, listing
from minima.explain.page import Block, Code, Page, Section, Table
from minima.optim.engines.cpu.threads import thread_count
from minima.optim.engines.storage import BLOCKS
from minima.optim.language.formula import Formula

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
    return Code(Formula(explanation.trace).text)


def _hyperparameters(explanation: "Explanation") -> list[Block]:
    declared = explanation.optimizer.hyperparameters.values()
    rows = [(each.name, _number(each.default), each.range) for each in declared]
    blocks: list[Block] = [Table(("name", "default", "range"), rows)]
    if off := explanation.off:
        are, terms = ("are", "their terms are") if len(off) > 1 else ("is", "its term is")
        blocks.append(f"While {' and '.join(off)} {are} 0, {terms} left out.")
    return blocks


def _loop(explanation: "Explanation", source: str) -> list[Block]:
    program = explanation.program
    host, body = len(program.host), len(program.body)
    told = f"The rule, run once on symbols, comes to {host + body} operations."
    if host:
        depend, they_are, them = ("depends", "it is", "it") if host == 1 else ("depend", "they are", "them")
        told += (
            f" {host} of them {depend} on hyperparameters and t alone: {they_are} done once per step, and what the "
            f"loop needs of {them} reaches it as ready numbers. The other {body} {'are' if body > 1 else 'is'} the "
            "loop."
        )
    if any(is_inverse(line) and line.target in program.scalars for line in program.host):
        told += " Where the rule divides by such a number, the loop multiplies by its inverse."
    blocks: list[Block] = [told, Code(listing(program, explanation.compute))]
    if explanation.engine == "fused" and not source:
        blocks.append("LLVM compiles it; --source, in Python .source, shows what it is given.")
    return blocks


def _memory(explanation: "Explanation") -> list[Block]:
    rows = [
        (
            name,
            explanation.kinds[name],
            _number(explanation.first[name]) if name in explanation.first else "",
            *(_number(side) if side else "" for side in sides),
        )
        for name, sides in explanation.traffic.items()
    ]
    state, moved = sum(explanation.state.values()), explanation.bytes_moved
    operations = ", ".join(f"{count} {kind}" for kind, count in explanation.operations.items())
    told = f"The state takes {_number(state)} bytes. " if state else "It keeps no state. "
    told += f"A step moves {_number(moved)} bytes, for {len(explanation.program.body)} operations: {operations}."
    blocks: list[Block] = [Table(("array", "kept as", "at first", "read", "written"), rows, range(2, 5)), told]
    if any(kind in BLOCKS for kind in explanation.kinds.values()):
        blocks.append(
            "8 bits are codes in blocks of 256, with one scale for each block. State that can never be negative needs "
            "no sign: uint8."
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
    told = f"The step of a single parameter takes {call}: that is the call, and all that small networks pay for. "
    if explanation.engine == "fused":
        threads = thread_count()
        told += (
            f"Large ones pay for memory, which gives {_rate(explanation.bandwidth)} here to {threads} "
            f"thread{'s' if threads > 1 else ''}; {name} takes {_rate(explanation.speed)}. "
        )
        converts = {*explanation.kinds.values()} != {explanation.compute}
        told += (
            "Its arithmetic is done while memory is waited for."
            if explanation.waits_for_memory
            else f"Its arithmetic{', conversions included,' if converts else ''} takes longer than memory does."
        )
    else:
        told += "The engine is NumPy's, one pass over memory for every operation; the fused one needs llvmlite."
    return [told, Table(("parameters", "state", "moved", "time", "", "bound by"), rows, range(4))]


def _source(explanation: "Explanation", source: str) -> Block:
    try:
        return Code(explanation.module if source == "module" else explanation.source, "llvm")
    except ImportError as error:
        return str(error)


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


def _number(value: float | bool | None) -> str:
    return f"{value:.7g}" if isinstance(value, float) else str(value)
