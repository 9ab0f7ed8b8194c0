"""What processes that hold shards of the same parameters must find out together: sums, and whether all is finite."""

import math
from collections.abc import Sequence
from typing import Any, cast

import torch

from minima.torch.memory import double, is_sharded, same_shards
from minima.torch.private import first_indices, gather_anew

__all__ = ["Shards", "first_number", "layout", "own_part", "placed", "whole", "write"]


def layout(param: torch.Tensor) -> Any:
    """Over which processes a parameter is sharded: its mesh, and the axes of the mesh that shards go along.

    It is None of a parameter that this process holds whole. Parameters of one layout can be summed up together.
    """
    if not is_sharded(param):
        return None
    distributed: Any = param
    axes = tuple(i for i, placement in enumerate(distributed.placements) if not placement.is_replicate())
    return distributed.device_mesh, axes


def first_number(param: torch.Tensor) -> int:
    """Where in a sharded parameter the numbers of this process begin, of all that it has in the order of its axes."""
    places = zip(first_indices(param), torch.empty(param.shape, device="meta").stride(), strict=True)
    return sum(index * stride for index, stride in places) * (2 if param.is_complex() else 1)


def whole(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor with all of its shards, detached; all processes that hold one must ask for it."""
    distributed: Any = tensor.detach()
    return distributed.full_tensor() if is_sharded(tensor) else distributed


def write(param: torch.Tensor, values: torch.Tensor) -> None:
    """Let a parameter have these values, also for the next call of a module that has gathered others."""
    with torch.no_grad():
        param.copy_(values)
    if is_sharded(param):
        gather_anew(param)


def placed(grad: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """A gradient sharded as its parameter is, if it is: such as one whose parts are still to be added."""
    if same_shards(grad, param):
        return grad
    return cast(Any, grad).redistribute(cast(Any, param).device_mesh, cast(Any, param).placements)


def own_part(values: torch.Tensor, param: torch.Tensor) -> torch.Tensor:
    """The shard that this process holds of something whole that is sharded as a parameter is."""
    from torch.distributed.tensor import DTensor, Replicate

    mesh, placements = cast(Any, param).device_mesh, cast(Any, param).placements
    everywhere: Any = DTensor.from_local(values, mesh, [Replicate()] * mesh.ndim, run_check=False)
    return everywhere.redistribute(mesh, placements).to_local()


class Shards:
    """The processes that hold the shards of parameters of one layout.

    All of them must ask the same, in the same order: they wait for each other.
    """

    def __init__(self, param: torch.Tensor) -> None:
        mesh, axes = layout(param)
        self._device = param.device
        self._groups: list[Any] = [mesh.get_group(axis) for axis in axes]
        """Along the axes that shards go along."""
        self._all: list[Any] = [mesh.get_group(axis) for axis in range(mesh.ndim)]
        """With copies of the shards in other processes, too: these may have found something else."""

    def summed(self, numbers: torch.Tensor) -> torch.Tensor:
        """The sum over all shards of each number."""
        return self._reduced(numbers, "SUM", self._groups)

    def largest(self, numbers: torch.Tensor) -> torch.Tensor:
        """The largest number that there is for any shard; NaN if one is."""
        is_nan = self._reduced(numbers.isnan().to(numbers.dtype), "MAX", self._groups)
        return torch.where(is_nan > 0, torch.nan, self._reduced(numbers, "MAX", self._groups))

    def all_of(self, found: Sequence[bool]) -> list[bool]:
        """For each of some facts whether it is one in all processes."""
        facts = torch.tensor(found, dtype=torch.int32, device=self._device)
        return [bool(fact) for fact in self._reduced(facts, "MIN", self._all).tolist()]  # pyright: ignore

    def any_of(self, found: torch.Tensor) -> torch.Tensor:
        """The largest of the numbers that the processes have found, on their devices, which the host does not wait for
        where the processes speak by NCCL."""
        return self._reduced(found, "MAX", self._all)

    def agreed(self, loss: float) -> float:
        """A loss that is not finite in any process where it is not in one."""
        return loss if self.all_of([math.isfinite(loss)])[0] or not math.isfinite(loss) else math.nan

    def mean(self, loss: float) -> float:
        """The mean of the losses in all processes, which is the loss whose gradients these have put together."""
        numbers = torch.tensor([loss, 1.0], dtype=double(self._device), device=self._device)
        added = self._reduced(numbers, "SUM", self._all)
        return float(added[0] / added[1])

    def _reduced(self, numbers: torch.Tensor, operation: str, groups: Sequence[Any]) -> torch.Tensor:
        distributed: Any = torch.distributed
        numbers = numbers.clone()
        for group in groups:
            distributed.all_reduce(numbers, op=getattr(distributed.ReduceOp, operation), group=group)
        return numbers
