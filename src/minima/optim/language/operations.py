"""The operations that a rule consists of, one row each: how everybody says it, what it can result in, what it costs.

A new operation is a row here; where it is none of IEEE 754's, a definition in `elementary` or a few lines in
`elements`; where PyTorch has no word of its own for it, a few in `eager`; and, if it is to be a word of the vocabulary,
its function there. Most work on elements alone (OPERATIONS); a few look beyond one (BEYOND).
"""

import math
import operator
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from minima.optim.language import decompositions, elementary
from minima.optim.language.elementary import Definition

__all__ = ["ANY", "BEYOND", "DECOMPOSITIONS", "OPERATIONS", "POSITIVE", "REDUCTIONS", "Interval", "Operation", "row_of"]

Interval = tuple[float, float]
"""The smallest and the largest value that something can have."""

_python: Any = operator  # which has types in part only, as np.where has
_choose: Any = np.where

ANY = (-math.inf, math.inf)
POSITIVE = (0.0, math.inf)


def _anything(*_: Interval) -> Interval:
    return ANY


def _positive(x: Interval) -> Interval:
    return POSITIVE


def _truth(*_: Interval) -> Interval:
    return 0.0, 1.0


def _sum(x: Interval, y: Interval) -> Interval:
    return x[0] + y[0], x[1] + y[1]


def _difference(x: Interval, y: Interval) -> Interval:
    return x[0] - y[1], x[1] - y[0]


def _product(x: Interval, y: Interval) -> Interval:
    products = [0.0 if a == 0 or b == 0 else a * b for a in x for b in y]
    return min(products), max(products)


def _quotient(x: Interval, y: Interval) -> Interval:
    if y[0] > 0 or y[1] < 0:
        return _product(x, (1 / y[1], 1 / y[0]))
    return POSITIVE if x[0] >= 0 and y[0] >= 0 else ANY


def _power(x: Interval, y: Interval) -> Interval:
    if x[0] >= 0 and x[1] <= 1 and y[0] >= 0:
        return 0.0, 1.0
    return POSITIVE if x[0] >= 0 else ANY


def _negated(x: Interval) -> Interval:
    return -x[1], -x[0]


def _signs(x: Interval) -> Interval:
    return -1.0 if x[0] < 0 else 0.0, 1.0 if x[1] > 0 else 0.0


def _largest(x: Interval, y: Interval) -> Interval:
    return max(x[0], y[0]), max(x[1], y[1])


def _smallest(x: Interval, y: Interval) -> Interval:
    return min(x[0], y[0]), min(x[1], y[1])


def _either(_: Interval, x: Interval, y: Interval) -> Interval:
    return min(x[0], y[0]), max(x[1], y[1])


def _same_side(x: Interval, *_: Interval) -> Interval:
    return POSITIVE if x[0] >= 0 else ANY


@dataclass(frozen=True, kw_only=True)
class Operation:
    """An operation on elements."""

    text: str
    """As Python writes it: an operator between its operands, or a call."""
    binding: int | None = None
    """How tightly the operator binds in Python; None for a call."""
    numpy: Callable[..., Any]
    """What it is on arrays of NumPy. Of an operator this is the function that NumPy has for it."""
    python: Callable[..., Any] | None = None
    """What an operator is on all values that have it."""
    number: Callable[..., Any] | None = None
    """What it is on Python's own numbers, where that is no operator of theirs; it may complain of what IEEE 754 answers
    with an infinity or NaN."""
    definition: Definition | None = None
    """What it is in terms of simpler ones, if it is not one that IEEE 754 rounds exactly."""
    llvm: str = ""
    """An instruction, with its predicate if it has one, or an intrinsic; empty where it has a definition, or `elements`
    a function."""
    library: str = ""
    """The word of ``torch`` and of ``jax.numpy``; empty where it is an operator."""
    foreach: bool = False
    """Whether PyTorch has it for lists of tensors."""
    sympy: str = ""
    """The word of SymPy; empty where `formula` writes it in its own way."""
    range: Callable[..., Interval] = _anything
    """The values that it can result in, given those of its operands."""
    cost: str
    """The name of the operations that cost about the same."""
    is_truth: bool = False
    """Whether it results in a truth."""
    truths: int = 0
    """How many of its operands are truths, from the first on. All others are numbers, a truth among them 0 or 1."""


def _maximum(x: Any, y: Any) -> Any:
    return _choose((x >= y) | (x != x), x, y)[()]  # NumPy's own may give either of 0.0 and -0.0


def _minimum(x: Any, y: Any) -> Any:
    return _choose((x <= y) | (x != x), x, y)[()]


def _larger(x: float, y: float) -> float:
    return x if x >= y or x != x else y


def _smaller(x: float, y: float) -> float:
    return x if x <= y or x != x else y


