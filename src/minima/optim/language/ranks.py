"""Ranks: how many there are of a value of a rule, found by the tracer and declared by nobody but for state.

A rank is a set of bits: the rank of a result is the *or* of those of its operands, and a reduction clears bits. Where
that says too little, a value has *axes*, what its rows and its columns are: ``("r", "c")`` for the parameter, whose
first axis makes the rows and all others together the columns; ``("r", "1")`` for one number a row; ``("r", "r")`` for
``x @ x.T``.
"""

import difflib
import math
import re
from collections.abc import Sequence
from typing import Annotated, Any, get_args

__all__ = ["COLUMN", "ELEMENT", "MATRIX", "MODEL", "NUMBER", "ROW", "TENSOR", "Axes", "axes_of", "meant", "rank_of"]
__all__ += [
    "COLUMNS_BY_COLUMNS",
    "ROWS_BY_ROWS",
    "SIZES",
    "ColumnsByColumns",
    "Exact",
    "PerColumn",
    "PerRow",
    "PerTensor",
    "RowsByRows",
    "Shared",
    "batch_shape",
    "fits",
    "is_exact",
    "matrix_shape",
    "shape_in_words",
    "sizes",
    "state_shape",
]

NUMBER = 0b00000
"""One for a group: hyperparameters, ``t``, and what is made of them on the host."""
MODEL = 0b00001
"""One for the optimizer: sums over all parameters, and state that they share."""
TENSOR = 0b00011
"""One for each parameter."""
ROW = 0b00111
"""One for each row of a parameter."""
COLUMN = 0b01011
"""One for each column of a parameter."""
ELEMENT = 0b01111
"""One for each element of a parameter."""
MATRIX = 0b0011111
"""An array of another shape than the parameter's, which products of matrices make; so is what has a rank above."""
ROWS_BY_ROWS = 0b0111111
"""One for each row of a parameter and each row."""
COLUMNS_BY_COLUMNS = 0b1011111
"""One for each column of a parameter and each column."""

Axes = tuple[str, str]
"""What rows and columns of a value are: ``"r"`` and ``"c"``, those of the parameter, or ``"1"``, a single one."""

_AXES: dict[int, Axes] = {
    ROW: ("r", "1"),
    COLUMN: ("1", "c"),
    ELEMENT: ("r", "c"),
    ROWS_BY_ROWS: ("r", "r"),
    COLUMNS_BY_COLUMNS: ("c", "c"),
}

PerTensor = Annotated[Any, TENSOR]
"""Annotates state in the signature of ``update``: one number for each parameter, kept in float64."""
PerRow = Annotated[Any, ROW]
"""Annotates state: one number for each row of a parameter, of shape ``(rows, 1)``."""
PerColumn = Annotated[Any, COLUMN]
"""Annotates state: one number for each column of a parameter, of shape ``(1, columns)``."""
RowsByRows = Annotated[Any, ROWS_BY_ROWS]
"""Annotates state: a matrix of shape ``(rows, rows)``. It begins as its first value times the identity."""
ColumnsByColumns = Annotated[Any, COLUMNS_BY_COLUMNS]
"""Annotates state: a matrix of shape ``(columns, columns)``. It begins as its first value times the identity."""
Shared = Annotated[Any, MODEL]
"""Annotates state: one number for all parameters of the optimizer together, kept in float64."""
_EXACT = "exact"
Exact = Annotated[Any, _EXACT]
"""Annotates state of the parameter's shape that is kept as it is computed, whatever ``state_dtype`` says."""

SIZES = {
    TENSOR: "PerTensor",
    ROW: "PerRow",
    COLUMN: "PerColumn",
    ROWS_BY_ROWS: "RowsByRows",
    COLUMNS_BY_COLUMNS: "ColumnsByColumns",
    MODEL: "Shared",
}
"""What annotates state of a rank; that of elements has no annotation."""
_RANKS = {name: rank for rank, name in SIZES.items()}


def sizes(annotation: Any) -> int:
    """The rank that an annotation of state says; that of elements where it says nothing of it."""
    if isinstance(annotation, str):  # as `from __future__ import annotations` leaves it
        return _RANKS.get(annotation.rpartition(".")[2], ELEMENT)
    return next((rank for rank in getattr(annotation, "__metadata__", ()) if rank in SIZES), ELEMENT)


def is_exact(annotation: Any) -> bool:
    """Whether an annotation of state says that it is kept as it is computed."""
    if isinstance(annotation, str):
        return annotation.rpartition(".")[2] == "Exact"
    return _EXACT in getattr(annotation, "__metadata__", ())


def meant(annotation: Any) -> str:
    """The annotation of state that somebody may have meant to write with another one, or ``""``."""
    if sizes(annotation) != ELEMENT or is_exact(annotation):
        return ""
    words: list[str] = re.findall(r"\w+", annotation if isinstance(annotation, str) else repr(annotation))
    inner = next((SIZES[rank] for rank in map(sizes, get_args(annotation)) if rank in SIZES), "")
    inner = inner or ("Exact" if any(map(is_exact, get_args(annotation))) else "")
    lower = {name.lower(): name for name in (*_RANKS, "Exact")}
    close = (match for word in words for match in difflib.get_close_matches(word.lower(), lower, n=1, cutoff=0.85))
    return inner or next((lower[match] for match in close), "")


def axes_of(rank: int) -> Axes:
    """The axes of what has this rank; a matrix has axes of its own."""
    return _AXES.get(rank, ("1", "1"))


def rank_of(axes: Axes, bits: int) -> int:
    """The rank of a value with these axes, made of operands whose ranks have these bits together."""
    if axes == ("1", "1"):
        return bits & TENSOR
    return next((rank for rank, known in _AXES.items() if known == axes), MATRIX)


def fits(rank: int, axes: Axes, state: int) -> bool:
    """Whether a value of this rank and with these axes is as large as state of another rank, or smaller."""
    along = all(axis in ("1", known) for axis, known in zip(axes, axes_of(state), strict=True))
    return along and rank | state == state


def matrix_shape(shape: Sequence[int]) -> tuple[int, int]:
    """Rows and columns of a parameter: its first axis, and all others.

    >>> matrix_shape((8, 3, 5, 5)), matrix_shape((7,)), matrix_shape(())
    ((8, 75), (7, 1), (1, 1))
    """
    return (shape[0], math.prod(shape[1:])) if shape else (1, 1)


def shape_in_words(axes: Axes) -> str:
    """What rows and columns of a value are, in words."""
    return " x ".join({"r": "rows", "c": "columns", "1": "1"}[axis] for axis in axes)


def batch_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """A parameter as many matrices: how many, and their rows and columns, which are its last two axes.

    >>> batch_shape((8, 3, 5, 5)), batch_shape((4, 7))
    ((24, 5, 5), (1, 4, 7))
    """
    return math.prod(shape[:-2]), shape[-2], shape[-1]


def state_shape(rank: int, shape: tuple[int, ...], *, is_batched: bool = False) -> tuple[int, ...]:
    """The shape of state of this rank, for a parameter of this shape, which may be many matrices."""
    if rank == ELEMENT:
        return shape
    outer, (rows, columns) = ((), matrix_shape(shape))
    if is_batched and len(shape) > 2:
        outer, (rows, columns) = shape[:-2], shape[-2:]
    sizes = {"r": rows, "c": columns, "1": 1}
    return (*outer, *(sizes[axis] for axis in _AXES[rank])) if rank in _AXES else ()
