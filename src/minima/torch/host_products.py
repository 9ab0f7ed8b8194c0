"""Products of matrices by PyTorch for the fused engine on the CPU, on the memory that machine code reads and writes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from minima.optim.engines.cpu.products import Call, Products
from minima.optim.language.program import Instruction
from minima.torch.products import has_fast_bfloat16, is_taken, merged, writer
from minima.torch.sums import partial_sums

__all__ = ["TorchProducts"]

_torch: Any = torch


class TorchProducts(Products):
    """Computes what is between two passes."""

    def prepared(
        self, lines: Sequence[Instruction], results: Collection[str]
    ) -> tuple[Sequence[Instruction], Collection[str]]:
        found = merged(lines, results, in_half=has_fast_bfloat16(torch.device("cpu")))
        read = {name for line in found.lines for name in line.reads if not is_taken(line.operation)}
        if read & found.halves:  # by what NumPy does, which has no bfloat16
            found = merged(lines, results, in_half=False)
        return found.lines, found.halves

    def calls(self, lines: Sequence[Instruction], views: Mapping[str, NDArray[Any]]) -> list[Call]:
        return [self._call(line, views) for line in lines]

    def _call(self, line: Instruction, views: Mapping[str, NDArray[Any]]) -> Call:
        if not is_taken(line.operation):
            return self.numpy_call(line, views)
        arrays = {name: _tensor(views[name]) for name in (line.target, *line.reads) if name in views}
        write, operands = writer(line.operation, arrays[line.target]), [arrays.get(str(x), x) for x in line.operands]

        def call(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
            write(*(float(numbers[x]) if isinstance(x, str) else x for x in operands))

        return call

    def copy(self, target: NDArray[Any], source: NDArray[Any]) -> Call:
        out, given = _tensor(target), _tensor(source)

        def call(numbers: dict[str, Any], wide: dict[str, Any]) -> None:
            out.copy_(given)

        return call

    def reduction(self, operation: str, x: NDArray[Any]) -> Callable[[], Any]:
        tensor = _tensor(x)
        return lambda: np.float64(partial_sums(operation, [tensor], [tensor.numel()])[0].item())


def _tensor(array: NDArray[Any]) -> torch.Tensor:
    """A tensor on the memory of an array, of which bits of 16 are numbers in bfloat16."""
    with torch.inference_mode(False):  # steps outside of it write to it too
        return _on(array)


def _on(array: NDArray[Any]) -> torch.Tensor:
    if array.dtype == np.uint16:
        return _torch.from_numpy(array.view(np.int16)).view(torch.bfloat16)
    return _torch.from_numpy(array)
