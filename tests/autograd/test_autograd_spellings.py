"""PyTorch's spellings: the same calls on minima's tensors and on PyTorch's, and what differs, said aloud."""

import inspect
import json
import pickle
import re

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
    lambda m, x: x.eq(x.abs()),
    lambda m, x: m.ne(x, 0.5),
    lambda m, x: x.lt(0),
    lambda m, x: m.le(x, x[0]),
    lambda m, x: x.gt(1.5),
    lambda m, x: m.ge(x, -x),
    lambda m, x: m.logical_and(x > 0, x < 3),
    lambda m, x: (x > 0).logical_or(x.floor()),
    lambda m, x: m.logical_xor(x.long(), x > 2),
    lambda m, x: m.logical_not(x.long()),
    lambda m, x: m.isnan(x * m.where(x > 0, 1, float("nan"))),
    lambda m, x: m.isinf(x * m.where(x > 0, 1, float("-inf"))),
    lambda m, x: m.isfinite(x * m.where(x > 0, 1, float("nan"))),
    lambda m, x: m.isclose(x, x * (1 + 1e-6)),
    lambda m, x: m.isclose(m.tensor([float("nan"), 1.0]), m.tensor([float("nan"), 2.0]), equal_nan=True),
    lambda m, x: m.tensor([m.allclose(x, x + 1e-9), m.allclose(x, x + 1e-3), m.allclose(x, x + 1e-3, atol=1e-2)]),
    lambda m, x: m.tensor([m.equal(x, x.clone()), m.equal(x, x[0]), x.equal(x + 1)]),
    lambda m, x: m.argwhere(x > 3),
    lambda m, x: m.count_nonzero(x.long()),
    lambda m, x: m.count_nonzero(x > 0, dim=1),
    lambda m, x: m.sign(x),
    lambda m, x: x.long().sign(),
    lambda m, x: m.log2(x.abs()),
    lambda m, x: m.log10(x.abs()),
    lambda m, x: m.rsqrt(x.abs()),
    lambda m, x: m.add(x, 1, alpha=2),
    lambda m, x: m.sub(x, x[0]),
    lambda m, x: m.mul(x, 2.5),
    lambda m, x: x.long().div(4),
    lambda m, x: m.pow(x, 3),
    lambda m, x: m.neg(x),
    lambda m, x: m.mm(x[0], x[1].T),
    lambda m, x: x[:, 0].mv(x[0, 1]),
    lambda m, x: x.type_as(x.double()),
    lambda m, x: x.new_zeros(2, 3),
    lambda m, x: x.double().new_ones((2, 3)),
    lambda m, x: x.new_full((2,), 1.5),
    lambda m, x: x.view_as(x.flatten()),
    lambda m, x: x[0, 0].expand_as(x),
    lambda m, x: m.concat([x, x], dim=2),
    lambda m, x: m.empty_like(x, dtype=m.int64) * 0,
    lambda m, x: m.empty(2, 3) * 0,
    lambda m, x: m.from_numpy(DATA),
    lambda m, x: m.rand_like(x).floor(),
    lambda m, x: m.randn_like(x.double()) * 0,
    lambda m, x: m.tensor([m.numel(x), m.is_tensor(x), m.is_tensor(DATA), x.is_floating_point()]),
    lambda m, x: m.clone(x).add_(x, alpha=2).sub_(1).mul_(x).div_(4).clamp_(-9, 9),
    lambda m, x: x.roll(1, dims=0).tile(2, 1, 1),
    lambda m, x: m.cat(m.unbind(x, dim=1) + m.unbind(x, dim=1), dim=0),
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


