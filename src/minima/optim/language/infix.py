"""Operations written as people write them: infix, with the brackets that are needed and no others."""

from collections.abc import Sequence

from minima.optim.language.program import OPERATIONS

__all__ = ["ATOM", "Written", "literal", "written"]

Written = tuple[str, int]
"""An expression, and how tightly its outermost operator binds."""

_COMPARISONS = dict.fromkeys(("lt", "le", "gt", "ge", "eq", "ne"), 1)
_BINDING = _COMPARISONS | {"or": 2, "and": 3, "add": 4, "sub": 4, "mul": 5, "div": 5, "neg": 6, "not": 6, "pow": 7}
"""How tightly operators bind in Python."""
ATOM = 8
"""How tightly a name binds."""
_TIGHT = ("mul", "div", "pow", "neg", "not")
"""The operators that are written without spaces."""


def literal(value: float) -> Written:
    """A number."""
    return repr(value).removesuffix(".0"), _BINDING["neg"] if value < 0 else ATOM


def written(operation: str, operands: Sequence[Written]) -> Written:
    """An operation on expressions."""
    template, level = OPERATIONS[operation], _BINDING.get(operation)
    if level is None:  # a function, whose arguments need no brackets
        return template.format(*(text for text, _ in operands)), ATOM
    # Of equals Python does the left one first, but powers from the right, and comparisons together.
    left, right = level + (operation in _COMPARISONS or operation == "pow"), level + (operation != "pow")
    needed = [level] if len(operands) == 1 else [left, right]
    texts = [text if binding >= least else f"({text})" for (text, binding), least in zip(operands, needed, strict=True)]
    return (template.replace(" ", "") if operation in _TIGHT else template).format(*texts), level
