"""Module and its containers: what is found under which name, states, modes, copies, repr, and the sentences."""

import copy
import pickle
import re
from types import SimpleNamespace

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor
from minima.autograd.operations.perceptron import perceptron
from minima.random import manual_seed


class Block(nn.Module):
    def __init__(self, size=3):
        super().__init__()
        self.norm = nn.BatchNorm1d(size)
        self.layers = nn.ModuleList([nn.Linear(size, size), nn.Linear(size, size, bias=False)])
        self.gain = nn.Parameter(np.ones(size))
        self.register_buffer("scratch", Tensor([1.0]), persistent=False)
        self.register_buffer("unused", None)
        self.note = "no part"

    def forward(self, x):
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x).relu()
        return x * self.gain


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.block = Block()
        self.head = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.25), nn.Linear(4, 2))

    def forward(self, x):
        return self.head(self.block(x))


def torch_net():
    torch = pytest.importorskip("torch")

    class TorchBlock(torch.nn.Module):
        def __init__(self, size=3):
            super().__init__()
            self.norm = torch.nn.BatchNorm1d(size)
            linears = [torch.nn.Linear(size, size), torch.nn.Linear(size, size, bias=False)]
            self.layers = torch.nn.ModuleList(linears)
            self.gain = torch.nn.Parameter(torch.ones(size))
            self.register_buffer("scratch", torch.ones(1), persistent=False)
            self.register_buffer("unused", None)

        def forward(self, x):
            x = self.norm(x)
            for layer in self.layers:
                x = layer(x).relu()
            return x * self.gain

    class TorchNet(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.block = TorchBlock()
            linears = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
            self.head = torch.nn.Sequential(linears[0], torch.nn.Dropout(0.25), linears[1])

        def forward(self, x):
            return self.head(self.block(x))

    return torch, TorchNet()


# What is found --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "method", ["named_parameters", "named_buffers", "named_modules", "named_children", "state_dict"]
)
def test_names_and_orders_are_those_of_torch(method):
    _, theirs = torch_net()
    expected = [name for name, *_ in getattr(theirs, method)()] if method != "state_dict" else list(theirs.state_dict())
    ours = getattr(Net(), method)()
    assert [name for name, *_ in ours] == expected if method != "state_dict" else list(ours) == expected


def test_prefix_and_recurse_are_those_of_torch():
    _, theirs = torch_net()
    ours = Net()
    for method in ("named_parameters", "named_buffers"):
        for arguments in ({"prefix": "top"}, {"prefix": "top", "recurse": False}, {"recurse": False}):
            for mine, other in ((ours, theirs), (ours.block, theirs.block)):
                expected = [name for name, _ in getattr(other, method)(**arguments)]
                assert [name for name, _ in getattr(mine, method)(**arguments)] == expected
    assert [name for name, _ in ours.named_modules("top")][:2] == ["top", "top.block"]


def test_lists_without_names_give_the_same_parts():
    net = Net()
    for name in ("parameters", "buffers", "modules", "children"):
        named = [part for _, part in getattr(net, f"named_{name}")()]
        assert list(map(id, getattr(net, name)())) == list(map(id, named))
    assert len(net.block.parameters(recurse=False)) == 1
    assert [buffer.tolist() for buffer in net.block.buffers(recurse=False)] == [[1.0]]


@pytest.mark.parametrize("method", ["parameters", "buffers", "modules", "children"])
def test_lists_of_parts_are_gone_through_again_and_again(method):
    net = Net()
    for name in (method, f"named_{method}"):
        parts = getattr(net, name)()
        assert isinstance(parts, list) and len(parts) == len(list(parts)) == len(list(parts)) > 0
        parts.clear()
        assert getattr(net, name)(), "the list is the caller's"


def test_an_optimizer_that_goes_over_its_params_in_every_step_trains_in_every_step():
    layer = nn.Linear(2, 1)

    class Plain:
        def __init__(self, params):
            self.params = params

        def step(self):
            for p in self.params:
                p.data = p.data - 0.1

    plain, before = Plain(layer.parameters()), layer.bias.item()
    plain.step(), plain.step()
    np.testing.assert_allclose(layer.bias.item(), before - 0.2, rtol=1e-5)


