"""Where functions have corners, ties and nothing to work on: against PyTorch, NumPy and the standard library."""

import math

import numpy as np
import pytest

import minima.autograd as ag
from minima.autograd import Tensor
from minima.autograd.operations.reductions import masked_softmax

torch = pytest.importorskip("torch")
F = torch.nn.functional

TIES = np.array([[2.0, 1.0, 2.0, 1.0, 2.0], [0.0, 0.0, 0.0, 0.0, 0.0]])
HOLES = np.array([[3.0, np.nan, -np.inf], [np.inf, np.nan, 0.0]])


def both(function, theirs, data, dtype="float64"):
    """The results for the same data, and the gradients of their weighted sums."""
    x, y = Tensor(data, dtype=dtype, requires_grad=True), torch.tensor(data, dtype=getattr(torch, dtype))
    y.requires_grad_()
    ours, expected = function(x), theirs(y)
    weights = np.arange(1.0, 1.0 + ours.size).reshape(ours.shape)
    ours.backward(Tensor(weights, dtype=dtype))
    expected.backward(torch.tensor(weights, dtype=expected.dtype))
    return (ours.detach().numpy(), x.grad.numpy()), (expected.detach().numpy(), y.grad.numpy())


@pytest.mark.parametrize("descending", [False, True])
@pytest.mark.parametrize("axis", [0, 1, -1, -2])
@pytest.mark.parametrize("data", [TIES, HOLES])
def test_sorting_is_stable_and_nan_is_the_largest(data, axis, descending):
    def theirs(y):
        return torch.sort(y, dim=axis, descending=descending, stable=True)

    ours, expected = both(lambda x: x.sort(axis, descending), lambda y: theirs(y).values, data)
    np.testing.assert_array_equal(ours[0], expected[0])
    np.testing.assert_array_equal(ours[1], expected[1])
    order = Tensor(data).argsort(axis, descending)
    np.testing.assert_array_equal(order.numpy(), theirs(torch.tensor(data)).indices.numpy())
    pair = ag.sort(Tensor(data), dim=axis, descending=descending)
    assert pair.indices.tolist() == order.tolist()


@pytest.mark.parametrize("k", [0, 1, 2, 5])
@pytest.mark.parametrize("largest", [True, False])
def test_the_top_of_a_tie_are_the_first_of_it(k, largest):
    values, indices = Tensor(TIES).topk(k, 1, largest)
    expected = torch.sort(torch.tensor(TIES), dim=1, descending=largest, stable=True)
    assert values.tolist() == expected.values[:, :k].tolist()
    assert indices.tolist() == expected.indices[:, :k].tolist() and indices.dtype == np.int64


@pytest.mark.parametrize("name", ["max", "min"])
def test_with_dim_extremes_are_the_pairs_of_pytorch(name):
    for keepdim in (False, True):
        ours, theirs = (getattr(x, name)(dim=-1, keepdim=keepdim) for x in (Tensor(TIES), torch.tensor(TIES)))
        assert ours.values.tolist() == theirs.values.tolist() and ours.indices.tolist() == theirs.indices.tolist()
    ours, expected = both(lambda x: getattr(x, name)(dim=0)[0], lambda y: getattr(y, name)(dim=0)[0], TIES)
    np.testing.assert_array_equal(ours[1], expected[1])


@pytest.mark.parametrize("zeros", [(), (1,), (1, 4), (0, 1, 2, 3, 4, 5)])
@pytest.mark.parametrize("axis", [None, 0, -1])
def test_products_with_zeros_have_the_derivatives_of_pytorch(zeros, axis):
    data = np.array([0.5, -2.0, 3.0, 1.5, -1.0, 0.25])
    data[list(zeros)] = 0
    data = data.reshape(2, 3)
    ours, expected = both(lambda x: x.prod(axis), lambda y: y.prod() if axis is None else y.prod(axis), data)
    np.testing.assert_allclose(ours[0], expected[0], rtol=1e-14)
    np.testing.assert_allclose(ours[1], expected[1], rtol=1e-14)


