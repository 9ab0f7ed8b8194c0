"""The moving average of the weights: its values, where they are lent, and how they are kept."""

import copy
import math
import pickle
import tracemalloc

import numpy as np
import pytest

import minima as mi
from minima import Tensor, nn
from minima.optim import EMA, SGD

# Values --------------------------------------------------------------------------------------------------------------


def drift(tensors, step):
    """Weights as they might be after a step."""
    for number, tensor in enumerate(tensors):
        rng = np.random.default_rng([step, number])
        tensor.data = tensor.buffer * 0.9 + rng.normal(size=tensor.shape).astype(tensor.dtype)


def weights(dtype="float32"):
    rng = np.random.default_rng(0)
    return [Tensor(rng.normal(size=shape), dtype=dtype) for shape in [(3, 4), (), (0,), (300, 70)]]


def wanted(path, decay, warmup):
    """What the average is after these weights, the first of them where it starts, in float64."""
    average = path[0].astype("float64")
    for t, value in enumerate(path[1:], start=1):
        keep = min(decay, (1 + t) / (10 + t)) if warmup else decay
        average = keep * average + (1 - keep) * value.astype("float64")
    return average


@pytest.mark.parametrize("warmup", [False, True])
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.99, 1.0])
@pytest.mark.parametrize("dtype, rounding", [("float16", 1e-6), ("float32", 1e-6), ("float64", 1e-14)])
def test_the_average_is_that_of_its_formula(dtype, rounding, decay, warmup):
    tensors = weights(dtype)
    ema = EMA(tensors, decay, warmup=warmup)
    paths = [[tensor.buffer.copy()] for tensor in tensors]
    for step in range(20):
        drift(tensors, step)
        ema.update()
        for path, tensor in zip(paths, tensors, strict=True):
            path.append(tensor.buffer.copy())
    assert ema.t == 20 and list(ema.averages) == ["0", "1", "2", "3"]
    for average, path in zip(ema.averages.values(), paths, strict=True):
        expected = wanted(path, decay, warmup)
        assert average.dtype == (np.float64 if dtype == "float64" else np.float32)
        np.testing.assert_allclose(average.buffer, expected, rtol=rounding, atol=rounding)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_decay_of_zero_gives_the_weights_to_the_last_bit(dtype):
    w = Tensor([1.0, 3e4, math.inf, math.nan, 2.0], dtype=dtype)
    ema = EMA([w], 0.0)
    for values in ([3e4, 1.1, 0.7, 0.3, -0.0], [1e-7, 1.2, math.nan, 0.1, math.inf]):
        w.data = np.array(values, dtype)
        ema.update()
        average = ema.averages["0"].buffer
        assert average.tobytes() == w.buffer.astype(average.dtype).tobytes() and ema.t


@pytest.mark.parametrize("decay", [1e-12, 1e-6, 0.01, 0.25, 0.49, 0.5, 0.51, 0.75, 0.99, 1 - 1e-6])
def test_an_average_has_the_digits_of_what_it_comes_close_to(decay):
    """An average and a weight of very unlike magnitudes, and alike ones."""
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 1000)) * 10.0 ** rng.integers(-6, 7, (2, 1000))
    first[:100] = second[:100]
    w = Tensor(first)
    first = w.buffer.astype(float)
    ema = EMA([w], decay)
    w.data = second
    ema.update()
    second = w.buffer.astype(float)
    exact = decay * first + (1 - decay) * second
    # The terms of the sum are rounded, and the difference of the two, of which a part is added.
    ulps = abs(exact) + abs(decay * first) + abs((1 - decay) * second) + min(decay, 1 - decay) * abs(first - second)
    assert (abs(ema.averages["0"].buffer - exact) <= 1.2e-7 * ulps).all()
    assert (ema.averages["0"].buffer[:100] == first[:100]).all()


