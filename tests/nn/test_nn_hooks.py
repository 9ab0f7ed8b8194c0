"""Hooks of tensors and modules: called as PyTorch calls them, with the same gradients, and taken away."""

import copy
import re
from typing import NamedTuple

import numpy as np
import pytest

from minima import nn
from minima.autograd import Tensor, where

torch = pytest.importorskip("torch")
WEIGHT = np.random.default_rng(0).normal(size=(2, 3)).astype("float32")
X = np.random.default_rng(1).normal(size=(4, 3)).astype("float32")


def told(*values):
    """Tensors of either library as lists, in tuples."""
    return [
        told(*value) if isinstance(value, tuple) else None if value is None else np.round(value.tolist(), 4).tolist()
        for value in values
    ]


def leaf(kit, values):
    return Tensor(values, requires_grad=True) if kit is nn else torch.tensor(values, requires_grad=True)


def linear(kit):
    layer = kit.Linear(3, 2)
    state = {"weight": WEIGHT, "bias": np.ones(2, "float32")}
    layer.load_state_dict(state if kit is nn else {name: torch.from_numpy(v) for name, v in state.items()})
    return layer


# Tensors -------------------------------------------------------------------------------------------------------------


def hooks_of_tensors(kit):
    seen = []
    x = leaf(kit, X)
    y = x * x
    z = y * 3
    x.register_hook(lambda g: seen.append(("x", told(g))))
    y.register_hook(lambda g: seen.append(("y", told(g))))
    y.register_hook(lambda g: g * 2)
    y.register_hook(lambda g: seen.append(("y after", told(g))))
    x.register_hook(lambda g: g + 1)
    gone = z.register_hook(lambda g: g * 100)
    gone.remove(), gone.remove()
    with z.register_hook(lambda g: g * 100):
        pass
    (z.sum() + (y * y).sum() + x.sum()).backward()
    return seen, told(x.grad)


def test_hooks_of_tensors_see_and_replace_whole_gradients_as_in_torch():
    assert hooks_of_tensors(nn) == hooks_of_tensors(torch.nn)


def test_a_hook_of_a_leaf_is_called_where_the_leaf_is_the_root():
    x = Tensor(2.0, requires_grad=True)
    x.register_hook(lambda g: g * 5)
    x.backward()
    x.backward()
    assert x.grad.item() == 10.0


def test_a_hook_that_changes_its_gradient_in_place_changes_nothing_else():
    x = Tensor(X, requires_grad=True)
    y, z = x * 1.0, x * 2.0
    y.register_hook(lambda g: (g.zero_(), None)[1])
    (y + z).sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), np.full_like(X, 3))


def test_a_hook_of_halves_sees_halves_and_rounds_only_what_it_gives():
    x, seen = Tensor(np.full(3, 0.1), dtype="float16", requires_grad=True), []
    y = x * 3.0
    y.register_hook(lambda g: seen.append(g.dtype))
    (y * 1.001).sum().backward()
    free = Tensor(np.full(3, 0.1), dtype="float16", requires_grad=True)
    ((free * 3.0) * 1.001).sum().backward()
    assert seen == ["float16"]
    np.testing.assert_array_equal(x.grad.numpy(), free.grad.numpy())


# Modules -------------------------------------------------------------------------------------------------------------


def forward_hooks(kit):
    layer, calls = linear(kit), []
    x = leaf(kit, X)
    layer.register_forward_pre_hook(lambda m, args: calls.append(("before", m is layer, told(*args))))
    layer.register_forward_pre_hook(lambda m, args: args[0] * 2)
    layer.register_forward_pre_hook(lambda m, args: calls.append(("doubled", told(*args))))
    layer.register_forward_pre_hook(lambda m, args: (args[0] + 1,), prepend=True)
    layer.register_forward_hook(lambda m, args, out: calls.append(("after", told(*args), told(out))))
    layer.register_forward_hook(lambda m, args, out: out * 3)
    first = layer.register_forward_hook(lambda m, args, out: calls.append("first"), prepend=True)
    layer.register_forward_pre_hook(lambda m, args, kw: calls.append(dict(kw)), with_kwargs=True)
    layer.register_forward_hook(lambda m, args, kw, out: calls.append(dict(kw)), with_kwargs=True)
    y = layer(x)
    first.remove()
    layer(x)
    y.sum().backward()
    return calls, told(y), told(x.grad)


def test_forward_hooks_are_called_as_in_torch():
    assert forward_hooks(nn) == forward_hooks(torch.nn)


def test_hooks_with_keywords_replace_both():
    class Scaled(nn.Module):
        def forward(self, x, by=1.0):
            return x * by

    layer = Scaled()
    layer.register_forward_pre_hook(lambda m, args, kw: ((args[0] + 1,), {"by": kw["by"] * 2}), with_kwargs=True)
    assert layer(Tensor([1.0]), by=3.0).tolist() == [12.0]


class Two(NamedTuple):
    first: object
    second: object


