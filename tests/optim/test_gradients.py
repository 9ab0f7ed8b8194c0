"""Clipping and accumulation: against PyTorch, against float64, and what happens to the gradients' own memory."""

import math
import tracemalloc
from collections import namedtuple
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays_of

import minima as mi
from minima import Tensor, nn
from minima.data import default_collate
from minima.optim import (
    SGD,
    AdaGrad,
    Adam,
    RMSProp,
    accumulate,
    clip_grad_adaptive,
    clip_grad_norm,
    clip_grad_value,
)

DTYPES = ("float16", "float32", "float64")
ROUNDING = {"float16": 2e-3, "float32": 5e-7, "float64": 1e-14}


def with_grad(grad, values=None):
    """A parameter with this gradient, in the memory of the array that is given."""
    w = Tensor(np.ones(grad.shape) if values is None else values, dtype=grad.dtype, requires_grad=True)
    w.grad = Tensor.from_numpy(grad)
    return w


def drawn(dtype="float32", shapes=((3, 4), (), (0,), (5,), (2, 3, 4), (40, 600)), seed=0):
    rng = np.random.default_rng(seed)
    return [np.asarray(rng.normal(size=shape)).astype(dtype) for shape in shapes]


def in_torch(grads):
    torch = pytest.importorskip("torch")
    params = [torch.zeros(grad.shape, dtype=getattr(torch, grad.dtype.name)) for grad in grads]
    for param, grad in zip(params, grads, strict=True):
        param.grad = torch.from_numpy(np.array(grad))
    return params


# What is clipped, and where ------------------------------------------------------------------------------------------


class Holder:
    """Something that has parameters, and is nothing that minima knows."""

    def __init__(self, params):
        self.params = params

    def parameters(self):
        return iter(self.params)


def test_parameters_are_found_in_whatever_holds_them():
    model = nn.Linear(2, 1)
    w, b = model.weight, model.bias
    given = [model, model.parameters(), model.named_parameters(), SGD(model), Holder([w, b]), (w, b), [w, b, w]]
    for params in given:
        w.grad, b.grad = Tensor([[3.0], [0.0]]), Tensor([4.0])
        assert clip_grad_norm(params, 10.0) == 5.0
    assert clip_grad_norm(w, 10.0) == 3.0
    w.grad = None
    assert clip_grad_norm(model, 10.0) == 4.0
    b.grad = None
    assert clip_grad_norm(model, 10.0) == 0.0


CLIPS = [
    lambda params: clip_grad_norm(params, 1.0),
    lambda params: clip_grad_value(params, 0.5),
    lambda params: clip_grad_adaptive(params, 0.05),
]


@pytest.mark.parametrize("clip", CLIPS)
def test_gradients_are_changed_in_their_own_memory(clip):
    whole = np.arange(-30.0, 30.0).reshape(10, 6)
    views = [whole[:3], whole[3:6].T, whole[7:, ::2]]
    params = [with_grad(view) for view in views]
    expected = [with_grad(view.copy()) for view in views]
    before, grads = whole[6].copy(), [param.grad for param in params]
    clip(params)
    clip(expected)
    for param, view, other, grad in zip(params, views, expected, grads, strict=True):
        assert param.grad is grad and grad.buffer is view
        np.testing.assert_allclose(view, other.grad.numpy(), rtol=1e-15)
    np.testing.assert_array_equal(whole[6], before)
    assert (whole[7:, 1::2] == np.arange(-30.0, 30.0).reshape(10, 6)[7:, 1::2]).all()


@pytest.mark.parametrize("clip", CLIPS)
def test_gradients_that_share_memory_or_are_read_only_are_replaced(clip):
    same, frozen = np.full((2, 3), 7.0), np.full((2, 3), 7.0)
    frozen.flags.writeable = False
    window = np.lib.stride_tricks.as_strided(np.full(8, 7.0), (2, 3), (8, 8))
    grads = [same, same, same[::-1], frozen, np.broadcast_to(7.0, (2, 3)), window]
    params, expected = [with_grad(grad) for grad in grads], [with_grad(np.full((2, 3), 7.0)) for _ in grads]
    twin = with_grad(same)
    twin.grad = params[0].grad
    clip([*params, twin])
    clip([*expected, with_grad(np.full((2, 3), 7.0))])
    for param, other in zip([*params, twin], [*expected, expected[0]], strict=True):
        np.testing.assert_allclose(param.grad.numpy(), other.grad.numpy(), rtol=1e-15)
    assert (frozen == 7).all()