def test_tied_parameters_and_shared_modules_are_given_once_and_stored_under_all_names():
    tied = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    tied[1].weight = tied[0].weight
    assert [name for name, _ in tied.named_parameters()] == ["0.weight", "0.bias", "1.bias"]
    assert list(tied.state_dict()) == ["0.weight", "0.bias", "1.weight", "1.bias"]
    shared = nn.Sequential(tied[0], nn.ReLU(), tied[0])
    assert [name for name, _ in shared.named_modules()] == ["", "0", "1"]
    assert len(shared.children()) == 2 and len(shared) == 3
    assert list(shared.state_dict()) == ["0.weight", "0.bias", "2.weight", "2.bias"]
    assert shared.load_state_dict(shared.state_dict()) == ([], [])


def test_super_init_has_nothing_to_do():
    class Forgetful(nn.Module):
        def __init__(self):
            self.layer = nn.Linear(2, 1)
            self.register_buffer("seen", Tensor([0.0]))

    module = Forgetful()
    assert list(module.state_dict()) == ["seen", "layer.weight", "layer.bias"]
    assert module.training and not module.eval().training and not module.layer.training
    assert nn.Module().training


# Plain lists and dicts ------------------------------------------------------------------------------------------------


def filled(module, kit, lists, tuples, dicts, parameters):
    """Parts in every kind of holder: plain ones, or the containers that PyTorch has for them."""
    module.layers = lists([kit.Linear(2, 2)])
    module.layers.append(kit.Linear(2, 2, bias=False))
    module.heads = dicts({"left": kit.Linear(2, 1), "right": lists([kit.ReLU(), kit.BatchNorm1d(2)])})
    module.pair = tuples((kit.Linear(1, 1), kit.Linear(1, 2)))
    module.scales = parameters([kit.Linear(1, 2).bias, kit.Linear(1, 3).bias])
    module.sizes = [1, 2, 3]
    return module


def test_parts_in_plain_lists_tuples_and_dicts_are_found_under_the_names_of_torch():
    torch = pytest.importorskip("torch")
    theirs = torch.nn.ModuleList, torch.nn.ModuleList, torch.nn.ModuleDict, torch.nn.ParameterList
    other, ours = filled(torch.nn.Module(), torch.nn, *theirs), filled(nn.Module(), nn, list, tuple, dict, list)
    assert set(ours.state_dict()) == set(other.state_dict())
    assert [n for n, _ in ours.named_buffers()] == [n for n, _ in other.named_buffers()]
    assert ours.load_state_dict(other.state_dict()) == ([], [])
    other.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()})
    assert len(ours.parameters()) == len(list(other.parameters()))
    assert not ours.eval().heads["right"][1].training
    ours.layers[0](Tensor([[1.0, 2.0]])).sum().backward()
    assert ours.layers[0].weight.grad is not None
    ours.zero_grad()
    assert ours.layers[0].weight.grad is None
    assert copy.deepcopy(ours).layers[1].weight is not ours.layers[1].weight


def test_a_part_in_a_list_that_is_an_attribute_too_has_one_name():
    module = nn.Module()
    module.all, module.first = [], nn.Linear(1, 1)
    module.all += [module.first, nn.Linear(1, 1), module.all]
    assert list(module.state_dict()) == ["all.1.weight", "all.1.bias", "first.weight", "first.bias"]
    model = nn.Sequential(nn.ReLU())
    model.spare = [nn.Tanh()]
    assert len(model) == 1 and [name for name, _ in model.named_children()] == ["0", "spare.0"]


def held(value):
    module = nn.Module()
    module.parts = value
    return module.parameters()


# Assignment and deletion ----------------------------------------------------------------------------------------------


