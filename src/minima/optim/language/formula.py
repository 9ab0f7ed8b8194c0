"""The equations of a rule, written out from its trace, so that they cannot drift from the code."""

from collections import Counter
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from typing import Any, TypeVar

from minima.errors import sentence
from minima.optim.language.infix import ATOM, Written, literal, written
from minima.optim.language.latex import Printer, indexed, letter, raised
from minima.optim.language.rule import GIVEN, LOSS, PARAM
from minima.optim.language.symbols import Symbol, reachable
from minima.optim.language.trace import Trace

__all__ = ["Formula"]

_PARAM = letter(PARAM)

_T = TypeVar("_T")


class Formula:
    """The equations of an update: one for every named value of the rule, and one for every result.

    Printing it shows ``text``; a notebook shows ``latex``.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @cached_property
    def text(self) -> str:
        """The equations as plain text, one per line, with the rule's names; read them as assignments in order.

        If an old value is still needed after a new value gets its name, the new value is called ``new_...``. Repeated
        lines are shown as a loop.
        """
        lines: list[str] = []
        done = 0
        for loop in self._loops:
            lines += self._assignments[done : loop.start]
            lines += [f"for _ in range({loop.times}):", *(f"    {self._assignments[place]}" for place in loop.body)]
            done = loop.end
        return "\n".join([*lines, *self._assignments[done:]])

    @cached_property
    def _loops(self) -> "list[_Loop]":
        return _loops(self._assignments)

    @cached_property
    def _assignments(self) -> list[str]:
        """A line for each equation."""
        equations = _equations(self._trace)
        labels = [equation.name for equation in equations]
        while True:
            names = {node: name for name, node in (self._trace.hypers | self._trace.arrays).items()}
            holders = {name: node for node, name in names.items()}
            takers: dict[str, int] = {}
            for number, equation in enumerate(equations):
                lost = [leaf for leaf in _leaves(equation, names) if holders[names[leaf]] is not leaf]
                if lost:
                    taker = takers[names[lost[0]]]
                    labels[taker] = f"new_{labels[taker]}"
                    break
                holders[labels[number]], takers[labels[number]] = equation.node, number
                if not equation.is_copy:
                    names[equation.node] = labels[number]
            else:
                break
        shown = {node: (name, ATOM) for node, name in names.items()}
        right = [_written(equation, shown, literal, _said)[0] for equation in equations]
        return [f"{label} = {value}" for label, value in zip(labels, right, strict=True)]

    @cached_property
    def latex(self) -> str:
        """The equations in LaTeX, with the usual symbols and the step as an index; needs SymPy.

        Reductions name their index: ``i`` for rows, ``j`` for columns. If the rule uses the name ``x`` for several
            values, the first one is ``x^{(1)}``. In rules with matrices, matrix products are written side by side, and
            elementwise products with a circle. Assignments within a loop have an arrow.
        """
        try:
            sympy: Any = import_module("sympy")
        except ImportError as error:
            hint = "pip install sympy"
            raise ImportError(sentence(f"{self._trace.name}.formula", "LaTeX needs SymPy", hint=hint)) from error
        equations = _equations(self._trace)
        looped = {equations[place].name for loop in self._loops for place in loop.body}
        names = _letters(self._trace, equations, looped)
        symbols = {node: sympy.Symbol(name) for node, name in names.items()}
        operations = {node.operation for node in reachable(self._trace.outputs.values())}
        printer = Printer(sympy, matrices="matmul" in operations)
        lines = [f"{letter(name)}_0 &= {_PARAM}_0" for name in _starting_as_the_parameter(self._trace, changed=True)]
        again = {place for loop in self._loops for place in range(loop.body.stop, loop.end)}
        times = {loop.body.stop - 1: (len(loop.body), loop.times) for loop in self._loops}
        for place, equation in enumerate(equations):
            if place in again:
                continue
            left = indexed(letter(equation.name), "t") if equation.is_copy else names[equation.node]
            equals = r"\leftarrow" if equation.name in looped else "="
            right = printer.text(_written(equation, symbols, printer.number, printer.apply))
            lines.append(f"{left} &{equals} {right}{_times(*times.get(place, (1, 1)))}")
        return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"

    def __str__(self) -> str:
        return self.text

    @property
    def typeset(self) -> str:
        """``latex`` where SymPy is installed, else nothing."""
        return self.latex if find_spec("sympy") else ""

    def _repr_latex_(self) -> str | None:  # notebooks show this
        return f"$${self.typeset}$$" if self.typeset else None


@dataclass(frozen=True)
class _Loop:
    """Lines that are repeated."""

    body: range
    times: int

    @property
    def start(self) -> int:
        return self.body.start

    @property
    def end(self) -> int:
        """Where the last time ends."""
        return self.body.start + len(self.body) * self.times


def _loops(lines: Sequence[str]) -> list[_Loop]:
    """Where neighbouring lines say the same again and again; loops that save the most lines first."""
    found: list[_Loop] = []
    start = 0
    while start < len(lines):
        here = [_Loop(range(start, start + size), 1) for size in range(1, (len(lines) - start) // 2 + 1)]
        here = [_Loop(loop.body, _repeated(lines, loop.body)) for loop in here]
        best = max(here, key=lambda loop: len(loop.body) * (loop.times - 1), default=_Loop(range(start, start + 1), 1))
        if len(best.body) * (best.times - 1) > 1:  # a loop is a line more itself
            found.append(best)
            start = best.end
        else:
            start += 1
    return found


def _repeated(lines: Sequence[str], body: range) -> int:
    """How many times lines stand one after the other."""
    once = lines[body.start : body.stop]
    times = 1
    while lines[body.start + times * len(once) : body.start + (times + 1) * len(once)] == once:
        times += 1
    return times


def _times(lines: int, number: int) -> str:
    if number == 1:
        return ""
    return rf" \qquad \text{{({'this line' if lines == 1 else f'these {lines} lines'} {number} times)}}"


@dataclass(frozen=True, eq=False)
class _Equation:
    """``name = node``; a copy where the node is an input, or has an equation of its own already."""

    name: str
    node: Symbol
    is_copy: bool


def _equations(trace: Trace) -> list[_Equation]:
    """In an order in which they can be computed."""
    results = {node: name for name, node in trace.outputs.items()}
    names = trace.earlier | trace.names | results | {node: name for name, node in trace.decayed.items()}
    nodes = [node for node in reachable(trace.outputs.values()) if node in names and node.args]
    equations = [_Equation(names[node], node, False) for node in nodes]
    known = set(nodes)
    for name, node in trace.outputs.items():
        if node is not trace.arrays[name] and (node not in known or names[node] != name):
            equations.append(_Equation(name, node, True))
    return equations


def _written(
    equation: _Equation,
    names: Mapping[Symbol, _T],
    number: Callable[[float], _T],
    apply: Callable[[Symbol, Sequence[_T]], _T],
) -> _T:
    """The right-hand side of an equation, in which nothing is rearranged."""

    def write(node: Symbol) -> _T:
        if node in names and (equation.is_copy or node is not equation.node):
            return names[node]
        if node.operation == "literal":
            return number(float(node.value))
        args = node.args
        if node.operation == "total" and args[0].operation == "sum" and args[0] not in names:
            args = args[0].args  # a total of all elements
        return apply(node, [write(arg) for arg in args])

    return write(equation.node)


def _said(node: Symbol, operands: Sequence[Written]) -> Written:
    """The operation of a node in Python, on expressions."""
    if node.operation == "size":
        return f"param.shape[{0 if node.value == 'rows' else 1}]", ATOM
    return written(node.operation, operands)


def _leaves(equation: _Equation, names: Mapping[Symbol, str]) -> Iterator[Symbol]:
    """What an equation reads, of what has a name by then."""
    stack = [equation.node] if equation.is_copy else list(equation.node.args)
    while stack:
        node = stack.pop()
        if node in names:
            yield node
        else:
            stack.extend(node.args)


def _letters(trace: Trace, equations: Sequence[_Equation], looped: Container[str]) -> dict[Symbol, str]:
    """How inputs and left-hand sides are written: what changes, with the step as an index.

    Of several values with one name the last one has it to itself, but in loops.
    """
    names = {node: letter(name) for name, node in trace.hypers.items()}
    if LOSS in trace.hypers:
        names[trace.hypers[LOSS]] = indexed(letter(LOSS), "t")
    names |= {node: indexed(letter(name), "t-1") for name, node in trace.arrays.items()}
    names |= {trace.arrays[name]: f"{_PARAM}_0" for name in _starting_as_the_parameter(trace, changed=False)}
    names[trace.arrays["grad"]] = indexed(letter("grad"), "t")
    own = {equation.node: equation.name for equation in equations if not equation.is_copy}
    for name, node in trace.decayed.items():
        if trace.outputs["param"] is not node:
            own.pop(node, None)
            names[node] = indexed(rf"\tilde{{{letter(name)}}}", "t-1" if name == "param" else "t")
    times = {trace.hypers[name] for name in GIVEN if name in trace.hypers}
    steady = {node for node in own if node.on_host and times.isdisjoint(reachable([node]))}
    taken = {(letter(name), True) for name in trace.hypers} | {(letter("grad"), False)}
    left = Counter((letter(name), node in steady) for node, name in own.items())
    counts: Counter[str] = Counter()
    for node, name in own.items():
        written, is_steady = letter(name), node in steady
        left[written, is_steady] -= 1
        if name not in looped and (left[written, is_steady] or (written, is_steady) in taken):
            counts[written] += 1
            written = raised(written, f"({counts[written]})")
        names[node] = written if is_steady else indexed(written, "t")
    return names


def _starting_as_the_parameter(trace: Trace, *, changed: bool) -> list[str]:
    """The state that begins as the parameter: what goes on to change, or what stays as it was."""
    return [
        name
        for name, first in trace.first.items()
        if first == PARAM and (trace.outputs[name] is not trace.arrays[name]) == changed
    ]
