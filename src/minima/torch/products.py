"""Products of matrices by PyTorch, which has a faster BLAS than NumPy, GPUs, and products in bfloat16.

Lines such as ``a*x + b*(y@z)`` become one call of ``addmm``. Where a device multiplies bfloat16 faster than float32,
what a rule rounds to bfloat16 is kept so, and its products are taken so: their terms are added in float32, and the sum
is rounded, which is what the rule says.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch

from minima.optim.language.program import Instruction, Operand
from minima.optim.language.ranks import ELEMENT, MATRIX

__all__ = ["Merged", "has_fast_bfloat16", "is_taken", "merged", "multiplied", "writer"]

_torch: Any = torch
_ELEMENTS: dict[str, Any] = {"add": torch.add, "sub": torch.sub, "mul": torch.mul, "div": torch.div}
"""What lies between products in the rules that there are; NumPy does the rest."""
_PRODUCTS = ("matmul", "addmm")
_TAKE_HALVES = ("bfloat16", "transpose", *_PRODUCTS, *_ELEMENTS)


@dataclass(frozen=True)
class Merged:
    """Lines of a program as PyTorch computes them."""

    lines: Sequence[Instruction]
    """Their operations are those of programs, and ``addmm(x, y, z, a, b)``, which is ``a*(x@y) + b*z``."""
    halves: frozenset[str]
    """What is kept in bfloat16: all that is rounded to it, where products of such are fast."""


def merged(lines: Sequence[Instruction], needed: Collection[str], *, in_half: bool) -> Merged:
    """Make one line of those that PyTorch has one call for.

    Args:
        lines: Lines of a program.
        needed: What is read elsewhere.
        in_half: Whether products of what is rounded to bfloat16 are to be taken in it.
    """
    return _Merging(lines, needed).merged(in_half)


class _Merging:
    def __init__(self, lines: Sequence[Instruction], needed: Collection[str]) -> None:
        self.lines = {line.target: line for line in lines}
        read = [name for line in lines for name in line.reads]
        self.once = {name for name in self.lines if read.count(name) == 1 and name not in needed}
        """What one line reads, and nothing else."""

    def merged(self, in_half: bool) -> Merged:
        for line in list(self.lines.values()):
            if line.operation == "add":
                x, y = line.operands
                if not self._take_product(line, x, y):
                    self._take_product(line, y, x)
        halves: set[str] = set()
        for line in list(self.lines.values()) if in_half else ():
            if line.operation == "bfloat16" and (line.rank == ELEMENT or line.rank >= MATRIX):
                halves.add(line.target)
                self._take_rounding(line, halves)
            elif line.operation == "transpose" and line.operands[0] in halves:
                halves.add(line.target)
        return Merged(list(self.lines.values()), frozenset(halves))

    def _scaled(self, value: Operand) -> tuple[float, str, list[str]]:
        """A value as a literal times another, and the lines that say so, where nothing else reads them."""
        line = self.lines.get(str(value))
        if line is not None and line.operation == "mul" and line.target in self.once:
            for factor, other in (line.operands, line.operands[::-1]):
                if not isinstance(factor, str) and isinstance(other, str):
                    return factor, other, [line.target]
        return 1.0, str(value), []

    def _take_product(self, line: Instruction, product: Operand, other: Operand) -> bool:
        """Make a sum one line with a product in it, if there is one."""
        if not isinstance(product, str) or not isinstance(other, str):
            return False
        (a, name, scaling), (b, added, also) = self._scaled(product), self._scaled(other)
        inner, beside = self.lines.get(name), self.lines.get(added)
        is_array = beside is not None and (beside.rank == ELEMENT or beside.rank >= MATRIX)
        if inner is None or inner.operation != "matmul" or name not in self.once or not is_array:
            return False
        for gone in (*scaling, *also, name):
            del self.lines[gone]
        self.lines[line.target] = replace(line, operation="addmm", operands=(*inner.operands, added, a, b))
        return True

    def _take_rounding(self, line: Instruction, halves: Collection[str]) -> None:
        """Let a line round its result itself, where it would compute the same."""
        name = str(line.operands[0])
        inner = self.lines.get(name)
        if inner is None or name not in self.once:
            return
        if inner.operation in _ELEMENTS or inner.operation in _PRODUCTS and all(x in halves for x in inner.reads):
            del self.lines[name]
            self.lines[line.target] = replace(inner, target=line.target)


def has_fast_bfloat16(device: torch.device) -> bool:
    """Whether a device multiplies bfloat16 faster than float32: GPUs, and CPUs with tiles for it."""
    capabilities: Any = getattr(torch.cpu, "get_capabilities", dict)  # PyTorch has it of late
    return device.type != "cpu" or bool(capabilities().get("amx_bf16"))


def is_taken(operation: str) -> bool:
    """Whether `writer` knows an operation: it is one of those that lie between products as a rule."""
    return operation in _TAKE_HALVES


def writer(operation: str, out: torch.Tensor) -> Callable[..., object]:
    """A function that computes an operation into a tensor, given its operands: tensors and numbers."""
    if operation in _PRODUCTS:
        return partial(multiplied(operation), dtype=out.dtype, out=out)
    if operation == "bfloat16":
        return partial(_rounded, out=out)
    return partial(_computed, _ELEMENTS[operation], out=out)


def multiplied(operation: str) -> Callable[..., torch.Tensor]:
    """What a product does: it takes its operands, the ``dtype`` of its result, and ``out``, where that is to be.

    Operands are matrices, or batches of as many matrices.
    """
    return _mm if operation == "matmul" else _addmm


def _mm(x: torch.Tensor, y: torch.Tensor, *, dtype: torch.dtype, out: torch.Tensor | None = None) -> torch.Tensor:
    product = torch.mm if x.dim() == 2 else torch.bmm
    return product(x.to(dtype), y.to(dtype), out=out)


def _addmm(
    x: torch.Tensor,
    y: torch.Tensor,
    z: torch.Tensor,
    a: float,
    b: float,
    *,
    dtype: torch.dtype,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    product = _torch.addmm if x.dim() == 2 else _torch.baddbmm
    return product(z.to(dtype), x.to(dtype), y.to(dtype), alpha=a, beta=b, out=out)


def _rounded(x: torch.Tensor, *, out: torch.Tensor) -> None:
    out.copy_(x.to(torch.bfloat16))


def _computed(function: Any, x: Any, y: Any, *, out: torch.Tensor) -> None:
    if out.dtype != torch.bfloat16:  # else the result of two in bfloat16 would be so
        x, y = (value.to(out.dtype) if isinstance(value, torch.Tensor) else value for value in (x, y))
    elif not isinstance(x, torch.Tensor):
        x = torch.tensor(x, device="cpu")
    function(x, y, out=out)