def test_a_replaced_parameter_is_the_one_that_counts_and_keeps_its_place():
    layer = nn.Linear(2, 1)
    new = nn.Parameter([[5.0, 6.0]])
    layer.weight = new
    assert [name for name, _ in layer.named_parameters()] == ["weight", "bias"]
    assert layer.parameters()[0] is new
    assert layer(Tensor([1.0, 1.0])).item() == pytest.approx(11 + layer.bias.item())


def test_none_and_deletion_take_a_part_out():
    layer = nn.Linear(2, 1)
    layer.bias = None
    assert [name for name, _ in layer.named_parameters()] == ["weight"]
    assert list(layer.state_dict()) == ["weight"]
    assert layer(Tensor([[1.0, 2.0]])).shape == (1, 1)
    layer.bias = nn.Parameter([7.0])
    del layer.weight
    assert list(layer.state_dict()) == ["bias"]
    assert not hasattr(layer, "weight")
    norm = nn.BatchNorm1d(2)
    del norm.running_mean
    norm.running_var = None
    assert list(norm.state_dict()) == ["weight", "bias", "num_batches_tracked"]
    norm.running_mean = "free again"


def test_a_replaced_buffer_stays_a_buffer():
    norm = nn.BatchNorm1d(2)
    norm.running_mean = Tensor([3.0, 4.0])
    assert dict(norm.named_buffers())["running_mean"].tolist() == [3.0, 4.0]
    assert norm.state_dict()["running_mean"].tolist() == [3.0, 4.0]


def test_buffers_of_one_module_are_not_those_of_another():
    first, second = nn.Module(), nn.Module()
    first.register_buffer("only", Tensor([1.0]))
    assert second.buffers() == [] and len(first.buffers()) == 1


# State ----------------------------------------------------------------------------------------------------------------


def test_a_state_dict_is_a_snapshot_without_gradients():
    net = Net()
    state = net.state_dict()
    before = {name: value.tolist() for name, value in state.items()}
    for parameter in net.parameters():
        parameter.data *= 2
    assert {name: value.tolist() for name, value in state.items()} == before
    assert not any(value.requires_grad for value in state.values())
    assert all(type(value) is Tensor for value in state.values())
    net.load_state_dict(state)
    assert {name: value.tolist() for name, value in net.state_dict().items()} == before


