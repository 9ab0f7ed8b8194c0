"""float16: wherever numbers add up, the result is the exact one, rounded, whatever their number and size."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import minima.autograd as ag
from minima import nn
from minima.autograd import Tensor, primitive

DRAWS = np.random.default_rng(0)
MANY = 70_000  # more than the largest half, 65,504
ONES = np.ones(MANY)
SMALL = DRAWS.uniform(0.5, 1.5, MANY) * 2.0**-7
HUNDREDS = DRAWS.normal(0, 150, (40, 250))
TALL = DRAWS.normal(0, 1, (5000, 3))
WIDE = DRAWS.normal(0, 1, (3, 5000))
CLASSES = DRAWS.integers(0, 3, MANY)
LOGITS = DRAWS.normal(0, 3, (MANY, 3))
CHANCES = np.tile([[0.25, 0.25, 0.5], [0.0, 1.0, 0.0]], (MANY // 2, 1))
ERRORS = np.where(np.arange(2000) % 1000 == 0, 1000.0, 0.25)  # the square of one is beyond float16, their mean is not
ROWS = DRAWS.integers(0, 3, 30_000)


def same(x: Tensor, like: Tensor) -> Any:
    return x.astype(like.dtype)


# name, function, its operands, the gradient that comes back
CASES: list[tuple[str, Callable[..., Tensor], tuple[np.ndarray, ...], float]] = [
    ("sum", ag.sum, (SMALL,), 1),
    ("sum along the first axis", lambda x: x.sum(0), (TALL,), 1),
    ("sum along the last axis", lambda x: x.sum(-1), (WIDE,), 1),
    ("mean", ag.mean, (ONES,), 1000),
    ("mean along an axis", lambda x: x.mean(0), (TALL + 20,), 1000),
    ("mean of hundreds", lambda x: x.mean(1, keepdims=True), (np.abs(HUNDREDS),), 1),
    ("max of equal ones", ag.max, (ONES,), 1000),
    ("min of equal ones", lambda x: x.min(0), (ONES,), 1000),
    ("var", ag.var, (HUNDREDS,), 1),
    ("var of many", lambda x: x.var(ddof=1), (SMALL,), 30_000),
    ("var along an axis", lambda x: x.var(1, 1), (HUNDREDS,), 1),
    ("std", ag.std, (HUNDREDS,), 100),
    ("std beyond the variance", ag.std, (np.array([-1000.0, 1000.0, 500.0]),), 1),
    ("logsumexp", ag.logsumexp, (ONES * 600,), 1000),
    ("logsumexp along an axis", lambda x: x.logsumexp(0), (TALL + 600,), 1000),
    ("softmax", ag.softmax, (WIDE * 2,), 1),
    ("softmax over many", lambda x: x.softmax(0), (ONES[:4000],), 8),
    ("log_softmax", ag.log_softmax, (WIDE * 2,), 1),
    ("log_softmax over many", ag.log_softmax, (ONES,), 1),
    ("matmul", ag.matmul, (WIDE, TALL), 1),
    ("matmul of vectors", ag.matmul, (np.full(9000, 2.0), np.full(9000, 3.0)), 1),
    ("matmul back into a matrix", ag.matmul, (TALL, np.eye(3)), 4),
    ("matmul back into a batch", ag.matmul, (DRAWS.normal(0, 1, (900, 2, 3)), DRAWS.normal(0, 1, (1, 3, 2))), 4),
    ("linear", ag.linear, (WIDE, WIDE[:2], np.ones(2)), 1),
    ("linear back into weight and bias", ag.linear, (TALL, np.eye(3), np.ones(3)), 8),
    ("einsum", lambda x, y: ag.einsum("ij,jk->ik", x, y), (WIDE, TALL), 1),
    ("einsum to a number", lambda x: ag.einsum("ij->", x), (np.full((300, 200), 0.5),), 1),
    ("einsum back", lambda x, y: ag.einsum("ij,jk->ik", x, y), (TALL, np.eye(3)), 4),
    ("broadcasting sum back", lambda x, y: x + y, (TALL, np.ones(3)), 8),
    ("broadcasting product back", lambda x, y: x * y, (TALL, np.ones(3)), 8),
    ("broadcast_to back", lambda x: x.broadcast_to(5000, 3), (np.ones(3),), 8),
    ("expand back", lambda x: x.expand(-1, 5000), (np.ones((3, 1)),), 8),
    ("repeated rows back", lambda x: x[ROWS], (np.ones((4, 3)),), 2),
    ("repeated elements back", lambda x: x[[0] * 5000, [1] * 5000], (np.ones((2, 2)),), 2),
    ("a tensor used often", lambda x: ag.stack([x] * 5000), (np.ones(2),), 8),
    ("a result used often", lambda x: ag.stack([x * 0.5] * 5000), (np.ones(2),), 8),
    ("division by a count", lambda x: x.sum() / MANY, (ONES * 0.5,), 1000),
    ("division by a tensor of integers", lambda x: x.sum() / Tensor(MANY), (ONES * 0.5,), 1000),
    ("a factor beyond float16", lambda x: x * 1e6, (np.array([2.0**-14, 2.0**-5]),), 0.03125),
    ("a tensor of factors beyond float16", lambda x: Tensor([10**6, 1]) * x, (np.array([2.0**-14, 3.0]),), 0.03125),
    ("integers beyond float16", lambda x: ag.where(Tensor([True, False]), x, Tensor([0, 7])), (np.ones(2),), 1),
    ("divide where the product overflows", lambda x, y: x / y, (np.array([9000.0]), np.array([300.0])), 5000),
    ("gelu", ag.gelu, (np.array([-400.0, -4.0, -0.1, 0.1, 3.0, 400.0]),), 1),
    ("gelu tanh", lambda x: ag.gelu(x, "tanh"), (np.array([-400.0, -1.0, 0.1, 3.0, 400.0]),), 1),
    ("sigmoid", ag.sigmoid, (np.array([-9.0, -1.0, 9.0]),), 1000),
    ("tanh", ag.tanh, (np.array([-4.0, 0.1, 4.0]),), 1000),
    ("cube", lambda x: x**3, (np.array([-40.0, 0.02, 40.0]),), 1),
    *(
        (f"cross_entropy {how} {smoothing}", lambda x, how=how, smoothing=smoothing: ag.cross_entropy(
            x, CLASSES, reduction=how, label_smoothing=smoothing), (LOGITS,), scale)
        for how, scale in (("mean", 1000), ("none", 8))
        for smoothing in (0.0, 0.25)
    ),
    ("cross_entropy of probabilities", lambda x: ag.cross_entropy(x, same(Tensor(CHANCES), x)), (LOGITS,), 1000),
    ("ignoring", lambda x: nn.CrossEntropyLoss(ignore_index=7)(x, CLASSES), (LOGITS,), 1000),
    ("MSELoss", lambda x: nn.MSELoss()(x, same(Tensor(np.zeros(2000)), x)), (ERRORS,), 8),
    ("MSELoss of many", lambda x: nn.MSELoss()(x, same(Tensor(ONES * 3), x)), (ONES,), 1000),
    ("L1Loss", lambda x: nn.L1Loss()(x, same(Tensor(np.full(2000, 64_000.0)), x)), (64_000 - 128 * ERRORS,), 8),
    ("L1Loss of many", lambda x: nn.L1Loss()(x, same(Tensor(ONES * 3), x)), (ONES,), 1000),
    ("BCEWithLogitsLoss", lambda x: nn.BCEWithLogitsLoss()(x, same(Tensor(CLASSES > 1), x)), (LOGITS[:, 0],), 1000),
    ("softplus in the tail", lambda x: nn.BCEWithLogitsLoss(reduction="sum")(x, same(Tensor([0, 1]), x)),
        (np.array([-9.0, 9.0]),), 1),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case[0])
def test_a_result_of_halves_and_its_gradients_are_the_exact_ones_rounded(case):
    _, function, arrays, scale = case
    arrays = [array.astype("float16") for array in arrays]
    halves = [Tensor(array, dtype="float16", requires_grad=True) for array in arrays]
    doubles = [Tensor(array, dtype="float64", requires_grad=True) for array in arrays]
    result, expected = function(*halves), function(*doubles)
    assert result.dtype == "float16" and expected.dtype == "float64"
    pairs = [(result, expected)]
    gradient = (np.random.default_rng(0).uniform(0.5, 1, expected.shape) * scale).astype("float16")
    result.backward(Tensor(gradient, dtype="float16"))
    expected.backward(Tensor(gradient, dtype="float64"))
    pairs += [(x.grad, y.grad) for x, y in zip(halves, doubles, strict=True)]
    for ours, exact in pairs:
        assert ours.dtype == "float16"
        assert np.abs(exact.detach().numpy()).max() < 65_504, "the case tests nothing"
        # an ulp, that of the subnormal numbers, and what cancels in float32
        atol = 2**-23 + 2**-20 * np.abs(exact.detach().numpy()).max()
        np.testing.assert_allclose(ours.detach().numpy(), exact.detach().numpy(), rtol=2**-10, atol=atol)


def test_a_wider_dtype_beside_halves_wins_and_its_result_is_not_rounded():
    x = Tensor([2.0**-14, 1.0], dtype="float16", requires_grad=True)
    for dtype in ("float32", "float64"):
        y = Tensor([1e6, 1e6], dtype=dtype)
        assert (x * y).dtype == ag.where(Tensor([True, False]), x, y).dtype == ag.matmul(x, y).dtype == dtype
        assert ag.linear(x, y.reshape(1, 2)).item() == pytest.approx(1e6 * (1 + 2.0**-14), rel=1e-7)
        assert nn.MSELoss()(x, y).dtype == nn.LayerNorm(2, dtype=dtype)(x).dtype == dtype
    (x * y).backward(Tensor([2.0**-7, 2.0**-10], dtype="float64"))
    assert x.grad.dtype == "float16" and x.grad.tolist() == [np.float16(1e6 * 2.0**-7), np.float16(1e6 * 2.0**-10)]


def test_halves_update_in_place_like_out_of_place():
    x = Tensor([3.0, 5.0], dtype="float16", requires_grad=True)
    y = x * 2
    y *= y
    y /= Tensor(1_000_000)
    y *= 1e6
    assert y.dtype == "float16"
    y.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), [36, 100], rtol=2**-8)
    np.testing.assert_allclose(x.grad.numpy(), [24, 40], rtol=2**-8)


def test_a_saved_half_that_was_overwritten_is_noticed():
    x = Tensor([3.0, 5.0], dtype="float16", requires_grad=True)
    y = x * 2
    z = y * y
    y.data *= 2
    with pytest.raises(RuntimeError, match="a value that the derivative of multiply needs was overwritten in place"):
        z.sum().backward()


def test_gradients_of_halves_have_memory_of_their_own_and_accumulate():
    x = Tensor([3.0, 5.0], dtype="float16", requires_grad=True)
    gradient = Tensor([1.0, 2.0], dtype="float16")
    for times in (1, 2, 3):
        x.backward(gradient)
        assert x.grad.tolist() == [times, 2 * times] and x.grad.dtype == "float16"
        assert not np.shares_memory(x.grad.buffer, gradient.buffer)


def test_primitives_of_ones_own_compute_with_floats_in_place_of_halves():
    seen: list[str] = []

    @primitive
    def mean_of_squares(xp: Any, x: Any) -> Any:
        seen.append(str(x.dtype))
        return xp.mean(x * x)

    @mean_of_squares.vjp("x")
    def _(xp: Any, g: Any, x: Any) -> Any:
        seen.extend((str(g.dtype), str(x.dtype)))
        return g * 2 * x / x.size

    x = Tensor([300.0, *[0.0] * 99], dtype="float16", requires_grad=True)
    y = ag.apply(mean_of_squares, x)
    y.backward()
    assert y.dtype == "float16" and y.item() == 900 and x.grad.tolist()[:2] == [6, 0]
    assert seen == ["float32"] * 3
