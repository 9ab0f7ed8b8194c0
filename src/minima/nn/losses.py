"""Losses: what training makes small, each the mean (or the sum) of a loss for every element or sample."""

from typing import Any, Literal

import numpy as np

from minima.autograd import Tensor, cross_entropy
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.primitive import Array, Namespace, primitive
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, number, one_of
from minima.errors import sentence
from minima.nn.module import Module

__all__ = ["BCEWithLogitsLoss", "CrossEntropyLoss", "L1Loss", "MSELoss"]

Reduction = Literal["mean", "sum", "none"]


class CrossEntropyLoss(Module):
    """How unlikely the right classes are: ``-log softmax(input)[target]`` for every sample.

    Args:
        weight: How much each class counts, a vector with a number for every class. The mean is then the weighted one.
        ignore_index: A target value that marks samples that do not count, not even in the mean.
        reduction: ``"mean"`` and ``"sum"`` over all samples; ``"none"`` keeps them.
        label_smoothing: The share in [0, 1] of the target's probability that is spread evenly over all classes.

    Attributes:
        weight: A buffer, or ``None``.

    Shapes: logits ``(N, classes)`` or ``(N, classes, d...)``; integer targets ``(N,)`` or ``(N, d...)``, or, without
    ``weight`` and ``ignore_index``, probabilities in the shape of the logits. The result is a scalar, or one loss for
    each sample.

    Raises:
        TypeError: An argument is not of its type, or targets are neither integers nor probabilities.
        ValueError: An argument is out of range, shapes do not fit, or a target is no class.

    Label smoothing: Szegedy et al., "Rethinking the Inception architecture" (2016), section 7. As PyTorch's, except
    that ``ignore_index`` is ``None`` until it is asked for, so that a stray -100 is an error, and that the two first
    arguments do not go with probabilities.

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
        self.reduction: Reduction = _checked_reduction(who, reduction)
        self.label_smoothing = number(who, "label_smoothing", label_smoothing, 0, 1)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        if self.weight is None and self.ignore_index is None:
            return cross_entropy(input, target, label_smoothing=self.label_smoothing, reduction=self.reduction)
        classes = np.asarray(target)
        if classes.dtype.kind not in "iu":
            rule = "weight and ignore_index need integer class numbers as target"
            raise TypeError(sentence("CrossEntropyLoss", rule, got=str(classes.dtype)))
        return self._selective(as_tensor(input), classes)

    def _selective(self, logits: Tensor, classes: np.ndarray[Any, Any]) -> Tensor:
        """The loss when not every sample counts the same: each sample's loss times its share."""
        kept = np.full(classes.shape, True) if self.ignore_index is None else classes != self.ignore_index
        classes = np.where(kept, classes, 0)
        given, logits = logits, widened(logits)
        share = Tensor(kept, dtype=logits.dtype)
        smoothing = self.label_smoothing
        if self.weight is None:
            losses = share * cross_entropy(logits, classes, label_smoothing=smoothing, reduction="none")
        else:
            size = self.weight.shape[0]
            if logits.shape[1:2] != (size,):
                rule = f"the logits must have the shape (N, {size}, ...), since weight has {size} classes"
                raise ValueError(sentence("CrossEntropyLoss", rule, got=logits.shape))
            right = cross_entropy(logits, classes, reduction="none")
            weighed = self.weight[classes] * right
            if smoothing:
                column = self.weight.reshape(-1, *[1] * (len(logits.shape) - 2))
                spread = -(column * logits.log_softmax(axis=1)).mean(axis=1)
                weighed = (1 - smoothing) * weighed + smoothing * spread
            losses = share * weighed
            share = share * self.weight[classes]
        total = losses.sum() / share.sum() if self.reduction == "mean" else _reduced(losses, self.reduction)
        return rounded(total, given, self.weight)


