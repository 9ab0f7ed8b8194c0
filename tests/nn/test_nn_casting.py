"""Modules in another dtype, frozen, and asked for parts by their paths: against PyTorch, and beside an optimizer."""

import re

import numpy as np
import pytest

import minima as mi
from minima import nn, optim
from minima.autograd import Tensor

torch = pytest.importorskip("torch")


class Net(nn.Module):
    def __init__(self):
        self.body = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU())
        self.heads = [nn.Linear(4, 2), nn.Linear(4, 1)]
        self.register_buffer("scale", Tensor([2.0]))
        self.register_buffer("hidden", Tensor([3]), persistent=False)
        self.tied = self.body[0].weight

    def forward(self, x):
        return self.heads[0](self.body(x)) * self.scale


class Theirs(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.body = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.ReLU())
        self.heads = torch.nn.ModuleList([torch.nn.Linear(4, 2), torch.nn.Linear(4, 1)])
        self.register_buffer("scale", torch.tensor([2.0]))
        self.register_buffer("hidden", torch.tensor([3]), persistent=False)
        self.tied = self.body[0].weight

    def forward(self, x):
        return self.heads[0](self.body(x)) * self.scale


def dtypes(model):
    return {name: str(value.dtype).removeprefix("torch.") for name, value in model.state_dict().items()}


X = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
CALLS = {
    "double": lambda m, kit: m.double(),
    "half": lambda m, kit: m.half(),
    "half, float": lambda m, kit: m.half().float(),
    "to dtype": lambda m, kit: m.to(kit.float64),
    "to keyword": lambda m, kit: m.to(dtype=kit.float64),
    "to device": lambda m, kit: m.to("cpu"),
    "to device, dtype": lambda m, kit: m.to("cpu", kit.float64),
    "to tensor": lambda m, kit: m.to(kit.tensor([1.0], dtype=kit.float64)),
    "cpu": lambda m, kit: m.cpu(),
}


@pytest.mark.parametrize("how", CALLS)
def test_dtypes_become_those_of_torch(how):
    ours, theirs = Net(), Theirs()
    assert CALLS[how](ours, mi) is ours
    CALLS[how](theirs, torch)
    expected = dtypes(theirs)
    if how == "half":  # running statistics overflow and stand still in halves
        expected |= {name: "float32" for name in expected if "running" in name}
    assert dtypes(ours) == expected and ours.hidden.dtype == "int64"


