"""MultiheadAttention and TransformerEncoderLayer: against PyTorch, their masks, how they start, and the sentences."""

import math
import re

import numpy as np
import pytest
from beside_torch import close, close_states, pair

from minima import init, nn
from minima.autograd import Tensor
from minima.random import manual_seed

DRAWS = np.random.default_rng(0)
HIDDEN = np.triu(np.ones((5, 5), dtype=bool), 1)
PADDING = np.array([[False] * 5, [False, False, True, True, False], [True] + [False] * 4])
BIAS = np.where(HIDDEN, -np.inf, DRAWS.normal(size=(5, 5)))
HEADS = DRAWS.normal(size=(6, 5, 5))

# arguments, masks, whether one input serves for all three
CASES = [
    ({}, {}, True),
    ({"bias": False}, {}, True),
    ({"batch_first": True}, {"attn_mask": HIDDEN}, True),
    ({"batch_first": True}, {"attn_mask": HIDDEN}, False),
    ({}, {"attn_mask": BIAS, "average_attn_weights": False}, False),
    ({"batch_first": True}, {"attn_mask": HEADS}, False),
    ({"batch_first": True}, {"key_padding_mask": PADDING}, True),
    ({}, {"key_padding_mask": PADDING, "attn_mask": np.eye(5, dtype=bool)}, True),
    ({"kdim": 3, "vdim": 7, "batch_first": True}, {"need_weights": False}, False),
    ({"kdim": 3}, {}, False),
]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("keywords", "masks", "one"), CASES)
def test_attention_is_that_of_torch(keywords, masks, one, training):
    torch = pytest.importorskip("torch")
    layer, other = pair(
        lambda: nn.MultiheadAttention(8, 2, **keywords), ("MultiheadAttention", (8, 2), keywords), "float64", training
    )
    draws = np.random.default_rng(1)
    sizes = 8, keywords.get("kdim", 8), keywords.get("vdim", 8)
    arrays = [draws.normal(size=(3, 5, size) if keywords.get("batch_first") else (5, 3, size)) for size in sizes]
    mine = [Tensor(each, dtype="float64", requires_grad=True) for each in arrays][: 1 if one else 3]
    its = [torch.from_numpy(each).requires_grad_() for each in arrays][: 1 if one else 3]
    theirs = {name: torch.from_numpy(m) if isinstance(m, np.ndarray) else m for name, m in masks.items()}
    ours = {name: Tensor(m, dtype=m.dtype) if isinstance(m, np.ndarray) else m for name, m in masks.items()}
    y, weights = layer(*(mine * 3 if one else mine), **ours)
    z, expected = other(*(its * 3 if one else its), **theirs)
    close(y, z, 1e-10)
    assert (weights is None) == (expected is None)
    if weights is not None:
        close(weights, expected, 1e-10)
    g = draws.normal(size=y.shape)
    y.backward(g), z.backward(torch.from_numpy(g))
    for a, b in zip(mine, its, strict=True):
        close(a.grad, b.grad, 1e-10)
    close_states(layer, other, 1e-10)


def test_a_sample_without_a_batch_is_a_batch_of_one():
    layer, x = nn.MultiheadAttention(8, 2), init.randn(5, 8)
    (y, weights), (z, expected) = layer(x, x, x), layer(*[x.unsqueeze(1)] * 3)
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy()[:, 0], rtol=1e-6)
    np.testing.assert_allclose(weights.detach().numpy(), expected.detach().numpy()[0], rtol=1e-6)


def test_causal_attention_hides_what_comes_later():
    layer, x = nn.MultiheadAttention(8, 2, batch_first=True), init.randn(3, 5, 8)
    y, weights = layer(x, x, x, is_causal=True)
    expected, _ = layer(x, x, x, attn_mask=HIDDEN)
    np.testing.assert_array_equal(y.detach().numpy(), expected.detach().numpy())
    assert not weights.detach().numpy()[:, HIDDEN].any()


