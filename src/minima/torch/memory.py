"""The memory of tensors: the local, real-valued view of a tensor's storage, and how its strides lie."""

import sys
from collections.abc import Iterable
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = [
    "bits",
    "brought",
    "dense",
    "double",
    "has_strides",
    "is_dense",
    "is_direct",
    "is_sharded",
    "is_steppable",
    "local",
    "same_shards",
    "same_strides",
    "sharded",
    "wide",
]


def local(tensor: torch.Tensor) -> torch.Tensor:
    """The local, real-valued view of a tensor's own storage, detached.

    Of a sharded tensor it is the local shard; complex numbers are pairs of real ones.
    """
    if is_sharded(tensor):
        distributed: Any = tensor
        tensor = distributed.to_local()
    tensor = tensor.detach()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def is_direct(tensor: torch.Tensor) -> bool:
    """Whether a tensor is its own local, real-valued view."""
    return not tensor.is_complex() and not is_sharded(tensor)


def is_steppable(tensor: torch.Tensor) -> bool:
    """Whether its elements are numbers that a step can move: floating or complex, of 16 bits or more."""
    dtype = tensor.dtype
    return (dtype.is_floating_point or dtype.is_complex) and dtype.itemsize >= 2


def is_sharded(tensor: torch.Tensor) -> bool:
    """Whether it is a DTensor, of which each process holds a shard."""
    return _is_of_shards(type(tensor))


def sharded(tensors: Iterable[torch.Tensor]) -> list[torch.Tensor]:
    """The DTensors among some tensors, of whose types there are few."""
    given = list(tensors)
    return list(filter(is_sharded, given)) if any(map(_is_of_shards, {*map(type, given)})) else []


def _is_of_shards(kind: type) -> bool:
    distributed = sys.modules.get("torch.distributed.tensor")  # unless it is loaded, there are no such tensors
    return distributed is not None and issubclass(kind, distributed.DTensor)


def same_shards(tensor: Any, like: Any) -> bool:
    """Whether two tensors are sharded alike, if at all."""
    if not (is_sharded(tensor) and is_sharded(like)):
        return is_sharded(tensor) == is_sharded(like)
    return tensor.placements == like.placements and tensor.device_mesh == like.device_mesh


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill a piece of memory, each a place of its own, in whatever order."""
    if tensor.is_contiguous():
        return True
    expected = 1
    for stride, size in sorted(zip(tensor.stride(), tensor.shape, strict=True)):
        if size == 0:
            return True
        if size > 1 and stride != expected:
            return False
        expected *= size
    return True


def dense(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor itself, or, where it has gaps, an empty one without, which is laid out as closely to it as can be."""
    return tensor if is_dense(tensor) else torch.empty_like(tensor)


def same_strides(tensor: torch.Tensor, like: torch.Tensor) -> bool:
    """Whether two tensors of one shape have the same strides, where strides count."""
    return has_strides(tensor, like.stride())


def has_strides(tensor: torch.Tensor, strides: tuple[int, ...]) -> bool:
    """Whether a tensor has some strides, where strides count."""
    if tensor.stride() == strides:
        return True
    pairs = zip(tensor.stride(), strides, tensor.shape, strict=True)
    return tensor.numel() == 0 or all(mine == other for mine, other, size in pairs if size > 1)


def brought(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    """A tensor on a device. The host waits only for what comes to the CPU: streams order the copies of others."""
    return tensor.to(device, non_blocking=device.type != "cpu")


@cache
def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a parameter of ``dtype`` is computed: its own, float32 at least."""
    return torch.promote_types(dtype, torch.float32)


@cache
def double(device: torch.device) -> torch.dtype:
    """The dtype of what there is one of for a tensor: float64, or float32 on a device that has no other."""
    try:
        return torch.zeros(1, dtype=torch.float64, device=device).sum().dtype
    except (TypeError, RuntimeError):
        return torch.float32


def bits(tensor: torch.Tensor) -> NDArray[Any]:
    """A dense tensor on the CPU as NumPy sees it, flat, in the order of memory; bfloat16 as its 16 bits."""
    flat = tensor.as_strided((tensor.numel(),), (1,))
    array: NDArray[Any] = (flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat).numpy()
    return array.view(np.uint16) if flat.dtype == torch.bfloat16 else array
