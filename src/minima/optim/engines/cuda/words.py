"""Which programs can be printed for NVIDIA GPUs."""

from minima.optim.engines.passes import products
from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Program
from minima.optim.language.ranks import MODEL

__all__ = ["PRINTED", "unprinted"]

PRINTED = frozenset(
    {"abs", "add", "and", "bfloat16", "cbrt", "div", "eq", "exp", "ge", "gt", "le", "log", "lt", "maximum", "minimum"}
    | {"mul", "ne", "nearest", "neg", "not", "or", "pow", "sign", "sqrt", "sub", "where"}
)
"""The operations that LLVM has instructions of PTX for. Asked for another, it does not raise: it ends the process."""


def unprinted(program: Program) -> list[str]:
    """The operations that keep a program from being printed, if there are any."""
    others = products(program)  # which are not printed, as what there is of the whole model is not
    body = (line for line in program.body if line.rank != MODEL and line not in others)
    return sorted({line.operation for line in (*program.host, *body)} - PRINTED - REDUCTIONS.keys() - {"narrow"})
