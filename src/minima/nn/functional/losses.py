"""Losses of numbers: mse_loss, l1_loss, smooth_l1_loss, huber_loss, cosine_similarity, binary_cross_entropy(...)."""

import math
from collections.abc import Callable
from functools import partial
from typing import Literal

import numpy as np

from minima.autograd import Tensor, maximum, where
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations.activations import softplus
from minima.autograd.operations.binary_cross_entropy import binary_cross_entropy as unlikeliness
from minima.autograd.primitive import is_numpy
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import integer, number, one_of, positive
from minima.errors import sentence

__all__ = [
    "Reduction",
    "binary_cross_entropy",
    "binary_cross_entropy_with_logits",
    "checked_reduction",
    "compared",
    "cosine_similarity",
    "crossed",
    "crossed_logits",
    "huber_loss",
    "l1_loss",
    "mse_loss",
    "pair",
    "reduced",
    "rounded_off",
    "similarity",
    "smooth_l1_loss",
    "squared",
]

Reduction = Literal["mean", "sum", "none"]


def mse_loss(input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """The loss of `minima.nn.MSELoss`: squared differences.

    >>> mse_loss([1.0, 2.0], [1.0, 4.0]).item()
    2.0
    """
    return compared("mse_loss", input, target, checked_reduction("mse_loss", reduction), squared)


def l1_loss(input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """The loss of `minima.nn.L1Loss`: absolute differences.

    >>> l1_loss([1.0, 2.0], [1.0, 4.0]).item()
    1.0
    """
    return compared("l1_loss", input, target, checked_reduction("l1_loss", reduction), Tensor.abs)


def smooth_l1_loss(
    input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean", beta: float = 1.0
) -> Tensor:
    """The loss of `minima.nn.SmoothL1Loss`: absolute differences, rounded off below ``beta``.

    >>> smooth_l1_loss([0.5, 3.0], [0.0, 0.0], reduction="none").tolist()
    [0.125, 2.5]
    """
    who = "smooth_l1_loss"
    loss = partial(rounded_off, beta=number(who, "beta", beta))
    return compared(who, input, target, checked_reduction(who, reduction), loss)


def huber_loss(input: TensorLike, target: TensorLike, reduction: Reduction = "mean", delta: float = 1.0) -> Tensor:
    """The loss of `minima.nn.HuberLoss`: squared differences, lines above ``delta``.

    >>> huber_loss([1.0, 3.0], [0.0, 0.0], "none", delta=2.0).tolist()
    [0.5, 4.0]
    """
    who = "huber_loss"
    corner = positive(who, "delta", delta)
    loss = partial(rounded_off, beta=corner, factor=corner)
    return compared(who, input, target, checked_reduction(who, reduction), loss)


def cosine_similarity(x1: TensorLike, x2: TensorLike, dim: int = 1, eps: float = 1e-8) -> Tensor:
    """What `minima.nn.CosineSimilarity` computes, along the axis ``dim``.

    >>> cosine_similarity([[3.0, 4.0]], [[4.0, 3.0]]).numpy().round(4)
    array([0.96], dtype=float32)
    """
    who = "cosine_similarity"
    return similarity(who, x1, x2, integer(who, "dim", dim, None), positive(who, "eps", eps))


def binary_cross_entropy(
    input: TensorLike, target: TensorLike, weight: TensorLike | None = None, *, reduction: Reduction = "mean"
) -> Tensor:
    """The loss of `minima.nn.BCELoss`, of probabilities.

    >>> binary_cross_entropy([0.5, 0.0], [1.0, 1.0], reduction="none").numpy().round(4)
    array([  0.6931, 100.    ], dtype=float32)
    """
    who = "binary_cross_entropy"
    factor = None if weight is None else as_tensor(weight)
    return crossed(who, input, target, factor, checked_reduction(who, reduction))


def binary_cross_entropy_with_logits(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    reduction: Reduction = "mean",
    pos_weight: TensorLike | None = None,
) -> Tensor:
    """The loss of `minima.nn.BCEWithLogitsLoss`, of logits and probabilities.

    >>> binary_cross_entropy_with_logits([0.0, 200.0], [1.0, 0.0], reduction="none").numpy().round(4)
    array([  0.6931, 200.    ], dtype=float32)
    """
    who = "binary_cross_entropy_with_logits"
    factor, share = (None if each is None else as_tensor(each) for each in (weight, pos_weight))
    return crossed_logits(who, input, target, factor, checked_reduction(who, reduction), share)


def compared(
    who: str, input: TensorLike, target: TensorLike, reduction: Reduction, loss: Callable[[Tensor], Tensor]
) -> Tensor:
    """A loss of the differences, reduced."""
    prediction, target = pair(who, input, target)
    losses = loss(widened(prediction) - widened(target))
    return rounded(reduced(losses, reduction), prediction, target)


def squared(difference: Tensor) -> Tensor:
    """The loss of `mse_loss`."""
    return difference * difference


def rounded_off(difference: Tensor, beta: float, factor: float = 1.0) -> Tensor:
    """The loss of `smooth_l1_loss`, times ``factor``."""
    size = difference.abs()
    if beta == 0:
        return size
    losses = where(size < beta, difference * difference * (0.5 / beta), size - 0.5 * beta)
    return losses if factor == 1 else factor * losses


def similarity(who: str, x1: TensorLike, x2: TensorLike, dim: int, eps: float) -> Tensor:
    """The cosine similarity, of arguments that are checked."""
    first, second = floating(x1), floating(x2)
    try:
        shape = np.broadcast_shapes(first.shape, second.shape)
    except ValueError:
        shape = ()
    if not -len(shape) <= dim < len(shape):
        rule = f"x1 and x2 must have shapes that broadcast, with an axis {dim}"
        raise ValueError(sentence(who, rule, got=(first.shape, second.shape)))
    x, y = widened(first).broadcast_to(shape), widened(second).broadcast_to(shape)
    inverses = [maximum((v * v).sum(dim), eps**2) ** -0.5 for v in (x, y)]
    return rounded((x * y).sum(dim) * inverses[0] * inverses[1], first, second)


def crossed(who: str, input: TensorLike, target: TensorLike, weight: Tensor | None, reduction: Reduction) -> Tensor:
    """The binary cross-entropy of probabilities, of arguments that are checked."""
    prediction, target = pair(who, input, target)
    values = prediction.buffer.reshape(-1)
    wrong = values[~((values >= 0) & (values <= 1))] if is_numpy(values) else values[:0]  # a tracer has no values
    if 0 not in wrong.shape:
        hint = f"{'BCEWithLogitsLoss' if who == 'BCELoss' else f'{who}_with_logits'} takes numbers of any size"
        raise ValueError(sentence(who, "the input must lie in [0, 1]", got=wrong[0].item(), hint=hint))
    x = widened(floating(prediction))
    losses = apply(unlikeliness, x, widened(target).astype(x.dtype))
    losses = losses if weight is None else _weighed(who, "weight", weight, losses)
    return rounded(reduced(losses, reduction), prediction, target, weight)


def crossed_logits(
    who: str,
    input: TensorLike,
    target: TensorLike,
    weight: Tensor | None,
    reduction: Reduction,
    pos_weight: Tensor | None,
) -> Tensor:
    """The binary cross-entropy of logits, of arguments that are checked."""
    prediction, target = pair(who, input, target)
    x, y = widened(prediction), widened(target)
    # -log p = softplus(-x) and -log(1 - p) = softplus(x): nothing cancels, so tiny losses keep their digits
    likely, unlikely = (apply(softplus, each, beta=1.0, threshold=math.inf) for each in (-x, x))
    there = y * likely if pos_weight is None else _weighed(who, "pos_weight", pos_weight, y * likely)
    losses = there + (1 - y) * unlikely
    losses = losses if weight is None else _weighed(who, "weight", weight, losses)
    return rounded(reduced(losses, reduction), prediction, target, weight, pos_weight)


def _weighed(who: str, name: str, weight: Tensor, losses: Tensor) -> Tensor:
    try:
        fits = np.broadcast_shapes(weight.shape, losses.shape) == losses.shape
    except ValueError:
        fits = False
    if not fits:
        rule = f"{name} must broadcast to the input of shape {losses.shape}"
        raise ValueError(sentence(who, rule, got=weight.shape))
    return weight * losses


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
