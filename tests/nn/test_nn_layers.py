"""Layers, activations and normalisation: against PyTorch, their modes, how they start, and the sentences."""

import math
import re

import numpy as np
import pytest
from beside_torch import case, compare, name_of

import minima as mi
from minima import nn
from minima.autograd import Tensor
from minima.random import manual_seed

# our layer, PyTorch's by name and arguments, shape of the input
LAYERS = [
    (lambda: nn.Linear(4, 3), ("Linear", (4, 3), {}), (5, 4)),
    (lambda: nn.Linear(4, 3, bias=False), ("Linear", (4, 3), {"bias": False}), (5, 4)),
    (lambda: nn.Linear(4, 1), ("Linear", (4, 1), {}), (4,)),
    (lambda: nn.Linear(4, 3), ("Linear", (4, 3), {}), (2, 3, 5, 4)),
    (lambda: nn.Linear(4, 3), ("Linear", (4, 3), {}), (0, 4)),
    (lambda: nn.LayerNorm(4), ("LayerNorm", (4,), {}), (5, 4)),
    (lambda: nn.LayerNorm((3, 4), eps=0.1), ("LayerNorm", ((3, 4),), {"eps": 0.1}), (2, 5, 3, 4)),
    (lambda: nn.LayerNorm(4, bias=False), ("LayerNorm", (4,), {"bias": False}), (2, 5, 4)),
    (
        lambda: nn.LayerNorm([4], elementwise_affine=False),
        ("LayerNorm", ([4],), {"elementwise_affine": False}),
        (5, 4),
    ),
    (lambda: nn.LayerNorm(1, eps=0.1), ("LayerNorm", (1,), {"eps": 0.1}), (5, 1)),
    (lambda: nn.BatchNorm1d(3), ("BatchNorm1d", (3,), {}), (6, 3)),
    (lambda: nn.BatchNorm1d(3), ("BatchNorm1d", (3,), {}), (4, 3, 5)),
    (lambda: nn.BatchNorm1d(3), ("BatchNorm1d", (3,), {}), (1, 3, 2)),
    (
        lambda: nn.BatchNorm1d(3, eps=0.01, momentum=0.7, affine=False),
        ("BatchNorm1d", (3,), {"eps": 0.01, "momentum": 0.7, "affine": False}),
        (6, 3),
    ),
    (lambda: nn.BatchNorm1d(3, momentum=None), ("BatchNorm1d", (3,), {"momentum": None}), (6, 3)),
    (
        lambda: nn.BatchNorm1d(3, track_running_stats=False),
        ("BatchNorm1d", (3,), {"track_running_stats": False}),
        (4, 3, 5),
    ),
    case("BatchNorm2d", 3, shape=(4, 3, 5, 2)),
    case("BatchNorm2d", 3, eps=0.01, momentum=None, affine=False, shape=(1, 3, 5, 2)),
    case("BatchNorm2d", 3, track_running_stats=False, shape=(4, 3, 5, 2)),
    case("GroupNorm", 2, 6, shape=(4, 6, 5, 2)),
    case("GroupNorm", 3, 6, eps=0.1, affine=False, shape=(4, 6)),
    case("GroupNorm", 4, 4, shape=(2, 4, 7)),
    case("RMSNorm", 4, shape=(5, 4)),
    case("RMSNorm", (3, 4), eps=0.1, shape=(2, 5, 3, 4)),
    case("RMSNorm", [4], elementwise_affine=False, shape=(5, 4)),
    case("SiLU", shape=(5, 4)),
    case("LeakyReLU", shape=(5, 4)),
    case("LeakyReLU", negative_slope=-0.3, shape=(5, 4)),
    case("Softplus", shape=(5, 4)),
    case("Softplus", beta=2.0, threshold=1.0, shape=(5, 4)),
    case("Dropout2d", 0.0, shape=(2, 3, 4, 4)),
    (lambda: nn.Flatten(), ("Flatten", (), {}), (2, 3, 4)),
    (lambda: nn.Flatten(0, 1), ("Flatten", (0, 1), {}), (2, 3, 4)),
    (lambda: nn.Flatten(-2), ("Flatten", (-2,), {}), (2, 3, 4, 0)),
    (lambda: nn.Identity(), ("Identity", (), {}), (2, 3)),
    (lambda: nn.ReLU(), ("ReLU", (), {}), (5, 4)),
    (lambda: nn.GELU(), ("GELU", (), {}), (5, 4)),
    case("GELU", approximate="tanh", shape=(5, 4)),
    (lambda: nn.Tanh(), ("Tanh", (), {}), (5, 4)),
    (lambda: nn.Sigmoid(), ("Sigmoid", (), {}), (5, 4)),
    (lambda: nn.Softmax(), ("Softmax", (-1,), {}), (5, 4)),
    (lambda: nn.Softmax(1), ("Softmax", (1,), {}), (5, 3, 4)),
    (lambda: nn.LogSoftmax(axis=0), ("LogSoftmax", (0,), {}), (5, 4)),
]


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 2e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(("make", "theirs", "shape"), LAYERS, ids=map(name_of, LAYERS))
def test_values_gradients_and_buffers_are_those_of_torch(make, theirs, shape, training, dtype, tolerance):
    compare(make, theirs, shape, training, dtype, tolerance)


