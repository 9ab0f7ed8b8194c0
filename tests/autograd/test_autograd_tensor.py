"""The tensor as a value: construction, dtypes, operators with other types, conversions, mistakes."""

import copy
import math
import pickle

import numpy as np
import pytest

import minima.autograd as ag
from minima.autograd import Tensor, cpu, cross_entropy, linear, no_grad


@pytest.mark.parametrize(
    ("data", "dtype", "expected"),
    [
        (1.5, None, "float32"),
        ([1, 2], None, "int64"),
        (True, None, "bool"),
        ([], None, "float32"),
        (np.ones(2, "float64"), None, "float32"),
        (np.ones(2, "float16"), None, "float32"),
        (np.ones(2, "uint8"), None, "uint8"),
        (np.float64(1), None, "float32"),
        ([1.5], "float64", "float64"),
        ([1.5], np.float16, "float16"),
        ([1.5], int, "int64"),
        ([1], float, "float32"),
        ([0, 1], bool, "bool"),
        (Tensor([1.0], dtype="float64"), None, "float64"),
        (Tensor([1.0], dtype="float64"), "float32", "float32"),
        ([Tensor(1.0), Tensor(2.0)], None, "float32"),
        (range(3), None, "int64"),
    ],
)
def test_the_constructor_gives_a_dtype(data, dtype, expected):
    assert Tensor(data, dtype=dtype).dtype == np.dtype(expected)


def test_the_constructor_copies_and_from_numpy_does_not():
    array = np.zeros(2, "float32")
    copied, shared = Tensor(array), Tensor.from_numpy(array)
    array[0] = 1
    assert copied.tolist() == [0.0, 0.0] and shared.tolist() == [1.0, 0.0]
    again = Tensor(shared)
    shared += 1
    assert again.tolist() == [1.0, 0.0] and array.tolist() == [2.0, 1.0]


def test_attributes_follow_numpy():
    x = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    assert (x.shape, x.ndim, x.size, len(x), x.T.shape) == ((2, 3), 2, 6, 2, (3, 2))
    assert x.device == cpu() and repr(x.device) == "cpu" and x.device.xp is np
    assert Tensor(1.0, device="cpu").device is Tensor(1.0, device=cpu()).device is pickle.loads(pickle.dumps(cpu()))


@pytest.mark.parametrize(
    ("tensor", "text"),
    [
        (Tensor([1.0, 2.0], requires_grad=True), "Tensor([1., 2.], requires_grad=True)"),
        (Tensor([[1, 2], [3, 4]]), "Tensor([[1, 2],\n        [3, 4]])"),
        (Tensor(0.5, dtype="float64"), "Tensor(0.5, dtype=float64)"),
        (Tensor([True]), "Tensor([ True])"),
    ],
)
def test_repr_shows_what_is_unusual(tensor, text):
    assert repr(tensor) == text


def test_one_element_converts_to_python():
    x = Tensor([[2.5]], requires_grad=True)
    assert (float(x), int(x), bool(x), x.item(), f"{x:.3f}", x.tolist()) == (2.5, 2, True, 2.5, "2.500", [[2.5]])
    assert list(range(Tensor(3))) == [0, 1, 2] and f"{Tensor([1, 2])}" == "Tensor([1, 2])"


def test_a_fraction_is_no_index():
    with pytest.raises(TypeError):
        range(Tensor(1.5))


def test_numpy_shares_the_memory_and_asarray_does_too():
    x = Tensor([1.0, 2.0])
    x.numpy()[0] = 5.0
    np.asarray(x)[1] = 6.0
    assert x.tolist() == [5.0, 6.0]
    assert np.array(x).base is None and np.asarray(x, "float64").dtype == np.float64


def test_numbers_are_weak_and_arrays_follow_the_constructor():
    x = Tensor([1.0, 2.0])
    for other in (2, 0.1, True, np.float64(0.1), np.int64(3), np.ones(2), np.ones(2, "int64"), Tensor([1, 2])):
        for result in (x + other, other * x, x / other, other - x, x**other, ag.maximum(other, x)):
            assert isinstance(result, Tensor) and result.dtype == np.float32


