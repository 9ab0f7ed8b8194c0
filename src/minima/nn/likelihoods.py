"""Losses of probabilities and their logarithms: NLLLoss, BCELoss, KLDivLoss."""

from minima.autograd import Tensor
from minima.autograd.tensor import TensorLike
from minima.checks import flag, integer, one_of
from minima.nn.functional.likelihoods import DivergenceReduction, checked_weight, divergence, likelihood
from minima.nn.functional.losses import Reduction, checked_reduction, crossed
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
        checked = checked_weight("NLLLoss", weight)
        self.register_buffer("weight", None if checked is None else Tensor(checked))
        self.ignore_index = None if ignore_index is None else integer("NLLLoss", "ignore_index", ignore_index, None)
        self.reduction: Reduction = checked_reduction("NLLLoss", reduction)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the log-probabilities ``input``."""
        return likelihood("NLLLoss", input, target, self.weight, self.ignore_index, self.reduction)


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
        return crossed("BCELoss", input, target, self.weight, self.reduction)


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

    def __init__(self, reduction: DivergenceReduction = "mean", log_target: bool = False) -> None:
        self.reduction: DivergenceReduction = one_of(
            "KLDivLoss", "reduction", reduction, ("mean", "sum", "none", "batchmean")
        )
        self.log_target = flag("KLDivLoss", "log_target", log_target)

    def forward(self, input: TensorLike, target: TensorLike) -> Tensor:
        """The loss of the log-probabilities ``input``."""
        return divergence("KLDivLoss", input, target, self.reduction, self.log_target)
