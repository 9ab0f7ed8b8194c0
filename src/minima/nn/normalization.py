"""Normalisation within each sample: LayerNorm and RMSNorm over its last axes, GroupNorm over groups of channels."""

from collections.abc import Sequence
from typing import Any

from minima import init
from minima.autograd import Tensor
from minima.autograd.tensor import TensorLike
from minima.checks import integer, number
from minima.errors import sentence
from minima.nn.functional.normalization import group_normalized, layer_normalized, lengths, rms_normalized
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["GroupNorm", "LayerNorm", "RMSNorm"]


class LayerNorm(Module):
    """Normalises each sample to mean 0 and variance 1 over its last axes, then applies a scale and a shift per element.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    Args:
        normalized_shape: The lengths of the last axes, which are normalised together; an integer for one axis.
        eps: Added to the variance, at least 0.
        elementwise_affine: Whether to use ``weight``.
        bias: Whether to use ``bias``, which requires ``weight``.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of the shape ``normalized_shape``, initially ones; or ``None``.
        bias: Of the same shape, initially zeros; or ``None``.

    Shapes: ``(..., *normalized_shape)`` to the same.

    Raises:
        TypeError: ``normalized_shape`` is not made of integers, or ``eps`` is not a number.
        ValueError: One of them is out of range, or the last axes of an input have other lengths.

    Ba, Kiros and Hinton, "Layer normalization" (2016). The variance is the biased one, as in PyTorch.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.LayerNorm(3)(Tensor([[1.0, 2.0, 3.0]])).detach().numpy().round(3)
    array([[-1.225,  0.   ,  1.225]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float = 1e-5,
        elementwise_affine: bool = True,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = lengths("LayerNorm", normalized_shape)
        self.eps = number("LayerNorm", "eps", eps)
        shape = self.normalized_shape
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if elementwise_affine else None
        self.bias = Parameter(init.zeros(shape, dtype=dtype)) if elementwise_affine and bias else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        return layer_normalized("LayerNorm", x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        weight, bias = self.weight is not None, self.bias is not None
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={weight}, bias={bias}"


class RMSNorm(Module):
    """Normalises each sample to a root mean square of 1 over its last axes, then applies a scale per element.

        y = x / sqrt(mean(x^2) + eps) * weight

    Args:
        normalized_shape: The lengths of the last axes, which are normalised together; an integer for one axis.
        eps: Added to the mean square, at least 0; ``None`` means the machine epsilon of the input's dtype, 1.2e-7 for
            float32.
        elementwise_affine: Whether to use ``weight``.
        dtype: Floating-point dtype of the parameter.

    Attributes:
        weight: Of the shape ``normalized_shape``, initially ones; or ``None``.

    Shapes: ``(..., *normalized_shape)`` to the same.

    Raises:
        TypeError: ``normalized_shape`` is not made of integers, or ``eps`` is not a number.
        ValueError: One of them is out of range, or the last axes of an input have other lengths.

    Zhang and Sennrich, "Root mean square layer normalization" (2019), equation 4.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.RMSNorm(2)(Tensor([[3.0, 4.0]])).detach().numpy().round(3)
    array([[0.849, 1.131]], dtype=float32)
    """

    def __init__(
        self,
        normalized_shape: int | Sequence[int],
        eps: float | None = None,
        elementwise_affine: bool = True,
        dtype: Any = "float32",
    ) -> None:
        self.normalized_shape = lengths("RMSNorm", normalized_shape)
        self.eps = None if eps is None else number("RMSNorm", "eps", eps)
        self.weight = Parameter(init.ones(self.normalized_shape, dtype=dtype)) if elementwise_affine else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        return rms_normalized("RMSNorm", x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.weight is not None}"


class GroupNorm(Module):
    """Normalises each group of channels in each sample, then applies a scale and a shift per channel.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    Args:
        num_groups: The number of groups of neighbouring channels; 1 normalises all channels together, and
            ``num_channels`` each channel separately (instance normalisation).
        num_channels: The number of channels, a multiple of ``num_groups``.
        eps: Added to the variance, at least 0.
        affine: Whether to use ``weight`` and ``bias``.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        weight: Of shape (num_channels,), initially ones; or ``None``.
        bias: Of shape (num_channels,), initially zeros; or ``None``.

    Shapes: ``(N, num_channels, ...)`` to the same.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or an input has another number of channels.

    Wu and He, "Group normalization" (2018). The variance is the biased one, as in PyTorch.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.GroupNorm(2, 4)(Tensor([[1.0, 3.0, 10.0, 14.0]])).detach().numpy().round(3)
    array([[-1.,  1., -1.,  1.]], dtype=float32)
    """

    def __init__(
        self, num_groups: int, num_channels: int, eps: float = 1e-5, affine: bool = True, dtype: Any = "float32"
    ) -> None:
        self.num_groups = integer("GroupNorm", "num_groups", num_groups, 1)
        self.num_channels = integer("GroupNorm", "num_channels", num_channels, 1)
        if num_channels % num_groups:
            rule = f"num_groups must divide num_channels {num_channels}"
            raise ValueError(sentence("GroupNorm", rule, got=num_groups))
        self.eps = number("GroupNorm", "eps", eps)
        self.weight = Parameter(init.ones(num_channels, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(num_channels, dtype=dtype)) if affine else None

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise."""
        shape = self.num_groups, self.num_channels
        return group_normalized("GroupNorm", x, *shape, self.weight, self.bias, self.eps)

    def extra_repr(self) -> str:
        """The arguments."""
        return f"{self.num_groups}, {self.num_channels}, eps={self.eps}, affine={self.weight is not None}"
