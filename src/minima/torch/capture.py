"""CUDA graphs: whether one is recording, and what it takes to replay what it has recorded."""

import weakref
from collections.abc import Sequence

import torch

__all__ = ["is_capturing", "keep"]


def is_capturing() -> bool:
    """Whether a CUDA graph records what is put on PyTorch's current stream."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def keep(param: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    """Keep what a recorded step reads and writes for as long as there is a parameter that it steps.

    A graph knows addresses alone. Its optimizer may plan anew, or be deleted, while it is replayed.
    """
    weakref.finalize(param, tuple, tensors).atexit = False
