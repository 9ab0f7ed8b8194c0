"""Convolutions, poolings and resampling: against PyTorch, how they start, under jax.jit, and the sentences."""

import math
import re

import numpy as np
import pytest
from beside_torch import case, compare, name_of

from minima import init, nn
from minima.autograd import Tensor
from minima.autograd.device import Device
from minima.random import manual_seed

LAYERS = [
    case("Conv1d", 3, 4, 3, shape=(2, 3, 9)),
    case("Conv1d", 4, 6, 2, stride=3, padding=1, dilation=2, groups=2, shape=(3, 4, 11)),
    case("Conv1d", 4, 2, 4, padding="same", bias=False, shape=(2, 4, 7)),
    case("Conv1d", 3, 4, 3, shape=(3, 9)),
    case("Conv1d", 2, 2, 3, padding=2, padding_mode="circular", shape=(2, 2, 6)),
    case("Conv2d", 3, 4, 3, shape=(2, 3, 6, 5)),
    case("Conv2d", 3, 4, 1, shape=(2, 3, 6, 5)),
    case("Conv2d", 3, 5, (2, 3), stride=(2, 1), padding=(1, 2), bias=False, shape=(2, 3, 6, 5)),
    case("Conv2d", 4, 6, 3, stride=2, padding=2, dilation=(1, 2), groups=2, shape=(2, 4, 7, 8)),
    case("Conv2d", 4, 4, 3, padding=1, groups=4, shape=(2, 4, 5, 5)),
    case("Conv2d", 2, 3, (4, 3), padding="same", dilation=2, shape=(2, 2, 7, 6)),
    case("Conv2d", 2, 3, 3, padding="valid", shape=(2, 5, 6)),
    case("Conv2d", 2, 3, 3, padding=(1, 2), padding_mode="reflect", shape=(2, 2, 4, 5)),
    case("Conv2d", 2, 3, 3, padding=2, padding_mode="replicate", stride=2, shape=(2, 2, 4, 5)),
    case("Conv2d", 2, 3, 2, stride=3, shape=(2, 2, 7, 9)),
    case("Conv2d", 2, 3, 2, stride=2, shape=(2, 2, 7, 6)),
    case("Conv2d", 2, 3, 3, shape=(0, 2, 7, 6)),
    case("ConvTranspose2d", 3, 4, 3, shape=(2, 3, 4, 5)),
    case("ConvTranspose2d", 3, 4, 2, stride=2, bias=False, shape=(2, 3, 4, 5)),
    case("ConvTranspose2d", 4, 6, (3, 4), stride=(2, 3), padding=(1, 0), groups=2, shape=(2, 4, 3, 4)),
    case("ConvTranspose2d", 3, 2, 3, 2, 1, 1, shape=(2, 3, 4, 5)),
    case("ConvTranspose2d", 3, 2, 3, 3, 0, (2, 1), shape=(2, 3, 4, 5)),
    case("ConvTranspose2d", 2, 2, 3, 1, 1, 1, dilation=2, shape=(2, 4, 5)),
    case("MaxPool2d", 2, shape=(2, 3, 6, 5)),
    case("MaxPool2d", (3, 2), stride=(2, 1), padding=(1, 0), shape=(2, 3, 6, 5)),
    case("MaxPool2d", 2, stride=1, dilation=2, shape=(3, 6, 5)),
    case("MaxPool2d", 3, stride=2, padding=1, ceil_mode=True, shape=(2, 3, 6, 8)),
    case("MaxPool2d", 2, stride=3, ceil_mode=True, shape=(2, 3, 5, 6)),
    case("AvgPool2d", 2, shape=(2, 3, 6, 5)),
    case("AvgPool2d", (3, 2), stride=(2, 1), padding=(1, 0), shape=(2, 3, 6, 5)),
    case("AvgPool2d", 3, stride=2, padding=1, ceil_mode=True, shape=(2, 3, 6, 8)),
    case("AvgPool2d", 3, stride=2, padding=1, ceil_mode=True, count_include_pad=False, shape=(2, 3, 6, 8)),
    case("AvgPool2d", 3, 1, 1, count_include_pad=False, shape=(3, 6, 8)),
    case("AvgPool2d", 2, divisor_override=3, shape=(2, 3, 4, 4)),
    case("AdaptiveAvgPool2d", 1, shape=(2, 3, 6, 5)),
    case("AdaptiveAvgPool2d", (4, 7), shape=(2, 3, 6, 5)),
    case("AdaptiveAvgPool2d", (None, 2), shape=(3, 6, 5)),
    case("Upsample", scale_factor=2, shape=(2, 3, 4, 5)),
    case("Upsample", scale_factor=(1.5, 0.7), shape=(2, 3, 4, 5)),
    case("Upsample", (7, 3), shape=(2, 3, 4, 5)),
    case("Upsample", scale_factor=(1.1, 2.1), shape=(2, 3, 4, 5)),
    case("Upsample", scale_factor=1.1, mode="bilinear", shape=(2, 3, 4, 5)),
    case("Upsample", 6, shape=(2, 3, 3)),
    case("Upsample", scale_factor=2, mode="linear", shape=(2, 3, 5)),
    case("Upsample", scale_factor=2.3, mode="bilinear", shape=(2, 3, 4, 5)),
    case("Upsample", (3, 9), mode="bilinear", align_corners=True, shape=(2, 3, 4, 5)),
    case("Upsample", (1, 9), mode="bilinear", align_corners=True, shape=(2, 3, 4, 5)),
    case("Upsample", scale_factor=(2, 3, 1), mode="trilinear", align_corners=False, shape=(2, 2, 3, 2, 4)),
]


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")  # PyTorch's, of its own speed
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 3e-5), ("float64", 1e-10)])
@pytest.mark.parametrize(("make", "theirs", "shape"), LAYERS, ids=map(name_of, LAYERS))
def test_values_and_gradients_are_those_of_torch(make, theirs, shape, dtype, tolerance):
    compare(make, theirs, shape, True, dtype, tolerance)


