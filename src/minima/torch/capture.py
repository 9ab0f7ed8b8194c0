"""CUDA graphs: whether one is recording, what it cannot record, and what it takes to replay what it has recorded."""

import weakref
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from minima.errors import sentence
from minima.torch.private import is_forked

if TYPE_CHECKING:
    from minima.torch.holdings import Holdings

__all__ = ["is_capturing", "keep", "refuse", "refuse_solver"]


def is_capturing() -> bool:
    """Whether a CUDA graph records what is put on PyTorch's current stream."""
    return torch.cuda.is_initialized() and torch.cuda.is_current_stream_capturing()


def refuse(who: str, held: "Holdings", *, is_step: bool, measure: bool = False) -> None:
    """A RuntimeError while a CUDA graph records what it cannot replay, and where CUDA is of no use."""
    if is_forked() and held.is_on_cuda:
        rule = "a process that was forked from one that had initialised CUDA cannot step parameters on a GPU"
        hint = "start it by the method 'spawn', as torch.multiprocessing can; nothing was changed"
        raise RuntimeError(sentence(who, rule, hint=hint))
    if not is_capturing() or not held.is_on_cuda:
        return
    if not (is_step and held.is_capturable):
        rule = "a step cannot be captured into a CUDA graph, as its counts and scalars are computed on the host"
        hint = "make the optimizer with capturable=True" if is_step else "call it outside of the graph"
        raise RuntimeError(sentence(who, rule, hint=hint))
    if measure:
        raise RuntimeError(sentence(who, "measures cannot be captured into a CUDA graph, as they wait for the GPU"))


def refuse_solver(who: str, params: Sequence[torch.Tensor]) -> None:
    """A RuntimeError while a CUDA graph records a step whose way depends on what it finds."""
    if is_capturing() and any(param.is_cuda for param in params):
        rule = "a step cannot be captured into a CUDA graph, as how far it goes is decided on the host"
        raise RuntimeError(sentence(who, rule, hint="step outside of the graph"))


def keep(param: torch.Tensor, tensors: Sequence[torch.Tensor]) -> None:
    """Keep what a recorded step reads and writes for as long as there is a parameter that it steps.

    A graph knows addresses alone. Its optimizer may plan anew, or be deleted, while it is replayed.
    """
    weakref.finalize(param, tuple, tensors).atexit = False
