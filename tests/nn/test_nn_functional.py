"""nn.functional and nn.init: the functions of networks and the initialisers by PyTorch's names, against PyTorch."""

import math

import numpy as np
import pytest

from minima import Tensor, manual_seed, nn

torch = pytest.importorskip("torch")
F = torch.nn.functional
RNG = np.random.default_rng(0)
SHAPES = [((3, 4), (5, 4), (5, 2)), ((2, 3, 4), (2, 3, 4), (2, 3, 4)), ((2, 1, 3, 4), (2, 3, 6, 4), (2, 3, 6, 5))]
SHAPES += [((0, 4), (5, 4), (5, 2)), ((3, 4), (1, 4), (1, 2))]


def masks(rows, columns):
    """Arguments, by their names; the last mask leaves a query without keys."""
    seen = RNG.random((rows, columns)) < 0.7
    seen[:, :1] = True
    none = seen.copy()
    none[:1] = False
    added = np.where(none, RNG.standard_normal((rows, columns)), -np.inf)
    return {"plain": {}, "causal": {"is_causal": True}, "seen": {"attn_mask": seen}, "none": {"attn_mask": none},
            "added": {"attn_mask": added}, "scaled": {"scale": 0.25}}  # fmt: skip


@pytest.mark.parametrize("how", ["plain", "causal", "seen", "none", "added", "scaled"])
@pytest.mark.parametrize("shapes", SHAPES)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_attention_and_its_gradients_are_those_of_pytorch(shapes, how, dtype):
    arrays = [RNG.standard_normal(shape).astype(dtype) for shape in shapes]
    words = masks(shapes[0][-2], shapes[1][-2])[how]
    if isinstance(words.get("attn_mask"), np.ndarray) and words["attn_mask"].dtype != bool:
        words["attn_mask"] = words["attn_mask"].astype(dtype)
    ours = [Tensor(a, dtype=dtype, requires_grad=True) for a in arrays]
    theirs = [torch.tensor(a, requires_grad=True) for a in arrays]
    mine = {k: Tensor(v, dtype=v.dtype) if isinstance(v, np.ndarray) else v for k, v in words.items()}
    other = {k: torch.tensor(v) if isinstance(v, np.ndarray) else v for k, v in words.items()}
    result, expected = (
        nn.functional.scaled_dot_product_attention(*ours, **mine),
        F.scaled_dot_product_attention(*theirs, **other),
    )
    tolerance = {"rtol": 2e-5, "atol": 2e-6} if dtype == "float32" else {"rtol": 1e-10, "atol": 1e-13}
    assert result.shape == tuple(expected.shape) and result.dtype == dtype
    np.testing.assert_allclose(result.detach().numpy(), expected.detach().numpy(), **tolerance)
    cotangent = RNG.standard_normal(result.shape).astype(dtype)
    result.backward(Tensor(cotangent, dtype=dtype))
    expected.backward(torch.tensor(cotangent))
    for x, y in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), **tolerance)


def test_attention_drops_weights_and_scales_the_others():
    manual_seed(0)
    q, v = Tensor(np.zeros((400, 1))), Tensor(np.eye(50))
    weights = nn.functional.scaled_dot_product_attention(q, np.zeros((50, 1)), v, dropout_p=0.25).numpy()
    kept = weights > 0
    np.testing.assert_allclose(weights[kept], 1 / 50 / 0.75, rtol=1e-6)
    assert abs(kept.mean() - 0.75) < 4 * math.sqrt(0.25 * 0.75 / kept.size)


def test_attention_of_halves_is_rounded_once():
    arrays = [RNG.standard_normal((6, 4)).astype("float16") for _ in range(3)]
    halves = nn.functional.scaled_dot_product_attention(*(Tensor(a, dtype="float16") for a in arrays))
    exact = nn.functional.scaled_dot_product_attention(*(Tensor(a, dtype="float64") for a in arrays))
    assert halves.dtype == "float16"
    np.testing.assert_allclose(halves.numpy(), exact.numpy(), rtol=2**-10, atol=2**-21)


