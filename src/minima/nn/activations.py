"""Activations: the element-wise nonlinearities, and softmax, as modules."""

from minima.autograd import Tensor, gelu, log_softmax, relu, sigmoid, softmax, tanh
from minima.autograd.tensor import TensorLike
from minima.checks import integer
from minima.nn.module import Module

__all__ = ["GELU", "LogSoftmax", "ReLU", "Sigmoid", "Softmax", "Tanh"]


class ReLU(Module):
    """Set what is negative to zero: ``max(x, 0)``, with derivative 0 at 0.

    Nair and Hinton, "Rectified linear units improve restricted Boltzmann machines" (2010).

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.ReLU()(Tensor([-1.0, 2.0])).tolist()
    [0.0, 2.0]
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return relu(x)


class GELU(Module):
    """Weigh every element by how likely a standard normal variable lies below it: ``x * Phi(x)``.

    Hendrycks and Gimpel, "Gaussian error linear units" (2016). The exact form, PyTorch's default.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.GELU()(Tensor([-1.0, 1.0])).numpy().round(4)
    array([-0.1587,  0.8413], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return gelu(x)


class Tanh(Module):
    """Squash every element into (-1, 1): the hyperbolic tangent.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Tanh()(Tensor([0.0, 1.0])).numpy().round(4)
    array([0.    , 0.7616], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return tanh(x)


class Sigmoid(Module):
    """Squash every element into (0, 1): ``1 / (1 + exp(-x))``.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.Sigmoid()(Tensor([0.0, 1.0])).numpy().round(4)
    array([0.5   , 0.7311], dtype=float32)
    """

    def forward(self, x: TensorLike) -> Tensor:
        """Apply it to every element."""
        return sigmoid(x)


class Softmax(Module):
    """Turn the values along an axis into probabilities: ``exp(x) / sum(exp(x))``.

    Args:
        axis: The axis along which they add up to 1; PyTorch calls it ``dim``, and has no default.

    Raises:
        TypeError: ``axis`` is not an integer.

    For training use `CrossEntropyLoss` on what would go into the softmax: it contains it.

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
    """The logarithm of `Softmax`, without its underflow: ``x - log(sum(exp(x)))``.

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
