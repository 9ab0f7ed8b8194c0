"""How tensors lie in memory: the part that is here, as real numbers, in the order of its addresses."""

import sys
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

__all__ = ["bits", "dense", "here", "is_dense", "is_here", "is_spread", "laid_out", "spread_alike", "wide"]


def here(tensor: torch.Tensor) -> torch.Tensor:
    """The numbers of a tensor that an optimizer works on, in the tensor's own memory and unknown to autograd.

    Of a distributed tensor it is the part that this process holds; complex numbers are pairs of real ones.
    """
    if is_spread(tensor):
        distributed: Any = tensor
        tensor = distributed.to_local()
    tensor = tensor.detach()
    return torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor


def is_here(tensor: torch.Tensor) -> bool:
    """Whether a tensor itself is what an optimizer works on, not a part of it, and not its numbers in another form."""
    return not tensor.is_complex() and not is_spread(tensor)


def is_spread(tensor: torch.Tensor) -> bool:
    """Whether it is a distributed tensor, of which each process holds a part."""
    distributed = sys.modules.get("torch.distributed.tensor")  # unless it is loaded, there are no such tensors
    return distributed is not None and isinstance(tensor, distributed.DTensor)


def spread_alike(tensor: Any, like: Any) -> bool:
    """Whether processes hold the same parts of two tensors."""
    if not (is_spread(tensor) and is_spread(like)):
        return is_spread(tensor) == is_spread(like)
    return tensor.placements == like.placements and tensor.device_mesh == like.device_mesh


def is_dense(tensor: torch.Tensor) -> bool:
    """Whether the elements fill a piece of memory, each a place of its own, in whatever order."""
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


def laid_out(tensor: torch.Tensor, like: torch.Tensor) -> bool:
    """Whether each element of two tensors of one shape has the same place in both."""
    pairs = zip(tensor.stride(), like.stride(), tensor.shape, strict=True)
    return tensor.numel() == 0 or all(mine == other for mine, other, size in pairs if size > 1)


def wide(dtype: torch.dtype) -> torch.dtype:
    """The dtype in which a parameter of ``dtype`` is computed: its own, float32 at least."""
    return torch.promote_types(dtype, torch.float32)


def bits(tensor: torch.Tensor) -> NDArray[Any]:
    """A dense tensor on the CPU as NumPy sees it, flat, in the order of memory; bfloat16 as its 16 bits."""
    flat = tensor.as_strided((tensor.numel(),), (1,))
    array: NDArray[Any] = (flat.view(torch.int16) if flat.dtype == torch.bfloat16 else flat).numpy()
    return array.view(np.uint16) if flat.dtype == torch.bfloat16 else array