def test_states_go_to_torch_and_back():
    torch, theirs = torch_net()
    ours = Net()
    x = np.random.default_rng(0).normal(size=(5, 3)).astype("float32")
    for _ in range(2):  # moves the running statistics
        ours(Tensor(x))
    theirs.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in ours.state_dict().items()})
    ours.eval()
    theirs.eval()
    expected = theirs(torch.from_numpy(x)).detach().numpy()
    np.testing.assert_allclose(ours(Tensor(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    other = Net().eval()
    assert other.load_state_dict(theirs.state_dict()) == ([], [])
    np.testing.assert_allclose(other(Tensor(x)).detach().numpy(), expected, rtol=1e-5, atol=1e-6)
    assert other.block.norm.num_batches_tracked.item() == 2


def test_loading_writes_into_the_arrays_that_are_there_and_keeps_their_dtype():
    layer = nn.Linear(2, 1)
    weight, memory = layer.weight, layer.weight.detach().numpy()
    layer.load_state_dict({"weight": np.array([[3, 4]]), "bias": [0.5]})
    assert layer.weight is weight and memory.tolist() == [[3, 4]]
    assert layer.weight.dtype == np.float32 and layer.weight.requires_grad and layer.bias.tolist() == [0.5]


def test_loading_reads_everything_before_it_writes_anything():
    a, b = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
    pair = nn.ModuleList([a, b])
    first, second = a.weight.tolist(), b.weight.tolist()
    pair.load_state_dict({"0.weight": b.weight.detach().numpy(), "1.weight": a.weight})
    assert (a.weight.tolist(), b.weight.tolist()) == (second, first)


def test_a_backward_across_a_load_is_refused():
    layer = nn.Linear(2, 2)
    loss = layer(layer(Tensor([1.0, 2.0]))).sum()
    layer.load_state_dict(nn.Linear(2, 2).state_dict())
    with pytest.raises(RuntimeError, match="overwritten"):
        loss.backward()


def test_everything_that_does_not_fit_is_listed_and_nothing_is_loaded():
    net = nn.Sequential(nn.Linear(2, 3), nn.BatchNorm1d(3))
    before = {name: value.tolist() for name, value in net.state_dict().items()}
    state = {name: value.numpy() + 1 for name, value in net.state_dict().items()}
    del state["0.bias"], state["1.weight"]
    state |= {"extra": 1, "0.weight": np.ones((3, 3)), "1.num_batches_tracked": 0.5, "1.running_var": [[1], [1, 2]]}
    with pytest.raises(ValueError) as caught:
        net.load_state_dict(state)
    message = str(caught.value)
    assert message.startswith(
        "Sequential.load_state_dict: state_dict must fit the module: missing '0.bias', '1.weight', unexpected 'extra', "
        "'0.weight' has shape (3, 3) where (3, 2) is needed, '1.running_var' cannot be read as an array ("
    )
    assert message.endswith("'1.num_batches_tracked' is float64 where int64 is needed; nothing was loaded")
    assert {name: value.tolist() for name, value in net.state_dict().items()} == before


def test_without_strict_names_may_differ_and_shapes_may_not():
    layer = nn.Linear(2, 1)
    report = layer.load_state_dict({"weight": [[1, 2]], "other": 3}, strict=False)
    assert report == (["bias"], ["other"]) == (report.missing_keys, report.unexpected_keys)
    assert layer.weight.tolist() == [[1, 2]]
    message = (
        "Linear.load_state_dict: state_dict must fit the module: 'weight' has shape (2,) where (1, 2) is needed; "
        "nothing was loaded"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        layer.load_state_dict({"weight": [1, 2]}, strict=False)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda module: pickle.loads(pickle.dumps(module))])
def test_copies_and_pickles_are_whole_and_independent(copied):
    net = Net()
    net.head[0].weight.requires_grad = False
    net.head[2].weight = nn.Parameter(np.ones((2, 4)))
    net.tied = nn.Linear(3, 4)
    net.tied.weight = net.head[0].weight
    net.eval()
    other = copied(net)
    assert not any(module.training for module in other.modules())
    assert [name for name, _ in other.named_parameters()] == [name for name, _ in net.named_parameters()]
    assert [name for name, _ in other.named_buffers()] == [name for name, _ in net.named_buffers()]
    assert other.tied.weight is other.head[0].weight is not net.tied.weight
    for mine, its in zip(net.parameters(), other.parameters(), strict=True):
        assert type(its) is nn.Parameter and its.requires_grad == mine.requires_grad
        assert its.tolist() == mine.tolist() and not np.shares_memory(its.buffer, mine.buffer)
    x = Tensor(np.ones((2, 3)))
    other(x).sum().backward()
    assert net.block.gain.grad is None and other.block.gain.grad is not None
    assert other.head[0].weight.grad is None


# Modes and gradients --------------------------------------------------------------------------------------------------


def test_train_and_eval_reach_every_module_and_give_it_back():
    net = Net()
    assert net.eval() is net
    assert not any(module.training for module in net.modules())
    net.head.train()
    assert net.head[1].training and not net.training and not net.block.training
    assert net.train(False).train() is net
    assert all(module.training for module in net.modules())


def test_zero_grad_sets_gradients_to_none():
    net = Net()
    net(Tensor(np.ones((4, 3)))).sum().backward()
    assert all(parameter.grad is not None for parameter in net.parameters())
    net.zero_grad(set_to_none=True)
    assert all(parameter.grad is None for parameter in net.parameters())


def test_apply_visits_children_first():
    seen = []
    net = nn.Sequential(nn.Sequential(nn.ReLU()), nn.Tanh())
    assert net.apply(lambda module: seen.append(type(module).__name__)) is net
    assert seen == ["ReLU", "Sequential", "Tanh", "Sequential"]


def test_call_hands_all_arguments_to_forward():
    class Sum(nn.Module):
        def forward(self, x, y=1, *, z=0):
            return x + y + z

    assert Sum()(1, y=2, z=3) == 6


# Containers -----------------------------------------------------------------------------------------------------------


def test_sequential_applies_its_modules_in_order():
    layers = nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 2)
    model = nn.Sequential(*layers)
    x = Tensor(np.ones((5, 3)))
    np.testing.assert_array_equal(model(x).detach().numpy(), layers[2](layers[1](layers[0](x))).detach().numpy())
    assert nn.Sequential()(x) is x


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("shape", [(5, 3), (2, 5, 3), (3,), (0, 3)])
def test_sequential_joins_linear_and_relu_into_one_operation_with_the_same_bits(bias, dtype, shape):
    layers = (
        nn.Linear(3, 4, bias, dtype),
        nn.ReLU(),
        nn.ReLU(),
        nn.Linear(4, 6, bias, dtype),
        nn.Linear(6, 2, bias, dtype),
    )
    results = []
    for apply in (nn.Sequential(*layers), lambda x: layers[4](layers[3](layers[2](layers[1](layers[0](x)))))):
        x = Tensor(np.random.default_rng(0).normal(size=shape), dtype, requires_grad=True)
        out = apply(x)
        (out * out).sum().backward()
        results.append([out, x.grad, *(p.grad for layer in layers for p in layer.parameters())])
        for layer in layers:
            layer.zero_grad()
    for joined, apart in zip(*results, strict=True):
        np.testing.assert_array_equal(joined.detach().numpy(), apart.detach().numpy())


@pytest.mark.parametrize("trained", [["0.weight"], ["3.bias"], ["4.weight", "4.bias"], ["x"], ["x", "4.bias"], []])
def test_layers_that_sequential_joins_give_gradients_to_those_that_want_them(trained):
    torch = pytest.importorskip("torch")
    layers = [nn.Linear(3, 4), nn.ReLU(), nn.ReLU(), nn.Linear(4, 6), nn.Linear(6, 2), nn.ReLU()]
    model = nn.Sequential(*layers).double()
    twin = torch.nn.Sequential(
        *(
            getattr(torch.nn, type(x).__name__)(*x.weight.shape[::-1]) if type(x) is nn.Linear else torch.nn.ReLU()
            for x in layers
        )
    ).double()
    twin.load_state_dict({name: torch.from_numpy(value.numpy()) for name, value in model.state_dict().items()})
    values = np.random.default_rng(0).normal(size=(2, 5, 3))
    x, y = Tensor(values, "float64", requires_grad="x" in trained), torch.tensor(values, requires_grad="x" in trained)
    for net in (model, twin):
        for name, parameter in net.named_parameters():
            parameter.requires_grad = name in trained
    out, other = model(x), twin(y)
    np.testing.assert_allclose(out.detach().numpy(), other.detach().numpy(), 1e-12, 1e-14)
    assert out.requires_grad is bool(trained)
    if trained:
        (out**2).sum().backward()
        (other**2).sum().backward()
    theirs = dict(twin.named_parameters()) | {"x": y}
    for name, mine in (*model.named_parameters(), ("x", x)):
        assert (mine.grad is None) is (name not in trained)
        if name in trained:
            np.testing.assert_allclose(mine.grad.numpy(), theirs[name].grad.numpy(), 1e-12, 1e-14, err_msg=name)


@pytest.mark.parametrize(("trained", "products"), [([2], 3), ([6], 1), ([5, 6], 2), ([3], 2), ([1, 2], 4), ([0], 3)])
def test_of_layers_that_are_joined_only_what_is_asked_for_is_computed(trained, products):
    class Counting(np.ndarray):
        def dot(self, other):
            counted.append(other.shape)
            return np.asarray(self).dot(np.asarray(other)).view(Counting)

    counted = []
    xp = SimpleNamespace(asarray=lambda x: np.asarray(x).view(Counting), reshape=np.reshape)
    arrays = [np.ones(shape) for shape in ((5, 3), (4, 3), (4,), (6, 4), (6,), (2, 6), (2,))]
    out, inputs = perceptron.forward(np, *arrays, relus=(True, False, False))
    plan = perceptron.plan(sum(1 << position for position in trained) | 1 << len(arrays))
    edges = [SimpleNamespace(shape=arrays[position].shape) for position in trained]
    grads = plan.derive(xp, np.ones((5, 2)), plan.keep(out, arrays, inputs), edges, {"relus": (True, False, False)})
    assert [grad.shape for grad in grads] == [arrays[position].shape for position in trained]
    assert len(counted) == products


def test_layers_that_sequential_joins_say_which_of_them_does_not_fit():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(5, 2))
    with pytest.raises(ValueError, match=re.escape("Linear: the input must have the shape (..., 5); got (7, 4)")):
        model(Tensor(np.ones((7, 3))))
    with pytest.raises(ValueError, match=re.escape("Linear: the input must have the shape (..., 3); got ()")):
        model(Tensor(3.0))
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    for wrong in ((1,), (2, 1), (2, 2)):
        model[1].bias = nn.Parameter(np.ones(wrong))
        with pytest.raises(ValueError, match=re.escape("Linear: bias must have the shape (2,); got " + str(wrong))):
            model(Tensor(np.ones((2, 3))))


