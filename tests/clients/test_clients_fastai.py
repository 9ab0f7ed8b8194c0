"""In a Learner of fastai, whose one-cycle policy drives lr and momentum."""

import pytest
import torch

from clients import ALGORITHMS, batches, bits, client, network, same_as_in_pytorch, weights
from minima import torch as mt

client("fastai")
learner = client("fastai.learner")
optimizer = client("fastai.optimizer")
client("fastai.callback.schedule")  # gives Learner its fit_one_cycle
client("fastai.callback.progress")  # and what switches its words off
core = client("fastai.data.core")

PAIRS = [pair for batch in batches(8) for pair in zip(*batch, strict=True)]


def made(cls, options, path="."):
    loader = torch.utils.data.DataLoader(PAIRS, batch_size=4)
    settings = {**options, "lr": 0.02}

    def opt_func(groups, lr):
        return optimizer.OptimWrapper(groups, cls, **{**settings, "lr": lr})

    return learner.Learner(
        core.DataLoaders(loader, loader),
        network(),
        loss_func=torch.nn.functional.cross_entropy,
        opt_func=opt_func,
        lr=settings["lr"],
        path=path,
        train_bn=False,
    )


def fitted(learn, fit):
    with learn.no_bar(), learn.no_logging():
        fit(learn)
    return [loss.item() for loss in learn.recorder.losses]


# Adagrad has no momentum, and fastai's policy ends at that, PyTorch's or ours.
@pytest.mark.parametrize("name", [name for name in ALGORITHMS if name != "Adagrad"])
def test_one_cycle_is_as_with_pytorch_s(name):
    def run(optim):
        learn = made(getattr(optim, name), ALGORITHMS[name])
        found = fitted(learn, lambda it: it.fit_one_cycle(2, 0.05))
        return found, learn.recorder.hps["lr"], learn.recorder.hps.get("mom", []), weights(learn.model)

    same_as_in_pytorch(run)


def test_weight_decay_and_frozen_groups_are_as_with_pytorch_s():
    def run(optim):
        learn = made(optim.AdamW, {})
        learn.splitter = lambda model: [[*model[0].parameters()], [*model[1].parameters(), *model[3].parameters()]]
        learn.freeze()
        first = fitted(learn, lambda it: it.fit(1, wd=0.3))
        assert bits(weights(learn.model)[:2]) == bits(weights(network())[:2])
        learn.unfreeze()
        return [*first, *fitted(learn, lambda it: it.fit(1, slice(0.001, 0.02)))], weights(learn.model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_learner_that_was_saved_goes_on_to_the_bit(name, tmp_path):
    learn, other = (made(getattr(mt, name), ALGORITHMS[name], tmp_path) for _ in range(2))
    fitted(learn, lambda it: it.fit(1))
    learn.save("half")
    other.load("half")
    found, resumed = (fitted(each, lambda it: it.fit(1)) for each in (learn, other))
    assert found == resumed
    assert bits(weights(learn.model)) == bits(weights(other.model))
