"""What the passes of a rule move through memory, as minima's search over them finds it."""

from collections.abc import Sequence
from math import prod

from algorithms import Algorithm

from minima.optim.engines.passes import Cut, cut, obstacle
from minima.optim.language.lowering import lower
from minima.optim.language.program import Program

__all__ = ["moved", "passes", "program", "searched"]


def program(algorithm: Algorithm, ndim: int = 2) -> Program:
    """The program of a rule for matrices, or for vectors."""
    kind, settings = algorithm.minima
    return lower(kind._trace(kind._declaration.bind((), settings), ndim=ndim))


def passes(algorithm: Algorithm, shapes: Sequence[tuple[int, ...]]) -> Cut | None:
    """The passes over the largest of some tensors, in float32; None where matrices are multiplied between them."""
    made = program(algorithm, len(max(shapes, key=prod)))
    return cut(made, _kinds(made), "float32") if not obstacle(made, _kinds(made)) else None


def moved(algorithm: Algorithm, shapes: Sequence[tuple[int, ...]]) -> float | None:
    """The bytes that all passes together read and write for an element."""
    found = passes(algorithm, shapes)
    return found.bytes if found else None


def searched(made: Program) -> Cut:
    """The passes of a program, searched for anew."""
    return cut.__wrapped__(made, _kinds(made), "float32")


def _kinds(made: Program) -> tuple[str, ...]:
    return ("float32",) * (1 + len(made.kept))