def test_values_gradients_and_objects_stay():
    model, theirs = Net(), Theirs()
    theirs.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in model.state_dict().items()})
    before, values = model.parameters(), {n: v.numpy() for n, v in model.state_dict().items()}
    model(X).sum().backward()
    theirs(torch.from_numpy(X)).sum().backward()
    grad, unused = model.tied.grad.numpy().copy(), model.heads[1].weight
    model.double(), theirs.double()
    assert all(a is b for a, b in zip(before, model.parameters(), strict=True)) and model.tied is model.body[0].weight
    for name, value in model.state_dict().items():
        if "running" not in name and "num_batches" not in name:
            np.testing.assert_array_equal(value.numpy(), values[name])
    assert model.tied.grad.dtype == "float64" and unused.grad is None and model.tied.requires_grad
    np.testing.assert_array_equal(model.tied.grad.numpy(), grad)
    model.zero_grad(), theirs.zero_grad()
    x = X.astype("float64")
    y, z = model(Tensor(x, dtype="float64")), theirs(torch.from_numpy(x))
    y.sum().backward(), z.sum().backward()
    np.testing.assert_allclose(y.detach().numpy(), z.detach().numpy(), rtol=1e-6)
    np.testing.assert_allclose(model.tied.grad.numpy(), theirs.tied.grad.numpy(), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(model.body[1].running_var.numpy(), theirs.body[1].running_var.numpy(), rtol=1e-6)


def test_a_graph_from_before_brings_its_gradients_in_the_new_dtype():
    layer = nn.Linear(3, 2)
    loss = (layer(X) ** 2).sum()
    loss.backward(retain_graph=True)
    expected = layer.weight.grad.numpy().copy()
    layer.zero_grad()
    layer.double()
    loss.backward()
    assert layer.weight.grad.dtype == "float64"
    np.testing.assert_array_equal(layer.weight.grad.numpy(), expected)


@pytest.mark.parametrize("stepped", [False, True])
@pytest.mark.parametrize("kind", [optim.SGD, optim.Adam])
def test_an_optimizer_from_before_refuses_the_new_dtype_and_takes_the_old_one_again(kind, stepped):
    twins = [nn.Linear(3, 2), nn.Linear(3, 2)]
    twins[1].load_state_dict(twins[0].state_dict())
    optimizers = [kind(layer.parameters(), lr=0.1) for layer in twins]

    def step(which):
        layer = twins[which]
        optimizers[which].zero_grad()
        layer(Tensor(X, dtype=layer.weight.dtype)).sum().backward()
        optimizers[which].step()

    if stepped:
        step(0), step(1)
    twins[0].double()
    kept = twins[0].weight.detach().numpy().copy()
    rule = "parameter 0 was float32 of shape (2, 3) when it was given, and must stay that; it is now float64"
    with pytest.raises(ValueError, match=f"^{kind.__name__}.step: {re.escape(rule)}"):
        step(0)
    np.testing.assert_array_equal(twins[0].weight.detach().numpy(), kept)
    twins[0].float()
    step(0), step(1)
    np.testing.assert_array_equal(twins[0].weight.detach().numpy(), twins[1].weight.detach().numpy())


def test_an_optimizer_made_afterwards_steps_in_the_new_dtype():
    layer = nn.Linear(3, 2).double()
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    before = layer.weight.detach().numpy().copy()
    layer(Tensor(X, dtype="float64")).sum().backward()
    optimizer.step()
    np.testing.assert_allclose(layer.weight.detach().numpy(), before - 0.1 * layer.weight.grad.numpy(), rtol=1e-12)


def test_requires_grad_freezes_and_thaws_all_inside():
    model = Net()
    assert model.requires_grad_(False) is model and not any(p.requires_grad for p in model.parameters())
    assert not model(X).requires_grad
    model.heads[0].requires_grad_()
    assert [n for n, p in model.named_parameters() if p.requires_grad] == ["heads.0.weight", "heads.0.bias"]


# Paths ---------------------------------------------------------------------------------------------------------------


def test_every_name_leads_back_to_its_part_as_in_torch():
    for model in (Net(), Theirs()):
        for name, module in model.named_modules():
            if not name.endswith("heads"):
                assert model.get_submodule(name) is module
        for name in model.state_dict():
            if "running" in name or name == "scale" or "num" in name:
                assert model.get_buffer(name) is dict(model.named_buffers())[name]
            else:
                assert model.get_parameter(name).shape == model.state_dict()[name].shape
        for name, parameter in model.named_parameters():
            assert model.get_parameter(name) is parameter
    assert model.get_parameter("body.0.weight") is model.get_parameter("tied")


def test_a_parameter_in_a_plain_list_has_a_path():
    model = nn.Module()
    model.scales = [nn.Parameter([1.0]), {"left": nn.Parameter([2.0])}]
    assert model.get_parameter("scales.1.left") is model.scales[1]["left"]


def test_parts_are_registered_by_name():
    ours, theirs = nn.Module(), torch.nn.Module()
    for model, kit in ((ours, nn), (theirs, torch.nn)):
        model.register_parameter("b", None)
        model.register_parameter("w", kit.Parameter(mi.randn(2) if kit is nn else torch.randn(2)))
        model.add_module("first", kit.Linear(2, 3))
        model.register_module("second", kit.ReLU())
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()] and ours.b is None


ERRORS = [
    (lambda: Net().to("int64"), TypeError, "Net.to: dtype must be a floating one; got 'int64'"),
    (lambda: Net().requires_grad_(1), TypeError, "Net.requires_grad_: requires_grad must be True or False; got 1"),
    (lambda: Net().cuda(), ValueError, "Tensor: device must be 'cpu', where minima's own Tensor lives; got 'cuda'"),
    (
        lambda: Net().get_submodule("body.9"),
        AttributeError,
        "Net.get_submodule: target must be the path of a module; got 'body.9'",
    ),
    (
        lambda: Net().get_parameter("scale"),
        AttributeError,
        "Net.get_parameter: target must be the path of a parameter; got 'scale'",
    ),
    (
        lambda: Net().get_buffer("tied"),
        AttributeError,
        "Net.get_buffer: target must be the path of a buffer; got 'tied'",
    ),
    (
        lambda: Net().register_parameter("w", Tensor([1.0])),
        TypeError,
        "Net.register_parameter: param must be a Parameter or None; got Tensor",
    ),
    (
        lambda: Net().register_parameter("body", nn.Parameter([1.0])),
        ValueError,
        "Net.register_parameter: name must not be taken by another attribute; got 'body'",
    ),
    (lambda: Net().add_module("a.b", nn.ReLU()), ValueError, "Net.add_module: name must be a string, not empty"),
    (lambda: Net().add_module("a", 3), TypeError, "Net.add_module: module must be a Module or None; got 3"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        call()
