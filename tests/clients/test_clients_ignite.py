"""Under the schedules and checkpoints of PyTorch-Ignite."""

import pytest
import torch

from clients import ALGORITHMS, batches, bits, client, network, same_as_in_pytorch, weights
from minima import torch as mt

client("ignite")
engine = client("ignite.engine")
handlers = client("ignite.handlers")

SCHEDULES = {
    "a cosine of lr": lambda o: handlers.CosineAnnealingScheduler(o, "lr", 0.1, 0.01, 6),
    "a cosine of weight_decay": lambda o: handlers.CosineAnnealingScheduler(o, "weight_decay", 0.0, 0.5, 16),
    "a line of momentum": lambda o: handlers.LinearCyclicalScheduler(o, "momentum", 0.5, 0.95, 6),
    "pieces of lr": lambda o: handlers.PiecewiseLinear(o, "lr", [(2, 0.01), (4, 0.1), (7, 0.02)]),
    "warmup": lambda o: handlers.create_lr_scheduler_with_warmup(
        torch.optim.lr_scheduler.ExponentialLR(o, 0.8), warmup_start_value=0.0, warmup_end_value=0.1, warmup_duration=3
    ),
    "two of them": lambda o: handlers.ParamGroupScheduler(
        [SCHEDULES["a cosine of lr"](o), SCHEDULES["a line of momentum"](o)]
    ),
}


def trained(optimizer, model, schedule=None, data=None, **others):
    trainer = engine.create_supervised_trainer(model, optimizer, torch.nn.functional.cross_entropy)
    losses = []
    trainer.add_event_handler(engine.Events.ITERATION_COMPLETED, lambda it: losses.append(it.state.output))
    if schedule is not None:
        trainer.add_event_handler(engine.Events.ITERATION_STARTED, schedule)
    trainer.run(batches(8) if data is None else data)
    return losses


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_schedule_drives_sgd_as_it_drives_pytorch_s(name):
    def run(optim):
        model = network()
        optimizer = optim.SGD(model.parameters(), **ALGORITHMS["SGD"])
        return trained(optimizer, model, SCHEDULES[name](optimizer)), weights(model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize("name", ["Adam", "AdamW", "RMSprop", "Adagrad"])
def test_weight_decay_that_is_driven_counts_as_with_pytorch_s(name):
    def run(optim):
        model = network()
        optimizer = getattr(optim, name)(model.parameters(), **ALGORITHMS[name])
        return trained(optimizer, model, SCHEDULES["a cosine of weight_decay"](optimizer)), weights(model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize("name", ["Adam", "SGD"])
def test_a_checkpoint_goes_on_to_the_bit(name, tmp_path):
    def made():
        model = network()
        optimizer = getattr(mt, name)(model.parameters(), **ALGORITHMS[name])
        return {"model": model, "optimizer": optimizer}

    data = batches(8)
    whole, resumed = made(), made()
    trained(**whole, data=data[:4])
    saver = handlers.Checkpoint(whole, handlers.DiskSaver(str(tmp_path), create_dir=True), n_saved=1)
    saver(engine.Engine(lambda it, batch: None))
    handlers.Checkpoint.load_objects(resumed, checkpoint=tmp_path / saver.last_checkpoint)
    assert trained(**whole, data=data[4:]) == trained(**resumed, data=data[4:])
    assert bits(resumed["optimizer"].state_dict()) == bits(whole["optimizer"].state_dict())
