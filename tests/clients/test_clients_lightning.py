"""Under Lightning: its Trainer, its monitor, its command line."""

import csv

import pytest
import torch

from clients import (
    ALGORITHMS,
    batches,
    bits,
    client,
    each_algorithm,
    each_that_is_saved,
    network,
    same_as_in_pytorch,
    sharp,
    weights,
    weights_after_sam,
)
from minima import torch as mt

lightning = client("lightning.pytorch")
cli = client("lightning.pytorch.cli")
jsonargparse = client("jsonargparse")


class Net(lightning.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = network()
        self.losses = []

    def training_step(self, batch, index):
        loss = self.loss(batch)
        self.log("loss", loss)
        return loss

    def loss(self, batch):
        inputs, classes = batch
        loss = torch.nn.functional.cross_entropy(self.net(inputs), classes)
        self.losses.append(loss.item())
        return loss

    def train_dataloader(self):
        return torch.utils.data.DataLoader(batches(8), batch_size=None)


class Made(Net):
    """With an optimizer and a schedule of each batch."""

    def __init__(self, cls, options):
        super().__init__()
        self.make = lambda: cls(self.parameters(), **options)

    def configure_optimizers(self):
        optimizer = self.make()
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


class Manual(Made):
    automatic_optimization = False

    def training_step(self, batch, index):
        optimizer = self.optimizers()
        with optimizer.toggle_model():
            loss = self.loss(batch)
            self.manual_backward(loss)
            self.clip_gradients(optimizer, gradient_clip_val=0.5, gradient_clip_algorithm="norm")
        if index % 2:
            optimizer.step()
            optimizer.zero_grad()
            self.lr_schedulers().step()


def trainer(**settings):
    options = {"max_epochs": 1, "logger": False, "enable_checkpointing": False, **settings}
    return lightning.Trainer(accelerator="cpu", enable_progress_bar=False, enable_model_summary=False, **options)


@each_algorithm
def test_automatic_optimization_is_as_with_pytorch_s(name):
    def run(optim):
        net = Made(getattr(optim, name), ALGORITHMS[name])
        trainer(gradient_clip_val=0.5, accumulate_grad_batches=2).fit(net)
        return net.losses, weights(net)

    same_as_in_pytorch(run)


@each_algorithm
def test_manual_optimization_is_as_with_pytorch_s(name):
    def run(optim):
        net = Manual(getattr(optim, name), ALGORITHMS[name])
        trainer().fit(net)
        return net.losses, weights(net)

    same_as_in_pytorch(run)


@each_algorithm
def test_the_monitor_logs_what_it_logs_of_pytorch_s(name, tmp_path):
    def run(optim):
        net = Made(getattr(optim, name), ALGORITHMS[name])
        monitor = lightning.callbacks.LearningRateMonitor("step", log_momentum=True, log_weight_decay=True)
        logger = lightning.loggers.CSVLogger(tmp_path, version=optim.__name__)
        trainer(logger=logger, log_every_n_steps=1, callbacks=[monitor]).fit(net)
        with open(logger.experiment.metrics_file_path, newline="") as file:
            rows = [row for row in csv.DictReader(file) if row[f"lr-{name}"]]
        logged = (f"lr-{name}", f"lr-{name}-momentum", f"lr-{name}-weight_decay")
        return tuple([float(row[key]) for row in rows] for key in logged)

    same_as_in_pytorch(run)


@each_that_is_saved
def test_a_run_that_was_saved_goes_on_to_the_bit(cls, options, tmp_path):
    whole, resumed = Made(cls, options), Made(cls, options)
    saving = lightning.callbacks.ModelCheckpoint(tmp_path, filename="{epoch}", save_top_k=-1)
    first = trainer(max_epochs=2, enable_checkpointing=True, callbacks=[saving])
    first.fit(whole)
    second = trainer(max_epochs=2)
    second.fit(resumed, ckpt_path=tmp_path / "epoch=0.ckpt", weights_only=True)
    assert bits(weights(resumed)) == bits(weights(whole)) and len(resumed.losses) == 8
    assert bits(second.optimizers[0].state_dict()) == bits(first.optimizers[0].state_dict())


def test_sam_is_given_the_closure_and_called_as_in_a_plain_loop():
    net = Made(sharp, ALGORITHMS["SGD"])
    net.configure_optimizers = net.make
    trainer().fit(net)
    losses, expected = weights_after_sam(batches(8), ALGORITHMS["SGD"])
    assert len(losses) == 16 and net.losses == losses
    assert bits(weights(net)) == bits(expected)


def test_a_rate_is_found_as_with_pytorch_s():
    def run(optim):
        net = Made(optim.SGD, {"lr": 0.1})
        net.lr = 0.1
        found = lightning.tuner.Tuner(trainer()).lr_find(net, num_training=30, early_stop_threshold=None)
        return found.results["loss"], found.suggestion(skip_begin=2), weights(net)

    same_as_in_pytorch(run)


def fitted(*arguments):
    """What the command line makes of `fit` with these arguments."""
    defaults = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "max_epochs": 1}
    return cli.LightningCLI(
        Net,
        save_config_callback=None,
        trainer_defaults={**defaults, "accelerator": "cpu", "enable_model_summary": False},
        args=["fit", *arguments],
    )


def test_the_command_line_makes_the_optimizer_as_it_makes_pytorch_s():
    def run(optim):
        made = fitted(
            f"--optimizer={optim.__name__}.AdamW", "--optimizer.lr=0.02", "--optimizer.betas=[0.8, 0.9]",
            "--optimizer.amsgrad=true", "--lr_scheduler=torch.optim.lr_scheduler.StepLR", "--lr_scheduler.step_size=2",
        )  # fmt: skip
        assert type(made.trainer.optimizers[0]) is optim.AdamW
        return made.model.losses, weights(made.model)

    same_as_in_pytorch(run)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--optimizer=minima.torch.AdamW", "--optimizer.state_dtype=int8"], {"lr": 0.001, "weight_decay": 0.01}),
        (["--optimizer=minima.torch.Adam", "--optimizer.engine=reference"], {"lr": 0.001, "betas": (0.9, 0.999)}),
        (["--optimizer=clients.UserRule", "--optimizer.lr=0.5"], {"lr": 0.5}),
    ],
    ids=["state_dtype", "engine", "a user's rule"],
)
def test_the_command_line_takes_what_pytorch_has_not(arguments, expected):
    made = fitted(*arguments)
    [group] = made.trainer.optimizers[0].param_groups
    assert {key: group[key] for key in expected} == expected
    assert len({*made.model.losses}) == 8


@pytest.mark.parametrize("argument", ["lr=fast", "beta=0.9", "betas=0.9", "amsgrad=3"])
@each_algorithm
def test_the_command_line_refuses_what_it_refuses_for_pytorch_s(name, argument):
    for optim in (mt, torch.optim):
        parser = jsonargparse.ArgumentParser(exit_on_error=False)
        parser.add_subclass_arguments(torch.optim.Optimizer, "optimizer", skip={"params"}, instantiate=False)
        parser.parse_args([f"--optimizer={optim.__name__}.{name}", "--optimizer.lr=0.01"])
        with pytest.raises(jsonargparse.ArgumentError):
            parser.parse_args([f"--optimizer={optim.__name__}.{name}", f"--optimizer.{argument}"])