@pytest.mark.parametrize("padding", [None, 1, -1])
def test_embedding_values_and_gradients_are_those_of_torch(padding):
    torch = pytest.importorskip("torch")
    ids = np.array([[0, 1, 4], [4, 4, 2]])
    layer, other = nn.Embedding(5, 3, padding_idx=padding), torch.nn.Embedding(5, 3, padding_idx=padding)
    layer.weight = nn.Parameter(np.random.default_rng(0).normal(size=(5, 3)))  # the padding row too
    other.load_state_dict({"weight": torch.from_numpy(layer.state_dict()["weight"].numpy())})
    g = np.random.default_rng(1).normal(size=(2, 3, 3)).astype("float32")
    y, z = layer(ids), other(torch.from_numpy(ids))
    np.testing.assert_array_equal(y.detach().numpy(), z.detach().numpy())
    y.backward(Tensor(g))
    z.backward(torch.from_numpy(g))
    np.testing.assert_allclose(layer.weight.grad.numpy(), other.weight.grad.numpy(), rtol=1e-6)
    assert layer.padding_idx == other.padding_idx and repr(layer) == repr(other)
    for other_ids in (Tensor(ids), ids.astype("uint8"), ids.tolist(), ids[:0]):
        shape = np.shape(other_ids.numpy() if isinstance(other_ids, Tensor) else other_ids)
        assert layer(other_ids).shape == (*shape, 3)


def test_layers_take_arrays_as_they_take_tensors():
    x = np.ones((4, 3), dtype="float32")
    for layer in (nn.Linear(3, 2), nn.LayerNorm(3), nn.BatchNorm1d(3), nn.Flatten(), nn.ReLU(), nn.Dropout(0.0)):
        np.testing.assert_array_equal(layer(x).detach().numpy(), layer(Tensor(x)).detach().numpy())


# float16 ------------------------------------------------------------------------------------------------------------


HALVES = [
    (nn.LayerNorm, (4,), [[300.0, -300.0, 200.0, -200.0]]),
    (nn.LayerNorm, (2000,), np.random.default_rng(0).normal(300, 100, (3, 2000))),
    (nn.LayerNorm, (3,), np.random.default_rng(0).normal(0, 1e-3, (5000, 3))),
    (nn.BatchNorm1d, (2,), np.random.default_rng(0).normal(-300, 900, (5000, 2))),
    (nn.BatchNorm1d, (2,), np.random.default_rng(0).normal(20, 9, (50, 2, 200))),
    (nn.BatchNorm2d, (2,), np.random.default_rng(0).normal(20, 9, (50, 2, 20, 10))),
    (nn.GroupNorm, (2, 4), np.random.default_rng(0).normal(300, 100, (3, 4, 500))),
    (nn.RMSNorm, (2000, 1e-3), np.random.default_rng(0).normal(300, 100, (3, 2000))),
    (nn.Linear, (3000, 2), np.random.default_rng(0).normal(0, 9, (5000, 3000))[:40]),
    (nn.Linear, (2, 3), np.random.default_rng(0).normal(0, 1, (6000, 2))),
    (nn.Embedding, (3, 2), np.random.default_rng(0).integers(0, 3, 30_000)),
    (nn.Embedding, (3, 2, 1), np.random.default_rng(0).integers(0, 3, 500)),
]


