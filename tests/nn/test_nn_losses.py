"""Losses: values and gradients against PyTorch, extreme inputs, and the sentences for bad arguments."""

import math
import re

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor

DRAWS = np.random.default_rng(0)
LOGITS = DRAWS.normal(0, 2, (6, 4))
MAPS = DRAWS.normal(0, 2, (3, 4, 2, 5))
CLASSES = np.array([0, 3, 1, 1, 2, 0])
MANY, MANY_MAPS = DRAWS.normal(0, 2, (6, 70)), DRAWS.normal(0, 2, (3, 70, 2))
MAP_CLASSES = DRAWS.integers(0, 4, (3, 2, 5))
IGNORING = np.array([0, -7, 1, -7, 2, 0])
PROBABILITIES = DRAWS.dirichlet(np.ones(4), 6)
WEIGHT = np.array([0.5, 2.0, 0.0, 1.0])
VALUES = DRAWS.normal(0, 2, (5, 3))
TARGETS = DRAWS.normal(0, 2, (5, 3))
CHANCES = DRAWS.uniform(0, 1, (5, 3))

# name, arguments, input, target
LOSSES = [
    ("CrossEntropyLoss", {}, LOGITS, CLASSES),
    ("CrossEntropyLoss", {"label_smoothing": 0.2}, LOGITS, CLASSES),
    ("CrossEntropyLoss", {"label_smoothing": 1.0}, MAPS, MAP_CLASSES),
    ("CrossEntropyLoss", {}, MAPS, MAP_CLASSES),
    ("CrossEntropyLoss", {}, MANY, 17 * CLASSES),
    ("CrossEntropyLoss", {"label_smoothing": 0.2}, MANY_MAPS, 20 * MAP_CLASSES[..., 0]),
    ("CrossEntropyLoss", {"label_smoothing": 0.3}, LOGITS, PROBABILITIES),
    ("CrossEntropyLoss", {"ignore_index": -7}, LOGITS, IGNORING),
    ("CrossEntropyLoss", {"ignore_index": 1, "label_smoothing": 0.1}, MAPS, MAP_CLASSES),
    ("CrossEntropyLoss", {"weight": WEIGHT}, LOGITS, CLASSES),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1}, MAPS, MAP_CLASSES),
    ("CrossEntropyLoss", {"weight": WEIGHT, "label_smoothing": 0.1, "ignore_index": -7}, LOGITS, IGNORING),
    ("MSELoss", {}, VALUES, TARGETS),
    ("L1Loss", {}, VALUES, np.where(CHANCES < 0.3, VALUES, TARGETS)),
    ("NLLLoss", {}, LOGITS, CLASSES),
    ("NLLLoss", {}, MAPS, MAP_CLASSES),
    ("NLLLoss", {"weight": WEIGHT}, MAPS, MAP_CLASSES),
    ("NLLLoss", {"weight": WEIGHT, "ignore_index": -7}, LOGITS, IGNORING),
    ("NLLLoss", {"ignore_index": 1}, LOGITS, CLASSES),
    ("SmoothL1Loss", {}, VALUES, TARGETS),
    ("SmoothL1Loss", {"beta": 2.5}, VALUES, TARGETS),
    ("SmoothL1Loss", {"beta": 0.0}, VALUES, np.where(CHANCES < 0.3, VALUES, TARGETS)),
    ("HuberLoss", {}, VALUES, TARGETS),
    ("HuberLoss", {"delta": 2.5}, VALUES, TARGETS),
    ("BCELoss", {}, CHANCES[::-1], CHANCES),
    ("BCELoss", {"weight": np.array([0.0, 0.5, 3.0])}, CHANCES[::-1], CHANCES),
    ("BCELoss", {}, np.array([0.0, 1.0, 0.0, 1.0, 0.5]), np.array([0.0, 1.0, 1.0, 0.0, 1.0])),
    ("KLDivLoss", {}, VALUES, CHANCES),
    ("KLDivLoss", {}, VALUES, np.where(CHANCES < 0.3, 0, CHANCES)),
    ("KLDivLoss", {"log_target": True}, VALUES, TARGETS),
    ("BCEWithLogitsLoss", {}, VALUES, CHANCES),
    ("BCEWithLogitsLoss", {"weight": np.array([0.0, 0.5, 3.0])}, VALUES, CHANCES),
    ("BCEWithLogitsLoss", {"weight": np.ones((5, 1)) * 2, "pos_weight": np.array([0.0, 0.5, 3.0])}, VALUES, CHANCES),
    ("BCEWithLogitsLoss", {}, np.zeros((2, 3)), np.array([[0.0, 0.5, 1.0]] * 2)),
    ("BCEWithLogitsLoss", {"pos_weight": np.array([0.0, 0.5, 3.0])}, VALUES, CHANCES),
    ("BCEWithLogitsLoss", {}, np.array([-1e4, -90.0, 90.0, 1e4] * 2), np.repeat([0.0, 1.0], 4)),
]


