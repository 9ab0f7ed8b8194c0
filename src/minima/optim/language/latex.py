"""How equations are written in LaTeX: the letters of the field, and expressions by SymPy in which nothing is moved."""

import re
from collections.abc import Sequence
from typing import Any

from minima.optim.language.operations import OPERATIONS, REDUCTIONS
from minima.optim.language.ranks import TENSOR
from minima.optim.language.symbols import Symbol

__all__ = ["Printer", "indexed", "letter", "raised"]

_LETTERS = {
    "param": r"\theta",
    "grad": "g",
    "exp_avg": "m",
    "exp_avg_sq": "v",
    "exp_avg_slow": r"m^{\mathrm{slow}}",
    "exp_avg_var": "s",
    "max_exp_avg_var": r"s^{\max}",
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
    "beta": r"\beta",
    "beta1": r"\beta_1",
    "beta2": r"\beta_2",
    "nu": r"\nu",
    "gamma": r"\gamma",
    "eta_minus": r"\eta^{-}",
    "eta_plus": r"\eta^{+}",
    "step_min": r"\Delta^{\min}",
    "step_max": r"\Delta^{\max}",
    "eps_root": r"\epsilon^{\mathrm{root}}",
    "momentum_decay": r"\psi",
    "warmup_steps": r"T^{\mathrm{warmup}}",
    "lr_decay": r"\eta^{\mathrm{decay}}",
    "reps_rel": r"r^{\epsilon}",
    "d_coef": r"d^{\mathrm{coef}}",
    "beta2_cap": r"\beta_2^{\max}",
    "shampoo_beta": r"\beta^{\mathrm{Shampoo}}",
    "batch_size": "B",
    "adam_lr": r"\eta^{\mathrm{Adam}}",
    "adam_beta1": r"\beta_1^{\mathrm{Adam}}",
    "adam_beta2": r"\beta_2^{\mathrm{Adam}}",
    "adam_eps": r"\epsilon^{\mathrm{Adam}}",
}
"""How the field writes the names that rules use; a name that is not here stands for itself."""
_INDEX = re.compile(r"(.*)_(?:\{([^{}]*)\}|(\w))")

# How tightly what is composed here binds, among SymPy's 40 of sums, 50 of products and 60 of powers.
_OF_ELEMENTS, _OF_MATRICES, _CALL, _POWER, _ATOM = 45, 50, 55, 60, 1000


def letter(name: str) -> str:
    """How the field writes a name: ``lr`` as an eta, ``m_hat`` as an m with a hat, ``eps1`` as an epsilon with a 1."""
    if name in _LETTERS or len(name) == 1:
        return _LETTERS.get(name, name)
    if name.endswith("_hat"):
        return rf"\hat{{{letter(name.removesuffix('_hat'))}}}"
    stem = name.rstrip("0123456789")
    if stem != name and (stem in _LETTERS or len(stem) == 1):
        return f"{_LETTERS.get(stem, stem)}_{{{name.removeprefix(stem)}}}"
    words = name.replace("_", r"\ ")
    return rf"\mathrm{{{words}}}"


def indexed(written: str, step: str) -> str:
    """A letter with the step as an index, after one that it has already.

    >>> indexed("d", "t-1"), indexed("d_{0}", "t")
    ('d_{t-1}', 'd_{0,t}')
    """
    if found := _INDEX.fullmatch(written):
        return f"{found[1]}_{{{found[2] or found[3]},{step}}}"
    return f"{written}_{step}" if len(step) == 1 else f"{written}_{{{step}}}"


def raised(written: str, exponent: str) -> str:
    """A letter with an exponent, after one that it has already."""
    return rf"{{{written}}}^{{{exponent}}}" if "^" in written else f"{written}^{{{exponent}}}"


_ITEMS = {
    ("eigh", "item0"): "eigenvalues",
    ("eigh", "item1"): "eigenvectors",
    ("qr", "item0"): "Q",
    ("qr", "item1"): "R",
}
"""What is one of the two arrays that a decomposition makes."""