@pytest.mark.parametrize("kind", [nn.Linear, nn.ReLU])
def test_sequential_joins_nothing_of_a_class_with_another_forward(monkeypatch, kind):
    model, plain = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 2)), kind.forward
    seen = []
    monkeypatch.setattr(kind, "forward", lambda self, x: seen.append(kind) or plain(self, x))
    model(Tensor(np.ones((2, 3))))
    assert seen == [kind] * (2 if kind is nn.Linear else 1)


def test_sequential_joins_nothing_that_somebody_looks_into():
    class Own(nn.Linear):
        def forward(self, x):
            return super().forward(x) - 100

    x, seen = Tensor(np.ones((2, 3))), []
    assert nn.Sequential(Own(3, 4), nn.ReLU())(x).tolist() == np.zeros((2, 4)).tolist()
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU())
    model[0].register_forward_hook(lambda module, args, out: seen.append("Linear"))
    model[3].register_forward_hook(lambda module, args, out: seen.append("ReLU"))
    before = model(x)
    assert seen == ["Linear", "ReLU"]
    model[2].forward = lambda x: Tensor(np.full((2, 4), -1.0))
    assert model(x).tolist() == np.zeros((2, 4)).tolist() != before.tolist()


@pytest.mark.parametrize("kind", [nn.Sequential, lambda *modules: nn.ModuleList(modules)])
def test_containers_are_like_lists(kind):
    parts = [nn.ReLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU()]
    held = kind(*parts)
    assert len(held) == 4 and list(held) == parts
    assert held[0] is parts[0] and held[-1] is parts[3] and held[np.int64(2)] is parts[2]
    assert type(held[1:]) is type(held) and list(held[1:]) == parts[1:] and list(held[::-2]) == parts[::-2]
    extra = nn.Identity()
    assert held.append(extra) is held and held[4] is extra
    held[0] = extra
    held[-1] = parts[0]
    assert list(held) == [extra, *parts[1:], parts[0]]
    assert [name for name, _ in held[2:].named_children()] == ["0", "1", "2"]


