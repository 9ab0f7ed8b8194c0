"""In nets of skorch, which are estimators of scikit-learn."""

import pickle

import numpy as np
import pytest
import torch

from clients import ALGORITHMS, client, each_algorithm, each_of_ours, network, same_as_in_pytorch, weights
from minima import torch as mt

skorch = client("skorch")
selection = client("sklearn.model_selection")

INPUTS = np.random.default_rng(0).standard_normal((32, 4), dtype=np.float32)
CLASSES = (INPUTS[:, 0] > 0).astype(np.int64)


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.net = network()

    def forward(self, inputs):
        return self.net(inputs).softmax(-1)


def estimator(cls, options=None, **settings):
    options = {f"optimizer__{key}": value for key, value in (options or {}).items()}
    return skorch.NeuralNetClassifier(
        Net, optimizer=cls, max_epochs=4, batch_size=8, train_split=None, verbose=0, **{**options, **settings}
    )


def curve(net):
    return net.history[:, "train_loss"]


@each_algorithm
def test_a_net_trains_as_with_pytorch_s(name):
    def run(optim):
        schedule = skorch.callbacks.LRScheduler("StepLR", step_size=2, gamma=0.5)
        clipping = skorch.callbacks.GradientNormClipping(0.5)
        groups = [("net.0.*", {"lr": 0.001, "weight_decay": 0.1})]
        net = estimator(getattr(optim, name), ALGORITHMS[name], callbacks=[schedule, clipping])
        net.set_params(optimizer__param_groups=groups).fit(INPUTS, CLASSES)
        return curve(net), net.optimizer_.param_groups[0]["weight_decay"], weights(net.module_)

    same_as_in_pytorch(run)


@pytest.mark.parametrize(
    ("name", "key"), [("SGD", "momentum"), ("SGD", "weight_decay"), ("Adagrad", "lr"), ("AdamW", "eps")]
)
def test_a_hyperparameter_set_between_fits_counts_as_with_pytorch_s(name, key):
    def run(optim):
        net = estimator(getattr(optim, name), ALGORITHMS[name]).fit(INPUTS, CLASSES)
        net.set_params(**{f"optimizer__{key}": 0.3})
        assert net.optimizer_.param_groups[0][key] == 0.3
        net.partial_fit(INPUTS, CLASSES)
        return curve(net), weights(net.module_)

    same_as_in_pytorch(run)


def test_a_grid_search_finds_what_it_finds_with_pytorch_s():
    def run(optim):
        grid = {"optimizer": [optim.SGD, optim.Adam], "optimizer__lr": [0.01, 0.1], "optimizer__weight_decay": [0, 0.3]}
        search = selection.GridSearchCV(estimator(optim.SGD), grid, scoring="neg_log_loss", cv=2, error_score="raise")
        search.fit(INPUTS, CLASSES)
        best = {**search.best_params_, "optimizer": search.best_params_["optimizer"].__name__}
        assert best == best_of_all(search)
        return [*search.cv_results_["mean_test_score"]], search.best_index_

    def best_of_all(search):
        at = int(np.argmax(search.cv_results_["mean_test_score"]))
        found = search.cv_results_["params"][at]
        return {**found, "optimizer": found["optimizer"].__name__}

    same_as_in_pytorch(run)


@each_of_ours
def test_a_net_is_pickled_and_goes_on_to_the_bit(cls, options):
    net = estimator(cls, options).fit(INPUTS, CLASSES)
    other = pickle.loads(pickle.dumps(net))
    assert other.optimizer is cls and type(other.optimizer_) is cls
    assert all(curve(each.partial_fit(INPUTS, CLASSES)) for each in (net, other))
    assert curve(net) == curve(other) and len(curve(net)) == 8


def test_saved_parameters_go_on_to_the_bit(tmp_path):
    files = {"f_params": tmp_path / "net", "f_optimizer": tmp_path / "optimizer", "f_history": tmp_path / "history"}
    net = estimator(mt.Adam, ALGORITHMS["Adam"]).fit(INPUTS, CLASSES)
    net.save_params(**files)
    other = estimator(mt.Adam, ALGORITHMS["Adam"]).initialize()
    other.load_params(**files)
    assert all(curve(each.partial_fit(INPUTS, CLASSES)) for each in (net, other))
    assert curve(net) == curve(other) and len(curve(net)) == 8
