"""Operations written as people write them: infix, with the brackets that are needed and no others."""

from collections.abc import Sequence

from minima.optim.language.operations import OPERATIONS, row_of

__all__ = ["ATOM", "Written", "literal", "written"]

Written = tuple[str, int]
"""An expression, and how tightly its outermost operator binds."""

ATOM = 8
"""How tightly a name binds."""
_COMPARISONS = 1
"""How tightly comparisons bind."""
_TIGHT = 5
"""From here on, operators are written without spaces."""


def literal(value: float) -> Written:
    """A number."""
    return repr(value).removesuffix(".0"), OPERATIONS["neg"].binding or 0 if value < 0 else ATOM


def written(operation: str, operands: Sequence[Written]) -> Written:
    """An operation on expressions."""
    row = row_of(operation)
    template, level = row.text, row.binding
    if level is None:  # a function, whose arguments need no brackets
        return template.format(*(text for text, _ in operands)), ATOM
    # Of equals Python does the left one first, but powers from the right, and comparisons together.
    left, right = level + (level == _COMPARISONS or operation == "pow"), level + (operation != "pow")
    needed = [level] if len(operands) == 1 else [left, right]
    texts = [text if binding >= least else f"({text})" for (text, binding), least in zip(operands, needed, strict=True)]
    return (template.replace(" ", "") if level >= _TIGHT else template).format(*texts), level
