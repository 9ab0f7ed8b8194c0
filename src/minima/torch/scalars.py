"""The host part of a program where hyperparameters are tensors, which nobody looks at."""

from collections.abc import Mapping
from typing import Any

import torch

from minima.optim.language.program import Program
from minima.optim.language.rule import LOSS
from minima.torch.lists import single
from minima.torch.memory import brought

__all__ = ["tensor_scalars"]


def tensor_scalars(
    program: Program, device: torch.device, numbers: Mapping[str, Any], t: int, first: bool, loss: float
) -> list[Any]:
    """The scalars of a program and its wide numbers in step ``t``, for parameters on a device."""
    afar = {name: x for name, x in numbers.items() if isinstance(x, torch.Tensor) and x.device.type != "cpu"}
    here = {name: brought(x, device) for name, x in afar.items()}  # others may be on another GPU
    given = {**numbers, **here, "t": t, "first": first, LOSS: loss}
    values: dict[str, Any] = {name: x if isinstance(x, torch.Tensor) else float(x) for name, x in given.items()}
    for line in program.host:
        operands: list[Any] = [values[operand] if isinstance(operand, str) else operand for operand in line.operands]
        values[line.target] = single(line.operation)(*operands)
    return [values[name] for name in (*program.scalars, *program.wide)]
