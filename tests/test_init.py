"""Initialisers: values, PyTorch's definitions of fan and gain, moments, seeds, and the sentences for bad arguments."""

import math
import re

import numpy as np
import pytest

from minima import init
from minima.autograd import Tensor
from minima.random import manual_seed

DRAWN = [
    init.rand,
    init.randn,
    init.uniform,
    init.normal,
    init.xavier_uniform,
    init.xavier_normal,
    init.kaiming_uniform,
    init.kaiming_normal,
]
CONSTANT = [(init.zeros, {}, 0.0), (init.ones, {}, 1.0), (init.constant, {"value": 2.5}, 2.5)]
SHAPE = (200, 150)


@pytest.mark.parametrize(("fn", "arguments", "value"), CONSTANT)
@pytest.mark.parametrize("shape", [(), (3,), (2, 0), (2, 3, 4)])
def test_constants_have_shape_value_dtype_and_flags(fn, arguments, value, shape):
    for made in (fn(*shape, **arguments), fn(shape, **arguments), fn(list(shape), **arguments)):
        assert isinstance(made, Tensor)
        assert made.shape == shape
        assert made.dtype == np.float32
        assert not made.requires_grad
        assert np.all(made.numpy() == value)
    assert fn(*shape, dtype="float64", requires_grad=True, **arguments).requires_grad
    assert fn(*shape, dtype="int64", **arguments).dtype == np.int64


@pytest.mark.parametrize("fn", DRAWN)
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_draws_repeat_by_seed_and_agree_between_dtypes(fn, dtype):
    manual_seed(7)
    reference = fn(*SHAPE, dtype="float64").numpy()
    again = fn(*SHAPE, dtype="float64").numpy()
    manual_seed(7)
    drawn = fn(SHAPE, dtype=dtype, requires_grad=True)
    assert drawn.dtype == np.dtype(dtype)
    assert drawn.requires_grad and drawn.shape == SHAPE
    tolerance = float(np.finfo(dtype).eps)
    np.testing.assert_allclose(drawn.detach().numpy(), reference, rtol=tolerance, atol=1e-7)
    assert not np.array_equal(reference, again)


# name, arguments, mean, standard deviation, bound (None for the normal ones)
MOMENTS = [
    (init.rand, {}, 0.5, 1 / math.sqrt(12), (0, 1)),
    (init.randn, {}, 0, 1, None),
    (init.uniform, {"low": -1, "high": 3}, 1, 4 / math.sqrt(12), (-1, 3)),
    (init.normal, {"mean": 2, "std": 0.1}, 2, 0.1, None),
    (init.xavier_uniform, {}, 0, math.sqrt(2 / 350), (-math.sqrt(6 / 350), math.sqrt(6 / 350))),
    (init.xavier_uniform, {"gain": 2}, 0, 2 * math.sqrt(2 / 350), (-2 * math.sqrt(6 / 350), 2 * math.sqrt(6 / 350))),
    (init.xavier_normal, {"gain": 0.5}, 0, 0.5 * math.sqrt(2 / 350), None),
    (init.kaiming_uniform, {}, 0, math.sqrt(2 / 150), (-math.sqrt(6 / 150), math.sqrt(6 / 150))),
    (init.kaiming_uniform, {"a": math.sqrt(5)}, 0, 1 / math.sqrt(450), (-1 / math.sqrt(150), 1 / math.sqrt(150))),
    (init.kaiming_normal, {"mode": "fan_out", "nonlinearity": "relu"}, 0, math.sqrt(2 / 200), None),
    (init.kaiming_normal, {"nonlinearity": "tanh"}, 0, 5 / 3 / math.sqrt(150), None),
    (init.kaiming_normal, {"nonlinearity": "linear"}, 0, 1 / math.sqrt(150), None),
]


@pytest.mark.parametrize(("fn", "arguments", "mean", "std", "bound"), MOMENTS)
def test_draws_follow_the_distribution(fn, arguments, mean, std, bound):
    """Kolmogorov and Smirnov: the distance to the distribution function stays below its 0.1 % quantile."""
    manual_seed(0)
    draws = np.sort(fn(*SHAPE, dtype="float64", **arguments).numpy().ravel())
    if bound is None:
        expected = np.array([0.5 * math.erfc((mean - draw) / (std * math.sqrt(2))) for draw in draws])
    else:
        low, high = bound
        assert low <= draws[0] and draws[-1] < high
        expected = (draws - low) / (high - low)
        assert math.isclose((high - low) / math.sqrt(12), std)
    steps = np.arange(draws.size + 1) / draws.size
    distance = max(np.abs(expected - steps[1:]).max(), np.abs(expected - steps[:-1]).max())
    assert distance < 1.95 / math.sqrt(draws.size)


