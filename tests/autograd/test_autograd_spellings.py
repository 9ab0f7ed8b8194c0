"""PyTorch's spellings: the same calls on minima's tensors and on PyTorch's, and what differs, said aloud."""

import inspect
import json
import pickle

import numpy as np
import pytest

import minima as mi
from minima import Tensor

torch = pytest.importorskip("torch")

DATA = np.random.default_rng(0).permutation(24).reshape(2, 3, 4).astype("float32") - 11.5

SAME = [
    lambda m, x: x.view(6, 4),
    lambda m, x: x.view(-1),
    lambda m, x: x.transpose(1, 2),
    lambda m, x: x.transpose(-1, 0),
    lambda m, x: x.mT,
    lambda m, x: x[0].transpose(1, 0),
    lambda m, x: x[0].T,
    lambda m, x: x[0].t(),
    lambda m, x: x[0, 0].t(),
    lambda m, x: x.flatten(start_dim=1),
    lambda m, x: x.flatten(end_dim=1),
    lambda m, x: m.flatten(x, 1, 2),
    lambda m, x: x[:, :1].squeeze(dim=1),
    lambda m, x: x.unsqueeze(dim=-1),
    lambda m, x: m.unsqueeze(x, dim=1),
    lambda m, x: m.cat([x, x * 2], dim=1),
    lambda m, x: m.cat((x, x)),
    lambda m, x: m.stack([x, x], dim=-1),
    lambda m, x: m.split(x, 2, dim=2)[1],
    lambda m, x: m.split(x, 3, dim=2)[1],
    lambda m, x: m.split(x, [1, 0, 2], dim=1)[2],
    lambda m, x: x.clamp(-1, 2),
    lambda m, x: x.clamp(min=0),
    lambda m, x: m.clamp(x, max=0.5),
    lambda m, x: x.pow(2),
    lambda m, x: x.matmul(x.mT),
    lambda m, x: x[0].mm(x[1].T),
    lambda m, x: x.float(),
    lambda m, x: x.double(),
    lambda m, x: x.half(),
    lambda m, x: x.long(),
    lambda m, x: x.int(),
    lambda m, x: x.bool(),
    lambda m, x: x.to(m.float64),
    lambda m, x: x.to("cpu"),
    lambda m, x: x.to("cpu", dtype=m.int32),
    lambda m, x: x.to(x.double()),
    lambda m, x: x.cpu().contiguous(),
    lambda m, x: m.zeros(2, 3),
    lambda m, x: m.ones((2, 3)),
    lambda m, x: m.arange(5),
    lambda m, x: m.arange(1, 7, 2),
    lambda m, x: m.arange(0, 1, 0.25),
    lambda m, x: m.linspace(-1, 1, 5),
    lambda m, x: m.eye(3),
    lambda m, x: m.eye(2, 3),
    lambda m, x: m.full((2, 2), 0.5),
    lambda m, x: m.full((2,), 3),
    lambda m, x: m.zeros_like(x),
    lambda m, x: m.ones_like(x, dtype=m.int64),
    lambda m, x: m.full_like(x, 2.5),
    lambda m, x: m.tensor([1, 2]),
    lambda m, x: m.tensor([[1.5], [2.5]]),
    lambda m, x: m.tensor([True, False]),
    lambda m, x: m.where(x > 0, x, m.zeros_like(x)),
    lambda m, x: m.tanh(x),
    lambda m, x: m.exp(x).sum(dim=-1, keepdim=True),
    lambda m, x: m.sum(x, dim=1),
    lambda m, x: m.mean(x, dim=(0, 1)),
    lambda m, x: m.max(x),
    lambda m, x: m.max(x, dim=1).values,
    lambda m, x: m.max(x, dim=1)[1],
    lambda m, x: x.argmax(dim=-1),
    lambda m, x: m.softmax(x, dim=-1),
    lambda m, x: m.topk(x, 2, dim=1).indices,
    lambda m, x: m.abs(x),
    lambda m, x: m.matmul(x, x.mT),
    lambda m, x: m.einsum("bij,bkj->bik", x, x),
    lambda m, x: x.clone().zero_(),
    lambda m, x: x.clone().fill_(1.5),
    lambda m, x: x.clone().copy_(x[0]),
    lambda m, x: x.detach().requires_grad_().detach(),
]


@pytest.mark.parametrize("number", range(len(SAME)))
def test_the_same_line_gives_the_same_tensor(number):
    ours, theirs = SAME[number](mi, Tensor(DATA)), SAME[number](torch, torch.tensor(DATA))
    assert ours.shape == tuple(theirs.shape)
    assert str(ours.dtype) == str(theirs.dtype).removeprefix("torch.")
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-5)