LOGITS, TARGET = RNG.standard_normal((4, 3)).astype("float32"), np.array([0, 2, 1, 1])
CALLS = {
    "cross_entropy": lambda f, x, t: f.cross_entropy(x, t, reduction="sum", label_smoothing=0.1),
    "mse_loss": lambda f, x, t: f.mse_loss(x, x * 0.5),
    "l1_loss": lambda f, x, t: f.l1_loss(x, x * 0.5, reduction="sum"),
    "binary_cross_entropy_with_logits": lambda f, x, t: f.binary_cross_entropy_with_logits(x, (x * 0 + 0.25)),
    "relu": lambda f, x, t: f.relu(x),
    "gelu": lambda f, x, t: f.gelu(x, approximate="tanh"),
    "silu": lambda f, x, t: f.silu(x),
    "elu": lambda f, x, t: f.elu(x, alpha=0.5),
    "leaky_relu": lambda f, x, t: f.leaky_relu(x, negative_slope=0.2),
    "softplus": lambda f, x, t: f.softplus(x, beta=2, threshold=5),
    "softmax": lambda f, x, t: f.softmax(x, dim=-1),
    "log_softmax": lambda f, x, t: f.log_softmax(x, dim=1),
    "linear": lambda f, x, t: f.linear(x, x),
    "one_hot": lambda f, x, t: f.one_hot(t, num_classes=4),
    "dropout": lambda f, x, t: f.dropout(x, p=0.5, training=False),
    "sigmoid": lambda f, x, t: f.sigmoid(x),
    "tanh": lambda f, x, t: f.tanh(x),
}


@pytest.mark.parametrize("name", CALLS)
def test_the_same_call_gives_the_same_values(name):
    ours = CALLS[name](nn.functional, Tensor(LOGITS), Tensor(TARGET))
    theirs = CALLS[name](F, torch.tensor(LOGITS), torch.tensor(TARGET))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5, atol=1e-6)


def test_every_function_is_tried():
    assert {*CALLS, "scaled_dot_product_attention"} == {*nn.functional.__all__}


def test_dropout_in_training_is_the_layer():
    manual_seed(1)
    one = nn.functional.dropout(LOGITS, 0.3)
    manual_seed(1)
    assert one.tolist() == nn.Dropout(0.3)(LOGITS).tolist() and (one == 0).any().item()


DRAWS = {
    "uniform_": ((-2, 3), 0.5, 5 / math.sqrt(12)),
    "normal_": ((1, 0.5), 1.0, 0.5),
    "xavier_uniform_": ((2.0,), 0.0, 2 * math.sqrt(2 / 500)),
    "xavier_normal_": ((), 0.0, math.sqrt(2 / 500)),
    "kaiming_uniform_": ((math.sqrt(5),), 0.0, 1 / math.sqrt(3 * 300)),
    "kaiming_normal_": ((0, "fan_out", "relu"), 0.0, math.sqrt(2 / 200)),
}


@pytest.mark.parametrize("name", DRAWS)
def test_draws_have_the_moments_of_those_of_pytorch(name):
    arguments, mean, std = DRAWS[name]
    manual_seed(0)
    weight = nn.Parameter(np.zeros((200, 300)))
    assert getattr(nn.init, name)(weight, *arguments) is weight and weight.requires_grad
    theirs = getattr(torch.nn.init, name)(torch.empty(200, 300), *arguments)
    for values in (weight.detach().numpy(), theirs.numpy()):
        assert abs(values.mean() - mean) < 5 * std / math.sqrt(values.size)
        assert abs(values.std() / std - 1) < 0.02


def test_constants_are_written_into_the_memory_of_the_tensor():
    layer = nn.Linear(3, 2, dtype="float64")
    memory = layer.weight.detach().numpy()
    for name, arguments in (("zeros_", ()), ("ones_", ()), ("constant_", (0.25,)), ("eye_", ())):
        getattr(nn.init, name)(layer.weight, *arguments)
        np.testing.assert_array_equal(memory, getattr(torch.nn.init, name)(torch.empty(2, 3), *arguments).numpy())


Q = np.zeros((3, 4), "float32")
MISTAKES = [
    (lambda: nn.functional.scaled_dot_product_attention(Q, Q[:, :2], Q), ValueError,
     "scaled_dot_product_attention: query, key and value must have the shapes (..., L, d), (..., S, d) and "
     "(..., S, e); got [(3, 4), (3, 2), (3, 4)]"),
    (lambda: nn.functional.scaled_dot_product_attention(Q, Q, Q, Q[:, :3] > 0, is_causal=True), ValueError,
     "scaled_dot_product_attention: attn_mask and is_causal exclude each other; give one"),
    (lambda: nn.functional.scaled_dot_product_attention(Q, Q, Q, dropout_p=2), ValueError,
     "scaled_dot_product_attention: dropout_p must be a number in [0, 1]; got 2"),
    (lambda: nn.init.eye_(Tensor([1.0])), ValueError, "eye_: the tensor must be a matrix; got (1,)"),
    (lambda: nn.init.zeros_((2, 3)), TypeError,
     "zeros_: the argument must be a Tensor; got (2, 3); minima.init makes tensors of shapes"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:60] for m in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(mistake, kind, message):
    with pytest.raises(kind) as caught:
        mistake()
    assert str(caught.value) == message
