"""The loss of a step as a number."""

from numbers import Real
from typing import Any, cast

import numpy as np
import torch

from minima.errors import sentence

__all__ = ["loss_number"]


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
