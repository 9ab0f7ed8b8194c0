"""The functions that networks spend their time in, each fused into one primitive."""

from minima.autograd.arrays import check_classes
from minima.autograd.formulas import rounded, widened
from minima.autograd.operations import linalg, losses
from minima.autograd.tensor import Tensor, TensorLike, apply, as_tensor
from minima.errors import sentence

__all__ = ["affine", "cross_entropy", "linear"]


def linear(x: TensorLike, weight: TensorLike, bias: TensorLike | None = None) -> Tensor:
    """``x @ weight.T + bias``.

    Args:
        x: Shape (..., inputs).
        weight: Shape (outputs, inputs).
        bias: Shape (outputs,).

    >>> linear(Tensor([1.0, 2.0]), Tensor([[3.0, 4.0]]), Tensor([5.0]))
    Tensor([16.])
    """
    return affine("linear", x, weight, bias)


def affine(who: str, x: TensorLike, weight: TensorLike, bias: TensorLike | None) -> Tensor:
    """`linear`; ``who`` complains about operands that do not fit."""
    if not (isinstance(x, Tensor) and isinstance(weight, Tensor)):
        x, weight = as_tensor(x), as_tensor(weight)
    given, sizes = x.buffer.shape, weight.buffer.shape
    if len(sizes) != 2:
        raise ValueError(sentence(who, "weight must have the shape (outputs, inputs)", got=sizes))
    if not given or given[-1] != sizes[1]:
        raise ValueError(sentence(who, f"the input must have the shape (..., {sizes[1]})", got=given))
    if bias is None:
        return apply(linalg.linear, x, weight)
    if not isinstance(bias, Tensor):
        bias = Tensor(bias)
    if bias.buffer.shape != sizes[:1]:
        raise ValueError(sentence(who, f"bias must have the shape {sizes[:1]}", got=bias.shape))
    return apply(linalg.linear, x, weight, bias)


def cross_entropy(
    logits: TensorLike, target: TensorLike, *, label_smoothing: float = 0.0, reduction: str = "mean"
) -> Tensor:
    """The cross-entropy ``-log softmax(logits)[target]`` of each example.

    Args:
        logits: Shape (N, classes) or (N, classes, d...), floating.
        target: Class numbers of shape (N,) or (N, d...), integers; or probabilities in the shape of the logits.
        label_smoothing: The share in [0, 1] of the target that is spread evenly over all classes.
        reduction: ``"mean"`` or ``"sum"`` over all examples, or ``"none"``.

    >>> cross_entropy(Tensor([[0.0, 0.0]]), Tensor([1]))
    Tensor(0.6931472)
    """
    who = "cross_entropy"
    if not (isinstance(logits, Tensor) and isinstance(target, Tensor)):
        logits, target = as_tensor(logits), as_tensor(target)
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(sentence(who, "reduction must be 'mean', 'sum' or 'none'", got=reduction))
    if not 0 <= label_smoothing <= 1:
        raise ValueError(sentence(who, "label_smoothing must lie in [0, 1]", got=label_smoothing))
    scores, classes = logits.buffer, target.buffer
    shape, given = scores.shape, classes.shape
    if len(shape) < 2 or not shape[1] or scores.dtype.kind != "f":
        got = (shape, str(logits.dtype))
        rule = "logits must be floating and of shape (N, classes, ...), with a class at least"
        raise ValueError(sentence(who, rule, got=got))
    if classes.dtype.kind in "iu":
        if given != (shape[0], *shape[2:]):
            raise ValueError(sentence(who, f"target must have the shape {(shape[0], *shape[2:])}", got=given))
        check_classes("cross_entropy", "target", classes, shape[1])
        return apply(losses.cross_entropy, logits, target, smoothing=label_smoothing, reduction=reduction)
    if target.dtype.kind != "f" or given != shape:
        rule = "target must be integer class numbers, or probabilities in the shape of the logits"
        raise TypeError(sentence(who, rule, got=(given, str(target.dtype))))
    chances = widened(target)
    if label_smoothing:
        chances = (1 - label_smoothing) * chances + label_smoothing / shape[1]
    each = -(chances * widened(logits).log_softmax(axis=1)).sum(axis=1)
    total = each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()
    return rounded(total, logits, target)
