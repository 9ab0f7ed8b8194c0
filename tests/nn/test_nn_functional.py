"""nn.functional and nn.init: the functions of networks and the initialisers by PyTorch's names, against PyTorch."""

import ast
import inspect
import math
import re

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


def normal(*shape):
    return RNG.standard_normal(shape)


def between(*shape):
    return RNG.uniform(0.05, 0.95, shape)


class Fixed(np.ndarray):
    """What PyTorch cannot differentiate by: weights of losses, running statistics, and what stands at an edge."""


def fixed(array):
    return array.view(Fixed)


ROWS, IMAGES, ONE, SIGNAL = normal(4, 3), normal(2, 4, 7, 6), normal(4, 7, 6), normal(3, 4, 9)
LOGITS, CLASSES, CHANCES = normal(6, 4), np.array([0, 3, 1, 1, 2, 0]), between(6, 4)
MAPS, PLACES = normal(3, 4, 2, 5), RNG.integers(0, 4, (3, 2, 5))
IGNORING, WEIGHT = np.array([0, -7, 1, -7, 2, 0]), fixed(np.array([0.5, 2.0, 0.0, 1.0]))
IDS = np.array([[1, 0, 6], [6, 5, 2]])

# For each function its calls: arguments by their order and by PyTorch's names. Arrays become tensors, and those that
# float are differentiated.
CALLS = {
    "adaptive_avg_pool2d": [([IMAGES, 1], {}), ([IMAGES, (3, 4)], {}), ([ONE], {"output_size": (None, 2)})],
    "avg_pool2d": [
        ([IMAGES, 2], {}),
        ([IMAGES, (3, 2), (2, 1), (1, 0), True, False], {}),
        ([ONE], {"kernel_size": 3, "stride": 2, "padding": 1, "ceil_mode": True, "divisor_override": 5}),
    ],
    "batch_norm": [
        ([IMAGES, None, None], {"training": True}),
        ([IMAGES, None, None, normal(4), normal(4), True], {"eps": 0.1}),
        ([IMAGES[..., 0, 0], None, None, normal(4)], {"training": True}),
        ([IMAGES, fixed(normal(4)), fixed(between(4))], {}),
        ([SIGNAL, fixed(normal(4)), fixed(between(4)), normal(4), normal(4), False, 0.3, 0.1], {}),
        ([SIGNAL, fixed(normal(4)), fixed(between(4))], {"bias": normal(4)}),
    ],
    "binary_cross_entropy": [
        ([CHANCES, between(6, 4)], {}),
        ([CHANCES, between(6, 4), WEIGHT], {"reduction": "none"}),
        ([np.array([0.0, 1.0, 0.0, 1.0]), fixed(np.array([0.0, 1.0, 1.0, 0.0]))], {"reduction": "sum"}),
    ],
    "binary_cross_entropy_with_logits": [
        ([LOGITS, CHANCES], {}),
        ([LOGITS, CHANCES, fixed(between(6, 1))], {"reduction": "sum"}),
        ([LOGITS, CHANCES, WEIGHT], {"pos_weight": fixed(between(4)), "reduction": "none"}),
        ([np.array([-800.0, -40.0, 25.0, 900.0]), np.array([0.0, 1.0, 0.5, 0.0])], {"reduction": "none"}),
    ],
    "conv1d": [
        ([SIGNAL, normal(5, 4, 3)], {}),
        ([SIGNAL, normal(6, 2, 2), normal(6)], {"stride": 3, "padding": 1, "dilation": 2, "groups": 2}),
        ([SIGNAL[0], normal(2, 4, 4), normal(2), 1, "same"], {}),
    ],
    "conv2d": [
        ([IMAGES, normal(5, 4, 3, 2), normal(5)], {}),
        ([IMAGES, normal(6, 2, 3, 3), None, 2, (2, 1), (1, 2), 2], {}),
        ([ONE, normal(4, 1, 3, 3)], {"padding": "same", "groups": 4}),
        ([IMAGES, normal(2, 4, 1, 1), normal(2)], {"padding": "valid", "stride": (1, 2)}),
        ([IMAGES[:0], normal(2, 4, 1, 1), normal(2)], {}),
    ],
    "conv_transpose2d": [
        ([IMAGES, normal(4, 3, 2, 3), normal(3)], {}),
        ([IMAGES, normal(4, 3, 3, 3), None, 2, 1, 1, 2, 1], {}),
        ([ONE, normal(4, 2, 3, 2)], {"stride": (3, 1), "output_padding": (2, 0), "dilation": (1, 2)}),
    ],
    "cosine_similarity": [
        ([ROWS, normal(4, 3)], {}),
        ([ROWS, normal(3)], {"dim": 0}),
        ([ROWS, normal(4, 3), -1, 0.01], {}),
    ],
    "cross_entropy": [
        ([LOGITS, CLASSES], {}),
        ([LOGITS, CHANCES], {"reduction": "sum", "label_smoothing": 0.2}),
        ([LOGITS, IGNORING, WEIGHT], {"ignore_index": -7}),
        ([MAPS, PLACES, WEIGHT], {"label_smoothing": 0.1, "reduction": "none"}),
        ([MAPS, PLACES], {"ignore_index": 1, "label_smoothing": 0.3}),
    ],
    "dropout": [([ROWS], {"p": 0.5, "training": False}), ([ROWS, 0.0], {}), ([ROWS, 1.0, True], {})],
    "dropout2d": [([IMAGES, 0.5, False], {}), ([IMAGES], {"p": 1.0})],
    "elu": [([ROWS], {}), ([ROWS], {"alpha": 0.5})],
    "embedding": [([IDS, normal(7, 3)], {}), ([IDS, normal(7, 3)], {"padding_idx": -1}), ([IDS, normal(7, 3), 0], {})],
    "gelu": [([ROWS], {}), ([ROWS], {"approximate": "tanh"})],
    "group_norm": [
        ([IMAGES, 2], {}),
        ([IMAGES, 4, normal(4), normal(4), 0.1], {}),
        ([ROWS, 1], {"weight": normal(3)}),
    ],
    "huber_loss": [
        ([ROWS, normal(4, 3)], {}),
        ([ROWS, normal(4, 3), "none", 0.5], {}),
        ([ROWS, normal(4, 3)], {"delta": 9}),
    ],
    "interpolate": [
        ([IMAGES], {"scale_factor": 2}),
        ([IMAGES, (5, 9)], {}),
        ([IMAGES, 11, None, "bilinear", True], {}),
        ([IMAGES], {"scale_factor": (1.5, 0.7), "mode": "bilinear", "align_corners": False}),
        ([SIGNAL], {"size": 5, "mode": "linear"}),
        ([normal(1, 2, 3, 2, 4)], {"scale_factor": 1.3, "mode": "trilinear"}),
        ([fixed(normal(1, 2, 3, 2, 4))], {"scale_factor": (1.3, 2.3, 1.1)}),  # where PyTorch goes back another way
        ([IMAGES], {"scale_factor": (1.1, 2.1)}),
        ([IMAGES], {"scale_factor": (1.1, 2.1), "mode": "bilinear"}),
        ([fixed(SIGNAL)], {"scale_factor": 1.1}),
    ],
    "kl_div": [
        ([LOGITS, CHANCES], {"reduction": "batchmean"}),
        ([LOGITS, normal(6, 4)], {"reduction": "sum", "log_target": True}),
        ([LOGITS, CHANCES], {"reduction": "none"}),
    ],
    "l1_loss": [([ROWS, normal(4, 3)], {}), ([ROWS, normal(4, 3)], {"reduction": "none"})],
    "layer_norm": [
        ([ROWS, (3,)], {}),
        ([IMAGES, (7, 6), normal(7, 6), normal(7, 6), 0.1], {}),
        ([ROWS, (3,)], {"weight": normal(3)}),
        ([ROWS, (3,)], {"bias": normal(3)}),
    ],
    "leaky_relu": [([ROWS], {}), ([ROWS], {"negative_slope": 0.2})],
    "linear": [([ROWS, normal(5, 3)], {}), ([normal(2, 4, 3), normal(5, 3), normal(5)], {})],
    "log_softmax": [([ROWS], {"dim": 1}), ([IMAGES, 2], {})],
    "max_pool2d": [
        ([IMAGES, 2], {}),
        ([IMAGES, (3, 2), (2, 1), (1, 0), 1, True], {}),
        ([ONE], {"kernel_size": 2, "stride": 1, "dilation": (2, 3)}),
    ],
    "mse_loss": [([ROWS, normal(4, 3)], {}), ([ROWS, normal(4, 3)], {"reduction": "sum"})],
    "nll_loss": [
        ([LOGITS, CLASSES], {}),
        ([MAPS, PLACES, WEIGHT], {"reduction": "none"}),
        ([LOGITS, IGNORING, WEIGHT], {"ignore_index": -7}),
    ],
    "normalize": [
        ([ROWS], {}),
        ([IMAGES, 3.0, -1], {}),
        ([ROWS], {"p": 1, "dim": 0}),
        ([ROWS], {"eps": 5}),
        ([np.zeros((2, 3))], {}),
    ],
    "one_hot": [([CLASSES], {}), ([CLASSES, 6], {})],
    "pad": [
        ([ROWS, (1, 2)], {}),
        ([IMAGES, (1, 0, 0, 3, 1, 1)], {"value": 2.5}),
        ([IMAGES, (-1, 2, 1, -3)], {}),
        ([IMAGES, (2, 1, 3, 0), "reflect"], {}),
        ([IMAGES, (2, 7, 3, 0)], {"mode": "replicate"}),
        ([SIGNAL, (9, 2)], {"mode": "circular"}),
        ([IMAGES, (-1, 2, 1, 0)], {"mode": "reflect"}),
        ([IMAGES, ()], {}),
    ],
    "relu": [([ROWS], {})],
    "rms_norm": [
        ([ROWS, (3,)], {}),
        ([IMAGES, (7, 6), normal(7, 6), 0.1], {}),
        ([IMAGES, (6,)], {"weight": normal(6)}),
    ],
    "sigmoid": [([ROWS], {})],
    "silu": [([ROWS], {})],
    "smooth_l1_loss": [
        ([ROWS, normal(4, 3)], {}),
        ([ROWS, normal(4, 3)], {"reduction": "none", "beta": 0.5}),
        ([ROWS, normal(4, 3)], {"beta": 0}),
    ],
    "softmax": [([ROWS], {"dim": -1}), ([IMAGES, 1], {})],
    "softplus": [([ROWS], {}), ([ROWS], {"beta": 2, "threshold": 1}), ([normal(40000) * 10, 0.5], {})],
    "tanh": [([ROWS], {})],
}  # fmt: skip