MANY = [
    case("Conv2d", 4, 6, 3, stride=2, padding=1, groups=2, shape=(700, 4, 9, 9)),
    case("Conv1d", 3, 4, 3, padding=1, shape=(1001, 3, 40)),
    case("ConvTranspose2d", 3, 4, 2, stride=2, shape=(911, 3, 5, 6)),
]


@pytest.mark.parametrize(("make", "theirs", "shape"), MANY, ids=map(name_of, MANY))
def test_samples_taken_a_few_at_a_time_are_all_there(make, theirs, shape):
    compare(make, theirs, shape, True, "float64", 1e-9)


def test_the_first_of_several_largest_values_gets_the_gradient_as_in_torch():
    torch = pytest.importorskip("torch")
    x = np.random.default_rng(0).integers(0, 3, (2, 3, 8, 8)).astype("float32")
    ours, theirs = Tensor(x, requires_grad=True), torch.from_numpy(x).requires_grad_()
    for keywords in ({"kernel_size": 2}, {"kernel_size": 3, "stride": 1, "padding": 1}):
        y, z = nn.MaxPool2d(**keywords)(ours), torch.nn.MaxPool2d(**keywords)(theirs)
        y.backward(np.ones(y.shape, "float32"))
        z.backward(torch.ones_like(z))
        np.testing.assert_array_equal(ours.grad.numpy(), theirs.grad.numpy())


@pytest.mark.parametrize("kernel", [(2, 2), (3, 1), (17, 16)])
def test_the_gradient_of_a_largest_value_that_is_no_number_goes_where_it_goes_in_torch(kernel):
    torch = pytest.importorskip("torch")
    array = np.random.default_rng(0).integers(-2, 3, (3, 2, 17, 32)).astype("float32")
    array[np.random.default_rng(1).random(array.shape) < 0.02] = np.nan
    x, y = Tensor(array, requires_grad=True), torch.from_numpy(array.copy()).requires_grad_()
    result, expected = nn.MaxPool2d(kernel)(x), torch.nn.MaxPool2d(kernel)(y)
    np.testing.assert_array_equal(result.detach().numpy(), expected.detach().numpy())
    result.sum().backward()
    expected.sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), y.grad.numpy())


