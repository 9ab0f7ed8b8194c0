"""Normalisation within each channel of the batch: BatchNorm1d, BatchNorm2d."""

from typing import Any

from minima import init
from minima.autograd import Tensor, as_dtype
from minima.autograd.formulas import floating
from minima.autograd.halves import wide_dtype
from minima.autograd.tensor import TensorLike
from minima.checks import integer, number
from minima.errors import sentence
from minima.nn.functional.normalization import batch_normalized
from minima.nn.module import Module
from minima.nn.parameter import Parameter

__all__ = ["BatchNorm1d", "BatchNorm2d"]


class _BatchNorm(Module):
    """A batch norm over any number of axes."""

    _axes: tuple[int, ...]  # how many may follow the channels
    running_mean: Tensor | None
    running_var: Tensor | None
    num_batches_tracked: Tensor | None

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
        dtype: Any = "float32",
    ) -> None:
        who = type(self).__name__
        self.num_features = integer(who, "num_features", num_features, 1)
        self.eps = number(who, "eps", eps)
        self.momentum = None if momentum is None else number(who, "momentum", momentum, 0, 1)
        self.track_running_stats = track_running_stats
        shape = self.num_features
        self.weight = Parameter(init.ones(shape, dtype=dtype)) if affine else None
        self.bias = Parameter(init.zeros(shape, dtype=dtype)) if affine else None
        tracked = track_running_stats
        wide = wide_dtype(as_dtype(dtype))
        self.register_buffer("running_mean", init.zeros(shape, dtype=wide) if tracked else None)
        self.register_buffer("running_var", init.ones(shape, dtype=wide) if tracked else None)
        self.register_buffer("num_batches_tracked", init.zeros(dtype="int64") if tracked else None)

    def forward(self, x: TensorLike) -> Tensor:
        """Normalise, in training noting the batch's statistics."""
        x, who = floating(x), type(self).__name__
        if len(x.shape) - 2 not in self._axes or x.shape[1] != self.num_features:
            shapes = (f"(N, {self.num_features}{('', ', L', ', H, W')[count]})" for count in self._axes)
            rule = f"the input must have the shape {' or '.join(shapes)}"
            raise ValueError(sentence(who, rule, got=x.shape))
        mean, var, batches = self.running_mean, self.running_var, self.num_batches_tracked
        training = self.training or mean is None or var is None
        if not training or mean is None or batches is None:
            return batch_normalized(who, x, mean, var, self.weight, self.bias, training, 0.0, self.eps)
        count = batches.buffer + 1
        momentum = (1 / count).astype(mean.dtype) if self.momentum is None else self.momentum
        out = batch_normalized(who, x, mean, var, self.weight, self.bias, training, momentum, self.eps)
        batches.data = count
        return out

    def _buffer_dtype(self, dtype: Any) -> Any:
        return wide_dtype(dtype)

    def extra_repr(self) -> str:
        """The arguments."""
        scaled = self.weight is not None
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, affine={scaled}, "
            f"track_running_stats={self.track_running_stats}"
        )


class BatchNorm1d(_BatchNorm):
    """Normalises each channel to mean 0 and variance 1 over the batch, then applies a scale and a shift per channel.

        y = (x - mean) / sqrt(var + eps) * weight + bias

    In training, ``mean`` and the biased ``var`` are those of the batch, and the running statistics are updated:

        running_mean <- (1 - momentum) * running_mean + momentum * mean
        running_var  <- (1 - momentum) * running_var  + momentum * var * n / (n - 1)

    with ``n`` values in a channel. In evaluation, the running statistics are used instead.

    Args:
        num_features: The number of channels, at least 1.
        eps: Added to the variance, at least 0.
        momentum: Weight of the batch in the running statistics, in [0, 1]; ``None`` means the plain average over all
            batches.
        affine: Whether to use ``weight`` and ``bias``.
        track_running_stats: Whether to keep running statistics; without them, evaluation uses those of the batch too.
        dtype: Floating-point dtype of the parameters and the running statistics. For float16 parameters, the statistics
            are in float32: in float16 a variance of a few hundred would overflow, and small changes would be lost.

    Attributes:
        weight: Of shape (num_features,), initially ones; or ``None``.
        bias: Of shape (num_features,), initially zeros; or ``None``.
        running_mean: A buffer of shape (num_features,), initially zeros; or ``None``.
        running_var: A buffer of shape (num_features,), initially ones; or ``None``.
        num_batches_tracked: A buffer, the number of batches in the running statistics, in int64; or ``None``.

    Shapes: ``(N, num_features)`` or ``(N, num_features, L)`` to the same.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, an input has another shape, or a channel has a single value, which has
            no variance, when the statistics of the batch are needed.

    Ioffe and Szegedy, "Batch normalization" (2015), algorithms 1 and 2. As in PyTorch, ``running_var`` uses the
    unbiased variance, and ``momentum`` is the weight of the new value.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> layer = nn.BatchNorm1d(1)
    >>> layer(Tensor([[1.0], [3.0]])).detach().numpy().round(3)
    array([[-1.],
           [ 1.]], dtype=float32)
    >>> layer.running_mean, layer.running_var
    (Tensor([0.2]), Tensor([1.1]))
    """

    _axes = (0, 1)


class BatchNorm2d(_BatchNorm):
    """Normalises each channel of images over the batch and all positions, then applies a scale and a shift per channel.

    For equations, arguments, attributes, errors and the paper, see `BatchNorm1d`.

    Shapes: ``(N, num_features, H, W)`` to the same.

    >>> from minima import init, nn
    >>> layer = nn.BatchNorm2d(3)
    >>> layer(init.randn(4, 3, 8, 8)).shape, layer.running_var.shape
    ((4, 3, 8, 8), (3,))
    """

    _axes = (2,)
