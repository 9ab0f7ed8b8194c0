"""LSTM, GRU, RNN and their cells: against PyTorch, how they start, precisions, one pass backward, and the sentences."""

import math
import re

import numpy as np
import pytest
from beside_torch import close, close_states, pair

from minima import init, nn
from minima.autograd import Tensor
from minima.autograd.operations import recurrent
from minima.random import manual_seed

KINDS = ["LSTM", "GRU", "RNN"]
CASES = [
    {},
    {"bias": False},
    {"batch_first": True},
    {"bidirectional": True},
    {"num_layers": 3},
    {"num_layers": 2, "bidirectional": True, "batch_first": True},
    {"num_layers": 2, "bidirectional": True, "bias": False},
    {"num_layers": 3, "dropout": 1.0},
]
CASES = [(kind, how) for kind in KINDS for how in CASES] + [
    ("RNN", {"nonlinearity": "relu", "bidirectional": True}),
    ("RNN", {"nonlinearity": "relu", "bias": False, "num_layers": 2}),
]
STEPS, BATCH, FEATURES, HIDDEN = 5, 3, 4, 6


def flat(result):
    """The output and the states as a list."""
    out, states = result
    return [out, *states] if isinstance(states, tuple) else [out, states]


def numbers(shapes, dtype="float64", seed=1):
    draws = np.random.default_rng(seed)
    return [draws.normal(size=shape).astype(dtype) for shape in shapes]


def both(arrays):
    torch = pytest.importorskip("torch")
    ours = [Tensor(a, dtype=a.dtype, requires_grad=True) for a in arrays]
    return ours, [torch.from_numpy(a).requires_grad_() for a in arrays]


def bundled(kind, states):
    """The first states as the layer takes them."""
    return None if not states else tuple(states) if kind.startswith("LSTM") else states[0]


def matches(layer, other, kind, arrays, tolerance):
    """Values, and the gradients of inputs, states and parameters, for a loss of all results."""
    torch = pytest.importorskip("torch")
    mine, its = both(arrays)
    ys = flat(layer(mine[0], bundled(kind, mine[1:])))
    zs = flat(other(its[0], bundled(kind, its[1:])))
    assert [y.shape for y in ys] == [tuple(z.shape) for z in zs]
    for y, z in zip(ys, zs, strict=True):
        close(y, z, tolerance)
    weights = numbers([y.shape for y in ys], arrays[0].dtype, seed=2)
    total = sum((y * Tensor(w, dtype=w.dtype)).sum() for y, w in zip(ys, weights, strict=True))
    total.backward()
    sum((z * torch.from_numpy(w)).sum() for z, w in zip(zs, weights, strict=True)).backward()
    for a, b in zip(mine, its, strict=True):
        close(a.grad, b.grad, tolerance)
    close_states(layer, other, tolerance)


@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize(("kind", "how"), CASES, ids=[f"{k}-{h}" for k, h in CASES])
def test_values_states_and_gradients_are_those_of_torch(kind, how, batched, given):
    arguments = FEATURES, HIDDEN
    layer, other = pair(lambda: getattr(nn, kind)(*arguments, **how), (kind, arguments, how), "float64")
    batch = (BATCH,) if batched else ()
    shape = (*batch, STEPS, FEATURES) if how.get("batch_first") else (STEPS, *batch, FEATURES)
    directions = how.get("num_layers", 1) * (1 + how.get("bidirectional", False))
    states = [(directions, *batch, HIDDEN)] * ((2 if kind == "LSTM" else 1) if given else 0)
    matches(layer, other, kind, numbers([shape, *states]), 1e-10)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("shape", [(1, 1, FEATURES), (7, 0, FEATURES), (40, 2, FEATURES)])
def test_one_step_no_samples_and_many_steps(kind, shape):
    layer, other = pair(lambda: getattr(nn, kind)(FEATURES, HIDDEN), (kind, (FEATURES, HIDDEN), {}), "float64")
    matches(layer, other, kind, numbers([shape]), 1e-10)


CELLS = [("LSTMCell", {}), ("GRUCell", {}), ("RNNCell", {}), ("RNNCell", {"nonlinearity": "relu"})]
CELLS += [(kind, {"bias": False}) for kind in ("LSTMCell", "GRUCell", "RNNCell")]


