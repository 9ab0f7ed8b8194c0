"""Weights whose variance fits the numbers of inputs and outputs: xavier_uniform to kaiming_normal."""

import math
from collections.abc import Sequence
from typing import Literal, get_args

from minima.autograd import Device, DTypeLike, Tensor
from minima.checks import one_of
from minima.errors import sentence
from minima.init.constants import Shape, lengths
from minima.init.draws import normally, uniformly

__all__ = ["Mode", "Nonlinearity", "kaiming_normal", "kaiming_uniform", "xavier_normal", "xavier_uniform"]

Mode = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]


def xavier_uniform(
    *shape: int | Sequence[int],
    gain: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Glorot initialisation: keeps the variance of signals and gradients constant through layers without ReLU; uniform.

        U(-bound, bound),   bound = gain * sqrt(6 / (fan_in + fan_out))

    A weight has the shape ``(out, in, *receptive)``; ``fan_in`` is ``in * prod(receptive)`` and ``fan_out`` is
    ``out * prod(receptive)``. Other arguments as for `zeros`, with at least two axes.

    Args:
        gain: A factor for the nonlinearity that follows, 5/3 for ``tanh`` in PyTorch's table.

    Raises:
        ValueError: ``shape`` has fewer than two axes, or ``gain`` is negative or not finite.

    Glorot and Bengio, "Understanding the difficulty of training deep feedforward neural networks" (AISTATS 2010),
    equation 16.

    >>> from minima import init
    >>> weight = init.xavier_uniform(24, 30).numpy()
    >>> bool(abs(weight).max() <= (6 / 54) ** 0.5)
    True
    """
    bound = math.sqrt(3.0) * _xavier_std("xavier_uniform", shape, gain)
    return Tensor(uniformly("xavier_uniform", shape, -bound, bound, dtype), dtype, device, requires_grad)


def xavier_normal(
    *shape: int | Sequence[int],
    gain: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Like `xavier_uniform`, with a normal distribution of the same variance.

        N(0, std^2),   std = gain * sqrt(2 / (fan_in + fan_out))

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> weight = init.xavier_normal(300, 200).numpy()
    >>> round(float(weight.var()) * 250, 2)
    1.0
    """
    std = _xavier_std("xavier_normal", shape, gain)
    return Tensor(normally("xavier_normal", shape, 0.0, std, dtype), dtype, device, requires_grad)


def kaiming_uniform(
    *shape: int | Sequence[int],
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """He initialisation: keeps the variance of signals (or of gradients) constant through layers with ReLU; uniform.

        U(-bound, bound),   bound = gain * sqrt(3 / fan)

    where ``gain`` is ``sqrt(2 / (1 + a^2))`` for ``"leaky_relu"``, ``sqrt(2)`` for ``"relu"``, 5/3 for ``"tanh"``, 3/4
    for ``"selu"``, and 1 for ``"linear"`` and ``"sigmoid"``, as in PyTorch. Shapes and fans as for `xavier_uniform`.

    Args:
        a: The slope of ``"leaky_relu"`` below zero; with the default it is ``"relu"``. Not used for other
            nonlinearities.
        mode: ``"fan_in"`` keeps the variance of signals on the way forward, ``"fan_out"`` that of gradients backward.
        nonlinearity: The nonlinearity after the layer.

    Raises:
        ValueError: ``shape`` has fewer than two axes, ``a`` is not finite, or ``mode`` or ``nonlinearity`` is unknown.

    He et al., "Delving deep into rectifiers" (ICCV 2015), equations 10, 14 and 15.

    >>> from minima import init
    >>> weight = init.kaiming_uniform(24, 30, a=5**0.5).numpy()
    >>> bool(abs(weight).max() <= 1 / 30**0.5)
    True
    """
    bound = math.sqrt(3.0) * _kaiming_std("kaiming_uniform", shape, a, mode, nonlinearity)
    return Tensor(uniformly("kaiming_uniform", shape, -bound, bound, dtype), dtype, device, requires_grad)


def kaiming_normal(
    *shape: int | Sequence[int],
    a: float = 0.0,
    mode: Mode = "fan_in",
    nonlinearity: Nonlinearity = "leaky_relu",
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Like `kaiming_uniform`, with a normal distribution of the same variance.

        N(0, std^2),   std = gain / sqrt(fan)

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> weight = init.kaiming_normal(300, 200).numpy()
    >>> round(float(weight.var()) * 200, 1)
    2.0
    """
    std = _kaiming_std("kaiming_normal", shape, a, mode, nonlinearity)
    return Tensor(normally("kaiming_normal", shape, 0.0, std, dtype), dtype, device, requires_grad)


def _xavier_std(who: str, shape: Shape, gain: float) -> float:
    if not (math.isfinite(gain) and gain >= 0):
        raise ValueError(sentence(who, "gain must be finite and at least 0", got=gain))
    return gain * math.sqrt(2.0 / sum(_fans(who, shape)))


def _kaiming_std(who: str, shape: Shape, a: float, mode: Mode, nonlinearity: Nonlinearity) -> float:
    one_of(who, "mode", mode, get_args(Mode))
    one_of(who, "nonlinearity", nonlinearity, get_args(Nonlinearity))
    if not math.isfinite(a):
        raise ValueError(sentence(who, "a must be finite", got=a))
    gain = {
        "linear": 1.0,
        "sigmoid": 1.0,
        "tanh": 5 / 3,
        "relu": math.sqrt(2.0),
        "leaky_relu": math.sqrt(2 / (1 + a**2)),
        "selu": 3 / 4,
    }[nonlinearity]
    return gain / math.sqrt(_fans(who, shape)[get_args(Mode).index(mode)])


def _fans(who: str, shape: Shape) -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, *receptive); at least 1, for weights without elements."""
    sizes = lengths(who, shape)
    if len(sizes) < 2:
        raise ValueError(sentence(who, "shape must be (out, in) or (out, in, *receptive)", got=sizes))
    receptive = math.prod(sizes[2:])
    return max(1, sizes[1] * receptive), max(1, sizes[0] * receptive)
