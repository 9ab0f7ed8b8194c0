"""The learning-rate range test: what it sees, what it suggests, and that it leaves no trace."""

import copy
import math
import sys

import numpy as np
import pytest

import minima as mi
from minima import Tensor, nn
from minima.data import DataLoader, TensorDataset
from minima.optim import SGD, AdaGrad, Adam, Optimizer, RangeTest, RMSProp, lr_range_test
from minima.random import generator

ALGORITHMS = (SGD, AdaGrad, RMSProp, Adam)


class Workshop:
    """A network in the middle of its training, with all that has a state."""

    def __init__(self, make=Adam, **settings):
        mi.manual_seed(5)
        rng = np.random.default_rng(0)
        x, y = rng.normal(size=(50, 4)), rng.integers(0, 3, 50)
        self.model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Dropout(0.2), nn.Linear(8, 3))
        self.loader = DataLoader(TensorDataset(x, y), batch_size=16, shuffle=True, seed=settings.pop("seed", None))
        self.optimizer = make(self.model.parameters(), **settings)
        self.loss = nn.CrossEntropyLoss()
        self.train(2)
        self.compute(*next(iter(self.loader))).backward()  # a gradient that waits for its step

    def compute(self, x, y):
        return self.loss(self.model(x), y)

    def train(self, epochs):
        for _ in range(epochs):
            for x, y in self.loader:
                self.optimizer.zero_grad()
                self.compute(x, y).backward()
                self.optimizer.step()

    def state(self):
        return {
            "model": {name: value.buffer.copy() for name, value in self.model.state_dict().items()},
            "grads": [None if p.grad is None else p.grad.buffer.copy() for p in self.model.parameters()],
            "optimizer": self.optimizer.state_dict(),
            "random": mi.random.get_state(),
            "loader": self.loader.state_dict(),
        }

    def test(self, **settings):
        return lr_range_test(self.compute, self.optimizer, self.loader, model=self.model, **settings)


