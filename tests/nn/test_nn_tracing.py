"""Every layer, loss and primitive is pure: under jax.jit it compiles, with the same values and gradients."""

from functools import partial

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor
from minima.autograd.device import Device
from minima.random import manual_seed

jax = pytest.importorskip("jax")
JAX = Device("jax", jax.numpy)
DRAWS = np.random.default_rng(0)


def normal(*shape):
    return DRAWS.normal(size=shape).astype("float32")


def between(*shape):
    return DRAWS.uniform(0.1, 0.9, shape).astype("float32")


def whole(high, *shape):
    return DRAWS.integers(0, high, shape).astype("int32")


IMAGES, ROWS, SEQUENCE = normal(2, 4, 6, 6), normal(5, 4), normal(5, 2, 4)
LOGITS, CLASSES = normal(6, 3), np.array([0, 2, 1, 1, 2, 0], "int32")

# By the class: how instances are made, and what they take. Floating inputs are differentiated.
CASES = {
    "AdaptiveAvgPool2d": [(partial(nn.AdaptiveAvgPool2d, (4, 3)), [IMAGES])],
    "AvgPool2d": [(partial(nn.AvgPool2d, 2, padding=1, count_include_pad=False), [IMAGES])],
    "BCELoss": [(nn.BCELoss, [between(4, 3), between(4, 3)]), (partial(nn.BCELoss, [0.5, 2.0, 1.0]), [between(4, 3)] * 2)],
    "BCEWithLogitsLoss": [(partial(nn.BCEWithLogitsLoss, 2.0), [LOGITS, between(6, 3)])],
    "BatchNorm1d": [(nn.BatchNorm1d, [ROWS]), (partial(nn.BatchNorm1d, momentum=None), [ROWS])],
    "BatchNorm2d": [(nn.BatchNorm2d, [IMAGES])],
    "Conv1d": [(partial(nn.Conv1d, 4, 2, 3), [normal(2, 4, 7)])],
    "Conv2d": [(partial(nn.Conv2d, 4, 2, 3, padding=1), [IMAGES])],
    "ConvTranspose2d": [(partial(nn.ConvTranspose2d, 4, 2, 3, stride=2), [IMAGES])],
    "CosineSimilarity": [(nn.CosineSimilarity, [ROWS, normal(5, 4)])],
    "CrossEntropyLoss": [
        (partial(nn.CrossEntropyLoss, weight, ignored, label_smoothing=smoothing), [LOGITS, CLASSES])
        for weight in (None, [0.5, 1.0, 2.0])
        for ignored in (None, 1)
        for smoothing in (0.0, 0.1)
    ],
    "Dropout": [(nn.Dropout, [ROWS])],
    "Dropout2d": [(nn.Dropout2d, [IMAGES])],
    "Embedding": [
        (partial(nn.Embedding, 7, 3), [whole(7, 2, 5)]),
        (partial(nn.Embedding, 7, 3, padding_idx=2), [np.array([[1, 2], [2, 6]], "int32")]),
    ],
    "Flatten": [(nn.Flatten, [IMAGES])],
    "GELU": [(nn.GELU, [ROWS])],
    "GRU": [(partial(nn.GRU, 4, 3, 2, bidirectional=True), [SEQUENCE])],
    "GRUCell": [(partial(nn.GRUCell, 4, 3), [ROWS])],
    "GroupNorm": [(partial(nn.GroupNorm, 2, 4), [IMAGES])],
    "HuberLoss": [(nn.HuberLoss, [ROWS, normal(5, 4)])],
    "Identity": [(nn.Identity, [ROWS])],
    "KLDivLoss": [(nn.KLDivLoss, [-between(4, 3), between(4, 3)]), (partial(nn.KLDivLoss, log_target=True), [ROWS, ROWS])],
    "L1Loss": [(nn.L1Loss, [ROWS, normal(5, 4)])],
    "LSTM": [(partial(nn.LSTM, 4, 3, 2, bidirectional=True, batch_first=True), [SEQUENCE])],
    "LSTMCell": [(partial(nn.LSTMCell, 4, 3), [ROWS])],
    "LayerNorm": [(partial(nn.LayerNorm, 4), [ROWS])],
    "LeakyReLU": [(nn.LeakyReLU, [ROWS])],
    "Linear": [(partial(nn.Linear, 4, 3), [SEQUENCE])],
    "LogSoftmax": [(nn.LogSoftmax, [ROWS])],
    "MSELoss": [(nn.MSELoss, [ROWS, normal(5, 4)])],
    "MaxPool2d": [(partial(nn.MaxPool2d, 3, stride=2, padding=1), [IMAGES])],
    "MultiheadAttention": [(partial(nn.MultiheadAttention, 4, 2), [SEQUENCE] * 3)],
    "NLLLoss": [
        (partial(nn.NLLLoss, weight, ignored), [-between(6, 3), CLASSES])
        for weight in (None, [0.5, 1.0, 2.0])
        for ignored in (None, 1)
    ],
    "RMSNorm": [(partial(nn.RMSNorm, 4), [ROWS])],
    "RNN": [(partial(nn.RNN, 4, 3, nonlinearity=kind), [SEQUENCE]) for kind in ("tanh", "relu")],
    "RNNCell": [(partial(nn.RNNCell, 4, 3, bias=False), [ROWS])],
    "ReLU": [(nn.ReLU, [ROWS])],
    "Sequential": [(lambda: nn.Sequential(nn.Linear(4, 3), nn.ReLU()), [ROWS])],
    "SiLU": [(nn.SiLU, [ROWS])],
    "Sigmoid": [(nn.Sigmoid, [ROWS])],
    "SmoothL1Loss": [(nn.SmoothL1Loss, [ROWS, normal(5, 4)])],
    "Softmax": [(nn.Softmax, [ROWS])],
    "Softplus": [(partial(nn.Softplus, 2.0), [ROWS])],
    "Tanh": [(nn.Tanh, [ROWS])],
    "TransformerEncoderLayer": [(partial(nn.TransformerEncoderLayer, 4, 2, 8, 0.0), [SEQUENCE])],
    "Upsample": [(partial(nn.Upsample, scale_factor=scale), [IMAGES]) for scale in (2, 1.5)],
}  # fmt: skip
CASES["BatchNorm1d"] = [(partial(make, 4), x) for make, x in CASES["BatchNorm1d"]]
CASES["BatchNorm2d"] = [(partial(make, 4), x) for make, x in CASES["BatchNorm2d"]]
WITHOUT_FORWARD = {"Module", "ModuleDict", "ModuleList", "ParameterList"}


