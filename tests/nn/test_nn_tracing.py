"""Every layer, loss and primitive is pure: under jax.jit it compiles, with the same values and gradients."""

import importlib.util
import pkgutil
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import find

from minima import nn
from minima.autograd import Tensor, one_hot, operations
from minima.autograd.device import Device
from minima.autograd.primitive import Primitive
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
HIDDEN = np.triu(np.ones((5, 5), bool), 1)
SCORES = np.where(HIDDEN, -np.inf, normal(5, 5)).astype("float32")
LOGITS, CLASSES = normal(6, 3), np.array([0, 2, 1, 1, 2, 0], "int32")

# By the class: how instances are made, and what they take. Floating inputs are differentiated.
CASES = {
    "AdaptiveAvgPool2d": [(partial(nn.AdaptiveAvgPool2d, (4, 3)), [IMAGES])],
    "AvgPool2d": [(partial(nn.AvgPool2d, 2, padding=1, count_include_pad=False), [IMAGES])],
    "BCELoss": [(partial(nn.BCELoss, weight), [between(4, 3)] * 2) for weight in (None, [0.5, 2.0, 1.0])],
    "BCEWithLogitsLoss": [
        (partial(nn.BCEWithLogitsLoss, 2.0), [LOGITS, between(6, 3)]),
        (partial(nn.BCEWithLogitsLoss, pos_weight=2.0), [LOGITS, between(6, 3)]),
    ],
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
    "KLDivLoss": [(nn.KLDivLoss, [ROWS, between(5, 4)]), (partial(nn.KLDivLoss, log_target=True), [ROWS, ROWS])],
    "L1Loss": [(nn.L1Loss, [ROWS, normal(5, 4)])],
    "LSTM": [(partial(nn.LSTM, 4, 3, 2, bidirectional=True, batch_first=True), [SEQUENCE])],
    "LSTMCell": [(partial(nn.LSTMCell, 4, 3), [ROWS])],
    "LayerNorm": [(partial(nn.LayerNorm, 4), [ROWS])],
    "LeakyReLU": [(nn.LeakyReLU, [ROWS])],
    "Linear": [(partial(nn.Linear, 4, 3), [SEQUENCE])],
    "LogSoftmax": [(nn.LogSoftmax, [ROWS])],
    "MSELoss": [(nn.MSELoss, [ROWS, normal(5, 4)])],
    "MaxPool2d": [(partial(nn.MaxPool2d, 3, stride=2, padding=1), [IMAGES])],
    "MultiheadAttention": [
        (partial(nn.MultiheadAttention, 4, 2), [SEQUENCE] * 3),
        (partial(nn.MultiheadAttention, 4, 2), [SEQUENCE] * 3 + [HIDDEN[:2]]),
        (partial(nn.MultiheadAttention, 4, 2), [SEQUENCE] * 3 + [np.zeros((2, 5), bool)]),
        (partial(nn.MultiheadAttention, 4, 2), [SEQUENCE] * 3 + [SCORES[:2]]),
    ],
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
    "TransformerEncoderLayer": [
        (partial(nn.TransformerEncoderLayer, 4, 2, 8, 0.0), [SEQUENCE, *masks])
        for masks in ([], [HIDDEN], [SCORES], [HIDDEN, SCORES[:2]], [SCORES, HIDDEN[:2]])
    ],
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


# Operations without a derivative, and those that no layer and no row of the table of operations has.
COUNTS, FLAGS = np.array([[3, 1, 2], [2, 2, 0]], "int32"), np.array([[True, False, True], [False, False, True]])
NUMBERS = normal(2, 3)
CALLS = {
    "equal": (lambda x: x == 2, COUNTS),
    "not_equal": (lambda x: x != 2, COUNTS),
    "less": (lambda x: x < 0.2, NUMBERS),
    "less_equal": (lambda x: x <= 2, COUNTS),
    "greater": (lambda x: x > 0.2, NUMBERS),
    "greater_equal": (lambda x: x >= 2, COUNTS),
    "bitwise_and": (lambda x: x & True, FLAGS),
    "bitwise_or": (lambda x: x | FLAGS[::-1].copy(), FLAGS),
    "bitwise_xor": (lambda x: x ^ 1, COUNTS),
    "invert": (lambda x: ~x, FLAGS),
    "floor_divide": (lambda x: x // 2, COUNTS),
    "cast": (lambda x: x.astype("float32"), COUNTS),
    "argmax": (lambda x: x.argmax(1), NUMBERS),
    "argmin": (lambda x: x.argmin(), NUMBERS),
    "argsort": (lambda x: x.argsort(1, True), COUNTS),
    "any": (lambda x: x.any(0), FLAGS),
    "all": (lambda x: x.all(), FLAGS),
    "one_hot": (lambda x: one_hot(x, 4), COUNTS),
    "assignment": (lambda x: assigned(x.clone()), NUMBERS),
    "data": (lambda x: overwritten(x.clone()), NUMBERS),
    "logical operations": (
        lambda x: (x.logical_and(x > 1).logical_or(x < 0).logical_xor(x)).logical_not().float(),
        whole(3, 4, 3),
    ),
    "questions": (lambda x: x.isnan().float() + 2 * x.isinf().float() + 4 * x.isfinite().float(), ROWS),
    "isclose": (lambda x: x.isclose(x.round(1), rtol=0.1).float(), ROWS),
    "a traced index": (lambda x: (2 * x).index_select(1, x[0].abs().clip(0, 1)), whole(3, 4, 3)),
    "count_nonzero": (lambda x: x.count_nonzero(0), whole(2, 4, 3)),
}


def assigned(x):
    x[0, 1:] = 5.0
    x[x.argmax(0)] = x[0] * 2
    return x


def overwritten(x):
    x.data = x * 3
    return x


def placed(array):
    tensor = Tensor(0.0)
    tensor.buffer, tensor.device = array, JAX
    return tensor


@pytest.mark.parametrize("name", CALLS)
def test_operations_without_a_derivative_compile_with_the_same_values(name):
    call, array = CALLS[name]
    its = jax.jit(lambda array: call(placed(array)).buffer)(array)
    np.testing.assert_allclose(call(Tensor.from_numpy(array.copy())).buffer, its, rtol=1e-6)


def rows_of_operations():
    """The table by which each differentiable operation is compared, under jax.jit as well."""
    path = Path(__file__).parents[1] / "autograd" / "test_autograd_operations.py"
    spec = importlib.util.spec_from_file_location("rows_of_operations", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module.TABLE


def primitives():
    """All that a module of minima defines."""
    found = {}
    for package in (operations, nn):
        for info in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
            parts = vars(importlib.import_module(info.name)).values()
            found |= {id(part): part for part in parts if isinstance(part, Primitive)}
    return list(found.values())


@pytest.mark.filterwarnings("ignore:Explicitly requested dtype float64")  # which JAX has not by default
def test_every_primitive_is_traced(monkeypatch):
    seen = set()

    def watched(primitive, forward):
        def call(xp, *inputs, **statics):
            if xp is jax.numpy:
                seen.add(id(primitive))
            return forward(xp, *inputs, **statics)

        return call

    every = primitives()
    for primitive in every:
        monkeypatch.setattr(primitive, "forward", watched(primitive, primitive.forward))
    for cases in CASES.values():
        for make, arrays in cases:
            layer = make()
            state = {name: part.detach().numpy() for name, part in [*layer.named_parameters(), *layer.named_buffers()]}
            jax.eval_shape(lambda a, s, make=make: run(make, a, s, JAX), arrays, state)
    for call, array in CALLS.values():
        jax.eval_shape(lambda a, call=call: call(placed(a)).buffer, array)
    for row in rows_of_operations():
        arrays = [a.astype("float32") for a in row.draw(find(row.shapes, lambda shape: True), seed=1)]
        jax.eval_shape(lambda *a, row=row: row.minima(*map(placed, a)).buffer, *arrays)
    assert len(every) > 80 and [p.name for p in every if id(p) not in seen] == []


# What cannot be compiled, and why.
UNTRACEABLE = {
    "a mask as an index": (lambda x: x[x > 0], "the shape of the result depends on values"),
}


@pytest.mark.parametrize("name", UNTRACEABLE)
def test_what_cannot_be_traced_is_refused_by_jax(name):
    call, _ = UNTRACEABLE[name]
    with pytest.raises(jax.errors.NonConcreteBooleanIndexError):
        jax.jit(lambda array: call(placed(array)).buffer)(NUMBERS)