def same(a, b):
    """Whether two states are the same to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()
    return a == b


# Leaving no trace ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", [None, 3])
@pytest.mark.parametrize("make", ALGORITHMS)
def test_everything_is_as_before_to_the_bit_and_training_goes_on_as_if_nothing_had_been(make, seed):
    ours, theirs = Workshop(make, seed=seed), Workshop(make, seed=seed)
    before, number = ours.state(), mi.random.get_state()
    grads = [p.grad for p in ours.model.parameters()]
    found = ours.test(steps=20)
    assert len(found.losses) >= 10 and same(ours.state(), before)
    assert all(p.grad is grad for p, grad in zip(ours.model.parameters(), grads, strict=True))
    for each in (ours, theirs):
        mi.random.set_state(number)
        each.optimizer.step()
        each.train(2)
    assert same(ours.state(), theirs.state())


@pytest.mark.parametrize("fail", ["loss", "step", "batches"])
@pytest.mark.parametrize("error", [ZeroDivisionError, KeyboardInterrupt])
def test_everything_is_as_before_also_behind_an_error(fail, error, monkeypatch):
    shop = Workshop()
    calls = []

    def count():
        calls.append(1)
        if len(calls) == 7:
            raise error

    compute, step, collate = shop.compute, Adam.step, shop.loader.__class__.__iter__
    before = shop.state()
    if fail == "loss":
        shop.compute = lambda x, y: count() or compute(x, y)
    elif fail == "step":
        monkeypatch.setattr(Adam, "step", lambda self: (step(self), count())[0])
    else:
        monkeypatch.setattr(DataLoader, "__iter__", lambda self: (count(), collate(self))[1])
    with pytest.raises(error):
        shop.test()
    assert len(calls) == 7 and same(shop.state(), before)


def test_schedules_groups_and_state_in_fewer_bits_are_not_touched():
    model, seen = nn.Linear(4, 2), []

    def schedule(step):
        seen.append(step)
        return 0.1 / (1 + step)

    groups = [{"params": [model.weight], "lr": schedule}, {"params": [model.bias]}]
    optimizer = Adam(groups, lr=0.5, weight_decay=lambda step: 0.01 * step, state_dtype="int8")
    x = Tensor(np.random.default_rng(0).normal(size=(8, 4)))
    loss = lambda x: (model(x) ** 2).mean()  # noqa: E731
    loss(x).backward()
    optimizer.step()
    before, plan = optimizer.state_dict(), optimizer._stepper._plan
    lr_range_test(loss, optimizer, [x], steps=10)
    assert same(optimizer.state_dict(), before) and optimizer.param_groups[0].own["lr"] is schedule
    assert optimizer._stepper._plan is plan and optimizer.t == 1 and seen[-1] == 1


class Imperative(Optimizer):
    """In the old style, with state that only it knows."""

    def __init__(self, params, lr=0.1):
        super().__init__(params)
        self.lr = lr
        self.memory = [np.zeros(p.shape) for p in self.params]

    def step(self):
        for p, memory in zip(self.params, self.memory, strict=True):
            memory += p.grad.buffer
            p.data = p.data - self.lr * memory


def test_an_optimizer_that_overrides_step_is_tested_and_left_alone_too():
    w = Tensor([3.0], requires_grad=True)
    optimizer = Imperative([w])
    found = lr_range_test(lambda x: (w * w * x).sum(), optimizer, [Tensor([1.0])], low=1e-3, steps=30)
    assert found.diverged and found.losses.min() < 3
    assert (w.item(), optimizer.lr, optimizer.t, optimizer.memory[0].item()) == (3.0, 0.1, 0, 0.0)


def test_an_optimizer_that_raises_at_bad_gradients_does_not_end_the_test():
    w = Tensor([1.0], requires_grad=True)
    optimizer = SGD([w], on_nonfinite="raise")
    root = lambda x: (w * 0).sum() + ((w - 1.0) ** 2).sum() ** 0.5  # noqa: E731  # its slope at 1 is NaN
    with np.errstate(all="ignore"):
        found = lr_range_test(root, optimizer, [Tensor([1.0])])
    assert found.diverged and len(found.losses) == 1 and w.item() == 1.0


def test_backward_through_a_loss_of_the_test_notices_that_the_weights_are_others_again():
    w, losses = Tensor([3.0], requires_grad=True), []
    lr_range_test(lambda x: losses.append((w * w * x).sum()) or losses[-1], SGD([w]), [1.0, 1.0, math.nan])
    with pytest.raises(RuntimeError, match="overwritten"):
        losses[-1].backward()


# What it sees --------------------------------------------------------------------------------------------------------


def walk(lrs):
    """Gradient descent on 2 w**2 from 1: the loss before each step."""
    w, losses = 1.0, []
    for lr in lrs:
        losses.append(2 * w * w)
        w -= lr * 4 * w
    return losses


def descend(**settings):
    w = Tensor(1.0, dtype="float64", requires_grad=True)
    return lr_range_test(lambda x: 2 * w * w, SGD([w]), [None], **settings)


def test_rates_are_spaced_evenly_in_the_logarithm_and_losses_are_those_of_training_with_them():
    found = descend(low=1e-3, high=0.1, steps=40)
    np.testing.assert_allclose(found.lrs, np.geomspace(1e-3, 0.1, 40), rtol=1e-12)
    np.testing.assert_allclose(found.losses, walk(found.lrs), rtol=1e-12)
    assert not found.diverged


@pytest.mark.parametrize("diverge", [1.0, 4.0, 50.0])
def test_the_test_ends_where_the_last_five_losses_are_that_much_above_the_best_five(diverge):
    found = descend(low=1e-2, high=100.0, steps=200, diverge=diverge)
    assert found.diverged and len(found.lrs) == len(found.losses) == len(found.smoothed) < 200
    means = [float(np.mean(found.losses[end - 5 : end])) for end in range(5, len(found.losses) + 1)]
    assert means[-1] > diverge * min(means)
    assert all(mean <= diverge * min(means[: place + 1]) for place, mean in enumerate(means[:-1]))


def test_losses_below_zero_diverge_by_their_distance():
    values = iter([-10.0] * 10 + [10.0] * 20)
    w = Tensor(0.0, requires_grad=True)
    found = lr_range_test(lambda x: w * 0 + next(values), SGD([w]), [None], diverge=2.0)
    assert found.diverged and found.losses.tolist() == [-10.0] * 10 + [10.0] * 3  # mean of the last five: 2 > 0


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_ends_the_test_and_is_not_kept(value):
    values = iter([3.0, 2.0, 1.0, value])
    w = Tensor(0.0, requires_grad=True)
    found = lr_range_test(lambda x: w + next(values), SGD([w]), [None], high=1e-6)
    assert found.diverged and found.losses.round(3).tolist() == [3.0, 2.0, 1.0] and found.suggestion is None


def test_batches_are_gone_over_again_in_their_order():
    seen, w = [], Tensor(0.0, requires_grad=True)
    lr_range_test(lambda a, b: seen.append((a, b)) or w * w, SGD([w]), [(1, 2), [3, 4], (5, 6)], steps=7)
    assert seen == [(1, 2), (3, 4), (5, 6)] * 2 + [(1, 2)]


def test_groups_keep_the_ratio_of_their_rates():
    w, v = Tensor(1.0, requires_grad=True), Tensor(1.0, requires_grad=True)
    optimizer = SGD([{"params": [w], "lr": 0.02}, {"params": [v]}], lr=0.1)
    moves = []

    def loss(_):
        moves.append((w.item(), v.item()))
        return w + v

    lr_range_test(loss, optimizer, [None], low=1e-3, high=1e-2, steps=5)
    (w0, v0), (w1, v1), *_ = moves
    assert (w0 - w1) / (v0 - v1) == pytest.approx(0.2, rel=1e-3)
    assert (v0 - v1) == pytest.approx(1e-3, rel=1e-3)


def test_where_the_optimizer_s_own_rate_is_zero_all_groups_step_at_that_of_the_test():
    w, v = Tensor(1.0, requires_grad=True), Tensor(1.0, requires_grad=True)
    optimizer = SGD([{"params": [w], "lr": 0.02}, {"params": [v]}], lr=0.0)
    moves = []

    def loss(_):
        moves.append((w.item(), v.item()))
        return w + v

    lr_range_test(loss, optimizer, [None], low=1e-3, high=1e-2, steps=2)
    assert moves == [(1.0, 1.0), (pytest.approx(1 - 1e-3), pytest.approx(1 - 1e-3))]


# What it suggests ----------------------------------------------------------------------------------------------------


def result(losses, low=1e-5, high=10.0):
    w, values = Tensor(0.0, dtype="float64", requires_grad=True), iter(losses)
    return lr_range_test(lambda x: w * 0 + next(values), SGD([w]), [None], low=low, high=high, steps=len(losses))


@pytest.mark.parametrize("place", [-3.5, -2.0, -0.5])
def test_the_suggestion_is_where_the_loss_falls_most_steeply(place):
    decades = np.linspace(-5, 1, 120)
    losses = 2.3 - 2 / (1 + np.exp(-(decades - place) * 4)) + np.where(decades > 0.5, 8 * (decades - 0.5), 0)
    noise = np.random.default_rng(0).normal(size=120) * 0.05
    assert np.log10(result(losses + noise).suggestion) == pytest.approx(place, abs=0.25)


def test_ten_steps_are_enough_for_a_suggestion():
    losses = 2.0 - 1 / (1 + np.exp(4.5 - np.arange(10)))  # steepest between the fifth and the sixth
    assert result(losses).suggestion in np.geomspace(1e-5, 10.0, 10)[4:6]
    assert result(losses[:9]).suggestion is None


@pytest.mark.parametrize(
    "losses",
    [
        np.full(50, 2.0),
        np.linspace(1.0, 3.0, 50),
        2 + np.random.default_rng(0).normal(size=80),
        np.linspace(2, 1, 9),
    ],
    ids=["flat", "rising", "noise", "short"],
)
def test_where_nothing_is_to_be_learnt_there_is_no_suggestion(losses):
    assert result(losses).suggestion is None


@pytest.mark.parametrize(
    "make, low, high", [(SGD, 0.05, 5), (AdaGrad, 5e-3, 0.5), (RMSProp, 5e-4, 0.1), (Adam, 1e-3, 0.2)]
)
def test_the_suggestion_trains_a_real_network(make, low, high):
    shop = Workshop(make)
    mi.manual_seed(1)
    shop.model[4].weight.data = generator().normal(size=(3, 8)) / 8
    x = Tensor(np.random.default_rng(0).normal(size=(256, 4)))
    target = Tensor((x.numpy()[:, 0] > 0).astype(int) + (x.numpy()[:, 1] > 0))
    optimizer = make(shop.model.parameters())
    found = lr_range_test(shop.compute, optimizer, [(x, target)], model=shop.model)
    assert low < found.suggestion < high
    optimizer.lr = found.suggestion
    losses = []
    for _ in range(60):
        optimizer.zero_grad()
        loss = shop.compute(x, target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-5:]) < 0.6 * losses[0]


def test_an_outlier_at_the_end_does_not_bend_the_curve_before_it():
    losses = [*np.linspace(2, 1, 40), *[1e30] * 5]
    found = result(losses)
    np.testing.assert_allclose(found.smoothed[:25], losses[:25], atol=0.05)
    assert found.smoothed.max() <= 4.0


# What it shows -------------------------------------------------------------------------------------------------------


def test_a_plot_without_matplotlib_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError) as caught:
        result(np.full(20, 2.0)).plot()
    assert str(caught.value) == "RangeTest.plot: a picture needs Matplotlib; pip install matplotlib"


def test_the_plot_shows_losses_and_suggestion_on_the_axes_that_are_given():
    pytest.importorskip("matplotlib").use("Agg")
    from matplotlib import pyplot

    found = descend(low=1e-3, high=10.0, steps=60)
    ax = pyplot.subplots()[1]
    assert found.plot(ax) is ax and ax.get_xscale() == "log"
    curve, dots, point = ax.lines
    np.testing.assert_array_equal(curve.get_ydata(), found.smoothed)
    np.testing.assert_array_equal(dots.get_ydata(), found.losses)
    assert point.get_xdata()[0] == found.suggestion
    other = result(np.full(20, 2.0)).plot()
    assert other is not ax and len(other.lines) == 2
    assert len(RangeTest(*[np.zeros(0)] * 3, True).plot().lines) == 2
    pyplot.close("all")


def test_the_result_says_in_a_line_what_was_seen():
    assert repr(descend(low=1e-3, high=0.1, steps=40)) == (
        "RangeTest(40 steps, lr 0.001 to 0.1, diverged=False, suggestion=0.015)"
    )
    assert repr(RangeTest(*[np.zeros(0)] * 3, True)) == "RangeTest(0 steps, diverged=True, suggestion=None)"


# Mistakes ------------------------------------------------------------------------------------------------------------

W = Tensor([1.0], requires_grad=True)
OPTIMIZER = SGD([W])


class NoRate(Optimizer):
    def step(self):
        pass


def call(loss=lambda x: (W * W).sum(), optimizer=OPTIMIZER, batches=(1,), **settings):
    return lambda: lr_range_test(loss, optimizer, batches, **settings)


MISTAKES = [
    (call(loss=None), TypeError, "lr_range_test: loss_fn must be a function that gives the loss of a batch; got None"),
    (call(optimizer=3), TypeError, "lr_range_test: optimizer must be an Optimizer; got 3"),
    (call(optimizer=NoRate([W])), TypeError, "the optimizer must have a learning rate, lr"),
    (call(batches=iter([1])), TypeError, "pass a DataLoader or a list: what can be gone over only once cannot be put"),
    (call(batches=3), TypeError, "batches must be an iterable of batches; got 3"),
    (call(batches=[]), ValueError, r"batches must give at least one batch; got \[\]"),
    (call(low=0), ValueError, r"low and high must be 0 < low < high; got \(0, 10.0\)"),
    (call(low=2, high=1), ValueError, "low and high must be 0 < low < high"),
    (call(high=math.inf), ValueError, "high must be a number of at least 0"),
    (call(steps=1), ValueError, "steps must be an integer of at least 2; got 1"),
    (call(diverge=0.5), ValueError, "diverge must be a number of at least 1; got 0.5"),
    (call(loss=lambda x: 3.0), TypeError, "loss_fn must give a Tensor; got 3.0"),
    (call(loss=lambda x: Tensor([1.0, 2.0])), ValueError, r"loss_fn must give one number; it gave shape \(2,\)"),
]


@pytest.mark.parametrize("call, error, message", MISTAKES)
def test_a_mistake_is_told_in_one_sentence(call, error, message):
    before = copy.deepcopy(W)
    with pytest.raises(error, match=message):
        call()
    assert W.item() == before.item() and W.grad is None


def test_a_loader_in_the_middle_of_an_epoch_goes_on_where_it_was():
    data = TensorDataset(np.arange(8.0).reshape(8, 1), np.arange(8))
    orders = []
    for tested in (False, True):
        mi.manual_seed(3)
        loader = DataLoader(data, batch_size=2, shuffle=True)
        w = mi.Tensor([1.0], requires_grad=True)
        seen, states = [], []
        for _ in range(2):
            for number, (_, y) in enumerate(loader):
                seen.append(y.tolist())
                if tested and number == 1:
                    lr_range_test(lambda x, y, w=w: (w * x).mean(), SGD([w]), loader, steps=7)
                states.append(loader.state_dict())
        orders.append((seen, states))
    assert orders[0] == orders[1]
