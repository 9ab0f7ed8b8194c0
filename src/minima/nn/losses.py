"""Losses: what training makes small, each the mean (or the sum) of a loss for every element or sample."""

from typing import Literal

import numpy as np

from minima.autograd import Tensor, cross_entropy, maximum, where
from minima.autograd.formulas import as_given, floating, rounded, widened
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, number, one_of
from minima.errors import sentence
from minima.nn.activations import softplus
from minima.nn.module import Module

__all__ = [
    "BCEWithLogitsLoss",
    "CosineSimilarity",
    "CrossEntropyLoss",
    "HuberLoss",
    "L1Loss",
    "MSELoss",
    "Reduction",
    "SmoothL1Loss",
    "averaged",
    "checked_reduction",
    "pair",
    "reduced",
]

Reduction = Literal["mean", "sum", "none"]


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
        self.register_buffer("weight", None if weight is None else Tensor(weight))
        if self.weight is not None and len(self.weight.shape) != 1:
            raise ValueError(sentence(who, "weight must be a vector with a number for each class", got=weight))
        self.ignore_index = None if ignore_index is None else integer(who, "ignore_index", ignore_index, None)
        self.reduction: Reduction = checked_reduction(who, reduction)
        self.label_smoothing = number(who, "label_smoothing", label_smoothing, 0, 1)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        if self.weight is None and self.ignore_index is None:
            return cross_entropy(input, target, label_smoothing=self.label_smoothing, reduction=self.reduction)
        classes = as_given(target)
        if classes.dtype.kind not in "iu":
            rule = "weight and ignore_index need integer class numbers as target"
            raise TypeError(sentence("CrossEntropyLoss", rule, got=str(classes.dtype)))
        return self._selective(as_tensor(input), classes)

    def _selective(self, given: Tensor, classes: Tensor) -> Tensor:
        """The loss when not every sample counts the same."""
        kept = None if self.ignore_index is None else classes != self.ignore_index
        safe = classes if kept is None else where(kept, classes, 0)
        logits, smoothing = widened(given), self.label_smoothing
        if self.weight is None:
            losses = cross_entropy(logits, safe, label_smoothing=smoothing, reduction="none")
        else:
            size = self.weight.shape[0]
            if logits.shape[1:2] != (size,):
                rule = f"the logits must have the shape (N, {size}, ...), since weight has {size} classes"
                raise ValueError(sentence("CrossEntropyLoss", rule, got=logits.shape))
            losses = cross_entropy(logits, safe, reduction="none")
        if self.weight is None or not smoothing:
            losses = losses if kept is None else where(kept, losses, 0.0)
            return rounded(averaged(losses, safe, kept, self.weight, self.reduction), given, self.weight)
        column = self.weight.reshape(-1, *[1] * (len(logits.shape) - 2))
        spread = -(column * logits.log_softmax(axis=1)).mean(axis=1)
        losses = (1 - smoothing) * self.weight[safe] * losses + smoothing * spread
        losses = losses if kept is None else where(kept, losses, 0.0)
        total = averaged(losses, safe, kept, self.weight, self.reduction, weighed=True)
        return rounded(total, given, self.weight)


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
        prediction, target = pair("MSELoss", input, target)
        difference = widened(prediction) - widened(target)
        return rounded(reduced(difference * difference, self.reduction), prediction, target)


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
        prediction, target = pair("L1Loss", input, target)
        return rounded(reduced(abs(widened(prediction) - widened(target)), self.reduction), prediction, target)


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
        prediction, target = pair("SmoothL1Loss", input, target)
        losses = _rounded_off(widened(prediction) - widened(target), self.beta)
        return rounded(reduced(losses, self.reduction), prediction, target)


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
        self.delta = number("HuberLoss", "delta", delta)
        if self.delta == 0:
            raise ValueError(sentence("HuberLoss", "delta must be positive", got=delta))

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        prediction, target = pair("HuberLoss", input, target)
        losses = self.delta * _rounded_off(widened(prediction) - widened(target), self.delta)
        return rounded(reduced(losses, self.reduction), prediction, target)


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
        self.eps = number("CosineSimilarity", "eps", eps)
        if self.eps == 0:
            raise ValueError(sentence("CosineSimilarity", "eps must be positive", got=eps))

    def forward(self, x1: TensorLike, x2: TensorLike) -> Tensor:
        """The similarity of each pair of vectors."""
        first, second = floating(x1), floating(x2)
        try:
            shape = np.broadcast_shapes(first.shape, second.shape)
        except ValueError:
            shape = ()
        if not -len(shape) <= self.dim < len(shape):
            rule = f"x1 and x2 must have shapes that broadcast, with an axis {self.dim}"
            raise ValueError(sentence("CosineSimilarity", rule, got=(first.shape, second.shape)))
        x, y = widened(first).broadcast_to(shape), widened(second).broadcast_to(shape)
        inverses = [maximum((v * v).sum(self.dim), self.eps**2) ** -0.5 for v in (x, y)]
        return rounded((x * y).sum(self.dim) * inverses[0] * inverses[1], first, second)


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of the probability ``p = sigmoid(input)``, computed without overflow from ``input`` itself.

        loss = -(pos_weight * target * log p + (1 - target) * log(1 - p))

    Args:
        pos_weight: Weight of the positive class, at least 0: a number, or a `Tensor` that broadcasts to the input.
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.

    Attributes:
        pos_weight: A buffer, or ``None``.

    Shapes: two equal shapes to a scalar, or to the same shape; targets are probabilities in [0, 1].

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> loss = nn.BCEWithLogitsLoss(reduction="none")
    >>> loss(Tensor([0.0, 200.0]), Tensor([1.0, 0.0])).numpy().round(4)
    array([  0.6931, 200.    ], dtype=float32)
    """

    pos_weight: Tensor | None

    def __init__(self, pos_weight: Tensor | float | None = None, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = checked_reduction("BCEWithLogitsLoss", reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else Tensor(pos_weight))

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        prediction, target = pair("BCEWithLogitsLoss", input, target)
        x, y = widened(prediction), widened(target)
        # -log p = softplus(-x) and -log(1 - p) = softplus(x): nothing cancels, so tiny losses keep their digits
        positive = y * apply(softplus, -x)
        if self.pos_weight is not None:
            positive = self.pos_weight * positive
        losses = positive + (1 - y) * apply(softplus, x)
        return rounded(reduced(losses, self.reduction), prediction, target, self.pos_weight)


def _rounded_off(difference: Tensor, beta: float) -> Tensor:
    size = abs(difference)
    if beta == 0:
        return size
    return where(size < beta, difference * difference * (0.5 / beta), size - 0.5 * beta)


def pair(who: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one shape: broadcasting (N, 1) against (N,) would make N * N losses in silence."""
    prediction, target = as_tensor(input), as_tensor(target)
    if prediction.shape != target.shape:
        rule = "input and target must have the same shape"
        raise ValueError(sentence(who, rule, got=(prediction.shape, target.shape), hint="reshape one of them"))
    if prediction.dtype.kind != "f" and target.dtype.kind != "f":
        prediction = floating(prediction)  # a difference of unsigned integers would wrap around
    return prediction, target


def checked_reduction(who: str, reduction: Reduction) -> Reduction:
    """``reduction``, which is one of the three."""
    return one_of(who, "reduction", reduction, ("mean", "sum", "none"))


def reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    """The mean or the sum of the losses, or all of them."""
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses


def averaged(
    losses: Tensor,
    classes: Tensor,
    kept: Tensor | None,
    weight: Tensor | None,
    reduction: Reduction,
    weighed: bool = False,
) -> Tensor:
    """The losses of samples, reduced; each counts by the weight of its class, and those that are not kept do not.

    Args:
        weighed: Whether the losses have been multiplied by the weights.
    """
    share = None if kept is None else kept.astype(losses.dtype)
    if weight is not None:
        own = weight[classes]
        share = own if share is None else share * own
        losses = losses if weighed else own * losses
    if share is None or reduction != "mean":
        return reduced(losses, reduction)
    return losses.sum() / share.sum()
