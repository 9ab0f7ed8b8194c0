"""Single steps of recurrent layers, for loops of one's own: RNNCell, LSTMCell, GRUCell."""

from typing import Any, Literal

from minima.autograd import Tensor
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.tensor import TensorLike
from minima.errors import sentence
from minima.nn.recurrent import Gated, LongShort, Recurrent, Simple

__all__ = ["GRUCell", "LSTMCell", "RNNCell"]


class _Cell(Recurrent):
    """One step."""

    weight_ih: Tensor
    weight_hh: Tensor
    bias_ih: Tensor | None = None
    bias_hh: Tensor | None = None

    def __init__(self, input_size: int, hidden_size: int, bias: bool, dtype: Any) -> None:
        self._begin(input_size, hidden_size, bias)
        drawn = self._drawn(self.input_size, dtype)
        self.weight_ih, self.weight_hh = drawn[:2]
        if self.bias:
            self.bias_ih, self.bias_hh = drawn[2:]

    def forward(self, input: TensorLike, hx: Any = None) -> Any:
        """The state after the step.

        Args:
            input: What the step reads.
            hx: The state before it, zeros if there is none.
        """
        given = floating(input)
        if len(given.shape) not in (1, 2) or given.shape[-1] != self.input_size:
            rule = f"the input must have the shape (N, {self.input_size}) or ({self.input_size},)"
            raise ValueError(sentence(type(self).__name__, rule, got=given.shape))
        x = widened(given)
        starts = self._firsts(hx, (*x.shape[:-1], self.hidden_size), given.dtype)
        single = len(x.shape) == 1
        firsts = [widened(start.unsqueeze(0) if single else start) for start in starts]
        weights = self.weight_ih, self.weight_hh, self.bias_ih, self.bias_hh
        _, states = self._scan(x.reshape(1, -1, self.input_size), firsts, weights, False)
        ends = [rounded(state.squeeze(0) if single else state, given, *starts, *weights) for state in states]
        return ends[0] if len(ends) == 1 else tuple(ends)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")


class LSTMCell(LongShort, _Cell):
    """One step of an `LSTM`.

    Args:
        input_size: The number of features of the input.
        hidden_size: The number of features ``H`` of the states.
        bias: Whether there are biases.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight_ih: Of shape (4 * H, input_size).
        weight_hh: Of shape (4 * H, H).
        bias_ih: Of shape (4 * H,), as ``bias_hh``; or ``None``.

    Shapes: ``(N, input_size)`` and the pair ``(h, c)`` of ``(N, H)``, zeros by default, to such a pair; or all without
    ``N``. The initialisation is that of `LSTM`.

    Raises:
        TypeError: An argument has the wrong type, or the states are not a pair.
        ValueError: An argument is out of range, or shapes do not fit.

    >>> from minima import init, nn
    >>> cell, states = nn.LSTMCell(10, 20), None
    >>> for x in init.randn(5, 3, 10):
    ...     states = cell(x, states)
    >>> states[0].shape, states[1].shape
    ((3, 20), (3, 20))
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = "float32") -> None:
        super().__init__(input_size, hidden_size, bias, dtype)


class GRUCell(Gated, _Cell):
    """One step of a `GRU`; its state ``h`` is a `Tensor`, everything else is as in `LSTMCell`.

    >>> from minima import init, nn
    >>> nn.GRUCell(10, 20)(init.randn(3, 10)).shape
    (3, 20)
    """

    def __init__(self, input_size: int, hidden_size: int, bias: bool = True, dtype: Any = "float32") -> None:
        super().__init__(input_size, hidden_size, bias, dtype)


class RNNCell(Simple, _Cell):
    """One step of an `RNN`; its state ``h`` is a `Tensor`, everything else is as in `LSTMCell`.

    Args:
        nonlinearity: ``"tanh"`` or ``"relu"``.

    >>> from minima import init, nn
    >>> nn.RNNCell(10, 20)(init.randn(3, 10)).shape
    (3, 20)
    """

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        bias: bool = True,
        nonlinearity: Literal["tanh", "relu"] = "tanh",
        dtype: Any = "float32",
    ) -> None:
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias, dtype)

    def extra_repr(self) -> str:
        """The arguments."""
        return super().extra_repr() + ("" if self.nonlinearity == "tanh" else f", nonlinearity={self.nonlinearity}")