class MSELoss(Module):
    """The squared error: ``(input - target)^2`` for every element.

    Args:
        reduction: ``"mean"`` and ``"sum"`` over all elements; ``"none"`` keeps them.

    Shapes: two equal ones to a scalar, or to the same. PyTorch broadcasts different shapes, which is most often a
    mistake: (N, 1) against (N,) gives N * N errors.

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.MSELoss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()
    2.0
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = _checked_reduction("MSELoss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        prediction, target = _pair("MSELoss", input, target)
        difference = widened(prediction) - widened(target)
        return rounded(_reduced(difference * difference, self.reduction), prediction, target)


class L1Loss(Module):
    """The absolute error: ``|input - target|`` for every element, with derivative 0 where they are equal.

    Args:
        reduction: ``"mean"`` and ``"sum"`` over all elements; ``"none"`` keeps them.

    Shapes: two equal ones to a scalar, or to the same. (PyTorch broadcasts different shapes.)

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.L1Loss()(Tensor([1.0, 2.0]), Tensor([1.0, 4.0])).item()
    1.0
    """

    def __init__(self, reduction: Reduction = "mean") -> None:
        self.reduction: Reduction = _checked_reduction("L1Loss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the prediction ``input``."""
        prediction, target = _pair("L1Loss", input, target)
        return rounded(_reduced(abs(widened(prediction) - widened(target)), self.reduction), prediction, target)


@primitive
def _softplus(xp: Namespace, x: Array) -> Array:
    """``log(1 + exp(x))``."""
    return xp.logaddexp(x, 0)


@_softplus.vjp("x")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * xp.exp(-xp.logaddexp(-x, 0))  # the sigmoid, accurate in both tails


class BCEWithLogitsLoss(Module):
    """Binary cross-entropy of the probability ``p = sigmoid(input)``, computed without overflow from ``input`` itself.

        loss = -(pos_weight * target * log p + (1 - target) * log(1 - p))

    Args:
        pos_weight: How much the positive class counts, from 0 up: a number, or a `Tensor` that broadcasts to the input.
        reduction: ``"mean"`` and ``"sum"`` over all elements; ``"none"`` keeps them.

    Attributes:
        pos_weight: A buffer, or ``None``.

    Shapes: two equal ones to a scalar, or to the same; targets are probabilities in [0, 1].

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
        self.reduction: Reduction = _checked_reduction("BCEWithLogitsLoss", reduction)
        self.register_buffer("pos_weight", None if pos_weight is None else Tensor(pos_weight))

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the logits ``input``."""
        prediction, target = _pair("BCEWithLogitsLoss", input, target)
        x, y = widened(prediction), widened(target)
        # -log p = softplus(-x) and -log(1 - p) = softplus(x): nothing cancels, so tiny losses keep their digits
        positive = y * apply(_softplus, -x)
        if self.pos_weight is not None:
            positive = self.pos_weight * positive
        losses = positive + (1 - y) * apply(_softplus, x)
        return rounded(_reduced(losses, self.reduction), prediction, target, self.pos_weight)


def _pair(who: str, input: TensorLike, target: TensorLike) -> tuple[Tensor, Tensor]:
    """Both as Tensors of one shape: broadcasting (N, 1) against (N,) would make N * N losses in silence."""
    prediction, target = as_tensor(input), as_tensor(target)
    if prediction.shape != target.shape:
        rule = "input and target must have the same shape"
        raise ValueError(sentence(who, rule, got=(prediction.shape, target.shape), hint="reshape one of them"))
    if prediction.dtype.kind != "f" and target.dtype.kind != "f":
        prediction = floating(prediction)  # a difference of unsigned integers would wrap around
    return prediction, target


def _checked_reduction(who: str, reduction: Reduction) -> Reduction:
    return one_of(who, "reduction", reduction, ("mean", "sum", "none"))


def _reduced(losses: Tensor, reduction: Reduction) -> Tensor:
    return losses.mean() if reduction == "mean" else losses.sum() if reduction == "sum" else losses
