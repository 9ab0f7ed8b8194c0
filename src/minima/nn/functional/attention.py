"""Attention: scaled_dot_product_attention, and what the layer shares with it."""

import math

import numpy as np

from minima.autograd import Tensor
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.operations import elementwise
from minima.autograd.operations.reductions import masked_softmax
from minima.autograd.primitive import Array
from minima.autograd.tensor import TensorLike, apply, as_tensor
from minima.checks import flag, number
from minima.errors import sentence
from minima.nn.functional.dropping import dropped

__all__ = ["attended", "scaled_dot_product_attention", "visible"]


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
    try:
        np.broadcast_shapes(q.shape[:-2], k.shape[:-2], v.shape[:-2])
    except ValueError:
        rule = "the leading axes of query, key and value must broadcast"
        raise ValueError(sentence(who, rule, got=[x.shape for x in given])) from None
    if flag(who, "is_causal", is_causal) and attn_mask is not None:
        raise ValueError(sentence(who, "attn_mask and is_causal exclude each other", hint="give one"))
    dropout_p = number(who, "dropout_p", dropout_p, 0, 1)
    factor = 1 / math.sqrt(max(q.shape[-1], 1)) if scale is None else number(who, "scale", scale, -math.inf)
    allowed: Array | None = np.tri(q.shape[-2], k.shape[-2], dtype=bool) if is_causal else None
    added = None
    if attn_mask is not None:
        mask, whole = as_tensor(attn_mask), (q.shape[-2], k.shape[-2])
        if mask.dtype.kind not in "bf":
            raise TypeError(sentence(who, "attn_mask must be boolean or floating", got=str(mask.dtype)))
        if any(size not in (1, full) for size, full in zip(mask.shape[-2:][::-1], whole[::-1])):  # noqa: B905
            raise ValueError(
                sentence(who, f"attn_mask must broadcast to (..., {whole[0]}, {whole[1]})", got=mask.shape)
            )
        if mask.dtype == bool:
            allowed = mask.buffer
        else:
            allowed, added = visible(widened(mask))
    return rounded(attended(q * factor, k, v, allowed, added, dropout_p)[0], *given)


def attended(
    q: Tensor, k: Tensor, v: Tensor, allowed: Array | None, added: Tensor | None, dropout_p: float
) -> tuple[Tensor, Tensor]:
    """The means of the values, and their weights: the softmax of ``q @ k.mT + added`` where it is allowed."""
    scores = q @ k.mT
    if added is not None:
        scores = scores + added
    weights = scores.softmax(-1) if allowed is None else apply(masked_softmax, scores, allowed)
    kept = dropped(weights, dropout_p, weights.shape)
    return kept @ v, kept


def visible(mask: Tensor) -> tuple[Array, Tensor]:
    """Where a mask of numbers is not minus infinity, and the mask with zeros in the other places."""
    seen = mask.buffer != -math.inf
    return seen, apply(elementwise.where, seen, mask, 0.0)