@pytest.mark.parametrize("given", [False, True])
@pytest.mark.parametrize("batch", [(BATCH,), ()])
@pytest.mark.parametrize(("kind", "how"), CELLS)
def test_a_loop_over_cells_is_that_of_torch(kind, how, batch, given):
    torch = pytest.importorskip("torch")
    arguments = FEATURES, HIDDEN
    layer, other = pair(lambda: getattr(nn, kind)(*arguments, **how), (kind, arguments, how), "float64")
    states = [(*batch, HIDDEN)] * ((2 if kind == "LSTMCell" else 1) if given else 0)
    arrays = numbers([(STEPS, *batch, FEATURES), *states])
    mine, its = both(arrays)
    ends = []
    for cell, (xs, *first) in ((layer, mine), (other, its)):
        state = bundled(kind, first)
        for x in xs:
            state = cell(x, state)
        ends.append(state if isinstance(state, tuple) else (state,))
    weights = numbers([y.shape for y in ends[0]], seed=2)
    for y, z in zip(*ends, strict=True):
        close(y, z, 1e-10)
    sum((y * Tensor(w, dtype="float64")).sum() for y, w in zip(ends[0], weights, strict=True)).backward()
    sum((z * torch.from_numpy(w)).sum() for z, w in zip(ends[1], weights, strict=True)).backward()
    for a, b in zip(mine, its, strict=True):
        close(a.grad, b.grad, 1e-10)
    close_states(layer, other, 1e-10)


@pytest.mark.parametrize("kind", KINDS)
def test_states_of_torch_load_and_go_back(kind):
    torch = pytest.importorskip("torch")
    how = {"num_layers": 2, "bidirectional": True, "batch_first": True}
    other = getattr(torch.nn, kind)(FEATURES, HIDDEN, **how)
    layer = getattr(nn, kind)(FEATURES, HIDDEN, **how)
    layer.load_state_dict(other.state_dict())
    (x,) = numbers([(BATCH, STEPS, FEATURES)], "float32")
    for y, z in zip(flat(layer(x)), flat(other(torch.from_numpy(x))), strict=True):
        close(y, z, 1e-5)
    again = getattr(torch.nn, kind)(FEATURES, HIDDEN, **how)
    again.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in layer.state_dict().items()})
    for name, value in other.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])


@pytest.mark.parametrize("kind", [*KINDS, "LSTMCell", "GRUCell", "RNNCell"])
def test_parameters_start_from_the_uniform_distribution_of_torch(kind):
    torch = pytest.importorskip("torch")
    manual_seed(0), torch.manual_seed(0)
    how = {} if kind.endswith("Cell") else {"num_layers": 2}
    for layer in (getattr(nn, kind)(30, 100, **how), getattr(torch.nn, kind)(30, 100, **how)):
        for name, values in layer.state_dict().items():
            values = values.numpy() * math.sqrt(100)
            assert (0.99 if "weight" in name else 0.9) < np.abs(values).max() <= 1 + 1e-6
            assert abs(values.std() * math.sqrt(3) - 1) < 0.1


@pytest.mark.parametrize("kind", KINDS)
def test_dropout_lies_between_layers_in_training_and_keeps_the_expectation(kind):
    manual_seed(0)
    layer = getattr(nn, kind)(FEATURES, HIDDEN, num_layers=2, dropout=0.25)
    (x,) = numbers([(STEPS, BATCH, FEATURES)], "float32")
    kept = layer.eval()(x)[0].detach().numpy()
    np.testing.assert_array_equal(layer(x)[0].detach().numpy(), kept)
    layer.train()
    above = getattr(nn, kind)(HIDDEN, HIDDEN)
    # What the second layer gets, seen through one whose first product is the identity.
    lower = getattr(nn, kind)(FEATURES, HIDDEN)
    lower.load_state_dict({n: v for n, v in layer.state_dict().items() if n.endswith("l0")})
    plain = lower(x)[0].detach().numpy()
    above.load_state_dict({n.replace("l1", "l0"): v for n, v in layer.state_dict().items() if n.endswith("l1")})
    manual_seed(3)
    mask = nn.Dropout(0.25)(plain)
    manual_seed(3)
    np.testing.assert_allclose(layer(x)[0].detach().numpy(), above(mask)[0].detach().numpy(), rtol=1e-5, atol=1e-6)


def test_dropout_in_one_layer_warns_as_in_torch():
    message = "RNN: dropout lies between layers, and there is none between them in one; got 0.5; set num_layers to 2"
    with pytest.warns(UserWarning, match=re.escape(message)):
        nn.RNN(2, 3, dropout=0.5)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("wanted", ["input", "states", "weight_ih_l0", "weight_hh_l0", "bias_hh_l0"])
