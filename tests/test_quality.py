"""The comparison on small problems: how learning rates are searched, what counts in a training. Nothing is timed."""

import sys
from dataclasses import replace
from math import inf
from pathlib import Path

import numpy as np
import pytest

from minima import Tensor, optim
from minima.optim.rules import RULES

FOLDER = Path(__file__).parents[1] / "benchmarks"
for module in ("rich", "sklearn"):
    pytest.importorskip(module)

sys.path.append(str(FOLDER))
try:
    import extras
    import problems
    import quality
finally:  # other folders have modules of the same names
    sys.path.remove(str(FOLDER))

Grid, Problem, Task = quality.Grid, problems.Problem, problems.Task


# The search for a learning rate --------------------------------------------------------------------------------------


def asked(best, grid, astray=inf):
    """The exponents that are tried where the loss has its minimum at one, and is infinite from another on."""
    return list(quality.searched(lambda e: abs(e - best) if e < astray else inf, grid))


def test_the_grid_goes_on_where_the_best_is_the_last_and_looks_beside_the_best():
    assert asked(0, Grid()) == [-4, -2, -1, 0, 1, 2, 4]
    assert asked(3.1, Grid()) == [-4, -2, 0, 2, 3, 4, 5, 6]
    assert asked(-7.2, Grid()) == [-8, -7, -6, -4, -2, 0, 2, 4]
    assert asked(99, Grid()) == [-4, -2, 0, 2, 4, 6, 7, 8]
    assert asked(99, Grid(), astray=5) == [-4, -2, 0, 2, 3, 4, 5, 6]
    assert asked(0, Grid(), astray=-99) == [-4, -2, 0, 2, 4]
    assert asked(99, Grid(2, 2, False)) == [-2, 0, 2]


def test_a_learning_rate_that_goes_astray_from_another_seed_gives_way_to_the_next_best():
    good, bad = quality.Outcome(1.0, None, None), quality.Outcome(inf, None, None)
    losses = {-2: 4.0, 0: 2.0, 2: 1.0, 3: 3.0, 4: inf}
    assert quality.settled(losses, lambda exponent: [good, bad if exponent == 2 else good])[0] == 0
    assert quality.settled(losses, lambda exponent: [good])[0] == 2
    assert quality.settled(losses, lambda exponent: [bad, good])[0] == 2
    assert quality.settled({0: inf, 2: inf}, lambda exponent: [bad]) == (0, [bad])


def test_a_grid_lies_around_the_defaults_of_all_that_is_a_learning_rate():
    assert quality.rates("SGD") == {"lr": 0.01}
    assert quality.rates("Adam") == {"lr": 1e-3}
    muon = optim.Muon.hyperparameters
    assert quality.rates("Muon") == {name: muon[name].default for name in ("lr", "adam_lr")}


# Training ------------------------------------------------------------------------------------------------------------


def slope(seed):
    """One number that starts at 8, whose gradient is 1 and whose loss is itself."""
    w = Tensor([8.0], requires_grad=True)
    return Task([w], lambda: lambda: w.sum(), lambda: w.detach().item(), lambda: (3 * w).sum())


SLOPE = Problem("", "", slope, steps=6, every=2, target=5.0)


def test_training_counts_gradients_and_tells_when_the_target_was_first_seen():
    found = quality.train(SLOPE, lambda task: optim.SGD(task.params, lr=1.0), 0)
    assert (found.final, found.gradients) == (4.0, 4)  # of 6, 4, 2 the mean; 5 is seen as 4
    assert found.seconds > 0
    slow = quality.train(SLOPE, lambda task: optim.SGD(task.params, lr=0.1), 0)
    assert slow.final == pytest.approx(7.6) and slow.gradients is slow.seconds is None


def test_training_that_goes_astray_ends_and_keeps_what_it_has_reached():
    found = quality.train(SLOPE, lambda task: optim.SGD(task.params, lr=lambda t: 1.0 if t < 4 else 1e39), 0)
    assert (found.final, found.gradients) == (inf, 4)


def test_an_optimizer_with_a_closure_pays_for_each_gradient(monkeypatch):
    class Twice(optim.SGD):
        def step(self, closure=None, *, loss=None, measure=False):
            closure()
            return super().step(closure)

    monkeypatch.setitem(extras.EXTRAS, "Twice", extras.Extra(closure=True))
    found = quality.train(SLOPE, lambda task: Twice(task.params, lr=1.0), 0)
    assert (found.final, found.gradients) == (6.0, 6)


def test_an_optimizer_that_stops_asking_ends(monkeypatch):
    class Done(optim.SGD):
        def step(self, closure=None, *, loss=None, measure=False):
            return None

    monkeypatch.setitem(extras.EXTRAS, "Done", extras.Extra(closure=True))
    assert quality.train(SLOPE, lambda task: Done(task.params, lr=1.0), 0).final == 8.0


def test_an_estimate_is_given_every_so_many_steps_with_the_gradients_of_drawn_labels(monkeypatch):
    given = []

    class Curved(optim.SGD):
        def update_estimate(self):
            given.append(self.params[0].grad.item())

    monkeypatch.setitem(extras.EXTRAS, "Curved", extras.Extra(every=4))
    monkeypatch.setattr(extras, "takes_estimates", lambda kind: True)
    found = quality.train(SLOPE, lambda task: Curved(task.params, lr=1.0), 0)
    assert given == [3.0] * 2 and found.final == 4.0


@pytest.mark.parametrize("name", ["quadratic", "valley"])
def test_squares_of_the_gradients_of_drawn_labels_have_the_curvature_as_their_mean(name):
    task = problems.PROBLEMS[name].make(0)
    (w,), total = task.params, 0.0
    if name == "valley":  # where the residuals are 0, their squares are all of the curvature
        w.data = Tensor(np.ones((2, 5), np.float32))
    for _ in range(2000):
        w.grad = None
        task.sampled().backward()
        total = total + w.grad.numpy() ** 2
    if name == "valley":
        curvature = np.array([802.0, *[1002.0] * 8, 200.0]).reshape(2, 5)
    else:
        axes, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(100, 100)))
        curvature = (axes**2 / np.arange(1, 101)).sum(axis=1).reshape(10, 10)
    assert np.allclose(total / 2000, curvature, rtol=0.2)


def test_an_estimate_is_the_mean_of_as_many_labels_as_the_optimizer_is_told():
    assert problems.PROBLEMS["digits"].make(0).batch == 64
    assert problems.PROBLEMS["text"].make(0).batch == 8 * 32


@pytest.mark.parametrize("name", RULES)
def test_every_optimizer_can_be_trained(name):
    for problem in problems.PROBLEMS.values():
        if problem.title == "Text" and name != "Muon":
            continue  # which is long, and special to those that tell tables from matrices
        short = replace(problem, steps=2, every=1)
        low = dict.fromkeys(quality.rates(name), 1e-5)  # Rosenbrock's walls are steep
        found = quality.train(short, lambda task, low=low: quality.made(name, task, low), 0)
        assert 0 < found.final < 1e4


def test_what_cannot_be_trained_is_on_record_and_stops_nobody(monkeypatch):
    monkeypatch.setitem(extras.EXTRAS, "SGD", extras.Extra(settings={"lt": 1}))
    found = quality.tried("SGD", SLOPE, (1,), Grid())
    assert found["failed"].startswith("TypeError: SGD") and found["given"]["settings"] == {"lt": 1}