def test_backward_notices_that_a_gradient_was_written_to():
    w = with_grad(np.full(3, 5.0))
    scale = Tensor(np.ones(3), requires_grad=True)
    loss = (w.grad * scale).sum()
    clip_grad_norm([w], 1.0)
    with pytest.raises(RuntimeError, match="overwritten"):
        loss.backward()


# By norm -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("norm_type", [2.0, 1.0, 3.0, 0.5, math.inf])
@pytest.mark.parametrize("max_norm", [0.0, 1e-3, 1.0, 1e6])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_clipping_by_norm_is_torch_s(dtype, max_norm, norm_type):
    grads = [grad for grad in drawn(dtype) if grad.size]  # of nothing, torch has no infinity norm
    params, theirs = [with_grad(grad) for grad in grads], in_torch(grads)
    norm = clip_grad_norm(params, max_norm, norm_type=norm_type)
    torch = pytest.importorskip("torch")
    expected = torch.nn.utils.clip_grad_norm_(theirs, max_norm, norm_type=norm_type)
    assert norm == pytest.approx(expected.item(), rel=1e-5)
    for param, other in zip(params, theirs, strict=True):  # torch adds 1e-6 to a norm, here of at least 3
        np.testing.assert_allclose(param.grad.numpy(), other.grad.numpy(), rtol=1e-5)


@pytest.mark.parametrize("value", [math.inf, -math.inf, math.nan])
@pytest.mark.parametrize("norm_type", [2.0, 1.0, math.inf])
def test_a_norm_that_is_not_finite_does_to_gradients_what_it_does_in_torch(value, norm_type):
    grads = [np.array([1.0, value, -2.0], "float32"), np.array([3.0], "float32")]
    params, theirs = [with_grad(grad) for grad in grads], in_torch(grads)
    found = clip_grad_norm(params, 1.0, norm_type=norm_type)
    torch = pytest.importorskip("torch")
    expected = torch.nn.utils.clip_grad_norm_(theirs, 1.0, norm_type=norm_type).item()
    assert found == expected or math.isnan(found) and math.isnan(expected)
    for param, other in zip(params, theirs, strict=True):
        np.testing.assert_array_equal(param.grad.numpy(), other.grad.numpy())


def test_a_norm_that_is_not_finite_can_be_an_error_that_names_the_gradient():
    params = {"good": with_grad(np.ones(2)), "bad": with_grad(np.array([1.0, math.nan]))}
    message = "clip_grad_norm: the norm of the gradients must be finite; it is nan; the gradient of 'bad' is not; "
    with pytest.raises(ValueError, match=message + "nothing was changed"):
        clip_grad_norm(params.items(), 0.1, error_if_nonfinite=True)
    assert params["good"].grad.tolist() == [1.0, 1.0]
    assert clip_grad_norm([params["good"]], 0.1, error_if_nonfinite=True) == math.sqrt(2)


def test_an_infinite_bound_only_measures():
    params = [with_grad(np.array([3e200, 4e200])), with_grad(np.array([math.inf]))]
    assert clip_grad_norm(params[:1], math.inf) == pytest.approx(5e200)
    assert clip_grad_norm(params, math.inf) == math.inf
    assert [param.grad.tolist() for param in params] == [[3e200, 4e200], [math.inf]]


SIZES = [1e-320, 1e-200, 1e-30, 1.0, 1e30, 1e38, 1e200, 1e306]