def test_the_average_is_torch_s_from_its_first_update_on():
    torch = pytest.importorskip("torch")
    from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

    ours = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    theirs = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

    def same():
        with torch.no_grad():
            for mine, other in zip(ours.parameters(), theirs.parameters(), strict=True):
                other.copy_(torch.from_numpy(mine.buffer.copy()))

    same()
    averaged = AveragedModel(theirs, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(theirs)  # the first one copies
    ema = EMA(ours, 0.9)
    for step in range(30):
        drift([parameter.data for parameter in ours.parameters()], step)
        same()
        ema.update()
        averaged.update_parameters(theirs)
    for (name, _), other in zip(ours.named_parameters(), averaged.module.parameters(), strict=True):
        mine = ema.averages[name].buffer
        np.testing.assert_allclose(mine, other.detach().numpy(), rtol=1e-5, atol=1e-6)


def test_floating_buffers_are_averaged_and_integer_ones_are_left_alone():
    model = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    ema = EMA(model, 0.5)
    names = [name for name, _ in model.named_parameters()] + ["1.running_mean", "1.running_var"]
    assert list(ema.averages) == names
    model(Tensor(np.random.default_rng(0).normal(size=(8, 2))))
    ema.update()
    mean = model[1].running_mean.buffer.copy()
    np.testing.assert_allclose(ema.averages["1.running_mean"].buffer, mean / 2, rtol=1e-6)
    with ema.averaged():
        np.testing.assert_allclose(model[1].running_mean.buffer, mean / 2, rtol=1e-6)
        assert model[1].num_batches_tracked.item() == 1
    np.testing.assert_array_equal(model[1].running_mean.buffer, mean)


def test_half_precision_weights_are_averaged_in_single_precision():
    w = Tensor([1.0], dtype="float16")
    ema = EMA([w], 0.9999)
    w.data = np.array([2.0])
    for _ in range(10):
        ema.update()
    assert 1.0009 < ema.averages["0"].item() < 1.0011  # in half precision it would still be 1
    with ema.averaged():
        assert w.item() == np.float16(1.001) and w.dtype == np.float16


def test_an_update_allocates_nothing_of_the_size_of_the_weights():
    tensors = [Tensor(np.ones(2_000_000)), Tensor(np.ones((300, 300)))]
    ema = EMA(tensors)
    ema.update()
    buffers = [average.buffer for average in ema.averages.values()]
    tracemalloc.start()
    try:
        ema.update()
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert all(a.buffer is b for a, b in zip(ema.averages.values(), buffers, strict=True))


# Lending -------------------------------------------------------------------------------------------------------------


def model_and_average():
    mi.manual_seed(3)
    model = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    ema = EMA(model, 0.75)
    optimizer = SGD(model.parameters(), lr=0.1, momentum=0.9)
    rng = np.random.default_rng(0)
    for _ in range(5):
        (model(Tensor(rng.normal(size=(8, 3)))) ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()
        ema.update()
    return model, ema


def bits(model):
    return {name: value.buffer.tobytes() for name, value in model.state_dict().items()}


def test_the_model_has_the_averages_inside_and_its_own_weights_behind_to_the_bit():
    model, ema = model_and_average()
    model[0].weight.data = np.where(np.arange(12).reshape(4, 3) == 5, -0.0, model[0].weight.buffer)
    before, buffers = bits(model), [parameter.buffer for parameter in model.parameters()]
    with ema.averaged():
        for name, parameter in model.named_parameters():
            np.testing.assert_array_equal(parameter.buffer, ema.averages[name].buffer)
        with ema.averaged():  # once more makes no difference
            pass
        assert bits(model) != before
    assert bits(model) == before
    assert all(p.buffer is b for p, b in zip(model.parameters(), buffers, strict=True))


def test_an_error_inside_gives_the_weights_back():
    model, ema = model_and_average()
    before, averages = bits(model), copy.deepcopy(ema.state_dict())
    with pytest.raises(KeyboardInterrupt), ema.averaged():
        model[0].weight.data = np.zeros((4, 3))  # and what was done to the lent weights touches no average
        raise KeyboardInterrupt
    assert bits(model) == before
    np.testing.assert_equal(ema.state_dict(), averages)
    ema.update()


def test_another_model_can_borrow_the_averages():
    model, ema = model_and_average()
    other = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))
    before, own = bits(other), bits(model)
    with ema.averaged(other):
        np.testing.assert_array_equal(other[2].weight.buffer, ema.averages["2.weight"].buffer)
        assert bits(model) == own
        ema.update()  # the averaged model has its own weights
    assert bits(other) == before
    narrow = nn.Sequential(nn.Linear(3, 5), nn.BatchNorm1d(5))
    message = (
        "EMA.averaged: the averages must fit the model: unexpected '2.weight', '2.bias', "
        r"'0.weight' has shape \(4, 3\) where \(5, 3\) is needed"
    )
    with pytest.raises(ValueError, match=message), ema.averaged(narrow):
        pass


def test_of_weights_of_which_one_cannot_be_given_back_the_others_are():
    params = [Tensor([1.0, 2.0], requires_grad=True) for _ in range(3)]
    ema = EMA(params)
    for param in params:
        param.data = np.zeros(2)
    lost = params[1]
    with pytest.raises(ValueError, match="read-only"), ema.averaged():
        lost.buffer.flags.writeable = False
    assert [param.tolist() for param in params] == [[0.0, 0.0], [1.0, 2.0], [0.0, 0.0]]


def test_backward_notices_that_weights_were_lent():
    model, ema = model_and_average()
    loss = model(Tensor(np.ones((2, 3)))).sum()
    with ema.averaged():
        pass
    with pytest.raises(RuntimeError, match="overwritten"):
        loss.backward()


