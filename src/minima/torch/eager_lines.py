"""Lines of a program on lists of tensors, by PyTorch's own operations."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import repeat
from typing import Any, cast

import torch

from minima.optim.language.operations import DECOMPOSITIONS, REDUCTIONS
from minima.optim.language.program import Instruction
from minima.optim.language.ranks import COLUMN, ROW, TENSOR
from minima.torch.kernel import TensorKernel
from minima.torch.lists import converted, on_lists, single
from minima.torch.memory import local
from minima.torch.products import multiplied
from minima.torch.schedules import Way
from minima.torch.sums import OF_SQUARES, along, of_each, partial_sums

__all__ = ["EagerLines", "Row"]


@dataclass(frozen=True, eq=False)
class Row:
    """The parameters of one row of scalars, in the middle of a step."""

    members: Sequence[int]
    t: int
    values: dict[str, Any]
    """The values of the program, as far as they are known."""
    given: frozenset[int]
    """The identities of the tensors that it began with, which are not its own."""
    way: Way
    rounded: dict[str, list[torch.Tensor]] = field(default_factory=dict[str, list[torch.Tensor]])
    """The new values that are to be copied to parameters and state, as far as they are rounded."""


class EagerLines(TensorKernel):
    """What computes the lines of a program; `Eager` adds what they begin with, and where their results go."""

    _compute: torch.dtype
    """The precision in which elements are computed, and that of numbers of a parameter."""
    _double: torch.dtype
    _device: torch.device
    _halves: frozenset[str]
    """What is kept in bfloat16."""
    _is_whole: bool
    """Whether steps put together what they find shards of."""
    _digits: dict[str, torch.Tensor]
    """What lines need as tensors of one number while results are written, by its digits: -0.0 equals 0.0."""

    def _apply(self, line: Instruction, row: Row, into: list[torch.Tensor] | None, base: int) -> Any:
        name, values = line.operation, row.values
        if name == "nearest":
            dtype = local(self.work.params[0]).dtype
            return converted(converted(values[str(line.operands[0])], dtype), self._compute)
        operands: list[Any] = [values[operand] if isinstance(operand, str) else operand for operand in line.operands]
        if name in ("matmul", "addmm"):
            product = partial(multiplied(name), dtype=torch.bfloat16 if line.target in self._halves else self._compute)
            lists = [cast(Iterable[Any], x) if isinstance(x, list) else repeat(x) for x in operands]
            return list(map(product, *lists))
        if name == "transpose":
            return [x.t() for x in operands[0]]
        if name in DECOMPOSITIONS:
            return list(map(DECOMPOSITIONS[name].numpy, *operands))
        if self._halves:
            pairs = zip(operands, line.operands, strict=True)
            operands = [[x.to(self._compute) for x in xs] if name in self._halves else xs for xs, name in pairs]
        found = self._computed(line, operands, row, into, base)
        return [x.to(torch.bfloat16) for x in found] if line.target in self._halves else found

    def _computed(
        self, line: Instruction, operands: list[Any], row: Row, into: list[torch.Tensor] | None, base: int
    ) -> Any:
        """An operation on what is in the precision in which parameters are computed."""
        name = line.operation
        if name in REDUCTIONS or name in OF_SQUARES.values() or name == "narrow":
            return self._beyond(line, operands[0], row)
        dtype = self._double if line.rank == TENSOR else self._compute
        if line.rank == TENSOR and any(isinstance(x, list) for x in operands):  # a number of each matrix, with others
            operands = [list(x.unbind()) if isinstance(x, torch.Tensor) and x.dim() else x for x in operands]
        if line.rank > TENSOR and self._device.type == "cpu" and not self.on_device:
            # Numbers for all tensors, or one for each, are at hand.
            operands = [cast(Any, x).tolist() if isinstance(x, torch.Tensor) else x for x in operands]
        many = [isinstance(operand, list) for operand in operands]
        if name == "where":
            operands = [operands[0], *(self._number(x, dtype) for x in operands[1:])]
            if isinstance(operands[0], bool):
                return operands[1] if operands[0] else operands[2]
        if name == "div" and not many[0]:  # once, and not for each of the tensors
            operands[0] = self._number(operands[0], dtype)
        if not any(many):
            return single(name)(*operands)
        return on_lists(name, operands, into, base)

    def _beyond(self, line: Instruction, value: Any, row: Row) -> Any:
        """What is made of all elements, or of those of a row or a column; or the reverse: what elements read."""
        if line.operation == "narrow":
            if isinstance(value, list):
                return [x.to(self._compute) for x in cast(list[torch.Tensor], value)]
            if not isinstance(value, torch.Tensor):
                return float(value)
            return list(value.to(self._compute).unbind()) if value.dim() else value.to(self._compute)
        if line.rank != TENSOR:
            return along(line.operation, value)
        if self.work.keeping.is_batched and self.work.program.rank(line.operands[0]) in (ROW, COLUMN):
            return [of_each(line.operation, x) for x in value]
        counts = [x.numel() for x in value]
        if self.shards is not None and not self._is_whole:
            params = [self.work.params[i] for i in row.members]
            counts = [param.numel() * (2 if param.is_complex() else 1) for param in params]
        return partial_sums(line.operation, value, counts)

    def _number(self, operand: Any, dtype: torch.dtype) -> Any:
        """A number as a tensor."""
        if not isinstance(operand, float):
            return operand
        known = self._digits.get(operand.hex()) if dtype is self._compute else None
        return known if known is not None else torch.full((), operand, dtype=dtype, device=self._device)


def _settle() -> None:
    """Call each function of one number once, on one element.

    Where several threads are the first to call one, MKL may answer a whole chunk with 12 bits (pytorch issue 188792).
    """
    for word in ("sqrt", "exp", "log"):
        for dtype in (torch.float32, torch.float64):
            getattr(torch, word)(torch.ones(1, dtype=dtype, device="cpu"))


_settle()
