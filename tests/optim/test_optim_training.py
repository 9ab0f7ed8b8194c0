"""Training goes down: a smoke test, and no proof of any rule."""

import numpy as np
import pytest
from rules import Everything, Lion

from minima import Tensor, manual_seed, nn, no_grad
from minima.optim import SGD, AdaGrad, Adam, RMSProp

RATES = {SGD: 0.1, AdaGrad: 0.3, RMSProp: 0.02, Adam: 0.05, Lion: 0.02}
each_rule = pytest.mark.parametrize("cls", RATES)


@each_rule
def test_linear_regression_finds_the_line(cls, engine):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(64, 3))
    y = x @ [[1.0], [-2.0], [0.5]] + 0.25
    weight, bias = Tensor(np.zeros((3, 1)), requires_grad=True), Tensor([0.0], requires_grad=True)
    optimizer = cls([weight, bias], lr=RATES[cls], **engine)
    for _ in range(300):
        optimizer.zero_grad()
        error = Tensor(x) @ weight + bias - Tensor(y)
        (error * error).mean().backward()
        optimizer.step()
    assert weight.detach().numpy().ravel() == pytest.approx([1.0, -2.0, 0.5], abs=0.06)
    assert bias.item() == pytest.approx(0.25, abs=0.06)


@each_rule
def test_a_small_network_learns_to_classify(cls, engine):
    manual_seed(0)
    rng = np.random.default_rng(1)
    x = rng.normal(size=(128, 2)).astype(np.float32)
    y = (x[:, 0] * x[:, 1] > 0).astype(np.int64)
    network, loss_of = nn.Sequential(nn.Linear(2, 16), nn.ReLU(), nn.Linear(16, 2)), nn.CrossEntropyLoss()
    optimizer = cls(network.parameters(), lr=RATES[cls] * (5 if cls is SGD else 0.5), wd=1e-4, **engine)
    losses = []
    network.train()
    for _ in range(150):
        loss = loss_of(network(Tensor(x)), Tensor(y))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        losses.append(loss.item())
    network.eval()
    with no_grad():
        accuracy = (network(Tensor(x)).argmax(axis=1) == Tensor(y)).sum().item() / len(y)
    assert losses[-1] < 0.5 * losses[0] and accuracy > 0.9


def test_the_rule_that_is_no_algorithm_trains_nothing_but_runs_in_a_network(engine):
    network = nn.Linear(2, 2)
    optimizer = Everything(network.named_parameters(), lr=1e-3, **engine)
    network(Tensor([[1.0, 2.0]])).sum().backward()
    before = [p.detach().numpy().copy() for p in network.parameters()]
    optimizer.step()
    for old, p in zip(before, network.parameters(), strict=True):
        assert np.isfinite(p.detach().numpy()).all() and (p.detach().numpy() != old).all()
