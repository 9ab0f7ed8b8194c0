"""Attention: MultiheadAttention, and the TransformerEncoderLayer around it."""

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from minima import init
from minima.autograd import Tensor, gelu, linear, relu
from minima.autograd.formulas import floating, rounded, widened
from minima.autograd.primitive import Array
from minima.autograd.tensor import TensorLike, as_tensor
from minima.checks import flag, integer, number
from minima.errors import sentence
from minima.nn.functional.attention import attended, visible
from minima.nn.layers import Dropout, Linear
from minima.nn.module import Module
from minima.nn.normalization import LayerNorm
from minima.nn.parameter import Parameter

__all__ = ["MultiheadAttention", "TransformerEncoderLayer"]


class MultiheadAttention(Module):
    """Each query gets a mean of the values, weighted by the match of query and key; for several heads in parallel.

        head_h = softmax(q_h k_h^T / sqrt(d) + mask) v_h,   y = concatenate(head_1, ...) W^T + b

    with ``q_h, k_h, v_h`` the parts, of ``d = embed_dim / num_heads`` features, of linear maps of query, key and value.

    Args:
        embed_dim: The number of features of queries and of the output, a multiple of ``num_heads``.
        num_heads: The number of heads.
        dropout: The probability that a weight of the means is set to zero in training.
        bias: Whether the linear maps have biases.
        kdim: The number of features of keys, ``embed_dim`` if it is ``None``.
        vdim: The number of features of values, ``embed_dim`` if it is ``None``.
        batch_first: Whether the batch is the first axis of the inputs and the output instead of the second.
        dtype: Floating-point dtype of the parameters.

    Attributes:
        in_proj_weight: The three maps together, of shape (3 * embed_dim, embed_dim); ``None`` if ``kdim`` or ``vdim``
            differ, and then there are ``q_proj_weight``, ``k_proj_weight`` and ``v_proj_weight`` of shape (embed_dim,
            features).
        in_proj_bias: Of shape (3 * embed_dim,), or ``None``.
        out_proj: The `Linear` at the end.

    Shapes: with ``T`` queries and ``S`` keys, query ``(T, N, embed_dim)``, key ``(S, N, kdim)``, value
    ``(S, N, vdim)``, with ``N`` first if ``batch_first``, or all three without ``N``; output as the query. The weights
    are ``(N, T, S)``, or ``(N, num_heads, T, S)``.

    The weights of the three maps are initialised with `init.xavier_uniform`, that of ``out_proj`` as in `Linear`, and
    all biases with zeros, as in PyTorch.

    Raises:
        TypeError: An argument has the wrong type, or a mask is neither boolean nor floating.
        ValueError: An argument is out of range, or shapes do not fit.

    Vaswani et al., "Attention is all you need" (2017), section 3.2.2. The same as in PyTorch, without ``add_bias_kv``
    and ``add_zero_attn``. Here ``is_causal`` needs no additional mask, and a query whose keys are all masked gets
    zeros, in PyTorch NaN.

    >>> from minima import init, nn
    >>> x = init.randn(4, 7, 16)
    >>> y, weights = nn.MultiheadAttention(16, 2, batch_first=True)(x, x, x)
    >>> y.shape, weights.shape
    ((4, 7, 16), (4, 7, 7))
    """

    in_proj_weight: Parameter | None
    in_proj_bias: Parameter | None

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        dropout: float = 0.0,
        bias: bool = True,
        kdim: int | None = None,
        vdim: int | None = None,
        batch_first: bool = False,
        dtype: Any = "float32",
    ) -> None:
        who = "MultiheadAttention"
        self.embed_dim = integer(who, "embed_dim", embed_dim, 1)
        self.num_heads = integer(who, "num_heads", num_heads, 1)
        if embed_dim % num_heads:
            raise ValueError(sentence(who, f"num_heads must divide embed_dim {embed_dim}", got=num_heads))
        self.dropout = number(who, "dropout", dropout, high=1)
        self.kdim = embed_dim if kdim is None else integer(who, "kdim", kdim, 1)
        self.vdim = embed_dim if vdim is None else integer(who, "vdim", vdim, 1)
        self.batch_first = flag(who, "batch_first", batch_first)
        if self.kdim == self.vdim == embed_dim:
            self.in_proj_weight = Parameter(init.xavier_uniform(3 * embed_dim, embed_dim, dtype=dtype))
        else:
            self.q_proj_weight = Parameter(init.xavier_uniform(embed_dim, embed_dim, dtype=dtype))
            self.k_proj_weight = Parameter(init.xavier_uniform(embed_dim, self.kdim, dtype=dtype))
            self.v_proj_weight = Parameter(init.xavier_uniform(embed_dim, self.vdim, dtype=dtype))
            self.in_proj_weight = None
        self.in_proj_bias = Parameter(init.zeros(3 * embed_dim, dtype=dtype)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias, dtype)
        if self.out_proj.bias is not None:
            self.out_proj.bias.data = np.zeros(embed_dim)

    def forward(
        self,
        query: TensorLike,
        key: TensorLike,
        value: TensorLike,
        key_padding_mask: TensorLike | None = None,
        need_weights: bool = True,
        attn_mask: TensorLike | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,
    ) -> tuple[Tensor, Tensor | None]:
        """The output, and the weights of the means or ``None``.

        Args:
            query: The queries.
            key: The keys.
            value: The values.
            key_padding_mask: Of shape (N, S), or (S,) without N. Boolean: true masks a key. Floating-point: added to
                the scores.
            need_weights: Whether to return the weights too.
            attn_mask: Of shape (T, S) or (N * num_heads, T, S), likewise.
            average_attn_weights: Whether the weights are averaged over the heads.
            is_causal: Whether a query sees only the keys up to its own position.
        """
        who = "MultiheadAttention"
        same = query is key and key is value
        q, k, v = (floating(each) for each in (query, key, value))
        single = len(q.shape) == 2
        if single:
            q, k, v = (each.unsqueeze(0) for each in (q, k, v))
        elif not self.batch_first and len(q.shape) == len(k.shape) == len(v.shape) == 3:
            q, k, v = (each.swapaxes(0, 1) for each in (q, k, v))
        features = self.embed_dim, self.kdim, self.vdim
        shapes = [each.shape for each in (q, k, v)]
        lengths = {shape[:2] for shape in shapes[1:]}
        if any(len(s) != 3 or s[2] != n or s[0] != shapes[0][0] for s, n in zip(shapes, features, strict=True)) or (
            len(lengths) > 1
        ):
            order = (
                "(N, T, {}), (N, S, {}) and (N, S, {})" if self.batch_first else "(T, N, {}), (S, N, {}), (S, N, {})"
            )
            rule = f"query, key and value must have the shapes {order.format(*features)}, or all without N"
            raise ValueError(sentence(who, rule, got=tuple(np.shape(each) for each in (query, key, value))))
        batch, targets, sources = shapes[0][0], shapes[0][1], shapes[1][1]
        q, k, v = (self._heads(each) for each in self._projected(q, k, v, same))
        masks = self._masks((batch, targets, sources), key_padding_mask, attn_mask, is_causal)
        scaled = widened(q) * (1 / math.sqrt(self.embed_dim // self.num_heads))
        mixed, kept = attended(scaled, widened(k), widened(v), *masks, self.dropout if self.training else 0.0)
        joined = mixed.swapaxes(1, 2).reshape(batch, targets, self.embed_dim)
        out = self.out_proj(rounded(joined, q, k, v))
        if single:
            out = out.squeeze(0)
        elif not self.batch_first:
            out = out.swapaxes(0, 1)
        if not need_weights:
            return out, None
        told = rounded(kept.mean(axis=1) if average_attn_weights else kept, q, k, v)
        return out, told.squeeze(0) if single else told

    def _masks(
        self, shape: tuple[int, int, int], key_padding_mask: Any, attn_mask: Any, is_causal: bool
    ) -> tuple[Array | None, Tensor | None]:
        """Where keys are seen, and what is added to the scores there; both broadcast to (N, num_heads, T, S)."""
        who, (batch, targets, sources) = "MultiheadAttention", shape
        padding, square, per_head = (batch, sources), (targets, sources), (batch * self.num_heads, targets, sources)
        allowed: Array | None = np.tri(*square, dtype=bool) if is_causal else None
        added: Tensor | None = None
        for name, mask, shapes, places in (
            ("key_padding_mask", key_padding_mask, (padding, *[(sources,)] * (batch == 1)), (batch, 1, 1, sources)),
            ("attn_mask", attn_mask, (square, per_head), (batch, self.num_heads, *square)),
        ):
            if mask is None:
                continue
            mask = as_tensor(mask)
            if mask.shape not in shapes:
                rule = f"{name} must have the shape {' or '.join(map(str, shapes))}"
                raise ValueError(sentence(who, rule, got=mask.shape))
            if mask.dtype != bool and mask.dtype.kind != "f":
                raise TypeError(sentence(who, f"{name} must be boolean or floating", got=str(mask.dtype)))
            if mask.shape == square and name == "attn_mask":
                places = square  # one for all heads
            if mask.dtype == bool:
                seen = ~mask.buffer.reshape(places)
            else:
                seen, finite = visible(mask.reshape(*places))
                added = finite if added is None else added + finite
            allowed = seen if allowed is None else allowed & seen
        return allowed, added

    def _projected(self, q: Tensor, k: Tensor, v: Tensor, same: bool) -> tuple[Tensor, Tensor, Tensor]:
        """The three linear maps; of one input, as one."""
        size, bias = self.embed_dim, self.in_proj_bias
        cuts = slice(None, size), slice(size, 2 * size), slice(2 * size, None)
        weight = self.in_proj_weight
        if weight is not None and same:
            whole = linear(q, weight, bias)
            return whole[..., cuts[0]], whole[..., cuts[1]], whole[..., cuts[2]]
        parts = (
            (self.q_proj_weight, self.k_proj_weight, self.v_proj_weight)
            if weight is None
            else (weight[cuts[0]], weight[cuts[1]], weight[cuts[2]])
        )
        biases = [None if bias is None else bias[cut] for cut in cuts]
        first, second, third = (linear(x, w, b) for x, w, b in zip((q, k, v), parts, biases, strict=True))
        return first, second, third

    def _heads(self, x: Tensor) -> Tensor:
        """(N, T, embed_dim) as (N, num_heads, T, d)."""
        size = self.embed_dim // self.num_heads
        return x.reshape(x.shape[0], x.shape[1], self.num_heads, size).swapaxes(1, 2)


class TransformerEncoderLayer(Module):
    """Self-attention, then two linear maps at every position, each with a residual connection.

        x <- norm1(x + attention(x)),   y = norm2(x + linear2(activation(linear1(x))))

    or, with ``norm_first``, ``x <- x + attention(norm1(x))`` and ``y = x + linear2(activation(linear1(norm2(x))))``.

    Args:
        d_model: The number of features of the input and the output, a multiple of ``nhead``.
        nhead: The number of heads.
        dim_feedforward: The number of features between the two linear maps.
        dropout: The probability of a zero in the weights of the attention, between the linear maps, and in both sums.
        activation: ``"relu"``, ``"gelu"``, or a function of a tensor.
        layer_norm_eps: The ``eps`` of both `LayerNorm`.
        batch_first: Whether the batch is the first axis instead of the second.
        norm_first: Whether each part normalises its input instead of the sum.
        bias: Whether the linear maps and the norms have biases.
        dtype: Floating-point dtype of the parameters.

    Shapes: ``(T, N, d_model)``, ``(N, T, d_model)`` if ``batch_first``, or ``(T, d_model)``, to the same.

    Raises:
        TypeError: An argument has the wrong type.
        ValueError: An argument is out of range, or shapes do not fit.

    Vaswani et al., "Attention is all you need" (2017), section 3.1; Xiong et al., "On layer normalization in the
    Transformer architecture" (2020) for ``norm_first``.

    >>> from minima import init, nn
    >>> nn.TransformerEncoderLayer(16, 2, batch_first=True)(init.randn(4, 7, 16)).shape
    (4, 7, 16)
    """

    def __init__(
        self,
        d_model: int,
        nhead: int,
        dim_feedforward: int = 2048,
        dropout: float = 0.1,
        activation: Literal["relu", "gelu"] | Callable[[Tensor], Tensor] = "relu",
        layer_norm_eps: float = 1e-5,
        batch_first: bool = False,
        norm_first: bool = False,
        bias: bool = True,
        dtype: Any = "float32",
    ) -> None:
        named: dict[Any, Callable[[Tensor], Tensor]] = {"relu": relu, "gelu": gelu}
        if not callable(activation) and activation not in named:  # pyright: ignore[reportUnnecessaryContains]
            rule = "activation must be 'relu', 'gelu' or a function"
            raise ValueError(sentence("TransformerEncoderLayer", rule, got=activation))
        self.self_attn = MultiheadAttention(d_model, nhead, dropout, bias, batch_first=batch_first, dtype=dtype)
        self.linear1 = Linear(d_model, dim_feedforward, bias, dtype)
        self.dropout = Dropout(dropout)
        self.linear2 = Linear(dim_feedforward, d_model, bias, dtype)
        self.norm_first = flag("TransformerEncoderLayer", "norm_first", norm_first)
        self.norm1 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.norm2 = LayerNorm(d_model, layer_norm_eps, bias=bias, dtype=dtype)
        self.dropout1 = Dropout(dropout)
        self.dropout2 = Dropout(dropout)
        self.activation = activation if callable(activation) else named[activation]

    def forward(
        self,
        src: TensorLike,
        src_mask: TensorLike | None = None,
        src_key_padding_mask: TensorLike | None = None,
        is_causal: bool = False,
    ) -> Tensor:
        """The output; the masks and ``is_causal`` are those of `MultiheadAttention`."""

        def attended(x: Tensor) -> Tensor:
            seen, _ = self.self_attn(x, x, x, src_key_padding_mask, False, src_mask, is_causal=is_causal)
            return self.dropout1(seen)

        def fed(x: Tensor) -> Tensor:
            return self.dropout2(self.linear2(self.dropout(self.activation(self.linear1(x)))))

        x = floating(src)
        if self.norm_first:
            x = x + attended(self.norm1(x))
            return x + fed(self.norm2(x))
        x = self.norm1(x + attended(x))
        return self.norm2(x + fed(x))
