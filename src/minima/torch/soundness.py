"""What can be wrong with the memory of a tensor that an optimizer is about to write to, said in one sentence."""

from collections.abc import Iterable
from typing import Any

import torch

from minima.errors import sentence
from minima.torch.memory import is_sharded

__all__ = ["Likeness", "check_memory", "extent", "is_freed"]

_UNCHANGED = "nothing was changed"


def check_memory(who: str, which: str, tensor: Any, like: torch.Tensor | None = None) -> None:
    """Complain of a parameter, or a tensor of its state, that cannot be written to as it is.

    Args:
        who: The public name that complains.
        which: What the message calls the tensor.
        tensor: The parameter, or what stands in the state.
        like: A tensor of the shape and the dtype, on the device, that it must have.

    Raises:
        TypeError: It is no dense tensor, or of another dtype.
        ValueError: Its storage was freed, its elements share memory, it is a conjugated or negated view, or it has
            another shape or is elsewhere.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(sentence(who, f"{which} must be a tensor", got=tensor, hint=_UNCHANGED))
    if tensor.layout != torch.strided:
        raise TypeError(sentence(who, f"{which} must not be sparse", got=str(tensor.layout), hint=_UNCHANGED))
    if like is not None:
        _check_kind(who, which, tensor, like)
    if any(stride == 0 and size > 1 for stride, size in zip(tensor.stride(), tensor.shape, strict=True)):
        rule = f"{which} must have a place in memory for each of its elements"
        raise ValueError(sentence(who, rule, got=f"strides {tensor.stride()}", hint="clone what was expanded"))
    if tensor.is_conj() or tensor.is_neg():  # what is written to memory would mean something else
        hint = "make it by resolve_conj() and resolve_neg()"
        raise ValueError(sentence(who, f"{which} must not be a conjugated or negated view", hint=hint))
    if is_freed(tensor):
        hint = f"its storage was freed, as FSDP does between uses; step where it is whole; {_UNCHANGED}"
        raise ValueError(sentence(who, f"{which} must have memory for its {tensor.numel()} elements", hint=hint))


def is_freed(tensor: torch.Tensor) -> bool:
    """Whether the storage of a tensor, or of its local shard, ends before its elements do."""
    tensor = _shard(tensor)
    if tensor.layout != torch.strided or not (many := extent(tensor)):
        return False
    return tensor.untyped_storage().nbytes() < tensor.storage_offset() * tensor.element_size() + many


def extent(tensor: torch.Tensor) -> int:
    """How many bytes there are from the first of the elements to the end of the last."""
    if tensor.is_contiguous():
        return tensor.numel() * tensor.element_size()
    steps = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (steps + 1) * tensor.element_size()


class Likeness:
    """What tensors are like that a kernel is made for, to see in every step whether they still are."""

    def __init__(self, tensors: Iterable[torch.Tensor]) -> None:
        self._likes = [(is_sharded(tensor), *_described(_shard(tensor))) for tensor in tensors]

    def holds(self, tensors: Iterable[Any]) -> bool:
        """Whether each of the tensors lies in memory as the one before it did, and all of its memory is there."""
        for tensor, (sharded, like, end) in zip(tensors, self._likes, strict=True):
            if not isinstance(tensor, torch.Tensor) or tensor.layout != torch.strided or is_sharded(tensor) != sharded:
                return False
            if tensor.is_neg() or tensor.is_conj():
                return False
            tensor = _shard(tensor)
            if (tensor.shape, tensor.stride(), tensor.dtype, tensor.device) != like:
                return False
            if end and tensor.untyped_storage().nbytes() < tensor.storage_offset() * tensor.element_size() + end:
                return False
        return True


def _shard(tensor: Any) -> torch.Tensor:
    return tensor.to_local() if is_sharded(tensor) else tensor


def _described(tensor: torch.Tensor) -> tuple[Any, int]:
    """Shape, strides, dtype and device; and how many bytes after its first element its memory ends, at least."""
    return (tensor.shape, tensor.stride(), tensor.dtype, tensor.device), extent(tensor)


def _check_kind(who: str, which: str, tensor: torch.Tensor, like: torch.Tensor) -> None:
    if tensor.shape != like.shape:
        rule = f"{which} must have the shape {tuple(like.shape)}"
        raise ValueError(sentence(who, rule, got=tuple(tensor.shape), hint=_UNCHANGED))
    if tensor.dtype != like.dtype:
        raise TypeError(sentence(who, f"{which} must be {like.dtype}", got=str(tensor.dtype), hint=_UNCHANGED))
    if tensor.device != like.device:
        raise ValueError(sentence(who, f"{which} must be on {like.device}", got=str(tensor.device), hint=_UNCHANGED))