def called(function, arguments, words, tensor):
    """The result, and the tensors that it was differentiated by."""
    made = [tensor(each) if isinstance(each, np.ndarray) else each for each in arguments]
    named = {name: tensor(each) if isinstance(each, np.ndarray) else each for name, each in words.items()}
    tensors = [each for each in (*made, *named.values()) if getattr(each, "requires_grad", False)]
    return function(*made, **named), tensors


def differentiated(array):
    return array.dtype.kind == "f" and not isinstance(array, Fixed)


def mine(array):
    return Tensor(array, dtype=array.dtype, requires_grad=differentiated(array))


def its(array):
    return torch.tensor(np.array(array), requires_grad=differentiated(array))


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch's, of its own speed
@pytest.mark.parametrize(("name", "place"), [(name, place) for name in CALLS for place in range(len(CALLS[name]))])
def test_the_same_call_gives_the_values_and_the_gradients_of_pytorch(name, place):
    arguments, words = CALLS[name][place]
    ours, ourselves = called(getattr(nn.functional, name), arguments, words, mine)
    theirs, themselves = called(getattr(F, name), arguments, words, its)
    assert ours.shape == tuple(theirs.shape) and str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-10, atol=1e-12)
    if name == "one_hot" or isinstance(arguments[0], Fixed):
        return
    assert ourselves and len(ourselves) == len(themselves)
    cotangent = RNG.standard_normal(ours.shape)
    ours.backward(Tensor(cotangent, dtype="float64"))
    theirs.backward(torch.tensor(cotangent))
    for x, y in zip(ourselves, themselves, strict=True):
        np.testing.assert_allclose(x.grad.numpy(), y.grad.numpy(), rtol=1e-9, atol=1e-11)


