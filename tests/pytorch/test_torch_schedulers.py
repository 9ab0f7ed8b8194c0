"""Every scheduler of PyTorch drives ours as it drives torch.optim's, in groups that differ, for 50 steps."""

import copy

import pytest
import torch
from both import NAMES, Run, assert_alike, assert_groups, grouped, plain, together, twins
from tensors import parameters
from torch.optim import lr_scheduler
from torch.optim.swa_utils import SWALR

from minima import torch as mt

CYCLED = {"SGD": {"momentum": 0.9}, "RMSprop": {"momentum": 0.5}}
"""What an optimizer needs for its momentum to be cycled; Adam's betas are there anyway."""


def warmup(optimizer):
    first = lr_scheduler.LinearLR(optimizer, start_factor=0.1, total_iters=10)
    second = lr_scheduler.CosineAnnealingLR(optimizer, T_max=40)
    return lr_scheduler.SequentialLR(optimizer, [first, second], milestones=[10])


def chained(optimizer):
    each = [lr_scheduler.ConstantLR(optimizer, factor=0.5, total_iters=7), lr_scheduler.ExponentialLR(optimizer, 0.9)]
    return lr_scheduler.ChainedScheduler(each, optimizer=optimizer)


def annealed(optimizer):
    """The averaging of weights keeps a learning rate for every group."""
    return SWALR(optimizer, swa_lr=[0.05, 0.01], anneal_epochs=20)


SCHEDULERS = {
    "LambdaLR": lambda optimizer: lr_scheduler.LambdaLR(optimizer, [lambda t: 0.95**t, lambda t: 1 / (1 + t)]),
    "MultiplicativeLR": lambda optimizer: lr_scheduler.MultiplicativeLR(optimizer, lambda t: 0.97),
    "StepLR": lambda optimizer: lr_scheduler.StepLR(optimizer, step_size=9, gamma=0.5),
    "MultiStepLR": lambda optimizer: lr_scheduler.MultiStepLR(optimizer, [5, 20, 21], gamma=0.3),
    "ConstantLR": lambda optimizer: lr_scheduler.ConstantLR(optimizer, factor=0.25, total_iters=30),
    "LinearLR": lambda optimizer: lr_scheduler.LinearLR(optimizer, start_factor=0.2, total_iters=30),
    "ExponentialLR": lambda optimizer: lr_scheduler.ExponentialLR(optimizer, gamma=0.93),
    "SequentialLR": warmup,
    "CosineAnnealingLR": lambda optimizer: lr_scheduler.CosineAnnealingLR(optimizer, T_max=20, eta_min=0.01),
    "ChainedScheduler": chained,
    "ReduceLROnPlateau": lambda optimizer: lr_scheduler.ReduceLROnPlateau(optimizer, patience=2, min_lr=[0.01, 0.001]),
    "CyclicLR": lambda optimizer: lr_scheduler.CyclicLR(
        optimizer, [0.01, 0.02], [0.1, 0.2], step_size_up=7, cycle_momentum=False
    ),
    "CyclicLR, momentum": lambda optimizer: lr_scheduler.CyclicLR(
        optimizer, [0.01, 0.02], [0.1, 0.2], step_size_up=7, mode="triangular2", base_momentum=0.7
    ),
    "CosineAnnealingWarmRestarts": lambda optimizer: lr_scheduler.CosineAnnealingWarmRestarts(
        optimizer, T_0=6, T_mult=2
    ),
    "OneCycleLR": lambda optimizer: lr_scheduler.OneCycleLR(optimizer, [0.2, 0.1], total_steps=50),
    "OneCycleLR, no momentum": lambda optimizer: lr_scheduler.OneCycleLR(
        optimizer, 0.2, total_steps=60, cycle_momentum=False, three_phase=True, anneal_strategy="linear"
    ),
    "PolynomialLR": lambda optimizer: lr_scheduler.PolynomialLR(optimizer, total_iters=45, power=0.9),
    "SWALR": annealed,
}
CYCLES = ("CyclicLR, momentum", "OneCycleLR")
"""The schedulers that cycle momentum: they refuse an optimizer that has none."""
STILL = ("Adagrad", "Adadelta", "Rprop", "ASGD")
"""The optimizers without momentum."""
LOSSES = [1.0, 0.9, 0.9, 0.95, 0.9, 0.9, 0.9, 0.5, 0.6, 0.6]