def test_size_is_a_number_and_a_method():
    x, y = Tensor(DATA), torch.tensor(DATA)
    assert x.size == 24 == x.numel() == y.numel() and x.size() == tuple(y.size()) and x.dim() == y.dim()
    assert [x.size(i) for i in (0, 1, -1)] == [y.size(i) for i in (0, 1, -1)]
    assert x.size + 1 == 25 and json.dumps(x.size) == "24" and type(pickle.loads(pickle.dumps(x.size))) is int
    with pytest.raises(IndexError, match=r"^Tensor\.size: dim must lie in \[-3, 3\); got 3$"):
        x.size(3)


def test_conversions_keep_the_tensor_where_nothing_changes_and_its_gradient_where_something_does():
    x = Tensor([1.0, 2.0], requires_grad=True)
    assert x.to("cpu") is x.float() is x.cpu() is x.contiguous() is x
    (x.double() * 3).sum().backward()
    assert x.grad.tolist() == [3.0, 3.0] and x.grad.dtype == np.float32


def test_random_integers_lie_in_their_range_and_reach_its_ends():
    mi.manual_seed(0)
    for drawn in (mi.randint(3, 6, (1000,)), mi.randint(low=3, high=6, size=[10, 100])):
        assert set(drawn.numpy().ravel().tolist()) == {3, 4, 5} and drawn.dtype == np.int64
    mi.manual_seed(0)
    drawn = mi.randint(10, size=(4, 5))
    mi.manual_seed(0)
    assert mi.randint(10, (4, 5)).tolist() == drawn.tolist()
    assert mi.randint(1, size=(2, 0)).shape == (2, 0) and mi.randint(-2, -1).item() == -2
    order = mi.randperm(50)
    assert sorted(order.tolist()) == list(range(50)) != order.tolist()


def test_draws_by_weights_are_as_frequent_as_the_weights():
    mi.manual_seed(0)
    weights, count = np.array([[3.0, 0.0, 1.0, 6.0], [1.0, 1.0, 0.0, 0.0]]), 20_000
    single = np.concatenate([mi.multinomial(np.tile(weights, (100, 1)), 1).numpy().reshape(-1, 2) for _ in range(200)])
    again = mi.multinomial(weights, count, replacement=True).numpy().T
    for drawn in (single, again):
        for row, column in zip(weights / weights.sum(axis=1, keepdims=True), drawn.T, strict=True):
            seen = np.bincount(column, minlength=4)
            assert (seen[row == 0] == 0).all()
            assert (np.abs(seen - count * row) <= 5 * np.sqrt(count * row * (1 - row))).all()


def test_draws_without_replacement_come_one_after_the_other():
    mi.manual_seed(0)
    weights, count = np.array([0.5, 0.3, 0.2, 0.0]), 20_000
    drawn = mi.multinomial(np.tile(weights, (count, 1)), 2).numpy()
    for first in range(3):
        for second in range(3):
            chance = 0.0 if first == second else weights[first] * weights[second] / (1 - weights[first])
            seen = ((drawn == [first, second]).all(axis=1)).sum()
            assert abs(seen - count * chance) <= 5 * np.sqrt(count * chance * (1 - chance))
    assert sorted(mi.multinomial(weights, 3).tolist()) == [0, 1, 2] and drawn.dtype == np.int64
    # Weights near the smallest and the largest of float64 and float16
    assert {mi.multinomial(Tensor([0.0, 5e-324], dtype="float64"), 1).item() for _ in range(20)} == {1}
    assert mi.multinomial(Tensor([0.0, 6e4, 6e4], dtype="float16"), 1000, True).numpy().min() == 1


def test_zeroing_a_gradient_writes_into_it():
    w = mi.tensor([1.0, 2.0], requires_grad=True)
    (w * w).sum().backward()
    grad = w.grad
    assert grad.zero_() is grad and w.grad.tolist() == [0.0, 0.0]


def test_an_assignment_to_the_data_of_a_view_reaches_the_tensor_that_it_is_a_view_of():
    x = Tensor([1.0, 2.0, 3.0, 4.0], requires_grad=True)
    y = x[1:3]
    z = (x * x).sum()
    y.data = [5.0, 6.0]
    assert x.tolist() == [1.0, 5.0, 6.0, 4.0] and y.tolist() == [5.0, 6.0]
    with pytest.raises(RuntimeError, match="a value that the derivative of multiply needs was overwritten"):
        z.backward()
    copied = x[[1, 2]]
    copied.data = [7.0, 8.0]
    assert x.tolist() == [1.0, 5.0, 6.0, 4.0]