def test_the_gradient_of_a_result_is_kept_where_it_is_asked_for():
    grads = []
    for m, x in ((mi, Tensor(DATA, requires_grad=True)), (torch, torch.tensor(DATA, requires_grad=True))):
        y = m.tanh(0.1 * x)
        z = y * y
        assert not hasattr(z, "retains_grad") or not z.retains_grad
        for t in (x, y, z):
            t.retain_grad()
            t.retain_grad()
        z.register_hook(lambda g: 3 * g)
        (2 * z).sum().backward(retain_graph=True)
        z.sum().backward()
        grads.append([x.grad, y.grad, z.grad])
    for mine, its in zip(*grads, strict=True):
        np.testing.assert_allclose(mine.numpy(), its.numpy(), rtol=1e-5)
    y = Tensor([1.0], requires_grad=True) * 2
    assert y.grad is None
    with pytest.raises(
        RuntimeError, match=r"^Tensor\.retain_grad: the tensor requires no gradient; set requires_grad="
    ):
        Tensor([1.0]).retain_grad()


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_a_gradient_that_is_kept_has_the_dtype_of_the_result_and_memory_of_its_own(dtype):
    x = Tensor([1.0, 2.0], dtype, requires_grad=True)
    y = x.clone()
    y.retain_grad()
    (2 * y).sum().backward()
    assert y.grad.dtype == dtype and y.grad.tolist() == [2.0, 2.0]
    y.grad.zero_()
    assert x.grad.tolist() == [2.0, 2.0]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_draws_like_a_tensor_are_those_of_its_shape_and_dtype(dtype):
    x = Tensor(DATA, dtype)
    for like, plain in ((mi.rand_like, mi.rand), (mi.randn_like, mi.randn)):
        mi.manual_seed(3)
        drawn = like(x)
        mi.manual_seed(3)
        np.testing.assert_array_equal(drawn.numpy(), plain(*DATA.shape, dtype=dtype).numpy())
        assert drawn.dtype == dtype and like(x.long(), dtype=dtype, requires_grad=True).requires_grad


def test_the_mode_that_is_set_holds_until_the_end_of_its_block():
    x = Tensor([1.0], requires_grad=True)
    with mi.set_grad_enabled(False):
        assert not (2 * x).requires_grad
        with mi.set_grad_enabled(True):
            assert (2 * x).requires_grad
        assert not (2 * x).requires_grad
    assert (2 * x).requires_grad
    mi.set_grad_enabled(False)
    try:
        assert not mi.is_grad_enabled()
    finally:
        mi.set_grad_enabled(True)

    @mi.set_grad_enabled(False)
    def doubled(y):
        return 2 * y

    with mi.inference_mode():
        assert not (2 * x).requires_grad
    assert mi.is_grad_enabled() and not doubled(x).requires_grad


