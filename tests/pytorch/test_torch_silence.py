"""What would be silence in a group or an attribute is a sentence; what others keep there stays."""

import pytest
import torch
from tensors import MINE, own

from minima import torch as mt

lr_scheduler = torch.optim.lr_scheduler


def made(cls, engine=None, **options):
    w = torch.tensor([1.0, -2.0], requires_grad=True)
    w.grad = torch.ones(2)
    return w, cls([w], engine=engine, **options)


KEYS = [
    (own.SGD, "lrr", "lr"),
    (own.SGD, "learning_rate", "lr"),
    (own.SGD, "Momentum", "momentum"),
    (own.SGD, "LR", "lr"),
    (own.SGD, "weight_deca", "weight_decay"),
    (own.Adam, "beta", "betas"),
    (own.Adam, "beta2", "betas"),
    (own.Adam, "wd", "weight_decay"),
    (own.Adam, "epsilon", "eps"),
    (own.RMSProp, "alpha", "rho"),
    (own.RMSProp, "maximise", "maximize"),
    (own.RMSProp, "wieght_decay", "weight_decay"),
    (own.SGD, "emma_decay", "ema_decay"),
    (mt.SGD, "max_nrom", "max_norm"),
    (mt.SGD, "EMA_decay", "ema_decay"),
    (mt.Adam, "dcay", "decay"),
]


@pytest.mark.parametrize("write", [dict.__setitem__, lambda group, name, value: group.update({name: value})])
@pytest.mark.parametrize("cls, name, meant", KEYS, ids=lambda value: getattr(value, "__name__", str(value)))
def test_a_misspelt_key_of_a_group_is_refused_by_the_next_step(cls, name, meant, write):
    w, optimizer = made(cls)
    optimizer.step()
    before = w.detach().clone()
    write(optimizer.param_groups[0], name, 1.0)
    for _ in range(2):
        with pytest.raises(TypeError) as caught:
            optimizer.step()
        assert str(caught.value) == f"{cls.__name__}: a group has no hyperparameter {name!r}; did you mean {meant}?"
    assert torch.equal(w, before)
    del optimizer.param_groups[0][name]
    optimizer.step()
    assert not torch.equal(w, before)


def test_a_misspelt_key_of_a_state_dict_is_refused():
    _, optimizer = made(own.SGD)
    state_dict = optimizer.state_dict()
    state_dict["param_groups"][0]["lrr"] = 1.0
    with pytest.raises(
        TypeError, match="^SGD.load_state_dict, group 0: a group has no hyperparameter 'lrr'; did you mean lr\\?$"
    ):
        optimizer.load_state_dict(state_dict)


@pytest.mark.parametrize("cls", MINE, ids=lambda cls: cls.__name__)
def test_what_others_keep_in_groups_stays(cls):
    keys = [
        "initial_lr",
        "lr_scale",
        "lr_mult",
        "max_lr",
        "min_lr",
        "max_momentum",
        "base_momentum",
        "swa_lr",
        "wd_mult",
    ]
    keys += ["initial_max_norm", "max_norm_scale", "final_ema_decay"]
    keys += ["name", "counter", "step", "k", "foreach", "fused", "capturable", "initial_weight_decay", 3]
    kept = dict.fromkeys(keys, 0.5)
    w, optimizer = made(cls)
    optimizer.param_groups[0].update(kept)
    optimizer.step()
    optimizer.load_state_dict(optimizer.state_dict())
    v = torch.ones(1, requires_grad=True)
    optimizer.add_param_group({"params": [v], **kept})
    optimizer.step()
    for group in optimizer.param_groups:
        assert {name: group[name] for name in keys} == kept


ATTRIBUTES = [
    (own.Adam, "beta1", "Adam: there is no hyperparameter 'beta1'; did you mean betas?"),
    (own.SGD, "lrr", "SGD: there is no hyperparameter 'lrr'; did you mean lr?"),
    (own.SGD, "learning_rate", "SGD: there is no hyperparameter 'learning_rate'; did you mean lr?"),
    (own.Adam, "maximise", "Adam: there is no hyperparameter 'maximise'; did you mean maximize?"),
    (own.Adam, "on_nonfinit", "Adam: there is no hyperparameter 'on_nonfinit'; did you mean on_nonfinite?"),
    (own.Adam, "state_dtyp", "Adam: there is no hyperparameter 'state_dtyp'; did you mean state_dtype?"),
    (mt.SGD, "max_nrom", "SGD: there is no hyperparameter 'max_nrom'; did you mean max_norm?"),
    (mt.Adafactor, "emadecay", "Adafactor: there is no hyperparameter 'emadecay'; did you mean ema_decay?"),
]


