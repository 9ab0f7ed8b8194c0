"""A training that is saved, forgotten and loaded goes on with the bits of the one that was never stopped."""

import numpy as np
import pytest
from parts import same

import minima as mi
from minima import nn
from minima.checkpoint import CheckpointError
from minima.data import DataLoader, TensorDataset
from minima.optim import SGD, AdaGrad, Adam, RMSProp

RANDOM = np.random.default_rng(0)
DATA = TensorDataset(RANDOM.standard_normal((22, 6)), RANDOM.integers(0, 3, 22))
OPTIMIZERS = {
    "sgd": lambda p, **kw: SGD(p, lr=0.1, momentum=0.9, **kw),
    "adagrad": lambda p, **kw: AdaGrad(p, lr=0.1, **kw),
    "rmsprop": lambda p, **kw: RMSProp(p, lr=0.01, wd=0.1, **kw),
    "adam": lambda p, **kw: Adam(p, lr=0.01, groups={"*bias": {"lr": 0.1}}, **kw),
}


class Training:
    """Everything that a run consists of, and the loop."""

    def __init__(self, kind, **options):
        self.model = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 3))
        self.optimizer = OPTIMIZERS[kind](self.model.named_parameters(), **options)
        self.loader = DataLoader(DATA, batch_size=4, shuffle=True)
        self.objects = {"model": self.model, "optimizer": self.optimizer, "loader": self.loader}

    def run(self, epochs, save=None):
        cross_entropy = nn.CrossEntropyLoss()
        for _ in range(self.loader.epoch, epochs):
            for x, y in self.loader:
                cross_entropy(self.model(x), y).backward()
                self.optimizer.step()
                self.optimizer.zero_grad()
                if save is not None:
                    save(self.optimizer.t)

    def seen(self):
        return {name: each.state_dict() for name, each in self.objects.items()}, mi.random.get_state()


@pytest.mark.parametrize("state_dtype", [None, "bfloat16", "int8"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_a_resumed_training_has_the_bits_of_one_that_was_never_stopped(kind, state_dtype, tmp_path):
    mi.manual_seed(0)
    whole = Training(kind, state_dtype=state_dtype)
    whole.run(2, lambda step: mi.save(tmp_path / str(step), **whole.objects))
    expected = whole.seen()
    for step in range(1, 13):
        mi.manual_seed(1)
        resumed = Training(kind, state_dtype=state_dtype)
        mi.load(tmp_path / str(step), **resumed.objects)
        resumed.run(2)
        assert same(resumed.seen(), expected), step


def test_the_state_of_optimizers_has_the_names_that_the_page_on_the_layout_promises(tmp_path):
    training = Training("adam", state_dtype="bfloat16")
    training.run(1)
    mi.save(tmp_path / "x", **training.objects)
    with pytest.importorskip("safetensors").safe_open(tmp_path / "x", framework="numpy") as file:
        kinds = {name: file.get_slice(name).get_dtype() for name in file.keys()}
    for name, _ in training.model.named_parameters():
        assert kinds[f"optimizer/{name}/exp_avg"] == kinds[f"optimizer/{name}/exp_avg_sq"] == "BF16"
        assert kinds[f"model/{name}"] == "F32"


OTHERS = {
    "another algorithm": (lambda: Training("sgd"), "optimizer refuses its state \\(SGD.load_state_dict: "),
    "another storage": (lambda: Training("adam", state_dtype="int8"), "optimizer refuses .* with state_dtype 'int8'"),
    "another network": (lambda: wider(Training("adam")), "model refuses .* has shape"),
}


def wider(training):
    training.model[4] = nn.Linear(16, 4)
    return training


@pytest.mark.parametrize("which", OTHERS)
def test_a_checkpoint_of_another_run_is_refused_and_nothing_is_loaded(which, tmp_path):
    saved = Training("adam")
    saved.run(1)
    mi.save(tmp_path / "x", **saved.objects)
    make, message = OTHERS[which]
    other = make()
    before = other.seen()
    with pytest.raises(CheckpointError, match=message):
        mi.load(tmp_path / "x", **other.objects)
    assert same(other.seen(), before)
