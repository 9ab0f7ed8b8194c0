"""Groups by patterns of names give the same groups, and the same training, as groups that are written out."""

import pytest
import torch
from torch import nn

from minima.optim import AdaGrad, Muon
from minima.optim.schedules import cosine
from minima.torch import SGD, Adam, AdamW, adapt


def network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1))


def train(model, optimizer):
    for _ in range(3):
        optimizer.zero_grad()
        model(torch.arange(12.0).reshape(4, 3)).square().mean().backward()
        optimizer.step()
    return list(model.parameters())


def test_the_first_pattern_that_matches_a_name_counts():
    model = network()
    groups = {"*.bias": {"wd": 0}, "1.*": {"lr": 0.01}, "2.*": {"lr": 0.02}}
    found = Adam(model.named_parameters(), lr=0.1, weight_decay=0.3, groups=groups).param_groups
    assert [(g["param_names"], g["lr"], g["weight_decay"]) for g in found] == [
        (["0.weight"], 0.1, 0.3),
        (["0.bias", "1.bias", "2.bias"], 0.1, 0.0),
        (["1.weight"], 0.01, 0.3),
        (["2.weight"], 0.02, 0.3),
    ]


FACES = [SGD, Adam, AdamW, adapt(AdaGrad)]
WAYS = [(cls, way) for cls in FACES for way in ("decoupled", "independent", "l2")] + [(cls, None) for cls in FACES[:3]]


@pytest.mark.parametrize(("cls", "way"), WAYS, ids=lambda each: getattr(each, "__name__", str(each)))
def test_decay_mode_is_another_name_of_decay_everywhere(cls, way):
    def trained(name):
        model = network()
        optimizer = cls(
            model.named_parameters(), lr=0.1, weight_decay=0.3, **{name: way}, groups={"1.*": {name: "independent"}}
        )
        optimizer.add_param_group({"params": [("more", nn.Parameter(torch.ones(2)))], name: "l2"})
        return train(model, optimizer), optimizer

    (here, optimizer), (there, other) = trained("decay_mode"), trained("decay")
    assert all(torch.equal(x, y) for x, y in zip(here, there, strict=True))
    groups = [[{**x, "params": 0} for x in each.param_groups] for each in (optimizer, other)]
    assert groups[0] == groups[1] and not any("decay_mode" in group for group in groups[0])
    for each, name in ((optimizer, "decay_mode"), (other, "decay")):
        setattr(each, name, "independent")
    assert optimizer.decay_mode == optimizer.decay == "independent"
    assert [x["decay"] for x in optimizer.param_groups] == [x["decay"] for x in other.param_groups]
    assert cls.formula(decay_mode="l2").text == cls.formula(decay="l2").text


def live(w):
    optimizer = Adam([w])
    optimizer.param_groups[0]["decay_mode"] = "l2"
    w.grad = torch.ones(2)
    optimizer.step()


@pytest.mark.parametrize(
    ("act", "words"),
    [
        (
            lambda w: Adam([w], decay="l2", decay_mode="l2"),
            "Adam: decay is given twice; decay_mode and decay are the same argument",
        ),
        (lambda w: SGD([{"params": [w], "decay": "l2", "decay_mode": "l2"}]), "SGD: decay is given twice"),
        (lambda w: Adam([w], decay_mode="l2", decoupled_weight_decay=True), "decay and decoupled_weight_decay say the"),
        (live, "Adam: a group has no hyperparameter 'decay_mode'; did you mean decay?"),
    ],
    ids=["both", "both of a group", "with PyTorch's flag", "in a live group"],
)
def test_two_names_for_the_way_of_decay_are_one_too_many(act, words):
    w = nn.Parameter(torch.ones(2))
    with pytest.raises(TypeError) as caught:
        act(w)
    assert words in str(caught.value)


def test_patterns_divide_groups_that_are_given():
    named = list(network().named_parameters())
    entries = [{"params": named[:2], "lr": 0.5}, {"params": named[2:]}]
    found = SGD(entries, lr=0.1, groups={"*.bias": {"wd": 0.2}}).param_groups
    assert [(g["param_names"], g["lr"], g["weight_decay"]) for g in found] == [
        (["0.weight"], 0.5, 0.0),
        (["0.bias"], 0.5, 0.2),
        (["1.weight", "2.weight"], 0.1, 0.0),
        (["1.bias", "2.bias"], 0.1, 0.2),
    ]


