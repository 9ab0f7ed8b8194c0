"""Losses of probabilities and their logarithms: NLLLoss, BCELoss, KLDivLoss."""

from typing import Any, Literal

from minima.autograd import Tensor, exp, log, where
from minima.autograd.arrays import check_classes
from minima.autograd.formulas import as_given, floating, rounded, widened
from minima.autograd.operations.shapes import gather
from minima.autograd.primitive import Array, Namespace, is_numpy, primitive
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import flag, integer, one_of
from minima.errors import sentence
from minima.nn.losses import Reduction, averaged, checked_reduction, pair, reduced
from minima.nn.module import Module

__all__ = ["BCELoss", "KLDivLoss", "NLLLoss"]


class NLLLoss(Module):
    """The negative log-likelihood of the right class, from log-probabilities: ``-input[target]`` for every sample.

    Args:
        weight: Weights of the classes, a vector with a number for each class. The mean is then the weighted mean.
        ignore_index: A target value for samples to ignore, also in the mean.
        reduction: ``"mean"`` or ``"sum"`` over all samples; ``"none"`` returns all of them.

    Attributes:
        weight: A buffer, or ``None``.

    Shapes: log-probabilities ``(N, classes)`` or ``(N, classes, d...)``, as returned by `LogSoftmax`, and integer
    targets ``(N,)`` or ``(N, d...)`` to a scalar, or to one loss for each sample.

    Raises:
        TypeError: An argument has the wrong type, or targets are not integers.
        ValueError: An argument is out of range, shapes do not fit, or a target is not a class.

    The same as PyTorch's, except that ``ignore_index`` is ``None`` by default, so a target of -100 is an error.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.NLLLoss()(Tensor([[-0.5, -1.0], [-2.0, -0.25]]), Tensor([0, 1])).item()
    0.375
    """

    weight: Tensor | None

    def __init__(
        self, weight: TensorLike | None = None, ignore_index: int | None = None, reduction: Reduction = "mean"
    ) -> None:
        self.register_buffer("weight", None if weight is None else Tensor(weight))
        if self.weight is not None and len(self.weight.shape) != 1:
            raise ValueError(sentence("NLLLoss", "weight must be a vector with a number for each class", got=weight))
        self.ignore_index = None if ignore_index is None else integer("NLLLoss", "ignore_index", ignore_index, None)
        self.reduction: Reduction = checked_reduction("NLLLoss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the log-probabilities ``input``."""
        given, classes = floating(input), as_given(target)
        if classes.dtype.kind not in "iu":
            raise TypeError(sentence("NLLLoss", "target must be integer class numbers", got=str(classes.dtype)))
        shape = given.shape
        size = None if self.weight is None else self.weight.shape[0]
        if len(shape) < 2 or not shape[1] or size not in (None, shape[1]):
            count = "classes" if size is None else size
            rule = f"the log-probabilities must have the shape (N, {count}) or (N, {count}, d...)"
            raise ValueError(sentence("NLLLoss", rule, got=shape))
        if classes.shape != (shape[0], *shape[2:]):
            rule = f"target must have the shape {(shape[0], *shape[2:])}"
            raise ValueError(sentence("NLLLoss", rule, got=classes.shape))
        kept = None if self.ignore_index is None else classes != self.ignore_index
        safe = classes if kept is None else where(kept, classes, 0)
        check_classes("NLLLoss", "target", safe.buffer, shape[1])
        losses = -apply(gather, widened(given), safe.unsqueeze(1), axis=1, once=True).squeeze(1)
        losses = losses if kept is None else where(kept, losses, 0.0)
        total = averaged(losses, safe, kept, self.weight, self.reduction)
        return rounded(total, given, self.weight)


_SMALLEST = 9.999999960041972e-13  # what PyTorch divides by at 0 and 1, in every dtype: the float32 next to 1e-12


@primitive
def binary_cross_entropy(xp: Namespace, x: Array, y: Array) -> Array:
    """``-(y log x + (1 - y) log(1 - x))`` with logarithms from -100 up."""
    return -(y * _log(xp, x) + (1 - y) * _log(xp, 1 - x))


@binary_cross_entropy.vjp("x")
def _(xp: Namespace, g: Array, x: Array, y: Array) -> Array:
    return g * (x - y) / xp.maximum((1 - x) * x, _SMALLEST)


@binary_cross_entropy.vjp("y")
def _(xp: Namespace, g: Array, x: Array) -> Array:
    return g * (_log(xp, 1 - x) - _log(xp, x))


def _log(xp: Namespace, x: Array) -> Array:
    return xp.maximum(xp.log(xp.where(x > 0, x, 1e-300 if x.dtype.itemsize > 4 else 1e-45)), -100)


class BCELoss(Module):
    """Binary cross-entropy of probabilities: ``-(target * log(input) + (1 - target) * log(1 - input))``.

    Args:
        weight: Weights of the elements; broadcast to the input.
        reduction: ``"mean"`` or ``"sum"`` over all elements; ``"none"`` returns all of them.

    Attributes:
        weight: A buffer, or ``None``.

    Shapes: two equal shapes to a scalar, or to the same shape; both are probabilities in [0, 1].

    Raises:
        ValueError: ``reduction`` is unknown, the shapes differ, or an input lies outside [0, 1].

    As in PyTorch, logarithms are clamped at -100. `BCEWithLogitsLoss`, which takes logits, needs no clamping and is
    more accurate.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> nn.BCELoss(reduction="none")(Tensor([0.5, 0.0]), Tensor([1.0, 1.0])).numpy().round(4)
    array([  0.6931, 100.    ], dtype=float32)
    """

    weight: Tensor | None

    def __init__(self, weight: TensorLike | None = None, reduction: Reduction = "mean") -> None:
        self.register_buffer("weight", None if weight is None else Tensor(weight))
        self.reduction: Reduction = checked_reduction("BCELoss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the probabilities ``input``."""
        prediction, target = pair("BCELoss", input, target)
        values = prediction.buffer.reshape(-1)
        wrong = values[~((values >= 0) & (values <= 1))] if is_numpy(values) else values[:0]  # a tracer has no values
        if 0 not in wrong.shape:
            hint = "BCEWithLogitsLoss takes numbers of any size"
            raise ValueError(sentence("BCELoss", "the input must lie in [0, 1]", got=wrong[0].item(), hint=hint))
        x = widened(floating(prediction))
        losses = apply(binary_cross_entropy, x, widened(target).astype(x.dtype))
        if self.weight is not None:
            losses = self.weight * losses
        return rounded(reduced(losses, self.reduction), prediction, target, self.weight)


class KLDivLoss(Module):
    """The Kullback-Leibler divergence: ``target * (log(target) - input)``, where ``input`` is a log-probability.

    Args:
        reduction: ``"mean"`` and ``"sum"`` over all elements; ``"batchmean"`` divides the sum by the length of the
            first axis, which is the divergence; ``"none"`` returns all elements.
        log_target: Whether ``target`` is a log-probability too.

    Shapes: two equal shapes to a scalar, or to the same shape.

    Raises:
        ValueError: ``reduction`` is unknown, or the shapes differ.
        TypeError: ``log_target`` is not True or False.

    Kullback and Leibler, "On information and sufficiency" (1951). A target of 0 contributes 0. As in PyTorch, the
    default ``"mean"`` also divides by the number of classes.

    >>> from minima import nn
    >>> from minima.autograd import Tensor
    >>> loss = nn.KLDivLoss(reduction="batchmean")
    >>> round(loss(Tensor([[-0.6931472, -0.6931472]]), Tensor([[1.0, 0.0]])).item(), 4)
    0.6931
    """

    def __init__(
        self, reduction: Literal["mean", "sum", "none", "batchmean"] = "mean", log_target: bool = False
    ) -> None:
        self.reduction: Any = one_of("KLDivLoss", "reduction", reduction, ("mean", "sum", "none", "batchmean"))
        self.log_target = flag("KLDivLoss", "log_target", log_target)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the log-probabilities ``input``."""
        prediction, target = pair("KLDivLoss", input, target)
        x, y = widened(floating(prediction)), widened(floating(target))
        if self.log_target:
            losses = exp(y) * (y - x)
        else:
            there = y.detach() > 0
            losses = where(there, y * log(where(there, y, 1.0)), 0.0) - y * x
        if self.reduction == "batchmean":
            total = losses.sum() / as_tensor(prediction).shape[0] if prediction.shape else losses
        else:
            total = reduced(losses, self.reduction)
        return rounded(total, prediction, target)