@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss by both")  # PyTorch's, of KLDivLoss
@pytest.mark.parametrize("reduction", ["mean", "sum", "none"])
@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-5), ("float64", 1e-12)])
@pytest.mark.parametrize("case", range(len(LOSSES)))
def test_values_and_gradients_are_those_of_torch(case, dtype, tolerance, reduction):
    torch = pytest.importorskip("torch")
    name, arguments, values, target = LOSSES[case]
    values = values.astype(dtype)
    target = target.astype(dtype) if target.dtype.kind == "f" else target
    tensors = {key: value for key, value in arguments.items() if isinstance(value, np.ndarray)}
    rest = {key: value for key, value in arguments.items() if key not in tensors} | {"reduction": reduction}
    mine = {key: Tensor(value, dtype=dtype) for key, value in tensors.items()}
    its = {key: torch.from_numpy(value.astype(dtype)) for key, value in tensors.items()}
    loss, other = getattr(nn, name)(**mine, **rest), getattr(torch.nn, name)(**its, **rest)
    assert list(loss.state_dict()) == list(other.state_dict())
    x, z = Tensor(values, dtype=dtype, requires_grad=True), torch.from_numpy(values).requires_grad_()
    ours, theirs = loss(x, Tensor(target, dtype=target.dtype)), other(z, torch.from_numpy(target))
    assert ours.dtype == np.dtype(dtype) and ours.shape == tuple(theirs.shape)
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=tolerance, atol=tolerance)
    g = np.random.default_rng(1).normal(size=ours.shape).astype(dtype)
    ours.backward(Tensor(g, dtype=dtype))
    theirs.backward(torch.tensor(g))
    np.testing.assert_allclose(x.grad.numpy(), z.grad.numpy(), rtol=tolerance, atol=tolerance)


def test_the_batchmean_of_the_divergence_is_that_of_torch_and_targets_get_gradients():
    torch = pytest.importorskip("torch")
    for name, keywords, targets in (
        ("KLDivLoss", {"reduction": "batchmean"}, CHANCES),
        ("KLDivLoss", {"reduction": "batchmean", "log_target": True}, TARGETS),
        ("BCELoss", {}, CHANCES),
    ):
        values = CHANCES[::-1].copy()
        mine = [Tensor(each, dtype="float64", requires_grad=True) for each in (values, targets)]
        its = [torch.from_numpy(each.copy()).requires_grad_() for each in (values, targets)]
        ours, theirs = getattr(nn, name)(**keywords)(*mine), getattr(torch.nn, name)(**keywords)(*its)
        ours.backward(), theirs.backward()
        np.testing.assert_allclose(ours.item(), theirs.item(), rtol=1e-12)
        for ours, theirs in zip(mine, its, strict=True):
            np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10)