CORNERS = {
    "round": (ag.round, torch.round),
    "floor": (ag.floor, torch.floor),
    "ceil": (ag.ceil, torch.ceil),
    "leaky_relu": (ag.leaky_relu, F.leaky_relu),
    "elu": (ag.elu, F.elu),
    "softplus": (ag.softplus, F.softplus),
    "silu": (ag.silu, F.silu),
    "erf": (ag.erf, torch.erf),
    "log1p": (lambda x: ag.log1p(ag.abs(x)), lambda y: torch.log1p(torch.abs(y))),
    "square": (ag.square, torch.square),
}


@pytest.mark.parametrize("name", CORNERS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_corners_and_far_ends_are_those_of_pytorch(name, dtype):
    ends = [-700.0, -88.0, -20.0, -2.5, -1.5, -1.0, -0.5, -1e-7, 0.0, 1e-7, 0.5, 1.0, 1.5, 2.5, 20.0, 21.0, 88.0, 700.0]
    ours, expected = both(*CORNERS[name], ends, dtype)
    tolerance = {"rtol": 2e-6 if dtype == "float32" else 1e-14, "atol": 1e-37}
    np.testing.assert_allclose(ours[0], expected[0], **tolerance)
    np.testing.assert_allclose(ours[1], expected[1], **tolerance)


@pytest.mark.parametrize(("dtype", "units"), [("float32", 2), ("float64", 2)])
def test_the_error_function_is_exact_to_its_last_places(dtype, units):
    x = np.concatenate([np.linspace(-6, 6, 4001), np.logspace(-30, 0, 301), [np.inf, -np.inf, 0.0]]).astype(dtype)
    exact = np.array([math.erf(float(v)) for v in x])
    np.testing.assert_allclose(Tensor(x, dtype=dtype).erf().numpy(), exact, rtol=units * np.finfo(dtype).eps)
    assert math.isnan(Tensor(math.nan).erf().item())


@pytest.mark.parametrize("low", [-50.0, -57.5, -59.0, -1000.0])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_a_row_far_below_the_others_keeps_its_digits(dtype, low):
    rows = [[1.0, 0.0, low], [low, low - 1, low - 2], [low, 0.5, 0.25]]
    ours, expected = both(ag.softmax, lambda x: x.softmax(-1), rows, dtype)
    tolerance = 16 * np.finfo(dtype).eps
    np.testing.assert_allclose(ours[0], expected[0], rtol=tolerance, atol=np.finfo(dtype).tiny)
    np.testing.assert_allclose(ours[1], expected[1], rtol=0, atol=tolerance)


def test_a_mask_hides_infinities_and_nan():
    seen = np.array([[True, False, True], [False, False, False]])
    for hidden in (math.inf, -math.inf, math.nan):
        x = np.where(seen, 0.5, hidden)
        np.testing.assert_array_equal(masked_softmax.forward(np, x, seen), [[0.5, 0, 0.5], [0, 0, 0]])
        np.testing.assert_array_equal(masked_softmax.forward(np, x[1:], seen[1:]), [[0, 0, 0]])


@pytest.mark.parametrize("p", [0.5, 1, 2, 3, math.inf])
def test_norms_of_zeros_have_no_slope(p):
    x = Tensor([[0.0, 0.0], [0.0, 1.0]], requires_grad=True)
    x.norm(p, 1).sum().backward()
    assert x.grad.tolist() == [[0.0, 0.0], [0.0, 1.0]]


def test_integers_stay_integers_where_they_can():
    n = Tensor([[3, 1], [2, 2]])
    for result in (n.prod(), n.cumsum(0), n.sort(), n.flip(), n.tril(), n.floor(), n.ceil(), n.round(), n.square()):
        assert result.dtype == np.int64
    assert n.masked_fill(n > 2, 7).dtype == np.int64 and n.masked_fill(n > 2, 0.5).tolist() == [[0.5, 1], [2, 2]]
    for result in (n.norm(), n.log1p(), n.expm1(), n.erf(), n.reciprocal(), n.silu(), n.elu(), n.leaky_relu()):
        assert result.dtype == np.float32
    assert n.cumsum().tolist() == [3, 4, 6, 8] and (n > 1).cumsum().dtype == np.int64


def test_numbers_of_numpy_do_not_widen():
    x = Tensor([1.0, -1.0])
    half = np.float64(0.5)
    for result in (x.leaky_relu(half), x.elu(half), x.softplus(half), x.norm(half), x.masked_fill(x > 0, half)):
        assert result.dtype == np.float32


@pytest.mark.parametrize("name", ["prod", "norm", "flip", "cumsum"])
def test_a_tensor_without_axes_is_one_element(name):
    x = Tensor(-3.0, requires_grad=True)
    y = getattr(x, name)()
    y.sum().backward()
    assert abs(y.item()) == 3.0 and abs(x.grad.item()) == 1.0


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (0,), (2, 0)])
def test_one_hot_is_that_of_pytorch(shape):
    classes = np.random.default_rng(0).integers(0, 4, shape)
    ours, theirs = ag.one_hot(classes, 5), F.one_hot(torch.tensor(classes), 5)
    assert ours.dtype == np.int64 and ours.shape == tuple(theirs.shape) and ours.tolist() == theirs.tolist()
    if classes.size:
        assert ag.one_hot(classes).tolist() == F.one_hot(torch.tensor(classes)).tolist()