def test_every_layer_is_traced():
    layers = {name for name in nn.__all__ if isinstance(getattr(nn, name), type)}
    layers = {name for name in layers if issubclass(getattr(nn, name), nn.Module)}
    assert layers - WITHOUT_FORWARD == {*CASES}


def flat(result):
    if isinstance(result, tuple):
        return [part for each in result for part in flat(each)]
    return [] if result is None else [result]


def run(make, arrays, state, device):
    """Results, gradients of inputs and parameters, and buffers after one call."""
    manual_seed(1)
    layer, tensors = make(), [Tensor(0.0) for _ in arrays]
    for tensor, array in zip(tensors, arrays, strict=True):
        tensor.buffer, tensor.device = array, device
        tensor.requires_grad = array.dtype.kind == "f"
    for name, held in [*layer.named_parameters(), *layer.named_buffers()]:
        held.buffer, held.device = state[name], device
    manual_seed(2)
    results = flat(layer(*tensors))
    sum((r * r).sum() for r in results).backward()
    grads = [t.grad for t in tensors if t.requires_grad] + [p.grad for p in layer.parameters()]
    return [r.buffer for r in (*results, *grads, *layer.buffers())]


@pytest.mark.parametrize(
    ("make", "arrays"),
    [pytest.param(make, arrays, id=f"{name}-{i}") for name in CASES for i, (make, arrays) in enumerate(CASES[name])],
)
def test_layers_compile_under_jax_with_the_same_values_gradients_and_buffers(make, arrays):
    manual_seed(1)
    layer = make()
    state = {name: held.detach().numpy().copy() for name, held in [*layer.named_parameters(), *layer.named_buffers()]}
    ours = run(make, arrays, {name: array.copy() for name, array in state.items()}, Device("cpu", np))
    its = jax.jit(lambda arrays, state: run(make, arrays, state, JAX))(arrays, state)
    assert len(ours) == len(its) > 0
    for mine, other in zip(ours, its, strict=True):
        np.testing.assert_allclose(mine, other, rtol=2e-4, atol=2e-5)
