"""Tensors to start from: constants, and draws from the generator that `minima.random.manual_seed` seeds.

Random numbers are drawn in float64 and then rounded to ``dtype``, so a seed gives the same network in every precision,
up to rounding.
"""

import math
import operator
from collections.abc import Sequence
from typing import Any, Literal, get_args

import numpy as np

from minima.autograd import Device, Tensor
from minima.autograd.arrays import DTypeLike, as_dtype
from minima.autograd.tensor import TensorLike, as_tensor
from minima.checks import flag, integer
from minima.errors import sentence
from minima.random import generator

__all__ = [
    "constant",
    "kaiming_normal",
    "kaiming_uniform",
    "multinomial",
    "normal",
    "ones",
    "rand",
    "randint",
    "randn",
    "randperm",
    "uniform",
    "xavier_normal",
    "xavier_uniform",
    "zeros",
]

Mode = Literal["fan_in", "fan_out"]
Nonlinearity = Literal["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"]


def zeros(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor of zeros.

    Args:
        shape: The lengths of the axes, as separate arguments or as one tuple; none at all for a scalar.
        dtype: Of the Tensor.
        requires_grad: Whether gradients are accumulated for it.
        device: Where it lives.

    Raises:
        TypeError: A length is not an integer, or ``dtype`` is unknown.
        ValueError: A length is negative.

    All functions of this module have these arguments and errors; those that draw random numbers need a floating-point
    ``dtype``.

    >>> from minima import init
    >>> init.zeros(2, 3).shape, init.zeros((2, 3)).dtype
    ((2, 3), dtype('float32'))
    """
    return Tensor(np.zeros(_shape("zeros", shape)), dtype, device, requires_grad)


def ones(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor of ones. Arguments as for `zeros`.

    >>> from minima import init
    >>> init.ones(3).tolist()
    [1.0, 1.0, 1.0]
    """
    return Tensor(np.ones(_shape("ones", shape)), dtype, device, requires_grad)


def constant(
    *shape: int | Sequence[int],
    value: float,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """A Tensor with ``value`` everywhere. Other arguments as for `zeros`.

    >>> from minima import init
    >>> init.constant(2, value=0.25).tolist()
    [0.25, 0.25]
    """
    return Tensor(np.full(_shape("constant", shape), value), dtype, device, requires_grad)


def rand(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the uniform distribution on [0, 1). Arguments as for `zeros`.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.rand(3).numpy().round(3)
    array([0.637, 0.27 , 0.041], dtype=float32)
    """
    return Tensor(_uniform("rand", shape, 0.0, 1.0, dtype), dtype, device, requires_grad)


def randn(
    *shape: int | Sequence[int],
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the normal distribution with mean 0 and standard deviation 1. Arguments as for `zeros`.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.randn(3).numpy().round(3)
    array([ 0.126, -0.132,  0.64 ], dtype=float32)
    """
    return Tensor(_normal("randn", shape, 0.0, 1.0, dtype), dtype, device, requires_grad)


def randint(
    low: int,
    high: int | Sequence[int] | None = None,
    size: int | Sequence[int] = (),
    *,
    dtype: DTypeLike = "int64",
    device: Device | str | None = None,
) -> Tensor:
    """Draws integers from [low, high), all equally likely, or from [0, low) if ``high`` is ``None``.

    Args:
        low: The smallest.
        high: One more than the largest, above ``low``; or the shape, as in ``randint(10, (5,))``.
        size: The shape.
        dtype: Of the Tensor.
        device: Where it lives.

    Raises:
        TypeError: A number is not an integer.
        ValueError: The range is empty, or a length is negative.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.randint(10, size=(5,)).tolist()
    [8, 6, 5, 2, 3]
    """
    who = "randint"
    if isinstance(high, Sequence):
        if size != ():
            raise TypeError(sentence(who, "the shape must be given once", got=(high, size)))
        high, size = None, high
    start = 0 if high is None else integer(who, "low", low, None)
    stop = integer(who, "low" if high is None else "high", low if high is None else high, None)
    if stop <= start:
        raise ValueError(sentence(who, "low must be below high", got=(start, stop)))
    return Tensor(generator().integers(start, stop, _shape(who, (size,))), dtype, device)


def randperm(n: int, *, device: Device | str | None = None) -> Tensor:
    """The integers in [0, n) in a random order.

    >>> from minima import init
    >>> sorted(init.randperm(3).tolist())
    [0, 1, 2]
    """
    return Tensor(generator().permutation(integer("randperm", "n", n)), "int64", device)


def multinomial(input: TensorLike, num_samples: int, replacement: bool = False) -> Tensor:
    """Draws positions along the last axis, with probabilities proportional to the weights.

    Args:
        input: The weights, at least 0 and finite, of shape (n,) or (m, n). Each row has its own draws; rows need not
            sum to 1.
        num_samples: Number of draws per row, at least 1.
        replacement: Whether a position may be drawn more than once.

    Returns:
        Positions in [0, n), int64, of shape (num_samples,) or (m, num_samples), in the order of the draws. A position
        with weight 0 is never drawn.

    Raises:
        TypeError: ``input`` is not floating, or an argument is not of its type.
        ValueError: ``input`` has another number of axes, a weight is negative or not finite, or a row has no positive
            weight, or without ``replacement`` fewer of them than ``num_samples``.

    With ``replacement`` by inversion; without, the smallest of exponential numbers over the weights: Efraimidis and
    Spirakis, "Weighted random sampling with a reservoir" (2006).

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.multinomial([0.1, 0.0, 0.9], 8, replacement=True).tolist()
    [2, 2, 0, 0, 2, 2, 2, 2]
    """
    who = "multinomial"
    weights = as_tensor(input)
    if weights.dtype.kind != "f":
        raise TypeError(sentence(who, "input must be floating", got=str(weights.dtype)))
    count = integer(who, "num_samples", num_samples, 1)
    replacement = flag(who, "replacement", replacement)
    if len(weights.shape) not in (1, 2):
        raise ValueError(sentence(who, "input must have the shape (n,) or (m, n)", got=weights.shape))
    p: np.ndarray[Any, Any] = weights.buffer.astype(np.float64)
    wrong = p[~(np.isfinite(p) & (p >= 0))]
    if wrong.size:
        raise ValueError(sentence(who, "weights must be finite, at least 0", got=float(wrong[0])))
    needed = 1 if replacement else count
    positive = (p > 0).sum(axis=-1)
    if (positive < needed).any():
        hint = "" if replacement else "draw fewer, or with replacement=True"
        rule = f"num_samples {count} needs {needed} positive weights in each row"
        raise ValueError(sentence(who, rule, got=int(positive.min()), hint=hint))
    if replacement:
        ends = p.cumsum(axis=-1)
        drawn = generator().random((*p.shape[:-1], count)) * ends[..., -1:]
        chosen = (ends[..., None, :] <= drawn[..., None]).sum(axis=-1)
    else:
        waits = generator().standard_exponential((*p.shape,))
        with np.errstate(divide="ignore"):
            order = np.log(waits) - np.log(p)  # a quotient could overflow
        chosen = order.argsort(axis=-1)[..., :count]
    return Tensor(chosen, "int64")


def uniform(
    *shape: int | Sequence[int],
    low: float = 0.0,
    high: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the uniform distribution on [low, high). Other arguments as for `zeros`.

    Args:
        low: The lower end.
        high: The upper end, not below ``low``; never drawn, except when it equals ``low``.

    Raises:
        ValueError: ``low > high``, or one of them is not finite.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.uniform(3, low=-1, high=1).numpy().round(3)
    array([ 0.274, -0.46 , -0.918], dtype=float32)
    """
    return Tensor(_uniform("uniform", shape, low, high, dtype), dtype, device, requires_grad)


def normal(
    *shape: int | Sequence[int],
    mean: float = 0.0,
    std: float = 1.0,
    dtype: DTypeLike = "float32",
    requires_grad: bool = False,
    device: Device | str | None = None,
) -> Tensor:
    """Draws from the normal distribution. Other arguments as for `zeros`.

    Args:
        mean: Its mean.
        std: Its standard deviation, at least 0.

    Raises:
        ValueError: ``std`` is negative, or one of them is not finite.

    >>> import minima.random
    >>> from minima import init
    >>> minima.random.manual_seed(0)
    >>> init.normal(3, mean=10, std=0.5).numpy().round(3)
    array([10.063,  9.934, 10.32 ], dtype=float32)
    """
    return Tensor(_normal("normal", shape, mean, std, dtype), dtype, device, requires_grad)


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
    return Tensor(_uniform("xavier_uniform", shape, -bound, bound, dtype), dtype, device, requires_grad)


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
    return Tensor(_normal("xavier_normal", shape, 0.0, std, dtype), dtype, device, requires_grad)


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
    return Tensor(_uniform("kaiming_uniform", shape, -bound, bound, dtype), dtype, device, requires_grad)


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
    return Tensor(_normal("kaiming_normal", shape, 0.0, std, dtype), dtype, device, requires_grad)


_Shape = tuple[int | Sequence[int], ...]


def _uniform(who: str, shape: _Shape, low: float, high: float, dtype: DTypeLike) -> np.ndarray[Any, Any]:
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise ValueError(sentence(who, "low and high must be finite with low <= high", got=(low, high)))
    kind = _floating(who, dtype)
    drawn = np.asarray(generator().uniform(low, high, _shape(who, shape))).astype(kind)
    # rounding to a narrower dtype may have hit the upper end, which is outside
    return np.minimum(drawn, np.nextafter(kind.type(high), kind.type(low)))


def _normal(who: str, shape: _Shape, mean: float, std: float, dtype: DTypeLike) -> np.ndarray[Any, Any]:
    if not (math.isfinite(mean) and math.isfinite(std) and std >= 0):
        raise ValueError(sentence(who, "mean and std must be finite with std >= 0", got=(mean, std)))
    kind = _floating(who, dtype)
    return np.asarray(generator().normal(mean, std, _shape(who, shape))).astype(kind)


def _xavier_std(who: str, shape: _Shape, gain: float) -> float:
    if not (math.isfinite(gain) and gain >= 0):
        raise ValueError(sentence(who, "gain must be finite and at least 0", got=gain))
    return gain * math.sqrt(2.0 / sum(_fans(who, shape)))


def _kaiming_std(who: str, shape: _Shape, a: float, mode: Mode, nonlinearity: Nonlinearity) -> float:
    if mode not in get_args(Mode):
        raise ValueError(sentence(who, f"mode must be one of {_listed(Mode)}", got=mode))
    if nonlinearity not in get_args(Nonlinearity):
        raise ValueError(sentence(who, f"nonlinearity must be one of {_listed(Nonlinearity)}", got=nonlinearity))
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


def _fans(who: str, shape: _Shape) -> tuple[int, int]:
    """fan_in and fan_out of a weight (out, in, *receptive); at least 1, for weights without elements."""
    lengths = _shape(who, shape)
    if len(lengths) < 2:
        raise ValueError(sentence(who, "shape must be (out, in) or (out, in, *receptive)", got=lengths))
    receptive = math.prod(lengths[2:])
    return max(1, lengths[1] * receptive), max(1, lengths[0] * receptive)


def _shape(who: str, shape: _Shape) -> tuple[int, ...]:
    given: Any = shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
    rule = "shape must consist of integers of at least 0"
    try:
        lengths = tuple(map(operator.index, given))
    except TypeError:
        raise TypeError(sentence(who, rule, got=given)) from None
    if any(length < 0 for length in lengths):
        raise ValueError(sentence(who, rule, got=given))
    return lengths


def _floating(who: str, dtype: DTypeLike) -> np.dtype[Any]:
    kind = as_dtype(dtype)
    if kind.kind != "f":
        raise TypeError(sentence(who, "dtype must be a floating one, since random numbers are drawn", got=dtype))
    return kind


def _listed(literal: Any) -> str:
    return ", ".join(map(repr, get_args(literal)))