def test_a_slice_of_a_subclass_is_a_plain_container():
    class Perceptron(nn.Sequential):
        def __init__(self, *sizes):
            super().__init__(*(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:], strict=False)))

    assert type(Perceptron(1, 2, 3)[:1]) is nn.Sequential


def test_sequential_takes_names_and_module_list_any_iterable():
    model = nn.Sequential({"first": nn.Linear(2, 3), "act": nn.ReLU()})
    assert list(model.state_dict()) == ["first.weight", "first.bias"]
    assert model.first is model[0] and model(Tensor([1.0, 1.0])).shape == (3,)
    assert len(nn.ModuleList(nn.ReLU() for _ in range(3)).extend([nn.Tanh()])) == 4


def test_module_dict_is_like_a_dict():
    first, second = nn.Linear(2, 3), nn.ReLU()
    held = nn.ModuleDict({"a": first})
    held["b"] = second
    assert held["a"] is first and held.b is second and len(held) == 2 and "b" in held and "c" not in held
    assert list(held) == held.keys() == ["a", "b"] and held.values() == [first, second]
    held.update([("a", second), ("c", first)])
    assert held.items() == [("a", second), ("b", second), ("c", first)]
    assert list(held.state_dict()) == ["c.weight", "c.bias"]
    assert held.pop("c") is first and held.parameters() == []
    del held["a"]
    assert held.keys() == ["b"]
    held.clear()
    assert len(held) == 0