@settings(max_examples=150, deadline=None)
@given(data=st.data(), dtype=st.sampled_from(DTYPES), max_norm=st.sampled_from([1e-30, 1e-3, 1.0, 1e4, 1e30, 1e300]))
def test_clipped_gradients_have_the_norm_that_was_asked_for_at_every_magnitude(data, dtype, max_norm):
    limits = np.finfo(dtype)
    sizes = [size for size in SIZES if size < float(limits.max)]
    shapes = arrays_of.array_shapes(min_dims=0, min_side=0, max_side=6)
    elements = st.builds(lambda size, x: size * x, st.sampled_from(sizes), st.floats(-1, 1))
    grads = data.draw(st.lists(arrays_of.arrays(dtype, shapes, elements=elements, fill=st.nothing()), max_size=4))
    assume(grads)
    exact = [grad.reshape(-1).astype("float64") for grad in grads]
    params = [with_grad(grad) for grad in grads]
    norm = math.hypot(*np.concatenate(exact))
    assert clip_grad_norm(params, max_norm) == pytest.approx(norm, rel=1e-14, abs=5e-324)
    for param, before in zip(params, exact, strict=True):
        after = param.grad.buffer.reshape(-1)
        factor = Fraction(max_norm) / Fraction(norm) if norm > max_norm else 1
        wanted = [float(Fraction(x) * factor) for x in before.tolist()]
        np.testing.assert_allclose(
            after.astype("float64"), wanted, rtol=ROUNDING[dtype], atol=float(limits.smallest_subnormal)
        )


def test_clipping_by_norm_allocates_nothing_of_the_size_of_the_gradients():
    params = [with_grad(np.ones(2_000_000, "float32")), with_grad(np.ones((500, 300), "float16"))]
    clip_grad_norm(params, 1.0)
    tracemalloc.start()
    try:
        assert clip_grad_norm(params, 0.5) == pytest.approx(1.0, rel=1e-3)
        assert tracemalloc.get_traced_memory()[1] < 300_000
    finally:
        tracemalloc.stop()


# By value ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("max_value", [0.0, 0.1, 0.5, 1e6])
def test_clipping_by_value_is_torch_s(dtype, max_value):
    grads = [*drawn(dtype), np.array([math.inf, -math.inf, math.nan, -0.0], dtype)]
    params, theirs = [with_grad(grad) for grad in grads], in_torch(grads)
    clip_grad_value(params, max_value)
    if not (dtype == "float16" and max_value > 65504):  # which torch refuses
        pytest.importorskip("torch").nn.utils.clip_grad_value_(theirs, max_value)
    for param, other in zip(params, theirs, strict=True):
        np.testing.assert_array_equal(param.grad.numpy(), other.grad.numpy())


# Unit by unit --------------------------------------------------------------------------------------------------------


def adaptive(grad, weight, clip, eps, axis):
    """Brock et al., equation 3, for one array, in Python's floats."""
    grad, weight = grad.astype("float64"), weight.astype("float64")
    units = [(slice(None),) * grad.ndim] if grad.ndim < 2 else []
    if grad.ndim > 1:
        axis %= grad.ndim
        units = [(slice(None),) * axis + (unit,) for unit in range(grad.shape[axis])]
    result = grad.copy()
    for unit in units:
        size, bound = math.hypot(*grad[unit].flat), clip * max(math.hypot(*weight[unit].flat), eps)
        if size > bound:
            result[unit] = grad[unit] / size * bound
    return result


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, -1])
@pytest.mark.parametrize("clip, eps", [(0.01, 1e-3), (1.0, 1e-3), (0.5, 2.0), (0.0, 0.0)])
def test_adaptive_clipping_is_that_of_its_paper(dtype, axis, clip, eps):
    shapes = [(3, 4), (), (7,), (2, 3, 4), (4, 0), (0,), (30, 20)]
    grads, weights = drawn(dtype, shapes), drawn(dtype, shapes, seed=1)
    weights[0][:, 1] = 0
    weights[0][1] = 0
    params = [with_grad(grad.copy(), weight) for grad, weight in zip(grads, weights, strict=True)]
    clip_grad_adaptive(params, clip, eps, unit_axis=axis)
    for param, grad, weight in zip(params, grads, weights, strict=True):
        wanted = adaptive(grad, weight, clip, eps, axis)
        tolerance = float(np.finfo(dtype).smallest_subnormal)
        np.testing.assert_allclose(param.grad.numpy(), wanted, rtol=ROUNDING[dtype], atol=tolerance)
        np.testing.assert_array_equal(param.detach().numpy(), weight)