@pytest.mark.parametrize(("make", "sizes", "values"), HALVES, ids=lambda value: getattr(value, "__name__", ""))
def test_a_layer_of_halves_rounds_what_a_layer_of_doubles_gives(make, sizes, values):
    half, double = make(*sizes, dtype="float16"), make(*sizes, dtype="float64")
    half.weight = nn.Parameter(np.random.default_rng(1).uniform(0.5, 1.5, half.weight.shape), dtype="float16")
    double.load_state_dict(half.state_dict())
    values = np.asarray(values) if make is nn.Embedding else np.asarray(values, dtype="float16")
    inputs = [Tensor(values, dtype=None if make is nn.Embedding else dtype) for dtype in ("float16", "float64")]
    for training in (True, True, False):
        half.train(training), double.train(training)
        for x in inputs:
            x.grad = None
            x.requires_grad = make is not nn.Embedding
        half.zero_grad(), double.zero_grad()
        result, expected = half(inputs[0]), double(inputs[1])
        gradient = np.random.default_rng(2).uniform(0.5, 1, result.shape).astype("float16")
        result.backward(Tensor(gradient, dtype="float16"))
        expected.backward(Tensor(gradient, dtype="float64"))
        pairs = [(result, expected), (inputs[0].grad, inputs[1].grad)]
        pairs += [(p.grad, q.grad) for p, q in zip(half.parameters(), double.parameters(), strict=True)]
        for ours, exact in pairs:
            if exact is not None:
                exact = exact.detach().numpy()
                assert ours.dtype == "float16"
                # an ulp, that of the subnormal numbers, and what cancels in float32
                atol = 2**-23 + 2**-19 * np.abs(exact).max(initial=0)
                np.testing.assert_allclose(ours.detach().numpy(), exact, rtol=2**-10, atol=atol)
    for mine, exact in zip(half.buffers(), double.buffers(), strict=True):
        np.testing.assert_allclose(mine.numpy(), exact.numpy(), rtol=1e-5)


def test_running_statistics_beside_halves_follow_small_changes():
    norm = nn.BatchNorm1d(1, momentum=1e-4, dtype="float16")
    for _ in range(2000):
        norm(Tensor([[1.0], [3.0]], dtype="float16"))
    share = 1 - (1 - 1e-4) ** 2000
    np.testing.assert_allclose([norm.running_mean.item(), norm.running_var.item()], [2 * share, 1 + share], rtol=1e-4)
    assert norm.running_mean.dtype == norm.running_var.dtype == "float32"


def test_dropping_nearly_all_halves_leaves_numbers():
    y = nn.Dropout(1 - 2.0**-20)(mi.init.ones(1000, dtype="float16"))
    assert y.dtype == "float16" and not y.tolist().count(math.nan)


def test_integers_become_floats_where_a_layer_gives_fractions():
    numbers = np.array([[1, 2, 3], [4, 5, 9]])
    for layer in (nn.LayerNorm(3), nn.BatchNorm1d(3), nn.Dropout(0.2), nn.BatchNorm1d(3).eval()):
        manual_seed(0)
        y = layer(Tensor(numbers))
        manual_seed(0)
        assert y.dtype == "float32" and y.tolist() == layer(Tensor(numbers, dtype="float32")).tolist()


# How layers start -----------------------------------------------------------------------------------------------------


def test_linear_starts_from_the_uniform_distribution_of_torch():
    torch = pytest.importorskip("torch")
    manual_seed(0), torch.manual_seed(0)
    bound = 1 / math.sqrt(300)
    for layer in (nn.Linear(300, 200), torch.nn.Linear(300, 200)):
        for values, deviation in ((layer.weight, 0.005), (layer.bias, 0.1)):
            values = values.detach().numpy() / bound
            assert np.abs(values).max() <= 1 and np.abs(values).max() > 0.97
            assert abs(values.mean()) < 5 * deviation
            assert abs(values.std() * math.sqrt(3) - 1) < deviation * 2
            steps = np.abs(np.sort((values.ravel() + 1) / 2) - (np.arange(values.size) + 0.5) / values.size)
            assert steps.max() < 2 / math.sqrt(values.size)  # Kolmogorov and Smirnov
    single = nn.Linear(1, 1000)
    assert 0.97 < np.abs(single.weight.detach().numpy()).max() <= 1


