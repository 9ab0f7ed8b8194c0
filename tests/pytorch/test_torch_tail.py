"""Clipping by the global norm and a moving average within the step, beside what PyTorch has around it."""

import copy
import io
import math

import numpy as np
import pytest
import torch
from torch.nn.utils import clip_grad_norm_
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from minima import Tensor, optim
from minima.torch import LAMB, SGD, Adam, AdamW, RMSprop, adapt
from minima.torch.eager import Eager

MAKERS = {
    "SGD": (torch.optim.SGD, SGD, {"lr": 0.1, "momentum": 0.9}),
    "Adam": (torch.optim.Adam, Adam, {"lr": 0.1, "weight_decay": 0.1}),
    "AdamW": (torch.optim.AdamW, AdamW, {"lr": 0.1, "weight_decay": 0.1}),
    "RMSprop": (torch.optim.RMSprop, RMSprop, {"lr": 0.01}),
}


def model(dtype=torch.float64):
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(5, 9), torch.nn.Tanh(), torch.nn.Linear(9, 3)).to(dtype)


def give(network, step, scale=None):
    """Gradients whose norm is above 4 in some steps and below it in others."""
    generator = torch.Generator().manual_seed(step)
    for param in network.parameters():
        drawn = torch.randn(param.shape, generator=generator, dtype=torch.float64)
        param.grad = ((0.05, 0.5, 20.0)[step % 3] * drawn if scale is None else scale * drawn).to(param.dtype)


@pytest.mark.parametrize("name", MAKERS)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_the_tail_of_a_step_is_what_pytorch_takes_three_passes_for(name, dtype, engine):
    theirs, ours, settings = MAKERS[name]
    one, two = model(dtype), model(dtype)
    other, averaged = theirs(one.parameters(), **settings), AveragedModel(one, multi_avg_fn=get_ema_multi_avg_fn(0.9))
    averaged.update_parameters(one)  # which, the first time, copies
    optimizer = ours(two.parameters(), **settings, max_norm=4.0, ema_decay=0.9, engine=engine)
    cut = 0
    for step in range(9):
        give(one, step)
        give(two, step)
        cut += bool(clip_grad_norm_(one.parameters(), 4.0) > 4.0)
        other.step()
        averaged.update_parameters(one)
        optimizer.step()
    assert 0 < cut < 9
    rounding = 1e-5  # PyTorch divides by norm + 1e-6
    for mine, his in zip(two.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, his, rtol=rounding, atol=rounding)
    own = [param.detach().clone() for param in two.parameters()]
    with optimizer.averaged():
        for mine, his in zip(two.parameters(), averaged.parameters(), strict=True):
            torch.testing.assert_close(mine, his, rtol=rounding, atol=rounding)
        assert not all(torch.equal(x, y) for x, y in zip(two.parameters(), own, strict=True))
    assert all(torch.equal(x, y) for x, y in zip(two.parameters(), own, strict=True))


@pytest.mark.parametrize("rule", [optim.LAMB, optim.Adafactor, optim.Prodigy, optim.Lion], ids=lambda r: r.__name__)
def test_every_engine_clips_and_averages_as_the_reference_of_minima(rule, engine):
    network = model()
    own = [optim_tensor(param) for param in network.parameters()]
    mine = rule(own, max_norm=4.0, ema_decay=0.9, engine="reference")
    optimizer = adapt(rule)(network.parameters(), max_norm=4.0, ema_decay=0.9, engine=engine)
    for step in range(6):
        give(network, step)
        for tensor, param in zip(own, network.parameters(), strict=True):
            tensor.grad = optim_tensor(param.grad)
        mine.step()
        optimizer.step()
    with mine.averaged(), optimizer.averaged():
        for tensor, param in zip(own, network.parameters(), strict=True):
            np.testing.assert_allclose(param.detach().numpy(), tensor.detach().numpy(), rtol=1e-12, atol=1e-13)
    for tensor, param in zip(own, network.parameters(), strict=True):
        np.testing.assert_allclose(param.detach().numpy(), tensor.detach().numpy(), rtol=1e-12, atol=1e-13)