def test_a_gradient_alone_is_that_among_all(kind, wanted):
    layer = getattr(nn, kind)(FEATURES, HIDDEN, dtype="float64")
    arrays = numbers([(STEPS, BATCH, FEATURES), *[(1, BATCH, HIDDEN)] * (2 if kind == "LSTM" else 1)])
    tensors, _ = both(arrays)
    every = {"input": tensors[0], "states": tensors[-1], **dict(layer.named_parameters())}
    layer(tensors[0], bundled(kind, tensors[1:]))[0].sum().backward()
    expected = every[wanted].grad.numpy()
    for tensor in [*tensors, *layer.parameters()]:
        tensor.requires_grad, tensor.grad = tensor is every[wanted], None
    layer(tensors[0], bundled(kind, tensors[1:]))[0].sum().backward()
    assert expected.any()
    np.testing.assert_allclose(every[wanted].grad.numpy(), expected, rtol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_second_backward_computes_anew(kind):
    layer = getattr(nn, kind)(FEATURES, HIDDEN, dtype="float64")
    y = layer(numbers([(STEPS, BATCH, FEATURES)])[0])[0]
    y.backward(np.ones(y.shape), retain_graph=True)
    once = [parameter.grad.numpy().copy() for parameter in layer.parameters()]
    y.backward(3 * np.ones(y.shape))
    for parameter, first in zip(layer.parameters(), once, strict=True):
        np.testing.assert_allclose(parameter.grad.numpy(), 4 * first, rtol=1e-12)


@pytest.mark.parametrize("name", ["lstm", "gru", "rnn"])
def test_the_steps_are_gone_over_once_in_a_backward_pass(name, monkeypatch):
    primitive, calls = getattr(recurrent, name), []
    rule, picks = primitive._shared
    monkeypatch.setattr(primitive, "_shared", (lambda *a, **k: (calls.append(1), rule(*a, **k))[1], picks))
    monkeypatch.setattr(primitive, "plans", {})
    layer = getattr(nn, name.upper())(FEATURES, HIDDEN)
    x = Tensor(np.ones((STEPS, BATCH, FEATURES)), requires_grad=True)
    layer(x)[0].sum().backward()
    assert len(calls) == 1 and all(parameter.grad is not None for parameter in layer.parameters())


@pytest.mark.parametrize("kind", [*KINDS, "LSTMCell", "GRUCell", "RNNCell"])
def test_halves_are_rounded_once(kind):
    half, double = (getattr(nn, kind)(FEATURES, 32, dtype=dtype) for dtype in ("float16", "float64"))
    double.load_state_dict(half.state_dict())
    (x,) = numbers([(6, BATCH, FEATURES)], "float16")
    x = x[0] if kind.endswith("Cell") else x
    results, expected = half(Tensor(x, dtype="float16")), double(Tensor(x, dtype="float64"))
    if kind.endswith("Cell"):
        results, expected = (r if isinstance(r, tuple) else (r,) for r in (results, expected))
    else:
        results, expected = flat(results), flat(expected)
    for y, z in zip(results, expected, strict=True):
        assert y.dtype == "float16"
        np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=2**-10, atol=1e-6)


def test_gates_far_from_zero_do_not_overflow():
    x = np.array([[[-1e4], [1e4], [-90.0], [90.0]]], "float32")
    for kind in KINDS:
        layer = getattr(nn, kind)(1, 3)
        for parameter in layer.parameters():
            parameter.data = np.ones(parameter.shape)
        assert np.isfinite(layer(x)[0].detach().numpy()).all()


@pytest.mark.filterwarnings("ignore:dropout option adds dropout")
def test_reprs_are_those_of_torch():
    torch = pytest.importorskip("torch")
    for kind, how in [*CASES, *CELLS]:
        assert repr(getattr(nn, kind)(4, 6, **how)) == repr(getattr(torch.nn, kind)(4, 6, **how))


def test_a_network_learns_to_remember_the_first_number():
    from minima import optim

    manual_seed(0)
    signs = np.sign(np.random.default_rng(0).normal(size=(64, 8, 1))).astype("float32")
    layer, head = nn.LSTM(1, 16, batch_first=True), nn.Linear(16, 1)
    optimizer = optim.Adam([*layer.parameters(), *head.parameters()], lr=0.02)
    loss = nn.BCEWithLogitsLoss()
    for _ in range(80):
        value = loss(head(layer(signs)[0][:, -1]), (signs[:, 0] + 1) / 2)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
    assert value.item() < 0.05