W = Tensor([1.0, 2.0], requires_grad=True)
X = Tensor([[1.0, 2.0], [3.0, 4.0]])
HINT = "write T, or permute(0, 1)"
MISTAKES = [
    (lambda: X.transpose(0, 1), ValueError,
     f"transpose: for a matrix, (0, 1) does nothing in NumPy and swaps the axes in PyTorch; got (0, 1); {HINT}"),
    (lambda: mi.transpose(X, -2, -1), ValueError,
     f"transpose: for a matrix, (0, 1) does nothing in NumPy and swaps the axes in PyTorch; got (-2, -1); {HINT}"),
    (lambda: X.unsqueeze(0).t(), ValueError,
     "t: a tensor has at most two axes; got (1, 2, 2); write mT, or T"),
    (lambda: W.mT, ValueError, "mT: the tensor must have at least two axes; got (2,)"),
    (lambda: X.cuda(), ValueError, "Tensor: device must be 'cpu', where minima's own Tensor lives; got 'cuda'; "
     "for accelerators train a PyTorch or a JAX model"),
    (lambda: X.to("cuda:0"), ValueError, "Tensor: device must be 'cpu', where minima's own Tensor lives; got 'cuda:0'; "
     "for accelerators train a PyTorch or a JAX model"),
    (lambda: X.to("nonsense"), TypeError,
     "Tensor: dtype must be float16, float32, float64, an integer type or bool; got 'nonsense'"),
    (lambda: X.pow("a"), TypeError, "pow: the operand must be a tensor, an array or a number; got 'a'"),
    (lambda: mi.split(X, 0, dim=1), ValueError, "split: the size of the parts must be at least 1; got 0"),
    (lambda: mi.split(X, [1, 2], dim=1), ValueError, "split: the sizes of the parts must add up to 2; got [1, 2]"),
    (
        lambda: mi.cat([X, X], 1, dim=0),
        TypeError,
        "concatenate: axis and dim are the same argument; got (1, 0); give one",
    ),
    (lambda: X.unsqueeze(), TypeError, "unsqueeze: axis, or dim, must be given"),
    (lambda: X.flatten(1, start_dim=1), TypeError,
     "flatten: start and start_dim, end and end_dim are the same arguments; give one"),
    (lambda: W.zero_(), RuntimeError, "zero_: what requires a gradient cannot be overwritten while operations are "
     "recorded; use no_grad(), or assign to .data"),
    (lambda: mi.arange(0, 1, 0), ValueError,
     "arange: the arguments must be numbers, sizes of at least 0 and no step 0; got (0, 1, 0)"),
    (lambda: mi.eye(-1), ValueError,
     "eye: the arguments must be numbers, sizes of at least 0 and no step 0; got (-1, None)"),
    (lambda: mi.randint(0), ValueError, "randint: low must be below high; got (0, 0)"),
    (lambda: mi.randint(9, (2,), (2,)), TypeError, "randint: the shape must be given once; got ((2,), (2,))"),
    (lambda: mi.multinomial([1, 2], 1), TypeError, "multinomial: input must be floating; got 'int64'"),
    (lambda: mi.multinomial(1.0, 1), ValueError, "multinomial: input must have the shape (n,) or (m, n); got ()"),
    (lambda: mi.multinomial([1.0, -0.5], 1), ValueError, "multinomial: weights must be finite, at least 0; got -0.5"),
    (lambda: mi.multinomial([1.0, np.nan], 1), ValueError, "multinomial: weights must be finite, at least 0; got nan"),
    (lambda: mi.multinomial([0.0, 0.0], 1, True), ValueError,
     "multinomial: num_samples 1 needs 1 positive weights in each row; got 0"),
    (lambda: mi.multinomial([[1.0, 0.0], [1.0, 1.0]], 2), ValueError,
     "multinomial: num_samples 2 needs 2 positive weights in each row; got 1; draw fewer, or with replacement=True"),
    (lambda: mi.multinomial([1.0], 0), ValueError, "multinomial: num_samples must be an integer of at least 1; got 0"),
    (lambda: mi.randint(0.5), TypeError, "randint: low must be an integer; got 0.5"),
    (lambda: X.exp(2), TypeError, "Tensor.exp() takes 1 positional argument but 2 were given"),
    (lambda: X.relu(inplace=True), TypeError, "Tensor.relu() got an unexpected keyword argument 'inplace'"),
]  # fmt: skip


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:60] for m in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(mistake, kind, message):
    with pytest.raises(kind) as caught:
        mistake()
    assert str(caught.value) == message


def test_no_method_names_an_inner_class():
    methods = {name: value for name, value in inspect.getmembers(Tensor) if inspect.isfunction(value)}
    assert {"sum", "view", "exp", "item", "__add__"} <= methods.keys()
    assert not {name for name, value in methods.items() if not value.__qualname__.startswith("Tensor.")}


@pytest.mark.parametrize("sizes", [1, 2, 3, 4, 9, [4], [1, 3], [0, 2, 2, 0]])
def test_with_dim_parts_are_as_many_and_as_long_as_those_of_pytorch(sizes):
    ours, theirs = mi.split(Tensor(DATA), sizes, dim=-1), torch.split(torch.tensor(DATA), sizes, dim=-1)
    assert [part.tolist() for part in ours] == [part.tolist() for part in theirs]
    assert len(mi.split(Tensor(DATA)[:0], 2, dim=0)) == len(torch.tensor(DATA)[:0].split(2)) == 1