def _chosen(condition: bool, x: float, y: float) -> float:
    return x if condition else y


def _sign(x: float) -> float:
    return 1.0 if x > 0 else -1.0 if x < 0 else x if x != x else 0.0


def _reduced(x: Any, *_: Any) -> Any:
    raise NotImplementedError  # in an order of their own, which `minima.optim.engines.reductions` defines


def _bfloat16(x: Any) -> Any:
    with np.errstate(over="ignore"):  # what does not fit is infinite
        single = np.asarray(x, np.float32)
        bits = single.view(np.uint32)
        even = (bits >> np.uint32(16)) & np.uint32(1)
        rounded = ((bits + np.uint32(0x7FFF) + even) & np.uint32(0xFFFF0000)).view(np.float32)
    return np.where(np.isnan(single), single, rounded).astype(np.asarray(x).dtype)[()]


def _coarse(x: float) -> float:
    return float(_bfloat16(np.float64(x)))


def _nearest(x: Any) -> Any:
    raise NotImplementedError  # depends on how a parameter is kept, which the engines know


def _comparison(sign: str, name: str, numpy: Any, llvm: str, sympy: str) -> Operation:
    return Operation(
        text=f"{{}} {sign} {{}}",
        binding=1,
        numpy=numpy,
        python=getattr(_python, name),
        llvm=f"{llvm} {sign}",
        sympy=sympy,
        range=_truth,
        cost="compare/select",
        is_truth=True,
    )


def _elementary(definition: Definition, number: Any = None, **others: Any) -> Operation:
    return Operation(
        numpy=elementary.of_arrays(definition),
        number=number or elementary.of_floats(definition),
        definition=definition,
        cost="exp/log/pow",
        **others,
    )


def _logical(
    sign: str, numpy: Any, python: Any, llvm: str, sympy: str, *, binding: int, number: Any = None
) -> Operation:
    return Operation(
        text=f"{{}} {sign} {{}}" if sign != "~" else "~{}",
        binding=binding,
        numpy=numpy,
        python=python,
        number=number,
        llvm=llvm,
        sympy=sympy,
        range=_truth,
        cost="compare/select",
        is_truth=True,
        truths=2 if sign != "~" else 1,
    )


OPERATIONS: dict[str, Operation] = {
    "mul": Operation(
        text="{} * {}",
        binding=5,
        numpy=np.multiply,
        python=_python.mul,
        llvm="fmul",
        foreach=True,
        sympy="Mul",
        range=_product,
        cost="mul",
    ),
    "add": Operation(
        text="{} + {}",
        binding=4,
        numpy=np.add,
        python=_python.add,
        llvm="fadd",
        foreach=True,
        sympy="Add",
        range=_sum,
        cost="add/sub",
    ),
    "sub": Operation(
        text="{} - {}",
        binding=4,
        numpy=np.subtract,
        python=_python.sub,
        llvm="fsub",
        foreach=True,
        range=_difference,
        cost="add/sub",
    ),
    "div": Operation(
        text="{} / {}",
        binding=5,
        numpy=np.divide,
        python=_python.truediv,
        llvm="fdiv",
        foreach=True,
        range=_quotient,
        cost="div",
    ),
    "sqrt": Operation(
        text="sqrt({})",
        numpy=np.sqrt,
        number=math.sqrt,
        llvm="llvm.sqrt",
        library="sqrt",
        foreach=True,
        sympy="sqrt",
        range=_positive,
        cost="sqrt",
    ),
    "exp": _elementary(elementary.exp, text="exp({})", library="exp", foreach=True, sympy="exp", range=_positive),
    "log": _elementary(elementary.log, text="log({})", library="log", foreach=True, sympy="log"),
    "pow": _elementary(
        elementary.power,
        elementary.power_of_floats,
        text="{} ** {}",
        binding=7,
        python=_python.pow,
        foreach=True,
        range=_power,
    ),
    "lt": _comparison("<", "lt", np.less, "fcmp_ordered", "StrictLessThan"),
    "le": _comparison("<=", "le", np.less_equal, "fcmp_ordered", "LessThan"),
    "gt": _comparison(">", "gt", np.greater, "fcmp_ordered", "StrictGreaterThan"),
    "ge": _comparison(">=", "ge", np.greater_equal, "fcmp_ordered", "GreaterThan"),
    "eq": _comparison("==", "eq", np.equal, "fcmp_ordered", "Eq"),
    "ne": _comparison("!=", "ne", np.not_equal, "fcmp_unordered", "Ne"),
    "and": _logical("&", np.bitwise_and, _python.and_, "and_", "And", binding=3),
    "or": _logical("|", np.bitwise_or, _python.or_, "or_", "Or", binding=2),
    "not": _logical("~", np.invert, _python.invert, "not_", "Not", binding=6, number=_python.not_),
    "where": Operation(
        text="where({}, {}, {})",
        numpy=np.where,
        number=_chosen,
        library="where",
        range=_either,
        cost="compare/select",
        truths=1,
    ),
    "sign": Operation(
        text="sign({})",
        numpy=np.sign,
        number=_sign,
        library="sign",
        sympy="sign",
        range=_signs,
        cost="compare/select",
    ),
    "maximum": Operation(
        text="maximum({}, {})",
        numpy=_maximum,
        number=_larger,
        library="maximum",
        foreach=True,
        sympy="Max",
        range=_largest,
        cost="compare/select",
    ),
    "minimum": Operation(
        text="minimum({}, {})",
        numpy=_minimum,
        number=_smaller,
        library="minimum",
        foreach=True,
        sympy="Min",
        range=_smallest,
        cost="compare/select",
    ),
    "cbrt": _elementary(elementary.cbrt, text="cbrt({})", library="cbrt", sympy="cbrt", range=_same_side),
    "neg": Operation(
        text="-{}",
        binding=6,
        numpy=np.negative,
        python=_python.neg,
        llvm="fneg",
        foreach=True,
        range=_negated,
        cost="neg/abs",
    ),
    "abs": Operation(
        text="abs({})",
        numpy=np.abs,
        number=abs,
        llvm="llvm.fabs",
        library="abs",
        foreach=True,
        sympy="Abs",
        range=_positive,
        cost="neg/abs",
    ),
    "bfloat16": Operation(
        text="bfloat16({})",
        numpy=_bfloat16,
        number=_coarse,
        sympy="bfloat16",
        range=_same_side,
        cost="neg/abs",
    ),
    "nearest": Operation(  # the value as the parameter is kept; no word for rules, but for the copy of a parameter
        text="nearest({})",
        numpy=_nearest,
        range=_same_side,
        cost="neg/abs",
    ),
}
"""Every operation that a program can hold."""