@pytest.mark.parametrize(
    ("first", "second", "dim"), [((5, 3), (5, 3), 1), ((2, 3, 4), (4,), -1), ((2, 3, 4), (2, 1, 4), 0), ((4,), (4,), 0)]
)
def test_cosine_similarity_is_that_of_torch(first, second, dim):
    torch = pytest.importorskip("torch")
    draws = np.random.default_rng(0)
    values = draws.normal(size=first), draws.normal(size=second)
    mine = [Tensor(each, dtype="float64", requires_grad=True) for each in values]
    its = [torch.from_numpy(each).requires_grad_() for each in values]
    ours, theirs = nn.CosineSimilarity(dim)(*mine), torch.nn.CosineSimilarity(dim)(*its)
    ours.backward(np.ones(ours.shape)), theirs.backward(torch.ones_like(theirs))
    np.testing.assert_allclose(ours.detach().numpy(), theirs.detach().numpy(), rtol=1e-12)
    for ours, theirs in zip(mine, its, strict=True):
        np.testing.assert_allclose(ours.grad.numpy(), theirs.grad.numpy(), rtol=1e-10, atol=1e-12)
    zero = Tensor(np.zeros((1, 3)), requires_grad=True)
    similar = nn.CosineSimilarity()(zero, zero)
    similar.sum().backward()
    assert similar.item() == 0 and not zero.grad.numpy().any()


def test_binary_cross_entropy_keeps_its_relative_accuracy_in_both_tails():
    x = Tensor([-60.0, 60.0], requires_grad=True)
    loss = nn.BCEWithLogitsLoss(reduction="sum")(x, Tensor([0.0, 1.0]))
    loss.backward()
    np.testing.assert_allclose(loss.item(), 2 * math.exp(-60), rtol=1e-5)
    np.testing.assert_allclose(x.grad.numpy(), [math.exp(-60), -math.exp(-60)], rtol=1e-5)


def test_binary_cross_entropy_keeps_its_digits_where_a_softplus_may_be_cut():
    for x in (19.0, 20.5, 30.0):
        loss = nn.BCEWithLogitsLoss()(Tensor([x], dtype="float64"), Tensor([0.0], dtype="float64"))
        assert math.isclose(loss.item(), x + math.log1p(math.exp(-x)), rel_tol=1e-14)


def test_integer_targets_serve_where_numbers_are_wanted():
    for loss in (nn.MSELoss(), nn.L1Loss(), nn.BCEWithLogitsLoss()):
        value = loss(Tensor([1.0, -2.0]), Tensor([0, 1]))
        assert value.dtype == np.float32 and value.item() == loss(Tensor([1.0, -2.0]), Tensor([0.0, 1.0])).item()


def test_two_unsigned_integers_differ_by_their_distance():
    numbers, targets = Tensor(np.array([3, 250], "uint8")), Tensor(np.array([5, 0], "uint8"))
    assert nn.MSELoss()(numbers, targets).item() == (4 + 250**2) / 2
    assert nn.L1Loss()(numbers, targets).item() == 126


def test_samples_that_are_ignored_get_no_gradient():
    logits = Tensor(LOGITS, requires_grad=True)
    nn.CrossEntropyLoss(ignore_index=-7)(logits, IGNORING).backward()
    zero = ~logits.grad.numpy().any(axis=1)
    assert zero.tolist() == (IGNORING == -7).tolist()


