"""Under the schedules of timm, which drive weight decay too, and inside its Lookahead."""

import pytest
import torch

from clients import ALGORITHMS, batches, bits, client, each_algorithm, losses, network, same_as_in_pytorch, weights
from minima import torch as mt

client("timm")
scheduler = client("timm.scheduler")
optim_of_timm = client("timm.optim")


class DecaySchedule(scheduler.scheduler.Scheduler):
    """Weight decay that grows with the steps, as in self-supervised training."""

    def __init__(self, optimizer):
        super().__init__(optimizer, "weight_decay", t_in_epochs=False)

    def _get_lr(self, t):
        return [value + 0.1 * t for value in self.base_values]


SCHEDULES = {
    "cosine": lambda o: scheduler.CosineLRScheduler(o, 8, warmup_t=2, warmup_lr_init=1e-3, t_in_epochs=False),
    "polynomial": lambda o: scheduler.PolyLRScheduler(o, 8, power=2.0, t_in_epochs=False),
    "steps": lambda o: scheduler.StepLRScheduler(o, 2, decay_rate=0.5, t_in_epochs=False),
    "with noise": lambda o: scheduler.TanhLRScheduler(o, 8, noise_range_t=(2, 6), t_in_epochs=False),
    "weight decay": DecaySchedule,
}


@pytest.mark.parametrize("schedule", SCHEDULES.values(), ids=SCHEDULES)
@each_algorithm
def test_a_schedule_drives_ours_as_it_drives_pytorch_s(name, schedule):
    def run(optim):
        model = network()
        groups = optim_of_timm.param_groups_weight_decay(model, 0.05)
        optimizer = getattr(optim, name)(groups, **ALGORITHMS[name])
        driver = schedule(optimizer)
        found = losses(model, optimizer, batches(8), after=driver.step_update)
        return found, weights(model), optimizer.param_groups[0]["weight_decay"], optimizer.param_groups[0]["lr"]

    same_as_in_pytorch(run)


@each_algorithm
def test_lookahead_is_as_around_pytorch_s(name):
    def run(optim):
        model = network()
        optimizer = optim_of_timm.Lookahead(getattr(optim, name)(model.parameters(), **ALGORITHMS[name]), k=2)
        return losses(model, optimizer, batches(7)), weights(model)

    same_as_in_pytorch(run)


@each_algorithm
def test_lookahead_that_was_saved_goes_on_to_the_bit(name, tmp_path):
    def made():
        model = network()
        return model, optim_of_timm.Lookahead(getattr(mt, name)(model.parameters(), **ALGORITHMS[name]), k=2)

    (model, optimizer), (other, resumed) = made(), made()
    losses(model, optimizer, batches(3))
    torch.save((model.state_dict(), optimizer.state_dict()), tmp_path / "saved")
    saved = torch.load(tmp_path / "saved", weights_only=True)
    other.load_state_dict(saved[0])
    resumed.load_state_dict(saved[1])
    data = batches(8)[3:]
    assert losses(other, resumed, data) == losses(model, optimizer, data)
    assert bits(resumed.state_dict()) == bits(optimizer.state_dict())