@pytest.mark.parametrize("size", [0, 1, 3])
def test_gathered_elements_add_up_where_they_repeat(size):
    index = np.zeros((2, size), int)
    ours, expected = both(lambda x: x.gather(1, index), lambda y: y.gather(1, torch.tensor(index)), TIES)
    np.testing.assert_array_equal(ours[0], expected[0])
    np.testing.assert_array_equal(ours[1], expected[1])


def test_flipped_is_a_view():
    x = Tensor([1.0, 2.0])
    y = x.flip()
    with ag.no_grad():
        y[0] = 5.0
    assert x.tolist() == [1.0, 5.0]


X = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
N = Tensor([1, 2])
MISTAKES = [
    (lambda: X.softplus(0), ValueError, "softplus: beta must be above 0; got 0.0"),
    (lambda: X.elu("a"), TypeError, "elu: alpha must be a number; got 'a'"),
    (lambda: X.norm(0), ValueError, "norm: p must be above 0; got 0.0"),
    (lambda: X.sort(2), ValueError, "sort: axis must lie in [-2, 2); got 2"),
    (lambda: Tensor(1.0).argsort(), ValueError, "argsort: axis must lie in [0, 0); got -1"),
    (lambda: X.topk(4), ValueError, "topk: k must lie in [0, 3], the size of the axis; got 4"),
    (lambda: X.cumsum(2), ValueError, "cumsum: axis must name axes in [-2, 2), each once; got 2"),
    (lambda: X.prod((0, 0)), ValueError, "prod: axis must name axes in [-2, 2), each once; got (0, 0)"),
    (lambda: X.flip(2), ValueError, "flip: axis must name axes in [-2, 2), each once; got 2"),
    (lambda: X.flip(0, dims=1), TypeError, "flip: axis and dims are the same argument; got (0, 1); give one"),
    (lambda: N.tril(), ValueError, "tril: the tensor must have at least two axes; got (2,)"),
    (lambda: ag.outer(X, N), ValueError, "outer: the operands must be vectors; got [(2, 3), (2,)]; flatten them"),
    (lambda: X.gather(1, X), TypeError, "gather: index must be of integers; got 'float32'"),
    (lambda: X.gather(2, [[0]]), ValueError, "gather: axis must name axes in [-2, 2), each once; got 2"),
    (
        lambda: X.gather(1, [0]),
        ValueError,
        "gather: index must have as many dimensions as the tensor, and but for dim none that is longer; "
        "got [(2, 3), (1,)]",
    ),
    (
        lambda: X.gather(1, [[3]]),
        IndexError,
        "gather: index 3 is out of bounds for axis 1 with size 3; got [(2, 3), (1, 1)]",
    ),
    (lambda: X.masked_fill(X, 0), TypeError, "masked_fill: mask must be boolean; got 'float32'"),
    (
        lambda: X.masked_fill(N > 0, 0),
        ValueError,
        "masked_fill: the shapes must agree by the rules of broadcasting; got [(2, 3), (2,)]",
    ),
    (lambda: X.masked_fill(X > 0, "a"), TypeError, "masked_fill: value must be a number; got 'a'"),
    (lambda: ag.one_hot(X), TypeError, "one_hot: the class numbers must be integers; got 'float32'"),
    (lambda: ag.one_hot(N, 2), ValueError, "one_hot: the class numbers must lie in [0, 2); got 2"),
    (lambda: ag.one_hot([-1, 0], 2), ValueError, "one_hot: the class numbers must lie in [0, 2); got -1"),
    (lambda: ag.one_hot([-1, -3]), ValueError, "one_hot: the class numbers must lie in [0, 1); got -1"),
    (lambda: ag.one_hot(N, 0), ValueError, "one_hot: num_classes must be at least 1, or -1; got 0"),
    (lambda: ag.one_hot(N[:0]), ValueError, "one_hot: without class numbers, num_classes must be given; got -1"),
    (lambda: X.sum(0, dim=1), TypeError, "sum: axis and dim are the same argument; got (0, 1); give one"),
    (lambda: X.softmax(0, dim=1), TypeError, "softmax: axis and dim are the same argument; got (0, 1); give one"),
    (
        lambda: X.sum(keepdims=True, keepdim=False),
        TypeError,
        "sum: keepdims and keepdim are the same argument; give one",
    ),
    (
        lambda: X.var(ddof=1, unbiased=True),
        TypeError,
        "var: ddof, correction and unbiased are the same argument; give one",
    ),
    (lambda: X.sum(dims=1), TypeError, "sum: the keywords are axis and keepdims, or dim and keepdim; got ['dims']"),
    (lambda: X.softmax(keepdim=True), TypeError, "softmax: the keywords are axis, or dim; got ['keepdim']"),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:60] for m in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(mistake, kind, message):
    with pytest.raises(kind) as caught:
        mistake()
    assert str(caught.value) == message