def test_adaptive_clipping_is_right_unit_by_unit_at_every_magnitude():
    sizes = np.array([1e-320, 1e-200, 1e-30, 1.0, 1e200, 1e307])
    weights = np.outer(sizes, [3.0, 4.0])
    w = with_grad(np.outer(sizes, [6.0, 8.0]), weights)
    clip_grad_adaptive([w], clip=0.5, eps=0.0)
    np.testing.assert_allclose(w.grad.numpy(), weights / 2, rtol=1e-13, atol=1e-323)


def test_a_unit_that_is_not_finite_leaves_the_others_alone():
    w = with_grad(np.array([[math.nan, math.inf, 0.1], [1.0, 1.0, 0.1]]))
    clip_grad_adaptive([w], clip=1.0, unit_axis=1)
    np.testing.assert_array_equal(w.grad.numpy(), [[math.nan, math.nan, 0.1], [1.0, 0.0, 0.1]])


# Mistakes ------------------------------------------------------------------------------------------------------------


def integer_grad():
    w = Tensor([1.0], requires_grad=True)
    w.grad = Tensor([1])
    return w


def misshapen():
    w = Tensor([1.0], requires_grad=True)
    w.grad = Tensor([1.0, 2.0])
    return w


W = Tensor([[1.0]], requires_grad=True)
W.grad = Tensor([[2.0]])
MISTAKES = [
    (lambda: clip_grad_norm([], 1.0), ValueError, "clip_grad_norm: params is empty; is it a generator"),
    (lambda: clip_grad_norm(iter(()), 1.0), ValueError, "params is empty"),
    (lambda: clip_grad_norm(3, 1.0), TypeError, "params must be Tensors, a module or an optimizer; got 3"),
    (lambda: clip_grad_norm("abc", 1.0), TypeError, "params must be Tensors"),
    (lambda: clip_grad_norm(nn.Linear, 1.0), TypeError, "got <class .*Linear'>; make an object of the class"),
    (lambda: clip_grad_norm([W, 3], 1.0), TypeError, "entry 1 is none of these; got 3"),
    (lambda: clip_grad_norm([(1, W)], 1.0), TypeError, "entry 0 is none of these"),
    (lambda: clip_grad_norm([W], -1.0), ValueError, "max_norm must be a number of at least 0; got -1.0"),
    (lambda: clip_grad_norm([W], math.nan), ValueError, "max_norm must be a number"),
    (lambda: clip_grad_norm([W], "1.0x"), TypeError, "max_norm must be a number"),
    (lambda: clip_grad_norm([W], "1.0"), TypeError, "max_norm must be a number of at least 0; got '1.0'"),
    (lambda: clip_grad_norm([W], True), TypeError, "max_norm must be a number of at least 0; got True"),
    (lambda: clip_grad_norm([W], 10**400), ValueError, "max_norm must be a number of at least 0; got 1000"),
    (lambda: clip_grad_norm([W], 1.0, norm_type=0), ValueError, "norm_type must be above 0; got 0"),
    (lambda: clip_grad_norm([W], 1.0, norm_type=-1), ValueError, "norm_type must be a number of at least 0; got -1"),
    (
        lambda: clip_grad_norm([W], 1.0, norm_type=math.nan),
        ValueError,
        "norm_type must be a number of at least 0; got nan",
    ),
    (lambda: clip_grad_norm([W], 1.0, norm_type="2"), TypeError, "norm_type must be a number of at least 0; got '2'"),
    (lambda: clip_grad_norm([W, integer_grad()], 1.0), TypeError, "the gradient of '1' must be floating; got 'int64'"),
    (lambda: clip_grad_value([W], -0.1), ValueError, "clip_grad_value: max_value must be a number of at least 0"),
    (lambda: clip_grad_value([W], math.inf), ValueError, "max_value must be a number"),
    (lambda: clip_grad_adaptive([W], -0.1), ValueError, "clip_grad_adaptive: clip must be a number of at least 0"),
    (lambda: clip_grad_adaptive([W], eps=-1), ValueError, "eps must be a number of at least 0"),
    (lambda: clip_grad_adaptive([W], unit_axis=2), ValueError, "unit_axis must be an axis of every array; '0' has 2"),
    (lambda: clip_grad_adaptive([W], unit_axis=0.5), TypeError, "unit_axis must be an integer"),
    (lambda: clip_grad_adaptive([W, misshapen()]), ValueError, r"the gradient of '1' has shape \(2,\), the parameter"),
]