def optim_tensor(tensor):
    return Tensor(tensor.detach().numpy().copy(), dtype=str(tensor.dtype).removeprefix("torch."), requires_grad=True)


def test_gradients_are_left_as_they_are(engine):
    network = model()
    optimizer = Adam(network.parameters(), max_norm=0.1, engine=engine)
    give(network, 2)
    before = [param.grad.clone() for param in network.parameters()]
    optimizer.step()
    assert all(torch.equal(param.grad, kept) for param, kept in zip(network.parameters(), before, strict=True))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("rounding", ["nearest", "stochastic", "master"])
def test_averages_of_half_precision_are_kept_in_single(dtype, rounding, engine):
    network = model(dtype)
    optimizer = AdamW(network.parameters(), lr=0.01, ema_decay=0.9, rounding=rounding, engine=engine)
    wanted = [param.detach().float().clone() for param in network.parameters()]
    for step in range(5):
        give(network, step)
        optimizer.step()
        wanted = [0.9 * x + 0.1 * p.detach().float() for x, p in zip(wanted, network.parameters(), strict=True)]
    for param, average in zip(network.parameters(), wanted, strict=True):
        kept = optimizer.state[param]["ema"]
        assert kept.dtype == torch.float32
        torch.testing.assert_close(kept, average, rtol=0.01, atol=0.01)  # what was written is rounded, the average not


def test_groups_show_what_is_asked_for_and_nothing_else():
    network = model()
    plain = Adam(network.parameters())
    assert not {"max_norm", "ema_decay", "cautious"} & plain.param_groups[0].keys()
    assert plain.max_norm is None and plain.ema_decay is None
    plain.max_norm = 2.0
    assert plain.param_groups[0]["max_norm"] == 2.0
    plain.max_norm = None
    assert "max_norm" not in plain.param_groups[0]


def test_the_limit_may_be_a_function_of_the_step(engine):
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = SGD([w], lr=1.0, max_norm=lambda step: 3.0 - step, engine=engine)
    for shown in (3.0, 2.0, 1.0):
        w.grad = torch.tensor([10.0], dtype=torch.float64)
        assert callable(optimizer.param_groups[0]["max_norm"]) or optimizer.param_groups[0]["max_norm"] == shown
        optimizer.step()
    assert w.item() == -6.0


TENSORS = {"max_norm": torch.tensor(1.0), "ema_decay": torch.tensor([0.5])}
WAYS = {
    "constructor": lambda cls, w, given: cls([w], **given),
    "group": lambda cls, w, given: cls([{"params": [w], **given}]),
    "pattern": lambda cls, w, given: cls([("w", w)], groups={"w": given}),
    "attribute": lambda cls, w, given: [setattr(cls([w]), *each) for each in given.items()],
    "entry": lambda cls, w, given: written(cls([w]), given),
}


def written(optimizer, given):
    optimizer.param_groups[0].update(given)
    optimizer.step()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("name", TENSORS)
@pytest.mark.parametrize("cls", [Adam, LAMB, adapt(optim.Adam)], ids=["PyTorch's", "LAMB", "minima's"])
def test_the_limit_and_the_average_s_share_are_no_tensors(cls, name, way):
    w = torch.ones(2, requires_grad=True)
    w.grad = torch.ones(2)
    with pytest.raises(TypeError, match=rf"^\w+(, .*)?: {name} must be None or a number in \[0, .*\); got tensor"):
        WAYS[way](cls, w, {name: TENSORS[name]})
    assert torch.equal(w.detach(), torch.ones(2))


def test_groups_must_agree_on_the_limit(engine):
    network = model()
    groups = [{"params": network[0].parameters()}, {"params": network[2].parameters(), "max_norm": 2.0}]
    optimizer = SGD(groups, max_norm=1.0, engine=engine)
    give(network, 0)
    before = copy.deepcopy(network.state_dict())
    with pytest.raises(ValueError, match="SGD.step: max_norm goes into what all parameters share"):
        optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())