def test_every_scheduler_of_pytorch_is_here():
    assert {name.partition(",")[0] for name in SCHEDULERS} == {*lr_scheduler.__all__, "SWALR"} - {"LRScheduler"}


def drive(scheduler, step):
    if isinstance(scheduler, lr_scheduler.ReduceLROnPlateau):
        scheduler.step(LOSSES[step % len(LOSSES)])
    else:
        scheduler.step()


def start(name, scheduler, *, as_tensor=False):
    """Two runs, with a scheduler each."""
    rate = torch.tensor(0.1, dtype=torch.float64) if as_tensor else 0.1
    special = {"lr": rate / 2, "weight_decay": 0.1}
    runs = twins(name, {"lr": rate, **CYCLED.get(name, {})}, special=special)
    return runs, [SCHEDULERS[scheduler](run.optimizer) for run in runs]


@pytest.mark.parametrize("as_tensor", [False, True], ids=["numbers", "tensors"])
@pytest.mark.parametrize("scheduler", SCHEDULERS)
@pytest.mark.parametrize("name", NAMES)
def test_a_scheduler_drives_ours_as_it_drives_pytorch_s(name, scheduler, as_tensor):
    if name in STILL and scheduler in CYCLES:
        for run in twins(name, {}):
            with pytest.raises(ValueError, match="optimizer must support momentum"):
                SCHEDULERS[scheduler](run.optimizer)
        return
    runs, schedulers = start(name, scheduler, as_tensor=as_tensor)
    for step in range(49):
        together(*runs, count=1, seed=step)
        for each in schedulers:
            drive(each, step)
        assert_groups(*[run.optimizer for run in runs])
    assert_alike(*runs)


@pytest.mark.parametrize("scheduler", SCHEDULERS)
def test_a_schedule_is_resumed_with_its_optimizer(scheduler):
    """Everything is saved in the middle, and goes on in new objects as it does in the old ones."""
    runs, schedulers = start("Adam", scheduler)
    for step in range(20):
        together(*runs, count=1, seed=step)
        for each in schedulers:
            drive(each, step)
    params = copy.deepcopy(runs[1].params)
    fresh = Run(params, mt.Adam(grouped(params), lr=0.1))
    again = SCHEDULERS[scheduler](fresh.optimizer)
    fresh.optimizer.load_state_dict(copy.deepcopy(runs[1].optimizer.state_dict()))
    again.load_state_dict(copy.deepcopy(schedulers[1].state_dict()))
    for step in range(20, 45):
        together(*runs, fresh, count=1, seed=step)
        for each in (*schedulers, again):
            drive(each, step)
        assert [plain(g) for g in fresh.optimizer.param_groups] == [plain(g) for g in runs[1].optimizer.param_groups]
    assert_alike(runs[0], runs[1], fresh)


@pytest.mark.parametrize("name", NAMES)
def test_several_schedulers_may_drive_one_optimizer(name):
    runs = twins(name, {"lr": 0.1})
    schedulers = [
        [lr_scheduler.StepLR(run.optimizer, 10), lr_scheduler.ReduceLROnPlateau(run.optimizer, patience=1)]
        for run in runs
    ]
    for step in range(50):
        together(*runs, count=1, seed=step)
        for ours in schedulers:
            for each in ours:
                drive(each, step)
        assert_groups(*[run.optimizer for run in runs])
    assert_alike(*runs)


def test_a_rate_in_a_tensor_stays_that_tensor():
    for optim in (torch.optim, mt):
        rate = torch.tensor(0.5)
        params = parameters()
        optimizer = optim.Adam(params, lr=rate)
        scheduler = lr_scheduler.ExponentialLR(optimizer, 0.5)
        together(Run(params, optimizer), count=1)
        scheduler.step()
        assert optimizer.param_groups[0]["lr"] is rate
        assert rate == 0.25