def test_parameter_list_is_like_a_list():
    torch = pytest.importorskip("torch")
    own = nn.Parameter([1.0])
    held = nn.ParameterList([own, np.ones(2), Tensor([1.0, 2.0, 3.0], dtype="float64")])
    assert held[0] is own and held[-1].dtype == np.float64 and held[1].requires_grad and len(held) == 3
    other = torch.nn.ParameterList([torch.ones(1), torch.ones(2), torch.ones(3)])
    assert list(held.state_dict()) == list(other.state_dict())
    held.load_state_dict(other.state_dict())
    assert own.tolist() == [1] and held[2].tolist() == [1, 1, 1]
    assert list(held[1:]) == [held[1], held[2]] and held.append(own).extend([own])[4] is own
    held[0] = Tensor([5.0])
    assert held[0].tolist() == [5] and type(held[0]) is nn.Parameter and len(held.parameters()) == 4


def test_repr_is_that_of_torch():
    _, theirs = torch_net()
    expected = repr(theirs)
    for word, ours in {"Torch": "", ", inplace=False": "", "affine=True, bias=True": "affine=True"}.items():
        expected = expected.replace(word, ours)
    assert repr(Net()) == expected
    assert repr(nn.Sequential(nn.ReLU(), nn.Sequential())) == "Sequential(\n  (0): ReLU()\n  (1): Sequential()\n)"


def test_a_parameter_has_a_floating_dtype_and_memory_of_its_own():
    source = np.array([1.0, 2.0])
    parameter = nn.Parameter(source)
    source[0] = 9
    assert isinstance(parameter, Tensor) and parameter.requires_grad
    assert parameter.dtype == np.float32 and parameter.tolist() == [1, 2]
    assert nn.Parameter(Tensor([1.0], dtype="float64")).dtype == np.float64
    assert nn.Parameter([1.0], dtype="float64").dtype == np.float64
    assert repr(nn.Parameter([1.0])) == "Parameter([1.], requires_grad=True)"
    assert type(parameter * 2) is Tensor and not nn.Parameter([1.0], requires_grad=False).requires_grad


def test_equal_seeds_give_equal_networks():
    def made(seed):
        manual_seed(seed)
        return {name: value.tolist() for name, value in Net().state_dict().items()}

    assert made(1) == made(1) != made(2)


class Unfinished(nn.Module):
    pass


def assign(module, name, value):
    setattr(module, name, value)