x = init.ones(5, 3, 4)
ERRORS = [
    (lambda: nn.LSTM(4, 0), ValueError, "LSTM: hidden_size must be an integer of at least 1; got 0"),
    (lambda: nn.GRU(4, 6, 0), ValueError, "GRU: num_layers must be an integer of at least 1; got 0"),
    (lambda: nn.LSTM(4, 6, 2, dropout=2), ValueError, "LSTM: dropout must be a number in [0, 1]; got 2"),
    (lambda: nn.GRU(4, 6, bias=1), TypeError, "GRU: bias must be True or False; got 1"),
    (lambda: nn.LSTM(4, 6, bidirectional=2), TypeError, "LSTM: bidirectional must be True or False; got 2"),
    (
        lambda: nn.RNN(4, 6, nonlinearity="gelu"),
        ValueError,
        "RNN: nonlinearity must be one of 'tanh', 'relu'; got 'gelu'",
    ),
    (
        lambda: nn.LSTM(5, 6)(x),
        ValueError,
        "LSTM: the input must have the shape (T, N, 5) or (T, 5), with T > 0; got (5, 3, 4)",
    ),
    (
        lambda: nn.GRU(4, 6, batch_first=True)(x[:, :0]),
        ValueError,
        "GRU: the input must have the shape (N, T, 4) or (T, 4), with T > 0; got (5, 0, 4)",
    ),
    (
        lambda: nn.RNN(4, 6)(x[0, 0]),
        ValueError,
        "RNN: the input must have the shape (T, N, 4) or (T, 4), with T > 0; got (4,)",
    ),
    (
        lambda: nn.LSTM(4, 6)(x, init.ones(1, 3, 6)),
        TypeError,
        "LSTM: the first states must be the pair (h, c); got 'Tensor'",
    ),
    (
        lambda: nn.LSTM(4, 6)(x, (init.ones(1, 3, 6), init.ones(3, 6))),
        ValueError,
        "LSTM: the first c must have the shape (1, 3, 6); got (3, 6)",
    ),
    (
        lambda: nn.GRU(4, 6, bidirectional=True)(x[:, 0], init.ones(1, 6)),
        ValueError,
        "GRU: the first h must have the shape (2, 6); got (1, 6)",
    ),
    (
        lambda: nn.LSTM(4, 6)(x, (init.ones(1, 3, 6),)),
        TypeError,
        "LSTM: the first states must be the pair (h, c); got 'tuple of 1'",
    ),
    (
        lambda: nn.LSTMCell(4, 6)(x[0], [init.ones(3, 6)] * 3),
        TypeError,
        "LSTMCell: the first states must be the pair (h, c); got 'list of 3'",
    ),
    (
        lambda: nn.GRU(4, 6)(x, (init.ones(1, 3, 6),)),
        TypeError,
        "GRU: the first state is the Tensor h by itself, of shape (1, 3, 6); got 'tuple of 1'; take it out",
    ),
    (
        lambda: nn.RNN(4, 6)(x, (init.ones(1, 3, 6), init.ones(1, 3, 6))),
        TypeError,
        "RNN: the first state is the Tensor h by itself, of shape (1, 3, 6); got 'tuple of 2'",
    ),
    (
        lambda: nn.GRUCell(4, 6)(x[0], [np.ones((3, 6))]),
        TypeError,
        "GRUCell: the first state is the Tensor h by itself, of shape (3, 6); got 'list of 1'; take it out",
    ),
    (
        lambda: nn.RNNCell(4, 6)(x[0, 0], (init.ones(6),)),
        TypeError,
        "RNNCell: the first state is the Tensor h by itself, of shape (6,); got 'tuple of 1'; take it out",
    ),
    (lambda: nn.GRUCell(4, 6)(x), ValueError, "GRUCell: the input must have the shape (N, 4) or (4,); got (5, 3, 4)"),
    (
        lambda: nn.RNNCell(4, 6)(x[0], init.ones(6)),
        ValueError,
        "RNNCell: the first h must have the shape (3, 6); got (6,)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()


def test_a_state_of_nested_numbers_is_a_tensor():
    cell = nn.GRUCell(4, 2)
    np.testing.assert_array_equal(
        cell(x[0], [[0.5, 1.0]] * 3).detach().numpy(), cell(x[0], Tensor([[0.5, 1.0]] * 3)).detach().numpy()
    )