@pytest.mark.parametrize("call, error, message", MISTAKES)
def test_a_mistake_is_told_in_one_sentence_and_changes_nothing(call, error, message):
    with pytest.raises(error, match=message):
        call()
    assert W.grad.tolist() == [[2.0]]


# Accumulation --------------------------------------------------------------------------------------------------------


def network():
    mi.manual_seed(1)
    return nn.Sequential(nn.Linear(4, 6, dtype="float64"), nn.Tanh(), nn.Linear(6, 3, dtype="float64"))


def data(size=23):
    rng = np.random.default_rng(0)
    return Tensor(rng.normal(size=(size, 4)), dtype="float64"), Tensor(rng.integers(0, 3, size))


@pytest.mark.parametrize("parts", [1, 2, 5, 22, 23, 99])
@pytest.mark.parametrize("make", [SGD, AdaGrad, RMSProp, Adam])
def test_steps_on_accumulated_gradients_are_those_on_the_whole_batch(make, parts):
    """23 items are a prime number of them: no cut makes equal parts."""
    whole, cut = network(), network()
    loss, (x, y) = nn.CrossEntropyLoss(), data()
    ours, theirs = make(cut, lr=0.05), make(whole, lr=0.05)
    for _ in range(4):
        expected = loss(whole(x), y)
        expected.backward()
        found = accumulate(lambda a, b: loss(cut(a), b), (x, y), parts)
        assert found == pytest.approx(expected.item(), rel=1e-13)
        for p, q in zip(cut.parameters(), whole.parameters(), strict=True):
            np.testing.assert_allclose(p.grad.numpy(), q.grad.numpy(), rtol=1e-11, atol=1e-15)
        for optimizer in (ours, theirs):
            optimizer.step()
            optimizer.zero_grad()
    for p, q in zip(cut.parameters(), whole.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), rtol=1e-10, atol=1e-12)


def test_parts_are_called_in_order_and_differ_by_one_item_at_most():
    seen, w = [], Tensor(1.0, requires_grad=True)
    accumulate(lambda x, y: seen.append((x, y)) or (w * w), (np.arange(11), list(range(11))), 4)
    assert [y for _, y in seen] == [[0, 1], [2, 3, 4], [5, 6, 7], [8, 9, 10]]
    assert all(x.tolist() == y for x, y in seen) and w.grad.item() == 2.0


Pair = namedtuple("Pair", "left right")
ITEMS = {
    "a dict": {"x": np.array([0.5, 1.5]), "label": 3},
    "nested": ({"x": [np.float32(1.0), {"deep": 2}]}, (1, [2.0, 3.0])),
    "a named tuple": Pair(1.0, {"name": "a"}),
    "places without anything": ({"x": 1.0, "none": [], "nothing": ()}, (), {}),
    "strings beside numbers": (1.0, "a"),
    "a list of strings": {"x": 1.0, "words": ["a", "b"]},
}


