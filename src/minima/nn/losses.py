"""Losses: what training makes small, each the mean (or the sum) of a loss for every element or sample."""

from functools import partial

from minima.autograd import Tensor
from minima.autograd.tensor import TensorLike
from minima.checks import integer, number, positive
from minima.nn.functional.likelihoods import checked_weight, crossed_classes
from minima.nn.functional.losses import (
    Reduction,
    checked_reduction,
    compared,
    crossed_logits,
    rounded_off,
    similarity,
    squared,
)
from minima.nn.module import Module

__all__ = [
    "BCEWithLogitsLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "SmoothL1Loss",
]


class CrossEntropyLoss(Module):
    """The negative log-likelihood of the right class: ``-log softmax(input)[target]`` for every sample.

    Args:
        weight: Weights of the classes, a vector with a number for each class. The mean is then the weighted mean.
        ignore_index: A target value for samples to ignore, also in the mean.
        reduction: ``"mean"`` or ``"sum"`` over all samples; ``"none"`` returns all of them.
        label_smoothing: The share of the target's probability that is spread evenly over all classes, in [0, 1].

    Attributes:
        weight: A buffer, or ``None``.

    Shapes: logits ``(N, classes)`` or ``(N, classes, d...)``; integer targets ``(N,)`` or ``(N, d...)``, or, without
    ``weight`` and ``ignore_index``, probabilities in the shape of the logits. The result is a scalar, or one loss for
    each sample.

    Raises:
        TypeError: An argument has the wrong type, or targets are neither integers nor probabilities.
        ValueError: An argument is out of range, shapes do not fit, or a target is not a class.

    Label smoothing: Szegedy et al., "Rethinking the Inception architecture" (2016), section 7. The same as PyTorch's,
    except that ``ignore_index`` is ``None`` by default, so a target of -100 is an error, and that ``weight`` and
    ``ignore_index`` cannot be used with probabilities.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> loss = nn.CrossEntropyLoss()
    >>> round(loss(Tensor([[0.0, 0.0], [1.0, 3.0]]), Tensor([0, 1])).item(), 4)
    0.41
    """

    weight: Tensor | None

    def __init__(
        self,
        weight: TensorLike | None = None,
        ignore_index: int | None = None,
        reduction: Reduction = "mean",
        label_smoothing: float = 0.0,
    ) -> None:
        who = "CrossEntropyLoss"
        checked = checked_weight(who, weight)
        self.register_buffer("weight", None if checked is None else Tensor(checked))
        self.ignore_index = None if ignore_index is None else integer(who, "ignore_index", ignore_index, None)
        self.reduction: Reduction = checked_reduction(who, reduction)
        self.label_smoothing = number(who, "label_smoothing", label_smoothing, 0, 1)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        how = self.weight, self.ignore_index, self.reduction, self.label_smoothing
        return crossed_classes("CrossEntropyLoss", input, target, *how)


