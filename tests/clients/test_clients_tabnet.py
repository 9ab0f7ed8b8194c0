"""In pytorch-tabnet, which deep-copies the optimizer's class and writes its parameters as JSON."""

import numpy as np
import pytest
import torch

from clients import ALGORITHMS, UserRule, client, each_algorithm, same_as_in_pytorch, weights
from minima import torch as mt

tab_model = client("pytorch_tabnet.tab_model")

INPUTS = np.random.default_rng(0).standard_normal((32, 4), dtype=np.float32)
CLASSES = (INPUTS[:, 0] > 0).astype(np.int64)


def fitted(cls, options):
    model = tab_model.TabNetClassifier(
        n_d=4,
        n_a=4,
        n_steps=2,
        optimizer_fn=cls,
        optimizer_params=options,
        scheduler_fn=torch.optim.lr_scheduler.StepLR,
        scheduler_params={"step_size": 2, "gamma": 0.5},
        verbose=0,
        device_name="cpu",
    )
    model.fit(INPUTS, CLASSES, max_epochs=4, batch_size=32, virtual_batch_size=32)
    return model


@each_algorithm
def test_a_table_is_learnt_as_with_pytorch_s(name):
    def run(optim):
        model = fitted(getattr(optim, name), ALGORITHMS[name])
        return model.history["loss"], model.history["lr"], weights(model.network)

    same_as_in_pytorch(run, rtol=1e-4, atol=1e-4)  # what normalises batches and gates magnifies last bits


@pytest.mark.parametrize("cls", [mt.Adam, UserRule], ids=["Adam", "a user's rule"])
def test_a_model_is_saved_and_predicts_the_same(cls, tmp_path):
    model = fitted(cls, {"lr": 0.01})
    other = tab_model.TabNetClassifier(device_name="cpu")
    other.load_model(model.save_model(str(tmp_path / "model")))
    np.testing.assert_allclose(other.predict_proba(INPUTS), model.predict_proba(INPUTS), rtol=1e-5)
