"""Activations: the element-wise nonlinearities, and softmax, as modules."""

import math
from typing import Literal

from minima.autograd import Tensor, gelu, leaky_relu, log_softmax, sigmoid, silu, softmax, softplus, tanh
from minima.autograd.operations.activations import relu
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, number, one_of, positive
from minima.nn.module import Module

__all__ = ["GELU", "LeakyReLU", "LogSoftmax", "ReLU", "SiLU", "Sigmoid", "Softmax", "Softplus", "Tanh"]


class ReLU(Module):
    """Sets negative elements to zero: ``max(x, 0)``, with derivative 0 at 0.

    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.ReLU()(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return apply(relu, as_tensor(x))


class LeakyReLU(Module):
    """Scales negative elements instead of setting them to zero: ``x`` if positive, else ``negative_slope * x``.

    Args:
        negative_slope: The derivative below zero, and at 0; any finite number.

    Raises:
        TypeError: ``negative_slope`` is not a number.
        ValueError: It is not finite.

    Maas, Hannun and Ng, "Rectifier nonlinearities improve neural network acoustic models" (2013).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.LeakyReLU(0.5)(Tensor([-1.0, 2.0])).tolist()
    [-0.5, 2.0]
    """

    def __init__(self, negative_slope: float = 0.01) -> None:
        self.negative_slope = number("LeakyReLU", "negative_slope", negative_slope, -math.inf)

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return leaky_relu(x, self.negative_slope)

    def extra_repr(self) -> str:
        """The argument."""
        return f"negative_slope={self.negative_slope}"


class SiLU(Module):
    """Multiplies each element by its sigmoid: ``x / (1 + exp(-x))``, also called swish.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016); Ramachandran et al., "Searching for activation
    functions" (2017).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.SiLU()(Tensor([-1.0, 1.0])).numpy().round(4)
    array([-0.2689,  0.7311], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return silu(x)


class Softplus(Module):
    """A smooth `ReLU`: ``log(1 + exp(beta * x)) / beta``.

    Args:
        beta: Sharpness of the bend, a positive number.
        threshold: For ``beta * x`` above it, the result is ``x`` itself, as in PyTorch.

    Raises:
        TypeError: An argument is not a number.
        ValueError: One is not finite, or ``beta`` is not positive.

    Dugas et al., "Incorporating second-order functional knowledge for better option pricing" (2001).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Softplus()(Tensor([0.0, 100.0])).numpy().round(4)
    array([  0.6931, 100.    ], dtype=float32)
    """

    def __init__(self, beta: float = 1.0, threshold: float = 20.0) -> None:
        self.beta = positive("Softplus", "beta", beta)
        self.threshold = number("Softplus", "threshold", threshold, -math.inf)

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return softplus(x, self.beta, self.threshold)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"beta={self.beta}, threshold={self.threshold}"


class GELU(Module):
    """Multiplies each element by the standard normal distribution function: ``x * Phi(x)``.

    Args:
        approximate: ``"none"`` for the exact form, or ``"tanh"``, as in GPT-2 and BERT.

    Raises:
        ValueError: ``approximate`` has another value.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.GELU()(Tensor([-1.0, 1.0])).numpy().round(4)
    array([-0.1587,  0.8413], dtype=float32)
    """

    def __init__(self, approximate: Literal["none", "tanh"] = "none") -> None:
        self.approximate = one_of("GELU", "approximate", approximate, ("none", "tanh"))

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return gelu(x, self.approximate)

    def extra_repr(self) -> str:
        """The argument."""
        return f"approximate={self.approximate!r}"


class Tanh(Module):
    """Maps each element to (-1, 1): the hyperbolic tangent.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Tanh()(Tensor([0.0, 1.0])).numpy().round(4)
    array([0.    , 0.7616], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return tanh(x)


class Sigmoid(Module):
    """Maps each element to (0, 1): ``1 / (1 + exp(-x))``.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Sigmoid()(Tensor([0.0, 1.0])).numpy().round(4)
    array([0.5   , 0.7311], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return sigmoid(x)


class Softmax(Module):
    """Turns the values along an axis into probabilities: ``exp(x) / sum(exp(x))``.

    Args:
        axis: The axis along which they add up to 1; PyTorch calls it ``dim``, and has no default.

    Raises:
        TypeError: ``axis`` is not an integer.

    For training, use `CrossEntropyLoss` on the logits: it includes the softmax.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Softmax()(Tensor([0.0, 0.0, 1.0])).numpy().round(4)
    array([0.2119, 0.2119, 0.5761], dtype=float32)
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer("Softmax", "axis", axis, None)

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it along the axis."""
        return softmax(x, axis=self.axis)

    def extra_repr(self) -> str:
        """The argument."""
        return f"axis={self.axis}"


class LogSoftmax(Module):
    """The logarithm of `Softmax`, without underflow: ``x - log(sum(exp(x)))``.

    Args:
        axis: The axis along which the probabilities add up to 1; PyTorch calls it ``dim``, and has no default.

    Raises:
        TypeError: ``axis`` is not an integer.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.LogSoftmax()(Tensor([0.0, 100.0])).tolist()
    [-100.0, 0.0]
    """

    def __init__(self, axis: int = -1) -> None:
        self.axis = integer("LogSoftmax", "axis", axis, None)

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it along the axis."""
        return log_softmax(x, axis=self.axis)

    def extra_repr(self) -> str:
        """The argument."""
        return f"axis={self.axis}"