REFUSED = [
    (lambda x: mi.randn_like(x.long()), TypeError, "randn_like: dtype must be a floating one"),
    (lambda x: x.repeat(2), TypeError, "repeat: NumPy repeats each element, PyTorch the whole tensor"),
    (lambda x: mi.meshgrid(x, x), ValueError, "meshgrid: indexing must be given as 'ij' or 'xy'"),
    (lambda x: x.chunk(0), ValueError, "chunk: chunks must be an integer of at least 1; got 0"),
    (lambda x: x.chunk(2, dim=3), ValueError, "chunk: axis must lie in [-3, 3); got 3"),
    (lambda x: x.unbind(-4), ValueError, "unbind: axis must lie in [-3, 3); got -4"),
    (lambda x: x.narrow(0, 1, 2), ValueError, "narrow: start + length must be at most 2; got (1, 2)"),
    (lambda x: x.index_select(0, [0.5]), TypeError, "index_select: index must be a vector of integers"),
    (
        lambda x: x.repeat_interleave([1, 2, 3], 0),
        ValueError,
        "repeat_interleave: repeats must be an integer",
    ),
    (lambda x: x.repeat_interleave(-1), ValueError, "repeat_interleave: repeats must be an integer"),
    (lambda x: x.roll(1, 0, dims=0), TypeError, "roll: axis and dims are one thing; got (0, 0); give one"),
    (lambda x: x.tile(-1), ValueError, "tile: reps must be at least 0; got (1, 1, -1)"),
    (lambda x: x.movedim((0, 0), (1, 2)), ValueError, "movedim: source and destination must name as many axes"),
    (lambda x: x.movedim(0, 3), ValueError, "movedim: source and destination must name as many axes in [-3, 3)"),
    (lambda x: x.chunk(2.5), TypeError, "chunk: chunks must be an integer of at least 1; got 2.5"),
    (lambda x: x.unbind("a"), TypeError, "unbind: axis must be an integer; got 'a'"),
    (lambda x: x.unsqueeze("a"), TypeError, "unsqueeze: axis must be an integer; got 'a'"),
    (lambda x: x.squeeze(0.5), TypeError, "squeeze: axis must be an integer; got 0.5"),
    (lambda x: x.swapaxes(0, "a"), TypeError, "swapaxes: axis2 must be an integer; got 'a'"),
    (lambda x: x.flatten(0.5), TypeError, "flatten: start must be an integer; got 0.5"),
    (lambda x: x.flip(0.5), TypeError, "flip: axis must be an integer; got 0.5"),
    (lambda x: x.tril(0.5), TypeError, "tril: diagonal must be an integer; got 0.5"),
    (lambda x: x.sort(dim="a"), TypeError, "sort: axis must be an integer; got 'a'"),
    (lambda x: x.topk(2.5), TypeError, "topk: k must be an integer; got 2.5"),
    (lambda x: mi.concatenate(3), TypeError, "concatenate: the tensors must come in a list or a tuple; got 3"),
    (lambda x: mi.concatenate([x], "a"), TypeError, "concatenate: axis must be an integer; got 'a'"),
    (lambda x: mi.stack([x], 0.5), TypeError, "stack: axis must be an integer; got 0.5"),
    (lambda x: mi.hstack([]), ValueError, "hstack: at least one tensor is needed"),
    (lambda x: mi.vstack(3), TypeError, "vstack: the tensors must come in a list or a tuple; got 3"),
    (lambda x: mi.split(x, 1.5), TypeError, "split: sections must be an integer; got 1.5"),
    (lambda x: mi.pad(x, 1.5), TypeError, "pad: widths must be a pair of sizes for each of 3 axes; got 1.5"),
    (lambda x: mi.einsum(3, x), TypeError, "einsum: subscripts must be a string; got 3"),
    (lambda x: x.narrow(0, 0.5, 1), TypeError, "narrow: start must be an integer of at least 0; got 0.5"),
    (lambda x: x.roll("a"), TypeError, "roll: shifts must be an integer; got 'a'"),
    (lambda x: x.roll((1, 2), 0), ValueError, "roll: shifts and axis must be as many; got ((1, 2), 0)"),
    (lambda x: x.tile(1.5), TypeError, "tile: reps must be an integer; got 1.5"),
    (lambda x: x.movedim("a", 0), TypeError, "movedim: source must be an integer; got 'a'"),
    (lambda x: x[0].diag(1.5), TypeError, "diag: diagonal must be an integer; got 1.5"),
    (lambda x: x.view_as(3), TypeError, "view_as: other must be a Tensor; got 3"),
    (lambda x: x.expand_as(3), TypeError, "expand_as: other must be a Tensor; got 3"),
    (
        lambda x: x.masked_select([True] * 5),
        ValueError,
        "masked_select: tensor and mask must broadcast; got [(2, 3, 4)",
    ),
    (lambda x: x.isclose(x, rtol="a"), TypeError, "isclose: rtol must be a number; got 'a'"),
    (lambda x: x.sub_(1, alpha="a"), TypeError, "sub_: alpha must be a number; got 'a'"),
    (lambda x: x.new_zeros(-1), ValueError, "new_zeros: the arguments must be numbers, sizes of at least 0"),
    (lambda x: x.new_full((2,), "a"), ValueError, "new_full: the arguments must be numbers, sizes of at least 0"),
    (lambda x: mi.empty(-1), ValueError, "empty: the arguments must be numbers, sizes of at least 0"),
    (lambda x: mi.from_numpy([1, 2]), TypeError, "from_numpy: array must be a NumPy array; got [1, 2]"),
    (lambda x: mi.set_grad_enabled("x"), TypeError, "set_grad_enabled: mode must be True or False; got 'x'"),
    (lambda x: x.diag(), ValueError, "diag: the tensor must have one axis or two; got (2, 3, 4)"),
    (lambda x: x.trace(), ValueError, "trace: the tensor must be a matrix; got (2, 3, 4)"),
    (lambda x: x.masked_select(x), TypeError, "masked_select: mask must be boolean; got 'float32'"),
    (lambda x: x.mm(x), ValueError, "mm: the operands must have 2 and 2 axes; got ((2, 3, 4), (2, 3, 4)); write @"),
    (lambda x: x.bmm(x[:1]), ValueError, "bmm: the operands must be batches of as many matrices"),
    (lambda x: x.eq("a"), TypeError, "eq: the operand must be a tensor, an array or a number; got 'a'"),
    (lambda x: x.add("a"), TypeError, "add: the operand must be a tensor, an array or a number; got 'a'"),
    (lambda x: x.add(1, alpha="a"), TypeError, "add: alpha must be a number; got 'a'"),
    (lambda x: x.add_("a"), TypeError, "add_: the operand must be a tensor, an array or a number; got 'a'"),
    (lambda x: x.clip(0, "a"), TypeError, "clip: high must be a number; got 'a'"),
    (lambda x: x.clip(high=Tensor(1.0)), TypeError, "clip: high must be a number; got Tensor(1.)"),
    (lambda x: x.clamp("a"), TypeError, "clamp: min must be a number; got 'a'"),
    (lambda x: mi.clamp(x, max=1j), TypeError, "clamp: max must be a number; got 1j"),
    (lambda x: x.clamp_("a", 2), TypeError, "clamp_: min must be a number; got 'a'"),
    (lambda x: x.clamp_(0, [None]), TypeError, "clamp_: max must be a number; got [None]"),
    (lambda x: x.astype(int).clamp_(0.5), TypeError, "clamp_: int64 elements cannot hold the result; got 'float64'"),
    (lambda x: x.fill_("a"), ValueError, "fill_: what is written must be real numbers; got [(2, 3, 4), 'a']"),
    (lambda x: x.fill_([1, 2, 3, 4]), ValueError, "fill_: value must be one number, without axes; got (4,)"),
    (lambda x: x.copy_(None), TypeError, "copy_: what is written must be real numbers; got None"),
    (lambda x: x.copy_(1j), TypeError, "copy_: what is written must be real numbers; got ['float32', '1j']"),
    (lambda x: x.copy_(np.complex64(1j)), TypeError, "copy_: what is written must be real numbers; got "),
    (lambda x: x.copy_([[1], [1, 2]]), ValueError, "copy_: what is written must be real numbers; got "),
    (lambda x: x.copy_(x[0, :2]), ValueError, "copy_: the shapes must agree by the rules of broadcasting; got "),
    (lambda x: x.__setitem__(0, np.array([1j])), TypeError, "Tensor: what is written must be real numbers; got "),
    (lambda x: x.requires_grad_("a"), TypeError, "requires_grad_: requires_grad must be True or False; got 'a'"),
    (lambda x: x.requires_grad_(1), TypeError, "requires_grad_: requires_grad must be True or False; got 1"),
    (lambda x: setattr(x, "requires_grad", "a"), TypeError, "Tensor: requires_grad must be True or False; got 'a'"),
    (lambda x: Tensor(x, requires_grad=None), TypeError, "Tensor: requires_grad must be True or False; got None"),
    (lambda x: mi.ones(2, requires_grad="a"), TypeError, "Tensor: requires_grad must be True or False; got 'a'"),
    (lambda x: x.mean(keepdims="a"), TypeError, "mean: keepdims must be True or False; got 'a'"),
    (lambda x: x.max(keepdims=None), TypeError, "max: keepdims must be True or False; got None"),
    (lambda x: x.argmax(0, keepdims="a"), TypeError, "argmax: keepdims must be True or False; got 'a'"),
    (lambda x: x.sum(dim=0, keepdim="a"), TypeError, "sum: keepdim must be True or False; got 'a'"),
    (lambda x: x.requires_grad_().sum().backward(None, "a"), TypeError, "Tensor.backward: retain_graph must be True"),
    (lambda x: x.requires_grad_().clamp_(0), RuntimeError, "clamp_: what requires a gradient cannot be overwritten"),
]