ERRORS = [
    (lambda: Unfinished()(1), NotImplementedError, "Unfinished: a subclass of Module must define forward"),
    (
        lambda: nn.Linear(1, 1).zero_grad(set_to_none=False),
        TypeError,
        "Linear.zero_grad: set_to_none must be True; got False; gradients become None",
    ),
    (
        lambda: nn.Linear(1, 1).load_state_dict(nn.Linear(1, 1).state_dict(), strict="no"),
        TypeError,
        "Linear.load_state_dict: strict must be True or False; got 'no'",
    ),
    (lambda: nn.ModuleList(3), TypeError, "ModuleList: modules must be an iterable of Modules; got 3"),
    (lambda: nn.ModuleList()(1), NotImplementedError, "ModuleList: a subclass of Module must define forward"),
    (
        lambda: assign(nn.Linear(1, 1), "weight", Tensor([[1.0]])),
        TypeError,
        "Linear: attribute 'weight' is a parameter and takes a Parameter or None; got Tensor([[1.]]); "
        "wrap it in nn.Parameter",
    ),
    (
        lambda: assign(nn.BatchNorm1d(1), "running_mean", 0.0),
        TypeError,
        "BatchNorm1d: attribute 'running_mean' is a buffer and takes a Tensor that is not a Parameter, or None; "
        "got 0.0",
    ),
    (
        lambda: nn.Module().register_buffer("state", 1.0),
        TypeError,
        "Module.register_buffer: tensor must be a Tensor that is not a Parameter, or None; got 1.0",
    ),
    (
        lambda: nn.Module().register_buffer("a.b", None),
        ValueError,
        "Module.register_buffer: name must be a string, not empty and without dots; got 'a.b'",
    ),
    (
        lambda: nn.Module().register_buffer("forward", None),
        ValueError,
        "Module.register_buffer: name must not be taken by another attribute; got 'forward'",
    ),
    (lambda: nn.ReLU().train(1), TypeError, "ReLU.train: mode must be True or False; got 1"),
    (
        lambda: nn.ReLU().load_state_dict([1]),
        TypeError,
        "ReLU.load_state_dict: state_dict must be a mapping of names to arrays; got [1]",
    ),
    (
        lambda: nn.Sequential(nn.ReLU(), len),
        TypeError,
        "Sequential: takes instances of Module; got <built-in function len>",
    ),
    (
        lambda: nn.ModuleList([nn.ReLU]),
        TypeError,
        "ModuleList: takes instances of Module; got <class 'minima.nn.activations.ReLU'>",
    ),
    (lambda: nn.Sequential()[0], IndexError, "Sequential: index must lie in [0, 0); got 0"),
    (lambda: nn.ModuleList([nn.ReLU()])[-2], IndexError, "ModuleList: index must lie in [-1, 1); got -2"),
    (
        lambda: nn.Sequential({"forward": nn.ReLU()}),
        ValueError,
        "Sequential: name must not be taken by another attribute; got 'forward'",
    ),
    (
        lambda: held({nn.ReLU()}),
        TypeError,
        "Module: attribute 'parts' holds parameters or modules in a set; use a list or a dict, which give them names",
    ),
    (
        lambda: held([{3: [nn.Parameter([1.0])]}]),
        ValueError,
        "Module: attribute 'parts.0' holds parameters or modules under a key that is no name; got 3; "
        "use strings, not empty and without dots",
    ),
    (
        lambda: nn.ModuleDict([1]),
        TypeError,
        "ModuleDict: modules must be a mapping of names to Modules, or pairs of both; got [1]",
    ),
    (lambda: nn.ModuleDict({"a": 1}), TypeError, "ModuleDict: takes instances of Module; got 1"),
    (
        lambda: nn.ModuleDict({"keys": nn.ReLU()}),
        ValueError,
        "ModuleDict: name must not be taken by another attribute; got 'keys'",
    ),
    (
        lambda: nn.ModuleDict({"a": nn.ReLU(), "b": nn.ReLU()})["c"],
        KeyError,
        "\"ModuleDict: name must be one of 'a', 'b'; got 'c'\"",
    ),
    (lambda: nn.ParameterList(2), TypeError, "ParameterList: values must be an iterable of parameters; got 2"),
    (
        lambda: nn.ParameterList([[1.0]]),
        TypeError,
        "ParameterList: takes parameters, or tensors and arrays of a floating dtype; got [1.0]",
    ),
    (lambda: nn.ParameterList([])[0], IndexError, "ParameterList: index must lie in [0, 0); got 0"),
    (lambda: nn.ParameterList([])["a"], TypeError, "ParameterList: index must be an integer; got 'a'"),
    (lambda: nn.Parameter([1, 2]), TypeError, "Tensor: only floating dtypes can require a gradient; got 'int64'"),
]


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}$"):
        call()