def test_an_update_of_the_averages_by_themselves_is_refused():
    model, ema = model_and_average()
    with ema.averaged():
        with ema.averaged():
            pass
        with pytest.raises(RuntimeError, match="EMA.update: the model holds the averages; leave averaged"):
            ema.update()
    ema.update()
    assert all(average.grad is None for average in ema.averages.values())


# Keeping -------------------------------------------------------------------------------------------------------------


def plain(value):
    """Whether this is a nested dict of plain values."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(entry) for key, entry in value.items())
    return isinstance(value, np.ndarray | int | float | bool)


def test_going_on_from_a_state_dict_gives_the_bits_of_the_run_that_was_not_stopped():
    model, ema = model_and_average()
    state = ema.state_dict()
    assert plain(state) and state["t"] == 5
    other = EMA(model, decay=0.1, warmup=True)
    other.load_state_dict(state)
    drift(list(model.parameters()), 7)
    for each in (ema, other):
        each.update()
    assert (other.t, other.decay, other.warmup) == (6, 0.75, False)
    np.testing.assert_equal(other.state_dict(), ema.state_dict())
    assert not np.array_equal(state["averages"]["0.bias"], ema.state_dict()["averages"]["0.bias"])  # a snapshot


@pytest.mark.parametrize(
    "again", [copy.deepcopy, lambda pair: pickle.loads(pickle.dumps(pair))], ids=["copy", "pickle"]
)
def test_a_copy_of_model_and_average_goes_on_by_itself(again):
    model, ema = model_and_average()
    before = bits(model)
    twin, average = again((model, ema))
    drift(list(model.parameters()), 7)
    ema.update()
    assert bits(twin) == before and average.t == 5
    drift(list(twin.parameters()), 7)
    average.update()
    np.testing.assert_equal(average.state_dict(), ema.state_dict())


def changed(**entries):
    return lambda state: {**state, **entries}


BAD = [
    (lambda state: None, TypeError, "EMA.load_state_dict: state_dict must be what EMA.state_dict"),
    (lambda state: {"t": 3}, TypeError, "state_dict must be what EMA.state_dict"),
    (changed(decay=1.5), ValueError, r"decay must be a number in \[0, 1\]; got 1.5"),
    (changed(t=-1), ValueError, "t must be an integer of at least 0"),
    (changed(averages=3), TypeError, "state_dict must be a mapping of names to arrays"),
    (changed(averages={}), ValueError, "missing '0.weight'"),
    (lambda state: {**state, "averages": {**state["averages"], "x": 0.0}}, ValueError, "unexpected 'x'"),
    (
        lambda state: {**state, "averages": {**state["averages"], "2.bias": np.ones(3)}},
        ValueError,
        r"'2.bias' has shape \(3,\) where \(1,\) is needed; nothing was loaded",
    ),
]


@pytest.mark.parametrize("change, error, message", BAD)
def test_a_state_dict_that_does_not_fit_changes_nothing(change, error, message):
    _, ema = model_and_average()
    state = ema.state_dict()
    with pytest.raises(error, match=message):
        ema.load_state_dict(change(state))
    np.testing.assert_equal(ema.state_dict(), state)


MISTAKES = [
    (lambda: EMA([Tensor([1.0])], 1.5), ValueError, r"EMA: decay must be a number in \[0, 1\]; got 1.5"),
    (lambda: setattr(EMA([Tensor([1.0])]), "decay", 7), ValueError, r"EMA: decay must be a number in \[0, 1\]; got 7"),
    (lambda: setattr(EMA([Tensor([1.0])]), "warmup", 1), TypeError, "EMA: warmup must be True or False; got 1"),
    (lambda: setattr(EMA([Tensor([1.0])]), "t", "x"), TypeError, "EMA: t must be an integer of at least 0; got 'x'"),
    (lambda: EMA([Tensor([1])]), TypeError, "EMA: '0' must be floating; got 'int64'"),
    (lambda: EMA([]), ValueError, "EMA: params is empty"),
    (lambda: EMA([("a", Tensor([1.0])), ("a", Tensor([2.0]))]), ValueError, "a name of its own; got 'a'"),
]


@pytest.mark.parametrize("call, error, message", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(call, error, message):
    with pytest.raises(error, match=message):
        call()


def test_names_come_from_the_optimizer_too():
    model = nn.Linear(2, 1)
    assert list(EMA(SGD(model.named_parameters())).averages) == ["weight", "bias"]
    assert repr(EMA(model, 0.9)) == "EMA(2 tensors, decay=0.9, warmup=False, t=0)"


def test_a_warm_up_that_is_no_flag_is_refused_in_one_sentence():
    with pytest.raises(TypeError, match="^EMA: warmup must be True or False; got 'no'$"):
        EMA([Tensor([1.0])], warmup="no")
