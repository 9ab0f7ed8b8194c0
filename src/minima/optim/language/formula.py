"""The equations of a rule, written out from its trace, so that they cannot drift from the code."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from typing import Any, TypeVar

from minima.errors import sentence
from minima.optim.language.infix import ATOM, literal, written
from minima.optim.language.operations import OPERATIONS
from minima.optim.language.trace import Symbol, Trace, reachable

__all__ = ["Formula", "letter"]

_LETTERS = {
    "param": r"\theta",
    "grad": "g",
    "exp_avg": "m",
    "exp_avg_sq": "v",
    "max_exp_avg_sq": r"v^{\max}",
    "grad_avg": r"\bar{g}",
    "momentum_buffer": "b",
    "lr": r"\eta",
    "wd": r"\lambda",
    "weight_decay": r"\lambda",
    "eps": r"\epsilon",
    "rho": r"\rho",
    "momentum": r"\mu",
    "dampening": r"\tau",
    "alpha": r"\alpha",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
}
"""How the field writes the names that rules use; a name that is not here stands for itself."""


_T = TypeVar("_T")


class Formula:
    """The equations of an update: one for every value that the rule gave a name, and for every result.

    Printing it shows ``text``; a notebook shows ``latex``.
    """

    def __init__(self, trace: Trace) -> None:
        self._trace = trace

    @cached_property
    def text(self) -> str:
        """The equations as plain text, one a line, in the rule's own names, to be read as assignments in their order.

        Where a value is still needed when its name is given to a new one, the new one is called ``new_...``.
        """
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
        right = [_written(equation, shown, literal, written)[0] for equation in equations]
        return "\n".join(f"{label} = {value}" for label, value in zip(labels, right, strict=True))

    @cached_property
    def latex(self) -> str:
        """The equations in LaTeX, in the letters of the field, with the step as an index; needs SymPy."""
        try:
            sympy: Any = import_module("sympy")
        except ImportError as error:
            hint = "pip install sympy"
            raise ImportError(sentence(f"{self._trace.name}.formula", "LaTeX needs SymPy", hint=hint)) from error
        equations = _equations(self._trace)
        names = {node: letter(name) for name, node in self._trace.hypers.items()}
        names |= {node: f"{letter(name)}_{{t-1}}" for name, node in self._trace.arrays.items()}
        names[self._trace.arrays["grad"]] = "g_t"
        names |= {equation.node: f"{letter(equation.name)}_t" for equation in equations if not equation.is_copy}
        for name, node in self._trace.decayed.items():
            if self._trace.outputs["param"] is not node:
                names[node] = rf"\tilde{{{letter(name)}}}_{'{t-1}' if name == 'param' else 't'}"
        symbols = {node: sympy.Symbol(name) for node, name in names.items()}

        def number(value: float) -> Any:
            return sympy.Integer(int(value)) if value.is_integer() else sympy.Float(value)

        def apply(operation: str, operands: Sequence[Any]) -> Any:
            return _expression(sympy, operation, list(operands))

        lines: list[str] = []
        for equation in equations:
            left = f"{letter(equation.name)}_t" if equation.is_copy else names[equation.node]
            right = sympy.latex(_written(equation, symbols, number, apply), order="none")
            lines.append(f"{left} &= {right}")
        return r"\begin{aligned}" + r" \\ ".join(lines) + r"\end{aligned}"

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:  # notebooks show this
        return f"$${self.latex}$$"


@dataclass(frozen=True, eq=False)
class _Equation:
    """``name = node``; a copy where the node is an input, or has an equation of its own already."""

    name: str
    node: Symbol
    is_copy: bool


def _equations(trace: Trace) -> list[_Equation]:
    """In an order in which they can be computed."""
    results = {node: name for name, node in trace.outputs.items()}
    names = trace.names | results | {node: name for name, node in trace.decayed.items()}
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
    apply: Callable[[str, Sequence[_T]], _T],
) -> _T:
    """The right-hand side of an equation, in which nothing is rearranged."""

    def write(node: Symbol) -> _T:
        if node in names and (equation.is_copy or node is not equation.node):
            return names[node]
        if node.operation == "literal":
            return number(float(node.value))
        return apply(node.operation, [write(arg) for arg in node.args])

    return write(equation.node)


def _leaves(equation: _Equation, names: Mapping[Symbol, str]) -> Iterator[Symbol]:
    """What an equation reads, of what has a name by then."""
    stack = [equation.node] if equation.is_copy else list(equation.node.args)
    while stack:
        node = stack.pop()
        if node in names:
            yield node
        else:
            stack.extend(node.args)


def letter(name: str) -> str:
    """How the field writes a name, in LaTeX: ``lr`` as an eta, ``m_hat`` as an m with a hat."""
    if name.endswith("_hat"):
        return rf"\hat{{{letter(name.removesuffix('_hat'))}}}"
    return _LETTERS.get(name, name if len(name) == 1 else rf"\mathrm{{{name.replace('_', ' ')}}}")


def _expression(sympy: Any, operation: str, args: list[Any]) -> Any:
    minus, as_is = sympy.Integer(-1), {"evaluate": False}
    match operation, args:
        case "sub", [x, y]:
            return sympy.Add(x, -y if y.is_number else sympy.Mul(minus, y, **as_is), **as_is)
        case "div", [x, y]:
            return sympy.Mul(x, sympy.Pow(y, minus, **as_is), **as_is)
        case "neg", [x]:
            return sympy.Mul(minus, x, **as_is)
        case "sqrt", [x]:
            return sympy.Pow(x, sympy.Rational(1, 2), **as_is)
        case "pow", [x, y]:
            return sympy.Pow(x, sympy.nsimplify(y), **as_is)
        case "where", [condition, x, y]:
            cases = sympy.latex(sympy.Piecewise((x, condition), (y, True), **as_is), order="none")
            return sympy.Symbol(rf"\left({cases}\right)")  # as a letter, for SymPy cannot print powers of cases
        case _:
            return getattr(sympy, OPERATIONS[operation].sympy)(*args, **as_is)
