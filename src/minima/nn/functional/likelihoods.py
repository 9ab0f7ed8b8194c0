"""Losses of distributions: cross_entropy, nll_loss, kl_div."""

from typing import Literal

from minima.autograd import Tensor, exp, log, where
from minima.autograd import cross_entropy as fused
from minima.autograd.arrays import check_classes
from minima.autograd.formulas import as_given, floating, rounded, widened
from minima.autograd.operations.shapes import gather
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import flag, integer, number, one_of
from minima.errors import sentence
from minima.nn.functional.losses import Reduction, checked_reduction, pair, reduced

__all__ = [
    "DivergenceReduction",
    "checked_weight",
    "cross_entropy",
    "crossed_classes",
    "divergence",
    "kl_div",
    "likelihood",
    "nll_loss",
]

DivergenceReduction = Literal["mean", "sum", "none", "batchmean"]


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss of `minima.nn.CrossEntropyLoss`, of logits and class numbers or probabilities.

    >>> round(cross_entropy([[0.0, 0.0], [1.0, 3.0]], Tensor([0, 1])).item(), 4)
    0.41
    """
    who = "cross_entropy"
    return crossed_classes(
        who,
        input,
        target,
        checked_weight(who, weight),
        None if ignore_index is None else integer(who, "ignore_index", ignore_index, None),
        checked_reduction(who, reduction),
        number(who, "label_smoothing", label_smoothing, 0, 1),
    )


def nll_loss(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
) -> Tensor:
    """The loss of `minima.nn.NLLLoss`, of log-probabilities and class numbers.

    >>> nll_loss([[-0.5, -1.0], [-2.0, -0.25]], Tensor([0, 1])).item()
    0.375
    """
    who = "nll_loss"
    ignored = None if ignore_index is None else integer(who, "ignore_index", ignore_index, None)
    return likelihood(who, input, target, checked_weight(who, weight), ignored, checked_reduction(who, reduction))


def kl_div(
    input: TensorLike, target: TensorLike, *, reduction: DivergenceReduction = "mean", log_target: bool = False
) -> Tensor:
    """The loss of `minima.nn.KLDivLoss`, of log-probabilities and probabilities.

    >>> round(kl_div([[-0.6931472, -0.6931472]], [[1.0, 0.0]], reduction="batchmean").item(), 4)
    0.6931
    """
    who = "kl_div"
    one_of(who, "reduction", reduction, ("mean", "sum", "none", "batchmean"))
    return divergence(who, input, target, reduction, flag(who, "log_target", log_target))


def checked_weight(who: str, weight: TensorLike | None) -> Tensor | None:
    """The weights of the classes as a vector, or none."""
    tensor = None if weight is None else as_tensor(weight)
    if tensor is not None and tensor.ndim != 1:
        raise ValueError(sentence(who, "weight must be a vector with a number for each class", got=weight))
    return tensor


def crossed_classes(
    who: str,
    input: TensorLike,
    target: TensorLike,
    weight: Tensor | None,
    ignore_index: int | None,
    reduction: Reduction,
    smoothing: float,
) -> Tensor:
    """The cross-entropy, of arguments that are checked."""
    if weight is None and ignore_index is None:
        return fused(input, target, label_smoothing=smoothing, reduction=reduction)
    given, classes = as_tensor(input), as_given(target)
    if classes.dtype.kind not in "iu":
        rule = "weight and ignore_index need integer class numbers as target"
        raise TypeError(sentence(who, rule, got=str(classes.dtype)))
    kept = None if ignore_index is None else classes != ignore_index
    safe = classes if kept is None else where(kept, classes, 0)
    logits = widened(given)
    if weight is None:
        losses = fused(logits, safe, label_smoothing=smoothing, reduction="none")
    else:
        size = weight.shape[0]
        if logits.shape[1:2] != (size,):
            rule = f"the logits must have the shape (N, {size}, ...), since weight has {size} classes"
            raise ValueError(sentence(who, rule, got=logits.shape))
        losses = fused(logits, safe, reduction="none")
    weighed = False
    if weight is not None and smoothing:
        weighed = True
        column = weight.reshape(-1, *[1] * (len(logits.shape) - 2))
        spread = -(column * logits.log_softmax(axis=1)).mean(axis=1)
        losses = (1 - smoothing) * weight[safe] * losses + smoothing * spread
    losses = losses if kept is None else where(kept, losses, 0.0)
    return rounded(_averaged(losses, safe, kept, weight, reduction, weighed), given, weight)


def likelihood(
    who: str,
    input: TensorLike,
    target: TensorLike,
    weight: Tensor | None,
    ignore_index: int | None,
    reduction: Reduction,
) -> Tensor:
    """The negative log-likelihood, of arguments that are checked."""
    given, classes = floating(input), as_given(target)
    if classes.dtype.kind not in "iu":
        raise TypeError(sentence(who, "target must be integer class numbers", got=str(classes.dtype)))
    shape = given.shape
    size = None if weight is None else weight.shape[0]
    if len(shape) < 2 or not shape[1] or size not in (None, shape[1]):
        count = "classes" if size is None else size
        rule = f"the log-probabilities must have the shape (N, {count}) or (N, {count}, d...)"
        raise ValueError(sentence(who, rule, got=shape))
    if classes.shape != (shape[0], *shape[2:]):
        rule = f"target must have the shape {(shape[0], *shape[2:])}"
        raise ValueError(sentence(who, rule, got=classes.shape))
    kept = None if ignore_index is None else classes != ignore_index
    safe = classes if kept is None else where(kept, classes, 0)
    check_classes(who, "target", safe.buffer, shape[1])
    losses = -apply(gather, widened(given), safe.unsqueeze(1), axis=1, once=True).squeeze(1)
    losses = losses if kept is None else where(kept, losses, 0.0)
    return rounded(_averaged(losses, safe, kept, weight, reduction), given, weight)


def divergence(
    who: str, input: TensorLike, target: TensorLike, reduction: DivergenceReduction, log_target: bool
) -> Tensor:
    """The divergence, of arguments that are checked."""
    prediction, target = pair(who, input, target)
    x, y = widened(floating(prediction)), widened(floating(target))
    if log_target:
        losses = exp(y) * (y - x)
    else:
        there = y.detach() > 0
        losses = where(there, y * log(where(there, y, 1.0)), 0.0) - y * x
    if reduction == "batchmean":
        total = losses.sum() / prediction.shape[0] if prediction.shape else losses
    else:
        total = reduced(losses, reduction)
    return rounded(total, prediction, target)


def _averaged(
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
