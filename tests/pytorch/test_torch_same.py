"""A script whose import is changed trains as before: the constructors, the groups, the curve of every algorithm."""

import inspect

import numpy as np
import pytest
import torch
from both import NAMES, SETTINGS, assert_alike, assert_groups, together, twins
from torch import nn

from minima import torch as mt

EXTRA = {"engine", "state_dtype", "groups", "decay", "cautious", "max_norm", "ema_decay"}
EXTRA |= {"rounding", "seed", "on_nonfinite", "capturable", "wd"}
"""The keywords that ours take on top."""

SCRIPTS = {
    "Adam": lambda optim, params: optim.Adam(params),
    "Adam with decay": lambda optim, params: optim.Adam(params, lr=1e-2, weight_decay=0.1),
    "AdamW": lambda optim, params: optim.AdamW(params),
    "SGD": lambda optim, params: optim.SGD(params, lr=0.1, momentum=0.9),
    "RMSprop": lambda optim, params: optim.RMSprop(params),
    "Adagrad": lambda optim, params: optim.Adagrad(params),
    "Adamax": lambda optim, params: optim.Adamax(params),
    "RAdam": lambda optim, params: optim.RAdam(params, lr=0.03),
    "Adadelta": lambda optim, params: optim.Adadelta(params),
    "Rprop": lambda optim, params: optim.Rprop(params),
    "ASGD": lambda optim, params: optim.ASGD(params, lr=0.1, t0=20),
}


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks of this size gain nothing by more threads, and on a busy machine these wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def curve(optim, script, dtype):
    """The losses of a small network that learns to say which corner a point lies in."""
    torch.manual_seed(0)
    layers = nn.Linear(2, 16), nn.Tanh(), nn.Linear(16, 16), nn.Tanh(), nn.Linear(16, 4)
    network = nn.Sequential(*layers).to(dtype)
    optimizer, losses = script(optim, network.parameters()), []
    for _ in range(300):
        points = torch.randn(32, 2, dtype=dtype)
        corner = (points > 0).long() @ torch.tensor([1, 2])
        loss = nn.functional.cross_entropy(network(points), corner)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float32, 1e-5), (torch.float64, 1e-10)], ids=str)
@pytest.mark.parametrize("name", SCRIPTS)
def test_a_script_whose_import_is_changed_learns_along_the_same_curve(name, dtype, rtol):
    theirs, mine = (curve(optim, SCRIPTS[name], dtype) for optim in (torch.optim, mt))
    assert np.mean(theirs[-20:]) < 0.98 * theirs[0]
    rtol = max(rtol, 1e-7) if name == "ASGD" else rtol  # PyTorch keeps its rate in float32
    np.testing.assert_allclose(mine, theirs, rtol=rtol)


@pytest.mark.parametrize("name", SCRIPTS)
def test_a_network_of_convolutions_learns_along_the_same_curve(name):
    """Images in batches, in channels-last order, with normalisation, in single precision."""
    images, labels = pytest.importorskip("sklearn.datasets").load_digits(return_X_y=True)
    images, labels = torch.tensor(images[:800] / 16, dtype=torch.float32), torch.tensor(labels[:800])
    curves = []
    for optim in (torch.optim, mt):
        torch.manual_seed(0)
        layers = nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(72, 10)
        network = nn.Sequential(nn.Unflatten(1, (1, 8, 8)), *layers).to(memory_format=torch.channels_last)
        optimizer, losses = SCRIPTS[name](optim, network.parameters()), []
        for step in range(40):
            batch = slice(step * 64 % 768, step * 64 % 768 + 64)
            loss = nn.functional.cross_entropy(network(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert np.mean(curves[0][-5:]) < 0.8 * curves[0][0]
    np.testing.assert_allclose(curves[1], curves[0], rtol=1e-3)


@pytest.mark.parametrize("name", NAMES)
def test_a_constructor_takes_the_same_arguments(name):
    theirs, mine = (inspect.signature(getattr(optim, name)).parameters for optim in (torch.optim, mt))
    found = [(key, each.kind, each.default) for key, each in mine.items() if key in theirs]
    assert found == [(key, each.kind, each.default) for key, each in theirs.items()]
    extra = {key: each.kind for key, each in mine.items() if key not in theirs}
    assert set(extra.values()) <= {inspect.Parameter.KEYWORD_ONLY}
    assert extra.keys() <= EXTRA


@pytest.mark.parametrize("name", NAMES)
def test_arguments_may_be_given_by_position(name):
    signature = inspect.signature(getattr(torch.optim, name)).parameters
    places = [each for each in signature.values() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD][1:]
    values = [each.default for each in places]
    values[0] = 0.25
    for optim in (torch.optim, mt):
        w = torch.ones(2, requires_grad=True)
        (group,) = getattr(optim, name)([w], *values).param_groups
        assert group["lr"] == 0.25
        assert {key: group[key] for key in group if key not in ("params", "lr")} == {
            key: value
            for key, value in getattr(optim, name)([w]).param_groups[0].items()
            if key not in ("params", "lr")
        }
        with pytest.raises(TypeError):
            getattr(optim, name)([w], *values, False, False)


@pytest.mark.parametrize("named", [False, True], ids=["unnamed", "named"])
@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_groups_and_defaults_say_the_same(name, options, named):
    theirs, mine = twins(name, options, special={"lr": 0.5, "weight_decay": 0.25}, named=named)
    assert_groups(theirs.optimizer, mine.optimizer)
    assert mine.optimizer.defaults == theirs.optimizer.defaults


@pytest.mark.parametrize(("name", "options"), SETTINGS, ids=str)
def test_state_has_the_same_entries(name, options):
    theirs, mine = twins(name, options)
    assert_alike(theirs, mine)
    together(theirs, mine, count=3)
    assert_alike(theirs, mine)


def test_names_that_pytorch_has_not_say_what_to_write_instead():
    for old, new in (("RMSProp", "RMSprop"), ("AdaGrad", "Adagrad"), ("AdaDelta", "Adadelta")):
        with pytest.raises(AttributeError, match=f"{new}.*adapt|adapt.*{new}"):
            getattr(mt, old)
    for gone in ("torch_state_dict", "load_torch_state_dict"):
        assert not hasattr(mt, gone)
    assert not [name for cls in NAMES for name in dir(getattr(mt, cls)) if name.startswith("like_torch")]
