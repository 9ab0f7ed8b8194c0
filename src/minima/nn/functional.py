"""The functions of networks by PyTorch's names: those of ``minima.autograd``, and what draws or compares besides."""

import math

import numpy as np

from minima.autograd import (
    Tensor,
    elu,
    gelu,
    leaky_relu,
    linear,
    log_softmax,
    one_hot,
    relu,
    sigmoid,
    silu,
    softmax,
    softplus,
    tanh,
)
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations.reductions import masked_softmax
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import number
from minima.errors import sentence
from minima.nn.layers import Dropout
from minima.nn.losses import BCEWithLogitsLoss, CrossEntropyLoss, L1Loss, MSELoss, Reduction

__all__ = [
    "binary_cross_entropy_with_logits",
    "cross_entropy",
    "dropout",
    "elu",
    "gelu",
    "l1_loss",
    "leaky_relu",
    "linear",
    "log_softmax",
    "mse_loss",
    "one_hot",
    "relu",
    "scaled_dot_product_attention",
    "sigmoid",
    "silu",
    "softmax",
    "softplus",
    "tanh",
]


def dropout(x: TensorLike, p: float = 0.5, training: bool = True) -> Tensor:
    """What `minima.nn.Dropout` does in training, or nothing.

    >>> from minima import init
    >>> dropout(init.ones(2), training=False).tolist()
    [1.0, 1.0]
    """
    layer = Dropout(p)
    return layer(x) if training else layer.eval()(x)


def cross_entropy(
    input: TensorLike,
    target: TensorLike,
    weight: TensorLike | None = None,
    *,
    ignore_index: int | None = None,
    reduction: Reduction = "mean",
    label_smoothing: float = 0.0,
) -> Tensor:
    """The loss of `minima.nn.CrossEntropyLoss`, of logits and class numbers or probabilities."""
    return CrossEntropyLoss(weight, ignore_index, reduction, label_smoothing)(input, target)


def mse_loss(input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """The loss of `minima.nn.MSELoss`: squared differences."""
    return MSELoss(reduction)(input, target)


def l1_loss(input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """The loss of `minima.nn.L1Loss`: absolute differences."""
    return L1Loss(reduction)(input, target)


def binary_cross_entropy_with_logits(input: TensorLike, target: TensorLike, *, reduction: Reduction = "mean") -> Tensor:
    """The loss of `minima.nn.BCEWithLogitsLoss`, of logits and probabilities."""
    return BCEWithLogitsLoss(reduction=reduction)(input, target)


def scaled_dot_product_attention(
    query: TensorLike,
    key: TensorLike,
    value: TensorLike,
    attn_mask: TensorLike | None = None,
    dropout_p: float = 0.0,
    is_causal: bool = False,
    *,
    scale: float | None = None,
) -> Tensor:
    """``softmax(query @ key.mT * scale + mask) @ value``: for each query a mean of values, weighted by their keys.

    Args:
        query: Shape (..., L, d), floating.
        key: Shape (..., S, d).
        value: Shape (..., S, e).
        attn_mask: Of a shape that broadcasts to (..., L, S). Booleans say which keys a query may look at; numbers are
            added to the scores.
        dropout_p: The probability in [0, 1] with which a weight is set to 0, and the others are scaled up. It is
            dropped whenever this is not 0: pass 0 in evaluation.
        is_causal: Whether query i looks at the keys up to i alone; then without ``attn_mask``.
        scale: ``1 / sqrt(d)`` by default.

    A query that may look at no key gets zeros, as in PyTorch. The leading axes broadcast.

    Raises:
        TypeError: A number is none.
        ValueError: Shapes do not fit, or both ``attn_mask`` and ``is_causal`` are given.

    Vaswani et al., "Attention is all you need" (2017), section 3.2.1.

    >>> x = Tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> scaled_dot_product_attention(x, x, x, is_causal=True).numpy().round(3).tolist()[0]
    [1.0, 0.0]
    """
    who = "scaled_dot_product_attention"
    given = [floating(x) for x in (query, key, value)]
    q, k, v = map(widened, given)
    if min(q.ndim, k.ndim, v.ndim) < 2 or q.shape[-1] != k.shape[-1] or k.shape[-2] != v.shape[-2]:
        rule = "query, key and value must have the shapes (..., L, d), (..., S, d) and (..., S, e)"
        raise ValueError(sentence(who, rule, got=[x.shape for x in given]))
    if is_causal and attn_mask is not None:
        raise ValueError(sentence(who, "attn_mask and is_causal exclude each other", hint="give one"))
    dropout_p = number(who, "dropout_p", dropout_p, 0, 1)
    factor = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else number(who, "scale", scale, -math.inf)
    scores = (q * factor) @ k.mT
    allowed = None
    if is_causal:
        allowed = Tensor.from_numpy(np.tri(q.shape[-2], k.shape[-2], dtype=bool))
    elif attn_mask is not None:
        mask = as_tensor(attn_mask)
        if mask.dtype == bool:
            allowed = mask
        else:
            scores = scores + widened(mask)
            allowed = mask > -math.inf
    weights = scores.softmax(-1) if allowed is None else apply(masked_softmax, scores, allowed)
    if dropout_p:
        weights = dropout(weights, dropout_p)
    return rounded(weights @ v, *given)
