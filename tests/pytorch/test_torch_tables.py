"""PyTorch's own tables of optimizer inputs, errors and schedulers: ours do what torch.optim's classes do."""

import itertools
import warnings

import pytest
import torch
from both import DTYPES, NAMES, assert_alike, assert_groups, together, twins

from minima import torch as mt

pytest.importorskip("expecttest")  # common_optimizers asks for it
from torch.testing._internal.common_optimizers import optim_db  # noqa: E402

TABLES = {info.optim_cls.__name__: info for info in optim_db if info.optim_cls.__name__ in NAMES}
INPUTS = [(name, row.desc, row.kwargs) for name in NAMES for row in TABLES[name].optim_inputs_func(device="cpu")]
ERRORS = [(name, row) for name in NAMES for row in TABLES[name].optim_error_inputs_func("cpu", torch.float32)]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("name", "desc", "options"), INPUTS, ids=[f"{name}-{desc}" for name, desc, _ in INPUTS])
def test_pytorch_s_table_of_inputs_holds(name, desc, options, dtype):
    theirs, mine = twins(name, options, dtype)
    for seed in range(3):
        together(theirs, mine, count=4, seed=seed)
        assert_alike(theirs, mine)


FOREACH = "here foreach is without effect, and goes with tensors"
MIXED = "here each beta is read by itself"
TAKEN = {
    "lr as Tensor doesn't work with foreach & not capturable": FOREACH,
    r"betas\[0\] as a Tensor is not supported for capturable=False and foreach=True": FOREACH,
    "betas must be either both floats or both Tensors": MIXED,
}
"""What torch.optim refuses for its implementations' sake, and why it is no mistake here."""


@pytest.mark.parametrize(
    ("name", "row"), ERRORS, ids=[f"{name}-{row.optimizer_error_input.desc}" for name, row in ERRORS]
)
def test_what_pytorch_s_table_of_errors_refuses_is_refused_in_the_same_way(name, row):
    wrong = row.optimizer_error_input
    found = []
    for optim in (torch.optim, mt):
        params = [torch.ones(1, requires_grad=True)] if wrong.params is None else wrong.params
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            try:
                getattr(optim, name)(params, **wrong.kwargs)
                found.append(None)
            except (TypeError, ValueError, UserWarning) as error:
                found.append(type(error))
    assert found[0] is row.error_type
    assert found[1] is (None if wrong.desc in TAKEN else row.error_type)


def test_nothing_is_taken_that_pytorch_s_table_does_not_name():
    assert TAKEN.keys() <= {row.optimizer_error_input.desc for _, row in ERRORS}


@pytest.mark.parametrize("name", [name for name in NAMES if TABLES[name].scheduler_inputs])
def test_pytorch_s_table_of_schedulers_holds(name):
    for makers in TABLES[name].scheduler_inputs:
        runs = twins(name, {"lr": 0.1}, special={"lr": 0.05})
        schedulers = [[make(run.optimizer) for make in makers] for run in runs]
        for step in range(20):
            together(*runs, count=1, seed=step)
            for scheduler in itertools.chain(*schedulers):
                is_plateau = isinstance(scheduler, torch.optim.lr_scheduler.ReduceLROnPlateau)
                scheduler.step(1.0) if is_plateau else scheduler.step()
            assert_groups(*(run.optimizer for run in runs))
        assert_alike(*runs)
