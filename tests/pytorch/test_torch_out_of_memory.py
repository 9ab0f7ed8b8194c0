"""A step that runs out of memory, at whichever tensor it makes, changes nothing, on all engines."""

import copy
from functools import partial

import pytest
import torch
from interpreted import pretend, pretend_counting
from rules import Turning
from tensors import EXACT, arrays, assert_same, told
from test_torch_calls import Watch

from minima import torch as mt
from minima.optim.engines import Stored
from minima.torch import fused, grid
from minima.torch.eager import Eager
from minima.torch.model import DeviceNumbers

SINGLE, DOUBLE, HALF = torch.float32, torch.float64, torch.bfloat16


def on_a_gpu(monkeypatch):
    pretend(monkeypatch)
    monkeypatch.setattr(fused, "Launch", lambda *what, threads, products: grid.GridLaunch(*what, torch.device("cpu")))
    monkeypatch.setattr(fused.Fused, "on_device", True)


def on_a_gpu_with_numbers_of_the_host(monkeypatch):
    on_a_gpu(monkeypatch)
    monkeypatch.setattr(DeviceNumbers, "fits", staticmethod(lambda batches: False))


def afar(monkeypatch):
    made = Eager.__init__

    def elsewhere(self, work):
        made(self, work)
        self.on_device = True

    monkeypatch.setattr(Eager, "__init__", elsewhere)


PLACES = {
    "fused": ("fused", lambda monkeypatch: None, {}),
    "torch": ("torch", lambda monkeypatch: None, {}),
    "torch on a device": ("torch", afar, {}),
    "reference": ("reference", lambda monkeypatch: None, {}),
    "fused on a GPU": ("fused", on_a_gpu, {}),
    "fused on several": ("fused", on_a_gpu_with_numbers_of_the_host, {}),
    "recorded on a GPU": ("fused", pretend_counting, {"capturable": True}),
    "skipped on a GPU": ("fused", pretend_counting, {"on_nonfinite": "skip"}),
}
"""The engine, what makes it look as if it were there, and options."""
SETTINGS = {
    "Adam": (mt.Adam, {"lr": 0.1}, (SINGLE, SINGLE)),
    "measured": (mt.AdamW, {"lr": 0.1, "max_norm": 0.5}, (SINGLE, HALF), {"measure": True}),
    "8-bit AdamW": (mt.AdamW, {"lr": 0.1, "state_dtype": "int8"}, (SINGLE, SINGLE)),
    "bfloat16": (mt.AdamW, {"lr": 0.1, "rounding": "stochastic"}, (HALF, HALF)),
    "two dtypes": (mt.Adam, {"lr": 0.1, "ema_decay": 0.9}, (SINGLE, HALF)),
    "Prodigy": (mt.Prodigy, {"d0": 0.1}, (SINGLE, SINGLE)),
    "Prodigy, two dtypes": (mt.Prodigy, {"d0": 0.1, "max_norm": 1.0}, (SINGLE, DOUBLE)),
    "LAMB": (mt.LAMB, {"lr": 0.1}, (SINGLE, SINGLE)),
    "max_norm": (mt.AdamW, {"lr": 0.1, "max_norm": 0.5}, (SINGLE, SINGLE)),
    "max_norm, two dtypes": (mt.AdamW, {"lr": 0.1, "max_norm": 0.5}, (SINGLE, HALF)),
}


class Run:
    """An optimizer, with parameters of some dtypes, of which the last has gaps; and gradients for each step."""

    def __init__(self, cls, options, dtypes, more=None):
        draw = torch.Generator().manual_seed(0)
        self.params = [torch.randn(5, 4, generator=draw).to(dtype) for dtype in dtypes]
        self.params.append(torch.randn(6, 6, generator=draw).to(dtypes[-1])[:, ::2])
        self.params = [param.requires_grad_() for param in self.params]
        groups = [{"params": self.params[:1]}, {"params": self.params[1:], "weight_decay": 0.1}]
        self.optimizer = cls(groups, **options)
        self._grads, self._told = 0, {**(more or {}), **told(self.optimizer)}

    def give(self):
        self._grads += 1
        draw = torch.Generator().manual_seed(self._grads)
        for param in self.params:
            param.grad = torch.randn(param.shape, generator=draw).to(param.dtype)

    def step(self):
        self.optimizer.step(**self._told)

    def fails(self, number):
        """Whether the step takes as much memory that it fails when it makes that tensor."""
        try:
            with Watch(fails_at=number, size=1):
                self.step()
        except torch.OutOfMemoryError:
            return True
        return False

    @property
    def counts(self):
        optimizer = self.optimizer
        return optimizer.t, optimizer.steps, optimizer.skipped

    @property
    def versions(self):
        return [param._version for param in self.params]

    def whole(self):
        """All that there is, copied."""
        return copy.deepcopy(arrays(self.optimizer, self.params)), self.counts

    def require(self, whole):
        found = self.whole()
        assert_same(found[0], whole[0], **EXACT)
        assert found[1] == whole[1]