def test_a_wider_bias_widens_the_result():
    layer = nn.Conv2d(1, 1, 1)
    layer.bias = nn.Parameter([1e-9], dtype="float64")
    y = layer(Tensor(np.zeros((1, 1, 2, 2))))
    assert y.dtype == "float64" and (y.detach().numpy() == 1e-9).all()


@pytest.mark.parametrize(
    ("name", "arguments", "fan"),
    [
        ("Conv1d", (40, 50, 5), 200),
        ("Conv2d", (40, 50, 3), 360),
        ("Conv2d", (40, 80, 3, 1, 0, 1, 4), 90),
        ("ConvTranspose2d", (40, 60, 3), 540),
        ("ConvTranspose2d", (40, 60, 3, 1, 0, 0, 4), 135),
    ],
)
def test_convolutions_start_from_the_uniform_distribution_of_torch(name, arguments, fan):
    torch = pytest.importorskip("torch")
    manual_seed(0), torch.manual_seed(0)
    for layer in (getattr(nn, name)(*arguments), getattr(torch.nn, name)(*arguments)):
        for values, far in ((layer.weight, 0.99), (layer.bias, 0.85)):
            values = values.detach().numpy() * math.sqrt(fan)
            assert far < np.abs(values).max() <= 1 + 1e-6
            assert abs(values.std() * math.sqrt(3) - 1) < 0.6 / math.sqrt(values.size) * 3
            assert abs(values.mean()) < 0.6 / math.sqrt(values.size) * 4


@pytest.mark.parametrize(("make", "theirs", "shape"), LAYERS, ids=map(name_of, LAYERS))
def test_they_compile_under_jax(make, theirs, shape):
    jax = pytest.importorskip("jax")
    if 0 in shape:
        pytest.skip("nothing to compile")
    layer, device = make(), Device("jax", jax.numpy)
    parameters = [parameter.detach().numpy() for parameter in layer.parameters()]
    names = [name for name, _ in layer.named_parameters()]

    def place(array, tensor):
        tensor.buffer, tensor.device, tensor.node.shape = array, device, array.shape
        return tensor

    def gradients(*arrays):
        traced, x = make(), place(arrays[0], Tensor(0.0, requires_grad=True))
        for name, array in zip(names, arrays[1:], strict=True):
            place(array, getattr(traced, name))
        y = traced(x)
        y.backward(np.ones(y.shape, "float32"))
        return [y.buffer, x.grad.buffer, *(parameter.grad.buffer for parameter in traced.parameters())]

    x = Tensor(np.random.default_rng(0).normal(size=shape), requires_grad=True)
    y = layer(x)
    y.backward(np.ones(y.shape, "float32"))
    ours = [y, x.grad, *(parameter.grad for parameter in layer.parameters())]
    for mine, its in zip(ours, jax.jit(gradients)(x.detach().numpy(), *parameters), strict=True):
        np.testing.assert_allclose(mine.buffer, its, rtol=1e-4, atol=1e-5)


def test_halves_are_rounded_once():
    draws = np.random.default_rng(0)
    x = draws.normal(0, 30, (2, 64, 9, 9)).astype("float16")
    for make in (
        lambda dtype: nn.Conv2d(64, 4, 3, dtype=dtype),
        lambda dtype: nn.ConvTranspose2d(64, 4, 3, dtype=dtype),
    ):
        half, double = make("float16"), make("float64")
        double.load_state_dict(half.state_dict())
        y, exact = half(Tensor(x, dtype="float16")), double(Tensor(x, dtype="float64"))
        assert y.dtype == "float16"
        np.testing.assert_allclose(y.detach().numpy(), exact.detach().numpy(), rtol=2**-10, atol=1e-4)
    for layer in (nn.MaxPool2d(3), nn.AvgPool2d(3), nn.AdaptiveAvgPool2d(2), nn.Upsample(20, mode="bilinear")):
        y, exact = layer(Tensor(x, dtype="float16")), layer(Tensor(x, dtype="float64"))
        assert y.dtype == "float16"
        np.testing.assert_allclose(y.numpy(), exact.numpy(), rtol=2**-10, atol=1e-4)