def test_embedding_starts_from_the_normal_distribution_with_a_zero_row_for_padding():
    manual_seed(0)
    values = nn.Embedding(300, 200, padding_idx=-2).weight.detach().numpy()
    assert not values[298].any() and values[[0, 297, 299]].all()
    kept = np.delete(values, 298, axis=0)
    assert abs(kept.mean()) < 0.02 and abs(kept.std() - 1) < 0.02 and 3.5 < np.abs(kept).max() < 6


def test_norms_start_with_ones_and_zeros():
    for norm in (nn.LayerNorm((2, 3)), nn.RMSNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm1d(4), nn.BatchNorm2d(4)):
        state = {name: value.numpy() for name, value in norm.state_dict().items()}
        for name, expected in (("weight", 1), ("bias", 0), ("running_mean", 0), ("running_var", 1)):
            assert np.all(state.get(name, expected) == expected)
    assert nn.BatchNorm1d(4).num_batches_tracked.dtype == np.int64


@pytest.mark.parametrize("make", [nn.Linear, nn.Embedding])
def test_a_dtype_reaches_all_parameters_and_the_output(make):
    layer = make(3, 2, dtype="float64")
    assert all(parameter.dtype == np.float64 for parameter in layer.parameters())
    x = Tensor(np.ones((2, 3)), dtype="float64") if make is nn.Linear else [0, 1]
    assert layer(x).dtype == np.float64
    norms = nn.LayerNorm(3, dtype="float64"), nn.BatchNorm1d(3, dtype="float64")
    assert all(held.dtype == np.float64 for norm in norms for _, held in norm.named_parameters())
    assert norms[1].running_mean.dtype == norms[1].running_var.dtype == np.float64


# Modes ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 1.0])
def test_dropout_keeps_the_expectation_and_its_gradient_has_the_same_mask(p):
    manual_seed(0)
    layer = nn.Dropout(p)
    x = Tensor(np.full((100, 100), 3.0), requires_grad=True)
    y = layer(x)
    zeros = np.mean(y.detach().numpy() == 0)
    assert abs(zeros - p) < 0.02
    rest = y.detach().numpy()[y.detach().numpy() != 0]
    np.testing.assert_allclose(rest, 3 / (1 - p) if p < 1 else rest, rtol=1e-6)
    y.sum().backward()
    np.testing.assert_allclose(x.grad.numpy() * 3, y.detach().numpy(), rtol=1e-6)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("shape", [(40, 50, 3, 4), (40, 50, 7), (40, 50, 2, 2, 2)])
def test_dropout2d_drops_whole_channels(shape):
    manual_seed(0)
    layer, x = nn.Dropout2d(0.3), Tensor(np.full(shape, 3.0), requires_grad=True)
    y = layer(x).detach().numpy().reshape(*shape[:2], -1)
    assert (y == y[:, :, :1]).all() and abs((y[:, :, 0] == 0).mean() - 0.3) < 0.03
    np.testing.assert_allclose(y[y != 0], 3 / 0.7, rtol=1e-6)
    assert layer.eval()(x) is x


def test_activations_far_from_zero_neither_overflow_nor_lose_their_tails():
    x = Tensor([-100.0, -50.0, 0.0, 50.0, 100.0], requires_grad=True)
    for layer in (nn.SiLU(), nn.Softplus(), nn.Softplus(3.0), nn.LeakyReLU()):
        y = layer(x)
        y.sum().backward()
        np.testing.assert_allclose(y.detach().numpy()[3:], [50, 100], rtol=1e-6)
        assert np.isfinite(x.grad.numpy()).all()
    np.testing.assert_allclose(nn.Softplus()(x).detach().numpy()[1], math.exp(-50), rtol=1e-5)


@pytest.mark.parametrize("many", [1, 50_000])
def test_activations_of_infinity_are_computed_without_a_warning_about_their_slope(many):
    x = Tensor(np.full(many, np.inf), requires_grad=True)
    for layer in (nn.GELU(), nn.SiLU(), nn.Softplus()):
        assert np.isposinf(layer(x).detach().numpy()).all()


