"""PyTorch's initialisers, which write into a tensor: those of ``minima.init``, by PyTorch's names."""

from typing import Any

from minima import init
from minima.autograd import Tensor
from minima.autograd.creation import eye
from minima.errors import sentence
from minima.init.fans import Mode, Nonlinearity

__all__ = [
    "constant_",
    "eye_",
    "kaiming_normal_",
    "kaiming_uniform_",
    "normal_",
    "ones_",
    "uniform_",
    "xavier_normal_",
    "xavier_uniform_",
    "zeros_",
]


def zeros_(tensor: Tensor) -> Tensor:
    """Writes 0 everywhere, and returns the tensor.

    These functions write whether or not a gradient is required, and record nothing.

    >>> from minima import nn
    >>> zeros_(nn.Linear(2, 1).bias).tolist()
    [0.0]
    """
    return _filled("zeros_", tensor, init.zeros)


def ones_(tensor: Tensor) -> Tensor:
    """Writes 1 everywhere, and returns the tensor."""
    return _filled("ones_", tensor, init.ones)


def constant_(tensor: Tensor, val: float) -> Tensor:
    """Writes ``val`` everywhere, and returns the tensor."""
    return _filled("constant_", tensor, init.constant, value=val)


def eye_(tensor: Tensor) -> Tensor:
    """Writes ones on the diagonal of a matrix and zeros elsewhere, and returns it."""
    if tensor.ndim != 2:
        raise ValueError(sentence("eye_", "the tensor must be a matrix", got=tensor.shape))
    tensor.data = eye(*tensor.shape)
    return tensor


def uniform_(tensor: Tensor, a: float = 0.0, b: float = 1.0) -> Tensor:
    """Draws from the uniform distribution on [a, b), as `minima.init.uniform`, and returns the tensor."""
    return _filled("uniform_", tensor, init.uniform, low=a, high=b)


def normal_(tensor: Tensor, mean: float = 0.0, std: float = 1.0) -> Tensor:
    """Draws from the normal distribution, as `minima.init.normal`, and returns the tensor."""
    return _filled("normal_", tensor, init.normal, mean=mean, std=std)


def xavier_uniform_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draws as `minima.init.xavier_uniform`, and returns the tensor."""
    return _filled("xavier_uniform_", tensor, init.xavier_uniform, gain=gain)


def xavier_normal_(tensor: Tensor, gain: float = 1.0) -> Tensor:
    """Draws as `minima.init.xavier_normal`, and returns the tensor."""
    return _filled("xavier_normal_", tensor, init.xavier_normal, gain=gain)


def kaiming_uniform_(
    tensor: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
) -> Tensor:
    """Draws as `minima.init.kaiming_uniform`, and returns the tensor."""
    return _filled("kaiming_uniform_", tensor, init.kaiming_uniform, a=a, mode=mode, nonlinearity=nonlinearity)


def kaiming_normal_(
    tensor: Tensor,
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
) -> Tensor:
    """Draws as `minima.init.kaiming_normal`, and returns the tensor."""
    return _filled("kaiming_normal_", tensor, init.kaiming_normal, a=a, mode=mode, nonlinearity=nonlinearity)


def _filled(who: str, tensor: Tensor, draw: Any, **how: Any) -> Tensor:
    if not isinstance(tensor, Tensor):  # pyright: ignore[reportUnnecessaryIsInstance]  # callers may be untyped
        hint = "minima.init makes tensors of shapes"
        raise TypeError(sentence(who, "the argument must be a Tensor", got=tensor, hint=hint))
    tensor.data = draw(*tensor.shape, dtype=tensor.dtype, **how)
    return tensor
