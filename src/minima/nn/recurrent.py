"""Recurrent layers over whole sequences: RNN, LSTM, GRU. Their single steps stand in ``recurrent_cells``."""

import math
import warnings
from abc import abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, cast

import numpy as np

from minima import init
from minima.autograd import Tensor, concatenate, linear, stack
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations import recurrent as primitives
from minima.autograd.tensor import TensorLike, apply
from minima.checks import checked, flag, integer, number, one_of
from minima.errors import sentence
from minima.nn.functional.dropping import dropped
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["GRU", "LSTM", "RNN", "Gated", "LongShort", "Recurrent", "Simple", "Weights"]

# weight_ih, weight_hh, bias_ih, bias_hh
Weights = tuple[Tensor, Tensor, Tensor | None, Tensor | None]


class Recurrent(Module):
    """What layers and cells share: how parameters start, how states are read, and what a kind of step defines."""

    _gates = 1
    _names: tuple[str, ...] = ("h",)  # the states that a step hands on

    input_size: int
    hidden_size: int
    bias: bool

    @abstractmethod
    def _scan(
        self, x: Tensor, first: Sequence[Tensor], weights: Weights, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The state after every step of ``x`` (steps, N, features), and the last states, from the first ones."""

    def _begin(self, input_size: int, hidden_size: int, bias: bool) -> None:
        who = type(self).__name__
        self.input_size = integer(who, "input_size", input_size, 1)
        self.hidden_size = integer(who, "hidden_size", hidden_size, 1)
        self.bias = flag(who, "bias", bias)

    def _drawn(self, features: int, dtype: Any) -> "list[Parameter]":
        """The parameters of one layer in one direction, in the order of `Weights`."""
        rows, bound = self._gates * self.hidden_size, 1 / math.sqrt(self.hidden_size)
        shapes = [(rows, features), (rows, self.hidden_size), (rows,), (rows,)]
        return [
            Parameter(init.uniform(shape, low=-bound, high=bound, dtype=dtype))
            for shape in (shapes if self.bias else shapes[:2])
        ]

    def _firsts(self, hx: Any, shape: tuple[int, ...], dtype: Any) -> list[Tensor]:
        """The first states, each of this shape; zeros where there are none."""
        who, names = type(self).__name__, self._names
        if hx is None:
            return [Tensor.from_numpy(np.zeros(shape, dtype)) for _ in names]
        parts: list[Any] | None = [*cast("Sequence[Any]", hx)] if isinstance(hx, tuple | list) else None
        came = type(cast(object, hx)).__name__ + ("" if parts is None else f" of {len(parts)}")
        if len(names) > 1 and (parts is None or len(parts) != len(names)):
            raise TypeError(sentence(who, f"the first states must be the pair ({', '.join(names)})", got=came))
        if len(names) == 1 and parts is not None and any(isinstance(part, Tensor | np.ndarray) for part in parts):
            rule = f"the first state is the Tensor {names[0]} by itself, of shape {shape}"
            raise TypeError(sentence(who, rule, got=came, hint="take it out" * (len(parts) == 1)))
        whole: list[Any] = [hx]
        states = [floating(each) for each in (parts if parts and len(names) > 1 else whole)]
        for name, state in zip(names, states, strict=True):
            if state.shape != shape:
                raise ValueError(sentence(who, f"the first {name} must have the shape {shape}", got=state.shape))
        return states


class LongShort(Recurrent):
    """The step of the LSTM."""

    _gates = 4
    _names = ("h", "c")

    def _scan(
        self, x: Tensor, first: Sequence[Tensor], weights: Weights, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        out = apply(primitives.lstm, _inputs(x, weights), *first, weights[1], reverse=reverse)
        return out[:-1], (out[0 if reverse else -2], out[-1])


class Gated(Recurrent):
    """The step of the GRU."""

    _gates = 3

    def _scan(
        self, x: Tensor, first: Sequence[Tensor], weights: Weights, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        own, bias = weights[1], weights[3]
        out = apply(primitives.gru, linear(x, weights[0], weights[2]), *first, own, bias, reverse=reverse)
        return out, (out[0 if reverse else -1],)


class Simple(Recurrent):
    """The step of the RNN."""

    nonlinearity: str = checked(partial(one_of, allowed=("tanh", "relu")))

    def _scan(
        self, x: Tensor, first: Sequence[Tensor], weights: Weights, reverse: bool
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        how = {"reverse": reverse, "relu": self.nonlinearity == "relu"}
        out = apply(primitives.rnn, _inputs(x, weights), *first, weights[1], **how)
        return out, (out[0 if reverse else -1],)


def _inputs(x: Tensor, weights: Weights) -> Tensor:
    """What the inputs of all steps contribute, with both biases."""
    first, second = weights[2], weights[3]
    return linear(x, weights[0], None if first is None or second is None else widened(first) + widened(second))


class _Layers(Recurrent):
    """Layers upon one another, each in one direction or in both."""

    dropout: float = checked(partial(number, high=1))

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int,
        bias: bool,
        batch_first: bool,
        dropout: float,
        bidirectional: bool,
        dtype: Any,
    ) -> None:
        who = type(self).__name__
        self._begin(input_size, hidden_size, bias)
        self.num_layers = integer(who, "num_layers", num_layers, 1)
        self.batch_first = flag(who, "batch_first", batch_first)
        self.dropout = dropout
        self.bidirectional = flag(who, "bidirectional", bidirectional)
        if self.dropout and num_layers == 1:
            rule = "dropout lies between layers, and there is none between them in one"
            warnings.warn(sentence(who, rule, got=dropout, hint="set num_layers to 2 or more"), stacklevel=3)
        for layer in range(self.num_layers):
            features = self.input_size if layer == 0 else self.hidden_size * (1 + self.bidirectional)
            for ending in self._endings(layer):
                for name, parameter in zip(_PARTS, self._drawn(features, dtype), strict=False):
                    setattr(self, name + ending, parameter)

    def forward(self, input: TensorLike, hx: Any = None) -> tuple[Tensor, Any]:
        """The state of the last layer after every step, and the last state of every layer.

        Args:
            input: The sequence.
            hx: The first states, zeros if there are none.
        """
        given, who = floating(input), type(self).__name__
        x = widened(given)
        single = len(x.shape) == 2
        if single:
            x = x.unsqueeze(1)
        elif self.batch_first and len(x.shape) == 3:
            x = x.swapaxes(0, 1)
        if len(x.shape) != 3 or x.shape[2] != self.input_size or not x.shape[0]:
            order = "N, T" if self.batch_first else "T, N"
            rule = f"the input must have the shape ({order}, {self.input_size}) or (T, {self.input_size}), with T > 0"
            raise ValueError(sentence(who, rule, got=given.shape))
        layers = self.num_layers * (1 + self.bidirectional)
        batch = () if single else (x.shape[1],)
        starts = self._firsts(hx, (layers, *batch, self.hidden_size), given.dtype)
        firsts = [widened(start.unsqueeze(1) if single else start) for start in starts]
        last: list[tuple[Tensor, ...]] = []
        operands: list[Tensor | None] = [given, *starts]
        for layer in range(self.num_layers):
            if layer and self.training:
                x = dropped(x, self.dropout, x.shape)
            outs: list[Tensor] = []
            for reverse, ending in enumerate(self._endings(layer)):
                weights = cast(Weights, tuple(getattr(self, name + ending, None) for name in _PARTS))
                out, states = self._scan(x, [first[len(last)] for first in firsts], weights, bool(reverse))
                outs.append(out)
                last.append(states)
                operands += weights
            x = concatenate(outs, axis=2) if self.bidirectional else outs[0]
        if single:
            x = x.squeeze(1)
        elif self.batch_first:
            x = x.swapaxes(0, 1)
        ends = [rounded(stack(states).squeeze(1) if single else stack(states), *operands) for states in zip(*last)]  # noqa: B905
        return rounded(x, *operands), ends[0] if len(ends) == 1 else tuple(ends)

    def flatten_parameters(self) -> None:
        """Nothing, as in PyTorch on the CPU; for code that calls it."""

    def extra_repr(self) -> str:
        """The arguments."""
        usual = {"num_layers": 1, "bias": True, "batch_first": False, "dropout": 0.0, "bidirectional": False}
        told = [f"{name}={getattr(self, name)}" for name, value in usual.items() if getattr(self, name) != value]
        return ", ".join([str(self.input_size), str(self.hidden_size), *told])

    def _endings(self, layer: int) -> list[str]:
        """How the names of the parameters of a layer end, for each direction."""
        return [f"_l{layer}", f"_l{layer}_reverse"][: 1 + self.bidirectional]


_PARTS = "weight_ih", "weight_hh", "bias_ih", "bias_hh"


class LSTM(LongShort, _Layers):
    """Long short-term memory: reads a sequence step by step, with a memory ``c`` that is controlled by gates.

        i, f, o = sigmoid(W_i x + b_i + V_i h + d_i), the same of f, the same of o
        g = tanh(W_g x + b_g + V_g h + d_g)
        c <- f * c + i * g
        h <- o * tanh(c)

    Args:
        input_size: The number of features of the input.
        hidden_size: The number of features ``H`` of ``h`` and ``c``.
        num_layers: Number of stacked layers; each reads the ``h`` of the layer below.
        bias: Whether to use ``b`` and ``d``.
        batch_first: Whether the batch is the first axis of input and output instead of the second.
        dropout: The probability that an element between two layers is set to zero in training.
        bidirectional: Whether each layer also reads the sequence backwards; the features of both directions are
            concatenated.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight_ih_l0: ``W``, with the rows of i, f, g and o stacked: (4 * H, features of the input).
        weight_hh_l0: ``V``, of shape (4 * H, H).
        bias_ih_l0: ``b``, of shape (4 * H,), and ``bias_hh_l0``, ``d``, where ``bias`` is true.

    The names of the next layer contain ``l1``, those of the backward direction ``l0_reverse``.

    Shapes: the input ``(T, N, input_size)``, or ``(N, T, input_size)`` if ``batch_first``, or ``(T, input_size)``, to
    the same with ``directions * H`` features, and the pair ``(h, c)`` of the last states, both of shape
    ``(num_layers * directions, N, H)``, without ``N`` where the input has none. A pair of initial states, of the same
    shapes, may be passed after the input; by default they are zeros.

    All parameters are initialised from U(-bound, bound) with ``bound = 1 / sqrt(H)``, as in PyTorch.

    Raises:
        TypeError: An argument has the wrong type, or the initial states are not a pair.
        ValueError: An argument is out of range, or shapes do not fit.

    Hochreiter and Schmidhuber, "Long short-term memory" (1997); Gers et al., "Learning to forget" (2000) for the gate
    ``f``. The same as in PyTorch, without ``proj_size`` and packed sequences.

    >>> from minima import init, nn
    >>> y, (h, c) = nn.LSTM(10, 20, num_layers=2, batch_first=True)(init.randn(3, 5, 10))
    >>> y.shape, h.shape, c.shape
    ((3, 5, 20), (2, 3, 20), (2, 3, 20))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype)


