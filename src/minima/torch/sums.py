"""What is made of many numbers, through PyTorch's own operations: sums, means, maxima and norms of lists of tensors.

Terms are in the precision in which parameters are computed; they are added in float64, or in float32 on a device that
has no other. A result for each tensor stays so, and all of them are one tensor without gaps: the next operation on them
is one call. Results for rows and columns are as wide as their terms.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import torch

from minima.optim.language.operations import REDUCTIONS
from minima.optim.language.program import Instruction, Program
from minima.optim.language.ranks import MODEL, TENSOR
from minima.torch.lists import converted, on_lists
from minima.torch.memory import double
from minima.torch.private import foreach

__all__ = ["OF_SQUARES", "along", "gathers", "of_each", "partial_sums", "passes"]

_torch: Any = torch

OF_SQUARES = {"sum": "sum_of_squares", "mean": "mean_of_squares"}
"""What is made of all elements of a tensor times themselves, which programs say in two lines."""


def gathers(line: Instruction) -> bool:
    """Whether a line makes one number of a whole tensor."""
    return line.operation in REDUCTIONS and line.rank == TENSOR


def passes(program: Program, stage: int) -> list[list[Instruction]]:
    """The lines of a stage but those for the model, in an order in which reductions that can be had together stand so.

    Each part ends with the reductions of whole tensors, if any, that nothing in it needs.
    """
    depths: dict[str, int] = {}
    for line in program.body:
        depth = max((depths.get(name, 0) for name in line.reads), default=0)
        depths[line.target] = depth + gathers(line)
    mine = [line for line in program.body if line.rank != MODEL and program.stages[line.target] == stage]

    def order(line: Instruction) -> tuple[int, bool]:
        return depths[line.target] - gathers(line), gathers(line)

    found = groupby(sorted(mine, key=order), key=lambda line: order(line)[0])
    return [list(lines) for _, lines in found]


def partial_sums(operation: str, tensors: Sequence[torch.Tensor], counts: Sequence[int]) -> torch.Tensor:
    """For each tensor its sum, mean, maximum or norm, or a sum or mean of squares; means are sums divided by counts."""
    wide = double(tensors[0].device)
    match operation:
        case "max":
            found = [x.amax().to(wide) if x.numel() else _least(x, (), wide) for x in tensors]
        case "norm":
            found = _norms(tensors, wide)
        case "mean":
            found = _divided([x.sum(dtype=wide) for x in tensors], counts)
        case _ if operation in OF_SQUARES.values():
            found = _sums_of_squares(tensors, wide)
            found = _divided(found, counts) if operation == OF_SQUARES["mean"] else found
        case _:
            found = [x.sum(dtype=wide) for x in tensors]
    return torch.stack(list(found))


def along(operation: str, tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """A reduction of each matrix along an axis, which stays, with length 1: of columns (0), or of rows (1).

    Of a batch, of each of its matrices.
    """
    word, axis = operation[:-1], int(operation[-1]) - 2
    wide = double(tensors[0].device)
    if word == "max":
        empty = [x.sum(axis, keepdim=True).shape if not x.shape[axis] else None for x in tensors]
        pairs = zip(tensors, empty, strict=True)
        return [x.amax(axis, keepdim=True) if e is None else _least(x, e, x.dtype) for x, e in pairs]
    if word == "norm":
        found = [_torch.linalg.vector_norm(x, dim=axis, keepdim=True, dtype=wide) for x in tensors]
    else:
        found = [x.sum(axis, keepdim=True, dtype=wide) for x in tensors]
        found = _divided(found, [x.shape[axis] for x in tensors]) if word == "mean" else found
    return converted(found, tensors[0].dtype)


def of_each(operation: str, x: torch.Tensor) -> torch.Tensor:
    """A reduction of each matrix of a batch to one number, which keeps the axes of the batch."""
    wide, axes = double(x.device), (-2, -1)
    match operation:
        case "max":
            return x.amax(axes, keepdim=True).to(wide)
        case "norm":
            return _torch.linalg.vector_norm(x, dim=axes, keepdim=True, dtype=wide)
        case "mean":
            return x.sum(axes, keepdim=True, dtype=wide) / (x.shape[-2] * x.shape[-1])
        case _:
            return x.sum(axes, keepdim=True, dtype=wide)


def _sums_of_squares(tensors: Sequence[torch.Tensor], wide: torch.dtype) -> list[torch.Tensor]:
    """Sums that need no memory for all squares; on the CPU a norm would copy its tensor to float64 first."""
    if tensors[0].device.type == "cpu":
        return [(x * x).sum(dtype=wide) for x in tensors]
    norms = list(_norms(tensors, wide))
    return on_lists("mul", [norms, norms], norms)


def _divided(sums: list[torch.Tensor], counts: Sequence[int]) -> list[torch.Tensor]:
    """Sums divided by numbers, in their memory."""
    numbers = [float(count) if count else torch.nan for count in counts]  # the mean of nothing, as that of NumPy
    return on_lists("div", [sums, numbers], sums)


def _norms(tensors: Sequence[torch.Tensor], wide: torch.dtype) -> Sequence[torch.Tensor]:
    together = foreach("norm")
    if together is not None and all(x.numel() for x in tensors):
        return together(tensors, 2, dtype=wide)
    return [_torch.linalg.vector_norm(x, dtype=wide) for x in tensors]


def _least(x: torch.Tensor, size: Sequence[int], dtype: torch.dtype) -> torch.Tensor:
    """The maximum of nothing."""
    return torch.full(tuple(size), -torch.inf, dtype=dtype, device=x.device)