def test_dropout_masks_come_from_the_global_generator_and_differ_from_call_to_call():
    layer, x = nn.Dropout(), mi.init.ones(50, dtype="float64")
    manual_seed(4)
    first, second = layer(x), layer(x)
    manual_seed(4)
    assert layer(x).tolist() == first.tolist() != second.tolist()
    assert first.dtype == np.float64


def test_batch_norm_in_evaluation_does_not_depend_on_the_batch_and_changes_nothing():
    norm = nn.BatchNorm1d(2)
    norm(mi.init.randn(8, 2))
    norm.eval()
    before = {name: value.tolist() for name, value in norm.state_dict().items()}
    x = np.random.default_rng(0).normal(size=(6, 2)).astype("float32")
    whole = norm(Tensor(x)).detach().numpy()
    single = [norm(Tensor(row[None])).detach().numpy()[0] for row in x]
    np.testing.assert_allclose(whole, single, rtol=1e-6)
    assert {name: value.tolist() for name, value in norm.state_dict().items()} == before


def test_running_statistics_are_written_in_place_and_hold_no_graph():
    norm = nn.BatchNorm1d(2)
    mean, memory = norm.running_mean, norm.running_mean.numpy()
    x = Tensor(np.random.default_rng(0).normal(5, size=(8, 2)), requires_grad=True)
    norm(x).sum().backward()
    assert norm.running_mean is mean and memory.any()
    assert not norm.running_mean.requires_grad and not norm.running_var.requires_grad


def test_a_network_learns():
    manual_seed(0)
    model = nn.Sequential(nn.Linear(2, 16), nn.BatchNorm1d(16), nn.Tanh(), nn.Linear(16, 2))
    x = np.random.default_rng(0).uniform(-1, 1, size=(200, 2)).astype("float32")
    y = (x[:, 0] * x[:, 1] > 0).astype("int64")
    loss_of = nn.CrossEntropyLoss()
    for _ in range(150):
        model.zero_grad()
        loss = loss_of(model(Tensor(x)), Tensor(y))
        loss.backward()
        for parameter in model.parameters():
            parameter.data -= 0.5 * parameter.grad
    model.eval()
    with mi.no_grad():
        assert (model(Tensor(x)).argmax(axis=1) == Tensor(y)).numpy().mean() > 0.95


