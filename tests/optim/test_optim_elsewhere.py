"""Where another library defines an algorithm as we do, ours takes the same steps and keeps the same state."""

import json
from pathlib import Path

import numpy as np
import pytest
from apart import APART
from elsewhere import ROWS, STEPS, VALLEY, Row, difference, pairs
from rules import able

from minima import Tensor, nn
from minima.optim import Adam, Muon

RECORD = Path(__file__).parents[2] / "docs" / "optimizers" / "conformance.json"


def needed(row):
    """Skip the test where the row's library is missing."""
    for module in row.library.needs:
        pytest.importorskip(module)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.ours} = {row.theirs}")
def test_the_same_algorithm_elsewhere_takes_the_same_steps_and_keeps_the_same_state(row, engine):
    needed(row)
    for here, there in pairs(row, engine):
        np.testing.assert_allclose(here, there, rtol=1e3 * row.off, atol=1e2 * row.off)  # NaN where they have NaN
        assert np.nanmax(np.abs(here - there)) <= row.off * np.nanmax(np.abs(there))


@pytest.mark.parametrize(
    "row",
    [
        Row("SGD(params, lr=0.02, momentum=0.9)", "torch.optim.SGD(params, lr=0.02, momentum=0.9)"),
        Row("RMSProp(params, lr=0.02)", "optax.rmsprop(0.02)"),
        Row("AdaGrad(params, lr=0.02)", "keras.optimizers.Adagrad(0.02)"),
        Row("Adafactor(params)", "pytorch_optimizer.AdaFactor(params)"),
        Row("Prodigy(params, d0=0.01)", "prodigyopt.Prodigy(params, d0=0.02)"),
        Row("Adam(params, lr=0.02)", "sklearn.neural_network.MLPRegressor(solver='adam', learning_rate_init=0.02)"),
    ],
    ids=lambda row: row.library.package,
)
def test_a_setting_that_differs_from_the_other_library_is_seen(row):
    needed(row)
    assert difference(row) > 1e-8


@pytest.fixture(scope="module")
def record():
    return json.loads(RECORD.read_text())


@pytest.mark.parametrize(("kind", "rows"), [("same", ROWS), ("apart", APART)], ids=["same", "apart"])
def test_the_record_that_is_published_has_all_rows_and_no_others(kind, rows, record):
    recorded = [(entry["ours"], entry["theirs"]) for entry in record[kind]]
    assert recorded == [(row.ours, row.theirs) for row in rows], "run make conformance"


@pytest.mark.parametrize("row", APART, ids=lambda row: f"{row.ours} / {row.theirs}")
def test_what_is_another_algorithm_elsewhere_is_as_far_apart_as_it_is_published(row, record):
    needed(row)
    recorded = {(entry["ours"], entry["theirs"]): entry["difference"] for entry in record["apart"]}
    assert difference(row) == pytest.approx(recorded[row.ours, row.theirs], rel=0.01)


@pytest.mark.parametrize(
    "hypers",
    [{}, {"nesterov": False, "momentum": 0.5}, {"scale": "match_rms_adamw"}, {"ns_steps": 2, "eps": 1.0}],
    ids=str,
)
def test_muon_is_pytorch_s_but_for_products_in_bfloat16(hypers, engine, monkeypatch):
    torch = pytest.importorskip("torch")
    monkeypatch.setattr(torch.Tensor, "bfloat16", lambda tensor: tensor.clone())
    *starts, vector = VALLEY.starts
    theirs = [torch.nn.Parameter(torch.tensor(start)) for start in starts]
    renamed = {"adjust_lr_fn" if name == "scale" else name: value for name, value in hypers.items()}
    other = torch.optim.Muon(theirs, lr=0.02, **renamed)
    ours = [Tensor(start, dtype="float64", requires_grad=True) for start in starts]
    optimizer = Muon(ours, lr=0.02, **hypers, **able(Muon, engine))
    for step in range(STEPS):
        grads = VALLEY.gradients(step, [*(param.detach().numpy() for param in theirs), vector])
        for mine, param, grad in zip(ours, theirs, grads, strict=False):
            mine.grad, param.grad = Tensor(grad, dtype="float64"), torch.tensor(grad)
        optimizer.step()
        other.step()
        for place, param in enumerate(theirs):
            kept = other.state[param]["momentum_buffer"]
            for here, there in ((ours[place], param), (optimizer.exp_avg[place], kept)):
                difference = np.abs(here.detach().numpy() - there.detach().numpy()).max()
                assert difference <= 1e-13 * np.abs(there.detach().numpy()).max()


def sklearn_losses(make, x, y, **options):
    """The loss of each epoch of a perceptron of scikit-learn, and the weights that it began with."""
    exceptions = pytest.importorskip("sklearn.exceptions")
    options = {"activation": "tanh", "hidden_layer_sizes": (7,), "alpha": 0.0, "random_state": 0, **options}
    with pytest.warns(exceptions.ConvergenceWarning):
        model = make(**options, max_iter=12).fit(x, y)
    with pytest.warns(exceptions.ConvergenceWarning):
        start = make(**options | {"learning_rate_init": 1e-300}, max_iter=1).fit(x, y)  # one that does not move
    (first, second), (inner, outer) = start.coefs_, start.intercepts_
    return model.loss_curve_, [first, inner, second, outer]


@pytest.mark.parametrize("eps", [1e-8, 0.01])
@pytest.mark.parametrize("kind", ["regression", "classes"])
def test_with_eps_as_in_scikit_learn_adam_has_its_losses_to_all_digits(kind, eps, engine):
    networks = pytest.importorskip("sklearn.neural_network")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(50, 4))
    if kind == "regression":
        make, y = networks.MLPRegressor, np.sin(x.sum(axis=1))
        target, loss = y[:, None], lambda found, wanted: ((found - Tensor(wanted, dtype="float64")) ** 2).mean() / 2
    else:
        make, y = networks.MLPClassifier, (x[:, 0] > 0) + (x[:, 1] > 0.5).astype(int)
        target, loss = y, nn.CrossEntropyLoss()
    hypers = {"batch_size": 16, "learning_rate_init": 0.05, "beta_1": 0.8, "beta_2": 0.99, "epsilon": eps}
    wanted, start = sklearn_losses(make, x, y, shuffle=False, **hypers)

    def losses(**form):
        params = [Tensor(part, dtype="float64", requires_grad=True) for part in start]
        first, inner, second, outer = params
        optimizer = Adam(params, lr=0.05, beta1=0.8, beta2=0.99, eps=eps, **form, **engine)
        found = []
        for _ in wanted:
            total = 0.0
            for begin in range(0, len(x), 16):
                part = slice(begin, begin + 16)
                hidden = (Tensor(x[part], dtype="float64") @ first + inner).tanh()
                value = loss(hidden @ second + outer, target[part])
                value.backward()
                optimizer.step()
                optimizer.zero_grad()
                total += value.item() * len(x[part])
            found.append(total / len(x))
        return found

    assert losses(eps_hat=True) == pytest.approx(wanted, rel=1e-12)
    if eps > 1e-3:
        assert losses() != pytest.approx(wanted, rel=1e-3)