@pytest.mark.parametrize("kind", ITEMS)
@pytest.mark.parametrize("parts", [1, 2, 5])
def test_whatever_a_loader_makes_is_cut_as_the_loader_cuts(kind, parts):
    """A batch of five in parts: as the same items in batches of those sizes."""
    whole = default_collate([ITEMS[kind]] * 5)
    sizes = {1: [5], 2: [2, 3], 5: [1] * 5}[parts]
    expected = [default_collate([ITEMS[kind]] * size) for size in sizes]
    seen, w = [], Tensor(1.0, requires_grad=True)
    accumulate(lambda *part: seen.append(part) or w * w, whole, parts)
    for part, batch in zip(seen, expected, strict=True):
        wanted = tuple(batch) if isinstance(batch, tuple | list) else (batch,)
        assert repr(part) == repr(wanted)


def test_a_loss_of_a_dict_has_the_gradient_of_the_whole_batch():
    w = Tensor(2.0, dtype="float64", requires_grad=True)
    batch = {"x": np.array([1.0, 2.0, 6.0]), "y": (np.array([0.0, 1.0, 2.0]), ["a", "b", "c"])}
    assert accumulate(lambda part: (w * part["x"] - part["y"][0]).mean(), batch, 2) == pytest.approx(5.0)
    assert w.grad.item() == pytest.approx(3.0)


def test_a_batch_of_one_tensor_is_cut_too_and_gradients_are_added_to_those_there():
    w = Tensor([2.0], dtype="float64", requires_grad=True)
    w.grad = Tensor([100.0], dtype="float64")
    assert accumulate(lambda x: (w * x).mean(), Tensor([1.0, 2.0, 6.0], dtype="float64"), 2) == pytest.approx(6.0)
    assert w.grad.item() == pytest.approx(103.0)
    assert accumulate(lambda x: (w * x).mean().reshape(1, 1), np.array([1.0, math.inf]), 2) == math.inf


BATCHES = [
    (
        lambda: accumulate(lambda x: W.sum(), np.ones(3), 0),
        ValueError,
        "accumulate: parts must be an integer of at least 1",
    ),
    (lambda: accumulate(None, np.ones(3), 2), TypeError, "accumulate: loss_fn must be a function .*; got None"),
    (lambda: accumulate(lambda x: W.sum(), np.ones(3), 1.5), TypeError, "parts must be an integer of at least 1"),
    (lambda: accumulate(lambda x: W.sum(), 3.0, 2), TypeError, "batch must be a Tensor or an array, or a tuple"),
    (
        lambda: accumulate(lambda x: W.sum(), {"x": np.ones(3), "t": 0.5}, 2),
        TypeError,
        r"batch\['t'\] must be a Tensor",
    ),
    (
        lambda: accumulate(lambda x: W.sum(), (np.ones(3), [{"n": None}]), 2),
        TypeError,
        r"batch\[1\]\[0\]\['n'\] must be",
    ),
    (lambda: accumulate(lambda x: W.sum(), ["ab", "cd"], 2), TypeError, r"batch\[0\] must be a Tensor .*; got 'ab'$"),
    (lambda: accumulate(lambda x: W.sum(), {1, 2, 3}, 2), TypeError, r"batch must be a Tensor .*; got \{1, 2, 3\}$"),
    (lambda: accumulate(lambda x: W.sum(), {}, 2), ValueError, "the batch is empty"),
    (lambda: accumulate(lambda x: W.sum(), {"x": np.ones(3), "y": [1]}, 2), ValueError, r"as many items; got \[3, 1\]"),
    (lambda: accumulate(lambda x: W.sum(), (np.ones(3), np.ones(2)), 2), ValueError, r"as many items; got \[3, 2\]"),
    (lambda: accumulate(lambda x: W.sum(), (), 2), ValueError, "the batch is empty"),
    (lambda: accumulate(lambda x: W.sum(), np.ones((0, 2)), 2), ValueError, "the batch is empty"),
    (lambda: accumulate(lambda x: 1.0, np.ones(3), 2), TypeError, "loss_fn must give a Tensor; got 1.0"),
    (lambda: accumulate(lambda x: W * x, np.ones(3), 1), ValueError, r"it gave shape \(1, 3\); take its mean"),
]


@pytest.mark.parametrize("call, error, message", BATCHES)
def test_a_batch_that_cannot_be_accumulated_is_told_in_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()