def _same(x: Interval) -> Interval:
    return x


def _first(x: Interval, *_: Interval) -> Interval:
    return x


def _reduction(word: str, axis: int | None, values: Callable[..., Interval]) -> Operation:
    along = "" if axis is None else f", axis={axis}"
    return Operation(text=f"{word}({{}}{along})", numpy=_reduced, range=values, cost="add/sub")


REDUCTIONS: dict[str, Operation] = {
    f"{word}{'' if axis is None else axis}": _reduction(word, axis, values)
    for word, values in {"sum": _same_side, "mean": _same, "max": _same, "norm": _positive}.items()
    for axis in (None, 0, 1)
}
"""What makes one number of all entries (``sum``), one of each column (``sum0``), one of each row (``sum1``).

Terms are computed in the precision of their operand and added in float64, in the order of the definition; the squares
of a norm are taken in float64. A result for each tensor stays in float64, those for rows and columns are rounded to the
precision of the parameter.
"""

DECOMPOSITIONS: dict[str, Operation] = {
    "eigh": Operation(text="eigh({})", numpy=decompositions.eigh, cost="decomposition"),
    "qr": Operation(text="qr({})", numpy=decompositions.qr, cost="decomposition"),
    "item0": Operation(text="{}[0]", numpy=_python.itemgetter(0), cost="decomposition"),
    "item1": Operation(text="{}[1]", numpy=_python.itemgetter(1), cost="decomposition"),
    "sort_columns": Operation(
        text="sort_columns({}, {})",
        numpy=decompositions.sort_columns,
        range=_first,
        cost="decomposition",
    ),
}
"""What LAPACK does with a matrix, of which it makes two arrays, the items; and what puts columns in order."""

BEYOND: dict[str, Operation] = {
    **REDUCTIONS,
    **DECOMPOSITIONS,
    "total": Operation(text="total({})", numpy=_reduced, range=_same_side, cost="add/sub"),
    "narrow": Operation(text="narrow({})", numpy=_reduced, range=_same, cost="neg/abs"),
    "matmul": Operation(text="{} @ {}", binding=5, numpy=np.matmul, python=_python.matmul, cost="matmul"),
    "transpose": Operation(text="{}.T", binding=8, numpy=np.transpose, range=_same, cost="neg/abs"),
    "mod": Operation(text="{} % {}", binding=5, numpy=np.mod, python=_python.mod, cost="div"),
}
"""The operations that look beyond one element.

``total`` adds up a number of each parameter, in the order of the parameters; a literal behind its operand says which of
the totals of the rule it is. ``narrow`` takes a number in float64 into
the precision of the parameter; no rule says it, but whatever elements read of numbers for the whole tensor. ``mod``
stands in conditions alone that are known before a step.
"""


def row_of(name: str) -> Operation:
    """The row of an operation of either kind."""
    return OPERATIONS[name] if name in OPERATIONS else BEYOND[name]