def test_a_gradient_that_is_not_finite_is_skipped_before_it_is_clipped(engine):
    network = model()
    optimizer = Adam(network.parameters(), max_norm=1.0, ema_decay=0.9, on_nonfinite="skip", engine=engine)
    give(network, 0)
    network[0].weight.grad[1, 1] = math.nan
    before = copy.deepcopy(network.state_dict())
    optimizer.step()
    assert optimizer.skipped == 1 and all(torch.equal(x, before[n]) for n, x in network.state_dict().items())


def test_averages_go_through_checkpoints(engine):
    one, two = model(), model()
    first = AdamW(one.parameters(), ema_decay=0.9, max_norm=1.0, engine=engine)
    second = AdamW(two.parameters(), engine=engine)
    for step in range(3):
        give(one, step)
        first.step()
    file = io.BytesIO()
    torch.save({"model": one.state_dict(), "optimizer": first.state_dict()}, file)
    file.seek(0)
    saved = torch.load(file, weights_only=True)
    two.load_state_dict(saved["model"])
    second.load_state_dict(saved["optimizer"])
    assert second.ema_decay == 0.9 and second.max_norm == 1.0
    for step in range(3, 5):
        for network, optimizer in ((one, first), (two, second)):
            give(network, step)
            optimizer.step()
    with first.averaged(), second.averaged():
        assert all(torch.equal(x, y) for x, y in zip(one.parameters(), two.parameters(), strict=True))


def test_what_torch_optim_cannot_go_on_with_it_does_not_load_in_silence():
    network = model()
    clipped = AdamW(network.parameters(), max_norm=1.0)
    give(network, 0)
    clipped.step()
    other = torch.optim.AdamW(network.parameters())
    other.load_state_dict(clipped.state_dict())
    give(network, 1)
    with pytest.raises((TypeError, ValueError)):
        other.step()


def test_while_averages_are_lent_nothing_steps():
    network = model()
    optimizer = SGD(network.parameters(), ema_decay=0.5)
    own = copy.deepcopy(network.state_dict())
    with optimizer.averaged():  # before the first step there are none
        assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    give(network, 0)
    optimizer.step()
    called = []
    with optimizer.averaged():
        for loads in (False, True):
            if loads:
                optimizer.load_state_dict(optimizer.state_dict())
            with pytest.raises(RuntimeError, match="the parameters hold their averages"):
                optimizer.step(lambda: called.append(1))
    assert called == [] and optimizer.t == 1
    optimizer.step()
    assert optimizer.t == 2


def test_of_parameters_of_which_one_cannot_be_given_back_the_others_are():
    network = model()
    optimizer = SGD(network.parameters(), lr=0.1, ema_decay=0.5)
    give(network, 0)
    optimizer.step()
    first, *others = network.parameters()
    own = [param.detach().clone() for param in others]
    with pytest.raises(RuntimeError):
        with optimizer.averaged():
            first.data = torch.zeros(17)
    assert all(map(torch.equal, others, own))
    first.data = torch.zeros_like(first.grad)
    optimizer.step()
    assert optimizer.t == 2


@pytest.mark.parametrize("wrong", [None, 1.0, torch.zeros(17)], ids=["none", "a number", "a shape"])
def test_what_is_no_average_is_refused_in_one_sentence_and_nothing_is_lent(wrong):
    network = model()
    optimizer = SGD(network.parameters(), lr=0.1, ema_decay=0.5)
    give(network, 0)
    optimizer.step()
    *_, last = network.parameters()
    own, right = copy.deepcopy(network.state_dict()), optimizer.state[last]["ema"]
    optimizer.state[last]["ema"] = wrong
    with pytest.raises(ValueError, match=r"^SGD.averaged: the state of parameter \d+ must have a? ?.*'ema'.*; got"):
        with optimizer.averaged():
            pass
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    optimizer.state[last]["ema"] = right
    optimizer.step()
    assert optimizer.t == 2


