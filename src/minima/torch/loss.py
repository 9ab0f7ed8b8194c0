"""The loss of a step as a number, or as a tensor of one on a GPU."""

from numbers import Real
from typing import Any, cast

import numpy as np
import torch

from minima.errors import sentence
from minima.torch.capture import is_capturing

__all__ = ["loss_number", "loss_there"]


def loss_number(who: str, loss: Any) -> float:
    """What a loss is as a number."""
    one: Any = loss
    if isinstance(loss, torch.Tensor) and loss.numel() == 1:
        one = loss.item()
    elif isinstance(loss, np.ndarray) and cast(Any, loss).size == 1:
        one = cast(Any, loss).item()
    if not isinstance(one, Real):
        rule = "loss must be a number, or a tensor of one"
        raise TypeError(sentence(who, rule, got=cast(object, loss), hint="nothing was changed"))
    return float(one)


def loss_there(who: str, loss: Any, device: torch.device, *, is_read: bool = True) -> Any:
    """A loss as a GPU takes it, which is not waited for: a tensor that is there as it is, any other as a number.

    One that kernels do not read may be a tensor anywhere, but for a graph.
    """
    is_real = isinstance(loss, torch.Tensor) and not (loss.is_complex() or loss.dtype == torch.bool)
    if is_real and loss.numel() == 1 and type(loss) in (torch.Tensor, torch.nn.Parameter):
        if loss.device == device or not (is_read or is_capturing()):
            return loss.detach()
    if is_capturing():
        rule = f"a loss in a CUDA graph must be a tensor of one number on {device}"
        raise TypeError(sentence(who, rule, got=cast(object, loss), hint="nothing was changed"))
    return loss_number(who, loss)