class Printer:
    """Makes expressions of SymPy, which keep the order of the rule, and writes them.

    Where SymPy has no words, or would move what it must not, as the factors of a product of matrices, a piece is
    written here, and is a letter for SymPy.
    """

    def __init__(self, sympy: Any, *, matrices: bool) -> None:
        """``matrices`` says whether there are products of matrices, from which those of elements must differ."""
        self._sympy = sympy
        self._matrices = matrices
        levels = (_OF_ELEMENTS, _OF_MATRICES, _CALL, _ATOM)
        self._pieces = {level: type("Piece", (sympy.Symbol,), {"precedence": level}) for level in levels}

    def number(self, value: float) -> Any:
        """A literal."""
        return self._sympy.Integer(int(value)) if value.is_integer() else self._sympy.Float(value)

    def text(self, expression: Any) -> str:
        """An expression, written."""
        return self._sympy.latex(expression, order="none")

    def apply(self, node: Symbol, args: Sequence[Any]) -> Any:
        """The operation of a node, on expressions."""
        operation = node.operation
        if operation == "size":
            return self._sympy.Symbol(letter(str(node.value)))
        if operation in REDUCTIONS:
            return self._reduction(operation, args[0])
        if operation == "total":
            return self._call(r"\sum_{\mathrm{all}\ \theta}", args[0])
        if operation in ("eigh", "qr"):
            return args[0]
        if operation in ("item0", "item1"):
            return self._call(rf"\operatorname{{{_ITEMS[node.args[0].operation, operation]}}}", args[0])
        if operation == "sort_columns":
            written = ", ".join(map(self.text, args))
            return self._piece(_CALL, rf"\operatorname{{sort}}\left({written}\right)")
        if operation == "matmul":
            return self._piece(_OF_MATRICES, " ".join(self._within(x, _OF_MATRICES) for x in args))
        if operation == "transpose":
            return self._piece(_CALL, raised(self._within(args[0], _POWER + 1), r"\top"))
        if operation == "mul" and self._matrices and all(arg.rank > TENSOR for arg in node.args):
            return self._piece(_OF_ELEMENTS, r" \odot ".join(self._within(x, _CALL) for x in args))
        return self._element(operation, args)

    def _reduction(self, operation: str, x: Any) -> Any:
        word, axis = operation.rstrip("01"), operation[-1]
        index = {"0": "_{i}", "1": "_{j}"}.get(axis, "")
        if word == "norm" and not index:
            return self._piece(_ATOM, rf"\left\lVert {self.text(x)} \right\rVert")
        named = {"sum": r"\sum", "max": r"\max"}.get(word, rf"\operatorname{{{word}}}")
        return self._call(f"{named}{index}", x)

    def _element(self, operation: str, args: Sequence[Any]) -> Any:
        sympy, minus, as_is = self._sympy, self._sympy.Integer(-1), {"evaluate": False}
        match operation, args:
            case "sub", [x, y]:
                return sympy.Add(x, -y if y.is_number else sympy.Mul(minus, y, **as_is), **as_is)
            case "div", [x, y]:
                return sympy.Mul(x, sympy.Pow(y, minus, **as_is), **as_is)
            case "neg", [x]:
                return sympy.Mul(minus, x, **as_is)
            case "sqrt", [x]:
                return sympy.Pow(x, sympy.Rational(1, 2), **as_is)
            case "cbrt", [x]:
                return sympy.Pow(x, sympy.Rational(1, 3), **as_is)
            case "bfloat16", [x]:
                return self._call(r"\operatorname{bfloat16}", x)
            case "pow", [x, y]:
                if isinstance(x, self._pieces[_CALL].__base__) and "^" in x.name:
                    x = sympy.Symbol(x.name)  # of which SymPy sets brackets around letters with an exponent
                return sympy.Pow(x, sympy.nsimplify(y), **as_is)
            case "where", [condition, x, y]:
                cases = sympy.latex(sympy.Piecewise((x, condition), (y, True), **as_is), order="none")
                return sympy.Symbol(rf"\left({cases}\right)")  # as a letter, for SymPy cannot print powers of cases
            case _:
                return getattr(sympy, OPERATIONS[operation].sympy)(*args, **as_is)

    def _call(self, function: str, x: Any) -> Any:
        return self._piece(_CALL, rf"{function}\left({self.text(x)}\right)")

    def _piece(self, level: int, written: str) -> Any:
        return self._pieces[level](written)

    def _within(self, x: Any, level: int) -> str:
        """An operand of what binds so tightly, in brackets where it needs them."""
        binding = self._sympy.printing.precedence.precedence_traditional(x)
        return self.text(x) if binding >= level else rf"\left({self.text(x)}\right)"