def test_a_pattern_may_match_in_one_of_several_groups_only():
    named = list(network().named_parameters())
    found = SGD([{"params": named[:2]}, {"params": named[2:]}], lr=0.1, groups={"2.*": {"lr": 0.5}}).param_groups
    assert [(len(g["params"]), g["lr"]) for g in found] == [(2, 0.1), (2, 0.1), (2, 0.5)]


def test_patterns_train_as_groups_that_are_written_out_do_in_pytorch():
    ours, theirs = network(), network()
    optimizer = Adam(
        ours.named_parameters(), lr=0.1, weight_decay=0.3, groups={"*.bias": {"weight_decay": 0}, "2.*": {"lr": 0.01}}
    )
    named = dict(theirs.named_parameters())
    written = [
        {"params": [named["0.weight"], named["1.weight"]]},
        {"params": [named["0.bias"], named["1.bias"], named["2.bias"]], "weight_decay": 0},
        {"params": [named["2.weight"]], "lr": 0.01},
    ]
    expected = train(theirs, torch.optim.Adam(written, lr=0.1, weight_decay=0.3))
    torch.testing.assert_close(train(ours, optimizer), expected)


@pytest.mark.parametrize(
    ("names", "groups", "kind", "message"),
    [
        (False, {"*": {}}, ValueError, "Adam: groups needs parameters with names; pass model.named_parameters()"),
        (
            True,
            {"*.bais": {}},
            ValueError,
            "Adam: groups: no parameter matches '*.bais'; closest is '2.bias'",
        ),
        (
            True,
            {"*.bias": {"lrr": 1}},
            TypeError,
            "Adam: there is no hyperparameter 'lrr'; did you mean lr? there are lr, betas, eps, weight_decay, "
            "amsgrad, decoupled_weight_decay (weight_decay also as wd); and for every rule decay, maximize, cautious, "
            "max_norm, ema_decay",
        ),
        (
            True,
            ["*.bias"],
            TypeError,
            "Adam: groups must be a dict of patterns to hyperparameters; got ['*.bias']; "
            "write {'*.bias': {'weight_decay': 0}}",
        ),
    ],
)
def test_what_is_wrong_with_patterns_is_said_in_a_sentence(names, groups, kind, message):
    model = network()
    with pytest.raises(kind) as caught:
        Adam(model.named_parameters() if names else model.parameters(), groups=groups)
    assert str(caught.value) == message


def test_schedules_of_minima_work_in_lambda_lr():
    optimizer = SGD(network().parameters(), lr=0.5)
    schedule = cosine(1.0, steps=10, warmup=3)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for step in range(12):
        assert optimizer.param_groups[0]["lr"] == 0.5 * schedule(step)
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize("state_dtype", [None, "int8"])
def test_state_begins_as_the_hyperparameter_that_its_group_has_when_it_is_made(state_dtype):
    first, second, late = (torch.ones(300, requires_grad=True) for _ in range(3))
    groups = [{"params": [first]}, {"params": [second], "initial": 2.0}]
    optimizer = adapt(AdaGrad)(groups, initial=0.5, engine="reference", state_dtype=state_dtype)
    for param in (first, second):
        param.grad = torch.full((300,), 1.0)
    optimizer.step()
    optimizer.add_param_group({"params": [late], "initial": 7.0})
    late.grad = torch.full((300,), 1.0)
    optimizer.step()
    if state_dtype is None:
        assert [optimizer.state[p]["cache"][0].item() for p in (first, second, late)] == [2.5, 4.0, 8.0]
    else:
        scales = [optimizer.state[p]["cache_scale"][0].item() for p in (first, second, late)]
        assert scales == pytest.approx([2.5, 4.0, 8.0], rel=1e-2)


def test_muon_warns_of_all_embeddings_and_heads_at_once_and_of_none_where_it_was_told():
    named = [(f"{name}.weight", nn.Parameter(torch.ones(3, 2))) for name in ("embed", "hidden", "output")]
    muon = adapt(Muon)
    with pytest.warns(UserWarning) as caught:
        muon(named)
    assert [str(warning.message) for warning in caught] == [
        "Muon: parameter 0 ('embed.weight'), parameter 2 ('output.weight') may not be meant to have matrix=True, by "
        "their names; say groups={'embed.weight': {'matrix': False}, 'output.weight': {'matrix': False}}, "
        "or matrix=True"
    ]
    assert caught[0].filename == __file__
    muon(named, groups={"embed.*": {"matrix": False}, "output.*": {"matrix": False}})
    muon(named, matrix=True)