@pytest.mark.parametrize(("name", "value"), [("wd", 0.5), ("decay_mode", "l2")])
def test_another_spelling_of_an_attribute_does_what_it_says(name, value):
    optimizer = own.SGD([torch.nn.Parameter(torch.ones(2))], lr=0.1)
    setattr(optimizer, name, value)
    assert getattr(optimizer, name) == value == optimizer.param_groups[0][{"wd": "weight_decay"}.get(name, "decay")]


@pytest.mark.parametrize("cls, name, words", ATTRIBUTES, ids=[f"{row[0].__name__}.{row[1]}" for row in ATTRIBUTES])
def test_an_attribute_that_was_meant_to_say_something_is_refused(cls, name, words):
    _, optimizer = made(cls)
    with pytest.raises(AttributeError) as caught:
        setattr(optimizer, name, 5)
    assert str(caught.value).startswith(words)
    assert not hasattr(optimizer, name)


def test_attributes_of_others_stay():
    _, optimizer = made(own.SGD, momentum=0.9)
    for name in ("_step_count", "_opt_called", "_lr", "grad_scaler", "found_inf", "base_momentum", "is_primary", "tag"):
        setattr(optimizer, name, 5)
        assert getattr(optimizer, name) == 5


def test_schedulers_leave_what_they_need():
    w, optimizer = made(own.SGD, lr=0.1, momentum=0.9)
    scheduler = lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=4)
    for _ in range(3):
        optimizer.step()
        scheduler.step()
    assert {"initial_lr", "max_lr", "min_lr", "max_momentum", "base_momentum"} <= optimizer.param_groups[0].keys()
    again = made(own.SGD)[1]
    again.load_state_dict(optimizer.state_dict())
    again.step()


@pytest.mark.parametrize("cls", MINE, ids=lambda cls: cls.__name__)
def test_a_rate_in_a_tensor_is_heard_when_it_is_written_to(cls, engine):
    rate = torch.tensor(0.5)
    (w, optimizer), (v, other) = made(cls, engine, lr=rate), made(cls, engine, lr=0.5)
    for value in (0.5, 0.25, 0.0, 0.125):
        rate.fill_(value)
        other.param_groups[0]["lr"] = value
        optimizer.step()
        other.step()
        torch.testing.assert_close(w, v, rtol=1e-6, atol=0)
    before = w.detach().clone()
    rate.fill_(-1.0)
    with pytest.raises(ValueError, match=rf"^{cls.__name__}: lr must lie in \[0, inf\); got -1.0"):
        optimizer.step()
    assert torch.equal(w, before) and rate.item() == -1.0


def test_the_betas_of_pytorch_s_own_are_not_lost_on_the_way():
    w = torch.ones(2, requires_grad=True)
    theirs = torch.optim.AdamW([w], lr=0.5, betas=(0.5, 0.25))
    w.grad = torch.ones(2)
    theirs.step()
    ours = mt.AdamW([w])
    ours.load_state_dict(theirs.state_dict())
    assert ours.param_groups[0]["betas"] == (0.5, 0.25)


@pytest.mark.parametrize("value", ["0", "many", "-1"])
def test_a_number_of_threads_that_is_none_is_refused_when_an_optimizer_is_made(monkeypatch, value):
    monkeypatch.setenv("MINIMA_NUM_THREADS", value)
    with pytest.raises(ValueError, match=f"^MINIMA_NUM_THREADS: must be a whole number, at least 1; got '{value}'$"):
        made(own.SGD)


def test_the_class_that_all_have_in_common_makes_no_optimizer():
    with pytest.raises(TypeError, match="^minima.torch.Optimizer: it is abstract; use one"):
        mt.Optimizer([torch.ones(1, requires_grad=True)])