class GRU(Gated, _Layers):
    """Gated recurrent unit: reads a sequence step by step, with a reset gate and an update gate.

        r, z = sigmoid(W_r x + b_r + V_r h + d_r), the same of z
        n = tanh(W_n x + b_n + r * (V_n h + d_n))
        h <- (1 - z) * n + z * h

    Arguments, shapes, errors and initialisation are those of `LSTM`. The only state is ``h``, passed and returned as a
    `Tensor`, not as a pair. Parameters have the rows of r, z and n stacked, (3 * H, ...).

    Cho et al., "Learning phrase representations using RNN encoder-decoder" (2014). As in PyTorch, ``r`` multiplies
    after ``V``, not before it.

    >>> from minima import init, nn
    >>> y, h = nn.GRU(10, 20, bidirectional=True)(init.randn(5, 3, 10))
    >>> y.shape, h.shape
    ((5, 3, 40), (2, 3, 20))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype)


class RNN(Simple, _Layers):
    """A plain recurrent layer: reads a sequence step by step, and computes a new state in each step.

        h <- tanh(W x + b + V h + d)

    Arguments, shapes, errors and initialisation are those of `LSTM`, with one more argument. The only state is ``h``,
    passed and returned as a `Tensor`, not as a pair. Parameters have the rows of ``h``, (H, ...).

    Args:
        nonlinearity: ``"tanh"`` or ``"relu"``.

    Elman, "Finding structure in time" (1990).

    >>> from minima import init, nn
    >>> y, h = nn.RNN(10, 20, nonlinearity="relu")(init.randn(5, 10))
    >>> y.shape, h.shape
    ((5, 20), (1, 20))
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        bias: bool = True,
        batch_first: bool = False,
        dropout: float = 0.0,
        bidirectional: bool = False,
        dtype: Any = "float32",
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional, dtype)