def test_what_is_held_is_renewed_in_a_block_with_the_averages_and_all_is_given_back():
    network = model()
    optimizer = SGD(network.parameters(), lr=0.1, ema_decay=0.5)
    give(network, 0)
    optimizer.step()
    own = copy.deepcopy(network.state_dict())
    with optimizer.averaged():
        optimizer.load_state_dict(optimizer.state_dict())
        with optimizer.averaged():
            pass
        with pytest.raises(RuntimeError, match="the parameters hold their averages"):
            optimizer.step()
    assert all(torch.equal(value, own[name]) for name, value in network.state_dict().items())
    optimizer.step()
    assert optimizer.t == 2


@pytest.mark.parametrize("other", [False, True])
def test_averages_that_are_asked_for_no_longer_are_not_lent_and_begin_anew(other, engine):
    w = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    idle = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = SGD([w, idle], lr=1.0, ema_decay=0.75, engine=engine)
    for decay in (0.75, 0.75, None, None, 0.75, None, 0.75):
        if optimizer.ema_decay != decay:
            optimizer.ema_decay = decay
            if other:  # the plans of before are kept for other sets of parameters too
                idle.grad = torch.ones(1, dtype=torch.float64) if idle.grad is None else None
        began = w.item()
        w.grad = torch.full((1,), -1.0, dtype=torch.float64)
        optimizer.step()
        if decay is None:
            assert "ema" not in optimizer.state[w]
            with pytest.raises(ValueError, match="SGD.averaged: there are no averages"), optimizer.averaged():
                pass
    with optimizer.averaged():
        assert w.item() == began + 0.25
    optimizer.ema_decay = None
    loaded = SGD([w, idle], lr=1.0)
    loaded.load_state_dict(optimizer.state_dict())
    assert loaded.t == 7 and "ema" not in loaded.state[w]


def test_a_checkpoint_of_pytorch_leaves_alone_what_it_says_nothing_of(engine):
    network = model()
    theirs = torch.optim.AdamW(network.parameters())
    give(network, 0)
    theirs.step()
    for limit in (1.0, lambda step: 1.0 + step):
        options = {"max_norm": limit, "ema_decay": 0.5, "cautious": True, "engine": engine}
        optimizer = AdamW(network.parameters(), **options)
        optimizer.load_state_dict(theirs.state_dict())
        assert (optimizer.max_norm, optimizer.ema_decay, optimizer.cautious) == (1.0, 0.5, True)
        for shown in (3.0, 4.0) if callable(limit) else (1.0, 1.0):
            give(network, 1)
            optimizer.step()
            assert optimizer.max_norm == shown
    plain = AdamW(network.parameters(), engine=engine)
    give(network, 2)
    plain.step()
    optimizer.load_state_dict(plain.state_dict())  # which had none of them
    assert (optimizer.max_norm, optimizer.ema_decay, optimizer.cautious) == (None, None, False)


def test_on_a_device_clipping_waits_for_nothing(monkeypatch):
    """As if the tensors were on a GPU: nothing asks for a value before the step is on its way."""
    made, asked = Eager.__init__, []

    def elsewhere(self, work):
        made(self, work)
        self.on_device = True

    def watched(name):
        kept = getattr(torch.Tensor, name)

        def ask(self, *args, **kwargs):
            asked.append(name)
            return kept(self, *args, **kwargs)

        return ask

    one, two = model(), model()
    plain, other = (Adam(x.parameters(), lr=0.1, max_norm=4.0, engine="torch") for x in (one, two))
    for step in range(4):
        give(one, step)
        plain.step()
    monkeypatch.setattr(Eager, "__init__", elsewhere)
    for step in range(4):
        give(two, step)
        if step == 1:
            for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__"):
                monkeypatch.setattr(torch.Tensor, name, watched(name))
        other.step()
    assert asked == []
    for mine, his in zip(two.parameters(), one.parameters(), strict=True):
        torch.testing.assert_close(mine, his, rtol=1e-12, atol=1e-12)
