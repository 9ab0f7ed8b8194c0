"""The equations of a rule, written out from its trace, so that they cannot drift from the code."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from minima.errors import sentence
from minima.optim.trace import Symbol, Trace, reachable

__all__ = ["Formula", "letter"]

_LETTERS = {
    "param": r"\theta",
    "grad": "g",
    "exp_avg": "m",
    "exp_avg_sq": "v",
    "lr": r"\eta",
    "wd": r"\lambda",
    "weight_decay": r"\lambda",
    "eps": r"\epsilon",
    "rho": r"\rho",
    "momentum": r"\mu",
    "dampening": r"\tau",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
}
"""How the field writes the names that rules use; a name that is not here stands for itself."""


@dataclass(frozen=True)
class Formula:
    """The equations of an update, one per line: as ``latex`` and as plain ``text``."""

    latex: str
    text: str

    def __str__(self) -> str:
        return self.text

    def _repr_latex_(self) -> str:  # notebooks show this
        return f"$${self.latex}$$"

    @classmethod
    def of(cls, trace: Trace) -> "Formula":
        """The equations of a trace: one for every value that the rule itself gave a name, and for every result."""
        try:
            sympy: Any = import_module("sympy")
        except ImportError as error:
            hint = "pip install 'minima[formula]'"
            raise ImportError(sentence(f"{trace.name}.formula", "needs SymPy", hint=hint)) from error
        named = _named(trace)
        letters, words = _latex_names(trace, named), _text_names(trace, named)
        latex = [f"{letters[node]} &= {sympy.latex(_right(sympy, node, letters), order='none')}" for node in named]
        text = [f"{words[node]} = {sympy.sstr(_right(sympy, node, words), order='none')}" for node in named]
        return cls(r"\begin{aligned}" + r" \\ ".join(latex) + r"\end{aligned}", "\n".join(text))


def _named(trace: Trace) -> dict[Symbol, str]:
    """The nodes that get an equation, in the order in which they can be computed, with their names in the rule."""
    results = {node: name for name, node in trace.outputs.items()}
    names = trace.names | results | {trace.decayed: "decayed"}
    return {node: names[node] for node in reachable(trace.outputs.values()) if node in names and node.args}


def _latex_names(trace: Trace, named: Mapping[Symbol, str]) -> dict[Symbol, str]:
    """Letters of the field, with the step as an index."""
    names = {node: letter(name) for name, node in trace.hypers.items()}
    names |= {node: f"{letter(name)}_{{t-1}}" for name, node in trace.arrays.items()}
    names[trace.arrays["grad"]] = "g_t"
    names |= {node: f"{letter(name)}_t" for node, name in named.items()}
    names[trace.decayed] = r"\tilde{\theta}_{t-1}"
    return names


def _text_names(trace: Trace, named: Mapping[Symbol, str]) -> dict[Symbol, str]:
    """The rule's own names, to be read as assignments one after another."""
    names = {node: name for name, node in (trace.hypers | trace.arrays).items()} | dict(named)
    names[trace.decayed] = "param"
    arrays = set(trace.arrays.values())
    overwritten: set[str] = set()
    for node in named:
        for arg in _leaves(node, named):
            if arg in arrays and names[arg] in overwritten:  # read after its name was assigned to
                names |= {other: f"new_{name}" for other, name in named.items() if name == names[arg]}
        overwritten.add(names[node])
    return names


def letter(name: str) -> str:
    """How the field writes a name, in LaTeX: ``lr`` as an eta, ``m_hat`` as an m with a hat."""
    if name.endswith("_hat"):
        return rf"\hat{{{letter(name.removesuffix('_hat'))}}}"
    return _LETTERS.get(name, name if len(name) == 1 else rf"\mathrm{{{name.replace('_', ' ')}}}")


def _leaves(node: Symbol, named: Mapping[Symbol, str]) -> Iterator[Symbol]:
    """What the equation of a node reads."""
    for arg in node.args:
        if arg in named or not arg.args:
            yield arg
        else:
            yield from _leaves(arg, named)


def _right(sympy: Any, node: Symbol, names: Mapping[Symbol, str]) -> Any:
    """The right-hand side of a node's equation, for SymPy; nothing in it is rearranged."""

    def write(part: Symbol) -> Any:
        if part in names and part is not node:
            return sympy.Symbol(names[part])
        if part.operation == "literal":
            return sympy.Integer(int(part.value)) if float(part.value).is_integer() else sympy.Float(part.value)
        return _expression(sympy, part.operation, [write(arg) for arg in part.args])

    return write(node)


def _expression(sympy: Any, operation: str, args: list[Any]) -> Any:
    minus, as_is = sympy.Integer(-1), {"evaluate": False}
    match operation, args:
        case "sub", [x, y]:
            return sympy.Add(x, sympy.Mul(minus, y, **as_is), **as_is)
        case "div", [x, y]:
            return sympy.Mul(x, sympy.Pow(y, minus, **as_is), **as_is)
        case "neg", [x]:
            return sympy.Mul(minus, x, **as_is)
        case "sqrt", [x]:
            return sympy.Pow(x, sympy.Rational(1, 2), **as_is)
        case "pow", [x, y]:
            return sympy.Pow(x, sympy.nsimplify(y), **as_is)
        case "where", [condition, x, y]:
            return sympy.Piecewise((x, condition), (y, True), **as_is)
        case _:
            return getattr(sympy, _SYMPY.get(operation, operation))(*args, **as_is)


_SYMPY = {
    "add": "Add",
    "mul": "Mul",
    "lt": "StrictLessThan",
    "le": "LessThan",
    "gt": "StrictGreaterThan",
    "ge": "GreaterThan",
    "eq": "Eq",
    "ne": "Ne",
    "and": "And",
    "or": "Or",
    "not": "Not",
    "abs": "Abs",
    "maximum": "Max",
    "minimum": "Min",
}
"""What SymPy calls an operation where its name differs from ours."""