REDUCTION = "reduction must be one of 'mean', 'sum', 'none'; got "
PAIR = "input and target must have the same shape; got ((3, 1), (3,)); reshape one of them"
COLUMN, FLAT = Tensor([[1.0], [2.0], [3.0]]), Tensor([1.0, 2.0, 3.0])
ERRORS = [
    (lambda: nn.MSELoss("avg"), ValueError, f"MSELoss: {REDUCTION}'avg'"),
    (lambda: nn.L1Loss(reduction=None), ValueError, f"L1Loss: {REDUCTION}None"),
    (lambda: nn.BCEWithLogitsLoss(reduction=""), ValueError, f"BCEWithLogitsLoss: {REDUCTION}''"),
    (lambda: nn.CrossEntropyLoss(reduction=1), ValueError, f"CrossEntropyLoss: {REDUCTION}1"),
    (lambda: nn.MSELoss()(COLUMN, FLAT), ValueError, f"MSELoss: {PAIR}"),
    (lambda: nn.HuberLoss()(COLUMN, FLAT), ValueError, f"HuberLoss: {PAIR}"),
    (lambda: nn.HuberLoss(delta=0), ValueError, "HuberLoss: delta must be positive; got 0"),
    (lambda: nn.SmoothL1Loss(beta=-1), ValueError, "SmoothL1Loss: beta must be a number of at least 0; got -1"),
    (
        lambda: nn.BCELoss()(FLAT, FLAT),
        ValueError,
        "BCELoss: the input must lie in [0, 1]; got 2.0; BCEWithLogitsLoss takes numbers of any size",
    ),
    (
        lambda: nn.KLDivLoss("avg"),
        ValueError,
        "KLDivLoss: reduction must be one of 'mean', 'sum', 'none', 'batchmean'; got 'avg'",
    ),
    (
        lambda: nn.NLLLoss()(Tensor(LOGITS), CLASSES - 100),
        ValueError,
        "NLLLoss: target must lie in [0, 4); got -100",
    ),
    (
        lambda: nn.NLLLoss()(Tensor(LOGITS), CLASSES[:2]),
        ValueError,
        "NLLLoss: target must have the shape (6,); got (2,)",
    ),
    (
        lambda: nn.NLLLoss()(FLAT, CLASSES),
        ValueError,
        "NLLLoss: the log-probabilities must have the shape (N, classes) or (N, classes, d...); got (3,)",
    ),
    (
        lambda: nn.NLLLoss()(Tensor(LOGITS), LOGITS),
        TypeError,
        "NLLLoss: target must be integer class numbers; got 'float64'",
    ),
    (
        lambda: nn.CosineSimilarity()(FLAT, FLAT),
        ValueError,
        "CosineSimilarity: x1 and x2 must have shapes that broadcast, with an axis 1; got ((3,), (3,))",
    ),
    (lambda: nn.L1Loss()(COLUMN, FLAT), ValueError, f"L1Loss: {PAIR}"),
    (lambda: nn.BCEWithLogitsLoss()(COLUMN, FLAT), ValueError, f"BCEWithLogitsLoss: {PAIR}"),
    (
        lambda: nn.BCEWithLogitsLoss([1.0, 2.0])(FLAT, FLAT),
        ValueError,
        "BCEWithLogitsLoss: weight must broadcast to the input of shape (3,); got (2,)",
    ),
    (
        lambda: nn.BCELoss([[1.0]] * 2)(FLAT / 3, FLAT / 3),
        ValueError,
        "BCELoss: weight must broadcast to the input of shape (3,); got (2, 1)",
    ),
    (
        lambda: nn.CrossEntropyLoss(label_smoothing=1.5),
        ValueError,
        "CrossEntropyLoss: label_smoothing must be a number in [0, 1]; got 1.5",
    ),
    (
        lambda: nn.CrossEntropyLoss(ignore_index=1.5),
        TypeError,
        "CrossEntropyLoss: ignore_index must be an integer; got 1.5",
    ),
    (
        lambda: nn.CrossEntropyLoss(weight=[[1.0]]),
        ValueError,
        "CrossEntropyLoss: weight must be a vector with a number for each class; got [[1.0]]",
    ),
    (
        lambda: nn.CrossEntropyLoss(weight=[1.0, 1.0])(Tensor(LOGITS), CLASSES),
        ValueError,
        "CrossEntropyLoss: the logits must have the shape (N, 2, ...), since weight has 2 classes; got (6, 4)",
    ),
    (
        lambda: nn.CrossEntropyLoss(ignore_index=-7)(Tensor(LOGITS), PROBABILITIES),
        TypeError,
        "CrossEntropyLoss: weight and ignore_index need integer class numbers as target; got 'float64'",
    ),
    (
        lambda: nn.CrossEntropyLoss()(Tensor(LOGITS), CLASSES - 100),
        ValueError,
        "cross_entropy: target must lie in [0, 4); got -100",
    ),
    (
        lambda: nn.CrossEntropyLoss(ignore_index=-7)(Tensor(LOGITS), CLASSES + 2),
        ValueError,
        "cross_entropy: target must lie in [0, 4); got 5",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