def test_reprs_are_those_of_torch():
    torch = pytest.importorskip("torch")
    for _, (name, arguments, keywords), _ in LAYERS:
        if name in ("Conv1d", "Conv2d", "ConvTranspose2d"):
            assert repr(getattr(nn, name)(*arguments, **keywords)) == repr(
                getattr(torch.nn, name)(*arguments, **keywords)
            )


x = init.ones(2, 3, 8, 8)
ERRORS = [
    (
        lambda: nn.Conv2d(4, 2, 3)(x),
        "Conv2d: the input must have the shape (N, 4, H, W) or (4, H, W); got (2, 3, 8, 8)",
    ),
    (lambda: nn.Conv1d(4, 2, 3)(init.ones(4)), "Conv1d: the input must have the shape (N, 4, L) or (4, L); got (4,)"),
    (lambda: nn.Conv2d(3, 2, (3, 3, 3)), "Conv2d: kernel_size must be an integer or 2 of them; got (3, 3, 3)"),
    (lambda: nn.Conv2d(3, 2, 0), "Conv2d: kernel_size must be an integer of at least 1; got 0"),
    (lambda: nn.Conv2d(3, 2, 3, stride=0), "Conv2d: stride must be an integer of at least 1; got 0"),
    (lambda: nn.Conv2d(3, 2, 3, padding=-1), "Conv2d: padding must be an integer of at least 0; got -1"),
    (lambda: nn.Conv2d(3, 2, 3, groups=2), "Conv2d: groups must divide in_channels 3 and out_channels 2; got 2"),
    (lambda: nn.Conv2d(3, 2, 3, padding="full"), "Conv2d: padding must be one of 'valid', 'same'; got 'full'"),
    (lambda: nn.Conv2d(3, 2, 3, 2, padding="same"), "Conv2d: padding='same' needs a stride of 1; got 2"),
    (
        lambda: nn.Conv2d(3, 2, 9)(x),
        "Conv2d: the input must be at least as long as the window of (9, 9), padding ((0, 0), (0, 0)) included; "
        "got (8, 8)",
    ),
    (
        lambda: nn.Conv2d(3, 2, 3, padding=8, padding_mode="reflect")(x),
        "Conv2d: padding (8, 8) by mode 'reflect' needs a longer axis 2; got (2, 3, 8, 8)",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 2, 3, output_padding=1),
        "ConvTranspose2d: output_padding must be below the larger of stride and dilation, (1, 1); got 1",
    ),
    (
        lambda: nn.ConvTranspose2d(3, 2, 1, padding=4)(x),
        "ConvTranspose2d: the input is so small that padding (4, 4) cuts off all of the output; got (2, 3, 8, 8)",
    ),
    (lambda: nn.MaxPool2d(3, padding=2), "MaxPool2d: padding must be at most half of the kernel_size (3, 3); got 2"),
    (
        lambda: nn.MaxPool2d(2)(x[0, 0]),
        "MaxPool2d: the input must have the shape (N, C, H, W) or (C, H, W); got (8, 8)",
    ),
    (
        lambda: nn.AvgPool2d(2, divisor_override=0),
        "AvgPool2d: divisor_override must be an integer of at least 1; got 0",
    ),
    (
        lambda: nn.AdaptiveAvgPool2d((1, 2, 3)),
        "AdaptiveAvgPool2d: output_size must be an integer or None, or two of them; got (1, 2, 3)",
    ),
    (lambda: nn.Upsample(), "Upsample: takes either size or scale_factor; got (None, None)"),
    (
        lambda: nn.Upsample(2, mode="linear")(x),
        "Upsample: mode 'linear' takes inputs (N, C, ...) of 3 axes; got (2, 3, 8, 8)",
    ),
    (
        lambda: nn.Upsample((2, 2, 2))(x),
        "Upsample: size=(2, 2, 2), mode='nearest' wants an input (N, C, ...) with 2 sizes that are not 0; "
        "got (2, 3, 8, 8)",
    ),
    (
        lambda: nn.Upsample(2, align_corners=True),
        "Upsample: align_corners is for the modes that interpolate; got True; leave it out",
    ),
    (lambda: nn.Upsample(scale_factor=0.1)(x), "Upsample: nothing is left of axis 2; got (2, 3, 8, 8)"),
]


@pytest.mark.parametrize(("call", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        call()