def test_integers_become_float32_where_results_are_fractions():
    n = Tensor([1, 4])
    for result in (
        n / 2,
        n / n,
        1 / n,
        n * 0.5,
        n**0.5,
        n.sqrt(),
        n.mean(),
        n.softmax(),
        n.var(),
        n.exp(),
        n.sigmoid(),
    ):
        assert result.dtype == np.float32
    for result in (n + 1, n * n, n // 2, n % 3, -n, n.sum(), n**2, n.argmax(), n & 1, n > 2, ~n, n.max(), abs(n)):
        assert result.dtype in (np.int64, bool)
    assert (n > 1).sum().item() == 1 and (n > 1).mean().item() == 0.5


def test_wider_floats_win():
    x, y = Tensor([1.0], requires_grad=True), Tensor([1.0], dtype="float64", requires_grad=True)
    z = x * y
    z.backward()
    assert (z.dtype, x.grad.dtype, y.grad.dtype) == (np.float64, np.float32, np.float64)


def test_comparisons_are_elementwise_and_hash_is_by_identity():
    x, y = Tensor([1, 2]), Tensor([1.0, 3.0])
    assert (x == y).tolist() == [True, False] and (x != y).tolist() == [False, True]
    assert (x < y).tolist() == [False, True] and (2 >= x).tolist() == [True, True]
    assert ((x <= y) & (x > 1)).tolist() == [False, True]
    assert (x == y).dtype == bool and len({x, y, x}) == 2
    assert (Tensor(2**40 + 1) == 2.0**40).item() is False


def test_unknown_operands_are_left_to_python():
    x = Tensor([1.0])
    for operation in (lambda: x + "a", lambda: [1] - x, lambda: x @ None, lambda: x < object()):
        with pytest.raises(TypeError):
            operation()
    assert (x == "a") is False and (x != None) is True  # noqa: E711


def test_floor_division_bits_and_reductions_of_booleans():
    x = Tensor([7, -7])
    assert (x // 2).tolist() == [3, -4] and (x % 4).tolist() == [3, 1] and (10 // Tensor([3])).tolist() == [3]
    assert (x | 8).tolist() == [15, -7 | 8] and (~(x > 0)).tolist() == [False, True] and (x ^ x).tolist() == [0, 0]
    assert x.any().item() and not (x > 0).all().item() and (x > 0).any(axis=0).item()
    x //= 2
    x |= 1
    assert x.tolist() == [3, -3]
    assert Tensor([[3, 1], [0, 2]]).argmax(axis=1).tolist() == [0, 1]
    assert Tensor([[3, 1], [0, 2]]).argmin(axis=0, keepdims=True).tolist() == [[1, 0]]
    assert not (Tensor([5.0], requires_grad=True) // 2).requires_grad


def test_equal_values_share_the_gradient_evenly():
    x, y = Tensor([1.0, 1.0, 0.0], requires_grad=True), Tensor([1.0, 2.0, 0.0], requires_grad=True)
    (ag.maximum(x, y) + ag.minimum(x, y)).sum().backward()
    assert x.grad.tolist() == y.grad.tolist() == [1.0, 1.0, 1.0]
    x.grad = None
    (x.max() + x.min()).backward()
    assert x.grad.tolist() == [0.5, 0.5, 1.0]


def test_corners_have_finite_gradients():
    x = Tensor([0.0, 0.0], requires_grad=True)
    y = Tensor([0.0, 2.0], requires_grad=True)
    (x.std() + x.abs().sum() + x.relu().sum() + (x**y).sum() + (x**0).sum()).backward()
    assert x.grad.tolist() == [0.0, 0.0] and y.grad.tolist() == [0.0, 0.0]


def test_extreme_values_do_not_overflow():
    x = Tensor([-200.0, 0.0, 200.0], requires_grad=True)
    for f in (ag.sigmoid, ag.softmax, ag.log_softmax, ag.logsumexp, ag.gelu, ag.tanh):
        result = f(x)
        result.sum().backward()
        assert np.isfinite(result.buffer).all() and np.isfinite(x.grad.buffer).all()
    assert cross_entropy(Tensor([[1e4, -1e4]]), Tensor([1])).item() == 2e4


@pytest.mark.parametrize(("dtype", "tolerance"), [("float16", 1e-2), ("float32", 4e-6), ("float64", 1e-14)])
def test_gelu_is_exact_in_both_tails(dtype, tolerance):
    x = np.linspace(-6, 6, 501).astype(dtype)
    exact = [float(v) * 0.5 * math.erfc(-float(v) / math.sqrt(2)) for v in x]
    result = Tensor(x, dtype=dtype).gelu()
    assert result.dtype == dtype
    np.testing.assert_allclose(
        result.numpy().astype(float), exact, rtol=tolerance, atol=3e-7 if dtype == "float16" else 0
    )


def test_copies_of_leaves_keep_their_state():
    class Weight(Tensor):
        pass

    x = Weight([1.0, 2.0], requires_grad=True)
    x.name = "w"
    x.grad = Tensor([3.0, 4.0])
    for clone in (copy.deepcopy(x), copy.copy(x)):
        assert type(clone) is Weight and clone.requires_grad and clone.name == "w"
        assert clone.grad.tolist() == [3.0, 4.0] and clone.grad is not x.grad
        clone.data *= 2
    assert x.tolist() == [1.0, 2.0]
    shared = copy.deepcopy([x, x])
    assert shared[0] is shared[1]
    loaded = pickle.loads(pickle.dumps(Tensor(x, requires_grad=True)))
    assert loaded.tolist() == [1.0, 2.0] and loaded.requires_grad and loaded.grad is None


def test_python_sum_and_iteration_work():
    a, b = Tensor([1.0, 2.0]), Tensor([3.0, 4.0])
    assert sum([a, b]).tolist() == [4.0, 6.0] and [t.item() for t in a] == [1.0, 2.0]


def test_grad_takes_tensors_arrays_and_none():
    x = Tensor([1.0], requires_grad=True)
    array, tensor = np.array([1.0, 2.0]), Tensor([3])
    x.grad = array
    array[0] = 9
    assert x.grad.dtype == np.float64 and x.grad.tolist() == [1.0, 2.0]
    x.grad = tensor
    assert x.grad is tensor
    x.grad = None
    assert x.grad is None
    plain = Tensor([1.0])
    plain.grad = tensor
    assert plain.grad is tensor and not plain.requires_grad and not (plain * 2).requires_grad
    assert Tensor(x.detach(), dtype="float64").grad is None


X = Tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
W = Tensor([1.0, 2.0], requires_grad=True)


def assign_element() -> None:
    W[0] = 1.0


def assign_tracked() -> None:
    Tensor([1.0, 2.0])[0] = W.sum()


def update_leaf() -> None:
    w = W
    w += 1


def update_shape() -> None:
    x = Tensor([1.0])
    x += X


def update_dtype() -> None:
    n = Tensor([1])
    n += 0.5


def freeze_result() -> None:
    (W * 2).requires_grad = False


def set_grad(tensor: Tensor, value: object) -> None:
    tensor.grad = value


def set_data(tensor: Tensor, value: object) -> None:
    tensor.data = value


NUMBERS = Tensor([1, 2])
BROADCASTING = "the shapes must agree by the rules of broadcasting; got "
FITTING = "the last axis of the first must be as long as the last but one of the second; got "
NOTHING = "among no elements there is no largest and no smallest; got "


class Unreadable:
    """As a tensor of PyTorch that requires a gradient."""

    def __array__(self, dtype=None, copy=None):
        raise RuntimeError("by design")

    def __repr__(self):
        return "an Unreadable"


MISTAKES = [
    (lambda: X + W, ValueError, f"add: {BROADCASTING}[(2, 3), (2,)]"),
    (lambda: ag.where(X > 0, X, W), ValueError, f"where: {BROADCASTING}[(2, 3), (2, 3), (2,)]"),
    (lambda: X.broadcast_to(4, 3), ValueError, f"broadcast_to: {BROADCASTING}[(2, 3), (4, 3)]"),
    (lambda: X.expand(3), ValueError, f"broadcast_to: {BROADCASTING}[(2, 3), (3,)]"),
    (lambda: X @ X, ValueError, f"matmul: {FITTING}[(2, 3), (2, 3)]"),
    (lambda: X @ 2, ValueError, "matmul: the operands must have an axis at least; got [(2, 3), 2]"),
    (lambda: X.sum(5), ValueError, "sum: axis must name axes in [-2, 2), each once; got 5"),
    (lambda: X.mean((0, 0)), ValueError, "mean: axis must name axes in [-2, 2), each once; got (0, 0)"),
    (lambda: X.softmax(-3), ValueError, "softmax: axis must name axes in [-2, 2), each once; got -3"),
    (lambda: X.transpose(0), ValueError, "transpose: axes must name all axes in [-2, 2), each once; got (0,)"),
    (lambda: X.permute(0, 5), ValueError, "transpose: axes must name all axes in [-2, 2), each once; got (0, 5)"),
    (lambda: X.swapaxes(0, 4), ValueError, "swapaxes: axis1 and axis2 must lie in [-2, 2); got (0, 4)"),
    (lambda: X[:0].max(), ValueError, f"max: {NOTHING}(0, 3)"),
    (lambda: X[:, :0].argmin(1), ValueError, f"argmin: {NOTHING}(2, 0)"),
    (
        lambda: X.reshape(4),
        ValueError,
        "reshape: the new shape must have as many elements as the old one; got [(2, 3), (4,)]",
    ),
    (
        lambda: X.reshape(-1, -1),
        ValueError,
        "reshape: one size may be -1, and no second one; got [(2, 3), (-1, -1)]",
    ),
    (lambda: X.permute(0.0, 1.0), TypeError, "transpose: sizes and axes must be integers; got (0.0, 1.0)"),
    (
        lambda: Tensor(Unreadable()),
        TypeError,
        "Tensor: data must be readable as an array, and are not (by design); got an Unreadable",
    ),
    (
        lambda: X.reshape("a"),
        TypeError,
        "reshape: sizes and axes must be integers; got ('a',)",
    ),
    (
        lambda: X.clip("a"),
        TypeError,
        "clip: low must be a number; got 'a'",
    ),
    (
        lambda: X & X,
        TypeError,
        "bitwise_and: it is not defined for elements of this type; got ['float32', 'float32']",
    ),
    (
        lambda: NUMBERS**-1,
        ValueError,
        "power: Integers to negative integer powers are not allowed; got [(2,), -1]",
    ),
    (lambda: X[5], IndexError, "Tensor: index 5 is out of bounds for axis 0 with size 2; got (2, 3)"),
    (
        lambda: NUMBERS.__setitem__(5, 1),
        IndexError,
        "Tensor: index 5 is out of bounds for axis 0 with size 2; got [(2,), 1]",
    ),
    (lambda: Tensor("a"), TypeError, "Tensor: data must be real numbers or booleans; got 'a'"),
    (lambda: Tensor([1j]), TypeError, "Tensor: data must be real numbers or booleans; got [1j]"),
    (lambda: Tensor(None), TypeError, "Tensor: data must be real numbers or booleans; got None"),
    (
        lambda: Tensor([[1], [1, 2]]),
        ValueError,
        "Tensor: data must be a number, an array or evenly nested sequences; got [[1], [1, 2]]",
    ),
    (
        lambda: Tensor([1], dtype="complex64"),
        TypeError,
        "Tensor: dtype must be float16, float32, float64, an integer type or bool; got 'complex64'",
    ),
    (
        lambda: Tensor([1], dtype="nonsense"),
        TypeError,
        "Tensor: dtype must be float16, float32, float64, an integer type or bool; got 'nonsense'",
    ),
    (
        lambda: Tensor([1], device="cuda"),
        ValueError,
        "Tensor: device must be 'cpu', where minima's own Tensor lives; got 'cuda'; "
        "for accelerators train a PyTorch or a JAX model",
    ),
    (
        lambda: Tensor([1], requires_grad=True),
        TypeError,
        "Tensor: only floating dtypes can require a gradient; got 'int64'",
    ),
    (
        freeze_result,
        RuntimeError,
        "Tensor: requires_grad can be set on leaves only, not on a result; detach() it first",
    ),
    (lambda: X.item(), ValueError, "Tensor: only one element can become a number; the shape is (2, 3)"),
    (lambda: bool(X), ValueError, "Tensor: only one element can become a number; the shape is (2, 3)"),
    (lambda: f"{X:.3f}", ValueError, "Tensor: only one element can become a number; the shape is (2, 3)"),
    (lambda: len(Tensor(1.0)), TypeError, "Tensor: a tensor without axes has no length"),
    (lambda: list(Tensor(1.0)), TypeError, "Tensor: a tensor without axes has no length"),
    (lambda: W.numpy(), RuntimeError, "Tensor.numpy: NumPy would lose track of a gradient; call detach() first"),
    (lambda: np.asarray(W), RuntimeError, "Tensor.numpy: NumPy would lose track of a gradient; call detach() first"),
    (
        lambda: X.sum().backward(),
        RuntimeError,
        "Tensor.backward: no gradient is required; set requires_grad=True on what is trained",
    ),
    (
        lambda: (W * 2).backward(),
        ValueError,
        "Tensor.backward: a tensor of shape (2,) needs a gradient; or reduce it first",
    ),
    (
        lambda: (W * 2).backward(Tensor([1.0])),
        ValueError,
        "Tensor.backward: gradient must have the shape (2,); got (1,)",
    ),
    (lambda: set_grad(W, "a"), TypeError, "Tensor: grad must be a Tensor, an array or None; got 'a'"),
    (lambda: set_grad(W * 2, X), RuntimeError, "Tensor: grad can be set on leaves only, not on a result"),
    (lambda: set_data(W, X), ValueError, "Tensor.data: the values must have the shape (2,); got (2, 3)"),
    (lambda: set_data(W, 1.0), ValueError, "Tensor.data: the values must have the shape (2,); got ()"),
    (
        assign_element,
        RuntimeError,
        "Tensor: an assignment to elements cannot be differentiated; "
        "use where or concatenate, or assign under no_grad()",
    ),
    (
        assign_tracked,
        RuntimeError,
        "Tensor: an assignment to elements cannot be differentiated; "
        "use where or concatenate, or assign under no_grad()",
    ),
    (
        update_leaf,
        RuntimeError,
        "Tensor: a leaf that requires a gradient cannot be changed in place while operations are recorded; "
        "use no_grad(), or assign to .data",
    ),
    (update_shape, ValueError, "Tensor: the shape (1,) cannot change in place; got (2, 3)"),
    (update_dtype, TypeError, "Tensor: int64 elements cannot hold the result; got 'float32'"),
    (
        lambda: pickle.dumps(W * 2),
        RuntimeError,
        "Tensor: only leaves can be pickled and deep-copied, not a result with its graph; detach() it first",
    ),
    (lambda: ag.gelu(X, "fast"), ValueError, "gelu: approximate must be 'none' or 'tanh'; got 'fast'"),
    (lambda: ag.where(X, X, X), TypeError, "where: condition must be boolean; got 'float32'"),
    (lambda: ag.maximum(X, "a"), TypeError, "maximum: operands must be tensors, arrays or numbers; got 'a'"),
    (lambda: X.flatten(1, 0), ValueError, "flatten: start and end must be axes of (2, 3), in order; got (1, 0)"),
    (lambda: X.squeeze(0), ValueError, "squeeze: axis must name axes of size 1 in (2, 3); got 0"),
    (lambda: X.unsqueeze(3), ValueError, "unsqueeze: axis must lie in [-3, 3); got 3"),
    (lambda: ag.concatenate([]), ValueError, "concatenate: at least one tensor is needed"),
    (lambda: ag.concatenate([X], 2), ValueError, "concatenate: axis must lie in [-2, 2); got 2"),
    (
        lambda: ag.concatenate([X, X.T]),
        ValueError,
        "concatenate: the sizes must agree in all axes but 0; got [(2, 3), (3, 2)]",
    ),
    (lambda: ag.stack([X, X.T]), ValueError, "stack: the tensors must have one shape; got [(2, 3), (3, 2)]"),
    (lambda: ag.stack([X], 3), ValueError, "stack: axis must lie in [-3, 3); got 3"),
    (lambda: ag.split(X, 2, 1), ValueError, "split: sections must divide the size 3; got 2"),
    (lambda: ag.split(X, 2, 2), ValueError, "split: axis must lie in [-2, 2); got 2"),
    (lambda: ag.pad(X, [(1, 1)]), ValueError, "pad: widths must be a pair of sizes for each of 2 axes; got [(1, 1)]"),
    (lambda: ag.einsum("ij", X, X), ValueError, "einsum: subscripts must name 2 operands; got 'ij'"),
    (
        lambda: ag.einsum("i->i", X),
        ValueError,
        "einsum: subscripts must name the axes of operands with [2]; got 'i->i'",
    ),
    (
        lambda: linear(X, X.T),
        ValueError,
        "linear: the input must have the shape (..., 2); got (2, 3)",
    ),
    (lambda: linear(X, X, Tensor([1.0])), ValueError, "linear: bias must have the shape (2,); got (1,)"),
    (
        lambda: cross_entropy(X, [0, 1], reduction="max"),
        ValueError,
        "cross_entropy: reduction must be 'mean', 'sum' or 'none'; got 'max'",
    ),
    (
        lambda: cross_entropy(X, [0, 1], label_smoothing=2),
        ValueError,
        "cross_entropy: label_smoothing must lie in [0, 1]; got 2",
    ),
    (
        lambda: cross_entropy(Tensor([1.0]), [0]),
        ValueError,
        "cross_entropy: logits must be floating and of shape (N, classes, ...), with a class at least; "
        "got ((1,), 'float32')",
    ),
    (
        lambda: cross_entropy(X[:0, :0], X[:0, :0]),
        ValueError,
        "cross_entropy: logits must be floating and of shape (N, classes, ...), with a class at least; "
        "got ((0, 0), 'float32')",
    ),
    (lambda: cross_entropy(X, [0]), ValueError, "cross_entropy: target must have the shape (2,); got (1,)"),
    (lambda: cross_entropy(X, [0, 3]), ValueError, "cross_entropy: target must lie in [0, 3); got 3"),
    (lambda: cross_entropy(X, [-1, 0]), ValueError, "cross_entropy: target must lie in [0, 3); got -1"),
    (
        lambda: cross_entropy(X, [0.0, 1.0]),
        TypeError,
        "cross_entropy: target must be integer class numbers, or probabilities in the shape of the logits; "
        "got ((2,), 'float32')",
    ),
]


@pytest.mark.parametrize(("mistake", "kind", "message"), MISTAKES, ids=[m[2][:60] for m in MISTAKES])
def test_a_mistake_is_told_in_one_sentence(mistake, kind, message):
    with pytest.raises(kind) as caught:
        mistake()
    assert str(caught.value) == message
    assert W.grad is None and W.tolist() == [1.0, 2.0]


def test_elements_can_be_assigned_where_nothing_is_recorded():
    w = Tensor([1.0, 2.0, 3.0], requires_grad=True)
    with no_grad():
        w[Tensor([0, 2])] = Tensor([5.0, 6.0])
        w[w > 5] = 0
    assert w.tolist() == [5.0, 2.0, 0.0] and w.requires_grad


def test_a_gradient_given_to_backward_keeps_the_precision_of_the_tensor():
    w = Tensor([1.0, 1.0], dtype="float64", requires_grad=True)
    (w * 1.0).backward(np.array([1 / 3, 1e-300]))
    assert w.grad.tolist() == [1 / 3, 1e-300]