def made(monkeypatch, place, setting):
    engine, pretended, more = PLACES[place]
    cls, options, *rest = SETTINGS[setting]
    pretended(monkeypatch)
    return partial(Run, cls, {**options, **more, "engine": engine}, *rest)


ALL = [(place, setting) for place in PLACES for setting in SETTINGS]
ALL = [(place, setting) for place, setting in ALL if not (place.startswith("torch") and "8-bit" in setting)]


@pytest.mark.parametrize(("place", "setting"), ALL)
def test_a_later_step_that_runs_out_of_memory_changes_nothing(monkeypatch, place, setting):
    new = made(monkeypatch, place, setting)
    run, never = new(), new()
    for each in (run, never):
        for _ in range(2):
            each.give(), each.step()
        each.give()
    before, versions, failed = run.whole(), run.versions, 0
    while run.fails(failed):
        run.require(before)
        assert run.versions == versions
        failed += 1
    assert failed or not place.startswith(("torch", "recorded"))  # the others take none of PyTorch's, as a rule
    never.step()
    for _ in range(2):
        run.require(never.whole())
        for each in (run, never):
            each.give(), each.step()


FIRST = [
    (place, setting)
    for place, setting in ALL
    if setting in ("Adam", "Prodigy, two dtypes") or setting != "measured" and place in ("fused", "torch", "reference")
]
"""Planning takes time, and elsewhere it is as in these places, but for what is added up."""


@pytest.mark.parametrize(("place", "setting"), FIRST)
def test_a_first_step_that_runs_out_of_memory_changes_nothing(monkeypatch, place, setting):
    new = made(monkeypatch, place, setting)
    never, failed = new(), 0
    values = [param.detach().clone() for param in never.params]
    never.give(), never.step()
    wanted, fails = never.whole(), True
    while fails:
        run = new()
        run.give()
        fails = run.fails(failed)
        if fails:
            assert run.versions == [0] * len(values)
            assert run.counts == (0, (0,) * len(values), 0)
            assert all(map(torch.equal, run.params, values))
            run.step()
        run.require(wanted)
        failed += 1
    assert failed > 3


@pytest.mark.parametrize("engine", ["fused", "reference"])
def test_state_in_another_form_takes_the_place_of_the_old_one_when_it_is_whole(monkeypatch, engine):
    options = {"lr": 0.1, "state_dtype": "int8", "engine": engine}
    run, never = (Run(mt.adapt(Turning), options, (SINGLE,)) for _ in range(2))
    for each in (run, never):
        each.give(), each.step()
        for group in each.optimizer.param_groups:
            group["signed"] = True
        for param in each.params:
            each.optimizer.state[param]["total_codes"].floor_divide_(2)  # so that the scales will be others
        each.give()
    before, put = run.whole(), Stored.put

    def half_way(*args):
        put(*args)
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(Stored, "put", half_way)
        with pytest.raises(MemoryError):
            run.step()
    run.require(before)
    run.step(), never.step()
    run.require(never.whole())


def test_a_group_whose_state_there_is_no_memory_for_is_not_added(monkeypatch):
    run = Run(mt.Adagrad, {"lr": 0.1}, (SINGLE,))
    run.give(), run.step()
    before = run.whole()
    more = [torch.ones(3).requires_grad_() for _ in range(2)]
    for number in range(2):
        with pytest.raises(torch.OutOfMemoryError), Watch(fails_at=number, size=1):
            run.optimizer.add_param_group({"params": more})
        run.require(before)
        assert len(run.optimizer.state) == len(run.params)
    run.optimizer.add_param_group({"params": more})
    assert len(run.optimizer.state) == len(run.params) + 2