@pytest.mark.parametrize("hidden", [True, -np.inf])
def test_a_query_that_may_see_nothing_gets_the_bias_alone_and_no_gradient(hidden):
    layer = nn.MultiheadAttention(8, 2, batch_first=True)
    x = Tensor(np.random.default_rng(0).normal(size=(1, 5, 8)), requires_grad=True)
    y, weights = layer(x, x, x, attn_mask=np.full((5, 5), hidden))
    y.sum().backward()
    assert not weights.detach().numpy().any() and not x.grad.numpy().any()
    np.testing.assert_array_equal(y.detach().numpy(), np.zeros((1, 5, 8)))


def test_dropout_of_weights_keeps_their_expectation():
    manual_seed(0)
    layer, x = nn.MultiheadAttention(8, 2, dropout=0.5, batch_first=True), init.zeros(20, 50, 8)
    _, weights = layer(x, x, x, average_attn_weights=False)
    values = weights.detach().numpy()
    assert abs((values == 0).mean() - 0.5) < 0.02
    np.testing.assert_allclose(values[values != 0], 2 / 50, rtol=1e-5)


@pytest.mark.parametrize(
    "keywords",
    [{}, {"norm_first": True, "batch_first": True}, {"activation": "gelu", "bias": False}, {"layer_norm_eps": 0.1}],
)
def test_encoder_layers_are_those_of_torch(keywords):
    torch = pytest.importorskip("torch")
    arguments = (8, 2, 12, 0.0)
    make = lambda: nn.TransformerEncoderLayer(*arguments, **keywords)  # noqa: E731
    layer, other = pair(make, ("TransformerEncoderLayer", arguments, keywords), "float64")
    x = np.random.default_rng(1).normal(size=(3, 5, 8))
    size = 5 if keywords.get("batch_first") else 3
    for mask in (None, HIDDEN[:size, :size]):
        ours, theirs = Tensor(x, dtype="float64", requires_grad=True), torch.from_numpy(x).requires_grad_()
        y, z = layer(ours, mask), other(theirs, None if mask is None else torch.from_numpy(mask))
        close(y, z, 1e-10)
        g = np.random.default_rng(2).normal(size=y.shape)
        y.backward(g), z.backward(torch.from_numpy(g))
        close(ours.grad, theirs.grad, 1e-10)
    close_states(layer, other, 1e-10)


def test_attention_starts_as_in_torch():
    torch = pytest.importorskip("torch")
    manual_seed(0), torch.manual_seed(0)
    for layer in (nn.MultiheadAttention(64, 4), torch.nn.MultiheadAttention(64, 4)):
        state = {name: value.numpy() for name, value in layer.state_dict().items()}
        assert not state["in_proj_bias"].any() and not state["out_proj.bias"].any()
        for name, bound in (("in_proj_weight", math.sqrt(6 / 256)), ("out_proj.weight", 1 / 8)):
            values = state[name] / bound
            assert 0.99 < np.abs(values).max() <= 1 + 1e-6 and abs(values.std() * math.sqrt(3) - 1) < 0.03


x = init.ones(3, 5, 8)
ERRORS = [
    (lambda: nn.MultiheadAttention(8, 3), ValueError, "MultiheadAttention: num_heads must divide embed_dim 8; got 3"),
    (
        lambda: nn.MultiheadAttention(8, 2)(x, x, x[..., :4]),
        ValueError,
        "MultiheadAttention: query, key and value must have the shapes (T, N, 8), (S, N, 8), (S, N, 8), or all "
        "without N; got ((3, 5, 8), (3, 5, 8), (3, 5, 4))",
    ),
    (
        lambda: nn.MultiheadAttention(8, 2)(x, x, x, attn_mask=np.ones((2, 2), dtype=bool)),
        ValueError,
        "MultiheadAttention: attn_mask must have the shape (3, 3) or (10, 3, 3); got (2, 2)",
    ),
    (
        lambda: nn.MultiheadAttention(8, 2)(x, x, x, key_padding_mask=np.ones((5, 3), dtype=int)),
        TypeError,
        "MultiheadAttention: key_padding_mask must be boolean or floating; got 'int64'",
    ),
    (
        lambda: nn.TransformerEncoderLayer(8, 2, activation="swish"),
        ValueError,
        "TransformerEncoderLayer: activation must be 'relu', 'gelu' or a function; got 'swish'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