@pytest.mark.parametrize("number", range(len(REFUSED)))
def test_what_does_not_fit_is_refused_in_a_sentence(number):
    call, kind, sentence = REFUSED[number]
    x = Tensor(DATA)
    with pytest.raises(kind, match="^" + re.escape(sentence)):
        call(x)
    assert x.tolist() == DATA.tolist()


@pytest.mark.parametrize("bound", [0.5, np.float64(0.5), np.array(0.5), True])
def test_one_number_as_a_bound_widens_nothing(bound):
    data = torch.tensor(DATA, dtype=torch.float32)
    for ours in (Tensor(data.numpy()).clip(bound), Tensor(data.numpy()).clamp_(bound)):
        assert ours.dtype == np.float32
        assert ours.tolist() == data.clamp(float(bound)).tolist()


def test_an_array_of_bounds_is_that_of_numpy():
    low = [[0.5], [1.0], [-1.0]]
    assert Tensor(DATA).clip(low).tolist() == DATA.clip(low).tolist()


def test_keepdims_may_be_a_truth_of_numpy_or_an_integer():
    for truth in (1, np.int64(1), np.bool_(True)):
        assert Tensor(DATA).sum(1, keepdims=truth).shape == DATA.sum(1, keepdims=int(truth)).shape == (2, 1, 4)
        assert Tensor(DATA).max(1, keepdims=truth).shape == (2, 1, 4)