@pytest.mark.parametrize("shape", [(6, 4), (6, 4, 3), (2, 5, 3, 3)])
@pytest.mark.parametrize("nonlinearity", ["linear", "sigmoid", "tanh", "relu", "leaky_relu", "selu"])
@pytest.mark.parametrize("mode", ["fan_in", "fan_out"])
def test_bounds_are_those_of_torch(shape, nonlinearity, mode):
    torch = pytest.importorskip("torch")
    fan = torch.nn.init._calculate_correct_fan(torch.empty(shape), mode)
    gain = torch.nn.init.calculate_gain(nonlinearity, 0.3)
    manual_seed(1)
    kaiming = init.kaiming_normal(*shape, a=0.3, mode=mode, nonlinearity=nonlinearity, dtype="float64")
    manual_seed(1)
    np.testing.assert_allclose(kaiming.numpy(), init.randn(*shape, dtype="float64").numpy() * gain / math.sqrt(fan))
    fan_in, fan_out = torch.nn.init._calculate_fan_in_and_fan_out(torch.empty(shape))
    manual_seed(1)
    xavier = init.xavier_uniform(*shape, gain=gain, dtype="float64").numpy()
    manual_seed(1)
    units = init.uniform(*shape, low=-1, dtype="float64").numpy()
    np.testing.assert_allclose(xavier, units * gain * math.sqrt(6 / (fan_in + fan_out)), rtol=1e-12)


def test_the_upper_end_is_never_drawn_though_rounding_would_reach_it():
    manual_seed(0)
    assert float(init.uniform(10_000, low=0, high=1, dtype="float16").numpy().max()) < 1
    assert float(init.rand(10_000, dtype="float16").numpy().max()) < 1
    assert np.all(init.uniform(3, low=2, high=2).numpy() == 2)


def test_weights_without_elements_are_made():
    assert init.kaiming_uniform(3, 0).shape == (3, 0)
    assert init.xavier_normal(0, 0).shape == (0, 0)


ERRORS = [
    (lambda: init.zeros(2, -1), ValueError, "zeros: shape must consist of integers of at least 0; got (2, -1)"),
    (lambda: init.ones((2, 1.5)), TypeError, "ones: shape must consist of integers of at least 0; got (2, 1.5)"),
    (lambda: init.randn("ab"), TypeError, "randn: shape must consist of integers of at least 0; got 'ab'"),
    (
        lambda: init.rand(2, dtype="int64"),
        TypeError,
        "rand: dtype must be a floating one, since random numbers are drawn; got 'int64'",
    ),
    (
        lambda: init.uniform(2, low=1, high=0),
        ValueError,
        "uniform: low and high must be finite with low <= high; got (1, 0)",
    ),
    (
        lambda: init.uniform(2, high=math.inf),
        ValueError,
        "uniform: low and high must be finite with low <= high; got (0.0, inf)",
    ),
    (lambda: init.normal(2, std=-1), ValueError, "normal: mean and std must be finite with std >= 0; got (0.0, -1)"),
    (
        lambda: init.xavier_normal(3),
        ValueError,
        "xavier_normal: shape must be (out, in) or (out, in, *receptive); got (3,)",
    ),
    (
        lambda: init.xavier_uniform(3, 3, gain=-1),
        ValueError,
        "xavier_uniform: gain must be finite and at least 0; got -1",
    ),
    (
        lambda: init.kaiming_normal(3, 3, mode="in"),
        ValueError,
        "kaiming_normal: mode must be one of 'fan_in', 'fan_out'; got 'in'",
    ),
    (lambda: init.kaiming_uniform(3, 3, a=math.nan), ValueError, "kaiming_uniform: a must be finite; got nan"),
    (
        lambda: init.kaiming_uniform(3, 3, nonlinearity="swish"),
        ValueError,
        "kaiming_uniform: nonlinearity must be one of 'linear', 'sigmoid', 'tanh', 'relu', 'leaky_relu', 'selu'; "
        "got 'swish'",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