REDUCED = ["sum", "mean", "prod", "amax", "amin", "logsumexp", "argmax", "argmin", "any", "all", "norm"]


@pytest.mark.parametrize("name", REDUCED)
def test_dim_and_keepdim_are_axis_and_keepdims(name):
    data = np.arange(24.0).reshape(2, 3, 4) % 5
    x, y = Tensor(data), torch.tensor(data, dtype=torch.float32)
    for dim in (0, -1):
        for keepdim in (False, True):
            ours = getattr(ag, name)(x, dim=dim, keepdim=keepdim)
            theirs = getattr(y, name)(dim=dim, keepdim=keepdim)
            assert ours.shape == tuple(theirs.shape)
            np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)
            assert getattr(x, name)(axis=dim, keepdims=keepdim).tolist() == ours.tolist()


@pytest.mark.parametrize("name", ["var", "std"])
@pytest.mark.parametrize("words", [{"correction": 1}, {"correction": 0}, {"unbiased": True}, {"unbiased": False}])
def test_variances_take_the_words_of_pytorch(name, words):
    data = np.arange(12.0).reshape(3, 4) ** 2
    ours, theirs = (getattr(x, name)(dim=[0], keepdim=True, **words) for x in (Tensor(data), torch.tensor(data)))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("name", ["softmax", "log_softmax", "cumsum", "argsort"])
def test_what_works_along_one_axis_takes_dim(name):
    ours, theirs = (getattr(x, name)(dim=0) for x in (X, torch.tensor(X.numpy())))
    np.testing.assert_allclose(ours.numpy(), theirs.numpy(), rtol=1e-6)


@pytest.mark.parametrize("descending", [False, True])
def test_orders_and_one_hot_compile_under_jax(descending):
    jax = pytest.importorskip("jax")

    def place(array):
        tensor = Tensor(0)
        tensor.buffer, tensor.device = array, ag.Device("jax", jax.numpy)
        return tensor

    order = jax.jit(lambda a: place(a).argsort(1, descending).buffer)(TIES)
    np.testing.assert_array_equal(order, Tensor(TIES).argsort(1, descending).numpy())
    hot = jax.jit(lambda a: ag.one_hot(place(a), 3).buffer)(np.array([[0, 2], [1, 1]], "int32"))
    np.testing.assert_array_equal(hot, np.eye(3)[[[0, 2], [1, 1]]])