class MSELoss(Module):
    """The squared error: ``(input - target)^2`` for every element.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.

    Shapes: two equal shapes to a scalar, or to the same shape. PyTorch broadcasts different shapes, which is usually a
    mistake: (N, 1) with (N,) gives N * N errors.

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = checked_reduction("MSELoss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        return compared("MSELoss", input, target, self.reduction, squared)


class L1Loss(Module):
    """The absolute error: ``|input - target|`` for every element, with derivative 0 where they are equal.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.

    Shapes: two equal shapes to a scalar, or to the same shape. (PyTorch broadcasts different shapes.)

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.L1Loss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()
    1.0
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = checked_reduction("L1Loss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        return compared("L1Loss", input, target, self.reduction, Tensor.abs)


class SmoothL1Loss(Module):
    """The smoothed absolute error: ``d^2 / (2 * beta)`` where ``|d| < beta``, else ``|d| - beta / 2``.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.
        beta: Error at which the parabola changes to a line, at least 0; with 0 it is `L1Loss`.

    Shapes: two equal shapes to a scalar, or to the same shape. (PyTorch broadcasts different shapes.)

    Raises:
        TypeError: ``beta`` is not a number.
        ValueError: ``reduction`` is unknown, ``beta`` is out of range, or the shapes differ.

    Girshick, "Fast R-CNN" (2015), equation 3.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.SmoothL1Loss(reduction="none")(Tensor([0.5, 3.0]), Tensor([0.0, 0.0])).tolist()
    [0.125, 2.5]
    """

    def __init__(self, reduction: Reduction = "mean", beta: float = 1.0) -> None:
        self.reduction: Reduction = checked_reduction("SmoothL1Loss", reduction)
        self.beta = number("SmoothL1Loss", "beta", beta)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        return compared("SmoothL1Loss", input, target, self.reduction, partial(rounded_off, beta=self.beta))


class HuberLoss(Module):
    """The squared error, linear for large ones: ``d^2 / 2`` where ``|d| < delta``, else ``delta * (|d| - delta / 2)``.

    Args:
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.
        delta: Error at which the parabola changes to a line, a positive number.

    Shapes: two equal shapes to a scalar, or to the same shape. (PyTorch broadcasts different shapes.)

    Raises:
        TypeError: ``delta`` is not a number.
        ValueError: ``reduction`` is unknown, ``delta`` is not positive, or the shapes differ.

    Huber, "Robust estimation of a location parameter" (1964). It is `SmoothL1Loss` times ``delta``.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.HuberLoss("none", delta=2.0)(Tensor([1.0, 3.0]), Tensor([0.0, 0.0])).tolist()
    [0.5, 4.0]
    """

    def __init__(self, reduction: Reduction = "mean", delta: float = 1.0) -> None:
        self.reduction: Reduction = checked_reduction("HuberLoss", reduction)
        self.delta = positive("HuberLoss", "delta", delta)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        loss = partial(rounded_off, beta=self.delta, factor=self.delta)
        return compared("HuberLoss", input, target, self.reduction, loss)


class CosineSimilarity(Module):
    """The cosine of the angle between vectors: ``x1 . x2 / (|x1| |x2|)``, with lengths of at least ``eps``.

    Args:
        dim: The axis of the vectors.
        eps: Lower bound of the lengths in the divisor, a positive number.

    Shapes: two shapes that broadcast, to their common shape without the axis ``dim``.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: ``eps`` is not positive, or the shapes do not broadcast.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.CosineSimilarity()(Tensor([[3.0, 4.0]]), Tensor([[4.0, 3.0]])).numpy().round(4)
    array([0.96], dtype=float32)
    """

    def __init__(self, dim: int = 1, eps: float = 1e-8) -> None:
        self.dim = integer("CosineSimilarity", "dim", dim, None)
        self.eps = positive("CosineSimilarity", "eps", eps)

    def forward(self, x1: TensorLike, x2: TensorLike) -> Tensor:
        """The similarity of each pair of vectors."""
        return similarity("CosineSimilarity", x1, x2, self.dim, self.eps)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of the probability ``p = sigmoid(input)``, computed without overflow from ``input`` itself.

        loss = -weight * (pos_weight * target * log p + (1 - target) * log(1 - p))

    Args:
        weight: How much each element counts; it broadcasts to the input.
        reduction: ``"mean"`` and ``"sum"`` over all elements; ``"none"`` keeps them.
        pos_weight: How much the positive class counts, at least 0; it broadcasts to the input.

    Attributes:
        weight: A buffer, or ``None``.
        pos_weight: A buffer, or ``None``.

    Shapes: two equal shapes to a scalar, or to the same shape; targets are probabilities in [0, 1].

    Raises:
        ValueError: ``reduction`` is unknown, the shapes differ, or a weight does not broadcast to the input.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> loss = nn.BCEWithLogitsLoss(reduction="none")
    >>> loss(Tensor([0.0, 200.0]), Tensor([1.0, 0.0])).numpy().round(4)
    array([  0.6931, 200.    ], dtype=float32)
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(
        self, weight: TensorLike | None = None, reduction: Reduction = "mean", pos_weight: TensorLike | None = None
    ) -> None:
        self.reduction: Reduction = checked_reduction("BCEWithLogitsLoss", reduction)
        self.register_buffer("weight", None if weight is None else Tensor(weight))
        self.register_buffer("pos_weight", None if pos_weight is None else Tensor(pos_weight))

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        return crossed_logits("BCEWithLogitsLoss", input, target, self.weight, self.reduction, self.pos_weight)