def test_every_function_is_tried():
    assert {*CALLS, "scaled_dot_product_attention"} == {*nn.functional.__all__}


INNER = {"multi_head_attention_forward", "_canonical_mask", "_none_or_dtype"}
"""What layers of PyTorch call of its functions that is not for users."""


def calls_of(layer):
    """The functions of torch.nn.functional that a layer of PyTorch calls."""
    kinds = [kind for kind in layer.__mro__ if kind.__module__.startswith("torch.nn.modules.")]
    sources = [inspect.getsource(kind) for kind in kinds if kind is not torch.nn.Module]
    return {name for source in sources for name in re.findall(r"\bF\.(\w+)\(", source)} - INNER


def test_every_function_that_layers_of_pytorch_call_is_there_for_ours():
    called_by = {name: calls_of(getattr(torch.nn, name)) for name in nn.__all__ if hasattr(torch.nn, name)
                 and isinstance(getattr(torch.nn, name), type) and name not in ("Module", "Parameter")}  # fmt: skip
    assert called_by["Conv2d"] == {"conv2d", "pad"} and called_by["Upsample"] == {"interpolate"}
    assert sum(map(bool, called_by.values())) > 25
    missing = {name: calls - {*nn.functional.__all__} for name, calls in called_by.items()}
    assert {name: calls for name, calls in missing.items() if calls} == {}