def shapes_of_modules(kit):
    """Modules with one input, two inputs, no tensor that requires a gradient, and several outputs."""

    class Pair(kit.Module):
        def forward(self, x, y, factor):
            return x * y * factor, x + y

    class Named(kit.Module):
        def forward(self, x):
            return Two(x * 2, x * x)

    class Listed(kit.Module):
        def forward(self, x):
            return [x * 2, x * x]

    def use(out):
        return sum((part * part).sum() for part in out) if isinstance(out, tuple | list) else (out * out).sum()

    x, y = leaf(kit, X), leaf(kit, X[::-1].copy())
    data = x.detach()
    return [
        (linear(kit), (x,), use),
        (linear(kit), (data,), use),
        (kit.Sequential(linear(kit), kit.Tanh()), (x,), use),
        (Pair(), (x, y, 2.0), use),
        (Pair(), (x, x, 2.0), use),
        (Pair(), (data, y, 2.0), use),
        (Named(), (x,), use),
        *([(Listed(), (x,), use)] if kit is nn else []),
        (kit.MSELoss(), (x, data * 2), use),
    ], (x, y)


def backward_hooks(kit, number, replace):
    rows, leaves = shapes_of_modules(kit)
    module, args, use = rows[number]
    calls = []

    def hook(owner, grad_input, grad_output):
        # PyTorch also gives gradients of tensors that require none, where another argument does.
        wanted = [isinstance(a, Tensor | torch.Tensor) and a.requires_grad for a in args]
        if any(wanted):
            assert len(grad_input) == len(args)
            seen = [g if want else None for g, want in zip(grad_input, wanted, strict=True)]
        else:
            seen = [g for g in grad_input if g is not None]
        calls.append((owner is module, told(*seen), told(*grad_output)))
        return tuple(None if g is None else g * 10 for g in grad_input) if replace else None

    module.register_full_backward_hook(hook)
    out = module(*args)
    kinds = type(out).__name__
    use(out).backward(retain_graph=True)
    use(out).backward()
    return calls, kinds, [told(each.grad) for each in leaves], [told(p.grad) for p in module.parameters()]


@pytest.mark.parametrize("replace", [False, True])
@pytest.mark.parametrize("number", [0, 1, 2, 3, 4, 5, 6, -1])
@pytest.mark.filterwarnings("ignore:Full backward hook is firing when gradients are computed with respect to module")
def test_backward_hooks_see_and_replace_gradients_as_in_torch(number, replace):
    ours, theirs = backward_hooks(nn, number, replace), backward_hooks(torch.nn, number, replace)
    assert len(ours[0]) == 2
    assert ours == theirs


def test_backward_hooks_of_a_list_of_outputs():
    calls, kind, _, _ = backward_hooks(nn, 7, False)
    expected, _, _, _ = backward_hooks(nn, 6, False)
    assert kind == "list" and calls == expected


def test_a_removed_backward_hook_is_not_called_and_costs_nothing():
    layer, calls = linear(nn), []
    handle = layer.register_full_backward_hook(lambda *given: calls.append(1))
    handle.remove()
    x = Tensor(X, requires_grad=True)
    layer(x).sum().backward()
    assert not calls


def test_hooks_reach_modules_inside_and_are_copied_with_them():
    model, calls = nn.Sequential(linear(nn), nn.ReLU()), []
    for module in model.modules():
        module.register_forward_hook(lambda m, args, out: calls.append(type(m).__name__))
    model(X)
    assert calls == ["Linear", "ReLU", "Sequential"]
    twin = copy.deepcopy(model)
    twin(X)
    assert len(calls) == 6 and list(model.state_dict()) == list(twin.state_dict())


ERRORS = [
    (
        lambda: Tensor(1.0).register_hook(print),
        RuntimeError,
        "Tensor.register_hook: the tensor requires no gradient; set requires_grad=True first",
    ),
    (
        lambda: hooked(lambda g: 3),
        TypeError,
        "Tensor.register_hook: the hook must give None or a Tensor of the shape (4, 3); got 3",
    ),
    (
        lambda: hooked(lambda g: g.sum()),
        ValueError,
        "Tensor.register_hook: the hook must give None or a Tensor of the shape (4, 3); got ()",
    ),
    (lambda: linear(nn).register_forward_hook(3), TypeError, "Linear: the hook must be a function; got 3"),
    (
        lambda: watched(lambda *given: (Tensor(1.0), None)),
        ValueError,
        "Linear.register_full_backward_hook: the hook must give None or a tuple of 1 gradients; got 2",
    ),
    (
        lambda: bent(lambda m, args, kwargs: args),
        TypeError,
        "Linear.register_forward_pre_hook: a hook with_kwargs must give None or the pair (args, kwargs)",
    ),
]


def hooked(hook):
    x = Tensor(X, requires_grad=True)
    x.register_hook(hook)
    where(x > 0, x, 0.0).sum().backward()


def watched(hook):
    layer = linear(nn)
    layer.register_full_backward_hook(hook)
    layer(Tensor(X, requires_grad=True)).sum().backward()


def bent(hook):
    layer = linear(nn)
    layer.register_forward_pre_hook(hook, with_kwargs=True)
    layer(X)


@pytest.mark.parametrize(("call", "error", "message"), ERRORS)
def test_a_mistake_gets_one_sentence(call, error, message):
    with pytest.raises(error, match=f"^{re.escape(message)}"):
        call()