ones = mi.init.ones
ERRORS = [
    (lambda: nn.Linear(4, 3)(ones(5, 3)), ValueError, "Linear: the input must have the shape (..., 4); got (5, 3)"),
    (lambda: nn.Linear(4, 3)(ones()), ValueError, "Linear: the input must have the shape (..., 4); got ()"),
    (lambda: nn.Linear(-1, 3), ValueError, "Linear: in_features must be an integer of at least 0; got -1"),
    (lambda: nn.Linear(2, 3.0), TypeError, "Linear: out_features must be an integer of at least 0; got 3.0"),
    (lambda: nn.Linear(True, 3), TypeError, "Linear: in_features must be an integer of at least 0; got True"),
    (lambda: nn.Embedding(4, 3)([1.0]), TypeError, "Embedding: ids must have an integer dtype; got 'float64'"),
    (lambda: nn.Embedding(4, 3)([0, 4]), IndexError, "Embedding: ids must lie in [0, 4); got 4"),
    (lambda: nn.Embedding(4, 3)([[0, -1]]), IndexError, "Embedding: ids must lie in [0, 4); got -1"),
    (lambda: nn.Embedding(4, 3, 4), ValueError, "Embedding: padding_idx must be an integer in [-4, 4); got 4"),
    (lambda: nn.Embedding(4, -3), ValueError, "Embedding: embedding_dim must be an integer of at least 0; got -3"),
    (
        lambda: nn.LayerNorm((3, 4))(ones(4)),
        ValueError,
        "LayerNorm: the input must have the shape (..., 3, 4); got (4,)",
    ),
    (lambda: nn.LayerNorm(3)(ones(3, 4)), ValueError, "LayerNorm: the input must have the shape (..., 3); got (3, 4)"),
    (lambda: nn.LayerNorm(()), ValueError, "LayerNorm: normalized_shape must name at least one axis; got ()"),
    (lambda: nn.LayerNorm(0), ValueError, "LayerNorm: normalized_shape must be an integer of at least 1; got 0"),
    (lambda: nn.LayerNorm(2, eps=-1), ValueError, "LayerNorm: eps must be a number of at least 0; got -1"),
    (
        lambda: nn.BatchNorm1d(3)(ones(2, 4)),
        ValueError,
        "BatchNorm1d: the input must have the shape (N, 3) or (N, 3, L); got (2, 4)",
    ),
    (
        lambda: nn.BatchNorm1d(3)(ones(3)),
        ValueError,
        "BatchNorm1d: the input must have the shape (N, 3) or (N, 3, L); got (3,)",
    ),
    (
        lambda: nn.BatchNorm1d(3)(ones(1, 3)),
        ValueError,
        "BatchNorm1d: the statistics of a batch need at least 2 values in a channel; got (1, 3); "
        "call eval() to use the running ones",
    ),
    (
        lambda: nn.BatchNorm2d(3)(ones(2, 3, 4)),
        ValueError,
        "BatchNorm2d: the input must have the shape (N, 3, H, W); got (2, 3, 4)",
    ),
    (lambda: nn.BatchNorm2d(3, momentum=2), ValueError, "BatchNorm2d: momentum must be a number in [0, 1]; got 2"),
    (lambda: nn.GroupNorm(4, 6), ValueError, "GroupNorm: num_groups must divide num_channels 6; got 4"),
    (
        lambda: nn.GroupNorm(2, 6)(ones(2, 3)),
        ValueError,
        "GroupNorm: the input must have the shape (N, 6, ...); got (2, 3)",
    ),
    (lambda: nn.RMSNorm(3)(ones(3, 4)), ValueError, "RMSNorm: the input must have the shape (..., 3); got (3, 4)"),
    (lambda: nn.RMSNorm(()), ValueError, "RMSNorm: normalized_shape must name at least one axis; got ()"),
    (
        lambda: nn.Dropout2d()(ones(3, 4)),
        ValueError,
        "Dropout2d: the input must have the shape (N, C, H, W) or (N, C, ...); got (3, 4)",
    ),
    (lambda: nn.Softplus(0), ValueError, "Softplus: beta must be positive; got 0"),
    (lambda: nn.GELU("exp"), ValueError, "GELU: approximate must be one of 'none', 'tanh'; got 'exp'"),
    (lambda: nn.LeakyReLU("x"), TypeError, "LeakyReLU: negative_slope must be a finite number; got 'x'"),
    (lambda: nn.BatchNorm1d(3, momentum=2), ValueError, "BatchNorm1d: momentum must be a number in [0, 1]; got 2"),
    (lambda: nn.BatchNorm1d(0), ValueError, "BatchNorm1d: num_features must be an integer of at least 1; got 0"),
    (lambda: nn.Dropout(1.5), ValueError, "Dropout: p must be a number in [0, 1]; got 1.5"),
    (lambda: nn.Dropout(-0.1), ValueError, "Dropout: p must be a number in [0, 1]; got -0.1"),
    (lambda: nn.Dropout(math.nan), ValueError, "Dropout: p must be a number in [0, 1]; got nan"),
    (lambda: nn.Dropout("half"), TypeError, "Dropout: p must be a number in [0, 1]; got 'half'"),
    (
        lambda: nn.Flatten()(ones(3)),
        ValueError,
        "Flatten: axes 1 to -1 must be there in the input, in this order; got (3,)",
    ),
    (
        lambda: nn.Flatten(2, 1)(ones(2, 2, 2)),
        ValueError,
        "Flatten: axes 2 to 1 must be there in the input, in this order; got (2, 2, 2)",
    ),
    (lambda: setattr(nn.Dropout(), "p", 7), ValueError, "Dropout: p must be a number in [0, 1]; got 7"),
    (lambda: setattr(nn.Dropout(), "p", "x"), TypeError, "Dropout: p must be a number in [0, 1]; got 'x'"),
    (lambda: nn.Flatten(0.5), TypeError, "Flatten: start_dim must be an integer; got 0.5"),
    (lambda: nn.Softmax(None), TypeError, "Softmax: axis must be an integer; got None"),
    (lambda: nn.LogSoftmax("x"), TypeError, "LogSoftmax: axis must be an integer; got 'x'"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