def arguments_of(name):
    """The arguments of a function of PyTorch with their defaults, of a compiled one by the head of its text."""
    function = getattr(F, f"_{name}" if name == "max_pool2d" else name)  # of which there is one for each result
    try:
        return {p.name: p.default for p in inspect.signature(function).parameters.values()}
    except ValueError:
        head = re.search(rf"{name}\((.*?)\) ->", function.__doc__, re.DOTALL)[1]
        arguments = ast.parse(f"def f({head}): ...").body[0].args
        names = [a.arg for a in (*arguments.args, *arguments.kwonlyargs)]
        given = [*map(ast.literal_eval, arguments.defaults), *map(ast.literal_eval, arguments.kw_defaults)]
        return dict(zip(names, [inspect.Parameter.empty] * (len(names) - len(given)) + given, strict=True))


SHARED = {"relu", "gelu", "elu", "silu", "leaky_relu", "softplus", "sigmoid", "tanh", "linear", "one_hot"}
"""What is a function of tensors elsewhere too, and calls its operand ``x``."""


@pytest.mark.parametrize("name", sorted({*nn.functional.__all__} - {"softmax", "log_softmax"}))
def test_names_orders_and_defaults_of_arguments_are_those_of_pytorch(name):
    ours, theirs = inspect.signature(getattr(nn.functional, name)).parameters.values(), arguments_of(name)
    names = [("x" if name in SHARED and not i else key) for i, key in enumerate(theirs)]
    placed = [p.name for p in ours if p.kind is p.POSITIONAL_OR_KEYWORD]
    assert placed == names[: len(placed)]
    for p in ours:
        assert p.name in names
        if p.name != "ignore_index" and p.name != "x":
            assert p.default == theirs[p.name]


@pytest.mark.parametrize("shape", [(5, 4), (3, 4, 6), (3, 4, 2, 5)])
def test_batch_norm_moves_the_running_statistics_as_in_pytorch(shape):
    x, mean, var = normal(*shape), normal(4), between(4)
    ours, theirs = ([make(each) for each in (x, mean, var)] for make in (lambda a: Tensor(a, "float64"), torch.tensor))
    for _ in range(2):
        nn.functional.batch_norm(*ours, training=True, momentum=0.3)
        F.batch_norm(*theirs, training=True, momentum=0.3)
        nn.functional.batch_norm(*ours, training=False)
    for mine, its in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-12)


def test_dropout_of_channels_in_training_is_the_layer():
    manual_seed(1)
    one = nn.functional.dropout2d(IMAGES, 0.3)
    manual_seed(1)
    assert one.tolist() == nn.Dropout2d(0.3)(IMAGES).tolist()
    assert (one.numpy() == 0).all(axis=(2, 3)).any()


def test_dropout_in_training_is_the_layer():
    manual_seed(1)
    one = nn.functional.dropout(ROWS, 0.3)
    manual_seed(1)
    assert one.tolist() == nn.Dropout(0.3)(ROWS).tolist() and (one == 0).any().item()


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
